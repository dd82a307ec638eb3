// Tensors { shape, data } and the operators that only move their numbers. What is no whole number is
// float32; whole numbers (shapes, axes) are plain arrays.

export const product = (numbers) => numbers.reduce((all, n) => all * n, 1);
export const positive = (axis, rank) => (axis < 0 ? axis + rank : axis);

/** How far apart neighbours along each axis lie. */
export function stridesOf(shape) {
  const strides = new Array(shape.length);
  for (let at = shape.length - 1, step = 1; at >= 0; at--) {
    strides[at] = step;
    step *= shape[at];
  }
  return strides;
}

/** The places, in memory, of the elements that `shape` has with these strides from `start` on. */
export function placesOf(shape, strides, start = 0) {
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
export function broadcast(a, b) {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const [m, n] = [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1];
    if (m !== n && m !== 1 && n !== 1) throw new Error(`[${a}] does not go with [${b}]`);
    return m === 1 ? n : m;
  });
}

/** Where the elements of a tensor of `shape` are that is repeated to `wanted`. */
export function repeated(shape, wanted) {
  const own = stridesOf(shape);
  const ahead = wanted.length - shape.length;
  const strides = wanted.map((_, i) => (i < ahead || shape[i - ahead] === 1 ? 0 : own[i - ahead]));
  return placesOf(wanted, strides);
}

/** The error function: its series near 0, the continued fraction of erfc beyond, in float64
    (Abramowitz and Stegun 7.1.6 and 7.1.14). */
