// One unit, taken apart: of which numbers it is made, and how; what it sees of the image, and what it
// answers to. Every number of it leads to the unit that it is.

import { about, say } from "./words.js";
import { engine, paintPixels } from "./asking.js";
import { Board, numberText } from "./board.js";
import { elementOf } from "./maps.js";
import {
  doesWhat,
  nameOf,
  placeOf,
  placeText,
  readersOf,
  sizeOf,
  sourcesOf,
  stages,
} from "./plan.js";
import { answersTo } from "./best.js";
import { Parts } from "./parts.js";

/** The panel of a unit. `moved(n, at)` is told which one it shows. */
export class Unit extends Parts {
  constructor(root, moved) {
    super();
    this.moved = moved;
    this.now = null; // [stage, place]
    this.before = [];
    this.root = elementOf("section", {
      class: "unit",
      "aria-label": say("inside.unit"),
      hidden: true,
    });
    root.append(this.root);
    this.boards = new Map();
  }

  /** Take a unit apart, `keys` when it was picked by a key. */
  async open(n, at, keys = false) {
    if (this.now && String(this.now) !== String([n, at])) this.before.push(this.now);
    this.chosen = null;
    const shut = this.root.hidden;
    this.root.hidden = false;
    await this.go(n, at, true);
    if (keys)
      (this.root.querySelector("canvas[role=slider]") ?? this.root.querySelector("button")).focus({
        preventScroll: true,
      });
    if (shut || keys) this.root.scrollIntoView({ block: "nearest" });
  }

  close() {
    [this.now, this.before] = [null, []];
    this.root.hidden = true;
    this.moved(null);
  }

  /** The network has answered anew; null is no answer. */
  async show(answer) {
    this.answer = answer;
    this.stale = true;
    if (!answer) this.close();
    else if (this.now && !this.root.hidden) await this.go(...this.now.slice());
  }

  /** Move to a unit; of many moves at once the last counts. */
  async go(n, at, anew = false) {
    this.now = [n, at];
    this.anew ||= anew;
    if (this.busy) return;
    this.busy = true;
    try {
      let done = null;
      while (this.now && done !== this.now) {
        done = this.now;
        const whole = this.anew;
        this.anew = false;
        await this.render(...done, whole);
      }
    } finally {
      this.busy = false;
    }
  }

  async render(n, at, whole) {
    const stage = stages[n];
    const found =
      stage.does === "input"
        ? { value: this.answer.pixels[at], result: this.answer.pixels[at] }
        : stage.does === "softmax"
          ? { value: this.answer.p[at], result: this.answer.p[at] }
          : await engine("unfold", { stage: n - 1, at });
    const then = readersOf(n).find((one) => stages[one].does === "each");
    found.then =
      then && stage.does !== "input"
        ? [then, await engine("unfold", { stage: then - 1, at })]
        : null;
    if (whole || this.shown !== n) await this.frame(n, at);
    if (!this.now) return;
    this.shown = n;
    this.place.textContent = placeText(n, at);
    this.value.replaceChildren(this.number(found.value));
    this.value.className = found.value < 0 ? "below" : "";
    this.body.replaceChildren(...this.parts(n, at, found));
    await this.around(n, at, found);
    this.moved(n, at);
  }

  /** What stays while the unit moves within its map: the head, and the maps that it is moved over. */
  async frame(n, at) {
    const stage = stages[n];
    this.place = elementOf("span");
    this.value = elementOf("strong");
    this.body = elementOf("div", { class: "parts" });
    const digits = elementOf("input", { type: "checkbox" });
    digits.checked = this.all;
    digits.addEventListener("change", () => {
      this.all = digits.checked;
      this.go(...this.now, true);
    });
    const back = elementOf(
      "button",
      { type: "button", disabled: !this.before.length, onclick: () => this.back() },
      say("inside.back"),
    );
    const head = elementOf(
      "header",
      {},
      elementOf("h3", {}, doesWhat(stage), " ", elementOf("code", {}, stage.layer)),
      elementOf("p", {}, this.place, " = ", this.value),
      elementOf(
        "div",
        { class: "tools" },
        elementOf("label", { class: "check" }, digits, say("inside.digits")),
        back,
        elementOf("button", { type: "button", onclick: () => this.close() }, say("inside.close")),
      ),
    );
    this.maps = elementOf("div", { class: "unit-maps" });
    this.boards.clear();
    this.root.replaceChildren(head, elementOf("div", { class: "unit-body" }, this.maps, this.body));
    this.sees = elementOf("canvas", { role: "img" });
    this.seesText = elementOf("p", { class: "note" });
    this.best = elementOf("div", { class: "best" });
    this.root.append(
      elementOf(
        "div",
        { class: "unit-about" },
        elementOf("div", {}, elementOf("h4", {}, say("inside.sees")), this.sees, this.seesText),
        stage.shape.length > 1 && stage.does !== "input"
          ? elementOf("div", {}, elementOf("h4", {}, say("inside.answers")), this.best)
          : null,
      ),
    );
    if (stage.shape.length > 1 && stage.does !== "input" && sizeOf(n) > 1) {
      for (const source of sourcesOf(n)) await this.board(source, n);
      await this.board(n, n);
    }
  }

