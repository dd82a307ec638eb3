// A window that moves over a grid, by hand or by itself: convolution, its transpose, pools. Input,
// kernel and how it moves are edited where they are shown; what comes out, and every sum, follows.

import { about, count, say, speakIn } from "./words.js";
import { clamped } from "./board.js";
import { built, choiceField } from "./fields.js";
import { INPUTS, kernelNamed } from "./presets.js";
import { Unfit, channelsOf, formulaOf, slide, termsOf } from "./sliding.js";
import { Experiment } from "./experiment.js";
import { learntLayers, settingsOf } from "./settings.js";
import { Grids } from "./grids.js";
import { sumOf } from "./sums.js";

const CHANNELS = 4; // of the input that are shown at a time
const SHRUNK = 96; // pixels of an image's longer side
const stillness = matchMedia("(prefers-reduced-motion: reduce)");

/** An image file as grey numbers, shrunk so that each can be seen to: { data, shape [1,h,w] }. */
async function greyOf(file) {
  const bitmap = await createImageBitmap(file),
    canvas = document.createElement("canvas");
  const scale = Math.min(1, SHRUNK / Math.max(bitmap.width, bitmap.height));
  const [w, h] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "white";
  pen.fillRect(0, 0, w, h);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, w, h);
  const rgba = pen.getImageData(0, 0, w, h).data;
  const data = Float64Array.from({ length: w * h }, (_, n) =>
    // ITU-R 601-2, as Pillow's grey
    Math.round(0.299 * rgba[4 * n] + 0.587 * rgba[4 * n + 1] + 0.114 * rgba[4 * n + 2]),
  );
  return { data, shape: [1, h, w] };
}

/** The view of experiments in an element; `changed()` is called after every change by hand. */
export class Moving {
  constructor(root, changed) {
    Object.assign(this, { root, changed, experiment: new Experiment(), brush: null });
    this.first = 0; // of the input channels that are shown
    this.answer = null; // what the network said last, where the page has one
    this.settings = settingsOf(this);
    this.grids = new Grids(this);
    this.channel = choiceField(
      "lab.channel",
      () => this.outputs(),
      (m) => {
        this.experiment.at[0] = Number(m);
        this.changed();
        this.show();
      },
    );
    this.slice = choiceField(
      "lab.shown",
      () => this.slices(),
      (c) => {
        this.first = Number(c);
        this.show();
      },
    );
    this.play = built("button", { type: "button", onclick: () => this.toggle() });
    const part = (name, tag, attributes) => (this[name] = built(tag, attributes));
    root.append(
      built("div", { class: "settings" }, ...this.settings.parts),
      built(
        "div",
        { class: "moves" },
        part("formula", "p", { class: "formula" }),
        built("div", { class: "controls" }, this.channel.whole, this.slice.whole, this.play),
      ),
      part("wrong", "p", { class: "bad", role: "alert" }),
      part("note", "p", { class: "note", say: "lab.learnt_note" }),
      this.grids.whole,
      part("said", "div", { class: "said" }),
      part("work", "p", { class: "note" }),
      built("p", { class: "note", say: "lab.by_hand" }),
    );
    this.found = null;
  }

  outputs() {
    const M = this.found?.Y.shape[0] ?? 1;
    return [["", Array.from({ length: M }, (_, m) => [String(m), `${m + 1} / ${M}`])]];
  }

  slices() {
    const [from, depth] = this.depth,
      starts = Array.from({ length: Math.ceil(depth / CHANNELS) }, (_, n) => n * CHANNELS);
    return [
      [
        "",
        starts.map((c) => [String(c), `${from + c + 1} – ${from + Math.min(depth, c + CHANNELS)}`]),
      ],
    ];
  }

  /** The input channels that the output channel is made of: [first, how many]. */
  get depth() {
    return channelsOf(this.experiment.asked(), this.experiment.at[0]);
  }

  /** Rows and columns of the output. */
  get extent() {
    return this.found?.Y.shape.slice(1) ?? [1, 1];
  }

  held(i, j) {
    const [rows, columns] = this.extent;
    return [clamped(i, 0, rows - 1), clamped(j, 0, columns - 1)];
  }

  /** The number that is painted with: what was typed, or the largest of the input. */
  get painted() {
    return this.brush ?? (this.experiment.X.data.reduce((a, b) => Math.max(a, b), 0) || 1);
  }

