// The table of all runs: sorted, filtered, chosen from; on a narrow page its rows are cards.

import { count, language, say } from "./words.js";
import { durationOf, shareOf, tagged } from "./tagged.js";

export const RUN_LETTERS = ["A", "B", "C", "D", "E", "F"]; // of those that are chosen at once
// prettier-ignore
const RUN_COLUMNS = [
  "name", "data", "network", "accuracy", "seconds", "parameters", "date", "state",
];
const BEST_FIRST = ["accuracy", "date"]; // is sorted from its top
const IN_A_ROW = "a, input, summary"; // what can have the focus

const natural = (a, b) => a.localeCompare(b, undefined, { numeric: true });

/** The name of a data set; of a folder its last part. */
const shortName = (path) => path.split(/[/\\]/).filter(Boolean).at(-1) ?? "";

/** A path that may be broken behind each of its parts. */
const breakable = (path) =>
  path.split(/(?<=\/)/).flatMap((part) => [part, document.createElement("wbr")]);

/** The table in `root`; `turned` is called with the name of a run that is chosen, or no more. */
export class RunTable {
  constructor(root, turned) {
    Object.assign(this, { turned, rows: [], chosen: new Map(), place: "", lines: new Map() });
    Object.assign(this, { sort: "date", up: false, filter: { data: "", network: "" } });
    this.title = tagged("h2");
    this.filters = tagged("div", { class: "filters" });
    this.head = tagged("thead", { role: "rowgroup" });
    this.body = tagged("tbody", { role: "rowgroup" });
    root.append(
      tagged("div", { class: "heading" }, this.title, this.filters),
      tagged("table", { class: "listing", role: "table" }, this.head, this.body),
    );
    this.speak();
  }

  /** Take all words anew. */
  speak() {
    this.lines.clear();
    this.filled = "";
    this.names = {
      name: say("runs.run"),
      data: say("runs.data"),
      network: say("runs.network"),
      accuracy: say("runs.accuracy"),
      seconds: say("runs.trained"),
      parameters: say("runs.parameters"),
      date: say("runs.date"),
      state: say("runs.state"),
    };
    const head = (key, ...inside) =>
      tagged("th", { role: "columnheader", scope: "col", "data-key": key }, ...inside);
    const button = (key) =>
      tagged("button", { type: "button", onclick: () => this.#sort(key) }, this.names[key]);
    this.head.replaceChildren(
      tagged(
        "tr",
        { role: "row" },
        head("", tagged("span", { class: "hidden" }, say("runs.curves"))),
        ...RUN_COLUMNS.map((key) => head(key, button(key))),
      ),
    );
  }

  /** Show these rows; `chosen` says which have which letter, `place` is the folder they are in. */
  show(rows, chosen, place) {
    Object.assign(this, { rows, chosen, place });
    const shown = rows.filter((row) =>
      Object.entries(this.filter).every(([key, value]) => !value || row[key] === value),
    );
    shown.sort((a, b) => this.#order(a, b));
    this.#filters();
    const values = { count: count(shown.length), root: place };
    this.title.textContent = say(shown.length === 1 ? "runs.one" : "runs.count", values);
    const turned = BEST_FIRST.includes(this.sort) === this.up ? "ascending" : "descending";
    for (const th of this.head.querySelectorAll("[data-key]")) {
      if (th.dataset.key === this.sort) th.setAttribute("aria-sort", turned);
      else th.removeAttribute("aria-sort");
    }
    this.#lines(shown);
  }

  #sort(key) {
    this.up = this.sort === key && !this.up;
    this.sort = key;
    this.show(this.rows, this.chosen, this.place);
  }

  /** What has no value comes last, however it is sorted. */
  #order(a, b) {
    const { sort, up } = this;
    const [x, y] = [a[sort], b[sort]].map((value) => (value === "" ? null : value));
    if (x === null || y === null) return (x === null) - (y === null) || natural(a.name, b.name);
    const [p, q] = sort === "date" ? [Date.parse(x), Date.parse(y)] : [x, y];
    const found = typeof p === "string" ? natural(p, q) : p - q;
    return (BEST_FIRST.includes(sort) === up ? found : -found) || natural(a.name, b.name);
  }

  /** Put the rows there; one that is the same as before stays, with whatever is open in it. */
  #lines(shown) {
    const full = this.chosen.size >= RUN_LETTERS.length;
    const ends = new Map(shown.map((row) => [row.data, []]));
    for (const row of shown) if (row.ci95) ends.get(row.data).push(row.ci95);
    let focused = null;
    const lines = shown.map((row) => {
      const slot = this.chosen.get(row.name);
      const several = ends.get(row.data).length > 1;
      const off = full && slot === undefined;
      const key = JSON.stringify([row, slot, this.chosen.size === 1, off, several]);
      const before = this.lines.get(row.name);
      if (before?.key === key) return before.line;
      const line = this.#line(row, slot, off, several);
      this.lines.set(row.name, { key, line });
      if (before?.line.contains(document.activeElement)) {
        const inside = [...before.line.querySelectorAll(IN_A_ROW)];
        focused = [line, inside.indexOf(document.activeElement)];
      }
      return line;
    });
    lines.forEach((line, i) => {
      const known = ends.get(shown[i].data).flat(); // intervals of a data set have one scale
      line.style.setProperty("--low", Math.min(...known));
      line.style.setProperty("--high", Math.max(...known));
    });
    const same = (line, i) => this.body.rows[i] === line;
    if (lines.length !== this.body.rows.length || !lines.every(same)) {
      this.body.replaceChildren(...lines);
    }
    focused?.[0].querySelectorAll(IN_A_ROW)[focused[1]]?.focus();
  }

