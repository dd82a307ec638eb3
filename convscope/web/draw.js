// A canvas to draw on with mouse, pen, finger or keys.

export const INK = 160; // pixels each way of the ink that the network is given
export const PEN = 11; // how wide the pen is, of them
const STEP = 5; // how far an arrow key moves the pen

export class Pad {
  /** Draw on `canvas`; `changed` is called whenever there is more or less ink. */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.strokes = [];
    this.pointer = null;
    this.frame = null; // of the browser, in which all is painted anew
    this.cursor = null; // of the keys: { x, y, down }
    const hidden = document.createElement("canvas");
    hidden.width = hidden.height = INK;
    this.ink = hidden.getContext("2d", { willReadFrequently: true });
    this.shown = canvas.getContext("2d");
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => {
        if (event.pointerId === this.pointer) this.pointer = null;
      });
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.lift());
    new ResizeObserver(() => this.paint()).observe(canvas);
  }

  get empty() {
    return this.strokes.length === 0;
  }

  /** Where the ink is: 1 or 0, [INK, INK]. */
  mask() {
    const { data } = this.ink.getImageData(0, 0, INK, INK);
    const mask = new Uint8Array(INK * INK);
    for (let i = 0; i < mask.length; i++) mask[i] = data[4 * i + 3] >> 7;
    return mask;
  }

  clear() {
    this.strokes = [];
    this.lift();
    this.again();
  }

  undo() {
    this.strokes.pop();
    this.lift();
    this.again();
  }

  again() {
    this.ink.clearRect(0, 0, INK, INK);
    this.strokes.forEach((stroke) => this.trace(this.ink, stroke, 0));
    this.paint();
    this.changed();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * INK,
      ((event.clientY - box.top) / box.height) * INK,
    ];
  }

  begin(event) {
    if (this.pointer !== null || event.button > 0) return;
    this.pointer = event.pointerId;
    try {
      this.canvas.setPointerCapture(event.pointerId);
    } catch {
      // a pointer that is gone already
    }
    this.cursor = null;
    this.strokes.push([this.place(event)]);
    this.extend(0);
  }

  move(event) {
    if (event.pointerId !== this.pointer) return;
    const stroke = this.strokes.at(-1),
      from = stroke.length - 1;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) stroke.push(this.place(one));
    this.extend(from);
  }

  /** Arrows move the pen, the space bar sets it down and lifts it. */
  key(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
      event.key
    ];
    if (event.key === "Delete" || event.key === "Backspace") this.undo();
    else if (way || event.key === " ") {
      const pen = (this.cursor ??= { x: INK / 2, y: INK / 4, down: false });
      if (!way) {
        pen.down = !pen.down;
        if (pen.down) this.strokes.push([[pen.x, pen.y]]);
      } else {
        const within = (at) => Math.min(Math.max(at, PEN), INK - PEN);
        [pen.x, pen.y] = [within(pen.x + way[0] * STEP), within(pen.y + way[1] * STEP)];
        if (pen.down) this.strokes.at(-1).push([pen.x, pen.y]);
      }
      if (pen.down) this.extend(this.strokes.at(-1).length - 2);
      this.paint();
    } else return;
    event.preventDefault();
  }

  lift() {
    this.cursor = null;
    this.paint();
  }

  /** The last stroke has more points from here on. */
  extend(from) {
    const stroke = this.strokes.at(-1);
    this.trace(this.ink, stroke, Math.max(0, from));
    this.frame ??= requestAnimationFrame(() => this.paint());
    this.changed();
  }

  trace(context, stroke, from) {
    context.lineWidth = PEN;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...stroke[from]);
    // a hair further: a line of length 0 would be no dot
    for (const [x, y] of stroke.slice(from)) context.lineTo(x + 0.01, y);
    context.stroke();
  }

  /** All of it anew, at the screen's own resolution and in the page's colours. */
  paint() {
    this.frame = null;
    const side = Math.max(1, Math.round(this.canvas.clientWidth * devicePixelRatio));
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    const style = getComputedStyle(this.canvas);
    this.shown.setTransform(side / INK, 0, 0, side / INK, 0, 0);
    this.shown.clearRect(0, 0, INK, INK);
    this.shown.strokeStyle = style.color;
    this.strokes.forEach((stroke) => this.trace(this.shown, stroke, 0));
    if (!this.cursor) return;
    const { x, y, down } = this.cursor;
    this.shown.save();
    this.shown.lineWidth = 2;
    this.shown.strokeStyle = style.getPropertyValue("--red");
    this.shown.beginPath();
    this.shown.arc(x, y, PEN / 2 + (down ? 0 : 3), 0, 7);
    this.shown.stroke();
    this.shown.restore();
  }
}
