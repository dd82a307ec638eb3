// Whoever answers is asked here: the page's own worker, or the server that it came from.

import { about, element, say } from "./words.js";
import { answersOf } from "./answers.js";

export const engine = starting();

function starting() {
  const source = element("engine").textContent;
  const waiting = new Map();
  let asked = 0,
    thread = null,
    here = null;
  try {
    thread = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    thread.onmessage = ({ data: { id, found, error } }) => {
      const [done, failed] = waiting.get(id);
      waiting.delete(id);
      if (error) failed(new Error(error));
      else done(found);
    };
    thread.onerror = (event) => {
      for (const [, failed] of waiting.values()) failed(new Error(event.message || "worker"));
    };
  } catch {
    const script = document.createElement("script"); // no workers: the same work on this thread
    script.textContent = `var inPage = (() => {\n${source}\nreturn worker();\n})();`;
    document.head.append(script);
    here = globalThis.inPage;
  }
  return (task, what) => {
    if (here) return new Promise((done) => setTimeout(done)).then(() => here[task](what));
    return new Promise((...both) => {
      waiting.set(++asked, both);
      thread.postMessage({ id: asked, task, asked: what });
    });
  };
}

const { graph, channels, size, fit } = about;
export const started = engine("start", {
  graph,
  channels,
  size,
  fit,
  weights: element("weights").textContent,
});

/** What the network says of what is `asked`: pixels, ink or an image; null of nothing. Of several
    digits it is what it says of the `chosen` one, with all of them as `digits`. Where a photograph
    has none, only `why`, as a key of words. */
export async function look(asked) {
  await started;
  const { digits, last = 0, ...found } = await engine("look", asked);
  if (!digits) return found;
  if (!digits.length) return null;
  const server = about.answers === "server",
    began = performance.now();
  const said = (one) => (server ? served(one.pixels) : answersOf(one.logits, about.calibration));
  const all = await Promise.all(digits.map(async (one) => ({ ...one, ...(await said(one)) })));
  const chosen = found.chosen ?? Math.min(asked.chosen ?? last, digits.length - 1);
  if (server) found.milliseconds = performance.now() - began;
  return { ...found, ...all[chosen], digits: all, chosen };
}

/** What the server says of pixels of the network's own size. */
async function served(pixels) {
  const canvas = document.createElement("canvas");
  paintPixels(canvas, pixels);
  const body = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const headers = { "Content-Type": "image/png" };
  const address = `predict?digits=false&top=${Math.min(about.classes.length, 1000)}`;
  const answer = await fetch(address, { method: "POST", headers, body });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok)
    throw new Error(say("failed.server", { why: said.error?.message ?? `HTTP ${answer.status}` }));
  const p = new Map(said.top.map((one) => [one.label, one.p]));
  return {
    p: about.classes.map((name) => p.get(name) ?? 0),
    unlike: said.ood ?? null,
    unsure: said.unsure ?? null,
  };
}

/** Pixels of the network's own size on a canvas. */
export function paintPixels(canvas, pixels) {
  const [h, w] = about.size,
    image = new ImageData(w, h),
    area = w * h;
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = pixels[i + (about.channels === 1 ? 0 : c * area)];
    }
    image.data[4 * i + 3] = 255;
  }
  [canvas.width, canvas.height] = [w, h];
  canvas.getContext("2d").putImageData(image, 0, 0);
}
