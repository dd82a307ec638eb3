// Inside: the network as it is now, stage by stage, and any unit of it taken apart.

import { about, element, percent, say } from "./words.js";
import { engine, paintPixels, started } from "./asking.js";
import { softmaxOf } from "./answers.js";
import { Board } from "./board.js";
import { elementOf } from "./maps.js";
import { Stages } from "./stages.js";
import { Unit } from "./unit.js";
import { heatOf } from "./heat.js";

/** What the answer rests on: computed when it is asked for, and stopped when it is asked to. */
class Heat {
  constructor(root) {
    this.root = elementOf("section", { class: "heat" });
    root.append(this.root);
    this.render();
  }

  show(answer) {
    if (answer === this.answer) return;
    this.going = false;
    this.answer = answer;
    this.found = null;
    this.render();
  }

  async start() {
    const { answer } = this,
      run = {};
    this.going = run;
    const target = answer.p.indexOf(Math.max(...answer.p));
    const ask = async (pixels) => engine("aside", { pixels });
    const chances = async (pixels) => softmaxOf(await ask(pixels), about.calibration.temperature);
    this.render();
    const found = await heatOf(
      answer.pixels,
      about.channels,
      about.size,
      target,
      ask,
      chances,
      (done, all) => {
        if (this.going === run) this.bar.value = done / all;
        return this.going === run;
      },
    );
    if (this.going !== run) return;
    [this.going, this.found, this.target] = [false, found, target];
    this.render();
  }

  render() {
    const parts = [
      elementOf("h3", {}, say("inside.heat")),
      elementOf("p", { class: "note" }, say("inside.heat.what")),
    ];
    if (this.going) {
      this.bar = elementOf("progress", { max: 1, value: 0, "aria-label": say("inside.heat") });
      parts.push(
        elementOf(
          "p",
          { class: "tools" },
          this.bar,
          elementOf(
            "button",
            { type: "button", onclick: () => this.show(this.answer) },
            say("inside.stop"),
          ),
        ),
      );
    } else if (this.found) parts.push(this.pictured());
    else
      parts.push(
        elementOf(
          "button",
          { type: "button", disabled: !this.answer, onclick: () => this.start() },
          say("inside.heat.start"),
        ),
      );
    this.root.replaceChildren(...parts);
  }

  pictured() {
    const { map, hottest, random, agreement } = this.found,
      [h, w] = about.size;
    const canvas = elementOf("canvas", { "aria-label": say("inside.heat") }),
      image = elementOf("canvas", { role: "img", "aria-label": say("seen") });
    paintPixels(image, this.answer.pixels);
    new Board(canvas, { bare: true }).show(map, h, w);
    const trusted = hottest < random - 0.02 && agreement > 0.5;
    const values = {
      label: about.classes[this.target],
      hottest: percent(hottest),
      random: percent(random),
      agreement: agreement.toFixed(2).replace("-", "−"),
    };
    return elementOf(
      "div",
      { class: "heat-found" },
      elementOf("figure", {}, image),
      elementOf("figure", {}, canvas),
      elementOf(
        "div",
        {},
        elementOf("p", {}, say("inside.heat.colours", values)),
        elementOf("p", {}, say("inside.heat.doubt", values)),
        elementOf(
          "p",
          {},
          elementOf("strong", {}, say(trusted ? "inside.heat.trust" : "inside.heat.distrust")),
        ),
      ),
    );
  }
}

/** Fill the section of the tab: the row of stages, the unit that is taken apart, the heat map. */
export function inside(root) {
  if (!about.graph) {
    root.append(elementOf("h2", {}, say("tab.inside")), elementOf("p", {}, say("inside.server")));
    document.addEventListener("convscope:language", () =>
      root.replaceChildren(
        elementOf("h2", {}, say("tab.inside")),
        elementOf("p", {}, say("inside.server")),
      ),
    );
    return;
  }
  let row, unit, heat;
  let answer = null;
  const build = () => {
    row?.close();
    heat?.show(null); // what it computes is of no use any more
    const head = elementOf("p", { class: "note lead" }, say("inside.lead"));
    root.replaceChildren(elementOf("h2", { class: "hidden" }, say("tab.inside")), head);
    row = new Stages(root, (n, at, keys) => unit.open(n, at, keys));
    unit = new Unit(root, (n, at) => (n === null ? row.mark(0, -1) : row.mark(n, at)));
    heat = new Heat(root);
  };
  const here = () => document.body.dataset.tab === "inside";
  const show = () => {
    if (!here()) return undefined;
    heat.show(answer);
    return Promise.all([row.show(answer), unit.show(answer)]);
  };
  document.addEventListener("convscope:answer", ({ detail }) => {
    answer = detail;
    show();
  });
  document.addEventListener("convscope:tab", show);
  document.addEventListener("convscope:language", () => {
    const now = unit.now;
    build();
    show()?.then(() => now && answer && unit.open(...now));
  });
  build();
  answer = inside.last;
  show();
  element("tab-inside").classList.add("ready");
}

/** The last answer, so that a tab that is opened later has it. */
document.addEventListener("convscope:answer", ({ detail }) => {
  inside.last = detail;
});

/** For scripts: a unit of a stage (its place in `about.graph.stages`), and what it sees. */
export const unfold = async (stage, at) => {
  await started;
  return engine("unfold", { stage, at });
};
export const field = async (stage, at) => {
  await started;
  return engine("field", { stage, at });
};
