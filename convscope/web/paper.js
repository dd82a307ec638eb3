// A photograph of writing on paper -> where there is ink: what convscope/data/paper.py does, step by
// step and to the bit, with its names and its figures.

import { rounded } from "./fit.js";

const BLOCK = 4; // pixels: the light of the paper is looked at in blocks of so many each way
const WIDEST = 0.16; // of the shorter side: what is dark and narrower than this is ink, no shadow
const FAINTEST = 0.06; // darkness that no ink's edge is below
const PALEST = 0.15; // darkness of the darkest tenth of what may be ink: paler, it is none
const DARKEST = 0.3; // darkness of what reaches the picture's edge: paler, a shadow or a line
const SPREADS = 5; // ink is so many deviations darker than paper is uneven
const SLOPES = [46, 128]; // a ruled line leans by so many 128ths at most
const RULED = 0.5; // a ruled line is seen along this share of the picture
const THICKEST_LINE = 0.016; // of the longer side: no ruled line is thicker

/** The ink in a photograph of paper, uint8 [h, w]: where it is, 1 or 0; whether it is light on dark;
    how uneven the paper is; whether the edge of the picture cuts more ink off. */
export function inkOf(photo, w, h) {
  const light = isLightOnDark(photo, w, h);
  const dark = darknessOf(light ? photo.map((level) => 255 - level) : photo, w, h);
  const middle = medianOf(dark);
  const unevenness = 1.4826 * medianOf(dark.map((one) => Math.abs(one - middle)));
  const ink = inkAbove(dark, middle + Math.max(FAINTEST, SPREADS * unevenness), w, h);
  const mask = insideOf(ink, w, h);
  const cutOff = ink.some((one, i) => one && !mask[i] && dark[i] > DARKEST);
  return { mask, light, unevenness, cutOff };
}

/** Whether the writing is lighter than what it is on: writing departs most from the median around
    it. What is light and reaches the edge of the picture is paper in the sun. */
export function isLightOnDark(photo, w, h) {
  const [blocks, across, down] = blockMeans(sumsOfNine(photo, w, h), w, h, 2 * BLOCK);
  const small = Uint8Array.from(blocks, (sum) => rounded(sum / 9));
  const around = Math.floor(Math.min(across, down) / 4);
  const away = mediansAround(small, across, down, around).map((middle, i) => small[i] - middle);
  const strong = 0.3 * away.reduce((top, one) => Math.max(top, Math.abs(one)), 0);
  const light = insideOf(
    Uint8Array.from(away, (one) => one > strong),
    across,
    down,
  );
  let [lighter, darker] = [0, 0];
  away.forEach((one, i) => {
    if (light[i]) lighter += one ** 3;
    else if (one < -strong) darker -= one ** 3;
  });
  return lighter > darker;
}

/** The medians of squares of 2 * reach + 1 pixels around each, what is beyond an edge mirrored. */
function mediansAround(levels, w, h, reach) {
  const found = new Int16Array(w * h),
    half = ((2 * reach + 1) ** 2 - 1) / 2; // so many levels are not above the median
  const mirrored = (at, length) => (at < 0 ? -1 - at : at < length ? at : 2 * length - 1 - at);
  for (let y = 0; y < h; y++) {
    const counts = new Int32Array(256);
    const column = (x, by) => {
      const at = mirrored(x, w);
      for (let j = y - reach; j <= y + reach; j++) counts[levels[mirrored(j, h) * w + at]] += by;
    };
    for (let x = -reach; x < reach; x++) column(x, 1);
    for (let x = 0; x < w; x++) {
      column(x + reach, 1);
      let [level, below] = [0, counts[0]];
      while (below <= half) below += counts[++level];
      found[y * w + x] = level;
      column(x - reach, -1);
    }
  }
  return found;
}

/** The connected parts of a mask, corners counted: a number each from 1 on, in the order in which
    rows meet them, [h, w]; and how many there are. */
