// Ink -> the digits of one line, from left to right, each as MNIST has it: what `cut` in
// convscope/data/digits.py does with a photograph, and the same for what is drawn.

import { digitOf, strokeOf } from "./digit.js";
import { fitted, rounded } from "./fit.js";
import { inkOf, isLightOnDark, labelled } from "./paper.js";

const LONGEST = 640; // pixels of a photograph's longer side, above which it is made smaller
const SMALLEST = 64; // pixels of a photograph's shorter side: below, it is no photograph
const TALLEST = 0.9; // of the picture: what is larger is no digit on paper
const SHORTEST = 12; // pixels a digit is high at least
const THICKEST = 0.4; // of a digit's longer side: no stroke is thicker
const MOST_INK = 0.3; // of a picture: where there is more, that is no paper
const MOST_UNEVEN = 0.1; // paper's deviation, as a darkness
const MOST = 32; // digits in one photograph
const WIDER = 1.25; // times its height: what is wider is several digits that touch

/** A grey photograph, made smaller where it has to be, how many of its own pixels one is long. */
function brought(grey, width, height) {
  const scale = Math.max(1, Math.max(width, height) / LONGEST);
  const [w, h] = [width, height].map((side) => Math.max(1, rounded(side / scale)));
  return { photo: fitted(grey, 1, width, height, w, h, "stretch"), w, h, scale };
}

/** Whether an image is like a photograph of writing on paper: 64 pixels each way, dark on light. */
export function isPhoto(grey, width, height) {
  const { photo, w, h } = brought(grey, width, height);
  return Math.min(w, h) >= SMALLEST && !isLightOnDark(photo, w, h);
}

/** The digits in a grey photograph: their pixels and boxes [left, top, right, bottom] in its own
    pixels; without any, `why` as a key of words, and its `pixels` or `marks`. */
export function photographedDigits(grey, width, height) {
  const { photo, w, h, scale } = brought(grey, width, height);
  const found = cutDigits(photo, w, h);
  for (const one of found.digits ?? []) one.box = one.box.map((edge) => rounded(edge * scale));
  return found;
}

function cutDigits(photo, w, h) {
  const { mask, unevenness, cutOff } = inkOf(photo, w, h);
  const inked = mask.reduce((sum, one) => sum + one, 0);
  if (unevenness > MOST_UNEVEN || inked / mask.length > MOST_INK) return { why: "cut.paper" };
  const { labels, count } = labelled(mask, w, h),
    parts = partsOf(labels, count, w);
  if (!parts.length) return { why: cutOff ? "cut.edge" : "cut.ink" };
  const tallest = Math.max(...parts.map(heightOf));
  if (tallest < SHORTEST) return { why: "cut.small", pixels: tallest };
  const digits = [];
  for (const part of splitApart(grouped(parts, tallest), mask, w)) {
    const [ink, wide, tall] = inkOfPart(part, labels, w),
      long = Math.max(wide, tall);
    if (
      !ink.includes(1) ||
      long > TALLEST * Math.max(w, h) ||
      strokeOf(ink, wide, tall) > THICKEST * long
    )
      continue;
    const { left, top, right, bottom } = part;
    digits.push({ pixels: digitOf(ink, wide, tall), box: [left, top, right, bottom] });
  }
  if (!digits.length) return { why: "cut.strokes" };
  return digits.length > MOST ? { why: "cut.many", marks: digits.length } : { digits };
}

const heightOf = (part) => part.bottom - part.top;
const widthOf = (part) => part.right - part.left;

/** Pixels between two boxes. */
function gapOf(one, two) {
  const across = Math.max(0, one.left - two.right, two.left - one.right),
    down = Math.max(0, one.top - two.bottom, two.top - one.bottom);
  return Math.sqrt(across * across + down * down);
}

/** The share of the narrower one's columns that the other has, too. */
function aboveEachOther(one, two) {
  const shared = Math.min(one.right, two.right) - Math.max(one.left, two.left);
  return shared / Math.min(widthOf(one), widthOf(two));
}

function join(part, other) {
  part.labels = [...part.labels, ...other.labels];
  part.strokes = [...part.strokes, ...other.strokes];
  part.drawn ||= other.drawn;
  [part.top, part.left] = [Math.min(part.top, other.top), Math.min(part.left, other.left)];
  [part.bottom, part.right] = [
    Math.max(part.bottom, other.bottom),
    Math.max(part.right, other.right),
  ];
}

/** The connected strokes, specks left out. */
function partsOf(labels, count, w) {
  const parts = Array.from({ length: count }, (_, at) => ({
    labels: [at + 1],
    strokes: [],
    top: Infinity,
    bottom: 0,
    left: Infinity,
    right: 0,
    area: 0,
  }));
  labels.forEach((label, i) => {
    if (!label) return;
    const part = parts[label - 1],
      x = i % w,
      y = Math.floor(i / w);
    part.area++;
    part.bottom = y + 1;
    if (y < part.top) part.top = y;
    if (x < part.left) part.left = x;
    if (x >= part.right) part.right = x + 1;
  });
  const least = Math.max(6, 0.02 * parts.reduce((top, { area }) => Math.max(top, area), 0));
  return parts.filter((part) => part.area >= least);
}

/** Digits from left to right: strokes above each other, and small ones with what is nearest; those
    that are far from all are left out, or digits if `kept`. */
function grouped(parts, tallest, kept = false) {
  const small = (part) => heightOf(part) < 0.4 * tallest,
    large = parts.filter((part) => !small(part)),
    whole = [...large];
  for (const part of parts.filter(small)) {
    const nearest = large.reduce((best, one) =>
      gapOf(part, one) < gapOf(part, best) ? one : best,
    );
    if (gapOf(part, nearest) <= 0.3 * tallest) join(nearest, part);
    else if (kept) whole.push(part);
  }
  const digits = [];
  for (const part of whole.sort((a, b) => a.left - b.left)) {
    const same = (one) => gapOf(part, one) <= 0.15 * tallest && aboveEachOther(part, one) > 0.6;
    const other = digits.find(same);
    if (other) join(other, part);
    else digits.push(part);
  }
  return digits;
}

