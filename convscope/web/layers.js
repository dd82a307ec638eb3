// What units see through layers that are written as words (c5-16 mp2 [ c3-16 ]+ fc), as
// convscope.insight.lab.stack has it.

import { Unfit, axisOf } from "./sliding.js";

const SLID = /^(c|mp|ap)(\d+(?:x\d+)?)(-\d+)?((?:[psgd]\d+(?:x\d+)?)*)$/;
const EACH = /^(bn|relu|gelu|silu|elu|leaky|tanh|sigmoid|drop0?\.\d+)$/;
const WHOLE = /^(gap|gmp|flatten|fc\d*)$/;
const pairIn = (text) => [Number(text.split("x")[0]), Number(text.split("x").at(-1))];

/** A layer of windows: { kind, kernel, stride, dilation, pads }, or null where a word is none. */
function windowed(word) {
  const [, letter, size, channels, more] = word.match(SLID) ?? [];
  if (!letter || (letter !== "c" && channels)) return null;
  const found = {
    kernel: pairIn(size),
    stride: letter === "c" ? [1, 1] : pairIn(size),
    dilation: [1, 1],
  };
  found.pads = letter === "c" ? null : [0, 0]; // null: the size is kept
  for (const [, option, numbers] of more.matchAll(/([psgd])(\d+(?:x\d+)?)/g)) {
    const name = { p: "pads", s: "stride", d: "dilation" }[option];
    if (letter !== "c" && (option === "g" || option === "d")) return null;
    if (name) found[name] = pairIn(numbers);
  }
  if (Math.min(...found.kernel, ...found.stride, ...found.dilation) < 1) return null;
  return { ...found, kind: { c: "convolution", mp: "max_pool", ap: "average_pool" }[letter] };
}

function through(before, a, { kernel, stride, dilation, pads }) {
  const span = dilation[a] * (kernel[a] - 1) + 1;
  const [begin, end] = pads
    ? [pads[a], pads[a]]
    : [Math.floor((span - 1) / 2), Math.floor(span / 2)];
  const moves = { begin, end, stride: stride[a], dilation: dilation[a] };
  return {
    size: axisOf(before.size, kernel[a], moves).out,
    low: before.low - begin * before.stride,
    high: before.high + (span - 1 - begin) * before.stride,
    stride: before.stride * stride[a],
  };
}

/**
 * What the units of every layer see of an image of [h, w]: { layer, kind, axes, whole }, an axis
 * being { size, low, high, stride }: unit i sees pixels low + i * stride to high + i * stride.
 * Throws Unfit, with the word, for one that is no layer or does not fit.
 */
export function followed(text, sizes) {
  const image = {
    layer: "input",
    kind: "image",
    whole: false,
    axes: sizes.map((size) => ({ size, low: 0, high: 0, stride: 1 })),
  };
  const seen = [image],
    opened = [];
  for (const word of text.match(/\[|\]\+?|[^\s[\]]+/g) ?? []) {
    const before = seen.at(-1);
    const refuse = () => new Unfit("lab.bad.layer", { word });
    const layer = windowed(word);
    if (word === "[") opened.push(before);
    else if (word === "]+") {
      const entered = opened.pop();
      if (!entered || entered.axes.some((axis, a) => axis.size !== before.axes[a].size))
        throw refuse();
      const axes = before.axes.map((axis, a) => ({
        ...axis,
        low: Math.min(axis.low, entered.axes[a].low),
        high: Math.max(axis.high, entered.axes[a].high),
      }));
      seen.push({ ...before, axes, layer: word, kind: "added" });
    } else if (WHOLE.test(word)) {
      const axes = sizes.map((size) => ({ size: 1, low: 0, high: size - 1, stride: size }));
      seen.push({ layer: word, kind: "whole", whole: true, axes });
    } else if (EACH.test(word) || (layer && before.whole))
      seen.push({ ...before, layer: word, kind: "each" });
    else if (layer) {
      try {
        const axes = before.axes.map((axis, a) => through(axis, a, layer));
        seen.push({ layer: word, kind: layer.kind, whole: false, axes });
      } catch (why) {
        throw why instanceof Unfit
          ? new Unfit("lab.bad.layer_large", { word, ...why.values })
          : why;
      }
    } else throw refuse();
  }
  if (opened.length) throw new Unfit("lab.bad.layer", { word: "[" });
  return seen;
}
