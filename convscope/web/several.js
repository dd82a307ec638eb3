// Several digits in a row, each with its pixels, its answer and its doubt; one is the chosen one.

import { about, element, percent, say } from "./words.js";
import { paintPixels } from "./asking.js";

const SVG = "http://www.w3.org/2000/svg";

/** The doubt about an answer: "unlike", "unsure" or "". */
export const doubtOf = (answer) => (answer?.unlike ? "unlike" : answer?.unsure ? "unsure" : "");

/** The likeliest class. */
export const labelOf = ({ p }) => about.classes[p.indexOf(Math.max(...p))];

const shortDoubt = (one) => (one.unlike ? say("try.unlike") : one.unsure ? say("try.unsure") : "");

/** All digits, and the doubt about each that is doubted, as a sentence. */
export function numberSaid({ digits }) {
  const doubts = digits.flatMap((one, at) =>
    doubtOf(one)
      ? say("try.doubt", { n: at + 1, label: labelOf(one), doubt: shortDoubt(one) })
      : [],
  );
  return [digits.map(labelOf).join(""), ...doubts].join("; ");
}

/** Show the digits of an answer in `#digits`, and their boxes in `#boxes` over what they were cut
    out of, which has that `width` and `height`; `choose` is told the place of one that is pressed. */
export function showSeveral(answer, width, height, choose) {
  const digits = answer?.digits ?? [],
    several = digits.length > 1;
  const tiles = element("digits"),
    boxes = element("boxes");
  tiles.hidden = !several;
  boxes.toggleAttribute("hidden", !digits[0]?.box || !(several || answer.cut));
  boxes.setAttribute("viewBox", `0 0 ${width} ${height}`);
  boxes.classList.toggle("pressed", Boolean(answer?.cut));
  trimmed(tiles, several ? digits.length : 0, () => tile(choose));
  trimmed(boxes, digits.length, () => box(choose));
  if (several) digits.forEach((one, at) => fillTile(tiles.children[at], one, at, answer));
  digits.forEach((one, at) => fillBox(boxes.children[at], one, at === answer.chosen));
}

/** So many children, made where they lack: those that are there keep the focus. */
function trimmed(parent, wanted, make) {
  while (parent.children.length > wanted) parent.lastElementChild.remove();
  while (parent.children.length < wanted) parent.append(make());
}

const placeOf = (child) => [...child.parentNode.children].indexOf(child);

function tile(choose) {
  const button = document.createElement("button");
  button.type = "button";
  const parts = ["canvas", "small", "strong", "span"];
  button.append(...parts.map((name) => document.createElement(name)));
  button.children[1].className = "hidden";
  button.addEventListener("click", () => choose(placeOf(button)));
  return button;
}

function fillTile(button, one, at, { digits, chosen }) {
  const [pixels, place, label, note] = button.children;
  paintPixels(pixels, one.pixels);
  place.textContent = say("try.place", { n: at + 1, count: digits.length });
  label.textContent = labelOf(one);
  note.textContent = shortDoubt(one) || percent(Math.max(...one.p));
  button.classList.toggle("doubted", doubtOf(one) !== "");
  button.setAttribute("aria-pressed", String(at === chosen));
}

function box(choose) {
  const rect = document.createElementNS(SVG, "rect");
  rect.addEventListener("click", () => choose(placeOf(rect)));
  return rect;
}

function fillBox(rect, one, chosen) {
  if (!one.box) return;
  const [left, top, right, bottom] = one.box,
    around = 0.06 * Math.max(right - left, bottom - top);
  const sides = { x: left - around, y: top - around };
  Object.assign(sides, { width: right - left + 2 * around, height: bottom - top + 2 * around });
  for (const [name, value] of Object.entries(sides)) rect.setAttribute(name, value);
  rect.classList.toggle("chosen", chosen);
  rect.classList.toggle("doubted", doubtOf(one) !== "");
}
