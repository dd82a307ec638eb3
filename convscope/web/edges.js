// The lines from stage to stage: straight on, beside a lane, or around all that is between.

import { sourcesOf, stages } from "./plan.js";

export function drawn(tag, attributes, ...children) {
  const one = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  one.append(...children);
  return one;
}

/** Draw the lines into `svg`, which lies over `row`, between the cards of stages. */
export function drawEdges(svg, row, cards) {
  const origin = row.getBoundingClientRect(),
    down = matchMedia("(max-width: 47.99rem)").matches;
  const boxes = new Map();
  for (const card of cards.values()) {
    const { left, top, width, height } = card.getBoundingClientRect();
    const [x, y] = [left - origin.left, top - origin.top];
    // along the way from a to b, across it from c to d
    boxes.set(
      card,
      down
        ? { a: y, b: y + height, c: x, d: x + width }
        : { a: x, b: x + width, c: y, d: y + height },
    );
  }
  const point = (along, across) => (down ? `${across} ${along}` : `${along} ${across}`);
  const lines = new Map();
  let beside = 0;
  const end = Math.max(...[...boxes.values()].map(({ d }) => d));
  stages.forEach((stage, n) => {
    for (const source of sourcesOf(n)) {
      const [from, to] = [cards.get(source), cards.get(n)];
      if (!from || !to || from === to) continue;
      const [p, q] = [boxes.get(from), boxes.get(to)],
        [y, z] = [(p.c + p.d) / 2, (q.c + q.d) / 2];
      const between = [...boxes.values()].filter((one) => one.a >= p.b - 1 && one.b <= q.a + 1);
      const blocked = between.filter((one) => one.c < Math.max(y, z) && one.d > Math.min(y, z));
      if (!blocked.length || p.b > q.a) {
        const bend = (q.a - p.b) / 2;
        const curve = [point(p.b + bend, y), point(q.a - bend, z), point(q.a - 5, z)];
        lines.set(`M${point(p.b, y)} C${curve.join(" ")}`, "");
        continue;
      }
      if (!between.some((one) => one.c < y && one.d > y)) {
        const turn = Math.max(p.b, ...between.map((one) => one.b)), // past what is beside its lane
          bend = (q.a - turn) / 2;
        const curve = [point(turn + bend, y), point(q.a - bend, z), point(q.a - 5, z)];
        lines.set(`M${point(p.b, y)} L${point(turn, y)} C${curve.join(" ")}`, "");
        continue;
      }
      const free = Math.min(
        end + 12,
        Math.max(...between.map((one) => one.d), p.d, q.d) + 10 + (beside++ % 3) * 4,
      );
      const [out, back] = [p.b + 10, q.a - 10]; // around all that is between
      const way = [
        `M${point(p.b, p.d - 14)}`,
        `Q${point(out, p.d - 14)} ${point(out, p.d)}`,
        `L${point(out, free - 8)} Q${point(out, free)} ${point(out + 8, free)}`,
        `L${point(back - 8, free)} Q${point(back, free)} ${point(back, free - 8)}`,
        `L${point(back, q.d - 6)} Q${point(back, q.d - 14)} ${point(q.a - 5, q.d - 14)}`,
      ];
      lines.set(way.join(" "), "skip");
    }
  });
  const [w, h] = [row.scrollWidth, row.scrollHeight];
  svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  svg.style.cssText = `width: ${w}px; height: ${h}px`;
  const marker = {
    id: "arrow",
    viewBox: "0 0 8 8",
    refX: 3,
    refY: 4,
    markerWidth: 6,
    markerHeight: 6,
    orient: "auto",
  };
  svg.replaceChildren(
    drawn("marker", marker, drawn("path", { d: "M0 0 L8 4 L0 8 z" })),
    ...[...lines].map(([d, name]) => drawn("path", { d, class: name })),
  );
}
