// What came of trainings: the figure, the mistakes, those before.

import { count, language, percent, say } from "./words.js";
import { shareOf } from "./tagged.js";
import { imageOf, make } from "./teaching.js";

/** How many of the images kept apart a training got right, and what that says. */
export function figureOf(one) {
  const { right, n, ci95, commonest, page } = one,
    [low, high] = ci95.map(percent);
  const scale = make(
    ".scale",
    { role: "img", "aria-label": say("teach.interval", { low, high }) },
    make("span.between"),
    make("span.at"),
    make("span.chance", { title: say("teach.chance", { right: count(commonest), n: count(n) }) }),
  );
  scale.style.setProperty("--low", ci95[0]);
  scale.style.setProperty("--high", ci95[1]);
  scale.style.setProperty("--at", one.accuracy);
  scale.style.setProperty("--chance", commonest / n);
  return make(
    ".figure",
    {},
    make(
      "p.right",
      {},
      make("strong", {}, say("teach.right", { right: count(right), n: count(n) })),
      ` ${shareOf(one.accuracy)}`,
    ),
    scale,
    make(
      "p.note.ends",
      { "aria-hidden": "true" },
      ["0 %", "50 %", "100 %"].map((end) => make("span", {}, end)),
    ),
    make(
      "p",
      {},
      [
        say("teach.means", { n: count(n), low, high }),
        say(n < 100 ? "teach.means.few" : "teach.means.enough"),
        say("teach.chance", { right: count(commonest), n: count(n) }),
      ].join(language === "zh" ? "" : " "),
    ),
    one.skewed &&
      make("p.note", {}, say("teach.balanced", { share: shareOf(one.balanced_accuracy) })),
    one.ended_at_step > 0 &&
      make("p.note", {}, say("teach.ended", { step: count(one.ended_at_step) })),
    make(
      ".teach-line",
      {},
      make("a.button.strong", { href: `${page}#try`, "data-key": "try" }, say("teach.try")),
      one.report &&
        make("a.button", { href: `${page}report.html`, "data-key": "report" }, say("teach.report")),
    ),
  );
}

/** The mistakes of a training as pictures; its images that are in the set yet can be moved. */
export function mistakesOf(one, wrong, { set, board }) {
  if (!wrong) return null;
  if (!wrong.length) return make("p", {}, say("teach.mistakes.none", { n: count(one.n) }));
  const there = new Map(
    set.classes.flatMap(({ name, images }) =>
      images.map(({ file, key }) => [`${name}/${file}`, key]),
    ),
  );
  return [
    make("h3", {}, say("teach.mistakes", { count: count(wrong.length) })),
    make("p.note", {}, say("teach.mistakes.more")),
    make(
      "ul.mistakes",
      {},
      wrong.map((it) => {
        const key = there.get(`${it.class}/${it.file}`),
          said = [
            make("span.no", {}, say("teach.says", { class: it.predicted, p: percent(it.p) })),
            make("span.note", {}, say("teach.is", { class: it.label })),
          ];
        if (key === undefined)
          return make("li", {}, make(".gone", {}, say("teach.moved.since")), ...said);
        const item = board.thumb(it.class, it.file, key),
          [button] = item.children;
        button.dataset.key = `mistake ${it.class}/${it.file}`;
        button.setAttribute(
          "aria-label",
          [it.file, ...said.map((part) => part.textContent)].join(", "),
        );
        button.firstChild.src = imageOf(set.name, it.class, it.file, key);
        item.append(...said);
        return item;
      }),
    ),
  ];
}

/** Trainings as a table. */
export function tableOf(list) {
  const row = (one) => {
    const judged = one.accuracy !== undefined;
    return make(
      "tr",
      {},
      make(
        "th",
        { scope: "row" },
        judged
          ? make("a", { href: `${one.page}#try`, "data-key": `try ${one.run}` }, one.run)
          : one.run,
      ),
      make(
        "td",
        {},
        new Date(one.created).toLocaleString(language, {
          dateStyle: "short",
          timeStyle: "short",
        }),
      ),
      make("td.number", {}, count(one.images)),
      make(
        "td.number",
        {},
        judged
          ? say("teach.right.short", { right: count(one.right), n: count(one.n) })
          : say(`teach.state.${one.state}`),
      ),
      make(
        "td.number",
        {},
        judged ? `${shareOf(one.accuracy)} (${one.ci95.map(percent).join(" – ")})` : "",
      ),
    );
  };
  return [
    make("h2", {}, say("teach.earlier")),
    make(
      ".wide",
      { tabIndex: 0, role: "region", "aria-label": say("teach.earlier") },
      make(
        "table",
        {},
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            ["run", "when", "images", "right", "accuracy"].map((name) =>
              make("th", { scope: "col" }, say(`teach.column.${name}`)),
            ),
          ),
        ),
        make("tbody", {}, list.map(row)),
      ),
    ),
    make("p.note", {}, say("teach.earlier.more")),
  ];
}
