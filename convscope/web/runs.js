// The tab Runs: all run folders below the studio's root, the curves of those that are chosen over each
// other, and two of them compared. What is shown goes on by itself: the server is asked again.

import { count, language, say } from "./words.js";
import { Curves, curvePart, nearestPoint } from "./curves.js";
import { Comparing } from "./comparing.js";
import { durationOf, shareOf, tagged } from "./tagged.js";

const RUN_LETTERS = ["A", "B", "C", "D", "E", "F"]; // of the runs that are chosen, each with a hue of its own
const RUNS_SOON = 1000,
  RUNS_LATER = 4000; // milliseconds between two looks: while something is trained, and otherwise
const RUN_COLUMNS = ["name", "data", "network", "accuracy", "seconds", "parameters", "date", "state"];
const BEST_FIRST = ["accuracy", "date"]; // what is looked for at its top is sorted from there
const RUN_CHARTS = ["accuracy", "loss"];

/** The name of a data set; of a folder its last part. */
const shortName = (path) => path.replace(/[/\\]+$/, "").split(/[/\\]/).at(-1);

/** A path that may be broken behind each of its parts. */
const breakable = (path) => path.split(/(?<=\/)/).flatMap((part) => [part, document.createElement("wbr")]);

/** Fill the section of the tab. */
export function runs(root) {
  globalThis.convscope = { ...globalThis.convscope, runs: new Runs(root) };
}

