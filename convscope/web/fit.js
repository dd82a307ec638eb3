// The one preprocessing: what convscope/data/decode.py and resize.py make of an image, to within a
// level: opaque on white, grey by ITU-R 601 luma, fitted by Pillow's bilinear resize.

const BITS = 22; // of a weight, behind the point, as in Pillow's Resample.c

/** Rounded as Python does: a half goes to the even neighbour. */
export function rounded(x) {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 ? low + 1 : low;
}

/** Planes [channels, height, width] of what a canvas gives: red, green, blue, alpha. */
export function planesOf(rgba, width, height, channels) {
  const area = width * height,
    planes = new Uint8Array(channels * area),
    all = [0, 0, 0];
  for (let i = 0; i < area; i++) {
    const alpha = rgba[4 * i + 3];
    for (let c = 0; c < 3; c++) {
      const over = rgba[4 * i + c];
      all[c] = alpha === 255 ? over : rounded((over * alpha + 255 * (255 - alpha)) / 255);
    }
    if (channels === 1) {
      planes[i] = (all[0] * 19595 + all[1] * 38470 + all[2] * 7471 + 0x8000) >> 16; // Pillow's luma
    } else {
      for (let c = 0; c < 3; c++) planes[c * area + i] = all[c];
    }
  }
  return planes;
}

/** Of which of `length` pixels each of `size` new ones is made: where they begin, and weights. */
function weightsOf(length, size) {
  const scale = length / size,
    spread = Math.max(scale, 1);
  return Array.from({ length: size }, (_, i) => {
    const center = (i + 0.5) * scale;
    const low = Math.max(Math.trunc(center - spread + 0.5), 0);
    const high = Math.min(Math.trunc(center + spread + 0.5), length);
    const shares = Array.from({ length: high - low }, (_, j) =>
      Math.max(0, 1 - Math.abs((low + j - center + 0.5) / spread)),
    );
    const total = shares.reduce((sum, share) => sum + share, 0);
    const whole = shares.map((share) => Math.trunc(0.5 + (share / total) * 2 ** BITS));
    return { low, whole: Float64Array.from(whole) };
  });
}

/** One pass: lines of `length` pixels become lines of `size`, each rounded to bytes. `along` is how
    far apart the pixels of a line lie, `across` how far apart the lines, in and out. */
function resampled(from, to, weights, lines, along, across, alongOut, acrossOut) {
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < weights.length; i++) {
      const { low, whole } = weights[i];
      let sum = 2 ** (BITS - 1),
        at = line * across + low * along;
      for (let j = 0; j < whole.length; j++, at += along) sum += whole[j] * from[at];
      to[line * acrossOut + i * alongOut] = Math.min(255, sum / 2 ** BITS);
    }
  }
}

/** Planes [c, height, width] resized to [c, h, w]: bilinear with antialiasing, one axis after the
    other, the rows first unless Pillow finds the columns cheaper. */
function resized(planes, c, width, height, w, h) {
  const across = weightsOf(width, w),
    down = weightsOf(height, h),
    out = new Uint8Array(c * h * w);
  const columnsFirst = height - h > Math.max(0, 2 * (width - w));
  for (let plane = 0; plane < c; plane++) {
    const from = planes.subarray(plane * width * height, (plane + 1) * width * height);
    const to = out.subarray(plane * w * h, (plane + 1) * w * h);
    if (columnsFirst) {
      const between = new Uint8Array(width * h);
      resampled(from, between, down, width, width, 1, width, 1);
      resampled(between, to, across, h, 1, width, 1, w);
    } else {
      const between = new Uint8Array(w * height);
      resampled(from, between, across, height, 1, width, 1, w);
      resampled(between, to, down, w, w, 1, w, 1);
    }
  }
  return out;
}

/** The median colour of the outermost pixels. */
function edgeColour(planes, c, w, h) {
  return Array.from({ length: c }, (_, plane) => {
    const edge = [],
      at = plane * w * h;
    for (let x = 0; x < w; x++) edge.push(planes[at + x], planes[at + (h - 1) * w + x]);
    for (let y = 0; y < h; y++) edge.push(planes[at + y * w], planes[at + y * w + w - 1]);
    edge.sort((a, b) => a - b);
    return rounded((edge[edge.length / 2 - 1] + edge[edge.length / 2]) / 2);
  });
}

/** A part of planes [c, height, width]: h rows and w columns from `top` and `left` on. */
export function cropped(planes, c, width, height, left, top, w, h) {
  const out = new Uint8Array(c * w * h);
  for (let row = 0; row < c * h; row++) {
    const from = (Math.floor(row / h) * height + top + (row % h)) * width + left;
    out.set(planes.subarray(from, from + w), row * w);
  }
  return out;
}

/** Planes [c, height, width] brought to [c, h, w]: pad, crop or stretch. */
export function fitted(planes, c, width, height, w, h, fit) {
  if (width === w && height === h) return planes;
  if (fit === "stretch") return resized(planes, c, width, height, w, h);
  if (fit === "crop") {
    const scale = Math.max(w / width, h / height);
    const across = Math.max(1, rounded(w / scale)),
      down = Math.max(1, rounded(h / scale));
    const [left, top] = [Math.floor((width - across) / 2), Math.floor((height - down) / 2)];
    return resized(
      cropped(planes, c, width, height, left, top, across, down),
      c,
      across,
      down,
      w,
      h,
    );
  }
  const scale = Math.min(w / width, h / height);
  const across = Math.max(1, rounded(width * scale)),
    down = Math.max(1, rounded(height * scale));
  const inner = resized(planes, c, width, height, across, down);
  if (across === w && down === h) return inner;
  const out = new Uint8Array(c * w * h),
    colour = edgeColour(inner, c, across, down);
  const [left, top] = [Math.floor((w - across) / 2), Math.floor((h - down) / 2)];
  for (let plane = 0; plane < c; plane++)
    out.fill(colour[plane], plane * w * h, (plane + 1) * w * h);
  for (let row = 0; row < c * down; row++) {
    const at = (Math.floor(row / down) * h + top + (row % down)) * w + left;
    out.set(inner.subarray(row * across, (row + 1) * across), at);
  }
  return out;
}
