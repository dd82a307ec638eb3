// A forward pass of an ONNX graph over typed arrays, one image at a time. Every value stays until
// the next pass, so that it can be looked at by its name. Sums are float64, values float32, as far
// as they are not whole numbers (shapes, axes), which are plain arrays.

"use strict";

const product = (numbers) => numbers.reduce((all, n) => all * n, 1);
const positive = (axis, rank) => (axis < 0 ? axis + rank : axis);

/** How far apart neighbours along each axis lie. */
function stridesOf(shape) {
  const strides = new Array(shape.length);
  for (let at = shape.length - 1, step = 1; at >= 0; at--) {
    strides[at] = step;
    step *= shape[at];
  }
  return strides;
}

/** The places, in memory, of the elements that `shape` has with these strides from `start` on. */
function placesOf(shape, strides, start = 0) {
  let places = Int32Array.of(start);
  shape.forEach((length, axis) => {
    const next = new Int32Array(places.length * length);
    for (let i = 0, o = 0; i < places.length; i++) {
      for (let n = 0; n < length; n++) next[o++] = places[i] + n * strides[axis];
    }
    places = next;
  });
  return places;
}

/** The shape that two have together: axes of length 1 are repeated. */
function broadcast(a, b) {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const [m, n] = [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1];
    if (m !== n && m !== 1 && n !== 1) throw new Error(`[${a}] does not go with [${b}]`);
    return m === 1 ? n : m;
  });
}

/** Where the elements of a tensor of `shape` are that is repeated to `wanted`. */
function repeated(shape, wanted) {
  const own = stridesOf(shape);
  const ahead = wanted.length - shape.length;
  const strides = wanted.map((_, i) => (i < ahead || shape[i - ahead] === 1 ? 0 : own[i - ahead]));
  return placesOf(wanted, strides);
}

/** The error function: its series near 0, the continued fraction of erfc beyond, in float64
    (Abramowitz and Stegun 7.1.6 and 7.1.14). */
function erf(x) {
  const far = Math.abs(x);
  if (far < 2.5) {
    let term = x, sum = x;
    for (let n = 1; Math.abs(term) > 1e-10 * Math.abs(sum); n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  if (far > 6) return Math.sign(x);
  let fraction = far;
  for (let n = 24; n > 0; n--) fraction = far + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-x * x) / (Math.sqrt(Math.PI) * fraction));
}

// Operators. Each is given a step of the graph (its node's attributes, and what it keeps between
// passes), and its inputs as { shape, data }; it gives its outputs.

/** Values of a shape; the memory is that of the pass before. */
function values(step, shape, at = 0) {
  const size = product(shape);
  const kept = (step.kept ??= []);
  if (kept[at]?.length !== size) kept[at] = new Float32Array(size);
  return { shape, data: kept[at] };
}

/** What a step needs only once, as long as the shapes stay what they are. */
function once(step, shapes, make) {
  const key = shapes.join(";");
  if (step.key !== key) [step.key, step.plan] = [key, make()];
  return step.plan;
}

const each = (f) => (step, x) => {
  const y = values(step, x.shape), change = f(step.attributes);
  for (let i = 0; i < y.data.length; i++) y.data[i] = change(x.data[i]);
  return [y];
};

const pairwise = (f) => (step, ...all) => [all.reduce((a, b, n) => {
  const shape = broadcast(a.shape, b.shape);
  const y = values(step, shape, n - 1), size = y.data.length;
  if (a.data.length === size && b.data.length === size) {
    for (let i = 0; i < size; i++) y.data[i] = f(a.data[i], b.data[i]);
  } else if (a.data.length === size && b.data.length === 1) {
    for (let i = 0; i < size; i++) y.data[i] = f(a.data[i], b.data[0]);
  } else {
    const [at, bt] = (step.plans ??= [])[n] ??= [repeated(a.shape, shape), repeated(b.shape, shape)];
    for (let i = 0; i < size; i++) y.data[i] = f(a.data[at[i]], b.data[bt[i]]);
  }
  return y;
})];

