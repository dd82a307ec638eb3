// A canvas of numbers: coloured by sign and size or grey, padding around them, boxes on them. It is
// steered by pointer, finger and arrow keys, and edited in place.

const READABLE = 7; // pixels of the smallest number that is written into a cell
export const SIDES = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};
const allBoards = new Set();
let boardColours = null;

/** The colours of the page's theme, by their names in theme.css, as [r, g, b]. */
export function coloursOfTheme() {
  if (boardColours) return boardColours;
  const style = getComputedStyle(document.documentElement);
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const names = ["paper", "raised", "ink", "quiet", "rule", "blue", "red", "blue-rgb", "red-rgb"];
  boardColours = Object.fromEntries(
    names.map((name) => {
      const text = style.getPropertyValue(`--${name}`).trim();
      pen.fillStyle = name.endsWith("-rgb") ? `rgb(${text.split(/[\s,]+/).join(",")})` : text;
      pen.fillRect(0, 0, 1, 1);
      return [name, [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)]];
    }),
  );
  return boardColours;
}

const cssColour = (name, alpha = 1) => `rgb(${coloursOfTheme()[name].join(" ")} / ${alpha})`;
export const clamped = (v, low, high) => Math.min(high, Math.max(low, v));

/** A number in so many digits at most, its minus a real one. */
export function numberText(v, digits = 6) {
  return Number.isFinite(v) ? String(Number(v.toPrecision(digits))).replace("-", "−") : "";
}

/**
 * Numbers [rows, columns] on a canvas. Rows and columns count from the first of them; `pads`
 * (top, left, bottom, right) lie around. Of the style: `grey` (with `white`, the number that is
 * white at least), `range` [low, high] (else that of the numbers), `bare` (no number is written),
 * `pad` (what is written into padding), `digits`.
 *
 * `boxes` are [row, column, height, width, colour, fill], `notes` [row, column, text] small ones in
 * the corner of a cell, `until` how many cells are uncovered; `draw()` shows it in the next frame.
 */
