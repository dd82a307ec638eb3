// One unit, taken apart: of which numbers it is made, and how; what it sees of the image, and what it
// answers to. Every number of it leads to the unit that it is.

import { about, count, say } from "./words.js";
import { engine, paintPixels } from "./asking.js";
import { Board, clamped, numberText } from "./board.js";
import { elementOf } from "./maps.js";
import { doesWhat, readersOf, sourcesOf, stages } from "./stages.js";
import { answersTo } from "./best.js";

const MOST_TERMS = 8; // of a sum; the others are one line
const sizeOf = (n) => (stages[n].shape.length > 1 ? stages[n].shape[1] * stages[n].shape[2] : 1);

/** Channel, row and column of a unit of a stage; of a row of numbers its place. */
function placeOf(n, at) {
  const { shape } = stages[n];
  if (shape.length < 2) return [at];
  const [, h, w] = shape;
  return [Math.floor(at / (h * w)), Math.floor(at / w) % h, at % w];
}

function placeText(n, at) {
  const [channel, row, column] = placeOf(n, at),
    { shape } = stages[n];
  if (row === undefined)
    return n >= stages.length - 2 ? about.classes[at] : say("inside.unit.of", { unit: channel });
  const where = shape[1] * shape[2] > 1 ? say("inside.row.column", { row, column }) : "";
  return `${say("inside.channel", { channel })}${where && `, ${where}`}`;
}

/** The unit of a stage that is made of this one of the stage before, as far as it has one place. */
function unitAfter(n, at, reader) {
  const stage = stages[reader],
    [channel, row, column] = placeOf(n, at);
  if (["each", "pair", "norm"].includes(stage.does)) return at;
  if (stage.does === "concat") {
    const before = stage.from.slice(0, stage.from.indexOf(stages[n].value));
    return (
      at +
      before.reduce(
        (sum, name) => sum + stages.find((one) => one.value === name).shape.reduce((a, b) => a * b),
        0,
      )
    );
  }
  if (!["maxpool", "avgpool", "conv"].includes(stage.does))
    return stage.does === "mean" ? channel : 0;
  const { strides = [1, 1], pads = [0, 0] } = about.graph.nodes[stage.nodes[0]].attributes;
  const [h, w] = stage.shape.slice(1),
    i = clamped(Math.floor((row + (stage.does === "conv" ? 0 : pads[0])) / strides[0]), 0, h - 1),
    j = clamped(
      Math.floor((column + (stage.does === "conv" ? 0 : pads[1])) / strides[1]),
      0,
      w - 1,
    );
  return ((stage.does === "conv" ? 0 : channel) * h + i) * w + j;
}

/** The panel of a unit. `moved(n, at)` is told which one it shows. */
export class Unit {
  constructor(root, moved) {
    this.moved = moved;
    this.now = null; // [stage, place]
    this.before = [];
    this.all = false; // digits
    this.chosen = null; // an input channel
    this.temperature = about.calibration.temperature;
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

  text = (v) => numberText(v, this.all ? 17 : 4);
  /** In a cell of a table. */
  short(v) {
    if (this.all) return numberText(v, 9);
    return Math.abs(v) < 100
      ? v
          .toFixed(Math.abs(v) < 10 ? 3 : 1)
          .replace("-", "−")
          .replace(/\.?0+$/, "") || "0"
      : numberText(v, 4);
  }

  number = (v) => elementOf("data", { value: v, title: numberText(v, 17) }, this.text(v));

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
        elementOf("div", {}, elementOf("h4", {}, say("inside.answers")), this.best),
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
          : `${doesWhat(stages[source])} ${stages[source].layer}: ${name}`;
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
    const { top, left, kernel, dilations } = found.window;
    if (dilations.every((one) => one === 1))
      return [[top, left, kernel[0], kernel[1], "red", 0.12]];
    return Array.from({ length: kernel[0] * kernel[1] }, (_, k) => [
      top + Math.floor(k / kernel[1]) * dilations[0],
      left + (k % kernel[1]) * dilations[1],
      1,
      1,
      "red",
      0.2,
    ]);
  }