export function erf(x) {
  const far = Math.abs(x);
  if (far < 2.5) {
    let term = x,
      sum = x;
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

// An operator is given a step of the graph (its node's attributes, and what it keeps between passes)
// and its inputs, and gives a list of outputs.

/** Values of a shape; the memory is that of the pass before. */
export function values(step, shape, at = 0) {
  const size = product(shape);
  const kept = (step.kept ??= []);
  if (kept[at]?.length !== size) kept[at] = new Float32Array(size);
  return { shape, data: kept[at] };
}

/** What a step needs only once, as long as the shapes stay what they are. */
export function once(step, shapes, make) {
  const key = shapes.join(";");
  if (step.key !== key) [step.key, step.plan] = [key, make()];
  return step.plan;
}

/** A tensor whose elements lie at these places of another. */
export function picked(step, x, shape, places, at = 0) {
  const y = values(step, shape, at);
  for (let i = 0; i < places.length; i++) y.data[i] = x.data[places[i]];
  return y;
}

const seen = (x, shape) => [{ shape, data: x.data }]; // the same numbers, of another shape

export function padded(step, x, pads, value, axes) {
  const rank = x.shape.length,
    mode = step.attributes.mode ?? "constant",
    along = axes?.data ?? x.shape.map((_, i) => i);
  const before = new Array(rank).fill(0),
    shape = [...x.shape];
  along.forEach((axis, i) => {
    before[positive(axis, rank)] = pads.data[i];
    shape[positive(axis, rank)] += pads.data[i] + pads.data[i + along.length];
  });
  const places = once(step, [x.shape], () => {
    const own = stridesOf(x.shape);
    return shape.reduce((all, length, axis) => {
      const n = x.shape[axis],
        next = new Int32Array(all.length * length);
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
  const y = values(step, shape),
    fill = value?.data.length ? value.data[0] : 0;
  for (let i = 0; i < places.length; i++) y.data[i] = places[i] < 0 ? fill : x.data[places[i]];
  return [y];
}

export function slice(step, x, starts, ends, axes, steps) {
  const shape = [...x.shape],
    strides = stridesOf(x.shape);
  let start = 0;
  starts.data.forEach((first, i) => {
    const axis = positive(axes ? axes.data[i] : i, shape.length),
      n = x.shape[axis],
      by = steps ? steps.data[i] : 1;
    const within = (at, low, high) => Math.min(Math.max(at < 0 ? at + n : at, low), high);
    const [from, to] =
      by > 0
        ? [within(first, 0, n), within(ends.data[i], 0, n)]
        : [within(first, 0, n - 1), within(ends.data[i], -1, n - 1)];
    shape[axis] = Math.max(0, Math.ceil((to - from) / by));
    start += from * strides[axis];
    strides[axis] *= by;
  });
  return [
    picked(
      step,
      x,
      shape,
      once(step, [x.shape], () => placesOf(shape, strides, start)),
    ),
  ];
}

export function split(step, x, sizes) {
  const axis = positive(step.attributes.axis ?? 0, x.shape.length),
    strides = stridesOf(x.shape);
  const parts = sizes
    ? sizes.data
    : (step.attributes.split ??
      (() => {
        const each = Math.ceil(x.shape[axis] / step.out.length);
        return step.out.map((_, i) => Math.min(each, x.shape[axis] - i * each));
      })());
  let from = 0;
  return parts.map((length, i) => {
    const shape = x.shape.map((n, at) => (at === axis ? length : n));
    const places = ((step.plans ??= [])[i] ??= placesOf(shape, strides, from * strides[axis]));
    from += length;
    return picked(step, x, shape, places, i);
  });
}

export function concat(step, ...all) {
  const axis = positive(step.attributes.axis, all[0].shape.length);
  const shape = all[0].shape.map((n, i) =>
    i === axis ? all.reduce((sum, one) => sum + one.shape[i], 0) : n,
  );
  const y = values(step, shape),
    outer = product(shape.slice(0, axis));
  for (let n = 0, o = 0; n < outer; n++) {
    for (const one of all) {
      const length = one.data.length / outer;
      for (let i = 0; i < length; i++) y.data[o++] = one.data[n * length + i];
    }
  }
  return [y];
}

export function gather(step, x, indices) {
  const axis = positive(step.attributes.axis ?? 0, x.shape.length),
    n = x.shape[axis];
  const [before, after] = [x.shape.slice(0, axis), x.shape.slice(axis + 1)],
    size = product(after);
  const shape = [...before, ...indices.shape, ...after];
  const places = once(step, [x.shape], () =>
    Int32Array.from({ length: product(shape) }, (_, o) => {
      const at = indices.data[Math.floor(o / size) % indices.data.length];
      return (Math.floor(o / size / indices.data.length) * n + positive(at, n)) * size + (o % size);
    }),
  );
  return [picked(step, x, shape, places)];
}

export function reshape(step, x, wanted) {
  const zero = step.attributes.allowzero;
  const shape = wanted.data.map((n, i) => (n === 0 && !zero ? x.shape[i] : n));
  const known = product(shape.filter((n) => n !== -1));
  return seen(
    x,
    shape.map((n) => (n === -1 ? x.data.length / known : n)),
  );
}

export const unsqueeze = (step, x, axes) => {
  const rank = x.shape.length + axes.data.length,
    at = axes.data.map((axis) => positive(axis, rank)),
    rest = [...x.shape];
  return seen(
    x,
    Array.from({ length: rank }, (_, i) => (at.includes(i) ? 1 : rest.shift())),
  );
};

export const squeeze = (step, x, axes) => {
  const at = axes?.data.map((axis) => positive(axis, x.shape.length));
  return seen(
    x,
    x.shape.filter((n, i) => (at ? !at.includes(i) : n !== 1)),
  );
};

export const transpose = (step, x) => {
  const order = step.attributes.perm ?? x.shape.map((_, i) => i).reverse(),
    own = stridesOf(x.shape);
  const shape = order.map((axis) => x.shape[axis]);
  return [
    picked(
      step,
      x,
      shape,
      once(step, [x.shape], () =>
        placesOf(
          shape,
          order.map((axis) => own[axis]),
        ),
      ),
    ),
  ];
};

export const flatten = (step, x) => {
  const rows = product(x.shape.slice(0, positive(step.attributes.axis ?? 1, x.shape.length)));
  return seen(x, [rows, x.data.length / rows]);
};