  back() {
    const last = this.before.pop();
    if (last) this.go(...last, true);
  }

  /** A map to move the unit over: of the stage itself, or of one before, under its windows. */
  async board(n, of) {
    const own = n === of,
      [, h, w] = stages[n].shape;
    if (h === undefined || h * w < 2) return;
    const canvas = elementOf("canvas"),
      caption = elementOf("figcaption", { class: "note" });
    this.maps.append(elementOf("figure", { class: own ? "own" : "" }, caption, canvas));
    const { pads = [0, 0, 0, 0] } =
      own || !["conv", "maxpool", "avgpool"].includes(stages[of].does)
        ? {}
        : (about.graph.nodes[stages[of].nodes[0]].attributes ?? {});
    const input = stages[n].does === "input";
    const board = new Board(
      canvas,
      {
        grey: input,
        white: 255,
        bare: Math.max(h, w) > 16,
        digits: 3,
        pad: stages[of].does === "conv" ? "0" : "",
      },
      own ? [0, 0, 0, 0] : pads,
    );
    const data = await this.numbersOf(n);
    this.boards.set(n, { board, data, caption, channel: -1 });
    const [, oh, ow] = stages[of].shape;
    board.steer({
      now: () => placeOf(of, this.now[1]).slice(1),
      go: (i, j) => this.now && this.go(of, (placeOf(of, this.now[1])[0] * oh + i) * ow + j),
      extent: () => [oh, ow],
      place: own ? undefined : (i, j) => this.under(of, i, j),
    });
  }

  async numbersOf(n) {
    if (stages[n].does === "input") return this.answer.pixels;
    return (await engine("value", { name: stages[n].value })).data;
  }

  /** The unit whose window is around a place of what it is from. */
  under(of, i, j) {
    const { does, nodes } = stages[of],
      {
        strides = [1, 1],
        pads = [0, 0],
        dilations = [1, 1],
        kernel_shape: kernel = [1, 1],
      } = about.graph.nodes[nodes[0]].attributes ?? {};
    if (!["conv", "maxpool", "avgpool"].includes(does)) return [i, j];
    return [i, j].map((at, k) =>
      Math.round((at + pads[k] - (dilations[k] * (kernel[k] - 1)) / 2) / strides[k]),
    );
  }

  /** The boards and what is beside them, for the unit that is shown. */
  async around(n, at, found) {
    const [channel, row, column] = placeOf(n, at);
    const stale = this.stale;
    this.stale = false;
    for (const [source, one] of this.boards) {
      if (stale) [one.data, one.channel] = [await this.numbersOf(source), -1];
      const own = source === n,
        { board, data, caption } = one,
        [channels, h, w] = stages[source].shape;
      const taken = own ? at : this.takenFrom(n, source, found);
      const shown = taken === null ? 0 : Math.floor(taken / (h * w));
      if (one.channel !== shown) {
        board.show(data.subarray(shown * h * w, (shown + 1) * h * w), h, w);
        one.channel = shown;
        const name =
          stages[source].does === "input" && channels === 1
            ? say("inside.does.input")
            : say("inside.channel", { channel: shown });
        caption.textContent = own
          ? `${say("inside.output")}: ${name}`
          : `${nameOf(stages[source])}: ${name}`;
      }
      board.boxes = own ? [[row, column, 1, 1, "blue", 0.25]] : this.boxes(found, taken, h, w);
      board.draw();
      board.tell(
        caption.textContent,
        `${placeText(n, at)}: ${numberText(found.value, 4)}`,
        row * stages[n].shape[2] + column,
        sizeOf(n) - 1,
      );
    }
    await this.showField(n, at);
    if (this.best.dataset.channel === String(channel)) return; // they are there already
    this.best.dataset.channel = channel;
    this.best.replaceChildren(...(await answersTo(n, channel)));
  }

