// How a kernel is learnt, step by step.

import { say } from "./words.js";
import { Board, clamped, numberText } from "./board.js";
import { EditedBoard } from "./editing.js";
import { built } from "./fields.js";
import { Unfit, corr, learn } from "./sliding.js";
import { rowsOf, tensorOf, textOf, wholeNumbers } from "./experiment.js";
import { Lesson, boardFigure, bounded } from "./lesson.js";

const MOST_STEPS = 400; // of gradient descent

/** A kernel that gradient descent finds, from an image and what another kernel makes of it. */
export class Learning extends Lesson {
  constructor(root, changed) {
    super(root, changed);
    Object.assign(this, {
      image: tensorOf(Array(6).fill("1,1,0,0,0,0,1,1").join(";")),
      kernel: tensorOf("1,-1"),
      steps: [60],
      rate: null,
      start: null,
      step: 0,
    });
    this.field("lab.learning.kernel", "kernel", (text) => this.fitting(tensorOf(text)), 14);
    this.field("lab.learning.steps", "steps", bounded(1, MOST_STEPS, [1]), 4);
    this.field("lab.learning.rate", "rate", (text) => {
      const rate = Number(text);
      if (text.trim() && !(rate > 0)) throw new Unfit("lab.bad.number", { text });
      return text.trim() ? rate : null;
    });
    const canvases = Array.from({ length: 4 }, () => built("canvas"));
    const [image, kernel, made, wanted] = canvases;
    this.boards = {
      image: new EditedBoard(image),
      kernel: new Board(kernel),
      made: new Board(made),
      wanted: new Board(wanted),
    };
    this.boards.image.edit({
      change: (i, j, block) => {
        block.forEach((row, y) =>
          row.forEach((v, x) => {
            const {
              data,
              shape: [, H, W],
            } = this.image;
            if (i + y < H && j + x < W) data[(i + y) * W + j + x] = v;
          }),
        );
        this.show();
        this.changed();
      },
      refuse: (text) => this.refuse(new Unfit("lab.bad.number", { text })),
      label: (i, j) => say("lab.cell", { board: say("lab.input"), i, j }),
      brush: () => 1,
    });
    this.slider = built("input", {
      type: "range",
      min: 0,
      label: "lab.learning.step",
      oninput: () => {
        this.stop();
        this.go(Number(this.slider.value));
      },
    });
    this.play = built("button", { type: "button", say: "lab.play", onclick: () => this.toggle() });
    root.append(
      built("p", { say: "lab.learning.what" }),
      this.settings,
      built("div", { class: "controls" }, this.play, this.slider),
      this.wrong,
      this.said,
      built(
        "div",
        { class: "boards" },
        boardFigure(image, "lab.input"),
        boardFigure(kernel, "lab.learning.now"),
        boardFigure(made, "lab.learning.made"),
        boardFigure(wanted, "lab.learning.wanted"),
      ),
      built("p", { class: "note", say: "lab.by_hand" }),
    );
  }

  text(name) {
    if (name === "kernel") return textOf(this.kernel);
    return name === "rate"
      ? this.rate === null
        ? ""
        : numberText(this.rate, 4)
      : super.text(name);
  }

  fitting(kernel) {
    const [, h, w] = kernel.shape,
      [, H, W] = this.image.shape;
    if (h > H || w > W)
      throw new Unfit("lab.large", { span: h > H ? h : w, padded: h > H ? H : W });
    this.start = null;
    return kernel;
  }

  take({ x, k, start, steps, rate }) {
    if (x) this.image = tensorOf(x);
    if (k) this.kernel = this.fitting(tensorOf(k));
    this.start = start ? tensorOf(start) : null;
    if (steps) this.steps = wholeNumbers(steps, 1, 100_000, [1]);
    if (rate) this.rate = Number(rate);
    this.step = 0;
  }

  words() {
    const words = { x: textOf(this.image), k: textOf(this.kernel), steps: this.steps[0] };
    if (this.start) words.start = textOf(this.start);
    if (this.rate !== null) words.rate = this.rate;
    return words;
  }

  compute() {
    const image = rowsOf(this.image),
      kernel = rowsOf(this.kernel);
    const wanted = corr(image, kernel);
    // small numbers to begin with, the same ones every time
    const start = this.start
      ? rowsOf(this.start)
      : kernel.map((row, u) => row.map((_, v) => 0.1 * Math.sin(7 * u + 3 * v + 1)));
    this.found = { ...learn(image, wanted, start, this.steps[0], this.rate), wanted, image };
    this.slider.max = this.steps[0];
    const picture = Math.max(image.length, image[0].length) > 40;
    const { boards } = this,
      flat = wanted.flat(),
      reach = Math.max(...this.found.kernels.flat(2).map(Math.abs));
    boards.image.style = { grey: picture };
    boards.wanted.style = { grey: picture, digits: 4 };
    boards.made.style = { grey: picture, digits: 3, range: [Math.min(...flat), Math.max(...flat)] };
    boards.kernel.style = { range: [-reach, reach], digits: 3 };
    const shown = (board, rows) => board.show(rows.flat(), rows.length, rows[0].length);
    shown(boards.image, image);
    shown(boards.wanted, wanted);
    const names = {
      image: "lab.input",
      kernel: "lab.learning.now",
      made: "lab.learning.made",
      wanted: "lab.learning.wanted",
    };
    for (const [name, key] of Object.entries(names)) {
      boards[name].tell(say(key), name === "image" ? "" : undefined);
      const side = { image: image[0], kernel: kernel[0] }[name] ?? wanted[0];
      boards[name].canvas.parentElement.style.flexBasis = `${Math.max(3 * side.length, 6)}rem`;
    }
    this.go(clamped(this.step, 0, this.steps[0]));
  }

  go(n) {
    const { kernels, losses, image, rate } = this.found,
      { boards } = this;
    this.step = n;
    this.slider.value = n;
    const shown = (board, rows, decimals) =>
      board.show(
        rows.flat().map((v) => Number(v.toFixed(decimals))),
        rows.length,
        rows[0].length,
      );
    shown(boards.kernel, kernels[n], 3);
    shown(boards.made, corr(image, kernels[n]), 2);
    this.said.textContent = say("lab.learning.at", {
      step: n,
      steps: losses.length - 1,
      loss: losses[n].toPrecision(3),
      rate: numberText(rate, 4),
    });
  }

  toggle() {
    if (this.timer) return this.stop();
    this.play.textContent = say("lab.stop");
    this.timer = setInterval(() => {
      if (!this.slider.offsetParent) return this.stop();
      return this.go((this.step + 1) % this.found.losses.length);
    }, 120);
    return undefined;
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = say("lab.play");
  }
}
