// How the arithmetic of a unit is shown, by what its stage does.

import { about, count, say } from "./words.js";
import { numberText } from "./board.js";
import { elementOf } from "./maps.js";
import { MOST_TERMS, Tables } from "./tables.js";
import {
  doesWhat,
  nameOf,
  placeText,
  readersOf,
  sizeOf,
  sourcesOf,
  stages,
  unitAfter,
} from "./plan.js";

/** The parts of a panel that show how a unit is made. Who shows them has `now`, the stage and the place
    of the unit, `answer`, what the network says, and `go` and `open`, which lead to other units. */
export class Parts extends Tables {
  constructor() {
    super();
    this.chosen = null; // an input channel
    this.temperature = about.calibration.temperature;
  }

  /** The term of a sum whose patch is shown: the chosen channel, else the largest. */
  term({ terms }) {
    const chosen = terms.find((one) => one.channel === this.chosen);
    return (
      chosen ?? terms.reduce((best, one) => (Math.abs(one.sum) > Math.abs(best.sum) ? one : best))
    );
  }

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
    parts.push(this.geometry(n, found));
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

  choose(channel) {
    this.chosen = channel;
    this.go(...this.now);
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
    const [source] = sourcesOf(this.now[0]),
      said = this.geometry(this.now[0], found);
    if (win === undefined) {
      return [
        grid,
        said,
        this.lines([
          [say("inside.sum"), "", found.total],
          [say("inside.does.mean"), `${this.text(found.total)} ÷ ${found.count}`, found.result],
        ]),
      ];
    }
    const at = found.plane + found.window.places[win];
    return [
      grid,
      said,
      this.lines([[this.link(source, at, say("inside.winner")), "", found.result]]),
    ];
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
      const alpha = attributes?.alpha === undefined ? "" : `, α = ${attributes.alpha}`;
      const name = how && /^(Add|Sub|Mul|Div)$/.test(op) ? "" : op.replace("Relu", "ReLU");
      if (op !== "Cast")
        rows.push([
          name,
          how ?? `${op.toLowerCase()}(${a}${alpha})`,
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
        "div",
        { class: "softmax-scroll" },
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
              nameOf(stages[one]),
            ),
          ]),
        ),
      );
    }
    return parts;
  }
}