/** A tensor whose elements lie at these places of another. */
function picked(step, x, shape, places, at = 0) {
  const y = values(step, shape, at);
  for (let i = 0; i < places.length; i++) y.data[i] = x.data[places[i]];
  return y;
}

const seen = (x, shape) => [{ shape, data: x.data }]; // the same numbers, of another shape

/** Kernel, strides, dilations, pads before, and the size [h, w] that comes out. */
function windows(step, [, , h, w], kernel) {
  const { strides = [1, 1], dilations = [1, 1], pads = [0, 0, 0, 0], ceil_mode = 0 } = step.attributes;
  const size = [h, w].map((length, i) => {
    const span = dilations[i] * (kernel[i] - 1) + 1;
    const room = (length + pads[i] + pads[i + 2] - span) / strides[i];
    let n = (ceil_mode ? Math.ceil(room) : Math.floor(room)) + 1;
    if (ceil_mode && (n - 1) * strides[i] >= length + pads[i]) n--; // none begins in the padding
    return n;
  });
  return { kernel, strides, dilations, pads, size };
}

/** A pool: `f` makes a number of the place of a window and its rows and columns within the image. */
const pooled = (prepare, add, finish) => (step, x) => {
  const [n, c, h, w] = x.shape;
  const { kernel, strides, dilations, pads, size } = windows(step, x.shape, step.attributes.kernel_shape);
  const y = values(step, [n, c, ...size]), whole = step.attributes.count_include_pad;
  for (let plane = 0, o = 0; plane < n * c; plane++) {
    for (let i = 0; i < size[0]; i++) {
      for (let j = 0; j < size[1]; j++) {
        const top = i * strides[0] - pads[0], left = j * strides[1] - pads[1];
        let made = prepare, count = 0;
        for (let a = 0; a < kernel[0]; a++) {
          const row = top + a * dilations[0];
          if (row >= h + pads[2]) break;
          for (let b = 0; b < kernel[1]; b++) {
            const column = left + b * dilations[1];
            if (column >= w + pads[3]) break;
            const inside = row >= 0 && row < h && column >= 0 && column < w;
            if (inside) made = add(made, x.data[(plane * h + row) * w + column]);
            if (inside || whole) count++;
          }
        }
        y.data[o++] = finish(made, count);
      }
    }
  }
  return [y];
};

/** The products of 4 rows of weights, [k, 4], and 4 columns, [k, 4], added to a bias. */
function product4x4(W, X, k, bias, m, out, at, pitch, rows, columns) {
  let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
  let c0 = 0, c1 = 0, c2 = 0, c3 = 0, d0 = 0, d1 = 0, d2 = 0, d3 = 0;
  for (let i = 0; i < 4 * k; i += 4) {
    const x0 = X[i], x1 = X[i + 1], x2 = X[i + 2], x3 = X[i + 3];
    let w = W[i]; a0 += w * x0; a1 += w * x1; a2 += w * x2; a3 += w * x3;
    w = W[i + 1]; b0 += w * x0; b1 += w * x1; b2 += w * x2; b3 += w * x3;
    w = W[i + 2]; c0 += w * x0; c1 += w * x1; c2 += w * x2; c3 += w * x3;
    w = W[i + 3]; d0 += w * x0; d1 += w * x1; d2 += w * x2; d3 += w * x3;
  }
  const found = [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3];
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) out[at + r * pitch + c] = found[4 * r + c] + bias[m + r];
  }
}

/** Weights [m, k], which lie where `place(m, k)` says, as panels of 4 rows, [k, 4] each. */
function panels(data, m, k, place) {
  return Array.from({ length: Math.ceil(m / 4) }, (_, block) => {
    const panel = new Float64Array(4 * k);
    for (let r = 0; r < 4 && 4 * block + r < m; r++) {
      for (let i = 0; i < k; i++) panel[4 * i + r] = data[place(4 * block + r, i)];
    }
    return panel;
  });
}