  /** The place of a number of `source` that the unit takes: of a sum the one of the chosen term. */
  takenFrom(n, source, found) {
    if (found.terms) return this.term(found).channel * sizeOf(source);
    if (found.window) return found.plane;
    if (found.operands)
      return found.operands[stages[n].from.indexOf(stages[source].value)]?.at ?? null;
    if (found.from !== undefined)
      return stages[n].from[found.from] === stages[source].value ? found.at : null;
    return found.at ?? found.first ?? null;
  }

  boxes(found, taken, h, w) {
    if (taken === null) return [];
    if (!found.window)
      return found.numbers
        ? [[0, 0, h, w, "red"]]
        : [[Math.floor(taken / w) % h, taken % w, 1, 1, "red", 0.25]];
    const { top, left, kernel, dilations, strides, size } = found.window;
    if (dilations.every((one) => one === 1)) {
      const here = [top, left, kernel[0], kernel[1], "red", 0.12],
        column = placeOf(...this.now)[2];
      const next = [top, left + strides[1], kernel[0], kernel[1], "quiet"]; // a stride further
      const boxes = column + 1 < size[1] ? [next, here] : [here],
        won = found.window.places[found.winner];
      if (won >= 0) boxes.push([Math.floor(won / w), won % w, 1, 1, "blue"]);
      return boxes;
    }
    return Array.from({ length: kernel[0] * kernel[1] }, (_, k) => [
      top + Math.floor(k / kernel[1]) * dilations[0],
      left + (k % kernel[1]) * dilations[1],
      1,
      1,
      "red",
      0.2,
    ]);
  }

  async showField(n, at) {
    const [h, w] = about.size;
    const seen =
      stages[n].does === "input"
        ? { rows: placeOf(n, at)[1], columns: placeOf(n, at)[2] }
        : stages[n].does === "softmax"
          ? { whole: true }
          : await engine("field", { stage: n - 1, at });
    paintPixels(this.sees, this.answer.pixels);
    this.sees.style.setProperty("--shape", w / h);
    if (stages[n].does === "input" || seen.whole) {
      this.seesText.textContent = say(seen.whole ? "inside.sees.whole" : "inside.sees.pixel");
      this.frameOn(this.sees, seen.whole ? [0, 0, h, w] : [seen.rows, seen.columns, 1, 1]);
    } else {
      const [[top, bottom], [left, right]] = [seen.rows, seen.columns];
      const beyond = top < 0 || left < 0 || bottom >= h || right >= w;
      this.seesText.textContent = say(beyond ? "inside.sees.beyond" : "inside.sees.size", {
        height: bottom - top + 1,
        width: right - left + 1,
        top,
        bottom,
        left,
        right,
      });
      this.frameOn(this.sees, [top, left, bottom - top + 1, right - left + 1]);
    }
    this.sees.setAttribute("aria-label", `${say("inside.sees")}: ${this.seesText.textContent}`);
  }

  /** A frame around a part of an image, by `--` places of it in parts of its size. */
  frameOn(canvas, [top, left, height, width]) {
    const [h, w] = about.size;
    let frame = canvas.nextSibling;
    if (!frame?.classList?.contains("frame")) {
      const holder = elementOf("span", { class: "framed" });
      canvas.replaceWith(holder);
      frame = elementOf("span", { class: "frame" });
      holder.append(canvas, frame);
    }
    const [t, l] = [Math.max(0, top), Math.max(0, left)],
      [b, r] = [Math.min(h, top + height), Math.min(w, left + width)];
    Object.assign(frame.style, {
      top: `${(100 * t) / h}%`,
      left: `${(100 * l) / w}%`,
      height: `${(100 * (b - t)) / h}%`,
      width: `${(100 * (r - l)) / w}%`,
    });
  }
}
