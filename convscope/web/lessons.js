// What the lab shows besides: what a 1x1 convolution saves, what a unit sees, how a kernel is learnt.

import { count, say, speakIn } from "./words.js";
import { Board, clamped, numberText } from "./board.js";
import { EditedBoard } from "./editing.js";
import { built, typedField } from "./fields.js";
import { Unfit, corr, learn } from "./sliding.js";
import { followed } from "./layers.js";
import { pairOf, rowsOf, tensorOf, textOf, wholeNumbers } from "./experiment.js";

const MOST_STEPS = 400; // of gradient descent
const MOST_PIXELS = 4_000_000; // of an image whose receptive fields are shown

/** A lesson in an element: its fields, what is said, what is wrong. Each has `words()` for an address. */
class Lesson {
  constructor(root, changed) {
    Object.assign(this, { root, changed, fields: [] });
    this.wrong = built("p", { class: "bad", role: "alert" });
    this.said = built("p", { class: "said" });
    this.settings = built("div", { class: "settings part" });
  }

  /** A field for `this[name]`, which `check(text)` makes a value of. */
  field(key, name, check, size = 6, step = null) {
    const write = (text) => {
      this[name] = check(text);
      this.compute();
      this.refuse(null);
      this.changed();
    };
    const field = typedField(key, {
      read: () => this.text(name),
      write,
      refuse: (why) => this.refuse(why),
      step: step && ((by) => write(step(this.text(name), by))),
      size,
    });
    this.fields.push(field);
    this.settings.append(field.whole);
  }

  text(name) {
    return Array.isArray(this[name]) ? this[name].join("×") : String(this[name]);
  }

  refuse(why) {
    this.wrong.textContent = why ? say(why.message, why.values) : "";
  }

  show() {
    for (const field of this.fields) field.show();
    speakIn(this.root);
    try {
      this.compute();
      this.refuse(null);
    } catch (why) {
      if (!(why instanceof Unfit)) throw why;
      this.refuse(why);
    }
  }

  stop() {}
}

const boardFigure = (board, key = "") => built("figure", { class: "board" }, built("figcaption", key ? { say: key } : {}), board);
const bounded = (least, most, counts) => (text) => wholeNumbers(text, least, most, counts);

/** Multiplications straight on and by way of a 1x1 convolution (Szegedy et al. 2015, section 4). */
export class Costs extends Lesson {
  constructor(root, changed) {
    super(root, changed);
    Object.assign(this, { shape: [192, 28, 28], kernel: [5, 5], out: [32], through: [16] });
    this.field("lab.size", "shape", bounded(1, 9999, [3]), 11);
    this.field("lab.kernel_size", "kernel", (text) => pairOf(wholeNumbers(text, 1, 99, [1, 2])));
    this.field("lab.kernels", "out", bounded(1, 9999, [1]));
    this.field("lab.through", "through", bounded(1, 9999, [1]));
    this.slider = built("input", { type: "range", min: 1, label: "lab.through", oninput: () => {
      this.through = [Number(this.slider.value)];
      this.show();
      this.changed();
    } });
    this.bars = built("div", { class: "bars" });
    root.append(built("p", { say: "lab.costs.what" }), this.settings, this.slider, this.wrong, this.said, this.bars);
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
    const { shape: [C, h, w], kernel, out: [out], through: [t] } = this;
    const pixels = h * w, taps = kernel[0] * kernel[1], named = kernel.join("×");
    const straight = pixels * taps * C * out, narrow = pixels * C * t, wide = pixels * taps * t * out;
    this.found = { straight, narrow, wide, weights: [taps * C * out, C * t + taps * t * out] };
    this.slider.max = Math.max(C, t);
    this.slider.value = t;
    const most = Math.max(straight, narrow + wide);
    const bar = (title, text, parts) => built("div", {}, built("h3", {}, title),
      built("div", { class: "bar" }, ...parts.map(([kind, v]) => built("span", { class: kind, style: `width:${(100 * v) / most}%` }))),
      built("span", {}, text));
    this.bars.replaceChildren(
      bar(say("lab.costs.straight", { kernel: named }),
        `${h}·${w} · ${taps}·${C} · ${out} = ${count(straight)}`, [["straight", straight]]),
      bar(say("lab.costs.detour", { kernel: named }),
        `${count(narrow)} + ${count(wide)} = ${count(narrow + wide)}`, [["narrow", narrow], ["wide", wide]]),
    );
    const saved = 1 - (narrow + wide) / straight;
    this.said.textContent = say(saved < 0 ? "lab.costs.more" : "lab.costs.saved", {
      through: t, share: Math.abs(100 * saved).toFixed(1),
      one: count(this.found.weights[0]), other: count(this.found.weights[1]),
    });
  }
}

