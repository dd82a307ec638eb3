// A forward pass of an ONNX graph over typed arrays, one image at a time. Every value stays until the
// next pass, so that it can be looked at by its name.

import {
  broadcast, concat, erf, flatten, gather, once, padded, picked, placesOf, positive, product,
  repeated, reshape, slice, split, squeeze, stridesOf, transpose, unsqueeze, values,
} from "./tensors.js";
import { conv, gemm, matmul, windows } from "./products.js";

const each = (f) => (step, x) => {
  const y = values(step, x.shape),
    change = f(step.attributes);
  for (let i = 0; i < y.data.length; i++) y.data[i] = change(x.data[i]);
  return [y];
};

const pairwise =
  (f) =>
  (step, ...all) => [
    all.reduce((a, b, n) => {
      const shape = broadcast(a.shape, b.shape);
      const y = values(step, shape, n - 1),
        size = y.data.length;
      if (a.data.length === size && b.data.length === size) {
        for (let i = 0; i < size; i++) y.data[i] = f(a.data[i], b.data[i]);
      } else if (a.data.length === size && b.data.length === 1) {
        for (let i = 0; i < size; i++) y.data[i] = f(a.data[i], b.data[0]);
      } else {
        const [at, bt] = ((step.plans ??= [])[n] ??= [
          repeated(a.shape, shape),
          repeated(b.shape, shape),
        ]);
        for (let i = 0; i < size; i++) y.data[i] = f(a.data[at[i]], b.data[bt[i]]);
      }
      return y;
    }),
  ];

