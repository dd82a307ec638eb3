"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const text = (v) => (v === null ? "" : String(Number(v.toPrecision(6))));
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const range = (n) => [...Array(n).keys()];
const factor = (v) => (v < 0 ? `(${Number(v.toPrecision(4))})` : String(Number(v.toPrecision(4))));

// A map of numbers on a canvas. Rows and columns count from its first pixel; padding lies before it.
class Board {
  constructor(id, pads = [0, 0, 0, 0], style = {}) {
    this.canvas = $(id); this.pads = pads; this.style = style; this.boxes = [];
  }
  show(values) {
    this.values = values;
    const flat = values.flat().filter((v) => v !== null);
    [this.low, this.high] = this.style.range || [Math.min(...flat), Math.max(...flat)];
    this.base = null; this.draw();
  }
  get size() {
    const [top, left, bottom, right] = this.pads;
    return [this.values.length + top + bottom, this.values[0].length + left + right];
  }
  fill(v) {
    if (this.style.grey) {
      const low = this.low < 0 ? -Math.max(-this.low, this.high) : 0;
      const high = this.low < 0 ? -low : Math.max(this.high, this.style.white || 1e-9);
      const g = Math.round((255 * (v - low)) / (high - low || 1));
      return `rgb(${g},${g},${g})`;
    }
    const reach = Math.max(Math.abs(this.low), Math.abs(this.high)) || 1;
    return `rgba(${colour(v < 0 ? "--minus" : "--tint")},${(0.5 * Math.abs(v)) / reach})`;
  }
  draw() {
    if (!this.values) return;
    const [rows, columns] = this.size, ratio = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth || 300, cell = width / columns;
    const [W, H] = [Math.round(width * ratio), Math.round(cell * rows * ratio)];
    this.cell = cell;
    if (!this.base || this.base.width !== W) this.base = this.paint(W, H, cell, ratio);
    this.canvas.width = W; this.canvas.height = H;
    const pen = this.canvas.getContext("2d");
    pen.drawImage(this.base, 0, 0);
    pen.scale(ratio, ratio);
    for (const [i, j, h, w, name] of this.boxes) {
      pen.strokeStyle = colour(name); pen.lineWidth = 2.5;
      pen.strokeRect((j + this.pads[1]) * cell, (i + this.pads[0]) * cell, w * cell, h * cell);
    }
  }
  paint(W, H, cell, ratio) {
    const base = document.createElement("canvas");
    base.width = W; base.height = H;
    const pen = base.getContext("2d"), [top, left] = this.pads, [rows, columns] = this.size;
    pen.scale(ratio, ratio);
    pen.fillStyle = colour("--raised"); pen.fillRect(0, 0, columns * cell, rows * cell);
    const longest = Math.max(...this.values.flat().slice(0, 400).map((v) => text(v).length), 1);
    const size = Math.min(16, cell * 0.45, (cell * 1.35) / longest);
    pen.textAlign = "center"; pen.textBaseline = "middle"; pen.font = `${size}px system-ui, sans-serif`;
    const edge = (n) => Math.round(n * cell * ratio) / ratio; // whole pixels leave no seams
    this.values.forEach((row, i) => row.forEach((v, j) => {
      const [x, y] = [edge(j + left), edge(i + top)];
      const box = [x, y, edge(j + left + 1) - x, edge(i + top + 1) - y];
      pen.fillStyle = colour("--paper"); pen.fillRect(...box);
      pen.fillStyle = this.fill(v); pen.fillRect(...box);
      if (size >= 6 && !this.style.grey && !this.style.bare) {
        pen.fillStyle = colour("--ink"); pen.fillText(text(v), x + cell / 2, y + cell / 2);
      }
    }));
    if (cell > 6 && !this.style.grey) {
      pen.strokeStyle = colour("--rule"); pen.lineWidth = 1;
      for (const c of range(columns + 1)) { pen.strokeRect(c * cell, 0, 0, rows * cell); }
      for (const r of range(rows + 1)) { pen.strokeRect(0, r * cell, columns * cell, 0); }
    }
    return base;
  }
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [Math.floor((event.clientY - box.top) / this.cell) - this.pads[0],
      Math.floor((event.clientX - box.left) / this.cell) - this.pads[1]];
  }
}

let boards = [];
const redraw = () => boards.forEach((b) => { b.base = null; b.draw(); });
window.addEventListener("resize", redraw);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

// Move a place in rows x columns by the keyboard, by touch and by the mouse over a board.
function steer(board, rows, columns, now, go, place) {
  board.canvas.addEventListener("keydown", (event) => {
    const [i, j] = now();
    const to = { ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1], ArrowRight: [i, j + 1],
      Home: [0, 0], End: [rows() - 1, columns() - 1] }[event.key];
    if (!to) return;
    event.preventDefault();
    go(clamp(to[0], 0, rows() - 1), clamp(to[1], 0, columns() - 1));
  });
  for (const kind of ["pointermove", "pointerdown"]) {
    board.canvas.addEventListener(kind, (event) => {
      const [i, j] = place(...board.at(event));
      go(clamp(i, 0, rows() - 1), clamp(j, 0, columns() - 1));
    });
  }
}