/** What the units of layers see: a layer is chosen, a unit pointed at. */
export class Fields extends Lesson {
  constructor(root, changed) {
    super(root, changed);
    Object.assign(this, { layers: "c5-16 mp2 c5-32 mp2", size: [28, 28], rows: null, n: null, at: [0, 0] });
    this.field("lab.fields.layers", "layers", (text) => {
      followed(text, this.size);
      Object.assign(this, { n: null, rows: null });
      return text.trim();
    }, 40);
    this.field("lab.size", "size", (text) => {
      const size = wholeNumbers(text, 1, 512, [2]);
      if (this.layers) followed(this.layers, size);
      this.rows = null;
      return size;
    });
    const canvases = [built("canvas"), built("canvas")];
    [this.image, this.map] = canvases.map((canvas) => new Board(canvas, { range: [0, 1], bare: true }));
    this.mapFigure = boardFigure(canvases[1]);
    this.table = built("tbody");
    const heads = ["layer", "kind", "units", "sees"].map((key) => built("th", { say: `lab.fields.${key}`, scope: "col" }));
    root.append(built("p", { say: "lab.fields.what" }), this.settings, this.wrong, this.said,
      built("div", { class: "boards" }, boardFigure(canvases[0], "lab.fields.image"), this.mapFigure),
      built("div", { class: "scroll" }, built("table", { class: "layers" }, built("thead", {}, built("tr", {}, ...heads)), this.table)));
    const extent = () => this.layer.axes.map((axis) => axis.size), now = () => this.at;
    const go = (i, j) => {
      this.at = [i, j];
      this.point();
    };
    this.map.steer({ now, extent, go });
    this.image.steer({ now, extent, go, place: (...at) =>
      at.map((pixel, a) => {
        const { low, high, stride } = this.layer.axes[a];
        return Math.round((pixel - (low + high) / 2) / stride);
      }) });
  }

  take({ layers, size, rows }) {
    if (size) this.size = wholeNumbers(size, 1, 99_999, [2]);
    if (this.size[0] * this.size[1] > MOST_PIXELS) throw new Unfit("lab.bad.much", { most: MOST_PIXELS });
    if (rows) Object.assign(this, { rows, layers: "" });
    else if (layers) this.layers = layers;
    this.n = null;
  }

  words() {
    return { layers: this.layers, size: this.size.join("x") };
  }

  get layer() {
    return this.found[this.n];
  }

  compute() {
    this.found = this.rows ?? followed(this.layers, this.size);
    if (this.n === null || this.n >= this.found.length) {
      this.n = this.found.length - 1;
      while (this.n > 0 && this.layer.whole) this.n -= 1;
      this.at = this.layer.axes.map((axis) => Math.floor(axis.size / 2));
    }
    this.table.replaceChildren(...this.found.map((row, n) => {
      const choose = built("button", { type: "button", "aria-pressed": String(n === this.n), onclick: () => {
        this.n = n;
        this.at = row.axes.map((axis) => Math.floor(axis.size / 2));
        this.compute();
        this.table.rows[n].querySelector("button").focus();
      } }, row.layer);
      const sees = row.whole ? say("lab.fields.whole") : row.axes.map(({ low, high }) => high - low + 1).join(" × ");
      const kind = say(`lab.fields.kind.${row.kind}`) || row.kind;
      return built("tr", {}, built("td", {}, choose),
        ...[kind, row.axes.map((axis) => axis.size).join(" × "), sees].map((text) => built("td", {}, text)));
    }));
    const [H, W] = this.found[0].axes.map((axis) => axis.size), [h, w] = this.layer.axes.map((axis) => axis.size);
    // room around the image for what units see of the padding
    const before = Math.max(0, ...this.found.flatMap(({ axes }) => axes.map((axis) => -axis.low)));
    const after = Math.max(0, ...this.found.flatMap(({ axes }) => axes.map(({ high, size, stride }, a) => high + (size - 1) * stride + 1 - [H, W][a])));
    this.image.pads = [before, before, after, after];
    this.image.show(new Uint8Array(H * W), H, W);
    this.map.show(new Uint8Array(h * w), h, w);
    this.mapFigure.firstChild.textContent = say("lab.fields.of", { layer: this.layer.layer });
    this.point();
  }

  point() {
    const { layer, at } = this, first = layer.axes.map(({ low, stride }, a) => low + at[a] * stride);
    const sides = layer.axes.map(({ low, high }) => high - low + 1);
    this.image.boxes = [[...first, ...sides, "red", 0.12]];
    this.map.boxes = [[...at, 1, 1, "blue", 0.12]];
    this.image.draw();
    this.map.draw();
    const size = layer.axes.map((axis) => axis.size);
    this.said.textContent = say(layer.whole ? "lab.fields.sees_all" : "lab.fields.sees_part", {
      layer: layer.layer, unit: at.join(","), size: size.join(" × "), field: sides.join(" × "),
      top: first[0], bottom: first[0] + sides[0] - 1, left: first[1], right: first[1] + sides[1] - 1,
    });
    const now = at[0] * size[1] + at[1];
    this.map.tell(this.mapFigure.firstChild.textContent, this.said.textContent, now, size[0] * size[1] - 1);
    this.image.tell(say("lab.fields.image"), this.said.textContent, now, size[0] * size[1] - 1);
  }
}

