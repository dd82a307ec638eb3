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

/** A grey photograph, made smaller where it has to be, and how many of its own pixels one is long. */
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
    if (!ink.includes(1) || long > TALLEST * Math.max(w, h) || strokeOf(ink, wide, tall) > THICKEST * long) continue;
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
  [part.top, part.left] = [Math.min(part.top, other.top), Math.min(part.left, other.left)];
  [part.bottom, part.right] = [
    Math.max(part.bottom, other.bottom),
    Math.max(part.right, other.right),
  ];
}

/** The connected strokes, specks left out. */
function partsOf(labels, count, w) {
  const parts = Array.from({ length: count }, (_, at) => ({
    labels: [at + 1], top: Infinity, bottom: 0, left: Infinity, right: 0, area: 0,
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

/** Digits from left to right: strokes above each other, and small ones with what is nearest. */
function grouped(parts, tallest) {
  const whole = parts.filter((part) => heightOf(part) >= 0.4 * tallest);
  for (const part of parts) {
    if (heightOf(part) >= 0.4 * tallest) continue;
    const nearest = whole.reduce((best, one) => (gapOf(part, one) < gapOf(part, best) ? one : best));
    if (gapOf(part, nearest) <= 0.3 * tallest) join(nearest, part);
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
