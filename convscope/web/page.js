// The page: what is drawn or shown goes to the network, what it says is shown.

import {
  about, count, element, language, languageTag, percent, say, speakIn, turnLanguage,
} from "./words.js";
import { INK, PEN, Pad } from "./draw.js";
import { engine, look, paintPixels, started } from "./asking.js";
import { film } from "./filming.js";
import { doubtOf, labelOf, numberSaid, showSeveral } from "./several.js";
import { showTabs } from "./tabs.js";
import { field, inside, unfold } from "./inside.js";
import { lab } from "./lab.js";
import { exampleImage } from "./best.js";

const MOST_BARS = 12; // classes up to so many stand in their order, of more the likeliest alone
const LARGEST = 16_000_000; // pixels of a canvas that every browser has

function speak() {
  document.documentElement.lang = languageTag();
  const [h, w] = about.size,
    server = about.answers === "server";
  const special = {
    in: say("in", { data: about.data }),
    lede: say(about.draws ? "lede.draw" : "lede.image"),
    where: say(server ? "where.server" : "where.page"),
    hint: say(cuts ? "try.hint" : about.draws ? "hint.draw" : "hint.image"),
    "hint.more": about.draws ? say("hint.more") : "",
    "seen.size": say("seen.size", {
      width: w,
      height: h,
      colour: say(about.channels === 1 ? "grey" : "colour"),
    }),
    footer: say("footer", { version: about.version }),
  };
  speakIn(document, special);
  speakLinks();
  document.title = say("title", { network: about.name, data: about.data });
  element("what").textContent = say("card.what", {
    count: count(about.classes.length),
    classes: listed(),
    data: about.data,
  });
  element("facts").replaceChildren(
    ...facts().map(([name, value]) => {
      const row = document.createElement("div"),
        term = document.createElement("dt"),
        said = document.createElement("dd");
      term.textContent = name;
      said.textContent = value.replaceAll(" %", "\u00a0%");
      row.append(term, said);
      return row;
    }),
  );
  render();
}

const PAGES = {
  "page.html": "pages.try",
  "report.html": "pages.report",
  "explain/index.html": "pages.explained",
  "summary.html": "pages.layers",
};

/** The links to other pages of the run, which are there once those are. */
function speakLinks() {
  document.querySelector(".pages").setAttribute("aria-label", say("pages"));
  for (const link of document.querySelectorAll(".pages a")) {
    link.textContent = say(PAGES[link.getAttribute("href")]);
  }
}

/** The names of the classes, as far as they fit into a sentence. */
function listed() {
  const comma = language === "zh" ? "、" : ", ";
  let shown = about.classes.slice(0, 20);
  while (shown.length > 3 && shown.join(comma).length > 160) shown = shown.slice(0, -1);
  const left = about.classes.length - shown.length;
  return shown.join(comma) + (left ? ` ${say("card.more", { count: count(left) })}` : "");
}

/** The main figures of the model card. */
function facts() {
  const [h, w] = about.size,
    { figures } = about;
  const splits = { test: say("split.test"), val: say("split.val") };
  const threshold = about.calibration.abstain?.threshold;
  return [
    [
      say("fact.accuracy", {
        count: figures.images,
        split: splits[figures.split] ?? figures.split,
      }),
      figures.accuracy,
    ],
    [say("fact.interval"), figures.interval],
    [say("fact.balanced"), figures.balanced],
    [say("fact.parameters"), figures.parameters && count(figures.parameters)],
    [say("fact.multiply_adds"), figures.multiply_adds && count(figures.multiply_adds)],
    [
      say("fact.trained"),
      figures.train && say("fact.images", { count: count(figures.train), data: about.data }),
    ],
    [
      say("fact.input"),
      say("seen.size", { width: w, height: h, colour: say(about.channels === 1 ? "grey" : "colour") }),
    ],
    [say("fact.unsure"), threshold && percent(threshold)],
    [say("fact.made"), figures.created?.slice(0, 10)],
  ].filter(([, value]) => value);
}

// what is shown to the network

const cuts = about.draws && about.classes.every((name) => /^\d$/.test(name)); // reads digits
let pad = null; // to draw on, where the network takes digits
let picture = null; // an image that was given: { rgba, width, height, jpeg }
let cut = null; // whether digits are to be cut out of it: null, if it looks like a photograph
let chosen = null; // which of several digits: null, the one that was drawn last
let answer = null; // what the network said last
let found = null; // the same, or why there is no digit
let failure = () => "";
let busy = false;
let again = false;