  refuse(why) {
    this.wrong.textContent = why ? say(why.message, why.values) : "";
  }

  /** Change the experiment: what does not fit is said, what cannot be read is not taken. */
  edit(change) {
    this.stop();
    change(this.experiment);
    this.compute();
    this.changed();
  }

  /** Another experiment altogether. */
  take(experiment) {
    this.stop();
    this.experiment = experiment;
    this.first = 0;
    const { learnt } = experiment;
    if (learnt && learnt[0] in learntLayers()) this.learn(...learnt, experiment.at);
    else experiment.learnt = null;
  }

  compute() {
    const { experiment: e } = this;
    let why = null;
    try {
      this.found = slide(e.asked());
      if (e.at[1] < 0) e.at = [e.at[0], ...this.extent.map((side) => Math.floor(side / 2))];
      e.at = [clamped(e.at[0], 0, this.found.Y.shape[0] - 1), ...this.held(e.at[1], e.at[2])];
    } catch (error) {
      if (!(error instanceof Unfit)) throw error;
      [this.found, why] = [null, error];
      if (e.at[0] >= (e.pools ? e.X.shape[0] : e.W.shape[0])) e.at[0] = 0;
    }
    this.refuse(why);
    this.show();
  }

  chooseInput(name) {
    if (name === "try") this.edit((e) => this.giveAnswer(e));
    else if (name in INPUTS)
      this.edit((e) => e.makeInput(name, e.picture ? [1, 12, 12] : e.X.shape));
    else this.show();
  }

  giveAnswer(e) {
    e.giveInput(
      { data: Float64Array.from(this.answer.pixels), shape: [about.channels, ...about.size] },
      "try",
      true,
    );
  }

  chooseKernel(name) {
    if (name.startsWith("learnt.")) this.learn(Number(name.slice(7)), 0);
    else if (name) this.edit((e) => e.fillKernel(kernelNamed(name)));
    else this.show();
  }

  makeGlobal() {
    this.edit((e) => {
      e.window = e.X.shape.slice(1);
      Object.assign(e.moving, { pads: [0, 0, 0, 0], same: "", strides: [1, 1], dilations: [1, 1] });
    });
  }

  /** The network answered: what it was shown, and what arrived at its layers, can be taken. */
  answered(answer) {
    if (answer === this.answer) return;
    this.answer = answer;
    const { experiment: e } = this;
    if (answer && e.learnt) this.learn(...e.learnt, e.at);
    else if (answer && e.name === "try") this.edit((one) => this.giveAnswer(one));
    else this.show();
  }

  /** Take a unit of a layer of the page's network: its kernels, how they move, and what arrives. */
  async learn(layer, unit, at = null) {
    const node = learntLayers()[layer],
      { group: groups = 1, ...moves } = node.attributes ?? {};
    const [arrived, W, B] = await Promise.all(
      node.in.map((name) => globalThis.convscope.value(name)),
    );
    const [M, depth, h, w] = W.shape,
      own = depth * h * w;
    unit = clamped(unit, 0, M - 1);
    const first = Math.floor(unit / (M / groups)) * depth;
    this.edit((e) => {
      Object.assign(e, {
        kind: "conv",
        groups: 1,
        learnt: [layer, unit],
        B: [B ? B.data[unit] : 0],
      });
      if (this.answer && arrived) {
        const [, , H, width] = arrived.shape,
          data = arrived.data.slice(first * H * width, (first + depth) * H * width);
        e.giveInput({ data: Float64Array.from(data), shape: [depth, H, width] }, "layer", false);
      } else if (e.X.shape[0] !== depth) e.sizeInput([depth, ...e.X.shape.slice(1)].join("x"));
      e.W = {
        data: Float64Array.from(W.data.slice(unit * own, (unit + 1) * own)),
        shape: [1, depth, h, w],
      };
      e.moves.conv = {
        pads: moves.pads ?? [0, 0, 0, 0],
        same: "",
        strides: moves.strides ?? [1, 1],
        dilations: moves.dilations ?? [1, 1],
      };
      e.at = at ?? [0, -1, -1];
    });
  }

