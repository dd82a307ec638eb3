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

/** What the network says of what is `asked`: pixels, ink or an image; null of nothing. */
export async function look(asked) {
  await started;
  const found = await engine("look", asked);
  if (!found.pixels) return null;
  if (about.answers === "server") return { ...found, ...(await served(found.pixels)) };
  return { ...found, ...answersOf(found.logits, about.calibration) };
}

/** What the server says of pixels of the network's own size. */
async function served(pixels) {
  const began = performance.now(),
    canvas = document.createElement("canvas");
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
    milliseconds: performance.now() - began,
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