/** What a convolution needs of its weights and of the size of its image, once. */
function convolution(step, x, W) {
  const [, c, h, w] = x.shape, [m, deep, kh, kw] = W.shape;
  const groups = step.attributes.group ?? 1, per = m / groups, k = deep * kh * kw;
  const { strides, dilations, pads, size } = windows(step, x.shape, [kh, kw]);
  const tall = h + pads[0] + pads[2], wide = w + pads[1] + pads[3];
  const offsets = placesOf([deep, kh, kw], [tall * wide, dilations[0] * wide, dilations[1]]);
  const starts = placesOf(size, [strides[0] * wide, strides[1]]);
  const weights = Array.from({ length: groups }, (_, g) =>
    per < 4 && deep < 4 ? Float64Array.from(W.data.subarray(g * per * k, (g + 1) * per * k))
      : panels(W.data, per, k, (row, i) => (g * per + row) * k + i));
  return { groups, per, deep, k, pads, tall, wide, offsets, starts, size, weights, shape: [1, m, ...size],
    padded: new Float64Array(c * tall * wide), panel: new Float64Array(4 * k), none: new Float64Array(m) };
}

function conv(step, x, W, B) {
  const p = once(step, [x.shape], () => convolution(step, x, W));
  const [, c, h, w] = x.shape, { padded, panel, starts, offsets, k, per } = p;
  for (let row = 0; row < c * h; row++) {
    const to = (Math.floor(row / h) * p.tall + (row % h) + p.pads[0]) * p.wide + p.pads[1];
    for (let i = 0; i < w; i++) padded[to + i] = x.data[row * w + i];
  }
  const y = values(step, p.shape), area = starts.length, bias = B?.data ?? p.none;
  for (let g = 0; g < p.groups; g++) {
    const from = g * p.deep * p.tall * p.wide, weights = p.weights[g];
    if (per < 4 && p.deep < 4) { // a depthwise convolution, or nearly
      for (let r = 0, o = g * per * area; r < per; r++) {
        for (let s = 0; s < area; s++) {
          let sum = bias[g * per + r];
          const at = from + starts[s];
          for (let i = 0; i < k; i++) sum += weights[r * k + i] * padded[at + offsets[i]];
          y.data[o++] = sum;
        }
      }
      continue;
    }
    for (let s = 0; s < area; s += 4) {
      const columns = Math.min(4, area - s);
      const s0 = from + starts[s], s1 = from + starts[Math.min(s + 1, area - 1)];
      const s2 = from + starts[Math.min(s + 2, area - 1)], s3 = from + starts[Math.min(s + 3, area - 1)];
      for (let i = 0, o = 0; i < k; i++) {
        const offset = offsets[i];
        panel[o++] = padded[s0 + offset]; panel[o++] = padded[s1 + offset];
        panel[o++] = padded[s2 + offset]; panel[o++] = padded[s3 + offset];
      }
      for (let block = 0; block < weights.length; block++) {
        const m = g * per + 4 * block, rows = Math.min(4, per - 4 * block);
        product4x4(weights[block], panel, k, bias, m, y.data, m * area + s, area, rows, columns);
      }
    }
  }
  return [y];
}

/** A [.., m, k] times B [.., k, n], batch by batch; whichever is transposed lies the other way. */
function matrices(y, A, B, m, k, n, batches, transA, transB, alpha) {
  for (let batch = 0; batch < batches.length; batch++) {
    const [a, b, o] = batches[batch];
    const [ai, ak] = transA ? [1, m] : [k, 1], [bk, bj] = transB ? [1, k] : [n, 1];
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0, at = a + i * ai, bt = b + j * bj;
        for (let l = 0; l < k; l++, at += ak, bt += bk) sum += A[at] * B[bt];
        y[o + i * n + j] = alpha * sum;
      }
    }
  }
}