/** Ask about what is there now; while an answer is on its way, once more after it. */
async function ask() {
  again = busy;
  if (busy) return;
  busy = true;
  try {
    found = picture || (pad && !pad.empty) ? await look(shown()) : null;
    answer = found?.why ? null : found;
    const { why } = found ?? {},
      values = found;
    failure = () => (why ? say(why, values) + say("cut.instead") : "");
  } catch (why) {
    [answer, found, failure] = [null, null, () => why.message];
  }
  busy = false;
  render();
  document.dispatchEvent(new CustomEvent("convscope:answer", { detail: answer }));
  if (again) ask();
}

/** What there is to be looked at: where one of several digits was chosen, these again. */
function shown() {
  if (chosen !== null && answer) return { digits: answer.digits, cut: answer.cut, chosen };
  if (picture) return { ...picture, invert: element("invert").checked, cut: cuts && cut };
  const ink = { ink: pad.mask(), width: INK, height: INK };
  return cuts ? { ...ink, strokes: pad.strokes, pen: PEN } : ink;
}

/** Have one of several digits, or null: there is something else to be looked at. */
function choose(at) {
  if (at !== null && busy) return; // these are on their way out
  chosen = at;
  ask();
}

/** An image file, as the browser reads it: upright, its colours as they are in the file. */
async function take(file) {
  if (!file) return;
  try {
    const options = {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    };
    const bitmap = await createImageBitmap(file, options).catch(() => createImageBitmap(file));
    const smaller = Math.max(1, Math.ceil(Math.sqrt((bitmap.width * bitmap.height) / LARGEST)));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.floor(bitmap.width / smaller));
    canvas.height = Math.max(1, Math.floor(bitmap.height / smaller));
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    await takeCanvas(canvas, file.type === "image/jpeg", null);
  } catch {
    [picture, answer, found, failure] = [null, null, null, () => say("failed.image")];
    render();
  }
}

/** What is on a canvas; whether it was a JPEG, and whether digits are to be cut out of it. */
async function takeCanvas(canvas, jpeg, cutOut) {
  const { width, height } = canvas;
  const rgba = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  picture = { rgba, width, height, jpeg };
  [cut, chosen] = [cutOut, null];
  stopFilming();
  showPicture(canvas);
  await ask();
}

function showPicture(canvas) {
  const shown = element("picture"),
    scale = Math.min(1, 1024 / Math.max(canvas.width, canvas.height));
  shown.width = Math.max(1, Math.round(canvas.width * scale));
  shown.height = Math.max(1, Math.round(canvas.height * scale));
  shown.getContext("2d").drawImage(canvas, 0, 0, shown.width, shown.height);
  shown.classList.toggle("small", Math.max(canvas.width, canvas.height) < 100);
}

function clear() {
  [picture, cut, chosen] = [null, null, null];
  element("invert").checked = false;
  if (pad) pad.clear();
  else ask();
}

// what is seen of it

function render() {
  const drawn = pad !== null && !pad.empty;
  element("picture").hidden = !picture;
  if (pad) element("pad").hidden = picture !== null;
  element("hint").hidden = Boolean(picture || drawn);
  element("clear").disabled = !picture && !drawn;
  element("undo").disabled = !drawn;
  element("undo").hidden = !pad || Boolean(picture);
  element("invert").closest("label").hidden = !picture || Boolean(found?.cut);
  element("cut").closest("label").hidden = !picture || !cuts;
  element("cut").checked = Boolean(found?.cut);
  const light =
    answer && answer.pixels.reduce((sum, one) => sum + one, 0) > 127 * answer.pixels.length;
  const centred = answer && (answer.cut || !picture);
  element("note").hidden = !about.draws || !(centred || light);
  element("note").textContent = say(centred ? "seen.digit" : "seen.light");
  document.body.classList.toggle("answered", answer !== null);
  const best = answer ? answer.p.indexOf(Math.max(...answer.p)) : -1;
  renderNumber(best);
  renderDoubt();
  renderBars(best);
  if (answer) paintPixels(element("pixels"), answer.pixels);
  else element("pixels").getContext("2d").clearRect(0, 0, 1e4, 1e4);
  const time =
    answer &&
    (answer.milliseconds < 10 ? answer.milliseconds.toFixed(1) : Math.round(answer.milliseconds));
  element("took").textContent = answer ? say("took", { time }) : "";
  clearTimeout(render.later); // told to who listens once the hand is still
  const doubt = doubtOf(answer) ? `, ${element("mark").textContent}` : "";
  const one = answer ? `${about.classes[best]}, ${percent(answer.p[best])}${doubt}` : "";
  const said = failure() || (answer?.digits.length > 1 ? numberSaid(answer) : one);
  render.later = setTimeout(() => {
    element("status").textContent = said;
  }, 600);
}

