// Kernels and inputs by name.

const meanOf = (side) => Array.from({ length: side }, () => Array(side).fill(1 / side ** 2));
const sixteenths = (rows) => rows.map((row) => row.map((v) => v / 16));

/** Kernels as rows, in groups; those that `convscope lab conv --kernel` knows by the same names. */
export const KERNELS = {
  "lab.edges": {
    "sobel-x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "sobel-y": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "prewitt-x": [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]],
    "prewitt-y": [[-1, -1, -1], [0, 0, 0], [1, 1, 1]],
    laplace: [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
  },
  "lab.blurs": {
    box: meanOf(3),
    gauss: sixteenths([[1, 2, 1], [2, 4, 2], [1, 2, 1]]),
    average: meanOf(5),
  },
  "lab.other": {
    identity: [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    sharpen: [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    emboss: [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],
    pixel: [[1]],
  },
}; // prettier-ignore

const DIGIT = [
  "000000000000",
  "000354100000",
  "004986810000",
  "002201920000",
  "000016700000",
  "000289710000",
  "000586793000",
  "000000159100",
  "000000007500",
  "000000149600",
  "000046895100",
  "000145310000",
]; // of MNIST, at 12 x 12, in tenths

/** The number of an input at row i, column j of [h, w] and channel c, by the input's name. */
export const INPUTS = {
  digit: (i, j, h, w) => Number(DIGIT[Math.floor((i * 12) / h)][Math.floor((j * 12) / w)]),
  stripes: (i, j) => (Math.floor(j / 2) % 2 ? 0 : 9),
  checkerboard: (i, j) => ((Math.floor(i / 2) + Math.floor(j / 2)) % 2 ? 0 : 9),
  band: (i, j, h, w) => (4 * j >= w && 4 * j < 3 * w ? 0 : 1),
  dot: (i, j, h, w) => Number(i === Math.floor(h / 2) && j === Math.floor(w / 2)),
  count: (i, j, h, w, c) => (c * h + i) * w + j,
  noise: (i, j, h, w, c) => (((i + 1) * 7919 + (j + 3) * 104729 + c * 1299709) % 8191) % 10,
};

/** The name of the kernel that rows are, or an empty one. */
export function nameOfKernel(rows) {
  const same = (one) =>
    one.length === rows.length &&
    one[0].length === rows[0].length &&
    one.every((row, u) => row.every((v, k) => Math.abs(v - rows[u][k]) < 1e-7));
  for (const group of Object.values(KERNELS)) {
    for (const [name, one] of Object.entries(group)) if (same(one)) return name;
  }
  return "";
}

export const kernelNamed = (name) => Object.assign({}, ...Object.values(KERNELS))[name];
