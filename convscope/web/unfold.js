// A unit taken apart: of which numbers the network made it, and how. A unit is a stage of the graph and
// a place in its value's memory, so that maps and what they are flattened to go by the same place.
// Sums are float64, as those of the pass.

import { placesOf, positive, product, stridesOf } from "./tensors.js";
import { windows } from "./products.js";
import { OPERATORS } from "./network.js";

/** Where a number of a tensor of `wanted` comes from in one of `shape` that is repeated to it. */
function placeIn(shape, wanted, at) {
  const own = stridesOf(shape),
    ahead = wanted.length - shape.length;
  return stridesOf(wanted).reduce((sum, stride, i) => {
    const along = Math.floor(at / stride) % wanted[i];
    return i < ahead || shape[i - ahead] === 1 ? sum : sum + along * own[i - ahead];
  }, 0);
}

/** Channel, row and column of a unit of maps. */
function unitOf([, , h, w], at) {
  return [Math.floor(at / (h * w)), Math.floor(at / w) % h, at % w];
}

/** The window of a unit: where it begins, and the place within a plane of each of its numbers, -1 in
    the padding. */
function windowAt(step, shape, kernel, row, column) {
  const { strides, dilations, pads, size } = windows(step, shape, kernel);
  const [, , h, w] = shape,
    [top, left] = [row * strides[0] - pads[0], column * strides[1] - pads[1]];
  const places = [];
  for (let a = 0; a < kernel[0]; a++) {
    for (let b = 0; b < kernel[1]; b++) {
      const [i, j] = [top + a * dilations[0], left + b * dilations[1]];
      places.push(i >= 0 && i < h && j >= 0 && j < w ? i * w + j : -1);
    }
  }
  return { top, left, kernel, strides, dilations, pads, size, places };
}

/** Bias and batch norm after a sum: of channel or unit `m`. */
function afterwards(network, step, bias, m, total) {
  const norm = network.graph.nodes[network.steps.indexOf(step)].norm,
    sum = total + (bias ?? 0);
  if (!norm) return { bias, norm: null, result: sum };
  const [scale, shift, mean, deviation] = norm.map((name) => network.value(name).data[m]);
  const result = ((sum - mean) / deviation) * scale + shift;
  return { bias, norm: { mean, deviation, scale, shift }, result };
}

const takes = {
  /** Patch x kernel, a term an input channel of the unit's group. */
  conv(network, stage, at, step, [x, W, B]) {
    const [m, deep, ...kernel] = W.shape,
      shape = network.value(stage.value).shape,
      [o, row, column] = unitOf(shape, at);
    const group = Math.floor(o / (m / (step.attributes.group ?? 1))),
      window = windowAt(step, x.shape, kernel, row, column),
      area = x.shape[2] * x.shape[3],
      k = window.places.length;
    const terms = Array.from({ length: deep }, (_, d) => {
      const channel = group * deep + d,
        from = (o * deep + d) * k;
      const patch = window.places.map((p) => (p < 0 ? 0 : x.data[channel * area + p])),
        weights = Array.from(W.data.subarray(from, from + k));
      const sum = patch.reduce((all, one, i) => all + one * weights[i], 0);
      return { channel, patch, weights, sum };
    });
    const total = terms.reduce((sum, one) => sum + one.sum, 0);
    return { window, terms, total, ...afterwards(network, step, B && B.data[o], o, total) };
  },

  /** Weighted inputs, from the place `first` on. */
  linear(network, stage, at, step, [A, W, C]) {
    const { transA = 0, transB = 0, alpha = 1, beta = 1 } = step.attributes,
      [k, n] = transB ? [W.shape[1], W.shape[0]] : W.shape;
    const [row, m] = [Math.floor(at / n), at % n],
      [by, first] = transA ? [A.shape[1], row] : [1, row * k];
    const inputs = Float64Array.from({ length: k }, (_, i) => A.data[first + i * by]);
    const weights = inputs.map((_, i) => alpha * W.data[transB ? m * k + i : i * n + m]);
    const total = inputs.reduce((sum, one, i) => sum + one * weights[i], 0);
    const bias = C && beta * C.data[placeIn(C.shape, network.value(stage.value).shape, at)];
    return { first, by, inputs, weights, total, ...afterwards(network, step, bias, m, total) };
  },

  maxpool(network, stage, at, step, [x]) {
    const { window, numbers, plane } = pooledOver(network, stage, at, step, x);
    const winner = numbers.reduce(
      (best, one, i) => (one !== null && (best < 0 || one > numbers[best]) ? i : best),
      -1,
    );
    return { window, numbers, plane, winner, result: numbers[winner] };
  },

  /** The mean of a window; zeros of the padding count where the layer says so. */
  avgpool(network, stage, at, step, [x]) {
    const { window, numbers, plane } = pooledOver(network, stage, at, step, x),
      { top, left, pads, kernel, dilations } = window;
    const within = (start, n, by, k) => Math.min(k, Math.ceil((n - start) / by));
    const count = step.attributes.count_include_pad
      ? within(top, x.shape[2] + pads[2], dilations[0], kernel[0]) *
        within(left, x.shape[3] + pads[3], dilations[1], kernel[1])
      : numbers.filter((one) => one !== null).length;
    const total = numbers.reduce((sum, one) => sum + (one ?? 0), 0);
    return { window, numbers, plane, count, total, result: total / count };
  },

  /** The mean of all of a map, or along the axes that the layer names. */
  mean(network, stage, at, step, [x]) {
    const [outer, inner] = step.plan,
      numbers = Array.from(inner, (i) => x.data[outer[at] + i]);
    const total = numbers.reduce((sum, one) => sum + one, 0);
    return { first: outer[at], numbers, count: inner.length, total, result: total / inner.length };
  },

  norm(network, stage, at, step, [x, scales, shifts, means, variances]) {
    const m = Math.floor(at / product(x.shape.slice(2))) % x.shape[1],
      deviation = Math.sqrt(variances.data[m] + (step.attributes.epsilon ?? 1e-5));
    const [scale, shift, mean] = [scales, shifts, means].map((one) => one.data[m]);
    const input = x.data[at];
    const result = ((input - mean) / deviation) * scale + shift;
    return { input, at, norm: { mean, deviation, scale, shift }, result };
  },

  each: (network, stage, at) => pointwise(network, stage, at),
  pair: (network, stage, at) => pointwise(network, stage, at),
  concat: (network, stage, at) => moved(network, stage, at),
  moved: (network, stage, at) => moved(network, stage, at),
  other: (network, stage, at) => ({ result: network.value(stage.value).data[at] }),
};

