// What is moved over what, as it is edited, and as text: the same words that `convscope lab` is
// typed with, so that the address of a page holds its experiment.

import { numberOf } from "./editing.js";
import { INPUTS, kernelNamed, nameOfKernel } from "./presets.js";
import { Unfit } from "./sliding.js";

const LIMITS = { side: 256, channels: 512, kernel: 15, move: 999, numbers: 65_536 };
const NAMED = /^([a-z]+)(?::(\d+(?:x\d+){1,2}))?$/;
const LINKED = 4096; // numbers of an input that an address holds

/** Whole numbers between x or commas. Throws Unfit. */
export function wholeNumbers(text, least, most, counts) {
  const typed = text.trim().replace(/\s*[x×,，]\s*/g, "x");
  const found = typed.split("x").map((one) => (/^\d+$/.test(one) ? Number(one) : NaN));
  if (!counts.includes(found.length) || found.some(Number.isNaN))
    throw new Unfit("lab.bad.whole", { text });
  if (found.some((n) => n < least || n > most))
    throw new Unfit("lab.bad.range", { text, least, most });
  return found;
}

/** Numbers between commas, rows between semicolons, maps between bars: { data, shape }. */
export function tensorOf(text) {
  const maps = text
    .split("|")
    .map((map) => map.split(";").map((row) => row.split(",").map(numberOf)));
  const [rows, columns] = [maps[0].length, maps[0][0].length];
  const whole = maps.every(
    (map) => map.length === rows && map.every((row) => row.length === columns),
  );
  const data = Float64Array.from(maps.flat(2));
  if (!whole || data.some(Number.isNaN)) throw new Unfit("lab.bad.numbers");
  return { data, shape: [maps.length, rows, columns] };
}

/** That text of numbers [..., h, w]. */
export function textOf({ data, shape }) {
  const [h, w] = shape.slice(-2);
  return Array.from({ length: data.length / (h * w) }, (_, map) =>
    Array.from({ length: h }, (__, i) =>
      Array.from(data.subarray((map * h + i) * w, (map * h + i + 1) * w), (v) =>
        Number(v.toPrecision(9)),
      ).join(","),
    ).join(";"),
  ).join("|");
}

/** A tensor [A,B,h,w] brought to another shape: maps repeat, planes grow with zeros or are cut. */
function refitted({ data, shape }, wanted, centred) {
  const [A, B, h, w] = shape,
    [C, D, H, W] = wanted;
  const [top, left] = centred ? [Math.floor((H - h) / 2), Math.floor((W - w) / 2)] : [0, 0];
  const found = new Float64Array(C * D * H * W);
  for (let c = 0, n = 0; c < C; c++) {
    for (let d = 0; d < D; d++) {
      for (let i = -top; i < H - top; i++) {
        for (let j = -left; j < W - left; j++, n++) {
          if (i < 0 || i >= h || j < 0 || j >= w) continue;
          found[n] = data[(((c % A) * B + (d % B)) * h + i) * w + j];
        }
      }
    }
  }
  return { data: found, shape: wanted };
}

const still = (stride) => ({
  pads: [0, 0, 0, 0],
  same: "",
  strides: [stride, stride],
  dilations: [1, 1],
});
const pairText = ([a, b]) => (a === b ? String(a) : `${a},${b}`);
export const pairOf = (numbers) => [numbers[0], numbers.at(-1)];

/** One experiment, `kind` conv, transposed, max or average; see slide() for what it is made of. */
export class Experiment {
  constructor() {
    this.kind = "conv";
    this.name = "digit"; // of the input, empty once it was edited
    this.X = null;
    this.W = { data: Float64Array.from(kernelNamed("sobel-x").flat()), shape: [1, 1, 3, 3] };
    this.B = [0];
    this.groups = 1;
    this.window = [2, 2];
    this.moves = { conv: still(1), transposed: still(2), pool: still(2) };
    this.ceil = this.withPads = false;
    this.picture = false; // grey, with no numbers written
    this.learnt = null; // [layer, unit] of the page's network that the kernel is of
    this.at = [0, -1, -1]; // channel, row, column of the output; -1 is its middle
    this.makeInput("digit", [1, 12, 12]);
  }

  get pools() {
    return this.kind === "max" || this.kind === "average";
  }

  get moving() {
    return this.moves[this.pools ? "pool" : this.kind];
  }

  get group() {
    return this.kind === "conv" ? this.groups : 1;
  }

  get kernel() {
    return this.pools ? this.window : this.W.shape.slice(2);
  }