function gemm(step, A, B, C) {
  const { transA = 0, transB = 0, alpha = 1, beta = 1 } = step.attributes;
  const m = A.shape[transA ? 1 : 0], k = A.shape[transA ? 0 : 1], n = B.shape[transB ? 0 : 1];
  const y = values(step, [m, n]);
  matrices(y.data, A.data, B.data, m, k, n, [[0, 0, 0]], transA, transB, alpha);
  if (C) {
    const places = once(step, [y.shape], () => repeated(C.shape, y.shape));
    for (let i = 0; i < places.length; i++) y.data[i] += beta * C.data[places[i]];
  }
  return [y];
}

function matmul(step, A, B) {
  const a = A.shape.length === 1 ? [1, ...A.shape] : A.shape, b = B.shape.length === 1 ? [...B.shape, 1] : B.shape;
  const [m, k] = a.slice(-2), n = b.at(-1);
  const plan = once(step, [a, b], () => {
    const shape = broadcast(a.slice(0, -2), b.slice(0, -2));
    const [at, bt] = [repeated(a.slice(0, -2), shape), repeated(b.slice(0, -2), shape)];
    const batches = Array.from(at, (one, i) => [one * m * k, bt[i] * k * n, i * m * n]);
    const kept = [...(A.shape.length === 1 ? [] : [m]), ...(B.shape.length === 1 ? [] : [n])];
    return { batches, shape: [...shape, ...kept] };
  });
  const y = values(step, plan.shape);
  matrices(y.data, A.data, B.data, m, k, n, plan.batches, 0, 0, 1);
  return [y];
}

/** (x - mean) / deviation over runs of `length` numbers, then scale and bias, which `channel` finds. */
function standardised(step, x, length, epsilon, scale, bias, channel) {
  const y = values(step, x.shape);
  for (let from = 0; from < x.data.length; from += length) {
    let sum = 0, squares = 0;
    for (let i = from; i < from + length; i++) sum += x.data[i];
    const mean = sum / length;
    for (let i = from; i < from + length; i++) squares += (x.data[i] - mean) ** 2;
    const factor = 1 / Math.sqrt(squares / length + epsilon);
    for (let i = from; i < from + length; i++) {
      const c = channel(i);
      y.data[i] = (x.data[i] - mean) * factor * scale.data[c] + (bias ? bias.data[c] : 0);
    }
  }
  return [y];
}

const layerNorm = (step, x, scale, bias) => {
  const length = product(x.shape.slice(positive(step.attributes.axis ?? -1, x.shape.length)));
  return standardised(step, x, length, step.attributes.epsilon ?? 1e-5, scale, bias, (i) => i % length);
};

/** By groups of channels; without a number of groups, each channel by itself. */
const groupNorm = (step, x, scale, bias) => {
  const [, c, ...rest] = x.shape, area = product(rest), groups = step.attributes.num_groups ?? c;
  const by = scale.shape[0] === c ? area : (c / groups) * area; // a scale a channel, or a group
  return standardised(step, x, (c / groups) * area, step.attributes.epsilon ?? 1e-5, scale, bias,
    (i) => Math.floor(i / by) % scale.shape[0]);
};

function batchNorm(step, x, scale, bias, mean, variance) {
  const y = values(step, x.shape), [, c, ...rest] = x.shape, area = product(rest);
  for (let plane = 0; plane < x.shape[0] * c; plane++) {
    const i = plane % c, factor = scale.data[i] / Math.sqrt(variance.data[i] + (step.attributes.epsilon ?? 1e-5));
    const add = bias.data[i] - mean.data[i] * factor;
    for (let at = plane * area; at < (plane + 1) * area; at++) y.data[at] = x.data[at] * factor + add;
  }
  return [y];
}

const softmax = (finish) => (step, x) => {
  const axis = positive(step.attributes.axis ?? -1, x.shape.length), length = x.shape[axis];
  const apart = stridesOf(x.shape)[axis], y = values(step, x.shape);
  for (let outer = 0; outer < x.data.length; outer += length * apart) {
    for (let from = outer; from < outer + apart; from++) {
      let top = -Infinity, sum = 0;
      for (let i = 0; i < length; i++) top = Math.max(top, x.data[from + i * apart]);
      for (let i = 0; i < length; i++) sum += Math.exp(x.data[from + i * apart] - top);
      for (let i = 0; i < length; i++) y.data[from + i * apart] = finish(x.data[from + i * apart] - top, sum);
    }
  }
  return [y];
};