function pooledOver(network, stage, at, step, x) {
  const [c, row, column] = unitOf(network.value(stage.value).shape, at),
    window = windowAt(step, x.shape, step.attributes.kernel_shape, row, column),
    plane = c * x.shape[2] * x.shape[3];
  const numbers = window.places.map((p) => (p < 0 ? null : x.data[plane + p]));
  return { window, numbers, plane };
}

/** Operators of single numbers, one after another: each with its numbers (`null` for the one that the
    operator before gave) and what it makes of them. Where the numbers of the stages before lie is
    `operands`, a place for each that it is from. */
function pointwise(network, stage, at) {
  const operands = new Map(),
    made = new Set(stage.nodes.flatMap((n) => network.steps[n].out)),
    sources = new Set(stage.nodes.flatMap((n) => network.steps[n].inputs));
  for (const name of network.graph.constants ? Object.keys(network.graph.constants) : []) {
    sources.delete(name);
  }
  const steps = stage.nodes.map((n) => {
    const step = network.steps[n],
      wanted = network.value(step.out[0]).shape;
    const numbers = step.inputs.filter(Boolean).map((name) => {
      const value = network.value(name),
        place = placeIn(value.shape, wanted, at);
      if (made.has(name)) return null;
      if (sources.has(name)) operands.set(name, place);
      return value.data[place];
    });
    return {
      op: step.op,
      numbers,
      attributes: step.attributes,
      gives: network.value(step.out[0]).data[at],
    };
  });
  const found = [...operands].map(([name, place]) => ({
    at: place,
    value: network.value(name).data[place],
  }));
  return { steps, operands: found, result: steps.at(-1).gives };
}

/** Which number of which stage before this unit is: both null where it is a zero of the padding. */
function moved(network, stage, at) {
  const { inputs } = network.steps[stage.nodes[0]],
    sources = inputs.filter((name) => name && !(name in network.graph.constants));
  const traced = (stage.traced ??= sources.map((source) => traceOf(network, stage, source)));
  const from = traced.findIndex((places) => places[at] >= 0);
  if (from < 0) return { from: null, at: null, result: 0 };
  const place = traced[from][at];
  return { from, at: place, result: network.value(sources[from]).data[place] };
}

/** The place within the value `source` of each number that a stage moves, -1 of all others. */
function traceOf(network, stage, source) {
  let found = new Map(); // of names: the places as a tensor
  for (const n of stage.nodes) {
    const { op, inputs, out, attributes } = network.steps[n];
    const given = inputs.map((name) => {
      if (found.has(name)) return found.get(name);
      const value = name ? network.value(name) : undefined;
      if (!value || name in network.graph.constants) return value;
      const own = name === source;
      return {
        shape: value.shape,
        data: Float64Array.from(value.data, (_, at) => (own ? at : -1)),
      };
    });
    if (op === "Pad") given[2] = { shape: [1], data: [-1] };
    OPERATORS[op]({ attributes, out }, ...given).forEach((value, i) => found.set(out[i], value));
  }
  return Int32Array.from(found.get(stage.value).data);
}

/** How a unit was made: what its stage does (`does`), its `value` in the pass, and what the function of
    that name above finds, with the `result` that the arithmetic gives. */
export function unfolded(network, stage, at) {
  const step = network.steps[stage.nodes[0]];
  const given = step.inputs.map((name) => (name ? network.value(name) : undefined));
  const value = network.value(stage.value).data[at];
  return { does: stage.does, value, ...takes[stage.does](network, stage, at, step, given) };
}