export function labelled(mask, w, h) {
  const labels = new Int32Array(w * h),
    waiting = [];
  let count = 0;
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || labels[start]) continue;
    labels[start] = ++count;
    waiting.push(start);
    while (waiting.length) {
      const at = waiting.pop(),
        x = at % w;
      for (let row = at - w; row <= at + w; row += w) {
        if (row < 0 || row >= mask.length) continue;
        for (let i = row - (x > 0); i <= row + (x < w - 1); i++) {
          if (!mask[i] || labels[i]) continue;
          labels[i] = count;
          waiting.push(i);
        }
      }
    }
  }
  return { labels, count };
}

/** Those connected parts that do not reach the edge of the picture. */
function insideOf(mask, w, h) {
  const { labels, count } = labelled(mask, w, h),
    keep = new Uint8Array(count + 1).fill(1);
  keep[0] = 0;
  for (let x = 0; x < w; x++) keep[labels[x]] = keep[labels[(h - 1) * w + x]] = 0;
  for (let y = 0; y < h; y++) keep[labels[y * w]] = keep[labels[y * w + w - 1]] = 0;
  return Uint8Array.from(labels, (label) => keep[label]);
}

/** The share of the paper's light that is swallowed, [h, w] from 0 to 1: 1 minus the photograph over
    its paper, which is the morphological closing of the means of blocks. */
function darknessOf(photo, w, h) {
  const nine = sumsOfNine(photo, w, h);
  const [small, across, down] = blockMeans(nine, w, h, BLOCK);
  const reach = Math.max(1, rounded((WIDEST / 2) * Math.min(across, down)));
  const closed = extremes(
    extremes(small, across, down, reach, Math.max),
    across,
    down,
    reach,
    Math.min,
  );
  const paper = enlarged(closed, across, down, w, h);
  return paper.map((light, i) => Math.min(Math.max(1 - nine[i] / Math.max(light, 9), 0), 1));
}

/** The largest, or the smallest, of the square of 2 * reach + 1 values around each. */
function extremes(values, w, h, reach, of) {
  const line = (from, to, length, step, at) => {
    for (let i = 0; i < length; i++) {
      const last = Math.min(length - 1, i + reach);
      let found = from[at + i * step];
      for (let j = Math.max(0, i - reach); j <= last; j++) found = of(found, from[at + j * step]);
      to[at + i * step] = found;
    }
  };
  const rows = new Float64Array(w * h),
    both = new Float64Array(w * h);
  for (let y = 0; y < h; y++) line(values, rows, w, 1, y * w);
  for (let x = 0; x < w; x++) line(rows, both, h, w, x);
  return both;
}

/** The sum of each pixel and the eight around it; beyond an edge its pixels are there twice. */
function sumsOfNine(photo, w, h) {
  const rows = new Int32Array(w * h),
    sums = new Int32Array(w * h);
  for (let y = 0; y < h; y++) {
    const [above, here, below] = [Math.max(y - 1, 0) * w, y * w, Math.min(y + 1, h - 1) * w];
    for (let x = 0; x < w; x++)
      rows[here + x] = photo[above + x] + photo[here + x] + photo[below + x];
    for (let x = 0; x < w; x++) {
      const [left, right] = [Math.max(x - 1, 0), Math.min(x + 1, w - 1)];
      sums[here + x] = rows[here + left] + rows[here + x] + rows[here + right];
    }
  }
  return sums;
}

/** The means of blocks of `side` pixels each way, those at the end smaller; how many each way. */
function blockMeans(values, w, h, side) {
  const [across, down] = [Math.ceil(w / side), Math.ceil(h / side)],
    means = new Float64Array(across * down);
  for (let y = 0, i = 0; y < h; y++) {
    const row = Math.floor(y / side) * across;
    for (let x = 0; x < w; x++, i++) means[row + Math.floor(x / side)] += values[i];
  }
  const length = (at, whole) => Math.min(side, whole - at * side);
  means.forEach((sum, i) => {
    means[i] = sum / (length(i % across, w) * length(Math.floor(i / across), h));
  });
  return [means, across, down];
}

