// What the units of a channel answer to most: images of the test split, found when the page was made.

import { about, say } from "./words.js";
import { engine } from "./asking.js";
import { numberText } from "./board.js";
import { elementOf } from "./maps.js";

let sheet = null; // the images side by side, once they are asked for

/** The picture of all images, decoded without an address, which the page's policy would refuse. */
function sheetOf({ kind, data }) {
  const letters = atob(data),
    bytes = Uint8Array.from(letters, (one) => one.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: kind }));
}

/** One of those images on a canvas of the network's own size; `at` is its number, else it is drawn by
    lot. */
export async function exampleImage(at = null) {
  sheet ??= sheetOf(about.best);
  const [h, w] = about.size,
    { across, tiles } = about.best,
    canvas = elementOf("canvas", { width: w, height: h });
  drawTile(canvas, await sheet, at ?? Math.floor(Math.random() * tiles), across);
  return canvas;
}

/** One of the images, which lie `across` in a row, on a canvas of its shape. */
function drawTile(canvas, image, tile, across) {
  const side = image.width / across,
    { width: w, height: h } = canvas,
    high = (side * h) / w;
  canvas
    .getContext("2d")
    .drawImage(image, (tile % across) * side, Math.floor(tile / across) * high, side, high, 0, 0, w, h);
}

/** The images that a stage's channel answers to, each with a frame around what its strongest unit sees;
    where there are none, why. */
export async function answersTo(n, channel) {
  const { best } = about,
    found = best?.stages[n - 1]?.[channel];
  if (!found)
    return [
      elementOf("p", { class: "note" }, say(best ? "inside.answers.none" : "inside.answers.data")),
    ];
  sheet ??= sheetOf(best);
  const image = await sheet,
    [h, w] = about.size;
  const figures = await Promise.all(
    found.map(async ([tile, at, value]) => {
      const canvas = elementOf("canvas", {
        width: w,
        height: h,
        role: "img",
        "aria-label": say("inside.answers.one", { value: numberText(value, 3) }),
      });
      drawTile(canvas, image, tile, best.across);
      const { rows, columns, whole } = await engine("field", { stage: n - 1, at });
      const frame = elementOf("span", { class: "frame" });
      if (!whole) {
        const [t, l, b, r] = [
          Math.max(0, rows[0]),
          Math.max(0, columns[0]),
          Math.min(h, rows[1] + 1),
          Math.min(w, columns[1] + 1),
        ];
        Object.assign(frame.style, {
          top: `${(100 * t) / h}%`,
          left: `${(100 * l) / w}%`,
          height: `${(100 * (b - t)) / h}%`,
          width: `${(100 * (r - l)) / w}%`,
        });
      }
      return elementOf(
        "figure",
        {},
        elementOf(
          "span",
          { class: "framed", style: `--shape: ${w / h}` },
          canvas,
          whole ? null : frame,
        ),
        elementOf("figcaption", { class: "note" }, numberText(value, 3)),
      );
    }),
  );
  return [
    elementOf("div", { class: "best-images" }, ...figures),
    elementOf("p", { class: "note" }, say("inside.answers.searched", { count: best.searched })),
  ];
}