/** A kernel that gradient descent finds, from an image and the map that another kernel makes of it. */
export class Learning extends Lesson {
  constructor(root, changed) {
    super(root, changed);
    Object.assign(this, { image: tensorOf(Array(6).fill("1,1,0,0,0,0,1,1").join(";")), kernel: tensorOf("1,-1"), steps: [60], rate: null, start: null, step: 0 });
    this.field("lab.learning.kernel", "kernel", (text) => this.fitting(tensorOf(text)), 14);
    this.field("lab.learning.steps", "steps", bounded(1, MOST_STEPS, [1]), 4);
    this.field("lab.learning.rate", "rate", (text) => {
      const rate = Number(text);
      if (text.trim() && !(rate > 0)) throw new Unfit("lab.bad.number", { text });
      return text.trim() ? rate : null;
    });
    const canvases = Array.from({ length: 4 }, () => built("canvas"));
    const [image, kernel, made, wanted] = canvases;
    this.boards = { image: new EditedBoard(image), kernel: new Board(kernel), made: new Board(made), wanted: new Board(wanted) };
    this.boards.image.edit({
      change: (i, j, block) => {
        block.forEach((row, y) => row.forEach((v, x) => {
          const { data, shape: [, H, W] } = this.image;
          if (i + y < H && j + x < W) data[(i + y) * W + j + x] = v;
        }));
        this.show();
        this.changed();
      },
      refuse: (text) => this.refuse(new Unfit("lab.bad.number", { text })),
      label: (i, j) => say("lab.cell", { board: say("lab.input"), i, j }),
      brush: () => 1,
    });
    this.slider = built("input", { type: "range", min: 0, label: "lab.learning.step", oninput: () => {
      this.stop();
      this.go(Number(this.slider.value));
    } });
    this.play = built("button", { type: "button", say: "lab.play", onclick: () => this.toggle() });
    root.append(built("p", { say: "lab.learning.what" }), this.settings,
      built("div", { class: "controls" }, this.play, this.slider), this.wrong, this.said,
      built("div", { class: "boards" }, boardFigure(image, "lab.input"), boardFigure(kernel, "lab.learning.now"),
        boardFigure(made, "lab.learning.made"), boardFigure(wanted, "lab.learning.wanted")),
      built("p", { class: "note", say: "lab.by_hand" }));
  }

  text(name) {
    if (name === "kernel") return textOf(this.kernel);
    return name === "rate" ? (this.rate === null ? "" : numberText(this.rate, 4)) : super.text(name);
  }

  fitting(kernel) {
    const [, h, w] = kernel.shape, [, H, W] = this.image.shape;
    if (h > H || w > W) throw new Unfit("lab.large", { span: h > H ? h : w, padded: h > H ? H : W });
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
    const image = rowsOf(this.image), kernel = rowsOf(this.kernel);
    const wanted = corr(image, kernel);
    // small numbers to begin with, the same ones every time
    const start = this.start ? rowsOf(this.start) : kernel.map((row, u) => row.map((_, v) => 0.1 * Math.sin(7 * u + 3 * v + 1)));
    this.found = { ...learn(image, wanted, start, this.steps[0], this.rate), wanted, image };
    this.slider.max = this.steps[0];
    const picture = Math.max(image.length, image[0].length) > 40;
    const { boards } = this, flat = wanted.flat(), reach = Math.max(...this.found.kernels.flat(2).map(Math.abs));
    boards.image.style = { grey: picture };
    boards.wanted.style = { grey: picture, digits: 4 };
    boards.made.style = { grey: picture, digits: 3, range: [Math.min(...flat), Math.max(...flat)] };
    boards.kernel.style = { range: [-reach, reach], digits: 3 };
    const shown = (board, rows) => board.show(rows.flat(), rows.length, rows[0].length);
    shown(boards.image, image);
    shown(boards.wanted, wanted);
    const names = { image: "lab.input", kernel: "lab.learning.now", made: "lab.learning.made", wanted: "lab.learning.wanted" };
    for (const [name, key] of Object.entries(names)) {
      boards[name].tell(say(key), name === "image" ? "" : undefined);
      const side = { image: image[0], kernel: kernel[0] }[name] ?? wanted[0];
      boards[name].canvas.parentElement.style.flexBasis = `${Math.max(3 * side.length, 6)}rem`;
    }
    this.go(clamped(this.step, 0, this.steps[0]));
  }

  go(n) {
    const { kernels, losses, image, rate } = this.found, { boards } = this;
    this.step = n;
    this.slider.value = n;
    const shown = (board, rows, decimals) =>
      board.show(rows.flat().map((v) => Number(v.toFixed(decimals))), rows.length, rows[0].length);
    shown(boards.kernel, kernels[n], 3);
    shown(boards.made, corr(image, kernels[n]), 2);
    this.said.textContent = say("lab.learning.at", {
      step: n, steps: losses.length - 1, loss: losses[n].toPrecision(3), rate: numberText(rate, 4),
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
