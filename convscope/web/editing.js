// Boards whose numbers are edited in place: typed, pasted, painted.

import { Board, SIDES, clamped, coloursOfTheme } from "./board.js";

/** What was typed as a number, a fraction too; NaN where it is none. */
export function numberOf(text) {
  const typed = text.trim().replace(/[−–]/g, "-").replace(",", ".");
  const [top, bottom, more] = typed.split("/");
  if (typed === "" || more !== undefined || bottom?.trim() === "") return NaN;
  const found = Number(top) / (bottom === undefined ? 1 : Number(bottom));
  return Number.isFinite(found) ? found : NaN;
}

/** Rows of numbers as they are pasted: lines or semicolons between rows; null where one is none. */
function blockOf(text) {
  const bare = text.replace(/\]\s*,\s*\[/g, ";").replace(/[[\]]/g, "");
  const rows = bare
    .trim()
    .split(/\s*[\n;]\s*/)
    .map((row) => row.split(/\s*[\t,]\s*|\s+/));
  const block = rows.map((row) => row.map(numberOf));
  return block.flat().some(Number.isNaN) ? null : block;
}

/** A board with a cell at hand, `cursor` [row, column], whose number can be replaced. */
export class EditedBoard extends Board {
  show(...values) {
    super.show(...values);
    if (this.cursor) this.cursor = this.held(...this.cursor);
  }

  paint() {
    const pen = super.paint();
    if (!pen || !this.cursor || document.activeElement !== this.canvas) return;
    const [i, j] = this.cursor,
      { cell } = this;
    pen.setLineDash([3, 2]);
    pen.strokeStyle = `rgb(${coloursOfTheme().ink.join(" ")})`;
    pen.lineWidth = 1.5;
    pen.strokeRect(
      (j + this.pads[1]) * cell + 1,
      (i + this.pads[0]) * cell + 1,
      cell - 2,
      cell - 2,
    );
    pen.setLineDash([]);
  }

  /**
   * Edit the numbers in place: a cell is typed into once it is chosen (`instant`: by one click),
   * blocks are pasted and copied, and, where there is a `brush()`, its number is painted by drag.
   * `change(i, j, block)` has rows of numbers from a cell on; `refuse(text)` what is no number;
   * `chosen(i, j)` the cell that is at hand, `label(i, j)` its name.
   */
  edit({ change, refuse, label, chosen = () => {}, brush = null, instant = false }) {
    this.reachable();
    this.editing = { change, refuse, label, chosen };
    this.cursor = [0, 0];
    const { canvas } = this;
    canvas.style.cursor = "cell";
    if (brush) canvas.style.touchAction = "none";
    canvas.addEventListener("focus", () => this.choose(...this.cursor));
    canvas.addEventListener("blur", () => this.draw());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("paste", (event) => {
      const text = event.clipboardData?.getData("text");
      if (!text) return;
      event.preventDefault();
      const block = blockOf(text);
      if (block) change(...this.cursor, block);
      else refuse(text);
    });
    canvas.addEventListener("copy", (event) => {
      event.preventDefault();
      event.clipboardData.setData("text/plain", this.text());
    });
    let pressed = null; // { at, again, painted }
    const over = (event) => this.held(...this.place(event));
    const paint = ([i, j]) => change(i, j, [[brush()]]);
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button > 0 || !this.cell) return;
      const at = over(event);
      const again = document.activeElement === canvas && String(at) === String(this.cursor);
      pressed = { at, again, painted: false };
      this.choose(...at);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!pressed || !brush || String(over(event)) === String(pressed.at)) return;
      if (!pressed.painted) {
        canvas.setPointerCapture(event.pointerId);
        paint(pressed.at);
      }
      pressed = { at: over(event), painted: true };
      this.choose(...pressed.at);
      paint(pressed.at);
    });
    canvas.addEventListener("pointerup", () => {
      const open = pressed && !pressed.painted && (instant || pressed.again);
      pressed = null;
      if (open) this.open();
    });
    canvas.addEventListener("pointercancel", () => {
      pressed = null;
    });
  }

  text() {
    const row = (i) => Array.from({ length: this.columns }, (_, j) => this.at(i, j)).join("\t");
    return Array.from({ length: this.rows }, (_, i) => row(i)).join("\n");
  }

  choose(i, j) {
    this.cursor = this.held(i, j);
    this.editing.chosen(...this.cursor);
    this.draw();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = SIDES[event.key],
      [i, j] = this.cursor;
    if (way) this.choose(i + way[0], j + way[1]);
    else if (event.key === "Home") this.choose(0, 0);
    else if (event.key === "End") this.choose(Infinity, Infinity);
    else if (event.key === "Enter" || event.key === "F2") this.open();
    else if (/^[-−+.\d]$/.test(event.key)) this.open(event.key);
    else if (/^(Delete|Backspace)$/.test(event.key)) this.editing.change(i, j, [[0]]);
    else return;
    event.preventDefault();
  }

  /** A field over the chosen cell; what is typed there is taken by Enter, Tab, and leaving it. */
  open(typed = null) {
    const { canvas, cell } = this,
      [i, j] = this.cursor,
      field = document.createElement("input");
    field.className = "cell";
    field.autocomplete = "off";
    field.value = typed ?? String(Number(this.at(i, j).toPrecision(6)));
    field.setAttribute("aria-label", this.editing.label(i, j));
    const wide = Math.max(cell, 64),
      high = Math.max(cell, 32);
    const far = clamped((j + this.pads[1] + 0.5) * cell - wide / 2, 0, canvas.clientWidth - wide);
    field.style.cssText = `left:${canvas.offsetLeft + far}px;width:${wide}px;height:${high}px;top:${
      canvas.offsetTop + (i + this.pads[0] + 0.5) * cell - high / 2
    }px`;
    let open = true;
    const close = (taken, way = null) => {
      if (!open) return;
      const value = numberOf(field.value);
      if (taken && Number.isNaN(value)) {
        field.setAttribute("aria-invalid", "true");
        this.editing.refuse(field.value);
        if (way) return;
      }
      open = false;
      field.remove();
      if (taken && !Number.isNaN(value)) this.editing.change(i, j, [[value]]);
      if (!way) return;
      canvas.focus({ preventScroll: true });
      this.choose(i + way[0], j + way[1]);
    };
    field.addEventListener("blur", () => close(true));
    field.addEventListener("keydown", (event) => {
      const ways = { Enter: [1, 0], ArrowDown: [1, 0], ArrowUp: [-1, 0], Escape: [0, 0] };
      const last = event.shiftKey ? j === 0 : j === this.columns - 1;
      let way = ways[event.key];
      if (event.key === "Tab") way = last ? null : [0, event.shiftKey ? -1 : 1];
      event.stopPropagation();
      if (!way) return;
      event.preventDefault();
      close(event.key !== "Escape", way);
    });
    canvas.parentElement.append(field);
    field.focus({ preventScroll: true });
    if (typed === null) field.select();
  }
}