/** The answer, of several digits the number that they make. */
function renderNumber(best) {
  const { digits = [], chosen: at } = answer ?? {},
    several = digits.length > 1;
  const parts = digits.map((one) => {
    const part = document.createElement("span");
    part.textContent = labelOf(one);
    part.className = doubtOf(one) && "doubted";
    return part;
  });
  if (several) element("label").replaceChildren(...parts);
  else element("label").textContent = answer ? about.classes[best] : "";
  const p = answer ? percent(answer.p[best]) : failure() ? "" : say("nothing");
  element("p").textContent = several ? say("try.count", { count: count(digits.length) }) : p;
  element("which").hidden = !several;
  const place = say("try.place", { n: at + 1, count: digits.length });
  element("which").textContent = several ? `${place}: ${about.classes[best]}, ${p}` : "";
  const { width, height } = picture ?? { width: INK, height: INK };
  showSeveral(answer, width, height, choose);
}

function renderDoubt() {
  const { abstain } = about.calibration,
    mark = element("mark"),
    why = element("why");
  const doubt = doubtOf(answer),
    failed = failure();
  mark.hidden = !doubt;
  mark.textContent = doubt ? say(doubt) : "";
  why.classList.toggle("bad", Boolean(failed));
  why.textContent = failed;
  if (doubt === "unlike") why.textContent = say("unlike.why");
  if (doubt === "unsure") {
    const values = { threshold: percent(abstain.threshold ?? 1), error: `${Number((100 * abstain.error).toFixed(6))}%` };
    why.textContent = say(abstain.threshold === null ? "unsure.always" : "unsure.why", values);
  }
}

function renderBars(best) {
  const few = about.classes.length <= MOST_BARS,
    order = about.classes.map((_, i) => i);
  if (!few && answer) order.sort((a, b) => answer.p[b] - answer.p[a]);
  const shown = few ? order : order.slice(0, 10);
  const lines = shown.map((i) => [about.classes[i], answer && answer.p[i], i === best]);
  if (!few) {
    const rest = answer && order.slice(10).reduce((sum, i) => sum + answer.p[i], 0);
    lines.push([say("others", { count: count(order.length - 10) }), rest, false]);
  }
  const body = element("bars").tBodies[0];
  while (body.rows.length > lines.length) body.deleteRow(-1);
  lines.forEach(([name, p, top], n) => {
    const row = body.rows[n] ?? barRow(body);
    row.className = top ? "top" : "";
    row.cells[0].textContent = row.cells[0].title = !few && !answer ? "–" : name;
    row.cells[1].firstChild.style.setProperty("--p", p ?? 0);
    row.cells[2].textContent = p === null ? "" : percent(p);
  });
}

function barRow(body) {
  const row = body.insertRow(),
    name = document.createElement("th");
  name.scope = "row";
  row.append(name);
  row.insertCell().append(document.createElement("span"));
  row.insertCell();
  return row;
}

// hands on it

[element("pixels").height, element("pixels").width] = about.size;
element("pixels").style.setProperty("--shape", about.size[1] / about.size[0]);
const longest = Math.max(...about.classes.map((name) => name.length));
element("label").classList.toggle("long", longest > 8);
if (about.draws) {
  element("pad").hidden = false;
  pad = new Pad(element("pad"), () => choose(null));
}
for (const id of ["file", "camera"]) {
  element(id).addEventListener("change", (event) => {
    take(event.target.files[0]);
    event.target.value = "";
  });
}
element("clear").addEventListener("click", clear);
element("undo").addEventListener("click", () => pad.undo());
element("example").hidden = !about.best;
element("example").addEventListener("click", async () =>
  takeCanvas(await exampleImage(), false, false),
);
element("invert").addEventListener("change", () => choose(null));
element("cut").addEventListener("change", (event) => {
  cut = event.target.checked;
  choose(null);
});
const stopFilming = film((canvas) => takeCanvas(canvas, false, cuts || null));
element("language").addEventListener("click", turnLanguage);
document.addEventListener("convscope:language", speak);
document.addEventListener("paste", (event) => take(event.clipboardData?.files[0]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  take(event.dataTransfer.files[0]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => pad?.paint());

/** For scripts: what the network says of an image, every value of its last pass by its name, and how a
    unit of a stage was made. The lab asks for values, too. */
const value = (name) => engine("value", { name });
globalThis.convscope = { about, look, take, value, unfold, field };

speak();
showTabs({ inside, lab: (root) => Object.assign(globalThis.convscope, { lab: lab(root) }) });
started.catch((why) => {
  failure = () => say("failed", { why: why.message });
  render();
});