/** Digits that touch cut apart, where there is the least ink near to where one would end. */
function splitApart(parts, mask, w) {
  const found = [];
  for (const part of parts) {
    const [wide, tall] = [widthOf(part), heightOf(part)];
    const several = wide > WIDER * tall ? rounded(wide / (0.7 * tall)) : 1;
    const ink = new Int32Array(wide);
    for (let y = part.top; y < part.bottom; y++) {
      for (let x = 0; x < wide; x++) ink[x] += mask[y * w + part.left + x];
    }
    const step = wide / several,
      cuts = [0];
    for (let at = 1; at < several; at++) {
      const [low, high] = [Math.trunc((at - 0.3) * step), Math.trunc((at + 0.3) * step) + 1];
      const near = ink.subarray(low, high);
      cuts.push(low + near.indexOf(near.reduce((a, b) => Math.min(a, b))));
    }
    cuts.push(wide);
    for (let n = 0; n < several; n++) {
      const [left, right] = [part.left + cuts[n], part.left + cuts[n + 1]];
      const rowed = (y) => mask.subarray(y * w + left, y * w + right).includes(1);
      let [top, bottom] = [part.top, part.bottom];
      while (top < bottom && !rowed(top)) top++;
      while (bottom > top && !rowed(bottom - 1)) bottom--;
      if (top < bottom) found.push({ ...part, left, right, top, bottom });
    }
  }
  return found;
}

/** The ink of a part alone, in its box: mask, width, height. */
function inkOfPart({ labels: own, left, top, right, bottom }, labels, w) {
  const [wide, tall] = [right - left, bottom - top],
    ink = new Uint8Array(wide * tall);
  for (let i = 0; i < ink.length; i++) {
    ink[i] = own.includes(labels[(top + Math.floor(i / wide)) * w + left + (i % wide)]);
  }
  return [ink, wide, tall];
}

/** The digits of what was drawn: ink, 1 or 0 [h, w], by `strokes` of points [x, y] and a pen so wide.
    No stroke is cut; those that touch are one digit, unless they are wide and stand side by side.
    `last` is the place of the digit that the last stroke is of. */
export function drawnDigits(ink, w, h, strokes, pen) {
  const { labels, count } = labelled(ink, w, h);
  const parts = partsOf(labels, count, w);
  for (const stroke of strokes) {
    const on = stroke.map(([x, y]) => labels[Math.floor(y) * w + Math.floor(x)]);
    parts.find((part) => on.includes(part.labels[0]))?.strokes.push(stroke);
  }
  const apart = parts.flatMap((part) => sideBySide(part, pen));
  if (!apart.length) return { digits: [] };
  const tallest = Math.max(...apart.map(heightOf)),
    found = grouped(apart, tallest, true);
  const digits = found.map((part) => {
    const { left, top, right, bottom } = part,
      mask = part.drawn ? drawnBy(part.strokes, pen, w, h) : ownInk(part, labels);
    return { pixels: digitOf(mask, w, h), box: [left, top, right, bottom] };
  });
  const last = found.findIndex((part) => part.strokes.includes(strokes.at(-1)));
  return { digits, last: Math.max(last, 0) };
}

const ownInk = (part, labels) => Uint8Array.from(labels, (label) => part.labels.includes(label));

/** A connected part by its strokes: as it is, or several, where it is wide and they stand so. */
function sideBySide(part, pen) {
  if (widthOf(part) <= heightOf(part)) return [part];
  const found = [];
  for (const stroke of part.strokes) {
    const [xs, ys] = [0, 1].map((axis) => stroke.map((point) => point[axis]));
    const one = {
      labels: part.labels,
      strokes: [stroke],
      drawn: true,
      left: Math.min(...xs) - pen / 2,
      right: Math.max(...xs) + pen / 2,
      top: Math.min(...ys) - pen / 2,
      bottom: Math.max(...ys) + pen / 2,
    };
    const other = found.find((each) => aboveEachOther(one, each) > 0.5);
    if (other) join(other, one);
    else found.push(one);
  }
  return found.length > 1 ? found : [part];
}

/** The ink of strokes, 1 or 0 [h, w]: what is at most half a pen away from one. */
function drawnBy(strokes, pen, w, h) {
  const mask = new Uint8Array(w * h);
  for (const stroke of strokes) {
    stroke.forEach(([x, y], n) => {
      const [fromX, fromY] = stroke[Math.max(n - 1, 0)],
        [alongX, alongY] = [x - fromX, y - fromY],
        length = alongX ** 2 + alongY ** 2 || 1;
      const within = (at, most) => Math.min(Math.max(Math.floor(at), 0), most);
      const [left, right] = [Math.min(x, fromX) - pen, Math.max(x, fromX) + pen];
      const [top, bottom] = [Math.min(y, fromY) - pen, Math.max(y, fromY) + pen];
      for (let row = within(top, h); row < within(bottom, h); row++) {
        for (let column = within(left, w); column < within(right, w); column++) {
          const [dx, dy] = [column + 0.5 - fromX, row + 0.5 - fromY];
          const share = Math.min(Math.max((dx * alongX + dy * alongY) / length, 0), 1);
          const away = (dx - share * alongX) ** 2 + (dy - share * alongY) ** 2;
          if (away <= (pen / 2) ** 2) mask[row * w + column] = 1;
        }
      }
    });
  }
  return mask;
}
