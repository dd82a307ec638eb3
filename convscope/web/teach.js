// Teach: sets of images, their classes, and the trainings of them.

import { say } from "./words.js";
import { askStudio, fill, make, pathOf } from "./teaching.js";
import { TeachBoard } from "./teach_board.js";
import { Trainings } from "./teach_training.js";

const LOOK_AGAIN = 2500; // ms between two looks at a set, while it is looked at
const LOOK_SOON = 600; // while it is trained

/** The tab in `root`. */
export function teach(root) {
  const page = new Teach(root);
  document.addEventListener("convscope:language", () => page.render());
  document.addEventListener("convscope:tab", ({ detail }) => page.show(detail === "teach"));
  document.addEventListener("visibilitychange", () => page.show(page.shown));
  page.show(true);
  return page;
}

class Teach {
  constructor(root) {
    this.shown = true;
    this.sets = null; // the names of all, null before they are known
    this.set = null; // the one that is taught, as the server has it
    this.running = null; // the training that goes on, of any set
    this.away = false; // whether the server does not answer
    this.news = null; // { text, bad } of the last thing that was done
    this.bar = make("div.teach-bar");
    this.told = make("p.teach-told", { role: "status" });
    this.begin = make("div");
    this.board = new TeachBoard(this);
    this.trainings = new Trainings(this);
    root.classList.add("teach");
    root.append(this.bar, this.told, this.begin, this.board.root, this.trainings.root);
    this.timer = 0;
    this.turn = 0; // of asking: what was asked before the set was changed is old
  }

  /** Look for news while the tab is shown. */
  show(shown) {
    this.shown = shown;
    clearTimeout(this.timer);
    if (shown && !document.hidden) this.look();
    if (!shown || document.hidden) this.board.closeCamera();
  }

  /** Ask how things stand, and again after a while. */
  async look() {
    clearTimeout(this.timer);
    const turn = ++this.turn;
    try {
      if (!this.set) await this.lookForSets(turn);
      else {
        const { name, revision } = this.set,
          said = await askStudio(`sets/${pathOf(name)}?revision=${revision}`);
        if (turn !== this.turn) return;
        Object.assign(this, { running: said.running, sets: said.sets });
        this.trainings.take(said.trainings);
        if (said.classes) this.take(said);
      }
      await this.trainings.look();
      if (turn === this.turn) this.away = false;
    } catch (why) {
      if (turn !== this.turn) return;
      if (why.code === "set") [this.set, this.news] = [null, { text: why.message, bad: true }];
      this.away = why.code === "away";
      if (!this.away && why.code !== "set") this.news = { text: why.message, bad: true };
    }
    if (turn !== this.turn) return;
    this.render();
    if (!this.shown || document.hidden) return;
    this.timer = setTimeout(() => this.look(), this.running && !this.away ? LOOK_SOON : LOOK_AGAIN);
  }

  async lookForSets(turn) {
    const { sets, running, root } = await askStudio("sets");
    if (turn !== this.turn) return;
    Object.assign(this, { sets, running, root });
    const wanted = [running?.set, keptSet(), sets[0]].find((name) => sets.includes(name));
    if (wanted !== undefined) await this.open(wanted, turn);
  }

  /** Teach another set. */
  async open(name, turn = ++this.turn) {
    const said = await askStudio(`sets/${pathOf(name)}`);
    if (turn !== this.turn) return;
    this.running = said.running;
    this.trainings.forget();
    this.trainings.take(said.trainings);
    this.take(said);
  }

  /** The set as the server has it now. */
  take(said) {
    this.set = { name: said.name, revision: said.revision };
    Object.assign(this.set, { classes: said.classes, out: said.out, undo: said.undo });
    if (!this.sets?.includes(said.name)) this.sets = [...(this.sets ?? []), said.name].sort();
    keepSet(said.name);
  }

  /** Do something that changes the set: `path` below it, and what is sent there. Resolves to what the
      server says, or null where it refused, which is told. */
  async change(path, sent, news = null) {
    const before = this.set.name;
    this.turn++; // what is on its way is old now
    let said = null;
    try {
      said = await askStudio(`sets/${pathOf(before)}${path}`, sent);
      if (this.set?.name === before && Array.isArray(said.classes)) this.take(said);
      this.news = news;
      this.away = false;
    } catch (why) {
      this.news = { text: why.message, bad: true };
      this.away = why.code === "away";
    }
    this.render();
    this.timer = setTimeout(() => this.look(), said ? LOOK_SOON : 0);
    return said;
  }