  /** All that slide() takes. */
  asked() {
    const { kind, X, B, window, ceil, withPads, group } = this;
    return {
      kind,
      X,
      W: this.pools ? null : this.W,
      B,
      window,
      ceil,
      withPads,
      group,
      ...this.moving,
    };
  }

  makeInput(name, [C, H, W] = this.X.shape) {
    const data = new Float64Array(C * H * W);
    for (let c = 0, n = 0; c < C; c++)
      for (let i = 0; i < H; i++)
        for (let j = 0; j < W; j++) data[n++] = INPUTS[name](i, j, H, W, c);
    this.giveInput({ data, shape: [C, H, W] }, name);
  }

  giveInput(X, name = "", picture = Math.max(...X.shape.slice(1)) > 40) {
    Object.assign(this, { X, name, picture });
    this.fit();
  }

  /** Take numbers that may be those of an input by name. */
  nameInput(X) {
    const known = Object.keys(INPUTS).find((name) => {
      this.makeInput(name, X.shape);
      return this.X.data.every((v, n) => v === X.data[n]);
    });
    if (!known) this.giveInput(X);
  }

  /** The kernels fit the channels: as deep as these, or as a group of them. */
  fit() {
    const [C] = this.X.shape,
      [M, depth, h, w] = this.W.shape;
    if (C % this.groups || M % this.groups) this.groups = 1;
    const wanted = C / this.group;
    if (depth !== wanted) this.W = refitted(this.W, [M, wanted, h, w], true);
  }

  sizeInput(text) {
    const found = wholeNumbers(text, 1, LIMITS.side, [2, 3]),
      shape = found.length === 2 ? [1, ...found] : found;
    if (shape[0] > LIMITS.channels || shape.reduce((a, b) => a * b) > LIMITS.numbers)
      throw new Unfit("lab.bad.much", { most: LIMITS.numbers });
    if (this.name in INPUTS) this.makeInput(this.name, shape);
    else {
      const X = refitted({ data: this.X.data, shape: [1, ...this.X.shape] }, [1, ...shape], false);
      this.giveInput({ data: X.data, shape }, "", this.picture);
    }
  }

  /** The same rows for every kernel and channel. */
  fillKernel(rows) {
    const [M, depth] = this.W.shape,
      one = { data: Float64Array.from(rows.flat()), shape: [1, 1, rows.length, rows[0].length] };
    this.W = refitted(one, [M, depth, rows.length, rows[0].length], true);
    this.learnt = null;
  }

  sizeKernel(text) {
    const size = pairOf(wholeNumbers(text, 1, this.pools ? LIMITS.side : LIMITS.kernel, [1, 2]));
    if (this.pools) this.window = size;
    else {
      this.W = refitted(this.W, [...this.W.shape.slice(0, 2), ...size], true);
      this.learnt = null;
    }
  }

  countKernels(text) {
    const [M] = wholeNumbers(text, 1, LIMITS.channels, [1]),
      had = this.W.shape[0];
    if (M % this.group) throw new Unfit("lab.bad.groups", { groups: this.groups, count: M });
    this.W = refitted(this.W, [M, ...this.W.shape.slice(1)], true);
    this.B = Array.from({ length: M }, (_, m) => this.B[m % had] ?? 0);
    this.at[0] = Math.min(this.at[0], M - 1);
  }

  countGroups(text) {
    const [groups] = wholeNumbers(text, 1, LIMITS.channels, [1]),
      [C] = this.X.shape;
    if (C % groups) throw new Unfit("lab.bad.groups", { groups, count: C });
    const M = this.W.shape[0];
    if (M % groups) this.countKernels(String(groups * Math.ceil(M / groups)));
    this.groups = groups;
    this.fit();
  }

  get padding() {
    const { pads, same } = this.moving,
      [top, left, bottom, right] = pads;
    if (same) return same === "upper" ? "same" : "same-lower";
    return top === bottom && left === right ? pairText([top, left]) : pads.join(",");
  }

  set padding(text) {
    const word = text.trim().toLowerCase().replace("_", "-");
    const same = { same: "upper", "same-upper": "upper", "same-lower": "lower" }[word] ?? "";
    const named = (same && this.kind !== "transposed") || word === "valid";
    const found = named ? [0] : wholeNumbers(text, 0, LIMITS.move, [1, 2, 4]);
    const pads = found.length === 4 ? found : [...pairOf(found), ...pairOf(found)];
    Object.assign(this.moving, { same, pads });
  }

  get stride() {
    return pairText(this.moving.strides);
  }

  set stride(text) {
    this.moving.strides = pairOf(wholeNumbers(text, 1, LIMITS.move, [1, 2]));
  }

  get dilation() {
    return pairText(this.moving.dilations);
  }

