// The curves of a training while it goes on: loss and accuracy, training orange, validation blue.

import { say } from "./words.js";
import { make, shape } from "./teaching.js";

const [CURVE_WIDE, CURVE_HIGH, CURVE_LEFT, CURVE_BELOW, CURVE_ABOVE, CURVE_BESIDE] = [
  400, 190, 44, 24, 8, 10,
];

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

/** A figure of lines by epoch, which tells its values under pointer, finger and arrow keys; `pointed`
    keeps what is looked at, by title, while the figure is drawn anew. */
export function trainingCurve(title, { train, val, all }, read, pointed, most = null) {
  const points = [...train, ...val],
    values = points.map(([, y]) => y);
  const first = Math.min(...points.map(([x]) => x), all),
    low = most === null ? 0 : [0.9, 0.8, 0.5, 0].find((one) => one <= Math.min(...values)),
    high = most ?? niceAbove(Math.max(...values));
  const x = (at) =>
      CURVE_LEFT +
      ((at - Math.min(first, 1)) / Math.max(1e-9, all - Math.min(first, 1))) *
        (CURVE_WIDE - CURVE_LEFT - CURVE_BESIDE),
    y = (at) =>
      CURVE_HIGH -
      CURVE_BELOW -
      ((at - low) / (high - low)) * (CURVE_HIGH - CURVE_BELOW - CURVE_ABOVE);
  const drawn = shape("svg", {
    viewBox: `0 0 ${CURVE_WIDE} ${CURVE_HIGH}`,
    class: "teach-curve",
    tabindex: 0,
    role: "slider",
  });
  for (const part of [0, 0.5, 1]) {
    const at = low + part * (high - low);
    drawn.append(
      shape("line", {
        x1: CURVE_LEFT,
        x2: CURVE_WIDE - CURVE_BESIDE,
        y1: y(at),
        y2: y(at),
        class: "grid",
      }),
    );
    drawn.append(shape("text", { x: CURVE_LEFT - 6, y: y(at) + 4, class: "end" }, read(at)));
  }
  const ticks = all <= 6 ? [...Array(all).keys()].map((n) => n + 1) : [1, Math.round(all / 2), all];
  for (const at of ticks)
    drawn.append(
      shape(
        "text",
        { x: x(at), y: CURVE_HIGH - 7, class: at === all && all > 1 ? "end" : "middle" },
        `${at}`,
      ),
    );
  for (const [name, line] of Object.entries({ train, val })) {
    const path = line.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
    drawn.append(shape("polyline", { points: path, class: name }));
    const end = line.at(-1);
    if (end) drawn.append(shape("circle", { cx: x(end[0]), cy: y(end[1]), r: 3, class: name }));
  }
  const rule = shape("line", {
      y1: CURVE_ABOVE,
      y2: CURVE_HIGH - CURVE_BELOW,
      class: "rule",
      visibility: "hidden",
    }),
    told = make("output", {}, "");
  drawn.append(rule);
  const stops = [...new Set(points.map(([at]) => at))].sort((a, b) => a - b);
  let at = stops.length - 1;
  const tell = (n, shown = true) => {
    at = Math.max(0, Math.min(stops.length - 1, n));
    const near = (line) =>
      line.reduce(
        (best, one) =>
          best === null || Math.abs(one[0] - stops[at]) < Math.abs(best[0] - stops[at])
            ? one
            : best,
        null,
      );
    const parts = Object.entries({ train, val }).flatMap(([name, line]) => {
      const one = near(line);
      return one && Math.abs(one[0] - stops[at]) < 0.51
        ? [make(`span.${name}`, {}, `${say(`teach.curve.${name}`)} ${read(one[1], true)}`)]
        : [];
    });
    told.replaceChildren(
      make("span.note", {}, say("teach.curve.epoch", { n: Number(stops[at].toFixed(1)) })),
      ...parts,
    );
    if (shown) pointed.set(title, stops[at]);
    else pointed.delete(title);
    rule.setAttribute("x1", x(stops[at]));
    rule.setAttribute("x2", x(stops[at]));
    rule.setAttribute("visibility", shown ? "visible" : "hidden");
    drawn.setAttribute("aria-valuenow", at + 1);
    const words = [...told.children].map((part) => part.textContent);
    drawn.setAttribute("aria-valuetext", words.join(", "));
  };
  const under = (event) => {
    const box = drawn.getBoundingClientRect(),
      wanted = ((event.clientX - box.left) / box.width) * CURVE_WIDE;
    tell(
      stops.reduce(
        (best, one, n) =>
          Math.abs(x(one) - wanted) < Math.abs(x(stops[best]) - wanted) ? n : best,
        0,
      ),
    );
  };
  drawn.addEventListener("pointermove", under);
  drawn.addEventListener("pointerdown", under);
  drawn.addEventListener("pointerleave", () => tell(stops.length - 1, false));
  drawn.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    tell(at + step);
  });
  const named = {
    "aria-label": title,
    "aria-valuemin": 1,
    "aria-valuemax": stops.length,
    "data-key": title,
  };
  for (const [key, value] of Object.entries(named)) drawn.setAttribute(key, value);
  const looked = pointed.has(title) ? stops.findLastIndex((one) => one <= pointed.get(title)) : -1;
  if (looked >= 0) tell(looked);
  else tell(stops.length - 1, false);
  return make("figure", {}, make("figcaption", {}, make("b", {}, title), told), drawn);
}

/** A round number above the highest value. */
function niceAbove(highest) {
  const unit = 10 ** Math.floor(Math.log10(highest || 1));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((n) => n * unit).find((n) => n >= highest) ?? 10 * unit;
}
