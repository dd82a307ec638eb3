// The arithmetic of a window that moves over maps, as convscope.insight.reference has it: where
// windows lie, what comes out, and the terms of every sum.

/** What cannot be computed, as a key of the page's words and its values. */
export class Unfit extends Error {
  constructor(key, values = {}) {
    super(key);
    this.values = values;
  }
}

const MOST_PRODUCTS = 1e8; // a browser computes them in about a second

const modulo = (a, b) => ((a % b) + b) % b;

/**
 * The windows along one axis of `size` pixels, `out` of them: the i-th begins at pixel i * stride -
 * begin. `same` ("upper", "lower") pads so that there are size / stride; `ceil` rounds up.
 */
export function axisOf(size, kernel, { begin, end, stride, dilation, same = "", ceil = false }) {
  const span = dilation * (kernel - 1) + 1;
  let out;
  if (same) {
    out = Math.ceil(size / stride);
    const total = Math.max(0, (out - 1) * stride + span - size);
    begin = same === "upper" ? Math.floor(total / 2) : Math.ceil(total / 2);
    end = total - begin;
  } else {
    const room = begin + size + end - span;
    out = Math.floor(room / stride) + 1;
    if (ceil && modulo(room, stride) > 0 && out * stride < begin + size) out++;
  }
  const padded = begin + size + end;
  if (out < 1) throw new Unfit("lab.large", { span, padded });
  const reach = Math.max(padded, (out - 1) * stride + span);
  return { size, kernel, begin, end, stride, dilation, same, ceil, out, span, padded, reach };
}

/** The same where every pixel lays the kernel on the output, and `begin` and `end` are cut off. */
function transposedAxis(size, kernel, { begin, end, stride, dilation }) {
  const span = dilation * (kernel - 1) + 1,
    out = (size - 1) * stride + span - begin - end;
  if (out < 1) throw new Unfit("lab.cut", { made: out + begin + end, cut: begin + end });
  return { size, kernel, begin, end, stride, dilation, out, span, transposed: true };
}

/** What an average divides by along an axis, for each window. */
function countsAlong(axis, withPads) {
  return Array.from({ length: axis.out }, (_, i) => {
    let count = 0;
    for (let u = 0; u < axis.kernel; u++) {
      const at = i * axis.stride + u * axis.dilation; // in the padded input
      count += withPads ? at < axis.padded : at >= axis.begin && at < axis.begin + axis.size;
    }
    return count;
  });
}

/**
 * What comes out of an experiment: `kind` conv, transposed, max or average over `X` { data, shape
 * [C,H,W] }, with kernels `W` { data, shape [M,C/group,h,w] } and `B` [M], or a `window` [h,w];
 * `pads` top, left, bottom, right. Gives its `axes`, `Y` { data, shape [M,oh,ow] } and `counts`
 * [oh,ow], what an average divides by. Throws Unfit.
 */
export function slide(experiment) {
  const { kind, X, W, B, pads, strides, dilations, same, ceil, withPads } = experiment,
    [C, H, w] = X.shape;
  const pool = kind === "max" || kind === "average";
  const kernel = pool ? experiment.window : W.shape.slice(2);
  const axes = [H, w].map((size, a) => {
    const moves = { begin: pads[a], end: pads[a + 2], stride: strides[a], dilation: dilations[a] };
    if (kind === "transposed") return transposedAxis(size, kernel[a], moves);
    return axisOf(size, kernel[a], { ...moves, same, ceil: pool && ceil });
  });
  const [oh, ow] = axes.map((axis) => axis.out);
  let counts = null;
  if (pool) {
    const [rows, columns] = axes.map((axis) => countsAlong(axis, kind === "average" && withPads));
    counts = rows.flatMap((r) => columns.map((c) => r * c));
    if (counts.includes(0)) throw new Unfit("lab.only_padding");
  }
  const M = pool ? C : W.shape[0];
  const products = M * oh * ow * kernel[0] * kernel[1] * (pool ? 1 : W.shape[1]);
  if (products > MOST_PRODUCTS) throw new Unfit("lab.bad.work", { products, most: MOST_PRODUCTS });
  const Y = { data: new Float64Array(M * oh * ow), shape: [M, oh, ow] };
  const found = { axes, Y, counts };
  let n = 0;
  for (let m = 0; m < M; m++) {
    for (let i = 0; i < oh; i++) {
      for (let j = 0; j < ow; j++, n++) {
        let sum = kind === "max" ? -Infinity : pool ? 0 : (B?.[m] ?? 0);
        eachTerm(experiment, axes, m, i, j, (x, weight) => {
          if (kind === "max") sum = Math.max(sum, x);
          else sum += pool ? x : x * weight;
        });
        Y.data[n] = kind === "average" ? sum / counts[i * ow + j] : sum;
      }
    }
  }
  return found;
}

/** Call `take` of all that an output is made of: x, weight, channel, tap, tap, row, column. */
function eachTerm({ X, W, kind, group = 1 }, axes, m, i, j, take, padding = null) {
  const [vertical, across] = axes,
    [C, H, width] = X.shape,
    depth = W && kind !== "max" && kind !== "average" ? W.shape[1] : 1;
  const first = kind === "max" || kind === "average" ? m : groupOf(W, group, m) * depth;
  for (let c = 0; c < depth; c++) {
    for (let u = 0; u < vertical.kernel; u++) {
      const y = pixelOf(vertical, i, u);
      for (let v = 0; v < across.kernel; v++) {
        const x = pixelOf(across, j, v);
        if (y === null || x === null) continue;
        const weight = W ? W.data[((m * depth + c) * vertical.kernel + u) * across.kernel + v] : 1;
        const inside = y >= 0 && y < H && x >= 0 && x < width && first + c < C;
        if (inside) take(X.data[((first + c) * H + y) * width + x], weight, c, u, v, y, x);
        else padding?.(weight, c, u, v, y, x);
      }
    }
  }
}