  /** Choices of data and network, and, where there are no headings to sort by, of the order. */
  #filters() {
    const known = (key) => [...new Set(this.rows.map((row) => row[key]))];
    const options = { data: known("data"), network: known("network") };
    const key = JSON.stringify([options, this.sort, this.filter]);
    if (key === this.filled) return;
    this.filled = key;
    const choice = (name, title, values, chosen, took) => {
      const inside = values.map(([value, text]) =>
        tagged("option", { value, selected: value === chosen }, text),
      );
      const onchange = (event) => took(event.target.value);
      const select = tagged("select", { "aria-label": title, onchange }, ...inside);
      return tagged("label", { class: name }, tagged("span", {}, title), select);
    };
    const filters = Object.keys(options)
      .filter((name) => options[name].length > 1)
      .map((name) => {
        const values = options[name].filter(Boolean).sort(natural);
        const all = [["", say("runs.all")], ...values.map((one) => [one, shortName(one)])];
        return choice("filter", this.names[name], all, this.filter[name], (value) => {
          this.filter[name] = value;
          this.show(this.rows, this.chosen, this.place);
        });
      });
    const columns = RUN_COLUMNS.map((one) => [one, this.names[one]]);
    const order = choice("order", say("runs.sort"), columns, this.sort, (one) => this.#sort(one));
    this.filters.replaceChildren(...filters, order);
  }