function moves() {
  const { X, Y, W, B, axes, channels, counts } = data, [vertical, across] = axes;
  const pads = axes.map((a) => a.begin).concat(axes.map((a) => a.reach - a.begin - a.size));
  const look = { grey: data.picture, white: 255 };
  let m = 0, i = 0, j = 0, timer = null;
  const shown = channels[0].length;
  const inputs = range(shown).map((c) => new Board(`input${c}`, pads, look));
  const output = new Board("output", [0, 0, 0, 0], look);
  const kernels = W ? range(shown).map((c) => new Board(`kernel${c}`)) : [];
  boards = [...inputs, ...kernels, output];
  const pick = () => {
    inputs.forEach((b, c) => b.show(X[channels[m][c]]));
    kernels.forEach((b, c) => b.show(W[m][c]));
    output.show(Y[m]); go(i, j);
  };
  const taps = () => {
    const found = [];
    for (const c of range(shown)) for (const u of range(vertical.kernel)) for (const v of range(across.kernel)) {
      const y = i * vertical.stride - vertical.begin + u * vertical.dilation;
      const x = j * across.stride - across.begin + v * across.dilation;
      const row = X[channels[m][c]][y];
      const value = row === undefined || row[x] === undefined ? null : row[x];
      found.push({ c, u, v, y, x, value });
    }
    return found;
  };
  function go(row, column) {
    i = row; j = column;
    const under = taps(), dense = vertical.dilation === 1 && across.dilation === 1;
    const span = (a) => a.dilation * (a.kernel - 1) + 1;
    const top = i * vertical.stride - vertical.begin, left = j * across.stride - across.begin;
    inputs.forEach((b, c) => {
      b.boxes = dense ? [[top, left, span(vertical), span(across), "--red"]]
        : under.filter((t) => t.c === c).map((t) => [t.y, t.x, 1, 1, "--red"]);
      b.draw();
    });
    output.boxes = [[i, j, 1, 1, "--blue"]]; output.draw();
    const result = text(Y[m][i][j]);
    let sum;
    if (W) {
      const bias = B[m] ? ` + ${factor(B[m])}` : "";
      sum = under.map((t) => `${factor(t.value || 0)}·${factor(W[m][t.c][t.u][t.v])}`).join(" + ") + bias;
    } else if (data.kind === "max") {
      sum = `max(${under.filter((t) => t.value !== null).map((t) => text(t.value)).join(", ")})`;
    } else {
      const padding = (t) => data.with_pads && t.y < vertical.size + vertical.end && t.x < across.size + across.end;
      const counted = under.filter((t) => t.value !== null || padding(t));
      sum = `(${counted.map((t) => factor(t.value || 0)).join(" + ")}) / ${counts[i][j]}`;
    }
    $("said").innerHTML = "";
    $("said").append(`row ${i}, column ${j}: ${sum} = `, Object.assign(document.createElement("b"), { textContent: result }));
  }
  const rows = () => Y[0].length, columns = () => Y[0][0].length, now = () => [i, j];
  const moved = (row, column) => { stop(); go(row, column); };
  steer(output, rows, columns, now, moved, (y, x) => [y, x]);
  const middle = (a, at) => Math.round((at + a.begin - (a.dilation * (a.kernel - 1)) / 2) / a.stride);
  inputs.forEach((b) => steer(b, rows, columns, now, moved, (y, x) => [middle(vertical, y), middle(across, x)]));
  const stop = () => { clearInterval(timer); timer = null; $("play").textContent = "Play"; };
  $("play").addEventListener("click", () => {
    if (timer) return stop();
    $("play").textContent = "Stop";
    const each = Math.max(1, Math.floor((rows() * columns()) / 400));
    timer = setInterval(() => {
      const next = (i * columns() + j + each) % (rows() * columns());
      go(Math.floor(next / columns()), next % columns());
    }, 180);
  });
  if ($("channel")) $("channel").addEventListener("change", (e) => { m = Number(e.target.value); pick(); });
  i = Math.floor(rows() / 2); j = Math.floor(columns() / 2);
  pick();
}