/** Values of blocks at every pixel, bilinear between the middles of blocks. */
function enlarged(blocks, across, down, w, h) {
  const places = (length, count) =>
    Array.from({ length }, (_, i) => {
      const at = Math.min(Math.max((i + 0.5) / BLOCK - 0.5, 0), count - 1);
      const low = Math.min(Math.floor(at), Math.max(count - 2, 0));
      return [low, Math.min(low + 1, count - 1), at - low];
    });
  const columns = places(w, across),
    found = new Float64Array(w * h),
    line = new Float64Array(across);
  places(h, down).forEach(([low, high, share], y) => {
    for (let x = 0; x < across; x++) {
      line[x] = blocks[low * across + x] * (1 - share) + blocks[high * across + x] * share;
    }
    columns.forEach(([left, right, part], x) => {
      found[y * w + x] = line[left] * (1 - part) + line[right] * part;
    });
  });
  return found;
}

/** The value that would be at a place, were they sorted (Hoare 1961). */
function placed(values, place) {
  const among = Float64Array.from(values);
  let [low, high] = [0, among.length - 1];
  while (low < high) {
    const pivot = among[(low + high) >> 1];
    let [i, j] = [low, high];
    while (i <= j) {
      while (among[i] < pivot) i++;
      while (among[j] > pivot) j--;
      if (i > j) break;
      const one = among[i];
      among[i++] = among[j];
      among[j--] = one;
    }
    if (place <= j) high = j;
    else if (place >= i) low = i;
    else break;
  }
  return among[place];
}

function medianOf(values) {
  const half = values.length >> 1,
    upper = placed(values, half);
  return values.length % 2 ? upper : (placed(values, half - 1) + upper) / 2;
}

/** The threshold between two kinds of values for which the variance between them is largest (Otsu
    1979), to a 64th of their range. */
function otsuOf(values) {
  const low = values.reduce((a, b) => Math.min(a, b)),
    high = values.reduce((a, b) => Math.max(a, b));
  const scale = 64 / Math.max(high - low, 1e-9),
    counts = new Float64Array(64);
  for (const value of values) counts[Math.min(Math.trunc((value - low) * scale), 63)]++;
  const [total, masses] = counts.reduce(([n, m], c, kind) => [n + c, m + c * kind], [0, 0]);
  let [below, mass, top, best] = [0, 0, -1, []];
  for (let kind = 0; kind < 63; kind++) {
    below += counts[kind];
    mass += counts[kind] * kind;
    const split = mass * total - masses * below,
      between = (split * split) / Math.max(below * (total - below), 1);
    if (between > top) [top, best] = [between, []];
    if (between === top) best.push(kind);
  }
  return low + ((best[best.length >> 1] + 1) * (high - low)) / 64;
}

/** What is ink of what is darker than `floor`: ruled lines are erased, but for the strokes that
    cross them, which are darker than a line or go on on both sides of it. */
function inkAbove(dark, floor, w, h) {
  const weak = Uint8Array.from(dark, (one) => one > floor);
  const across = ruledLines(weak, dark, w, h, w, 1),
    down = ruledLines(weak, dark, h, w, 1, w);
  const bands = [bandOf(across, w, h, w, 1), bandOf(down, h, w, 1, w)];
  const ruled = bands[0].map((one, i) => one | bands[1][i]);
  const values = [];
  for (let i = 0; i < dark.length; i++) if (weak[i] && !ruled[i]) values.push(dark[i]);
  const ink = placed(values, Math.floor((9 * (values.length - 1)) / 10)); // of nine of ten at most
  if (!(ink >= PALEST)) return new Uint8Array(w * h);
  const threshold = otsuOf(values),
    mask = Uint8Array.from(dark, (one, i) => one > threshold && !ruled[i]);
  const lines = [...across, ...down];
  if (!ruled.includes(1)) return mask;
  const level = medianOf(lines.map((line) => line.level));
  if (ink > 1.5 * level) {
    const sure = Math.max(threshold, (level + ink) / 2);
    dark.forEach((one, i) => {
      if (one > sure) mask[i] = 1;
    });
  }
  if (across.length) bridge(mask, bands[0], weak, reachOf(across) + 1, w, h, w, 1);
  if (down.length) bridge(mask, bands[1], weak, reachOf(down) + 1, h, w, 1, w);
  return mask;
}

// A picture is gone through as `length` columns of `height` pixels, which lie `step` apart, as do
// columns by `next`: so that lines from above to below are found as those from left to right.

/** The ruled lines that go across a picture from edge to edge, by a Hough transform of the middles
    of what is thin from above to below: y = offset + slope * x, thickness in pixels, darkness. */
