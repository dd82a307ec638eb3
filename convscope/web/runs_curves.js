// The curves of chosen runs over each other, by epoch or by time, and their values where one points.

import { count, language, say } from "./words.js";
import { Curves, curvePart, nearestPoint } from "./curves.js";
import { durationOf, shareOf, tagged } from "./tagged.js";

const RUN_CHARTS = ["accuracy", "loss"];
const RUN_SPLITS = { train: "training", val: "validation" };

/** How a value is written; a dash where there is none. */
function written(value, key) {
  if (value === null || value === undefined) return "–";
  return key === "accuracy" ? shareOf(value, 2) : value.toFixed(4);
}

/** The charts in `root`; `turned` is called when they are drawn along something else. */
export class RunCurves {
  constructor(root, turned) {
    Object.assign(this, { turned, along: "epoch", at: null, shown: [] });
    this.title = tagged("h2");
    this.axis = tagged("div", { class: "choice", role: "group" });
    const figures = RUN_CHARTS.map(() => tagged("figure", { class: "curves" }));
    this.told = tagged("table", { class: "told", role: "table" });
    root.append(
      tagged("div", { class: "heading" }, this.title, this.axis),
      tagged("div", { class: "charts" }, ...figures),
      this.told,
    );
    this.charts = figures.map((figure) => new Curves(figure, (x) => this.#tell(x)));
  }

  /** Show these runs, each with its history, letter and hue. Of a single one training is orange and
      validation blue; of several the hue is the run's, and training is dashed. */
  show(shown) {
    this.shown = shown.map((run) => ({ ...run, rows: this.#placed(run.history) }));
    this.several = shown.length > 1;
    const { name } = shown[0];
    this.title.textContent = this.several ? say("runs.curves") : say("runs.curves.of", { name });
    this.#axis();
    const live = shown.filter((run) => run.state === "training").map((run) => run.epochs ?? 0);
    const epochs = this.along === "epoch";
    RUN_CHARTS.forEach((key, i) => {
      const decimals = (step) => Math.max(0, -Math.floor(Math.log10(100 * step) + 1e-9));
      this.charts[i].draw({
        title: key === "accuracy" ? say("runs.chart.accuracy") : say("runs.chart.loss"),
        lines: this.shown.flatMap((run) => this.#lines(run, key)),
        none: say("runs.no_epoch"),
        margin: this.several ? 1.6 : 5,
        whole: epochs,
        first: epochs ? null : 0,
        last: epochs ? Math.max(0, ...live) : 0, // there is room for what is to come
        format: (y, step) =>
          key === "accuracy"
            ? shareOf(y, decimals(step))
            : Number(y.toPrecision(6)).toLocaleString(language),
        along: (x) => (epochs ? count(x) : durationOf(x, true)),
      });
    });
    this.#tell(this.at);
  }

  /** The rows of a history, each with its x. */
  #placed(rows) {
    let spent = 0;
    return rows.map((row) => {
      spent += row.seconds;
      return { ...row, x: this.along === "epoch" ? row.epoch : spent };
    });
  }

  #lines({ rows, hue, letter }, key) {
    const validated = rows.some((row) => row.val_loss !== null);
    const names = { train: say("runs.train"), val: say("runs.val") };
    return Object.entries(RUN_SPLITS).map(([split, css]) => {
      const points = rows
        .filter((row) => row[`${split}_${key}`] !== null)
        .map((row) => [row.x, row[`${split}_${key}`]]);
      if (!this.several) return { points, css, label: names[split] };
      const label = (split === "val") === validated ? letter : "";
      return { points, css: split === "train" ? "dashed" : "", hue, label };
    });
  }

  #axis() {
    const button = (key, text) => {
      const onclick = () => {
        [this.along, this.at] = [key, null];
        this.turned();
        this.show(this.shown);
      };
      const pressed = String(key === this.along);
      return tagged("button", { type: "button", "aria-pressed": pressed, onclick }, text);
    };
    const key = JSON.stringify([say("runs.epochs"), this.along]);
    if (key === this.filled) return;
    this.filled = key;
    const at = [...this.axis.children].indexOf(document.activeElement);
    this.axis.setAttribute("aria-label", say("runs.along"));
    this.axis.replaceChildren(
      button("epoch", say("runs.epochs")),
      button("seconds", say("runs.seconds")),
    );
    this.axis.children[at]?.focus();
  }

  /** Tell the values at x, of each run where it is nearest; at null those of its last epoch. */
  #tell(x) {
    this.at = x;
    const found = this.shown.map((run) => {
      const placed = run.rows.map((row) => [row.x, row]);
      if (!placed.length) return { ...run, row: null };
      return { ...run, row: x === null ? run.rows.at(-1) : nearestPoint(placed, x)[1] };
    });
    this.#table(found);
    RUN_CHARTS.forEach((key, i) => {
      const said = found.map(({ name, row }) => {
        if (!row) return name;
        const [train, val] = Object.keys(RUN_SPLITS).map((split) =>
          written(row[`${split}_${key}`], key),
        );
        return say("runs.at", { name, epoch: row.epoch, train, val });
      });
      this.charts[i].mark(x, said.join("; "));
    });
  }

  /** What is told, a row a run: the legend of the curves, too. */
  #table(found) {
    const sample = (css) => {
      const own = this.several ? (css === "training" ? "dashed" : "") : css;
      const box = { class: "sample curves", viewBox: "0 0 24 8", "aria-hidden": "true" };
      return curvePart("svg", box, curvePart("polyline", { class: own, points: "1,4 23,4" }));
    };
    const heads = [
      [say("runs.epoch")],
      [say("runs.train.accuracy"), "training"],
      [say("runs.val.accuracy"), "validation"],
      [say("runs.train.loss"), "training"],
      [say("runs.val.loss"), "validation"],
    ];
    const head = ([text, css]) =>
      tagged("th", { scope: "col", role: "columnheader" }, ...(css ? [sample(css)] : []), text);
    const lines = found.map(({ name, letter, hue, row }) => {
      const cells = RUN_CHARTS.flatMap((key) =>
        Object.keys(RUN_SPLITS).map((split) => written(row?.[`${split}_${key}`], key)),
      );
      const badge = this.several ? [tagged("span", { class: "badge" }, letter), " "] : [];
      const line = tagged(
        "tr",
        { role: "row" },
        tagged("th", { scope: "row", role: "rowheader" }, ...badge, name),
        ...[row ? count(row.epoch) : "–", ...cells].map((text, i) =>
          tagged("td", { role: "cell", "data-head": heads[i][0] }, text),
        ),
      );
      line.style.setProperty("--hue", hue);
      return line;
    });
    this.told.replaceChildren(
      tagged("caption", { class: "hidden" }, say("runs.told")),
      tagged(
        "thead",
        { role: "rowgroup" },
        tagged("tr", { role: "row" }, head([say("runs.run")]), ...heads.map(head)),
      ),
      tagged("tbody", { role: "rowgroup" }, ...lines),
    );
  }
}
