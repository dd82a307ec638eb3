// Numbers as they are shown: in full on demand, as the cells of a window, as the terms of a sum, as
// steps one below the other; each leads to the unit that it is.

import { about, count, say } from "./words.js";
import { numberText } from "./board.js";
import { elementOf } from "./maps.js";
import { nameOf, placeText, stages } from "./plan.js";

export const MOST_TERMS = 8; // of a sum; the others are one line

export class Tables {
  all = false; // digits

  text = (v) => numberText(v, this.all ? 17 : 4);
  /** In a cell of a table. */
  short(v) {
    if (this.all) return numberText(v, 9);
    return Math.abs(v) < 100
      ? v
          .toFixed(Math.abs(v) < 10 ? 3 : 1)
          .replace("-", "−")
          .replace(/\.?0+$/, "")
          .replace(/^−0$/, "0")
      : numberText(v, 4);
  }

  number = (v) => elementOf("data", { value: v, title: numberText(v, 17) }, this.text(v));

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
      text ?? `${nameOf(stages[n])}, ${placeText(n, at)}`,
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

  /** Numbers of a window; a click on one leads to the unit that `from` says it is. */
  grid(name, [rows, columns], values, mark, from) {
    const most = Math.max(...values.map((v) => Math.abs(v ?? 0))) || 1;
    const cell = (v, i) =>
      elementOf(
        "td",
        {
          class: [mark(i), v < 0 && "below"].filter(Boolean).join(" "),
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

  /** How a window lies and moves, in words. */
  geometry(n, { window: { kernel, strides, dilations, pads } }) {
    const each = (all) => (new Set(all).size > 1 ? all.join(" × ") : all[0]),
      { group = 1 } = about.graph.nodes[stages[n].nodes[0]].attributes;
    const text = say("inside.geometry", {
      size: kernel.join(" × "),
      stride: each(strides),
      padding: new Set(pads).size > 1 ? pads.join(", ") : pads[0],
    });
    const dilated =
      Math.max(...dilations) > 1 && say("inside.dilation", { dilation: each(dilations) });
    const grouped = group > 1 && say("inside.groups", { groups: count(group) });
    return elementOf("p", { class: "note" }, text, dilated, grouped);
  }
}
