// The network as a row of stages, each with its maps as they are now; branches and residuals are drawn
// as such. Only what is on the screen is asked of the engine and painted.

import { about, count, say } from "./words.js";
import { engine, paintPixels } from "./asking.js";
import { drawEdges, drawn } from "./edges.js";
import { elementOf, paintLevels, wrapped } from "./maps.js";
import { doesWhat, itemsOf, layerOf, LOGITS, nameOf, placed, shapeText, stages } from "./plan.js";

const MOST_MAPS = { alone: 12, branch: 6 };
const MOST_OPEN = 30; // stages of a network whose blocks are open at first
const MOST_ROWS = 12; // classes that stand in their order, of more the likeliest alone

/** The row of stages. `opens(stage, at)` is told which unit was picked. */
export class Stages {
  constructor(root, opens) {
    this.opens = opens;
    this.cards = new Map(); // of stages: { card, maps, from }
    this.open = new Map(
      itemsOf()
        .filter((one) => one.block)
        .map((one) => [one.block, stages.length <= MOST_OPEN]),
    );
    this.seen = new Set();
    this.first = new Map(); // of stages: the first channel that is shown
    this.answer = null;
    this.row = elementOf("div", { class: "stages" });
    this.edges = drawn("svg", { "aria-hidden": "true" });
    root.append(elementOf("div", { class: "stages-scroll", tabindex: "-1" }, this.row));
    this.watcher = new IntersectionObserver((all) => this.sighted(all), { rootMargin: "150px" });
    this.sizes = new ResizeObserver(() => this.connect());
    this.sizes.observe(this.row);
    this.ended = new AbortController();
    const { signal } = this.ended;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.refresh(), {
      signal,
    });
    this.build();
  }

  /** Listen to nothing any more: others stand in its place. */
  close() {
    this.watcher.disconnect();
    this.sizes.disconnect();
    this.ended.abort();
  }

  build() {
    this.watcher.disconnect();
    this.cards.clear();
    this.seen.clear();
    this.row.replaceChildren(
      this.edges,
      ...itemsOf().map((item) => (item.block ? this.block(item) : this.card(item.within[0]))),
    );
    this.connect();
  }

  block({ block, within }) {
    const open = this.open.get(block);
    const toggle = elementOf(
      "button",
      {
        type: "button",
        class: "toggle",
        "aria-expanded": String(open),
        onclick: () => {
          this.open.set(block, !open);
          this.build();
          this.row.querySelector(`[data-block="${block}"] .toggle`).focus();
        },
      },
      `${stages[within[0]].of} `,
      elementOf("small", {}, `${block} · ${say("inside.steps", { count: within.length })}`),
    );
    if (!open) {
      const card = this.card(within.at(-1), { block });
      card.prepend(toggle);
      for (const n of within) this.cards.set(n, this.cards.get(within.at(-1)));
      return elementOf("div", { class: "block shut", "data-block": block }, card);
    }
    const { places, lanes } = placed(within);
    const grid = elementOf("div", { class: "lanes", style: `--lanes: ${lanes}` });
    for (const n of within) {
      const { rank, lane } = places.get(n),
        card = this.card(n, { block, branch: lanes > 1 });
      card.style.setProperty("--rank", rank + 1);
      card.style.setProperty("--lane", lane < 0 ? `1 / ${lanes + 1}` : lane + 1);
      grid.append(card);
    }
    return elementOf("div", { class: "block", "data-block": block }, toggle, grid);
  }

  card(n, { block = "", branch = false } = {}) {
    const stage = stages[n],
      maps = stage.shape.length > 1 ? stage.shape[0] : 1;
    const most = branch ? MOST_MAPS.branch : MOST_MAPS.alone,
      from = Math.min(this.first.get(n) ?? 0, Math.max(0, maps - 1)),
      shown = Math.min(most, maps - from);
    const title = elementOf("h3", {}, doesWhat(stage));
    const card = elementOf(
      "section",
      {
        class: `stage ${branch ? "branch" : ""}`,
        "data-stage": n,
        "aria-label": nameOf(stage),
      },
      title,
      elementOf(
        "p",
        { class: "note" },
        block && stage.layer === block ? "" : elementOf("code", {}, layerOf(stage)),
        elementOf("span", {}, shapeText(stage.shape)),
      ),
    );
    const list = ["linear", "softmax"].includes(stage.does) && n >= LOGITS;
    const field = list ? this.list(n) : this.maps(n, from, shown);
    card.append(field);
    if (shown < maps) card.append(this.pager(n, from, shown, maps, most));
    this.cards.set(n, { card, field, from, shown, list });
    this.watcher.observe(card);
    return card;
  }

  maps(n, from, shown) {
    const field = elementOf("div", {
      class: "maps",
      role: "group",
      "aria-label": say("inside.maps"),
    });
    field.style.setProperty("--rows", shown > 4 ? Math.ceil(shown / 2) : shown);
    const input = stages[n].does === "input",
      [h, w] = stages[n].shape.length > 1 ? stages[n].shape.slice(-2) : [1, stages[n].shape[0]];
    const [rows, columns] = wrapped(h, w);
    for (let i = 0; i < (input ? 1 : shown); i++) {
      const name =
        input || stages[n].shape.length < 2
          ? doesWhat(stages[n])
          : say("inside.channel", { channel: from + i });
      const canvas = elementOf("canvas", { width: columns, height: rows });
      const map = elementOf(
        "button",
        { type: "button", class: "map", "aria-label": name, title: name, tabindex: i ? "-1" : "0" },
        canvas,
      );
      if (h === 1 && w > 1) map.classList.add("vector");
      map.style.setProperty("--shape", columns / rows);
      field.append(map);
    }
    field.addEventListener("click", (event) => this.picked(event, n, from));
    field.addEventListener("keydown", (event) => this.walked(event, field));
    return field;
  }

  /** The logits or the probabilities, a row a class. */
  list(n) {
    const field = elementOf("div", {
      class: "classes",
      role: "group",
      "aria-label": doesWhat(stages[n]),
    });
    const rows = Math.min(MOST_ROWS, about.classes.length);
    for (let i = 0; i < rows; i++) {
      const row = elementOf(
        "button",
        { type: "button", tabindex: i ? "-1" : "0" },
        elementOf("span", {}, about.classes[i]),
        elementOf("b"),
        elementOf("i"),
      );
      row.addEventListener("click", () => this.opens(n, Number(row.dataset.at ?? i)));
      field.append(row);
    }
    field.addEventListener("keydown", (event) => this.walked(event, field));
    return field;
  }

  pager(n, from, shown, maps, most) {
    const turn = (by) => () => {
      this.first.set(n, Math.min(Math.max(0, from + by), Math.floor((maps - 1) / most) * most));
      this.build();
      this.row
        .querySelector(`[data-stage="${n}"] .pager button:not(:disabled)`)
        ?.focus({ preventScroll: true });
    };
    const button = (text, label, by, off) =>
      elementOf(
        "button",
        { type: "button", "aria-label": label, disabled: off, onclick: turn(by) },
        text,
      );
    return elementOf(
      "div",
      { class: "pager note" },
      elementOf(
        "span",
        {},
        say("inside.channels", { from, to: from + shown - 1, count: count(maps) }),
      ),
      button("‹", say("inside.channels.before"), -most, from === 0),
      button("›", say("inside.channels.after"), most, from + shown >= maps),
    );
  }

  /** A unit was picked: by pointer the one under it, by key the strongest of its map. */
  picked(event, n, from) {
    const map = event.target.closest(".map");
    if (!map || !this.answer) return;
    const { shape } = stages[n],
      i = [...map.parentNode.children].indexOf(map),
      canvas = map.firstChild,
      box = canvas.getBoundingClientRect();
    const size = shape.length > 1 ? shape[1] * shape[2] : shape[0],
      { width, height } = canvas;
    const column = Math.floor(((event.clientX - box.left) / box.width) * width),
      row = Math.floor(((event.clientY - box.top) / box.height) * height);
    const place = event.detail ? row * width + column : (this.strongest.get(map) ?? 0);
    this.opens(n, (from + i) * size + Math.min(Math.max(place, 0), size - 1), !event.detail);
  }

  walked(event, field) {
    const all = [...field.children],
      now = all.indexOf(document.activeElement);
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const next = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : now + by;
    if (now < 0 || !all[next]) return;
    event.preventDefault();
    all.forEach((one, i) => one.setAttribute("tabindex", i === next ? "0" : "-1"));
    all[next].focus();
  }

  strongest = new WeakMap();

  sighted(all) {
    for (const { target, isIntersecting } of all) {
      const n = Number(target.dataset.stage);
      if (isIntersecting) this.seen.add(n);
      else this.seen.delete(n);
    }
    this.refresh();
  }

  /** Show what the network says now; null is nothing. */
  show(answer) {
    this.answer = answer;
    return this.refresh();
  }

  /** Paint what is on the screen; while the engine is at work, once more after it. */
  async refresh() {
    this.again = Boolean(this.painting);
    if (this.painting) return this.painting;
    this.painting = this.paint().finally(() => {
      this.painting = null;
    });
    await this.painting;
    if (this.again) await this.refresh();
  }

  async paint() {
    this.row.classList.toggle("empty", !this.answer);
    const { answer } = this;
    if (!answer) return;
    const here = [...this.seen].map((n) => [n, this.cards.get(n)]).filter(([, card]) => card);
    const plain = here.filter(([n, { list }]) => !list && stages[n].does !== "input");
    const wanted = plain.map(([n, { from, shown }]) => ({
      name: stages[n].value,
      from,
      count: shown,
    }));
    const found = wanted.length ? await engine("maps", wanted) : [];
    if (this.answer !== answer) return; // there is a newer one
    found.forEach(({ h, w, levels, most }, i) => {
      const { field } = plain[i][1],
        size = h * w;
      for (const [m, map] of [...field.children].entries()) {
        const part = levels.subarray(m * size, (m + 1) * size);
        paintLevels(map.firstChild, part, h, w);
        let best = 0;
        for (let at = 1; at < size; at++) {
          if (Math.abs(part[at] - 128) > Math.abs(part[best] - 128)) best = at;
        }
        this.strongest.set(map, best);
      }
      field.title = say("inside.most", { most: Number(most.toPrecision(3)) });
    });
    for (const [n, { field, list }] of here) {
      if (stages[n].does === "input") paintPixels(field.firstChild.firstChild, answer.pixels);
      if (list) this.fill(n, field, answer);
    }
    document.dispatchEvent(new CustomEvent("convscope:maps")); // all of the last answer are painted
  }

  fill(n, field, answer) {
    const values = n === LOGITS ? answer.logits : answer.p,
      rows = [...field.children];
    const order = about.classes.map((_, i) => i),
      most = Math.max(...Array.from(values, Math.abs)),
      best = answer.p.indexOf(Math.max(...answer.p));
    if (order.length > rows.length) order.sort((a, b) => answer.p[b] - answer.p[a]);
    rows.forEach((row, i) => {
      const at = order[i],
        [name, bar, text] = row.children;
      row.dataset.at = at;
      row.classList.toggle("top", at === best);
      name.textContent = name.title = about.classes[at];
      bar.style.setProperty("--part", Math.abs(values[at]) / (n === LOGITS ? most : 1));
      bar.className = values[at] < 0 ? "below" : "";
      text.textContent = (n === LOGITS ? values[at].toFixed(2) : values[at].toFixed(3)).replace(
        "-",
        "−",
      );
    });
  }

  /** Mark the unit that is taken apart: its map. */
  mark(n, at) {
    this.row.querySelector(".map[aria-current]")?.removeAttribute("aria-current");
    const card = this.cards.get(n),
      { shape } = stages[n];
    if (!card || card.list) return;
    const channel = shape.length > 1 ? Math.floor(at / (shape[1] * shape[2])) - card.from : 0;
    card.field.children[channel]?.setAttribute("aria-current", "true");
  }

  connect() {
    drawEdges(this.edges, this.row, new Map([...this.cards].map(([n, { card }]) => [n, card])));
  }
}
