// Controls that a script makes: their words follow the page's language, what is typed is checked.

import { say } from "./words.js";

/** An element with attributes (`on…` listeners, `say` and `label` keys of words) and children. */
export function built(tag, attributes = {}, ...children) {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "say" || name === "label") one.dataset[name] = value;
    else if (name.startsWith("on")) one.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") one[name] = value;
    else one.setAttribute(name, value);
  }
  one.append(...children.filter(Boolean));
  return one;
}

/**
 * A field for a text: `read()` gives what it shows, `write(text)` takes what was typed, or throws
 * Unfit, which `refuse` is given; `step(by)` is what its buttons and the
 * arrow keys do. Gives the `whole` to be put on the page, and `show()`.
 */
export function typedField(key, { read, write, refuse, step = null, size = 4 }) {
  const field = built("input", {
    type: "text",
    size,
    autocomplete: "off",
    spellcheck: "false",
    label: key,
  });
  const attempt = (change) => {
    let why = null;
    try {
      change();
    } catch (error) {
      if (!error.values) throw error; // not Unfit
      why = error;
    }
    field.setAttribute("aria-invalid", String(why !== null));
    if (why) refuse(why);
    else field.value = read();
  };
  const button = (by) =>
    built(
      "button",
      // of no use to a keyboard: the field's arrow keys do the same
      {
        type: "button",
        tabindex: "-1",
        "aria-hidden": "true",
        onclick: () => attempt(() => step(by)),
      },
      by < 0 ? "−" : "+",
    );
  field.addEventListener("change", () => attempt(() => write(field.value)));
  field.addEventListener("keydown", (event) => {
    const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!by || !step) return;
    event.preventDefault();
    attempt(() => step(by));
  });
  const whole = built(
    "label",
    { class: "field" },
    built("span", { say: key }),
    // first the field: it is what the label is of
    built("span", { class: "steps" }, field, ...(step ? [button(-1), button(1)] : [])),
  );
  const show = () => {
    if (document.activeElement !== field) field.value = read();
  };
  return { whole, field, show };
}

/** A choice among `groups` [key or text of one or "", [[value, key or text]]]; `take(value)`. */
export function choiceField(key, groups, take) {
  const select = built("select", { onchange: () => take(select.value) });
  const whole = built("label", { class: "field" }, built("span", { say: key }), select);
  const worded = (text) => (text.startsWith("lab.") ? say(text) : text);
  const show = (value = select.value) => {
    select.replaceChildren(
      ...groups().flatMap(([group, options]) => {
        const found = options.map(([one, text]) => built("option", { value: one }, worded(text)));
        if (!group) return found;
        const gathered = built("optgroup", {}, ...found);
        gathered.label = worded(group);
        return [gathered];
      }),
    );
    select.value = value;
  };
  show();
  return { whole, select, show };
}

/** A box that is ticked. */
export function tickField(key, take) {
  const box = built("input", { type: "checkbox", onchange: () => take(box.checked) });
  return { whole: built("label", { class: "check" }, box, built("span", { say: key })), box };
}
