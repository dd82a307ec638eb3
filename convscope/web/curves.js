// Curves over each other in one SVG, whose values are told under pointer, finger and keys.

const CURVE_SPACE = "http://www.w3.org/2000/svg";
const CURVE_GAP = 1.15; // rem between two labels at least

/** An SVG element with its attributes and what is in it. */
export function curvePart(name, attributes = {}, ...inside) {
  const one = document.createElementNS(CURVE_SPACE, name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  one.append(...inside);
  return one;
}

/** Round numbers that enclose a range, about so many, in steps of 1, 2 or 5 times a power of ten. */
export function curveTicks(low, high, about = 5) {
  const raw = (high - low || Math.abs(high) || 1) / about,
    power = 10 ** Math.floor(Math.log10(raw)),
    step = power * [1, 2, 5, 10].find((times) => power * times >= raw * 0.999);
  const first = Math.floor(low / step + 1e-9),
    last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  return Array.from({ length: last - first + 1 }, (_, i) =>
    Number(((first + i) * step).toPrecision(12)),
  );
}

/** Heights of labels at [x, y], moved as little as they must be to stand `gap` apart, above `floor`;
    only those that are `near` each other along x are in each other's way. */
function labelsApart(places, gap, near, floor) {
  const found = places.map(([, y]) => Math.min(y, floor)),
    order = places.map((_, i) => i).sort((a, b) => places[a][1] - places[b][1]);
  const beside = (i, j) => Math.abs(places[i][0] - places[j][0]) < near;
  order.forEach((at, n) => {
    for (const other of order.slice(0, n)) {
      if (beside(at, other)) found[at] = Math.max(found[at], found[other] + gap);
    }
  });
  order.reverse().forEach((at, n) => {
    found[at] = Math.min(found[at], floor);
    for (const other of order.slice(0, n)) {
      if (beside(at, other)) found[at] = Math.min(found[at], found[other] - gap);
    }
  });
  return found;
}

/** The point of a line that is nearest to x. */
export const nearestPoint = (points, x) =>
  points.reduce((best, one) => (Math.abs(one[0] - x) < Math.abs(best[0] - x) ? one : best));

/** A chart in `root`. `told` is called with the x that is pointed at, null where none is. */
export class Curves {
  constructor(root, told) {
    Object.assign(this, { root, told, asked: null, at: null });
    this.caption = document.createElement("figcaption");
    this.svg = curvePart("svg", { role: "slider", tabindex: 0, "aria-orientation": "horizontal" });
    root.append(this.caption, this.svg);
    this.svg.addEventListener("pointermove", (event) => this.#point(event));
    this.svg.addEventListener("pointerdown", (event) => this.#point(event));
    this.svg.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") told(null);
    });
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#paint()).observe(root);
  }

  /** Draw `lines`, each { points: [[x, y], ...], css, label } and perhaps a `hue`; `title` says of
      what, `format` is how a y is written, `along` how an x is. */
  draw(asked) {
    this.asked = asked;
    this.#paint();
  }

  /** Mark what lies at x; `text` is what a screen reader says of it. */
  mark(x, text) {
    this.at = x;
    const { xs = [] } = this;
    this.svg.setAttribute("aria-valuenow", x ?? xs.at(-1) ?? 0);
    this.svg.setAttribute("aria-valuetext", text);
    this.#marks();
  }

  #paint() {
    const width = this.root.clientWidth;
    if (!this.asked || !width) return;
    const { title, format, along } = this.asked,
      lines = this.asked.lines.filter((line) => line.points.length),
      rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const height = Math.max(11 * rem, Math.min(17 * rem, width * 0.55)),
      box = {
        left: 3.2 * rem,
        right: width - this.asked.margin * rem,
        top: 0.6 * rem,
        bottom: height - 1.7 * rem,
      };
    this.caption.textContent = title;
    this.svg.setAttribute("aria-label", title);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.lines = lines;
    this.xs = [...new Set(lines.flatMap((line) => line.points.map(([x]) => x)))].sort(
      (a, b) => a - b,
    );
    if (!lines.length) {
      const none = { class: "tick", x: width / 2, y: height / 2, "text-anchor": "middle" };
      this.svg.replaceChildren(curvePart("text", none, this.asked.none));
      return;
    }
    const values = lines.flatMap((line) => line.points.map(([, y]) => y)),
      yTicks = curveTicks(Math.min(...values), Math.max(...values)),
      [first, last] = [
        this.asked.first ?? this.xs[0],
        Math.max(this.asked.last ?? 0, this.xs.at(-1)),
      ],
      scale = (low, high, from, to) => (value) =>
        from + (high > low ? (value - low) / (high - low) : 0.5) * (to - from);
    this.x = scale(first, last, box.left, box.right);
    this.y = scale(yTicks[0], yTicks.at(-1), box.bottom, box.top);
    this.box = box;
    this.svg.setAttribute("aria-valuemin", this.xs[0]);
    this.svg.setAttribute("aria-valuemax", this.xs.at(-1));
    const parts = yTicks.flatMap((tick) => [
      curvePart("line", {
        class: "grid",
        x1: box.left,
        x2: box.right,
        y1: this.y(tick),
        y2: this.y(tick),
      }),
      curvePart(
        "text",
        {
          class: "tick",
          x: box.left - 0.5 * rem,
          y: this.y(tick) + 0.3 * rem,
          "text-anchor": "end",
        },
        format(tick, yTicks[1] - yTicks[0]),
      ),
    ]);
    const few = Math.max(2, Math.min(8, Math.floor((box.right - box.left) / (4.5 * rem)))),
      unit = this.asked.whole ? 1 : [3600, 60, 1].find((one) => last >= 2 * one || one === 1), // of time
      inside = (tick) =>
        tick >= first && tick <= last && (!this.asked.whole || Number.isInteger(tick)),
      xTicks =
        last > first
          ? curveTicks(first / unit, last / unit, few)
              .map((tick) => tick * unit)
              .filter(inside)
          : [last];
    for (const tick of xTicks) {
      parts.push(
        curvePart(
          "text",
          { class: "tick", x: this.x(tick), y: height - 0.4 * rem, "text-anchor": "middle" },
          along(tick),
        ),
      );
    }
    for (const line of lines) {
      const path = line.points.map(([x, y]) => `${this.x(x).toFixed(1)},${this.y(y).toFixed(1)}`);
      const one = curvePart("polyline", { class: line.css, points: path.join(" ") });
      if (line.hue) one.style.setProperty("--hue", line.hue);
      parts.push(one);
      if (line.points.length === 1) parts.push(this.#dot(line, line.points[0]));
    }
    const named = lines.filter((line) => line.label),
      ends = named.map((line) => line.points.at(-1)).map(([x, y]) => [this.x(x), this.y(y)]),
      places = labelsApart(ends, CURVE_GAP * rem, 2.5 * rem, box.bottom);
    named.forEach((line, i) => {
      const one = curvePart(
        "text",
        { class: `label ${line.css}`, x: ends[i][0] + 0.5 * rem, y: places[i] + 0.3 * rem },
        line.label,
      );
      if (line.hue) one.style.setProperty("--hue", line.hue);
      parts.push(one);
    });
    this.marked = curvePart("g");
    this.svg.replaceChildren(...parts, this.marked);
    this.#marks();
  }

  #dot(line, [x, y]) {
    const one = curvePart("circle", { class: line.css, cx: this.x(x), cy: this.y(y), r: 3.5 });
    if (line.hue) one.style.setProperty("--hue", line.hue);
    return one;
  }

  #marks() {
    if (!this.marked?.isConnected) return;
    if (this.at === null) {
      this.marked.replaceChildren();
      return;
    }
    const x = this.x(this.at);
    this.marked.replaceChildren(
      curvePart("line", { class: "mark", x1: x, x2: x, y1: this.box.top, y2: this.box.bottom }),
      ...this.lines.map((line) => this.#dot(line, nearestPoint(line.points, this.at))),
    );
  }

  #point(event) {
    if (!this.xs?.length) return;
    const box = this.svg.getBoundingClientRect(),
      at = ((event.clientX - box.left) / box.width) * this.root.clientWidth;
    this.told(
      this.xs.reduce((best, x) =>
        Math.abs(this.x(x) - at) < Math.abs(this.x(best) - at) ? x : best,
      ),
    );
  }

  #key(event) {
    const { xs = [] } = this,
      here =
        this.at === null
          ? xs.length - 1
          : xs.indexOf(
              nearestPoint(
                xs.map((x) => [x]),
                this.at,
              )[0],
            );
    const moves = {
      ArrowLeft: here - 1,
      ArrowRight: here + 1,
      ArrowDown: here - 1,
      ArrowUp: here + 1,
      Home: 0,
      End: xs.length - 1,
    };
    if (event.key === "Escape") this.told(null);
    if (!(event.key in moves) || !xs.length) return;
    event.preventDefault();
    this.told(xs[Math.max(0, Math.min(xs.length - 1, moves[event.key]))]);
  }
}