/** All numbers along some axes made one. */
const reduced = (first, add, finish = (sum) => sum) => (step, x, given) => {
  const rank = x.shape.length, { keepdims = 1, noop_with_empty_axes = 0 } = step.attributes;
  const named = given ? given.data : step.attributes.axes;
  if (!named?.length && noop_with_empty_axes) return [x];
  const axes = named?.length ? named.map((axis) => positive(axis, rank)) : x.shape.map((_, i) => i);
  const [outer, inner] = once(step, [x.shape], () => {
    const strides = stridesOf(x.shape), kept = x.shape.map((_, i) => i).filter((i) => !axes.includes(i));
    const part = (some) => placesOf(some.map((i) => x.shape[i]), some.map((i) => strides[i]));
    return [part(kept), part(axes)];
  });
  const shape = x.shape.map((n, i) => (axes.includes(i) ? 1 : n)).filter((_, i) => keepdims || !axes.includes(i));
  const y = values(step, shape);
  for (let o = 0; o < outer.length; o++) {
    let sum = first;
    for (let i = 0; i < inner.length; i++) sum = add(sum, x.data[outer[o] + inner[i]]);
    y.data[o] = finish(sum, inner.length);
  }
  return [y];
};

const globally = (reduce) => (step, x) => reduce(step, x, { data: x.shape.map((_, i) => i).slice(2) });

function pad(step, x, pads, value, axes) {
  const rank = x.shape.length, mode = step.attributes.mode ?? "constant", along = axes?.data ?? x.shape.map((_, i) => i);
  const before = new Array(rank).fill(0), shape = [...x.shape];
  along.forEach((axis, i) => {
    before[positive(axis, rank)] = pads.data[i];
    shape[positive(axis, rank)] += pads.data[i] + pads.data[i + along.length];
  });
  const places = once(step, [x.shape], () => {
    const own = stridesOf(x.shape);
    return shape.reduce((all, length, axis) => {
      const n = x.shape[axis], next = new Int32Array(all.length * length);
      for (let o = 0, p = 0; p < all.length; p++) {
        for (let i = 0; i < length; i++) {
          let at = i - before[axis];
          if (mode === "edge") at = Math.min(Math.max(at, 0), n - 1);
          if (mode === "reflect") at = n - 1 - Math.abs(n - 1 - Math.abs(at));
          next[o++] = all[p] < 0 || at < 0 || at >= n ? -1 : all[p] + at * own[axis];
        }
      }
      return next;
    }, Int32Array.of(0));
  });
  const y = values(step, shape), fill = value?.data.length ? value.data[0] : 0;
  for (let i = 0; i < places.length; i++) y.data[i] = places[i] < 0 ? fill : x.data[places[i]];
  return [y];
}

function slice(step, x, starts, ends, axes, steps) {
  const shape = [...x.shape], strides = stridesOf(x.shape);
  let start = 0;
  starts.data.forEach((first, i) => {
    const axis = positive(axes ? axes.data[i] : i, shape.length), n = x.shape[axis], by = steps ? steps.data[i] : 1;
    const within = (at, low, high) => Math.min(Math.max(at < 0 ? at + n : at, low), high);
    const [from, to] = by > 0 ? [within(first, 0, n), within(ends.data[i], 0, n)]
      : [within(first, 0, n - 1), within(ends.data[i], -1, n - 1)];
    shape[axis] = Math.max(0, Math.ceil((to - from) / by));
    start += from * strides[axis];
    strides[axis] *= by;
  });
  return [picked(step, x, shape, once(step, [x.shape], () => placesOf(shape, strides, start)))];
}

