// Small maps on canvases, a pixel a unit: blue above zero, orange below, as strong as the unit.

import { coloursOfTheme } from "./board.js";

let shades = null; // of a level, as the bytes of a pixel
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  shades = null;
});

function shadesOfLevels() {
  const colours = coloursOfTheme(),
    bytes = new Uint8ClampedArray(4 * 256);
  for (let level = 0; level < 256; level++) {
    const full = colours[level < 128 ? "red-rgb" : "blue-rgb"],
      part = (0.95 * Math.abs(level - 128)) / 127;
    colours.paper.forEach((c, k) => {
      bytes[4 * level + k] = c + (full[k] - c) * part;
    });
    bytes[4 * level + 3] = 255;
  }
  return new Uint32Array(bytes.buffer);
}

/** Rows and columns that a value is painted in: a row of numbers is wrapped to about a square. */
export function wrapped(h, w) {
  const columns = h > 1 ? w : Math.ceil(Math.sqrt(w));
  return [h > 1 ? h : Math.ceil(w / columns), columns];
}

/** Paint one map of `levels`, as the engine's `maps` gives them. */
export function paintLevels(canvas, levels, h, w) {
  shades ??= shadesOfLevels();
  const [rows, columns] = wrapped(h, w);
  if (canvas.width !== columns || canvas.height !== rows) {
    [canvas.width, canvas.height] = [columns, rows];
  }
  const image = new ImageData(columns, rows),
    pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < levels.length; i++) pixels[i] = shades[levels[i]];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** An element with attributes, and what is in it: elements and texts. */
export function elementOf(tag, attributes = {}, ...children) {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) one.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined)
      one.setAttribute(name, value === true ? "" : value);
  }
  one.append(
    ...children.filter((child) => child !== null && child !== undefined && child !== false),
  );
  return one;
}
