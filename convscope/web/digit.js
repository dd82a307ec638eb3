// Ink -> a digit as MNIST has it: what `normalised` in convscope/data/digits.py does.

import { cropped, rounded } from "./fit.js";

const SIZE = 28,
  BOX = 20; // pixels each way: of a digit's picture, and of the box that it fills
const STROKE = [0.12, 0.17]; // of a digit's longer side: MNIST's strokes

/** How far each pixel is from the nearest that is `target`, in pixels: an exact Euclidean distance
    transform, columns first, then the lower envelope of parabolas along each row (Felzenszwalb and
    Huttenlocher 2012). */
function distances(mask, target, w, h) {
  const far = 1e12,
    squares = new Float64Array(w * h);
  for (let x = 0; x < w; x++) {
    let run = Infinity;
    for (let y = 0; y < h; y++) {
      run = mask[y * w + x] === target ? 0 : run + 1;
      squares[y * w + x] = run * run;
    }
    run = Infinity;
    for (let y = h - 1; y >= 0; y--) {
      run = mask[y * w + x] === target ? 0 : run + 1;
      squares[y * w + x] = Math.min(squares[y * w + x], run * run, far);
    }
  }
  const found = new Float64Array(w * h),
    at = new Int32Array(w),
    from = new Float64Array(w + 1);
  for (let y = 0; y < h; y++) {
    const f = squares.subarray(y * w, (y + 1) * w);
    let last = 0;
    at[0] = 0;
    [from[0], from[1]] = [-Infinity, Infinity];
    for (let x = 1; x < w; x++) {
      const meets = (p) => (f[x] + x * x - f[p] - p * p) / (2 * (x - p));
      let edge = meets(at[last]);
      while (edge <= from[last]) edge = meets(at[--last]);
      at[++last] = x;
      [from[last], from[last + 1]] = [edge, Infinity];
    }
    for (let x = 0, k = 0; x < w; x++) {
      while (from[k + 1] < x) k++;
      found[y * w + x] = Math.sqrt((x - at[k]) ** 2 + f[at[k]]);
    }
  }
  return found;
}

/** How wide the strokes are, in pixels: a strip has two edges along it. */
export function strokeOf(mask, w, h) {
  let ink = 0,
    edge = 0;
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const i = y * w + x;
      if (!mask[i]) continue;
      ink++;
      const within = x > 0 && x < w - 1 && y > 0 && y < h - 1;
      if (!within || !mask[i - 1] || !mask[i + 1] || !mask[i - w] || !mask[i + w]) edge++;
    }
  }
  return (2 * ink) / Math.max(edge, 1);
}

/** The rows and columns, from and to, that hold something: [left, top, right, bottom], or null. */
function boxOf(values, w, h) {
  let [left, top, right, bottom] = [w, h, 0, 0];
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      if (!values[y * w + x]) continue;
      [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
    }
  }
  return right ? [left, top, right, bottom] : null;
}

/** How much of each of `length` pixels is in each of `wanted` equal parts, so that parts are means. */
function meansOf(length, wanted) {
  return Array.from({ length: wanted }, (_, part) => {
    const [low, high] = [(part * length) / wanted, ((part + 1) * length) / wanted];
    return Float64Array.from(
      { length },
      (_, pixel) =>
        Math.max(0, Math.min(high, pixel + 1) - Math.max(low, pixel)) * (wanted / length),
    );
  });
}

/** Ink, 0 or 1 [h, w], anywhere in a picture, as a digit of MNIST, uint8 [28, 28]; null without. */
export function digitOf(picture, width, height) {
  const ink = boxOf(picture, width, height);
  if (!ink) return null;
  const long = Math.max(ink[2] - ink[0], ink[3] - ink[1]);
  const cut = cropped(picture, 1, width, height, ink[0], ink[1], ink[2] - ink[0], ink[3] - ink[1]);
  const stroke = strokeOf(cut, ink[2] - ink[0], ink[3] - ink[1]);
  const wanted = Math.min(Math.max(stroke / long, STROKE[0]), STROKE[1]);
  const grown = (wanted * long - stroke) / (2 * (1 - wanted)); // it makes the digit larger, too
  const around = 2 + Math.max(0, Math.ceil(grown));
  const w = ink[2] - ink[0] + 2 * around,
    h = ink[3] - ink[1] + 2 * around;
  const mask = new Uint8Array(w * h);
  for (let y = ink[1]; y < ink[3]; y++) {
    const row = picture.subarray(y * width + ink[0], y * width + ink[2]);
    mask.set(row, (y - ink[1] + around) * w + around);
  }
  const outside = distances(mask, 1, w, h),
    inside = distances(mask, 0, w, h);
  const soft = new Float64Array(w * h);
  for (let i = 0; i < soft.length; i++) {
    const away = mask[i] ? 0.5 - inside[i] : outside[i] - 0.5; // pixels from the edge of the ink
    soft[i] = Math.min(Math.max(0.5 + grown - away, 0), 1);
  }
  const box = boxOf(soft, w, h);
  if (!box) return null;
  const [wide, tall] = [box[2] - box[0], box[3] - box[1]],
    scale = BOX / Math.max(wide, tall);
  const [across, down] = [wide, tall].map((side) => Math.max(1, rounded(side * scale)));
  const rows = meansOf(tall, down),
    columns = meansOf(wide, across);
  const small = new Float64Array(across * down),
    line = new Float64Array(wide);
  for (let y = 0; y < down; y++) {
    line.fill(0);
    for (let i = 0; i < tall; i++) {
      const share = rows[y][i],
        at = (box[1] + i) * w + box[0];
      if (share) for (let x = 0; x < wide; x++) line[x] += share * soft[at + x];
    }
    for (let x = 0; x < across; x++) {
      for (let i = 0; i < wide; i++) small[y * across + x] += line[i] * columns[x][i];
    }
  }
  const top = Math.max(
    small.reduce((a, b) => Math.max(a, b)),
    1e-9,
  );
  let [mass, middleX, middleY] = [0, 0, 0];
  small.forEach((value, i) => {
    small[i] = value * (255 / top);
    mass += small[i];
    middleX += small[i] * (i % across);
    middleY += small[i] * Math.floor(i / across);
  });
  const placed = (middle, length) =>
    Math.min(
      Math.max(rounded(SIZE / 2 - Math.round((1e6 * middle) / mass) / 1e6), 0),
      SIZE - length,
    );
  const [x, y] = [placed(middleX, across), placed(middleY, down)];
  const out = new Uint8Array(SIZE * SIZE);
  small.forEach((value, i) => {
    out[(y + Math.floor(i / across)) * SIZE + x + (i % across)] = rounded(value);
  });
  return out;
}
