// Two runs compared on the test images that both judged: what convscope's paired comparison says.

import { count, say } from "./words.js";
import { curvePart, curveTicks } from "./curves.js";
import { tagged } from "./tagged.js";

const MOST_CHANGED = 5; // classes that are told of
const inPoints = (share) => (100 * share).toFixed(2);
const signedPoints = (share) =>
  `${share > 0 ? "+" : share < 0 ? "−" : ""}${inPoints(Math.abs(share))}`;

/** The comparison in `root`, asked for when two finished runs are chosen. */
export class Comparing {
  constructor(root) {
    Object.assign(this, { root, key: "", found: null });
    root.setAttribute("aria-live", "polite");
  }

  /** Show what is to be said of these rows, each with its letter and hue. */
  async show(rows) {
    this.rows = rows;
    const two = rows.length === 2 && rows.every((row) => row.state === "finished");
    const key = JSON.stringify([two, rows.map((row) => [row.name, row.date, row.state])]);
    if (two && key !== this.key) {
      [this.key, this.found] = [key, null];
      this.#render();
      const asked = new URLSearchParams({ a: rows[0].name, b: rows[1].name });
      try {
        const answer = await fetch(`/api/compare?${asked}`, { cache: "no-cache" });
        if (this.key === key) this.found = await answer.json();
      } catch {
        if (this.key === key) this.key = ""; // the server is away: once more when it is back
      }
    } else if (!two) {
      [this.key, this.found] = [key, null];
    }
    this.#render();
  }