class Runs {
  constructor(root) {
    this.root = root;
    Object.assign(this, { rows: new Map(), histories: new Map(), drawnRows: new Map() });
    Object.assign(this, { sort: "date", up: false, filter: { data: "", network: "" } });
    Object.assign(this, { along: "epoch", at: null, away: null, refused: "", asked: false, place: "" });
    this.chosen = new Map(); // name -> which letter
    this.#read();
    this.#build();
    addEventListener("hashchange", () => this.#read() && this.#choose());
    document.addEventListener("convscope:language", () => this.#speak());
    document.addEventListener("convscope:tab", () => this.#look());
    document.addEventListener("visibilitychange", () => this.#look());
    this.#speak();
    this.#look();
  }

  // what is asked of the server

  /** Ask for all rows, and for the curves that have grown; then again after a while. */
  async #look() {
    clearTimeout(this.later);
    if (document.hidden || this.root.hidden || this.looking) return;
    this.looking = true;
    try {
      const answer = await fetch("/api/runs", { cache: "no-cache" }),
        said = await answer.json();
      this.refused = answer.ok ? "" : (said.error?.message ?? `HTTP ${answer.status}`);
      if (answer.ok) {
        this.place = said.root;
        this.rows = new Map(said.runs.map((row) => [row.name, row]));
        this.#first();
      }
      this.away = null;
      await Promise.all([...this.chosen.keys()].map((name) => this.#history(name)));
    } catch {
      this.away ??= new Date();
    }
    this.looking = false;
    this.#render();
    const live = this.away || [...this.rows.values()].some((row) => row.state === "training");
    this.later = setTimeout(() => this.#look(), live ? RUNS_SOON : RUNS_LATER);
  }

  /** The history of a run, unless it is the one that is there. */
  async #history(name) {
    const row = this.rows.get(name);
    if (!row) return;
    const stamp = [row.epoch, row.date, row.state].join();
    if (this.histories.get(name)?.stamp === stamp) return;
    const path = name.split("/").map(encodeURIComponent).join("/");
    const answer = await fetch(`/api/runs/${path}/history`, { cache: "no-cache" }),
      said = await answer.json();
    this.histories.set(name, { stamp, rows: said.rows ?? [], error: said.error?.message ?? "" });
  }

  // what is chosen, which the address keeps

  #read() {
    const [tab, query = ""] = location.hash.split("?");
    if (tab !== "#runs" && tab !== "") return false;
    const asked = new URLSearchParams(query);
    if (asked.has("run")) this.chosen = new Map(asked.getAll("run").slice(0, RUN_LETTERS.length).map((name, i) => [name, i]));
    if (asked.get("along") === "seconds") this.along = "seconds";
    return true;
  }

  #write() {
    const asked = new URLSearchParams([...this.#names().map((name) => ["run", name]), ...(this.along === "seconds" ? [["along", "seconds"]] : [])]);
    history.replaceState(null, "", `#runs?${asked}`);
  }

  /** At first the run that is being trained, else the latest that has curves. */
  #first() {
    for (const name of this.chosen.keys()) if (!this.rows.has(name)) this.chosen.delete(name);
    if (this.asked || this.chosen.size) return;
    this.asked = true;
    const rows = [...this.rows.values()].filter((row) => row.epoch || row.state === "training");
    const one = rows.find((row) => row.state === "training") ?? rows[0];
    if (one) this.chosen.set(one.name, 0);
  }

  /** The runs that are chosen, by their letters. */
  #names() {
    return [...this.chosen].sort((a, b) => a[1] - b[1]).map(([name]) => name);
  }

  #turn(name, on) {
    const taken = [...this.chosen.values()];
    if (on) this.chosen.set(name, RUN_LETTERS.findIndex((_, i) => !taken.includes(i)));
    else this.chosen.delete(name);
    this.asked = true;
    this.#write();
    this.#choose();
  }

  async #choose() {
    this.#render();
    try {
      await Promise.all([...this.chosen.keys()].map((name) => this.#history(name)));
    } catch {
      this.away ??= new Date();
    }
    this.#render();
  }

  // what is seen

  #build() {
    this.parts = {};
    const part = (key, name, attributes = {}, ...inside) => (this.parts[key] = tagged(name, attributes, ...inside));
    this.root.classList.add("runs");
    this.root.append(
      part("away", "p", { class: "warning", role: "alert", hidden: true }),
      part("empty", "p", { class: "lede", hidden: true }),
      part("curves", "div", { class: "chosen", hidden: true },
        tagged("div", { class: "heading" }, part("title", "h2"), part("axis", "div", { class: "choice", role: "group" })),
        tagged("div", { class: "charts" }, ...RUN_CHARTS.map((key) => part(key, "figure", { class: "curves" }))),
        part("told", "table", { class: "told", role: "table" }),
        part("compared", "div", { class: "compared" }),
      ),
      part("listed", "div", { hidden: true },
        tagged("div", { class: "heading" }, part("count", "h2"), part("filters", "div", { class: "filters" })),
        part("table", "table", { class: "listing", role: "table" }, part("head", "thead", { role: "rowgroup" }), part("body", "tbody", { role: "rowgroup" })),
      ),
    );
    this.charts = Object.fromEntries(RUN_CHARTS.map((key) => [key, new Curves(this.parts[key], (x) => this.#tell(x))]));
    this.comparing = new Comparing(this.parts.compared);
  }

  #speak() {
    this.drawnRows.clear();
    this.filled = "";
    const { axis, head } = this.parts;
    axis.setAttribute("aria-label", say("runs.along"));
    axis.replaceChildren(
      ...["epoch", "seconds"].map((key) =>
        tagged("button", { type: "button", onclick: () => this.#axis(key), "data-key": key }, say(key === "epoch" ? "runs.epochs" : "runs.seconds")),
      ),
    );
    this.names = {
      name: say("runs.run"), data: say("runs.data"), network: say("runs.network"), accuracy: say("runs.accuracy"),
      seconds: say("runs.trained"), parameters: say("runs.parameters"), date: say("runs.date"), state: say("runs.state"),
    };
    head.replaceChildren(
      tagged("tr", { role: "row" },
        tagged("th", { role: "columnheader", scope: "col" }, tagged("span", { class: "hidden" }, say("runs.curves"))),
        ...RUN_COLUMNS.map((key) =>
          tagged("th", { role: "columnheader", scope: "col", "data-key": key },
            tagged("button", { type: "button", onclick: () => this.#sort(key) }, this.names[key])),
        ),
      ),
    );
    this.#render();
  }

  #sort(key) {
    this.up = this.sort === key ? !this.up : false;
    this.sort = key;
    this.#render();
  }

  #axis(key) {
    [this.along, this.at] = [key, null];
    this.#write();
    this.#render();
  }

  #render() {
    const { away, empty, curves, listed } = this.parts,
      time = this.away?.toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" });
    away.hidden = !this.away && !this.refused;
    const said = this.away ? `${say("runs.away")} ${say("runs.away.since", { time })}` : this.refused;
    if (away.textContent !== said) away.textContent = said;
    empty.hidden = this.rows.size > 0 || Boolean(this.away) || !this.place;
    if (!empty.hidden) empty.replaceChildren(say("runs.empty", { root: this.place }), " ", tagged("code", {}, "convscope train mnist"));
    listed.hidden = !this.rows.size;
    curves.hidden = !this.chosen.size;
    this.#list();
    if (this.chosen.size) this.#draw();
  }

  // the table

  #list() {
    const all = [...this.rows.values()],
      shown = all.filter((row) => Object.entries(this.filter).every(([key, value]) => !value || row[key] === value));
    this.#filters(all);
    this.parts.count.textContent = say(shown.length === 1 ? "runs.one" : "runs.count", { count: count(shown.length), root: this.place });
    shown.sort((a, b) => this.#order(a, b));
    for (const th of this.parts.head.querySelectorAll("[data-key]")) {
      const here = th.dataset.key === this.sort;
      if (here) th.setAttribute("aria-sort", BEST_FIRST.includes(this.sort) === this.up ? "ascending" : "descending");
      else th.removeAttribute("aria-sort");
    }
    const { body } = this.parts,
      ends = new Map(); // of each data set, whose intervals are drawn to one scale
    for (const row of shown) ends.set(row.data, [...(ends.get(row.data) ?? []), ...(row.ci95 ?? [])]);
    const full = this.chosen.size >= RUN_LETTERS.length;
    const lines = shown.map((row) => {
      const slot = this.chosen.get(row.name),
        key = JSON.stringify([row, slot, this.chosen.size === 1, full && slot === undefined]);
      const kept = this.drawnRows.get(row.name);
      if (kept?.key === key) return kept.line;
      const line = this.#line(row, slot, full);
      this.drawnRows.set(row.name, { key, line });
      if (kept?.line.contains(document.activeElement)) this.focused = [line, [...kept.line.querySelectorAll("a, input, summary")].indexOf(document.activeElement)];
      return line;
    });
    lines.forEach((line, i) => {
      line.style.setProperty("--low", Math.min(...ends.get(shown[i].data)));
      line.style.setProperty("--high", Math.max(...ends.get(shown[i].data)));
    });
    if (lines.length !== body.rows.length || lines.some((line, i) => body.rows[i] !== line)) body.replaceChildren(...lines);
    if (this.focused) this.focused[0].querySelectorAll("a, input, summary")[this.focused[1]]?.focus();
    this.focused = null;
  }

  #order(a, b) {
    const { sort, up } = this,
      turned = (BEST_FIRST.includes(sort) ? -1 : 1) * (up ? -1 : 1);
    const [x, y] = [a[sort], b[sort]].map((value) => (value === "" ? null : sort === "date" ? Date.parse(value) : value));
    if (x === null || y === null) return (x === null) - (y === null);
    const found = typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
    return turned * found || a.name.localeCompare(b.name, undefined, { numeric: true });
  }

  /** Choices of data and network, and, where there are no headings to sort by, of the order. */
  #filters(all) {
    const options = { data: [...new Set(all.map((row) => row.data))], network: [...new Set(all.map((row) => row.network))] };
    const key = JSON.stringify([options, this.sort, this.filter]);
    if (key === this.filled) return;
    this.filled = key;
    const choice = (name, title, values, chosen, took) =>
      tagged("label", { class: name },
        tagged("span", {}, title),
        tagged("select", { "aria-label": title, onchange: (event) => took(event.target.value) },
          ...values.map(([value, text]) => tagged("option", { value, selected: value === chosen }, text))),
      );
    const filters = ["data", "network"].filter((name) => options[name].length > 1).map((name) => {
      const values = options[name].filter(Boolean).sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
      return choice("filter", this.names[name], [["", say("runs.all")], ...values.map((one) => [one, shortName(one)])], this.filter[name], (value) => {
        this.filter[name] = value;
        this.#render();
      });
    });
    const order = choice("order", say("runs.sort"), RUN_COLUMNS.map((one) => [one, this.names[one]]), this.sort, (value) => this.#sort(value));
    this.parts.filters.replaceChildren(...filters, order);
  }

  #line(row, slot, full) {
    const { name } = row,
      on = slot !== undefined;
    const path = `/run/${name.split("/").map(encodeURIComponent).join("/")}/`;
    const cell = (key, ...inside) => tagged("td", { role: "cell", class: key }, ...inside);
    const box = tagged("input", { type: "checkbox", checked: on, disabled: full && !on, "aria-label": say("runs.choose", { name }), onchange: (event) => this.#turn(name, event.target.checked) });
    const links = [["report.html", "report.html", say("runs.report")], ["explain/index.html", "explain/", say("runs.explanation")]]
      .filter(([page]) => row.pages.includes(page))
      .map(([, at, text]) => tagged("a", { href: path + at }, text));
    const line = tagged("tr", { role: "row", class: on ? "on" : "" },
      cell("pick", tagged("label", { class: "pick", title: full && !on ? say("runs.most", { count: RUN_LETTERS.length }) : "" }, box, tagged("span", { class: "badge" }, on ? RUN_LETTERS[slot] : ""))),
      cell("name", row.state === "finished" ? tagged("a", { href: path, title: say("runs.open") }, ...breakable(name)) : tagged("span", {}, ...breakable(name)), tagged("small", {}, ...links)),
      cell("data", tagged("span", { title: row.data }, shortName(row.data))), cell("network", row.network),
      cell("accuracy", ...this.#accuracy(row)),
      cell("seconds", row.seconds === null ? "" : durationOf(row.seconds)),
      cell("parameters", row.parameters === null ? "" : tagged("span", {}, count(row.parameters)), row.parameters === null ? "" : tagged("small", { class: "unit" }, ` ${say("runs.parameters")}`)),
      cell("date", this.#date(row.date)),
      cell("state", ...this.#state(row)),
    );
    if (on) line.style.setProperty("--hue", this.#hue(slot));
    return line;
  }

  #accuracy(row) {
    if (row.accuracy === null) {
      const so = row.val_accuracy;
      return so === null ? [""] : [tagged("span", { class: "quiet" }, say("runs.so_far", { accuracy: shareOf(so) }))];
    }
    const digits = row.n >= 2000 ? 2 : 1,
      [low, high] = row.ci95.map((end) => (100 * end).toFixed(digits));
    const several = [...this.rows.values()].filter((one) => one.ci95 && one.data === row.data).length > 1;
    const whisker = tagged("span", { class: "whisker", "aria-hidden": "true" });
    ["--lo", "--hi", "--at"].forEach((key, i) => whisker.style.setProperty(key, [...row.ci95, row.accuracy][i]));
    const balanced = row.measure === "accuracy" ? "" : say("runs.balanced");
    return [tagged("strong", {}, shareOf(row.accuracy, digits)), tagged("small", { title: say("runs.interval", { n: count(row.n) }) }, ` ${low} – ${high}`), several ? whisker : "", tagged("small", { class: "quiet" }, balanced)];
  }

  #date(text) {
    const at = new Date(text),
      own = [...navigator.languages].find((one) => one.startsWith(language)) ?? language;
    const [day, time] = [at.toLocaleDateString(own, { dateStyle: "medium" }), at.toLocaleTimeString(own, { timeStyle: "short" })];
    return tagged("time", { datetime: text }, day, tagged("small", {}, ` ${time}`));
  }

  #state(row) {
    const { state, epoch, epochs, pid } = row;
    const far = epochs ? say("runs.far", { epoch, epochs }) : "";
    if (state === "training") {
      const bar = tagged("progress", { max: epochs ?? 1, value: epoch, "aria-label": far });
      return [tagged("span", { class: "stands training", title: pid ? say("runs.process", { pid }) : "" }, say("runs.training")), tagged("small", {}, far), bar];
    }
    const words = { finished: say("runs.finished"), interrupted: say("runs.interrupted"), damaged: say("runs.damaged") };
    const shown = tagged("span", { class: `stands ${state}` }, words[state]);
    if (state === "finished" && !row.problem) return [shown];
    const more = state === "damaged" ? row.file : state === "finished" ? say("runs.no_report") : far;
    const how = row.command ? [say("runs.goes_on"), " ", tagged("code", {}, row.command)] : [tagged("span", { lang: "en" }, row.problem)];
    return [tagged("details", {}, tagged("summary", {}, shown, " ", tagged("small", {}, more)), tagged("p", { class: "note" }, ...how))];
  }

  // the curves

  /** The hue of a run; a single one has none, since training is orange and validation blue there. */
  #hue(slot) {
    return this.chosen.size > 1 ? `var(--run-${slot})` : "var(--ink)";
  }

  #draw() {
    const names = this.#names(),
      several = names.length > 1;
    this.parts.title.textContent = several ? say("runs.curves") : say("runs.curves.of", { name: names[0] });
    for (const button of this.parts.axis.children) button.setAttribute("aria-pressed", button.dataset.key === this.along);
    this.known = names.map((name) => ({ name, slot: this.chosen.get(name), rows: this.#along(this.histories.get(name)?.rows ?? []) }));
    const live = names.map((name) => this.rows.get(name)).filter((row) => row?.state === "training");
    for (const key of RUN_CHARTS) {
      const lines = this.known.flatMap(({ slot, rows }) =>
        ["train", "val"].map((split) => ({
          points: rows.filter((row) => row[`${split}_${key}`] !== null).map((row) => [row.x, row[`${split}_${key}`]]),
          css: several ? (split === "train" ? "dashed" : "") : split === "train" ? "training" : "validation",
          hue: several ? this.#hue(slot) : "",
          label: several ? (split === "val" || rows.every((row) => row.val_loss === null) ? RUN_LETTERS[slot] : "") : split === "train" ? say("runs.train") : say("runs.val"),
        })),
      );
      this.charts[key].draw({
        title: key === "accuracy" ? say("runs.chart.accuracy") : say("runs.chart.loss"),
        lines,
        none: say("runs.no_epoch"),
        margin: several ? 1.6 : 5,
        whole: this.along === "epoch",
        first: this.along === "epoch" ? null : 0,
        last: this.along === "epoch" ? Math.max(0, ...live.map((row) => row.epochs ?? 0)) : 0,
        format: (y, step) => (key === "accuracy" ? `${(100 * y).toFixed(Math.max(0, -Math.floor(Math.log10(100 * step) + 1e-9)))}%` : Number(y.toPrecision(6)).toLocaleString(language)),
        along: (x) => (this.along === "epoch" ? count(x) : durationOf(x, true)),
      });
    }
    this.#tell(this.at);
    this.comparing.show(names.map((name) => ({ ...this.rows.get(name), letter: RUN_LETTERS[this.chosen.get(name)], hue: this.#hue(this.chosen.get(name)) })));
  }

  /** Rows of a history, each with its x. */
  #along(rows) {
    let spent = 0;
    return rows.map((row) => ({ ...row, x: this.along === "epoch" ? row.epoch : (spent += row.seconds) }));
  }

  /** Tell the values at x, of each run where it is nearest; at null those of its last epoch. */
  #tell(x) {
    this.at = x;
    const several = this.known.length > 1;
    const found = this.known.map(({ name, slot, rows }) => ({ name, slot, row: rows.length ? (x === null ? rows.at(-1) : nearestPoint(rows.map((row) => [row.x, row]), x)[1]) : null }));
    const sample = (css) => curvePart("svg", { class: "sample curves", viewBox: "0 0 24 8", "aria-hidden": "true" }, curvePart("polyline", { class: several ? (css === "training" ? "dashed" : "") : css, points: "1,4 23,4" }));
    const head = (css, text) => tagged("th", { scope: "col", role: "columnheader" }, ...(css ? [sample(css)] : []), text);
    const heads = [[say("runs.train.accuracy"), "training"], [say("runs.val.accuracy"), "validation"], [say("runs.train.loss"), "training"], [say("runs.val.loss"), "validation"]];
    const titles = [say("runs.epoch"), ...heads.map(([text]) => text)];
    const number = (value, key) => (value === null || value === undefined ? "–" : key === "accuracy" ? shareOf(value, 2) : value.toFixed(4));
    const lines = found.map(({ name, slot, row }) => {
      const at = row ? `${count(row.epoch)}` : "–";
      const cells = RUN_CHARTS.flatMap((key) => ["train", "val"].map((split) => number(row?.[`${split}_${key}`], key)));
      const line = tagged("tr", { role: "row" }, tagged("th", { scope: "row", role: "rowheader" }, ...(several ? [tagged("span", { class: "badge" }, RUN_LETTERS[slot]), " "] : []), name), ...[at, ...cells].map((text, i) => tagged("td", { role: "cell", "data-head": titles[i] }, text)));
      line.style.setProperty("--hue", this.#hue(slot));
      return line;
    });
    this.parts.told.replaceChildren(
      tagged("caption", { class: "hidden" }, say("runs.told")),
      tagged("thead", { role: "rowgroup" }, tagged("tr", { role: "row" }, head("", say("runs.run")), head("", say("runs.epoch")), ...heads.map(([text, css]) => head(css, text)))),
      tagged("tbody", { role: "rowgroup" }, ...lines),
    );
    for (const key of RUN_CHARTS) {
      const text = found.map(({ name, row }) => (row ? say("runs.at", { name, epoch: row.epoch, train: number(row[`train_${key}`], key), val: number(row[`val_${key}`], key) }) : name));
      this.charts[key].mark(x, text.join("; "));
    }
  }
}