  /** A new set with two classes. */
  async create(name) {
    this.turn++;
    try {
      const made = await askStudio("sets", { name });
      this.trainings.forget();
      this.take(made);
      for (const n of [1, 2]) {
        const of = say("teach.class.first", { n });
        this.take(await askStudio(`sets/${pathOf(made.name)}/classes`, { name: of }));
      }
      this.news = null;
    } catch (why) {
      this.news = { text: why.message, bad: true };
    }
    this.render();
    this.look();
  }

  tell(text, bad = false) {
    this.news = { text, bad };
    this.render();
  }

  render() {
    const { set, sets, news, away } = this;
    fill(this.bar, [set?.name, set?.undo, sets], () => (set ? this.buildBar() : []));
    const text = away ? say("teach.away") : (news?.text ?? "");
    this.told.classList.toggle("bad", away || Boolean(news?.bad));
    if (this.told.textContent !== text) this.told.textContent = text;
    fill(this.begin, [Boolean(set), sets, this.root], () =>
      set || !sets ? [] : this.buildBegin(),
    );
    this.board.render();
    this.trainings.render();
  }

  buildBegin() {
    return make(
      "form.teach-begin",
      { onsubmit: (event) => this.submitted(event) },
      make("h2", {}, say("teach.begin")),
      make("p.note", {}, say("teach.begin.more", { root: this.root })),
      make("label", { for: "teach-new" }, say("teach.set.name")),
      make(
        ".teach-line",
        {},
        make("input", {
          id: "teach-new",
          name: "name",
          autocomplete: "off",
          maxLength: 80,
          "data-key": "new",
          "data-typed": 1,
          required: true,
        }),
        make("button.strong", { type: "submit" }, say("teach.create")),
      ),
    );
  }

  submitted(event) {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    if (name) this.create(name);
  }

  buildBar() {
    const { set } = this,
      undo = set.undo && say(`teach.undo.${set.undo}`);
    const choose = make("select", {
      id: "teach-set",
      "data-key": "set",
      onchange: (event) => this.chosen(event.target.value),
    });
    choose.append(...this.sets.map((name) => new Option(name, name, false, name === set.name)));
    return [
      make("label", { for: "teach-set" }, say("teach.set")),
      choose,
      make(
        "button",
        { type: "button", "data-key": "rename", onclick: () => this.renameSet() },
        say("teach.set.rename"),
      ),
      make(
        "button",
        { type: "button", "data-key": "remove", onclick: () => this.removeSet() },
        say("teach.set.remove"),
      ),
      make(
        "button",
        { type: "button", "data-key": "new", onclick: () => this.newSet() },
        say("teach.set.new"),
      ),
      make(
        "button.undo",
        {
          type: "button",
          "data-key": "undo",
          disabled: !undo,
          title: undo || "",
          onclick: () =>
            this.change(
              "/undo",
              { revision: this.set.revision },
              { text: say("teach.undone", { what: undo }) },
            ),
        },
        undo ? say("teach.undo", { what: undo }) : say("teach.undo.none"),
      ),
    ];
  }

  async chosen(name) {
    try {
      this.board.closeCamera();
      await this.open(name);
      this.news = null;
    } catch (why) {
      this.news = { text: why.message, bad: true };
    }
    this.render();
    this.look();
  }

  async newSet() {
    const name = await this.board.askName(say("teach.set.name"), "", say("teach.create"));
    if (name) this.create(name);
  }

  async renameSet() {
    const { name, revision } = this.set,
      wanted = await this.board.askName(say("teach.set.name"), name, say("teach.rename"));
    if (!wanted || wanted === name) return;
    this.turn++;
    try {
      const said = await askStudio(`sets/${pathOf(name)}/rename`, { name: wanted, revision });
      this.sets = this.sets.filter((one) => one !== name);
      this.take(said);
      this.news = null;
    } catch (why) {
      this.news = { text: why.message, bad: true };
    }
    this.render();
    this.look();
  }

  async removeSet() {
    const { name, revision } = this.set;
    if (
      !(await this.board.confirm(say("teach.set.remove.sure", { name }), say("teach.set.remove")))
    )
      return;
    this.turn++;
    try {
      const said = await askStudio(`sets/${pathOf(name)}/remove`, { revision });
      [this.sets, this.set] = [said.sets, null];
      this.news = { text: say("teach.set.removed", { name, kept: said.kept }), bad: false };
    } catch (why) {
      this.news = { text: why.message, bad: true };
    }
    this.look();
  }
}

function keptSet() {
  try {
    return localStorage.getItem("convscope-set");
  } catch {
    return null; // a browser that keeps nothing
  }
}

function keepSet(name) {
  try {
    localStorage.setItem("convscope-set", name);
  } catch {
    // as above
  }
}
