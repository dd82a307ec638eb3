// What a 1x1 convolution saves, counted.

import { count, say } from "./words.js";
import { built } from "./fields.js";
import { pairOf, wholeNumbers } from "./experiment.js";
import { Lesson, bounded } from "./lesson.js";

/** Multiplications straight on and by way of a 1x1 convolution (Szegedy et al. 2015, section 4). */
export class Costs extends Lesson {
  constructor(root, changed) {
    super(root, changed);
    Object.assign(this, { shape: [192, 28, 28], kernel: [5, 5], out: [32], through: [16] });
    this.field("lab.size", "shape", bounded(1, 9999, [3]), 11);
    this.field("lab.kernel_size", "kernel", (text) => pairOf(wholeNumbers(text, 1, 99, [1, 2])));
    this.field("lab.kernels", "out", bounded(1, 9999, [1]));
    this.field("lab.through", "through", bounded(1, 9999, [1]));
    this.slider = built("input", {
      type: "range",
      min: 1,
      label: "lab.through",
      oninput: () => {
        this.through = [Number(this.slider.value)];
        this.show();
        this.changed();
      },
    });
    this.bars = built("div", { class: "bars" });
    root.append(
      built("p", { say: "lab.costs.what" }),
      this.settings,
      this.slider,
      this.wrong,
      this.said,
      this.bars,
    );
  }

  take({ x, k, out, through }) {
    if (x) this.shape = wholeNumbers(x, 1, 99_999, [3]);
    if (k) this.kernel = pairOf(wholeNumbers(k, 1, 999, [1, 2]));
    if (out) this.out = wholeNumbers(out, 1, 99_999, [1]);
    if (through) this.through = wholeNumbers(through, 1, 99_999, [1]);
  }

  words() {
    const { shape, kernel, out, through } = this;
    return { x: shape.join("x"), k: kernel.join("x"), out: out[0], through: through[0] };
  }

  compute() {
    const {
      shape: [C, h, w],
      kernel,
      out: [out],
      through: [t],
    } = this;
    const pixels = h * w,
      taps = kernel[0] * kernel[1],
      named = kernel.join("×");
    const straight = pixels * taps * C * out,
      narrow = pixels * C * t,
      wide = pixels * taps * t * out;
    this.found = { straight, narrow, wide, weights: [taps * C * out, C * t + taps * t * out] };
    this.slider.max = Math.max(C, t);
    this.slider.value = t;
    const most = Math.max(straight, narrow + wide);
    const bar = (title, text, parts) =>
      built(
        "div",
        {},
        built("h3", {}, title),
        built(
          "div",
          { class: "bar" },
          ...parts.map(([kind, v]) =>
            built("span", { class: kind, style: `width:${(100 * v) / most}%` }),
          ),
        ),
        built("span", {}, text),
      );
    this.bars.replaceChildren(
      bar(
        say("lab.costs.straight", { kernel: named }),
        `${h}·${w} · ${taps}·${C} · ${out} = ${count(straight)}`,
        [["straight", straight]],
      ),
      bar(
        say("lab.costs.detour", { kernel: named }),
        `${count(narrow)} + ${count(wide)} = ${count(narrow + wide)}`,
        [
          ["narrow", narrow],
          ["wide", wide],
        ],
      ),
    );
    const saved = 1 - (narrow + wide) / straight;
    this.said.textContent = say(saved < 0 ? "lab.costs.more" : "lab.costs.saved", {
      through: t,
      share: Math.abs(100 * saved).toFixed(1),
      one: count(this.found.weights[0]),
      other: count(this.found.weights[1]),
    });
  }
}