function split(step, x, sizes) {
  const axis = positive(step.attributes.axis ?? 0, x.shape.length), strides = stridesOf(x.shape);
  const parts = sizes ? sizes.data : step.attributes.split ?? (() => {
    const each = Math.ceil(x.shape[axis] / step.out.length);
    return step.out.map((_, i) => Math.min(each, x.shape[axis] - i * each));
  })();
  let from = 0;
  return parts.map((length, i) => {
    const shape = x.shape.map((n, at) => (at === axis ? length : n));
    const places = (step.plans ??= [])[i] ??= placesOf(shape, strides, from * strides[axis]);
    from += length;
    return picked(step, x, shape, places, i);
  });
}

function concat(step, ...all) {
  const axis = positive(step.attributes.axis, all[0].shape.length);
  const shape = all[0].shape.map((n, i) => (i === axis ? all.reduce((sum, one) => sum + one.shape[i], 0) : n));
  const y = values(step, shape), outer = product(shape.slice(0, axis));
  for (let n = 0, o = 0; n < outer; n++) {
    for (const one of all) {
      const length = one.data.length / outer;
      for (let i = 0; i < length; i++) y.data[o++] = one.data[n * length + i];
    }
  }
  return [y];
}

function gather(step, x, indices) {
  const axis = positive(step.attributes.axis ?? 0, x.shape.length), n = x.shape[axis];
  const [before, after] = [x.shape.slice(0, axis), x.shape.slice(axis + 1)], size = product(after);
  const shape = [...before, ...indices.shape, ...after];
  const places = once(step, [x.shape], () => Int32Array.from({ length: product(shape) }, (_, o) => {
    const at = indices.data[Math.floor(o / size) % indices.data.length];
    return (Math.floor(o / size / indices.data.length) * n + positive(at, n)) * size + (o % size);
  }));
  return [picked(step, x, shape, places)];
}

function reshape(step, x, wanted) {
  const zero = step.attributes.allowzero;
  const shape = wanted.data.map((n, i) => (n === 0 && !zero ? x.shape[i] : n));
  const known = product(shape.filter((n) => n !== -1));
  return seen(x, shape.map((n) => (n === -1 ? x.data.length / known : n)));
}

const unsqueeze = (step, x, axes) => {
  const rank = x.shape.length + axes.data.length, at = axes.data.map((axis) => positive(axis, rank)), rest = [...x.shape];
  return seen(x, Array.from({ length: rank }, (_, i) => (at.includes(i) ? 1 : rest.shift())));
};

const squeeze = (step, x, axes) => {
  const at = axes?.data.map((axis) => positive(axis, x.shape.length));
  return seen(x, x.shape.filter((n, i) => (at ? !at.includes(i) : n !== 1)));
};

const transpose = (step, x) => {
  const order = step.attributes.perm ?? x.shape.map((_, i) => i).reverse(), own = stridesOf(x.shape);
  const shape = order.map((axis) => x.shape[axis]);
  return [picked(step, x, shape, once(step, [x.shape], () => placesOf(shape, order.map((axis) => own[axis]))))];
};

const flatten = (step, x) => {
  const rows = product(x.shape.slice(0, positive(step.attributes.axis ?? 1, x.shape.length)));
  return seen(x, [rows, x.data.length / rows]);
};

const clip = (step, x, low, high) => {
  const y = values(step, x.shape), [a, b] = [low ? low.data[0] : -Infinity, high ? high.data[0] : Infinity];
  for (let i = 0; i < y.data.length; i++) y.data[i] = Math.min(Math.max(x.data[i], a), b);
  return [y];
};

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const hardSigmoid = (x, alpha, beta) => Math.min(Math.max(alpha * x + beta, 0), 1);
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const tanhGelu = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const same = (step, x) => [x];
const mean = reduced(0, (a, b) => a + b, (sum, n) => sum / n), greatest = reduced(-Infinity, Math.max);