export class Board {
  constructor(canvas, style = {}, pads = [0, 0, 0, 0]) {
    this.canvas = canvas;
    this.style = style;
    this.pads = pads;
    this.boxes = [];
    this.notes = [];
    this.values = null;
    this.until = Infinity; // cells from here on are covered
    canvas.setAttribute("role", "img");
    allBoards.add(this);
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Show `values`, row after row; NaN is no number. */
  show(values, rows, columns) {
    Object.assign(this, { values, rows, columns, base: null });
    let [low, high] = [Infinity, -Infinity];
    for (const v of values) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
    [this.low, this.high] = this.style.range ?? (low > high ? [0, 0] : [low, high]);
    this.draw();
  }

  at(i, j) {
    return this.values[i * this.columns + j];
  }

  held(i, j) {
    return [clamped(i, 0, this.rows - 1), clamped(j, 0, this.columns - 1)];
  }

  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.paint();
    });
  }

  paint() {
    const width = this.canvas.clientWidth;
    if (!this.values || !width) return null; // hidden: drawn once it is seen
    const [top, left, bottom, right] = this.pads;
    const [rows, columns] = [this.rows + top + bottom, this.columns + left + right];
    const ratio = window.devicePixelRatio || 1;
    const cell = width / columns;
    const [W, H] = [Math.round(width * ratio), Math.max(1, Math.round(cell * rows * ratio))];
    this.cell = cell;
    const key = [W, H, ...this.pads].join();
    if (!this.base || this.painted !== key) this.base = this.background(rows, columns, W, H);
    this.painted = key;
    if (this.canvas.width !== W || this.canvas.height !== H) {
      this.canvas.width = W;
      this.canvas.height = H;
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(this.base, 0, 0);
    pen.scale(ratio, ratio);
    if (this.until < this.values.length) {
      const [i, j] = [Math.floor(this.until / this.columns), this.until % this.columns];
      pen.fillStyle = cssColour("raised");
      pen.fillRect((left + j) * cell, (top + i) * cell, (this.columns - j) * cell, cell);
      pen.fillRect(
        left * cell,
        (top + i + 1) * cell,
        this.columns * cell,
        (this.rows - i - 1) * cell,
      );
    }
    pen.textAlign = "right";
    pen.textBaseline = "bottom";
    const small = Math.min(11, cell * 0.28);
    pen.font = `600 ${small}px system-ui, sans-serif`;
    pen.fillStyle = cssColour("red");
    if (small >= READABLE) {
      for (const [i, j, text] of this.notes) {
        pen.fillText(text, (j + left + 1) * cell - 3, (i + top + 1) * cell - 2, cell - 5);
      }
    }
    for (const [i, j, h, w, name, fill = 0] of this.boxes) {
      const box = [(j + left) * cell, (i + top) * cell, w * cell, h * cell];
      pen.fillStyle = cssColour(name, fill);
      pen.fillRect(...box);
      pen.strokeStyle = cssColour(name);
      pen.lineWidth = clamped(cell / 4, 1.5, 2.5);
      pen.strokeRect(...box);
    }
    return pen;
  }

  /** All that boxes move over, painted once: colours, padding, numbers, lines. */
  background(rows, columns, W, H) {
    const [top, left] = this.pads;
    const { grey, bare, pad = "", digits = 6 } = this.style;
    const base = document.createElement("canvas");
    base.width = W;
    base.height = H;
    const pen = base.getContext("2d");
    pen.fillStyle = cssColour("raised");
    pen.fillRect(0, 0, W, H);
    const [x, y] = [W / columns, H / rows];
    const small = document.createElement("canvas");
    [small.width, small.height] = [this.columns, this.rows];
    small.getContext("2d").putImageData(this.coloured(), 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, left * x, top * y, this.columns * x, this.rows * y);
    const cell = this.cell,
      ratio = x / cell;
    pen.scale(ratio, ratio);
    if (cell > 6 && !grey) {
      pen.strokeStyle = cssColour("rule");
      pen.beginPath();
      for (let c = 0; c <= columns; c++) pen.rect(c * cell, 0, 0, rows * cell);
      for (let r = 0; r <= rows; r++) pen.rect(0, r * cell, columns * cell, 0);
      pen.stroke();
    }
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const middle = (i, j) => [(j + left + 0.5) * cell, (i + top + 0.5) * cell];
    const size = Math.min(16, cell * 0.45);
    if (pad && size >= READABLE) {
      pen.font = `${size}px system-ui, sans-serif`;
      pen.fillStyle = cssColour("quiet", 0.75);
      for (let i = -top; i < rows - top; i++) {
        for (let j = -left; j < columns - left; j++) {
          const inside = i >= 0 && i < this.rows && j >= 0 && j < this.columns;
          if (!inside) pen.fillText(pad, ...middle(i, j));
        }
      }
    }
    if (grey || bare || cell < READABLE * 2) return base;
    let texts,
      fitting = 0;
    for (let most = digits; most > 1 && fitting < Math.min(size, 10); most--) {
      const short = (v) => numberText(most < digits ? Number(v.toFixed(most)) : v, most);
      texts = Array.from(this.values, short);
      const longest = texts.reduce((long, text) => Math.max(long, text.length), 1);
      fitting = Math.min(size, (cell * 1.5) / longest);
    }
    if (fitting < READABLE) return base;
    pen.font = `${fitting}px system-ui, sans-serif`;
    pen.fillStyle = cssColour("ink");
    texts.forEach((text, n) =>
      pen.fillText(text, ...middle(Math.floor(n / this.columns), n % this.columns)),
    );
    return base;
  }

  /** A pixel a number: blue above zero, orange below, or grey. */
  coloured() {
    const image = new ImageData(this.columns, this.rows);
    const colours = coloursOfTheme(),
      { paper, raised } = colours;
    const { grey, white = 1e-9, bare } = this.style;
    const reach = Math.max(Math.abs(this.low), Math.abs(this.high)) || 1;
    const dark = this.low < 0 ? -reach : 0,
      light = this.low < 0 ? reach : Math.max(this.high, white);
    for (let n = 0; n < this.values.length; n++) {
      const v = this.values[n];
      let shade = raised;
      if (grey && Number.isFinite(v)) shade = Array(3).fill((255 * (v - dark)) / (light - dark));
      else if (Number.isFinite(v)) {
        const full = colours[v < 0 ? "red-rgb" : "blue-rgb"],
          part = (bare ? 0.9 : 0.5) * Math.min(1, Math.abs(v) / reach);
        shade = paper.map((c, k) => c + (full[k] - c) * part);
      }
      for (let k = 0; k < 3; k++) image.data[4 * n + k] = shade[k]; // rounded and kept in 0..255
      image.data[4 * n + 3] = 255;
    }
    return image;
  }

  /** The cell that a pointer is over; it may lie outside. */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      Math.floor((event.clientY - box.top) / this.cell) - this.pads[0],
      Math.floor((event.clientX - box.left) / this.cell) - this.pads[1],
    ];
  }

  /** What a screen reader says of the board, and of the place that it is at. */
  tell(name, value, now = 0, most = 1) {
    this.canvas.setAttribute("aria-label", name);
    if (value === undefined) return;
    const values = { valuetext: value, valuenow: now, valuemin: 0, valuemax: Math.max(most, now) };
    for (const [key, text] of Object.entries(values)) this.canvas.setAttribute(`aria-${key}`, text);
  }

  /**
   * Pointer, finger and arrow keys move a place: `now()` is it, `go(i, j)` takes it elsewhere
   * within `extent()` [rows, columns], `place(i, j)` makes a place of a cell of this board.
   */
  steer({ now, go, extent, place = (i, j) => [i, j] }) {
    this.reachable();
    const to = (i, j) => {
      const [rows, columns] = extent();
      go(clamped(i, 0, rows - 1), clamped(j, 0, columns - 1));
    };
    this.canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      const [i, j] = now(),
        [rows, columns] = extent(),
        way = SIDES[event.key];
      const ends = { Home: [0, 0], End: [rows - 1, columns - 1] };
      const goal = way ? [i + way[0], j + way[1]] : ends[event.key];
      if (!goal) return;
      event.preventDefault();
      to(...goal);
    });
    for (const kind of ["pointermove", "pointerdown"]) {
      this.canvas.addEventListener(kind, (event) => {
        if (this.cell) to(...place(...this.place(event)));
      });
    }
  }

  reachable() {
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "slider"); // a value that arrow keys change
    this.tell(this.canvas.getAttribute("aria-label") ?? "", "", 0, 1);
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  boardColours = null;
  for (const board of allBoards) {
    board.base = null;
    if (board.canvas.isConnected) board.draw();
    else allBoards.delete(board);
  }
});