function fields() {
  const rows = data.layers, [H, W] = rows[0].size, image = new Board("image"), map = new Board("map");
  boards = [image, map];
  let n = rows.length - 1, i = 0, j = 0;
  while (n > 0 && rows[n].whole) n -= 1;
  const blank = (h, w) => range(h).map(() => range(w).map(() => 0));
  // room around the image for what the units see of the padding
  const ends = rows.flatMap((r) => [0, 1].map((a) => [r.first_unit[a][0], r.first_unit[a][1] + (r.size[a] - 1) * r.stride[a], a]));
  const before = Math.max(0, ...ends.map(([low]) => -low));
  const after = Math.max(0, ...ends.map(([, high, a]) => high + 1 - [H, W][a]));
  image.pads = [before, before, after, after];
  image.style = map.style = { range: [0, 1], bare: true };
  function go(row, column) {
    i = row; j = column;
    const layer = rows[n], box = [0, 1].map((a) => layer.first_unit[a][0] + [i, j][a] * layer.stride[a]);
    image.boxes = [[...box, ...layer.receptive_field, "--red"]];
    map.boxes = [[i, j, 1, 1, "--blue"]];
    image.draw(); map.draw();
    const [h, w] = layer.receptive_field;
    const seen = layer.whole ? "the whole image" : `${h} x ${w} pixels, rows ${box[0]} to ${box[0] + h - 1}, columns ${box[1]} to ${box[1] + w - 1}`;
    $("said").textContent = `${layer.layer}, unit ${i},${j} of ${layer.size.join(" x ")} sees ${seen}`;
  }
  function choose(k) {
    n = k;
    const [h, w] = rows[n].size;
    document.querySelectorAll("[data-layer]").forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.layer) === n)));
    $("map-name").textContent = `units of ${rows[n].layer}`;
    image.show(blank(H, W)); map.show(blank(h, w));
    go(Math.floor(h / 2), Math.floor(w / 2));
  }
  const size = (a) => () => rows[n].size[a];
  steer(map, size(0), size(1), () => [i, j], go, (y, x) => [y, x]);
  steer(image, size(0), size(1), () => [i, j], go, (y, x) =>
    [y, x].map((at, a) => Math.round((at - rows[n].centre[a]) / rows[n].stride[a])));
  document.querySelectorAll("[data-layer]").forEach((b) => b.addEventListener("click", () => choose(Number(b.dataset.layer))));
  choose(n);
}

function learning() {
  const { x, y, kernels, losses } = data, look = { grey: data.picture, white: 1 };
  const image = new Board("image", [0, 0, 0, 0], look), wanted = new Board("wanted", [0, 0, 0, 0], look);
  const made = new Board("made", [0, 0, 0, 0], look), kernel = new Board("kernel");
  boards = [image, wanted, made, kernel];
  const flat = y.flat();
  made.style = { ...look, range: [Math.min(...flat), Math.max(...flat)] };
  const reach = Math.max(...kernels.flat(2).map(Math.abs));
  kernel.style = { range: [-reach, reach] };
  image.show(x); wanted.show(y);
  let timer = null;
  function go(n) {
    const k = kernels[n];
    kernel.show(k.map((row) => row.map((v) => Number(v.toFixed(3)))));
    made.show(y.map((row, i) => row.map((_, j) => {
      const sum = k.reduce((s, r, u) => s + r.reduce((t, w, v) => t + w * x[i + u][j + v], 0), 0);
      return Number(sum.toFixed(2));
    })));
    $("said").textContent = `step ${n} of ${losses.length - 1}, loss ${losses[n].toPrecision(3)}`;
  }
  const slider = $("step");
  slider.addEventListener("input", () => go(Number(slider.value)));
  $("play").addEventListener("click", () => {
    if (timer) { clearInterval(timer); timer = null; $("play").textContent = "Play"; return; }
    $("play").textContent = "Stop";
    timer = setInterval(() => {
      slider.value = (Number(slider.value) + 1) % losses.length; go(Number(slider.value));
    }, 150);
  });
  slider.value = 0; go(0);
}

function counts() {
  const { channels, out, pixels, taps } = data, slider = $("through");
  const say = (v) => v.toLocaleString("en");
  function go() {
    const t = Number(slider.value), straight = pixels * taps * channels * out;
    const narrow = pixels * channels * t, wide = pixels * taps * t * out, most = Math.max(straight, narrow + wide);
    for (const [id, v] of [["straight", straight], ["narrow", narrow], ["wide", wide]]) {
      $(id).style.width = `${(100 * v) / most}%`;
    }
    $("straight-text").textContent = say(straight);
    $("detour-text").textContent = `${say(narrow)} + ${say(wide)} = ${say(narrow + wide)}`;
    const saved = 1 - (narrow + wide) / straight;
    $("said").textContent = `through ${t} channels: ${Math.abs(100 * saved).toFixed(1)}% ${saved < 0 ? "more" : "saved"}; ` +
      `weights ${say(taps * channels * out)} against ${say(channels * t + taps * t * out)}`;
  }
  slider.addEventListener("input", go);
  go();
}

({ moves, fields, learning, counts })[data.page]();
