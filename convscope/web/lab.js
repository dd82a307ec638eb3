// The lab: one layer at a time, with its numbers. Each of its experiments is in the page's address.

import { about, say, speakIn } from "./words.js";
import { built } from "./fields.js";
import { Experiment } from "./experiment.js";
import { Moving } from "./moving.js";
import { Costs } from "./costs.js";
import { Fields } from "./seeing.js";
import { Learning } from "./learning.js";
import { Unfit, slide } from "./sliding.js";

const LESSONS = { counts: Costs, fields: Fields, learning: Learning };
const EXPERIMENTS = ["conv", "pool", "transposed", ...Object.keys(LESSONS)];
let lastAnswer = null; // of the page's network, also while nobody has looked at the lab yet
document.addEventListener("convscope:answer", ({ detail }) => (lastAnswer = detail));

const viewOf = (kind) => (kind === "max" || kind === "average" ? "pool" : kind);

/** Fill a section with the lab; what it opens with is in the address, or in `about.lab`. */
export function lab(root) {
  const views = {}; // moving: of all that a window moves in; each lesson by its name
  let shown = "";
  const places = Object.fromEntries(
    ["moving", ...Object.keys(LESSONS)].map((name) => [name, built("div", { hidden: true })]),
  );
  const buttons = EXPERIMENTS.map((name) =>
    built("button", { type: "button", say: `lab.do.${name}`, onclick: () => choose(name) }),
  );
  root.replaceChildren(
    built("h2", { class: "hidden", say: "lab.title" }),
    built("div", { class: "experiments", role: "group", label: "lab.experiments" }, ...buttons),
    built("div", {}, ...Object.values(places)),
    built("p", { class: "note", say: "lab.link" }),
  );
  root.classList.add("lab");

  const placeOf = (name) => (name in LESSONS ? name : "moving");
  function view(name) {
    const place = placeOf(name);
    views[place] ??=
      place === "moving" ? new Moving(places.moving, keep) : new LESSONS[name](places[name], keep);
    return views[place];
  }

  let later = null;

  /** The address is of what is shown, once the hand is still: a browser bears few a second. */
  function keep() {
    clearTimeout(later);
    later = setTimeout(written, 300);
  }

  function written() {
    if (root.hidden) return;
    const found = view(shown),
      words = shown in LESSONS ? { do: shown, ...found.words() } : found.experiment.words();
    const text = Object.entries(words).map(
      ([key, value]) => `${key}=${encodeURI(value).replaceAll("&", "%26").replaceAll("+", "%2B")}`,
    );
    try {
      history.replaceState(null, "", `#lab?${text.join("&")}`);
    } catch {
      // a page within another may have no address
    }
  }

  function choose(name) {
    const moving = name in LESSONS ? null : view(name);
    if (moving && viewOf(moving.experiment.kind) !== name) {
      moving.stop();
      moving.experiment.kind = name === "pool" ? "max" : name;
      moving.experiment.fit();
    }
    show(name);
    keep();
  }

  function show(name) {
    if (shown && placeOf(shown) !== placeOf(name)) view(shown).stop();
    shown = name;
    for (const [one, place] of Object.entries(places)) place.hidden = one !== placeOf(name);
    EXPERIMENTS.forEach((one, n) => buttons[n].setAttribute("aria-pressed", String(one === name)));
    const found = view(name);
    if (found instanceof Moving) {
      found.compute();
      found.answered(lastAnswer);
    } else found.show();
    speakIn(root);
  }

  /** What the address says, or the page; what cannot be read is said. */
  function open() {
    const [tab, query] = location.hash.split("?");
    const words =
      query !== undefined && tab === "#lab"
        ? Object.fromEntries(new URLSearchParams(query.replaceAll("+", "%2B")))
        : about.lab;
    let name = viewOf(words?.do ?? "conv"),
      why = null;
    if (!EXPERIMENTS.includes(name)) name = "conv";
    try {
      if (words && name in LESSONS) view(name).take(words);
      else if (words) view(name).take(Experiment.of(words));
    } catch (error) {
      if (!(error instanceof Unfit)) throw error;
      why = error;
    }
    show(name);
    if (why) view(name).refuse(why);
  }

  const here = () => root.offsetParent !== null;
  const images = (event, files) => {
    const file = [...(files ?? [])].find((one) => one.type.startsWith("image/"));
    if (!here() || !file) return;
    event.preventDefault();
    event.stopPropagation(); // it is not for Try, which had marked itself
    document.body.classList.remove("dropping");
    if (placeOf(shown) !== "moving") choose("conv");
    view(shown).readImage(file);
  };
  document.addEventListener("paste", (event) => images(event, event.clipboardData?.files), true);
  document.addEventListener("drop", (event) => images(event, event.dataTransfer?.files), true);
  document.addEventListener("dragover", (event) => here() && event.preventDefault());
  document.addEventListener("convscope:language", () => show(shown));
  document.addEventListener("convscope:tab", ({ detail }) => {
    if (detail !== "lab") view(shown).stop();
    else if (location.hash.includes("?")) open();
    else choose(shown);
  });
  open();
  return {
    // for scripts: what is shown, and its numbers
    get experiment() {
      return view("conv").experiment;
    },
    get found() {
      return shown in LESSONS ? view(shown).found : view("conv").found;
    },
    slide,
  };
}
