// What units of layers see of an image.

import { say } from "./words.js";
import { Board } from "./board.js";
import { built } from "./fields.js";
import { Unfit } from "./sliding.js";
import { followed } from "./layers.js";
import { wholeNumbers } from "./experiment.js";
import { Lesson, boardFigure } from "./lesson.js";

const MOST_PIXELS = 4_000_000; // of an image whose receptive fields are shown

const nameOfLayer = ({ layer, kind }) => (kind === "image" ? say("lab.input") : layer);

/** What the units of layers see: a layer is chosen, a unit pointed at. */
export class Fields extends Lesson {
  constructor(root, changed) {
    super(root, changed);
    Object.assign(this, {
      layers: "c5-16 mp2 c5-32 mp2",
      size: [28, 28],
      rows: null,
      n: null,
      at: [0, 0],
    });
    this.field(
      "lab.fields.layers",
      "layers",
      (text) => {
        followed(text, this.size);
        Object.assign(this, { n: null, rows: null });
        return text.trim();
      },
      40,
    );
    this.field("lab.size", "size", (text) => {
      const size = wholeNumbers(text, 1, 512, [2]);
      if (this.layers) followed(this.layers, size);
      this.rows = null;
      return size;
    });
    const canvases = [built("canvas"), built("canvas")];
    [this.image, this.map] = canvases.map(
      (canvas) => new Board(canvas, { range: [0, 1], bare: true }),
    );
    this.mapFigure = boardFigure(canvases[1]);
    this.table = built("tbody");
    const heads = ["layer", "kind", "units", "sees"].map((key) =>
      built("th", { say: `lab.fields.${key}`, scope: "col" }),
    );
    root.append(
      built("p", { say: "lab.fields.what" }),
      this.settings,
      this.wrong,
      this.said,
      built(
        "div",
        { class: "boards" },
        boardFigure(canvases[0], "lab.fields.image"),
        this.mapFigure,
      ),
      built(
        "div",
        { class: "scroll" },
        built(
          "table",
          { class: "layers" },
          built("thead", {}, built("tr", {}, ...heads)),
          this.table,
        ),
      ),
    );
    const extent = () => this.layer.axes.map((axis) => axis.size),
      now = () => this.at;
    const go = (i, j) => {
      this.at = [i, j];
      this.point();
    };
    this.map.steer({ now, extent, go });
    this.image.steer({
      now,
      extent,
      go,
      place: (...at) =>
        at.map((pixel, a) => {
          const { low, high, stride } = this.layer.axes[a];
          return Math.round((pixel - (low + high) / 2) / stride);
        }),
    });
  }

  take({ layers, size, rows }) {
    if (size) this.size = wholeNumbers(size, 1, 99_999, [2]);
    if (this.size[0] * this.size[1] > MOST_PIXELS)
      throw new Unfit("lab.bad.much", { most: MOST_PIXELS });
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
    this.table.replaceChildren(
      ...this.found.map((row, n) => {
        const choose = built(
          "button",
          {
            type: "button",
            "aria-pressed": String(n === this.n),
            onclick: () => {
              this.n = n;
              this.at = row.axes.map((axis) => Math.floor(axis.size / 2));
              this.compute();
              this.table.rows[n].querySelector("button").focus();
            },
          },
          nameOfLayer(row),
        );
        const sees = row.whole
          ? say("lab.fields.whole")
          : row.axes.map(({ low, high }) => high - low + 1).join(" × ");
        const kind = say(`lab.fields.kind.${row.kind}`) || row.kind;
        return built(
          "tr",
          {},
          built("td", {}, choose),
          ...[kind, row.axes.map((axis) => axis.size).join(" × "), sees].map((text) =>
            built("td", {}, text),
          ),
        );
      }),
    );
    const [H, W] = this.found[0].axes.map((axis) => axis.size),
      [h, w] = this.layer.axes.map((axis) => axis.size);
    // room around the image for what units see of the padding
    const before = Math.max(0, ...this.found.flatMap(({ axes }) => axes.map((axis) => -axis.low)));
    const after = Math.max(
      0,
      ...this.found.flatMap(({ axes }) =>
        axes.map(({ high, size, stride }, a) => high + (size - 1) * stride + 1 - [H, W][a]),
      ),
    );
    this.image.pads = [before, before, after, after];
    this.image.show(new Uint8Array(H * W), H, W);
    this.map.show(new Uint8Array(h * w), h, w);
    this.mapFigure.firstChild.textContent = say("lab.fields.of", {
      layer: nameOfLayer(this.layer),
    });
    this.point();
  }

  point() {
    const { layer, at } = this,
      first = layer.axes.map(({ low, stride }, a) => low + at[a] * stride);
    const sides = layer.axes.map(({ low, high }) => high - low + 1);
    this.image.boxes = [[...first, ...sides, "red", 0.12]];
    this.map.boxes = [[...at, 1, 1, "blue", 0.12]];
    this.image.draw();
    this.map.draw();
    const size = layer.axes.map((axis) => axis.size);
    this.said.textContent = say(layer.whole ? "lab.fields.sees_all" : "lab.fields.sees_part", {
      layer: nameOfLayer(layer),
      unit: at.join(","),
      size: size.join(" × "),
      field: sides.join(" × "),
      top: first[0],
      bottom: first[0] + sides[0] - 1,
      left: first[1],
      right: first[1] + sides[1] - 1,
    });
    const now = at[0] * size[1] + at[1];
    this.map.tell(
      this.mapFigure.firstChild.textContent,
      this.said.textContent,
      now,
      size[0] * size[1] - 1,
    );
    this.image.tell(say("lab.fields.image"), this.said.textContent, now, size[0] * size[1] - 1);
  }
}
