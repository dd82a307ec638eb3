// The tab Runs: all run folders below the studio's root, the curves of those that are chosen over each
// other, and two of them compared. What is shown goes on by itself: the server is asked again.

import { language, say } from "./words.js";
import { Comparing } from "./comparing.js";
import { RunCurves } from "./runs_curves.js";
import { RUN_LETTERS, RunTable } from "./runs_table.js";
import { tagged } from "./tagged.js";

const RUNS_SOON = 1000; // milliseconds until the server is asked again while something is trained
const RUNS_LATER = 4000; // and otherwise

/** Fill the section of the tab. */
export function runs(root) {
  globalThis.convscope = { ...globalThis.convscope, runs: new Runs(root) };
}

class Runs {
  constructor(root) {
    Object.assign(this, { root, rows: new Map(), histories: new Map(), place: "" });
    Object.assign(this, { away: null, refused: "", begun: false });
    this.chosen = new Map(); // name -> which letter
    this.#build();
    this.#read();
    addEventListener("hashchange", () => this.#read() && this.#choose());
    document.addEventListener("convscope:language", () => {
      this.table.speak();
      this.#render();
    });
    document.addEventListener("convscope:tab", () => this.#look());
    document.addEventListener("visibilitychange", () => this.#look());
    this.#look();
  }

  #build() {
    const part = (name, attributes) => tagged(name, { ...attributes, hidden: true });
    this.warning = part("p", { class: "warning", role: "alert" });
    this.empty = part("p", { class: "lede" });
    this.chosenPart = part("div");
    this.listed = part("div");
    const compared = tagged("div", { class: "compared" });
    this.curves = new RunCurves(this.chosenPart, () => this.#write());
    this.chosenPart.append(compared);
    this.comparing = new Comparing(compared);
    this.table = new RunTable(this.listed, (name, on) => this.#turn(name, on));
    this.root.classList.add("runs");
    this.root.append(this.warning, this.empty, this.chosenPart, this.listed);
  }

  // what is asked of the server

  /** Ask for all rows, and for the curves that have grown; then again after a while. */
  async #look() {
    clearTimeout(this.later);
    if (document.hidden || this.root.hidden || this.looking) return;
    this.looking = true;
    try {
      const answer = await fetch("/api/runs", { cache: "no-cache" });
      const said = await answer.json();
      this.refused = answer.ok ? "" : (said.error?.message ?? `HTTP ${answer.status}`);
      if (answer.ok) {
        this.place = said.root;
        this.rows = new Map(said.runs.map((row) => [row.name, row]));
        this.#begin();
      }
      this.away = null;
      await this.#histories();
    } catch {
      this.away ??= new Date();
    }
    this.looking = false;
    this.#render();
    const live = this.away || [...this.rows.values()].some((row) => row.state === "training");
    this.later = setTimeout(() => this.#look(), live ? RUNS_SOON : RUNS_LATER);
  }

  /** The histories of the chosen runs, but for those that are here as they are. */
  async #histories() {
    const wanted = [...this.chosen.keys()].map((name) => this.rows.get(name)).filter(Boolean);
    const asked = wanted.map(async (row) => {
      const stamp = [row.epoch, row.date, row.state].join();
      if (this.histories.get(row.name)?.stamp === stamp) return;
      const path = row.name.split("/").map(encodeURIComponent).join("/");
      const answer = await fetch(`/api/runs/${path}/history`, { cache: "no-cache" });
      if (answer.ok) this.histories.set(row.name, { stamp, rows: (await answer.json()).rows });
    });
    await Promise.all(asked);
  }

  // what is chosen, which the address keeps

  #read() {
    const [tab, query = ""] = location.hash.split("?");
    if (tab !== "#runs" && tab !== "") return false;
    const asked = new URLSearchParams(query);
    const named = asked.getAll("run").slice(0, RUN_LETTERS.length);
    if (named.length) this.chosen = new Map(named.map((name, i) => [name, i]));
    if (asked.get("along") === "seconds") this.curves.along = "seconds";
    return true;
  }

  #write() {
    const asked = new URLSearchParams(this.#names().map((name) => ["run", name]));
    if (this.curves.along === "seconds") asked.set("along", "seconds");
    history.replaceState(null, "", `#runs?${asked}`);
  }

  /** At first the run that is being trained is chosen, else the latest that has curves; what is gone
      is chosen no more. */
  #begin() {
    for (const name of this.chosen.keys()) if (!this.rows.has(name)) this.chosen.delete(name);
    if (this.begun || this.chosen.size) return;
    const rows = [...this.rows.values()].filter((row) => row.epoch || row.state === "training");
    const first = rows.find((row) => row.state === "training") ?? rows[0];
    if (first) this.chosen.set(first.name, 0);
    this.begun = Boolean(first);
  }

  /** The names of the chosen runs, by their letters. */
  #names() {
    return [...this.chosen].sort((a, b) => a[1] - b[1]).map(([name]) => name);
  }

  #turn(name, on) {
    const taken = [...this.chosen.values()];
    const free = RUN_LETTERS.findIndex((_, i) => !taken.includes(i));
    if (on) this.chosen.set(name, free);
    else this.chosen.delete(name);
    this.begun = true;
    this.#write();
    this.#choose();
  }

  async #choose() {
    this.#render();
    try {
      await this.#histories();
    } catch {
      this.away ??= new Date();
    }
    this.#render();
  }

  // what is seen

  #render() {
    const time = this.away?.toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" });
    const gone = `${say("runs.away")} ${say("runs.away.since", { time })}`;
    this.warning.hidden = !this.away && !this.refused;
    const said = this.away ? gone : this.refused;
    if (this.warning.textContent !== said) this.warning.textContent = said;
    this.empty.hidden = this.rows.size > 0 || Boolean(this.away) || !this.place;
    const none = say("runs.empty", { root: this.place });
    this.empty.replaceChildren(none, " ", tagged("code", {}, "convscope train mnist"));
    this.listed.hidden = !this.rows.size;
    this.chosenPart.hidden = !this.chosen.size;
    this.table.show([...this.rows.values()], this.chosen, this.place);
    if (!this.chosen.size) return;
    const one = this.chosen.size === 1; // it has no hue: training is orange and validation blue
    const shown = this.#names().map((name) => ({
      ...this.rows.get(name),
      name,
      letter: RUN_LETTERS[this.chosen.get(name)],
      hue: one ? "var(--ink)" : `var(--run-${this.chosen.get(name)})`,
      history: this.histories.get(name)?.rows ?? [],
    }));
    this.curves.show(shown);
    this.comparing.show(shown);
  }
}