  async readImage(file) {
    if (!file) return;
    try {
      const X = await greyOf(file);
      this.edit((e) => {
        e.giveInput(X, "", true);
        e.at = [0, -1, -1];
      });
    } catch {
      this.refuse(new Unfit("failed.image"));
    }
  }

  /** All of it anew: fields, formulas, boards. */
  show() {
    const { experiment: e, found } = this,
      [, depth] = this.depth;
    if (this.first >= depth) this.first = 0;
    this.settings.show();
    this.channel.show(String(e.at[0]));
    this.channel.whole.hidden = !found || found.Y.shape[0] === 1;
    this.slice.show(String(this.first));
    this.slice.whole.hidden = depth <= CHANNELS;
    this.note.hidden = !e.learnt || this.answer !== null;
    this.play.disabled = !found;
    this.showFormula();
    this.grids.show(this.first, Math.min(CHANNELS, depth - this.first));
    speakIn(this.root);
    this.play.textContent = say(this.playing ? "lab.stop" : "lab.play");
    if (found) this.go(e.at[1], e.at[2]);
    else this.said.replaceChildren();
  }

  showFormula() {
    const { found, experiment: e } = this;
    const lines = (found?.axes ?? []).map((axis, a) =>
      built("span", {}, built("b", {}, say(a ? "lab.width" : "lab.height")), ` ${formulaOf(axis)}`),
    );
    this.formula.replaceChildren(...lines);
    this.work.hidden = !found || e.pools;
    if (this.work.hidden) return;
    const [M, rows, columns] = found.Y.shape,
      weights = e.W.data.length,
      area = e.X.shape[1] * e.X.shape[2];
    const places = e.kind === "conv" ? rows * columns : area;
    const values = { places, numbers: weights / M, kernels: M, weights, total: places * weights };
    for (const key of Object.keys(values)) values[key] = count(values[key]);
    this.work.textContent = say(e.kind === "conv" ? "lab.work" : "lab.work_transposed", values);
  }

  goByHand(i, j) {
    if (!this.found) return;
    this.stop();
    this.go(i, j);
    this.changed();
  }

  /** Show the place (i, j) of the output: the windows over the input, and its sum. */
  go(i, j) {
    const { experiment: e, found, depth } = this;
    e.at = [e.at[0], i, j];
    this.terms = termsOf(e.asked(), found, e.at[0], i, j);
    this.grids.box(this.terms);
    const n = i * found.Y.shape[2] + j,
      plane = found.Y.shape[1] * found.Y.shape[2];
    this.said.replaceChildren(
      ...sumOf(e, this.terms, {
        place: e.at,
        channels: depth,
        result: found.Y.data[e.at[0] * plane + n],
        divisor: found.counts?.[n],
        shown: [this.first, this.first + CHANNELS],
      }),
    );
  }

  /** Move from place to place; it stands at each, then glides on. */
  toggle() {
    if (this.playing) {
      this.stop();
      return;
    }
    const [rows, columns] = this.extent,
      places = rows * columns,
      pace = clamped(40_000 / places, 34, 420);
    const [, i, j] = this.experiment.at,
      from = i * columns + j === places - 1 ? 0 : i * columns + j;
    let at = from - 1,
      began = performance.now() - from * pace;
    const frame = (now) => {
      began = Math.max(began, now - (at + 2) * pace + 1); // a late frame leaves no place out
      const t = Math.max(from, (now - began) / pace),
        n = Math.floor(t);
      if (n >= places || !this.root.offsetParent) {
        this.stop();
        return;
      }
      if (n !== at) {
        at = n;
        this.grids.uncover(n + 1);
        this.go(Math.floor(n / columns), n % columns);
      } else if (pace > 100 && !stillness.matches && (n + 1) % columns) {
        const ahead = clamped((t - n - 0.5) / 0.5, 0, 1);
        if (ahead > 0) this.grids.box(this.terms, ahead * ahead * (3 - 2 * ahead));
      }
      this.playing = requestAnimationFrame(frame);
    };
    this.playing = requestAnimationFrame(frame);
    this.play.textContent = say("lab.stop");
  }

  stop() {
    if (!this.playing) return;
    cancelAnimationFrame(this.playing);
    this.playing = null;
    this.grids.uncover(Infinity);
    if (this.found) this.grids.box(this.terms);
    this.play.textContent = say("lab.play");
    this.changed();
  }
}
