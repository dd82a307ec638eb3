// What a lesson of the lab is made of.

import { say, speakIn } from "./words.js";
import { built, typedField } from "./fields.js";
import { Unfit } from "./sliding.js";
import { wholeNumbers } from "./experiment.js";

/** A lesson in an element: its fields, what is said and wrong. Each has `words()` of an address. */
export class Lesson {
  constructor(root, changed) {
    Object.assign(this, { root, changed, fields: [] });
    this.wrong = built("p", { class: "bad", role: "alert" });
    this.said = built("p", { class: "said" });
    this.settings = built("div", { class: "settings part" });
  }

  /** A field for `this[name]`, which `check(text)` makes a value of. */
  field(key, name, check, size = 6) {
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

export const boardFigure = (board, key = "") =>
  built("figure", { class: "board" }, built("figcaption", key ? { say: key } : {}), board);
export const bounded = (least, most, counts) => (text) => wholeNumbers(text, least, most, counts);
