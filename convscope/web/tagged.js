// Elements of a page, and its numbers in words.

import { say } from "./words.js";

/** An element with its attributes (functions are what it listens with) and what is in it; texts stay
    texts. */
export function tagged(name, attributes = {}, ...inside) {
  const one = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") one.addEventListener(key.slice(2), value);
    else if (typeof value === "boolean") one[key] = value;
    else if (value !== "") one.setAttribute(key, value);
  }
  one.append(...inside);
  return one;
}

/** A share of 1 as a percentage. */
export const shareOf = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;

/** Seconds in words: tenths of a second, then two parts of two digits; `short` leaves out a part of
    nought. */
export function durationOf(seconds, short = false) {
  if (seconds < 60)
    return say("seconds", { n: short ? Number(seconds.toFixed(1)) : seconds.toFixed(1) });
  const [minutes, rest] = [Math.floor(Math.round(seconds) / 60), Math.round(seconds) % 60];
  if (minutes < 60) {
    if (short && !rest) return say("minutes", { n: minutes });
    return say("minutes.seconds", { minutes, seconds: String(rest).padStart(2, "0") });
  }
  return say("hours.minutes", {
    hours: Math.floor(minutes / 60),
    minutes: String(minutes % 60).padStart(2, "0"),
  });
}