  #render() {
    const { rows, found } = this,
      shown = JSON.stringify([
        this.key,
        found !== null,
        say("language"),
        rows.map((row) => row.hue),
      ]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.root.replaceChildren(...this.#parts(rows, found));
  }

  #parts(rows, found) {
    const note = (...said) => [tagged("p", { class: "note" }, ...said)];
    if (rows.length === 1) return note(say("compare.choose"));
    if (rows.length > 2) return note(say("compare.two"));
    if (rows.some((row) => row.state !== "finished")) return note(say("compare.unfinished"));
    if (!found) return note(say("compare.asked"));
    if (found.error)
      return [
        tagged(
          "p",
          { class: "note" },
          say("compare.not"),
          " ",
          tagged("span", { lang: "en" }, found.error.message),
        ),
      ];
    const badge = (row) => {
      const one = tagged("span", { class: "badge" }, row.letter);
      one.style.setProperty("--hue", row.hue);
      return one;
    };
    const [a, b] = rows;
    return [
      tagged(
        "h3",
        {},
        badge(a),
        ` ${a.name} `,
        tagged("span", { class: "quiet" }, say("compare.with")),
        " ",
        badge(b),
        ` ${b.name}`,
      ),
      tagged("p", { class: "verdict" }, this.#verdict(found)),
      tagged("div", { class: "sides" }, this.#interval(found), this.#counts(found)),
      ...this.#classes(found),
      ...note(say("compare.seeds"), ...(found.note ? [" ", say("compare.fitted")] : [])),
    ];
  }

  /** What the numbers support, in a sentence. */
  #verdict({ finding, difference_ci95: [low, high], p }) {
    const [a, b] = this.rows.map((row) => row.letter),
      chance = p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`;
    if (finding === "same") return say("compare.same", { a, b, most: inPoints(high) });
    if (finding === "undecided")
      return say("compare.undecided", { low: signedPoints(low), high: signedPoints(high), chance });
    if (finding === "none")
      return say("compare.none", {
        a,
        b,
        worse: inPoints(Math.abs(low)),
        better: inPoints(Math.abs(high)),
        chance,
      });
    const [better, worse, least, most] = finding === "b" ? [b, a, low, high] : [a, b, -high, -low];
    return say("compare.better", {
      better,
      worse,
      least: inPoints(least),
      most: inPoints(most),
      chance,
    });
  }

  /** The interval of the difference on a line, with no difference marked. */
  #interval({ difference, difference_ci95: [low, high], n }) {
    const [a, b] = this.rows,
      most = 1.15 * Math.max(Math.abs(low), Math.abs(high), 1e-4),
      x = (share) => 160 + (share / most) * 145;
    const ticks = curveTicks(-100 * most, 100 * most, 4).filter(
      (tick) => Math.abs(tick) <= 100 * most,
    );
    const said = say("compare.interval", {
      difference: signedPoints(difference),
      low: signedPoints(low),
      high: signedPoints(high),
      a: a.letter,
      b: b.letter,
      n: count(n),
    });
    return tagged(
      "figure",
      { class: "difference" },
      curvePart(
        "svg",
        { viewBox: "0 0 320 74", role: "img", "aria-label": said },
        curvePart(
          "text",
          { class: "label", x: 4, y: 12, style: `--hue: ${a.hue}` },
          `← ${say("compare.side", { name: a.letter })}`,
        ),
        curvePart(
          "text",
          { class: "label", x: 316, y: 12, "text-anchor": "end", style: `--hue: ${b.hue}` },
          `${say("compare.side", { name: b.letter })} →`,
        ),
        curvePart("line", { class: "zero", x1: 160, x2: 160, y1: 18, y2: 54 }),
        curvePart("line", { class: "span", x1: x(low), x2: x(high), y1: 36, y2: 36 }),
        ...[low, high].map((end) =>
          curvePart("line", { class: "span", x1: x(end), x2: x(end), y1: 29, y2: 43 }),
        ),
        curvePart("circle", { cx: x(difference), cy: 36, r: 5.5 }),
        ...ticks.map((tick) =>
          curvePart(
            "text",
            { class: "tick", x: x(tick / 100), y: 69, "text-anchor": "middle" },
            tick ? `${tick > 0 ? "+" : "−"}${Math.abs(tick)}` : "0",
          ),
        ),
      ),
      tagged("figcaption", { class: "note" }, said),
    );
  }

  /** How many images both get right, one alone, neither. */
  #counts({ counts: { both, only_a: onlyA, only_b: onlyB, neither } }) {
    const [a, b] = this.rows.map((row) => row.letter);
    const head = (text) => tagged("th", { scope: "col" }, text),
      row = (text, ...cells) =>
        tagged(
          "tr",
          {},
          tagged("th", { scope: "row" }, text),
          ...cells.map((n) => tagged("td", {}, count(n))),
        );
    return tagged(
      "table",
      { class: "counts" },
      tagged("caption", {}, say("compare.counts")),
      tagged(
        "thead",
        {},
        tagged(
          "tr",
          {},
          tagged("td"),
          head(say("compare.right", { name: b })),
          head(say("compare.wrong", { name: b })),
        ),
      ),
      tagged(
        "tbody",
        {},
        row(say("compare.right", { name: a }), both, onlyA),
        row(say("compare.wrong", { name: a }), onlyB, neither),
      ),
    );
  }

  /** The classes that changed the most. */
  #classes({ per_class: rows }) {
    const changed = rows
      .filter((row) => row.only_a || row.only_b)
      .sort((x, y) => x.p - y.p || Math.abs(y.difference) - Math.abs(x.difference));
    if (!changed.length) return [];
    const [a, b] = this.rows.map((row) => row.letter);
    const heads = [
      say("compare.class"),
      say("compare.images"),
      say("compare.right", { name: a }),
      say("compare.right", { name: b }),
      "p",
    ];
    const lines = changed
      .slice(0, MOST_CHANGED)
      .map((row) =>
        tagged(
          "tr",
          {},
          tagged("th", { scope: "row" }, row.class),
          ...[
            count(row.images),
            count(row.a_right),
            count(row.b_right),
            row.p_holm < 0.001 ? "< 0.001" : row.p_holm.toFixed(3),
          ].map((text) => tagged("td", {}, text)),
        ),
      );
    return [
      tagged(
        "details",
        {},
        tagged("summary", {}, say("compare.classes")),
        tagged(
          "table",
          { class: "counts" },
          tagged(
            "thead",
            {},
            tagged("tr", {}, ...heads.map((text) => tagged("th", { scope: "col" }, text))),
          ),
          tagged("tbody", {}, ...lines),
        ),
        tagged("p", { class: "note" }, say("compare.holm")),
      ),
    ];
  }
}