  /** The row of a run: `slot` is its letter, if it is chosen; `off`, that it cannot be. */
  #line(row, slot, off, several) {
    const { name, parameters } = row,
      on = slot !== undefined,
      path = `/run/${name.split("/").map(encodeURIComponent).join("/")}/`;
    const box = tagged("input", {
      type: "checkbox",
      checked: on,
      disabled: off,
      "aria-label": say("runs.choose", { name }),
      onchange: (event) => this.turned(name, event.target.checked),
    });
    const badge = tagged("span", { class: "badge" }, on ? RUN_LETTERS[slot] : "");
    const title = off ? say("runs.most", { count: RUN_LETTERS.length }) : "";
    const links = [
      ["report.html", "report.html", say("pages.report")],
      ["explain/index.html", "explain/", say("pages.explained")],
    ]
      .filter(([page]) => row.pages.includes(page))
      .map(([, at, text]) => tagged("a", { href: path + at }, text));
    const opens = { href: path, title: say("runs.open") };
    const heading =
      row.state === "finished"
        ? tagged("a", opens, ...breakable(name))
        : tagged("span", {}, ...breakable(name));
    const unit = tagged("small", { class: "unit" }, ` ${say("runs.parameters")}`);
    const cells = {
      pick: [tagged("label", { class: "pick", title }, box, badge)],
      name: [heading, tagged("small", {}, ...links)],
      data: [tagged("span", { title: row.data }, shortName(row.data))],
      network: [row.network],
      accuracy: this.#accuracy(row, several),
      seconds: row.seconds === null ? [] : [durationOf(row.seconds)],
      parameters: parameters === null ? [] : [tagged("span", {}, count(parameters)), unit],
      date: [this.#date(row.date)],
      state: this.#state(row),
    };
    const line = tagged(
      "tr",
      { role: "row", class: on ? "on" : "" },
      ...Object.entries(cells).map(([key, inside]) =>
        tagged("td", { role: "cell", class: key }, ...inside),
      ),
    );
    if (on) {
      line.style.setProperty("--hue", this.chosen.size > 1 ? `var(--run-${slot})` : "var(--ink)");
    }
    return line;
  }

  #accuracy({ accuracy, ci95, n, measure, val_accuracy: soFar }, several) {
    if (accuracy === null) {
      if (soFar === null) return [];
      return [tagged("span", { class: "quiet" }, say("runs.so_far", { accuracy: shareOf(soFar) }))];
    }
    const digits = n >= 2000 ? 2 : 1,
      [low, high] = ci95.map((end) => (100 * end).toFixed(digits));
    const whisker = tagged("span", { class: "whisker", "aria-hidden": "true" });
    [ci95[0], ci95[1], accuracy].forEach((value, i) =>
      whisker.style.setProperty(["--lo", "--hi", "--at"][i], value),
    );
    const balanced = tagged("small", { class: "quiet" }, say("runs.balanced"));
    return [
      tagged("strong", {}, shareOf(accuracy, digits)),
      tagged("small", { title: say("runs.interval", { n: count(n) }) }, ` ${low} – ${high}`),
      ...(several ? [whisker] : []),
      ...(measure === "accuracy" ? [] : [balanced]),
    ];
  }

  #date(text) {
    const at = new Date(text),
      own = navigator.languages.find((one) => one.startsWith(language)) ?? language;
    const day = at.toLocaleDateString(own, { dateStyle: "medium" }),
      time = at.toLocaleTimeString(own, { timeStyle: "short" });
    return tagged("time", { datetime: text }, day, tagged("small", {}, ` ${time}`));
  }

  #state({ state, epoch, epochs, pid, problem, file, command }) {
    const far = epochs ? say("runs.far", { epoch, epochs }) : "";
    const words = {
      training: say("runs.training"),
      finished: say("runs.finished"),
      interrupted: say("runs.interrupted"),
      damaged: say("runs.damaged"),
    };
    const title = pid ? say("runs.process", { pid }) : "";
    const shown = tagged("span", { class: `stands ${state}`, title }, words[state]);
    if (state === "training") {
      const bar = tagged("progress", { max: epochs ?? 1, value: epoch, "aria-label": far });
      return [shown, tagged("small", {}, far), bar];
    }
    if (!problem) return [shown];
    const more = { damaged: file, finished: say("runs.no_report"), interrupted: far }[state];
    const how = command
      ? [say("runs.goes_on"), " ", tagged("code", {}, command)]
      : [tagged("span", { lang: "en" }, problem)];
    const summary = tagged("summary", {}, shown, " ", tagged("small", {}, more));
    return [tagged("details", {}, summary, tagged("p", { class: "note" }, ...how))];
  }
}
