// Which pixels an answer rests on, by occlusion: by how much the logit falls where a window is blurred,
// as convscope/insight/explain/heat.py has it; and how far to trust that.

const DELETED = 12; // steps of a deletion curve
const ORDERS = 3; // random ones that it is held against

/** Planes [c,h,w] blurred by a Gaussian of an eighth of each side, the edge repeated. */
function blurredOf(pixels, c, h, w) {
  let from = Float64Array.from(pixels);
  for (const [along, length, other] of [
    [w, h, w],
    [1, w, h],
  ]) {
    const sigma = length / 8,
      reach = Math.floor(4 * sigma + 0.5),
      kernel = Array.from({ length: 2 * reach + 1 }, (_, i) =>
        Math.exp(-0.5 * ((i - reach) / sigma) ** 2),
      );
    const total = kernel.reduce((a, b) => a + b, 0),
      to = new Float64Array(from.length);
    for (let plane = 0; plane < c; plane++) {
      for (let line = 0; line < other; line++) {
        const start = plane * h * w + (along === 1 ? line * w : line);
        for (let i = 0; i < length; i++) {
          let sum = 0;
          for (let k = -reach; k <= reach; k++) {
            const at = Math.min(Math.max(i + k, 0), length - 1);
            sum += kernel[k + reach] * from[start + at * along];
          }
          to[start + i * along] = sum / total;
        }
      }
    }
    from = to;
  }
  return from;
}

const sidesOf = (size, part) => size.map((n) => Math.max(1, Math.floor(n / part)));

/** The windows of an image: top, left, bottom and right of each. */
function windowsOf(size, part) {
  const window = sidesOf(size, part),
    step = window.map((n) => Math.max(1, Math.floor(n / 2)));
  const starts = size.map((n, i) =>
    Array.from({ length: Math.ceil((n - window[i]) / step[i]) + 1 }, (_, k) => k * step[i]),
  );
  return starts[0].flatMap((top) =>
    starts[1].map((left) => [
      top,
      left,
      Math.min(top + window[0], size[0]),
      Math.min(left + window[1], size[1]),
    ]),
  );
}

/** The heat map [h,w] of `target` in an image: the mean fall over the windows that cover a pixel. `ask`
    gives the logits of pixels, `told` hears of each window and says whether to go on. */
async function occlusion(pixels, soft, c, [h, w], target, part, ask, told) {
  const base = (await ask(pixels))[target],
    sums = new Float64Array(h * w),
    counts = new Float64Array(h * w);
  for (const [top, left, bottom, right] of windowsOf([h, w], part)) {
    const changed = Float32Array.from(pixels);
    for (let p = 0; p < c; p++) {
      for (let i = top; i < bottom; i++) {
        for (let j = left; j < right; j++) changed[(p * h + i) * w + j] = soft[(p * h + i) * w + j];
      }
    }
    const fall = base - (await ask(changed))[target];
    for (let i = top; i < bottom; i++) {
      for (let j = left; j < right; j++) {
        sums[i * w + j] += fall;
        counts[i * w + j]++;
      }
    }
    if (!told()) return null;
  }
  return sums.map((one, i) => one / counts[i]);
}

/** The mean probability of the target while the image is blurred, pixel after pixel in an order. */
async function deletion(pixels, soft, c, area, target, order, chance, told) {
  const changed = Float32Array.from(pixels);
  let sum = 0;
  for (let step = 0, at = 0; step <= DELETED; step++) {
    for (; at < Math.round((area * step) / DELETED); at++) {
      for (let p = 0; p < c; p++) changed[p * area + order[at]] = soft[p * area + order[at]];
    }
    sum += (await chance(changed))[target] * (step === 0 || step === DELETED ? 0.5 : 1);
    if (!told()) return null;
  }
  return sum / DELETED;
}

/** Places 0 to n - 1 in an order that looks random and is always the same. */
function shuffled(n, seed) {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  let state = seed;
  for (let i = n - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

function correlation(a, b) {
  const mean = (x) => x.reduce((sum, one) => sum + one, 0) / x.length,
    [ma, mb] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  a.forEach((one, i) => {
    ab += (one - ma) * (b[i] - mb);
    aa += (one - ma) ** 2;
    bb += (b[i] - mb) ** 2;
  });
  return ab / (Math.sqrt(aa * bb) || 1);
}

/**
 * The heat map of an answer, and its doubt: `hottest` and `random` are the target's probability, the mean
 * over the way, while the image is blurred pixel by pixel, its hottest first and in random orders;
 * `agreement` is the correlation with the map of windows of two thirds the size. `ask` gives logits of
 * pixels, `chances` probabilities; `told(done, all)` hears how far it is and says whether to go on: null
 * is what was stopped.
 */
export async function heatOf(pixels, c, size, target, ask, chances, told) {
  const [h, w] = size,
    area = h * w,
    soft = blurredOf(pixels, c, h, w);
  const all =
    [4, 6].reduce((sum, part) => sum + windowsOf(size, part).length, 0) +
    (1 + ORDERS) * (DELETED + 1);
  let done = 0;
  const step = () => told(++done, all);
  const map = await occlusion(pixels, soft, c, size, target, 4, ask, step);
  const other = map && (await occlusion(pixels, soft, c, size, target, 6, ask, step));
  if (!other) return null;
  const order = Uint32Array.from(map, (_, i) => i).sort((a, b) => map[b] - map[a]);
  const orders = [order, ...Array.from({ length: ORDERS }, (_, i) => shuffled(area, i + 1))],
    found = [];
  for (const one of orders) {
    found.push(await deletion(pixels, soft, c, area, target, one, chances, step));
    if (found.at(-1) === null) return null;
  }
  const random = found.slice(1).reduce((sum, one) => sum + one, 0) / ORDERS;
  return { map, hottest: found[0], random, agreement: correlation(map, other) };
}