  set dilation(text) {
    this.moving.dilations = pairOf(wholeNumbers(text, 1, LIMITS.move, [1, 2]));
  }

  /** Rows of kernel c of output channel m. */
  kernelRows(m, c) {
    const [, depth, h, w] = this.W.shape,
      from = (m * depth + c) * h * w;
    return Array.from({ length: h }, (_, u) => [
      ...this.W.data.subarray(from + u * w, from + (u + 1) * w),
    ]);
  }

  /** The name of the kernel that is laid on every channel, or an empty one. */
  get kernelName() {
    const [M, depth] = this.W.shape,
      first = String(this.kernelRows(0, 0));
    for (let m = 0; m < M; m++)
      for (let c = 0; c < depth; c++) if (String(this.kernelRows(m, c)) !== first) return "";
    return nameOfKernel(this.kernelRows(0, 0));
  }

  /** As the words of an address, those alone that are not what a page opens with. */
  words() {
    const { X, W, B, groups, window } = this,
      words = { do: this.kind };
    const named = this.name in INPUTS;
    if (named) words.x = `${this.name}:${X.shape.join("x")}`;
    else if (!this.name && X.data.length <= LINKED) words.x = textOf(X);
    if (this.picture) words.grey = 1;
    if (this.pools) {
      words.w = window.join("x");
      if (this.ceil) words.ceil = 1;
      if (this.withPads) words.count = 1;
    } else {
      if (this.learnt) words.learnt = this.learnt.join(".");
      else words.k = this.kernelName || textOf(W);
      if (W.shape[0] > 1) words.n = W.shape[0];
      if (groups > 1) words.g = groups;
      if (B.some(Boolean)) words.b = B.join(",");
    }
    for (const [key, value, usual] of [
      ["p", this.padding, "0"],
      ["s", this.stride, ""],
      ["d", this.dilation, "1"],
    ])
      if (value !== usual) words[key] = value;
    words.at = this.at.join(",");
    return words;
  }

  /** What such words say, over what a page opens with. Throws Unfit. */
  static of(words) {
    const made = new Experiment(),
      given = (key, take) => words[key] !== undefined && take(String(words[key]));
    given("do", (kind) => {
      if (!["conv", "transposed", "max", "average"].includes(kind))
        throw new Unfit("lab.bad.numbers");
      made.kind = kind;
    });
    given("x", (text) => {
      const [, name, shape] = text.match(NAMED) ?? [];
      if (!(name in INPUTS)) return made.nameInput(tensorOf(text));
      made.name = name;
      return shape ? made.sizeInput(shape) : made.makeInput(name);
    });
    given("grey", () => (made.picture = true));
    given("g", (text) => {
      made.groups = wholeNumbers(text, 1, LIMITS.channels, [1])[0];
      made.W = refitted(made.W, [made.groups, ...made.W.shape.slice(1)], true);
      made.fit();
    });
    given("n", (text) => made.countKernels(text));
    given("k", (text) => {
      if (kernelNamed(text)) return made.fillKernel(kernelNamed(text));
      const { data, shape } = tensorOf(text),
        depth = made.W.shape[1];
      if (shape[0] === 1) return made.fillKernel(nested(data, shape[2]));
      if (shape[0] % depth) throw new Unfit("lab.bad.numbers");
      made.W = { data, shape: [shape[0] / depth, depth, shape[1], shape[2]] };
      return undefined;
    });
    given("b", (text) => {
      made.B = text.split(",").map(numberOf);
    });
    if (made.B.some(Number.isNaN)) throw new Unfit("lab.bad.numbers");
    made.B = Array.from({ length: made.W.shape[0] }, (_, m) => made.B[m % made.B.length]);
    given("learnt", (text) => (made.learnt = text.split(".").map(Number)));
    given("w", (text) => (made.window = pairOf(wholeNumbers(text, 1, LIMITS.numbers, [1, 2]))));
    made.ceil = words.ceil !== undefined;
    made.withPads = words.count !== undefined;
    given("p", (text) => (made.padding = text));
    given("s", (text) => (made.stride = text));
    given("d", (text) => (made.dilation = text));
    given("at", (text) => {
      const [m = 0, i = 0, j = 0] = text.split(",").map(Number);
      made.at = [m, i, j].map((n) => (Number.isInteger(n) && n >= 0 ? n : 0));
    });
    return made;
  }
}

const nested = (data, width) =>
  Array.from({ length: data.length / width }, (_, u) => [
    ...data.subarray(u * width, (u + 1) * width),
  ]);

/** The rows of the first map of a tensor. */
export const rowsOf = ({ data, shape }) =>
  nested(data.subarray(0, shape.at(-2) * shape.at(-1)), shape.at(-1));
