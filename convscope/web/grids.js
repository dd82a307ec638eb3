// The boards of an experiment: input channels with their kernels, and the output; windows on them.

import { say } from "./words.js";
import { Board, clamped, numberText } from "./board.js";
import { EditedBoard } from "./editing.js";
import { built } from "./fields.js";
import { Unfit } from "./sliding.js";

const CELL = 3; // rem of a cell, at most
const [BOARD, SEVERAL, KERNEL] = [26, 15, 10.5]; // rem at most: a board, one of several, a kernel
const SIGN = 2.2; // rem of a sign before a board

/** Put a block of numbers into a plane of [h,w] that begins at `from`, as far as it fits. */
function putBlock(data, from, [h, w], i, j, block) {
  block.forEach((row, y) =>
    row.forEach((v, x) => {
      if (i + y < h && j + x < w) data[from + (i + y) * w + j + x] = v;
    }),
  );
}

/** What lies around an input: its padding, and how far the last windows reach beyond it. */
const aroundOf = (axes) => [
  ...axes.map((axis) => axis.begin),
  ...axes.map((axis) => axis.reach - axis.begin - axis.size),
];

/** The number that is white at least: that of a photo, or the largest. */
function whiteOf(values) {
  const most = values.reduce((a, b) => Math.max(a, b), 1);
  return most > 16 ? Math.max(255, most) : most;
}

function captioned(board, name, columns, cell, more = "") {
  const figure = board.canvas.parentElement;
  board.name = name;
  figure.firstChild.textContent = name + more;
  const rem = Math.max(columns * cell, 5);
  figure.parentElement.style.flexBasis = `${rem + (figure.previousSibling ? SIGN : 0)}rem`;
  figure.style.maxWidth = `${rem}rem`;
}

export class Grids {
  /** Of a Moving, which says what is shown and is told what is done by hand. */
  constructor(moving) {
    this.moving = moving;
    this.whole = built("div", { class: "boards" });
  }

  /** Show so many channels from `first` on; boards are made anew where they are others. */
  show(first, channels) {
    const {
        experiment: e,
        found,
        depth: [from, depth],
      } = this.moving,
      key = `${channels} ${e.pools}`;
    this.first = first;
    if (this.key !== key) this.build(channels);
    this.key = key;
    const [C, H, W] = e.X.shape,
      area = H * W,
      white = whiteOf(e.X.data);
    const sliding = found && e.kind !== "transposed",
      around = sliding ? aroundOf(found.axes) : [0, 0, 0, 0];
    const wide = W + around[1] + around[3],
      [rows, columns] = this.moving.extent;
    const outputCell = Math.min(CELL, BOARD / Math.max(columns, wide));
    const cell = channels > 1 ? Math.min(CELL, SEVERAL / wide) : outputCell;
    const zero = sliding && (!e.pools || (e.kind === "average" && e.withPads));
    this.inputs.forEach((board, n) => {
      const c = from + first + n;
      board.pads = around;
      board.style = { grey: e.picture, white, pad: zero ? "0" : "", digits: 4 };
      board.show(e.X.data.subarray(c * area, (c + 1) * area), H, W);
      captioned(
        board,
        C === 1 ? say("lab.input") : say("lab.input_channel", { n: c + 1, of: C }),
        wide,
        cell,
      );
    });
    const [h, w] = e.kernel,
      kernelCell = Math.min(CELL, KERNEL / w);
    const beside = e.pools ? 0 : w * kernelCell + SIGN + 1;
    this.whole.firstChild.style.flexBasis = `${wide * cell + beside}rem`;
    this.kernels.forEach((board, n) => {
      const at = (e.at[0] * depth + first + n) * h * w;
      board.style = { digits: 3 };
      board.show(e.W.data.subarray(at, at + h * w), h, w);
      captioned(
        board,
        depth === 1 ? say("lab.kernel") : say("lab.kernel_channel", { n: from + first + n + 1 }),
        w,
        kernelCell,
      );
      this.tellCell(board);
    });
    const { output } = this;
    output.canvas.closest(".term").hidden = !found;
    if (!found) return;
    const [M] = found.Y.shape,
      plane = rows * columns;
    output.style = { grey: e.picture, white, digits: 4 };
    output.show(found.Y.data.subarray(e.at[0] * plane, (e.at[0] + 1) * plane), rows, columns);
    captioned(
      output,
      M === 1 ? say("lab.output") : say("lab.output_channel", { n: e.at[0] + 1, of: M }),
      columns,
      outputCell,
      ` · ${rows} × ${columns}`,
    );
  }