/** A pool: `f` makes a number of the place of a window and its rows and columns within the image. */
const pooled = (prepare, add, finish) => (step, x) => {
  const [n, c, h, w] = x.shape;
  const { kernel, strides, dilations, pads, size } = windows(
    step,
    x.shape,
    step.attributes.kernel_shape,
  );
  const y = values(step, [n, c, ...size]),
    whole = step.attributes.count_include_pad;
  for (let plane = 0, o = 0; plane < n * c; plane++) {
    for (let i = 0; i < size[0]; i++) {
      for (let j = 0; j < size[1]; j++) {
        const top = i * strides[0] - pads[0],
          left = j * strides[1] - pads[1];
        let made = prepare,
          count = 0;
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

/** (x - mean) / deviation over runs of `length` numbers, then scale and bias, which `channel` finds. */
function standardised(step, x, length, epsilon, scale, bias, channel) {
  const y = values(step, x.shape);
  for (let from = 0; from < x.data.length; from += length) {
    let sum = 0,
      squares = 0;
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
  return standardised(
    step,
    x,
    length,
    step.attributes.epsilon ?? 1e-5,
    scale,
    bias,
    (i) => i % length,
  );
};

/** By groups of channels; without a number of groups, each channel by itself. */
const groupNorm = (step, x, scale, bias) => {
  const [, c, ...rest] = x.shape,
    area = product(rest),
    groups = step.attributes.num_groups ?? c;
  const by = scale.shape[0] === c ? area : (c / groups) * area; // a scale a channel, or a group
  return standardised(
    step,
    x,
    (c / groups) * area,
    step.attributes.epsilon ?? 1e-5,
    scale,
    bias,
    (i) => Math.floor(i / by) % scale.shape[0],
  );
};

function batchNorm(step, x, scale, bias, mean, variance) {
  const y = values(step, x.shape),
    [, c, ...rest] = x.shape,
    area = product(rest);
  for (let plane = 0; plane < x.shape[0] * c; plane++) {
    const i = plane % c,
      factor = scale.data[i] / Math.sqrt(variance.data[i] + (step.attributes.epsilon ?? 1e-5));
    const add = bias.data[i] - mean.data[i] * factor;
    for (let at = plane * area; at < (plane + 1) * area; at++)
      y.data[at] = x.data[at] * factor + add;
  }
  return [y];
}

const softmax = (finish) => (step, x) => {
  const axis = positive(step.attributes.axis ?? -1, x.shape.length),
    length = x.shape[axis];
  const apart = stridesOf(x.shape)[axis],
    y = values(step, x.shape);
  for (let outer = 0; outer < x.data.length; outer += length * apart) {
    for (let from = outer; from < outer + apart; from++) {
      let top = -Infinity,
        sum = 0;
      for (let i = 0; i < length; i++) top = Math.max(top, x.data[from + i * apart]);
      for (let i = 0; i < length; i++) sum += Math.exp(x.data[from + i * apart] - top);
      for (let i = 0; i < length; i++)
        y.data[from + i * apart] = finish(x.data[from + i * apart] - top, sum);
    }
  }
  return [y];
};

/** All numbers along some axes made one. */
const reduced =
  (first, add, finish = (sum) => sum) =>
  (step, x, given) => {
    const rank = x.shape.length,
      { keepdims = 1, noop_with_empty_axes = 0 } = step.attributes;
    const named = given ? given.data : step.attributes.axes;
    if (!named?.length && noop_with_empty_axes) return [x];
    const axes = named?.length
      ? named.map((axis) => positive(axis, rank))
      : x.shape.map((_, i) => i);
    const [outer, inner] = once(step, [x.shape], () => {
      const strides = stridesOf(x.shape),
        kept = x.shape.map((_, i) => i).filter((i) => !axes.includes(i));
      const part = (some) =>
        placesOf(
          some.map((i) => x.shape[i]),
          some.map((i) => strides[i]),
        );
      return [part(kept), part(axes)];
    });
    const shape = x.shape
      .map((n, i) => (axes.includes(i) ? 1 : n))
      .filter((_, i) => keepdims || !axes.includes(i));
    const y = values(step, shape);
    for (let o = 0; o < outer.length; o++) {
      let sum = first;
      for (let i = 0; i < inner.length; i++) sum = add(sum, x.data[outer[o] + inner[i]]);
      y.data[o] = finish(sum, inner.length);
    }
    return [y];
  };

const globally = (reduce) => (step, x) =>
  reduce(step, x, { data: x.shape.map((_, i) => i).slice(2) });

const clip = (step, x, low, high) => {
  const y = values(step, x.shape),
    [a, b] = [low ? low.data[0] : -Infinity, high ? high.data[0] : Infinity];
  for (let i = 0; i < y.data.length; i++) y.data[i] = Math.min(Math.max(x.data[i], a), b);
  return [y];
};

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const hardSigmoid = (x, alpha, beta) => Math.min(Math.max(alpha * x + beta, 0), 1);
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const tanhGelu = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const same = (step, x) => [x];
const mean = reduced(
    0,
    (a, b) => a + b,
    (sum, n) => sum / n,
  ),
  greatest = reduced(-Infinity, Math.max);

export const OPERATORS = {
  Conv: conv,
  Gemm: gemm,
  MatMul: matmul,
  MaxPool: pooled(-Infinity, Math.max, (top) => top),
  AveragePool: pooled(
    0,
    (a, b) => a + b,
    (sum, n) => sum / n,
  ),
  GlobalAveragePool: globally(mean),
  GlobalMaxPool: globally(greatest),
  BatchNormalization: batchNorm,
  LayerNormalization: layerNorm,
  GroupNormalization: groupNorm,
  InstanceNormalization: groupNorm,
  Relu: each(() => (x) => Math.max(x, 0)),
  Clip: clip,
  LeakyRelu: each(
    ({ alpha = 0.01 }) =>
      (x) =>
        x < 0 ? alpha * x : x,
  ),
  PRelu: pairwise((x, slope) => (x < 0 ? slope * x : x)),
  Elu: each(
    ({ alpha = 1 }) =>
      (x) =>
        x < 0 ? alpha * Math.expm1(x) : x,
  ),
  Selu: each(
    ({ alpha = 1.67326319, gamma = 1.05070102 }) =>
      (x) =>
        gamma * (x < 0 ? alpha * Math.expm1(x) : x),
  ),
  Gelu: each(({ approximate }) =>
    approximate === "tanh" ? tanhGelu : (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
  ),
  HardSwish: each(() => (x) => x * hardSigmoid(x, 1 / 6, 0.5)),
  HardSigmoid: each(
    ({ alpha = 0.2, beta = 0.5 }) =>
      (x) =>
        hardSigmoid(x, alpha, beta),
  ),
  Sigmoid: each(() => sigmoid),
  Tanh: each(() => Math.tanh),
  Erf: each(() => erf),
  Softplus: each(() => softplus),
  Softsign: each(() => (x) => x / (1 + Math.abs(x))),
  Mish: each(() => (x) => x * Math.tanh(softplus(x))),
  Exp: each(() => Math.exp),
  Log: each(() => Math.log),
  Sqrt: each(() => Math.sqrt),
  Abs: each(() => Math.abs),
  Neg: each(() => (x) => -x),
  Reciprocal: each(() => (x) => 1 / x),
  Add: pairwise((a, b) => a + b),
  Sub: pairwise((a, b) => a - b),
  Mul: pairwise((a, b) => a * b),
  Div: pairwise((a, b) => a / b),
  Pow: pairwise((a, b) => a ** b),
  Min: pairwise(Math.min),
  Max: pairwise(Math.max),
  Softmax: softmax((x, sum) => Math.exp(x) / sum),
  LogSoftmax: softmax((x, sum) => x - Math.log(sum)),
  ReduceMean: mean,
  ReduceMax: greatest,
  ReduceSum: reduced(0, (a, b) => a + b),
  Concat: concat,
  Split: split,
  Slice: slice,
  Pad: padded,
  Gather: gather,
  Transpose: transpose,
  Reshape: reshape,
  Flatten: flatten,
  Unsqueeze: unsqueeze,
  Squeeze: squeeze,
  Expand: (step, x, wanted) => {
    const shape = broadcast(x.shape, wanted.data);
    return [
      picked(
        step,
        x,
        shape,
        once(step, [x.shape], () => repeated(x.shape, shape)),
      ),
    ];
  },
  Cast: same,
  Identity: same,
  Dropout: same,
};

/** A network, made of a graph as `page.py` writes it and of its weights, float32 in one piece. */
export class Network {
  constructor(graph, weights) {
    this.graph = graph;
    this.values = new Map();
    for (const [name, { shape, at, whole }] of Object.entries(graph.constants)) {
      this.values.set(name, { shape, data: whole ?? weights.subarray(at, at + product(shape)) });
    }
    this.steps = graph.nodes.map(({ op, in: inputs, out, attributes = {}, layer, norm }) => ({
      op,
      run: OPERATORS[op],
      inputs,
      out,
      attributes,
      layer,
      folded: norm && this.folded(inputs, norm),
    }));
  }

  /** Weights and bias into which the batch norm after them is folded. */
  folded([, weights, bias], norm) {
    const [scale, shift, mean, deviation] = norm.map((name) => this.values.get(name).data);
    const { shape, data } = this.values.get(weights),
      own = this.values.get(bias)?.data,
      size = data.length / shape[0];
    const at = (i) => Math.floor(i / size);
    return [
      { shape, data: Float64Array.from(data, (w, i) => (w * scale[at(i)]) / deviation[at(i)]) },
      {
        shape: [shape[0]],
        data: Float64Array.from(
          shift,
          (b, m) => b + (((own?.[m] ?? 0) - mean[m]) * scale[m]) / deviation[m],
        ),
      },
    ];
  }

  /** The logits of one image: uint8 of the network's own size, channel by channel. */
  run(pixels) {
    const { input, shape, output } = this.graph;
    this.values.set(input, { shape, data: Float32Array.from(pixels) });
    for (const step of this.steps) {
      const given = step.inputs.map((name) => (name ? this.values.get(name) : undefined));
      if (step.folded) [given[1], given[2]] = step.folded;
      const found = step.run(step, ...given);
      found.forEach((value, i) => this.values.set(step.out[i], value));
    }
    return this.values.get(output).data;
  }

  /** A value of the last pass by its name: { shape, data }. */
  value(name) {
    return this.values.get(name);
  }
}
