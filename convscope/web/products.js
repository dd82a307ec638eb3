// Convolutions and products of matrices. Sums are float64.

import { broadcast, once, padded, placesOf, repeated, values } from "./tensors.js";

/** Kernel, strides, dilations, pads before, and the size [h, w] that comes out. */
export function windows(step, [, , h, w], kernel) {
  const {
    strides = [1, 1],
    dilations = [1, 1],
    pads = [0, 0, 0, 0],
    ceil_mode = 0,
  } = step.attributes;
  const size = [h, w].map((length, i) => {
    const span = dilations[i] * (kernel[i] - 1) + 1;
    const room = (length + pads[i] + pads[i + 2] - span) / strides[i];
    let n = (ceil_mode ? Math.ceil(room) : Math.floor(room)) + 1;
    if (ceil_mode && (n - 1) * strides[i] >= length + pads[i]) n--; // none begins in the padding
    return n;
  });
  return { kernel, strides, dilations, pads, size };
}

/** The products of 4 rows of weights, [k, 4], and 4 columns, [k, 4], added to a bias. */
// prettier-ignore
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
  const [, c, h, w] = x.shape,
    [m, deep, kh, kw] = W.shape;
  const groups = step.attributes.group ?? 1,
    per = m / groups,
    k = deep * kh * kw;
  const { strides, dilations, pads, size } = windows(step, x.shape, [kh, kw]);
  const tall = h + pads[0] + pads[2],
    wide = w + pads[1] + pads[3];
  const offsets = placesOf([deep, kh, kw], [tall * wide, dilations[0] * wide, dilations[1]]);
  const starts = placesOf(size, [strides[0] * wide, strides[1]]);
  const weights = Array.from({ length: groups }, (_, g) =>
    per < 4 && deep < 4
      ? Float64Array.from(W.data.subarray(g * per * k, (g + 1) * per * k))
      : panels(W.data, per, k, (row, i) => (g * per + row) * k + i),
  );
  return {
    groups,
    per,
    deep,
    k,
    pads,
    tall,
    wide,
    offsets,
    starts,
    size,
    weights,
    shape: [1, m, ...size],
    padded: new Float64Array(c * tall * wide),
    panel: new Float64Array(4 * k),
    none: new Float64Array(m),
  };
}

export function conv(step, x, W, B) {
  const p = once(step, [x.shape], () => convolution(step, x, W));
  const [, c, h, w] = x.shape,
    { padded, panel, starts, offsets, k, per } = p;
  for (let row = 0; row < c * h; row++) {
    const to = (Math.floor(row / h) * p.tall + (row % h) + p.pads[0]) * p.wide + p.pads[1];
    for (let i = 0; i < w; i++) padded[to + i] = x.data[row * w + i];
  }
  const y = values(step, p.shape),
    area = starts.length,
    bias = B?.data ?? p.none;
  for (let g = 0; g < p.groups; g++) {
    const from = g * p.deep * p.tall * p.wide,
      weights = p.weights[g];
    if (per < 4 && p.deep < 4) {
      // a depthwise convolution, or nearly
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
      const s0 = from + starts[s],
        s1 = from + starts[Math.min(s + 1, area - 1)];
      const s2 = from + starts[Math.min(s + 2, area - 1)],
        s3 = from + starts[Math.min(s + 3, area - 1)];
      for (let i = 0, o = 0; i < k; i++) {
        const offset = offsets[i];
        panel[o++] = padded[s0 + offset];
        panel[o++] = padded[s1 + offset];
        panel[o++] = padded[s2 + offset];
        panel[o++] = padded[s3 + offset];
      }
      for (let block = 0; block < weights.length; block++) {
        const m = g * per + 4 * block,
          rows = Math.min(4, per - 4 * block);
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
    const [ai, ak] = transA ? [1, m] : [k, 1],
      [bk, bj] = transB ? [1, k] : [n, 1];
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0,
          at = a + i * ai,
          bt = b + j * bj;
        for (let l = 0; l < k; l++, at += ak, bt += bk) sum += A[at] * B[bt];
        y[o + i * n + j] = alpha * sum;
      }
    }
  }
}

export function gemm(step, A, B, C) {
  const { transA = 0, transB = 0, alpha = 1, beta = 1 } = step.attributes;
  const m = A.shape[transA ? 1 : 0],
    k = A.shape[transA ? 0 : 1],
    n = B.shape[transB ? 0 : 1];
  const y = values(step, [m, n]);
  matrices(y.data, A.data, B.data, m, k, n, [[0, 0, 0]], transA, transB, alpha);
  if (C) {
    const places = once(step, [y.shape], () => repeated(C.shape, y.shape));
    for (let i = 0; i < places.length; i++) y.data[i] += beta * C.data[places[i]];
  }
  return [y];
}

export function matmul(step, A, B) {
  const a = A.shape.length === 1 ? [1, ...A.shape] : A.shape,
    b = B.shape.length === 1 ? [...B.shape, 1] : B.shape;
  const [m, k] = a.slice(-2),
    n = b.at(-1);
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
