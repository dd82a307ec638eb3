// The work behind the page: an image or ink is fitted, the network run. It is one function of
// messages, in a worker where the browser gives one, else on the page's own thread.

import { fitted, planesOf } from "./fit.js";
import { digitOf } from "./digit.js";
import { drawnDigits, isPhoto, photographedDigits } from "./cutting.js";
import { product } from "./tensors.js";
import { Network } from "./network.js";

const HALVED = { parts: [8, 4, 2], kept: 3 }; // as decode.py has JPEG's own decoder halve a photo

/** A photo's pixels as means of squares, where decode.py takes a JPEG at a part of its size. */
function halved(planes, c, width, height, w, h, fit) {
  const scales = [w / width, h / height];
  const scale = fit === "pad" ? Math.min(...scales) : Math.max(...scales);
  const fits = (part) => !(width % part) && !(height % part) && scale * part * HALVED.kept <= 1;
  const part = HALVED.parts.find(fits);
  if (!part) return [planes, width, height];
  const [across, down] = [width / part, height / part];
  const out = new Uint8Array(c * across * down),
    half = (part * part) / 2;
  for (let o = 0; o < out.length; o++) {
    const at = Math.floor(o / across) * part * width + (o % across) * part;
    let sum = half;
    for (let i = 0; i < part; i++) for (let j = 0; j < part; j++) sum += planes[at + i * width + j];
    out[o] = sum / (part * part);
  }
  return [out, across, down];
}

const alike = (one, two) => one.pixels.every((level, i) => level === two.pixels[i]);

/** The work of one page: `start` once, then `look` at images, and `value` of what was computed. */
function worker() {
  let network = null,
    about = null,
    last = []; // what was looked at last, with its logits

  /** What the network is shown: `digits`, each its pixels and its box in what was given, or `why`
      there is none; `cut`, whether they were cut out of a photograph. */
  function shownOf({ digits, ink, rgba, pixels, width, height, strokes, pen, cut, ...more }) {
    if (digits) return { digits, cut }; // looked at before
    if (pixels) return { digits: [{ pixels }] };
    if (ink && strokes) return drawnDigits(ink, width, height, strokes, pen);
    if (ink) {
      const drawn = digitOf(ink, width, height);
      return { digits: drawn ? [{ pixels: drawn }] : [] };
    }
    const planes = planesOf(rgba, width, height, about.channels);
    const photo = cut ?? (cut === null && isPhoto(planes, width, height));
    if (photo) return { ...photographedDigits(planes, width, height), cut: true };
    return { digits: [{ pixels: fittedOf(planes, width, height, more) }], cut: false };
  }

  function fittedOf(planes, width, height, { invert, jpeg }) {
    const {
      channels: c,
      size: [h, w],
      fit,
    } = about;
    const taken = jpeg ? halved(planes, c, width, height, w, h, fit) : [planes, width, height];
    const found = fitted(taken[0], c, taken[1], taken[2], w, h, fit);
    return invert ? found.map((level) => 255 - level) : found;
  }

  return {
    start({ weights, ...rest }) {
      about = rest;
      if (!about.graph) return {};
      const letters = atob(weights),
        bytes = new Uint8Array(letters.length);
      for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
      network = new Network(about.graph, new Float32Array(bytes.buffer));
      network.run(new Uint8Array(product(about.graph.shape))); // so that the first stroke is quick
      return {};
    },
    look(asked) {
      const found = shownOf(asked),
        began = performance.now(),
        { digits = [] } = found;
      if (!digits.length || !network) return found;
      found.chosen = Math.min(asked.chosen ?? found.last ?? 0, digits.length - 1);
      const known = last;
      last = digits;
      for (const one of digits) one.logits = known.find((each) => alike(each, one))?.logits;
      const run = (one) => (one.logits = Float32Array.from(network.run(one.pixels)));
      digits.forEach((one, at) => at === found.chosen || one.logits || run(one));
      run(digits[found.chosen]); // last, so that every value is of its pass
      return { ...found, milliseconds: performance.now() - began };
    },
    value: ({ name }) => network.value(name),
  };
}

if (typeof document === "undefined") {
  const work = worker();
  self.onmessage = ({ data: { id, task, asked } }) => {
    try {
      self.postMessage({ id, found: work[task](asked) });
    } catch (why) {
      self.postMessage({ id, error: String(why) });
    }
  };
}