const groupOf = (W, group, m) => Math.floor(m / (W.shape[0] / group));

/** The pixel that tap u of window i lies on; null where a transposed kernel has none. */
function pixelOf({ stride, begin, dilation, transposed, size }, i, u) {
  if (!transposed) return i * stride - begin + u * dilation;
  const at = i + begin - u * dilation;
  return modulo(at, stride) || at < 0 || at / stride >= size ? null : at / stride;
}

/** The channels of the input that output channel m is made of: [first, how many]. */
export function channelsOf({ kind, W, group }, m) {
  if (kind === "max" || kind === "average") return [m, 1];
  return [groupOf(W, group, m) * W.shape[1], W.shape[1]];
}

/**
 * The terms of an output: { c, u, v, y, x, weight, value }, c counted from its first channel; value
 * is null in the padding, and `counted` where an average counts that as zero.
 */
export function termsOf(experiment, { axes }, m, i, j) {
  const terms = [],
    [vertical, across] = axes;
  const counts = experiment.kind === "average" && experiment.withPads;
  eachTerm(
    experiment,
    axes,
    m,
    i,
    j,
    (value, weight, c, u, v, y, x) => terms.push({ c, u, v, y, x, weight, value }),
    (weight, c, u, v, y, x) => {
      const before = y < vertical.size + vertical.end && x < across.size + across.end;
      terms.push({ c, u, v, y, x, weight, value: null, counted: counts && before });
    },
  );
  return terms;
}

/** The output size along an axis, with its numbers filled in. */
export function formulaOf(axis) {
  const { size: n, begin, end, stride: s, span: k, out } = axis,
    p = begin + end;
  const wide =
    axis.dilation > 1
      ? `; k = d·(taps - 1) + 1 = ${axis.dilation}·(${axis.kernel} - 1) + 1 = ${k}`
      : "";
  if (axis.transposed) return `(n - 1)·s + k - p = (${n} - 1)·${s} + ${k} - ${p} = ${out}${wide}`;
  if (axis.same) return `ceil(n / s) = ceil(${n} / ${s}) = ${out}; p = ${begin} + ${end}`;
  if (!axis.ceil) {
    const filled = `floor((${n} - ${k} + ${p} + ${s}) / ${s})`;
    return `floor((n - k + p + s) / s) = ${filled} = ${out}${wide}`;
  }
  const up = Math.ceil((n - k + p) / s) + 1,
    less = up === out ? "" : ` - 1 = ${out}`;
  const filled = `ceil((${n} - ${k} + ${p}) / ${s}) + 1 = ${up}`;
  return `ceil((n - k + p) / s) + 1 = ${filled}${less}${wide}`;
}

/** A kernel [h,w] over an image [H,W], both as rows: its map, as rows. */
export function corr(image, kernel) {
  const [h, w] = [kernel.length, kernel[0].length];
  return Array.from({ length: image.length - h + 1 }, (_, i) =>
    Array.from({ length: image[0].length - w + 1 }, (__, j) => {
      let sum = 0;
      for (let u = 0; u < h; u++)
        for (let v = 0; v < w; v++) sum += image[i + u][j + v] * kernel[u][v];
      return sum;
    }),
  );
}

/**
 * The kernels of gradient descent from `start` on, towards the one that makes `wanted` of `image`,
 * and their losses: the mean squared difference of the maps. Without a rate it is 1 / L, L being
 * the loss's largest curvature.
 */
export function learn(image, wanted, start, steps, lr = null) {
  const area = wanted.length * wanted[0].length,
    less = (map) => map.map((row, i) => row.map((v, j) => v - wanted[i][j]));
  const loss = (off) => off.flat().reduce((sum, v) => sum + v * v, 0) / area;
  const rate = lr ?? 1 / curvatureOf(image, start.length, start[0].length, area);
  const kernels = [start],
    losses = [];
  for (let n = 0; n <= steps; n++) {
    const kernel = kernels[n],
      off = less(corr(image, kernel));
    losses.push(loss(off));
    if (n === steps) break;
    const slope = corr(image, off);
    kernels.push(kernel.map((row, u) => row.map((v, k) => v - ((rate * 2) / area) * slope[u][k])));
  }
  return { kernels, losses, rate };
}

/** The loss's largest curvature, by repeated multiplication with its second derivatives. */
function curvatureOf(image, h, w, area) {
  let kernel = Array.from({ length: h }, (_, u) =>
      Array.from({ length: w }, (__, v) => 1 + ((u * w + v) % 3) / 7),
    ),
    largest = 0;
  for (let n = 0; n < 200; n++) {
    const next = corr(image, corr(image, kernel)).map((row) => row.map((v) => (2 / area) * v)),
      length = Math.hypot(...next.flat());
    if (length === 0) throw new Unfit("lab.zero");
    if (Math.abs(length - largest) < 1e-14 * length) break;
    largest = length;
    kernel = next.map((row) => row.map((v) => v / length));
  }
  return largest;
}