  build(channels) {
    const { moving } = this;
    const term = (board, sign) =>
      built(
        "div",
        { class: "term" },
        sign && built("span", { class: "sign", "aria-hidden": "true" }, sign),
        built("figure", { class: "board" }, built("figcaption"), board.canvas),
      );
    const editing = (board, values, from, more) =>
      board.edit({
        change: (i, j, block) =>
          moving.edit((e) => {
            const { data, shape } = e[values],
              size = shape.slice(-2);
            putBlock(data, from(e) * size[0] * size[1], size, i, j, block);
            if (values === "X") e.name = "";
            else e.learnt = null;
          }),
        refuse: (text) => moving.refuse(new Unfit("lab.bad.number", { text })),
        label: (i, j) => say("lab.cell", { board: board.name, i, j }),
        ...more,
      });
    const steering = {
      now: () => moving.experiment.at.slice(1),
      extent: () => moving.extent,
      go: (i, j) => moving.goByHand(i, j),
    };
    const place = (i, j) => this.middle(i, j);
    [this.inputs, this.kernels] = [[], []];
    const pairs = Array.from({ length: channels }, (_, n) => {
      const input = new EditedBoard(built("canvas"));
      editing(input, "X", () => moving.depth[0] + this.first + n, {
        chosen: (i, j) => moving.goByHand(...moving.held(...place(i, j))),
        brush: () => moving.painted,
      });
      input.steer({ ...steering, place });
      this.inputs.push(input);
      const row = built("div", { class: "pair" }, term(input, ""));
      if (moving.experiment.pools) return row;
      const kernel = new EditedBoard(built("canvas"));
      editing(kernel, "W", (e) => e.at[0] * moving.depth[1] + this.first + n, {
        chosen: () => this.tellCell(kernel),
        instant: true,
      });
      this.kernels.push(kernel);
      row.append(term(kernel, "∗"));
      return row;
    });
    this.output = new Board(built("canvas"));
    this.output.steer(steering);
    this.whole.replaceChildren(built("div", { class: "pairs" }, ...pairs), term(this.output, "="));
  }

  /** The place of the output whose window has a pixel of the input in its middle. */
  middle(...at) {
    const { found } = this.moving;
    return at.map((pixel, a) => {
      if (!found) return 0;
      const { stride, begin, span, transposed } = found.axes[a],
        half = (span - 1) / 2;
      return Math.round(
        transposed ? pixel * stride - begin + half : (pixel + begin - half) / stride,
      );
    });
  }

  tellCell(board) {
    const [i, j] = board.cursor;
    const value = say("lab.at", { i, j, value: numberText(board.at(i, j)) });
    board.tell(board.name, value, i * board.columns + j, board.values.length - 1);
  }

  /** Boxes around the place of the experiment and the `terms` it is made of; `ahead` is how far the
      window is on its way to the next place. */
  box(terms, ahead = 0) {
    const { experiment: e, found } = this.moving,
      [, i, j] = e.at,
      [vertical, across] = found.axes;
    const dense = !vertical.transposed && vertical.dilation === 1 && across.dilation === 1;
    const top = i * vertical.stride - vertical.begin,
      left = (j + ahead) * across.stride - across.begin;
    const best = e.kind === "max" && !ahead ? this.output.at(i, j) : null;
    this.inputs.forEach((board, n) => {
      const own = terms.filter((term) => term.c === this.first + n || e.pools);
      board.boxes = dense
        ? [[top, left, vertical.span, across.span, "red", 0.08]]
        : own.map((term) => [term.y, term.x + ahead * across.stride, 1, 1, "red", 0.08]);
      board.notes =
        ahead || e.pools
          ? []
          : own.map((term) => [term.y, term.x, `×${numberText(term.weight, 2)}`]);
      const winner = best === null ? null : own.find((term) => term.value === best);
      if (winner) board.boxes.push([winner.y, winner.x, 1, 1, "blue", 0.15]);
      board.draw();
      if (!ahead) this.tellCell(board);
    });
    if (vertical.transposed)
      this.kernels.forEach((board, n) => {
        board.boxes = terms
          .filter((term) => term.c === this.first + n)
          .map(({ u, v }) => [u, v, 1, 1, "red", 0]);
        board.draw();
      });
    else for (const board of this.kernels) board.boxes = [];
    const { output } = this,
      value = numberText(output.at(i, j));
    output.boxes = [[i, j + ahead, 1, 1, "blue", 0]];
    output.draw();
    if (!ahead)
      output.tell(
        output.name,
        say("lab.at", { i, j, value }),
        i * output.columns + j,
        output.values.length - 1,
      );
  }

  /** Of the output, show so many places only. */
  uncover(places) {
    this.output.until = clamped(places, 0, this.output.values.length);
    this.output.draw();
  }
}