/** Some maps of a value as levels: 128 is 0, 255 and 1 the greatest magnitude of all its maps. A value
    that is no map is one, of a row. */
export function mapsOf(network, { name, from, count }) {
  const { shape, data } = network.value(name),
    [h, w] = shape.length > 2 ? shape.slice(-2) : [1, shape.at(-1)];
  let most = 0;
  for (let i = 0; i < data.length; i++) most = Math.max(most, Math.abs(data[i]));
  const part = data.subarray(from * h * w, (from + count) * h * w),
    levels = new Uint8Array(part.length),
    scale = most ? 127 / most : 0;
  for (let i = 0; i < part.length; i++) levels[i] = 128.5 + part[i] * scale;
  return { name, from, count: part.length / (h * w), h, w, most, levels };
}

// What a unit sees of the image: rows and columns, followed from the unit back to the pixels.

const WINDOWED = new Set(["Conv", "MaxPool", "AveragePool"]);
const SPREADING = /^(Reduce|Global|Gemm|MatMul|Gather|(Log)?Softmax|(Layer|Group|Instance)Norm)/; // sees all
const spatial = (shape) => (shape.length > 3 ? shape.slice(-2) : null);

/** The part of an input that a box of rows and columns of a node's output is made of; null for all. */
function behind(step, box, output, input) {
  const [out, own] = [spatial(output), spatial(input)];
  if (!out || !own || !box) return null;
  if (WINDOWED.has(step.op)) {
    const kernel = step.op === "Conv" ? step.kernel : step.attributes.kernel_shape;
    const { strides, dilations, pads } = windows(step, input, kernel);
    return box.map(([low, high], i) => [
      low * strides[i] - pads[i],
      high * strides[i] - pads[i] + dilations[i] * (kernel[i] - 1),
    ]);
  }
  if (step.op === "Slice" || step.op === "Pad") return shifted(step, box, output, input);
  const perm = step.attributes.perm,
    keeps = !perm || perm.slice(-2).every((axis, i) => axis === perm.length - 2 + i);
  const same = own.every((n, i) => n === out[i]);
  return same && keeps && !SPREADING.test(step.op) ? box : null;
}

/** Behind a slice or a padding: the place of the first and of the second along each axis says it. */
function shifted(step, box, output, input) {
  const trace = (axis) => {
    const places = placesOf(
      input,
      stridesOf(input).map((_, i) => (i === axis ? 1 : 0)),
    );
    const given = [{ shape: input, data: Float64Array.from(places) }, ...step.given.slice(1)];
    const found = OPERATORS[step.op]({ attributes: step.attributes, out: step.out }, ...given)[0];
    return found.data;
  };
  return box.map((range, i) => {
    const axis = input.length - 2 + i,
      stride = stridesOf(output)[axis],
      along = trace(axis);
    const start = step.op === "Pad" ? beginOf(step, axis, input.length) : 0;
    const by = output[axis] > 1 && step.op === "Slice" ? along[stride] - along[0] : 1;
    const first = step.op === "Slice" ? along[0] : -start;
    return range.map((n) => first + n * by);
  });
}

function beginOf(step, axis, rank) {
  const [, pads, , axes] = step.given,
    along = axes
      ? axes.data.map((one) => positive(one, rank))
      : pads.data.slice(rank).map((_, i) => i);
  const at = along.indexOf(axis);
  return at < 0 ? 0 : pads.data[at];
}

/** What a unit of a value sees of the image: `rows` and `columns` from and to, both inclusive, which lie
    in the padding where they are outside; `whole` where it is all of it, wherever that ends. */
export function fieldOf(network, name, at) {
  const boxes = new Map(),
    { shape } = network.value(name);
  const size = spatial(shape);
  boxes.set(name, size && [Math.floor(at / size[1]) % size[0], at % size[1]].map((n) => [n, n]));
  for (const step of network.steps.toReversed()) {
    const box = step.out.map((one) => boxes.get(one)).find((one) => one !== undefined);
    if (box === undefined) continue;
    const given = step.inputs.map((one) => (one ? network.value(one) : undefined));
    if (step.op === "Conv") step.kernel = given[1].shape.slice(2);
    for (const [i, one] of step.inputs.entries()) {
      if (!one || one in network.graph.constants) continue;
      const output = network.value(step.out[0]).shape;
      const seen = behind({ ...step, given }, box, output, given[i].shape);
      const known = boxes.get(one);
      boxes.set(one, known === undefined ? seen : known && seen && joined(known, seen));
    }
  }
  const [h, w] = network.graph.shape.slice(2),
    [rows, columns] = boxes.get(network.graph.input) ?? [];
  return rows
    ? { rows, columns, whole: false }
    : { rows: [0, h - 1], columns: [0, w - 1], whole: true };
}

const joined = (a, b) =>
  a.map(([low, high], i) => [Math.min(low, b[i][0]), Math.max(high, b[i][1])]);