  /** The term of a sum whose patch is shown: the chosen channel, else the largest. */
  term({ terms }) {
    const chosen = terms.find((one) => one.channel === this.chosen);
    return (
      chosen ?? terms.reduce((best, one) => (Math.abs(one.sum) > Math.abs(best.sum) ? one : best))
    );
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

  // the arithmetic, by what the stage does

  parts(n, at, found) {
    const { does } = stages[n];
    const made = {
      conv: () => this.ofTerms(n, found),
      linear: () => this.ofInputs(n, found),
      maxpool: () => this.ofWindow(found),
      avgpool: () => this.ofWindow(found),
      mean: () => this.ofMean(n, found),
      norm: () => [
        this.lines([
          [this.link(sourcesOf(n)[0], found.at), "", found.input],
          this.normLine(found.norm, found.input, found.result),
        ]),
      ],
      each: () => this.ofOperators(n, found),
      pair: () => this.ofOperators(n, found),
      concat: () => this.ofMoved(n, found),
      moved: () => this.ofMoved(n, found),
      softmax: () => this.ofSoftmax(at),
      input: () => [elementOf("p", {}, say("inside.input.why"))],
    }[does];
    const parts = made ? made() : [elementOf("p", {}, say("inside.other"))];
    return [...parts, ...this.onward(n, at, found)];
  }

  /** Steps, one below the other: what it is, how it is computed, what it gives. */
  lines(rows) {
    return elementOf(
      "ol",
      { class: "steps" },
      ...rows
        .filter(Boolean)
        .map(([name, how, value]) =>
          elementOf(
            "li",
            {},
            elementOf("span", {}, name),
            elementOf("span", { class: "how" }, ...[how].flat()),
            elementOf("span", {}, "= ", this.number(value)),
          ),
        ),
    );
  }

  /** A name that leads to a unit. */
  link(n, at, text) {
    if (n === undefined) return text ?? "";
    return elementOf(
      "button",
      { type: "button", class: "link", onclick: () => this.open(n, at) },
      text ?? `${doesWhat(stages[n])} ${stages[n].layer}, ${placeText(n, at)}`,
    );
  }

  normLine({ mean, deviation, scale, shift }, before, after) {
    const t = this.text;
    return [
      say("inside.does.norm"),
      `(${t(before)} − ${this.signed(mean)}) ÷ ${t(deviation)} × ${this.signed(scale)} + ${this.signed(shift)}`,
      after,
    ];
  }

  signed = (v) => (v < 0 ? `(${this.text(v)})` : this.text(v));

  /** What follows a sum: bias, batch norm where the weights of the run are known. */
  after(n, { total, bias, norm, result }, name) {
    const sum = total + (bias ?? 0);
    const folded = stages[n].norm && !norm;
    return [
      [name, "", total],
      bias !== null &&
        bias !== undefined && [
          folded ? say("inside.bias.folded") : say("inside.bias"),
          `${this.text(total)} + ${this.signed(bias)}`,
          sum,
        ],
      norm && this.normLine(norm, sum, result),
    ];
  }

  ofTerms(n, found) {
    const term = this.term(found),
      { kernel } = found.window,
      [source] = sourcesOf(n);
    const parts = [];
    if (kernel[0] * kernel[1] > 1) {
      const products = term.patch.map((v, i) => v * term.weights[i]),
        plane = term.channel * sizeOf(source ?? n),
        { places } = found.window;
      const from = (i) => places[i] >= 0 && source !== undefined && [source, plane + places[i]];
      const middle =
        from(Math.floor(places.length / 2)) || from(places.findIndex((one) => one >= 0));
      const patch = say("inside.patch", { channel: term.channel });
      const grid = (name, values, leads) =>
        this.grid(
          name,
          kernel,
          values,
          (i) => (leads && places[i] < 0 ? "padding" : ""),
          leads && from,
        );
      parts.push(
        elementOf(
          "div",
          { class: "product" },
          grid(middle ? this.link(...middle, patch) : patch, term.patch, true),
          elementOf("span", {}, "×"),
          grid(say("inside.kernel"), term.weights),
          elementOf("span", {}, "="),
          grid(say("inside.products", { sum: this.text(term.sum) }), products),
        ),
      );
    }
    const order = found.terms.toSorted((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
    if (order.length > 1) {
      const rows = order.map((one) => [
        kernel[0] * kernel[1] > 1
          ? elementOf(
              "button",
              {
                type: "button",
                class: "link",
                "aria-pressed": String(one === term),
                onclick: () => this.choose(one.channel),
              },
              say("inside.channel", { channel: one.channel }),
            )
          : this.link(
              source,
              one.channel * sizeOf(source) + found.window.places[0],
              say("inside.channel", { channel: one.channel }),
            ),
        kernel[0] * kernel[1] > 1
          ? ""
          : `${this.text(one.patch[0])} × ${this.signed(one.weights[0])}`,
        one.sum,
      ]);
      parts.push(this.sum(rows));
    }
    const name =
      order.length > 1
        ? say("inside.sum.channels", { count: count(order.length) })
        : say("inside.sum");
    parts.push(this.lines(this.after(n, found, name)));
    if (stages[n].norm && !found.norm)
      parts.push(
        elementOf("p", { class: "note" }, say("inside.folded", { layer: stages[n].norm })),
      );
    return parts;
  }

  /** Numbers of a window; a click on one leads to the unit that `from` says it is. */
  grid(name, [rows, columns], values, mark, from) {
    const most = Math.max(...values.map((v) => Math.abs(v ?? 0))) || 1;
    const cell = (v, i) =>
      elementOf(
        "td",
        {
          class: mark(i) || (v < 0 ? "below" : ""),
          style: `--part: ${Math.abs(v ?? 0) / most}`,
          title: v === null ? "" : numberText(v, 17),
          onclick: () => from && from(i) && this.open(...from(i)),
        },
        v === null ? "" : this.short(v),
      );
    const lines = Array.from({ length: rows }, (_, r) =>
      elementOf(
        "tr",
        {},
        ...values.slice(r * columns, (r + 1) * columns).map((v, c) => cell(v, r * columns + c)),
      ),
    );
    return elementOf(
      "table",
      { class: from ? "grid leads" : "grid" },
      elementOf("caption", {}, name),
      elementOf("tbody", {}, ...lines),
    );
  }

  choose(channel) {
    this.chosen = channel;
    this.go(...this.now);
  }

  /** The terms of a sum [name, how, value], the largest first, those that are left as one line. */
  sum(rows) {
    const shown = rows.slice(0, MOST_TERMS + (rows.length === MOST_TERMS + 1)),
      rest = rows.slice(shown.length);
    const most = Math.abs(rows[0]?.[2]) || 1;
    const line = ([name, how, value]) =>
      elementOf(
        "tr",
        {},
        elementOf("th", { scope: "row" }, name),
        elementOf("td", { class: "how" }, how),
        elementOf(
          "td",
          {},
          elementOf("i", {
            class: value < 0 ? "below" : "",
            style: `--part: ${Math.min(1, Math.abs(value) / most)}`,
          }),
        ),
        elementOf("td", {}, this.number(value)),
      );
    const left = rest.reduce((total, [, , value]) => total + value, 0);
    return elementOf(
      "table",
      { class: "terms" },
      elementOf(
        "tbody",
        {},
        ...shown.map(line),
        rest.length ? line([say("inside.others", { count: count(rest.length) }), "", left]) : "",
      ),
    );
  }

  ofInputs(n, found) {
    const [source] = sourcesOf(n);
    const products = Array.from(found.inputs, (v, i) => v * found.weights[i]);
    const order = products
      .map((_, i) => i)
      .sort((a, b) => Math.abs(products[b]) - Math.abs(products[a]));
    const rows = order.map((i, rank) => {
      const at = found.first + i * found.by;
      return [
        rank <= MOST_TERMS
          ? this.link(source, at, source === undefined ? String(i) : placeText(source, at))
          : "",
        rank <= MOST_TERMS
          ? `${this.text(found.inputs[i])} × ${this.signed(found.weights[i])}`
          : "",
        products[i],
      ];
    });
    const name = say("inside.sum.inputs", { count: count(rows.length) });
    return [this.sum(rows), this.lines(this.after(n, found, name))];
  }

  ofWindow(found) {
    const { kernel } = found.window,
      win = found.winner;
    const { places } = found.window;
    const grid = this.grid(
      say("inside.window"),
      kernel,
      found.numbers,
      (i) => (found.numbers[i] === null ? "padding" : i === win ? "winner" : ""),
      (i) => places[i] >= 0 && [sourcesOf(this.now[0])[0], found.plane + places[i]],
    );
    const [source] = sourcesOf(this.now[0]);
    if (win === undefined) {
      return [
        grid,
        this.lines([
          [say("inside.sum"), "", found.total],
          [say("inside.does.mean"), `${this.text(found.total)} ÷ ${found.count}`, found.result],
        ]),
      ];
    }
    const at = found.plane + found.window.places[win];
    return [grid, this.lines([[this.link(source, at, say("inside.winner")), "", found.result]])];
  }

  ofMean(n, found) {
    const [source] = sourcesOf(n);
    return [
      this.lines([
        [
          say("inside.sum.inputs", { count: count(found.count) }),
          source === undefined ? "" : this.link(source, found.first),
          found.total,
        ],
        [
          say("inside.does.mean"),
          `${this.text(found.total)} ÷ ${count(found.count)}`,
          found.result,
        ],
      ]),
    ];
  }

  ofOperators(n, found) {
    const sources = stages[n].from.map((name) => stages.findIndex((one) => one.value === name));
    const rows = found.operands.map((one, i) => [this.link(sources[i], one.at), "", one.value]);
    let now = null;
    for (const { op, numbers, gives, attributes } of found.steps) {
      const given = numbers
        .map((v) => (v === null ? now : v))
        .map((v, i) => (i ? this.signed(v) : this.text(v)));
      const [a, b, c] = given;
      const low = b && Math.max(0, numbers[1]) === 0;
      const how = {
        Add: `${a} + ${b}`,
        Sub: `${a} − ${b}`,
        Mul: `${a} × ${b}`,
        Div: `${a} ÷ ${b}`,
        Relu: `max(0, ${a})`,
        Clip: `min(max(${low ? 0 : b}, ${a}), ${c})`,
        Pow: `${a} ^ ${b}`,
        Min: `min(${given.join(", ")})`,
        Max: `max(${given.join(", ")})`,
      }[op];
      const name = how && /^(Add|Sub|Mul|Div)$/.test(op) ? "" : op.replace("Relu", "ReLU");
      if (op !== "Cast")
        rows.push([
          name,
          how ??
            `${op.toLowerCase()}(${a}${attributes?.alpha !== undefined ? `, α = ${attributes.alpha}` : ""})`,
          gives,
        ]);
      now = gives;
    }
    return [this.lines(rows)];
  }

  ofMoved(n, found) {
    if (found.from === null) return [elementOf("p", {}, say("inside.moved.zero"))];
    const source = stages.findIndex((one) => one.value === stages[n].from[found.from]);
    return [this.lines([[this.link(source, found.at), say("inside.moved"), found.result]])];
  }

  ofSoftmax(at) {
    const { logits } = this.answer;
    const slider = elementOf("input", {
      type: "range",
      min: "0.25",
      max: "4",
      step: "0.05",
      value: this.temperature,
      "aria-label": say("inside.temperature"),
    });
    const told = elementOf("output"),
      body = elementOf("tbody");
    const fill = () => {
      const heated = Array.from(logits, (one) => one / this.temperature),
        top = Math.max(...heated),
        raised = heated.map((one) => Math.exp(one - top)),
        sum = raised.reduce((a, b) => a + b, 0);
      const order = heated
        .map((_, i) => i)
        .sort((a, b) => heated[b] - heated[a])
        .slice(0, 12);
      told.textContent = say("inside.temperature.is", {
        now: numberText(this.temperature, 4),
        own: numberText(about.calibration.temperature, 4),
      });
      body.replaceChildren(
        ...order.map((i) =>
          elementOf(
            "tr",
            { class: i === at ? "top" : "" },
            elementOf("th", { scope: "row" }, this.link(stages.length - 2, i, about.classes[i])),
            ...[logits[i], heated[i], raised[i], raised[i] / sum].map((v) =>
              elementOf("td", {}, this.number(v)),
            ),
          ),
        ),
        elementOf(
          "tr",
          { class: "note" },
          elementOf("th", { scope: "row" }, say("inside.sum")),
          elementOf("td"),
          elementOf("td"),
          elementOf("td", {}, this.number(sum)),
          elementOf("td", {}, this.number(1)),
        ),
      );
    };
    slider.addEventListener("input", () => {
      this.temperature = Number(slider.value);
      fill();
    });
    fill();
    const heads = [
      say("inside.class"),
      say("inside.logit"),
      say("inside.heated"),
      say("inside.exp"),
      say("inside.share"),
    ];
    return [
      elementOf(
        "p",
        {},
        elementOf("label", { class: "check" }, say("inside.temperature"), slider),
        " ",
        told,
      ),
      elementOf(
        "table",
        { class: "softmax" },
        elementOf(
          "thead",
          {},
          elementOf("tr", {}, ...heads.map((head) => elementOf("th", { scope: "col" }, head))),
        ),
        body,
      ),
      elementOf("p", { class: "note" }, say("inside.exp.why")),
    ];
  }

  /** What becomes of the number: the activation after it, and where it goes. */
  onward(n, at, found) {
    const parts = [];
    if (found.then) {
      const [next, made] = found.then;
      parts.push(
        this.lines([
          [
            this.link(next, at, `${say("inside.then")} ${doesWhat(stages[next])}`),
            made.steps.at(-1).op === "Relu" ? `max(0, ${this.text(found.value)})` : "",
            made.value,
          ],
        ]),
      );
    }
    const others = (n === stages.length - 2 ? [n + 1] : readersOf(n)).filter(
      (one) => one !== found.then?.[0],
    );
    if (others.length) {
      parts.push(
        elementOf(
          "p",
          { class: "note" },
          say("inside.goes"),
          " ",
          ...others.flatMap((one, i) => [
            i ? ", " : "",
            this.link(
              one,
              one === n + 1 && n === stages.length - 2 ? at : unitAfter(n, at, one),
              `${doesWhat(stages[one])} ${stages[one].layer}`,
            ),
          ]),
        ),
      );
    }
    return parts;
  }
}