function ruledLines(weak, dark, length, height, step, next) {
  const thickest = Math.max(3, THICKEST_LINE * Math.max(length, height)),
    thin = []; // [x, y, thickness]
  for (let x = 0; x < length; x++) {
    for (let y = 0, first = -1; y <= height; y++) {
      const on = y < height && weak[x * next + y * step];
      if (on && first < 0) first = y;
      if (on || first < 0) continue;
      if (y - first <= thickest) thin.push([x, (first + y - 1) / 2, y - first]);
      first = -1;
    }
  }
  const room = Math.floor((SLOPES[0] * length) / SLOPES[1]) + 2;
  const cells = Math.floor((height + 2 * room) / 2) + 2,
    likely = [];
  for (let lean = -SLOPES[0]; lean <= SLOPES[0]; lean++) {
    const slope = lean / SLOPES[1],
      votes = new Int32Array(cells);
    for (const [x, y] of thin) votes[Math.trunc((y - slope * x + room) / 2)]++;
    for (let cell = 0; cell < cells - 1; cell++) {
      const pair = votes[cell] + votes[cell + 1]; // a line lies in two cells
      if (pair >= RULED * length) likely.push({ slope, offset: 2 * cell + 2 - room, pair });
    }
  }
  likely.sort((a, b) => b.pair - a.pair);
  const found = [];
  let left = thin;
  const nearTo = (slope, offset, most) =>
    left.filter(([x, y]) => Math.abs(y - slope * x - offset) <= most);
  const columnsOf = (points) =>
    points.reduce((n, [x], i) => n + (i < 1 || points[i - 1][0] !== x), 0);
  for (const guess of likely) {
    const about = nearTo(guess.slope, guess.offset, 4);
    if (columnsOf(about) < RULED * length) continue;
    const [slope, offset] = lineThrough(about);
    const near = nearTo(slope, offset, 3);
    if (columnsOf(near) < RULED * length) continue;
    if (near[0][0] > 0.08 * length || near.at(-1)[0] < 0.92 * length) continue;
    const levels = near.map(([x, y]) => dark[x * next + Math.trunc(y) * step]);
    const thickness = medianOf(near.map((point) => point[2]));
    found.push({ slope, offset, thickness, level: medianOf(levels) });
    const taken = new Set(near);
    left = left.filter((point) => !taken.has(point));
  }
  return found;
}

/** Slope and offset of the line of least squares through whole x and half y. */
function lineThrough(points) {
  let [sumX, sumXX, sumY, sumXY] = [0, 0, 0, 0];
  for (const [x, y] of points) {
    sumX += x;
    sumXX += x * x;
    sumY += 2 * y;
    sumXY += 2 * x * y;
  }
  const n = points.length,
    slope = (n * sumXY - sumX * sumY) / (2 * (n * sumXX - sumX * sumX));
  return [slope, (sumY / 2 - slope * sumX) / n];
}

/** How many pixels a line lies to each side of its middle, its soft edge included. */
function reachOf(lines) {
  return rounded(Math.max(...lines.map((line) => line.thickness)) / 2 + 1);
}

/** Where lines across a picture lie. */
function bandOf(lines, length, height, step, next) {
  const band = new Uint8Array(length * height);
  for (const line of lines) {
    const reach = reachOf([line]);
    for (let x = 0; x < length; x++) {
      const middle = rounded(line.offset + line.slope * x);
      const last = Math.min(height - 1, middle + reach);
      for (let y = Math.max(0, middle - reach); y <= last; y++) band[x * next + y * step] = 1;
    }
  }
  return band;
}

/** The closing of a mask along its columns by 2 * reach + 1 pixels, taken over within a band. */
function bridge(mask, band, weak, reach, length, height, step, next) {
  for (let x = 0; x < length; x++) {
    for (let y = 0, last = -1; y < height; y++) {
      if (!mask[x * next + y * step]) continue;
      for (let i = last + 1; last >= 0 && y - last - 1 <= 2 * reach && i < y; i++) {
        const at = x * next + i * step;
        if (i >= reach && i < height - reach && band[at] && weak[at]) mask[at] = 1;
      }
      last = y;
    }
  }
}