const OPERATORS = {
  Conv: conv, Gemm: gemm, MatMul: matmul,
  MaxPool: pooled(-Infinity, Math.max, (top) => top),
  AveragePool: pooled(0, (a, b) => a + b, (sum, n) => sum / n),
  GlobalAveragePool: globally(mean), GlobalMaxPool: globally(greatest),
  BatchNormalization: batchNorm, LayerNormalization: layerNorm,
  GroupNormalization: groupNorm, InstanceNormalization: groupNorm,
  Relu: each(() => (x) => Math.max(x, 0)), Clip: clip,
  LeakyRelu: each(({ alpha = 0.01 }) => (x) => (x < 0 ? alpha * x : x)),
  PRelu: pairwise((x, slope) => (x < 0 ? slope * x : x)),
  Elu: each(({ alpha = 1 }) => (x) => (x < 0 ? alpha * Math.expm1(x) : x)),
  Selu: each(({ alpha = 1.67326319, gamma = 1.05070102 }) => (x) => gamma * (x < 0 ? alpha * Math.expm1(x) : x)),
  Gelu: each(({ approximate }) => (approximate === "tanh" ? tanhGelu : (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)))),
  HardSwish: each(() => (x) => x * hardSigmoid(x, 1 / 6, 0.5)),
  HardSigmoid: each(({ alpha = 0.2, beta = 0.5 }) => (x) => hardSigmoid(x, alpha, beta)),
  Sigmoid: each(() => sigmoid), Tanh: each(() => Math.tanh), Erf: each(() => erf),
  Softplus: each(() => softplus), Softsign: each(() => (x) => x / (1 + Math.abs(x))),
  Mish: each(() => (x) => x * Math.tanh(softplus(x))),
  Exp: each(() => Math.exp), Log: each(() => Math.log), Sqrt: each(() => Math.sqrt), Abs: each(() => Math.abs),
  Neg: each(() => (x) => -x), Reciprocal: each(() => (x) => 1 / x),
  Add: pairwise((a, b) => a + b), Sub: pairwise((a, b) => a - b), Mul: pairwise((a, b) => a * b),
  Div: pairwise((a, b) => a / b), Pow: pairwise((a, b) => a ** b), Min: pairwise(Math.min), Max: pairwise(Math.max),
  Softmax: softmax((x, sum) => Math.exp(x) / sum), LogSoftmax: softmax((x, sum) => x - Math.log(sum)),
  ReduceMean: mean, ReduceMax: greatest, ReduceSum: reduced(0, (a, b) => a + b),
  Concat: concat, Split: split, Slice: slice, Pad: pad, Gather: gather, Transpose: transpose,
  Reshape: reshape, Flatten: flatten, Unsqueeze: unsqueeze, Squeeze: squeeze,
  Expand: (step, x, wanted) => {
    const shape = broadcast(x.shape, wanted.data);
    return [picked(step, x, shape, once(step, [x.shape], () => repeated(x.shape, shape)))];
  },
  Cast: same, Identity: same, Dropout: same,
};

/** A network, made of a graph as `page.py` writes it and of its weights, float32 in one piece. */
class Network {
  constructor(graph, weights) {
    this.graph = graph;
    this.values = new Map();
    for (const [name, { shape, at, whole }] of Object.entries(graph.constants)) {
      this.values.set(name, { shape, data: whole ?? weights.subarray(at, at + product(shape)) });
    }
    this.steps = graph.nodes.map(({ op, in: inputs, out, attributes = {}, layer }) =>
      ({ run: OPERATORS[op], inputs, out, attributes, layer }));
  }

  /** The logits of one image: uint8 of the network's own size, channel by channel. */
  run(pixels) {
    const { input, shape, output } = this.graph;
    this.values.set(input, { shape, data: Float32Array.from(pixels) });
    for (const step of this.steps) {
      const found = step.run(step, ...step.inputs.map((name) => (name ? this.values.get(name) : undefined)));
      found.forEach((value, i) => this.values.set(step.out[i], value));
    }
    return this.values.get(output).data;
  }

  /** A value of the last pass by its name: { shape, data }. */
  value(name) {
    return this.values.get(name);
  }
}
