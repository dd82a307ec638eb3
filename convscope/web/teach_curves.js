// The curves of a training while it goes on, by epoch: training orange, validation blue.

import { count, language, say } from "./words.js";
import { Curves, nearestPoint } from "./curves.js";
import { shareOf } from "./tagged.js";
import { make } from "./teaching.js";

/** What a journal says of the curves: `epochs`, the running loss by step, the steps in all. */
export class TrainingCourse {
  constructor() {
    this.epochs = new Map(); // number -> the event
    this.looks = []; // { step, loss }
    this.steps = 0;
  }

  take(event) {
    if (event.event === "epoch") this.epochs.set(event.epoch, event);
    if (event.event === "progress" && event.unit === "steps") this.steps = event.total;
    if (event.event !== "look") return;
    while (this.looks.length && this.looks.at(-1).step >= event.step) this.looks.pop(); // gone on
    this.looks.push({ step: event.step, loss: event.loss });
  }

  /** The lines of a figure by epoch, the running loss by the step; while it is `going` there is room
      for `all` epochs. */
  lines(of, going) {
    const ends = [...this.epochs.values()].sort((a, b) => a.epoch - b.epoch),
      all = ends[0]?.epochs ?? 1;
    const train = ends.map((end) => [end.epoch, end[`train_${of}`]]);
    if (of === "loss" && this.steps && this.looks.length > 1) {
      const live = this.looks.map(({ step, loss }) => [
        (step / this.steps) * (this.known ?? all),
        loss,
      ]);
      train.splice(0, Infinity, ...live);
    }
    const val = ends
      .filter((end) => end[`val_${of}`] !== null)
      .map((end) => [end.epoch, end[`val_${of}`]]);
    return { train, val, all: going ? (this.known ?? all) : (ends.at(-1)?.epoch ?? all) };
  }
}

/** Accuracy and loss of a course side by side, with the values that are pointed at, else the last. */
export class TrainingCurves {
  constructor() {
    this.charts = ["accuracy", "loss"].map((of) => {
      const figure = make("figure.curves"),
        told = make("output.told"),
        root = make("div", {}, figure, told),
        chart = { of, root, told, lines: null, at: null };
      chart.curves = new Curves(figure, (x) => this.point(chart, x));
      return chart;
    });
    this.root = make(".teach-curves", {}, ...this.charts.map(({ root }) => root));
  }

  /** Draw a course as it is; while it is `going` there is room for all its epochs. */
  show(course, going) {
    for (const chart of this.charts) {
      const { train, val, all } = course.lines(chart.of, going),
        share = chart.of === "accuracy";
      chart.root.hidden = train.length < (share ? 1 : 2);
      if (chart.root.hidden) continue;
      chart.lines = { train, val };
      const decimals = (step) => Math.max(0, -Math.floor(Math.log10(100 * step) + 1e-9));
      chart.curves.draw({
        title: say(`teach.curve.${chart.of}`),
        lines: [
          { points: train, css: "training", label: "" },
          { points: val, css: "validation", label: "" },
        ],
        none: "",
        margin: 0.8,
        whole: true,
        last: all,
        format: (y, step) =>
          share ? shareOf(y, decimals(step)) : Number(y.toPrecision(6)).toLocaleString(language),
        along: count,
      });
      this.point(chart, chart.at);
    }
  }

  point(chart, x) {
    chart.at = x;
    const { train, val } = chart.lines,
      at = x ?? train.at(-1)[0];
    const value = (y) => (chart.of === "accuracy" ? shareOf(y) : y.toFixed(3));
    const parts = [make("span.note", {}, say("teach.curve.epoch", { n: Number(at.toFixed(1)) }))];
    for (const [key, css, points] of [
      ["train", "training", train],
      ["val", "validation", val],
    ]) {
      const near = points.length ? nearestPoint(points, at) : null;
      if (!near || Math.abs(near[0] - at) > 0.51) continue;
      const name = say(`teach.curve.${key}`);
      parts.push(make(`b.${css}`, {}, `${name} ${value(near[1])}`));
    }
    chart.told.replaceChildren(...parts);
    chart.curves.mark(x, parts.map((part) => part.textContent).join(", "));
  }
}
