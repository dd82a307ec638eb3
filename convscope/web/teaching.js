// What the parts of Teach share: the server asked, elements made, parts of the page kept up to date.

import { language, say } from "./words.js";

/** An element with properties (`on…` are listeners, `data-…`, `aria-…` and `role` attributes) and what
    is in it: elements, texts, nothing. */
export function make(tag, properties = {}, ...inside) {
  const [name, ...classes] = tag.split("."),
    found = document.createElement(name || "div");
  found.classList.add(...classes);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) found.addEventListener(key.slice(2), value);
    else if (/^(data|aria)-|^(role|for|list)$/.test(key)) found.setAttribute(key, value);
    else found[key] = value;
  }
  found.append(
    ...inside.flat(9).filter((one) => one !== null && one !== undefined && one !== false),
  );
  return found;
}

const filledWith = new WeakMap();

/** Put what `build` gives into a part of the page, if what it shows (`what`, as JSON) or the language
    is another one; who had the focus by `data-key` has it again, and text that is being typed stays. */
export function fill(part, what, build) {
  const now = JSON.stringify([language, what]);
  if (filledWith.get(part) === now) return;
  filledWith.set(part, now);
  const active = part.contains(document.activeElement) ? document.activeElement : null,
    key = active?.dataset.key,
    typed = active?.dataset.typed
      ? [active.value, active.selectionStart, active.selectionEnd]
      : null;
  part.replaceChildren(...[build()].flat(9).filter(Boolean));
  const again =
    key && [...part.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
  if (!again) return;
  again.focus({ preventScroll: true });
  if (typed && again.dataset.typed) {
    again.value = typed[0];
    again.setSelectionRange(typed[1], typed[2]);
  }
}

/** A request that the server refused, by the code of the refusal; "away" where nobody answers. */
class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** What the server says of a path below /api, of JSON or a form that is sent there. */
export async function askStudio(path, sent) {
  const form = sent instanceof FormData,
    options = { method: sent === undefined ? "GET" : "POST", cache: "no-store" };
  if (sent !== undefined) options.body = form ? sent : JSON.stringify(sent);
  if (sent !== undefined && !form) options.headers = { "Content-Type": "application/json" };
  let answer = null;
  try {
    answer = await fetch(`/api/${path}`, options);
  } catch {
    throw new Refused("away", say("teach.away"));
  }
  const said = await answer.json().catch(() => null);
  if (answer.ok && said) return said;
  const { code = "failed", message = `${answer.status}` } = said?.error ?? {};
  throw new Refused(code, inEnglish() ? message : say(`teach.refusal.${code}`) || message);
}

/** Whether what the server and the training say, which is English, can be shown as it is. */
export const inEnglish = () => language === "en";

/** A path of names, each as it has to be in an address. */
export const pathOf = (...names) => names.map(encodeURIComponent).join("/");

/** Where a picture of a set lies. */
export function imageOf(set, of, file, key = "", large = false) {
  const asked = new URLSearchParams({ of, file, ...(key && { key }), ...(large && { large }) });
  return `/api/sets/${pathOf(set)}/image?${asked}`;
}

/** What is in a folder that was dropped. */
export async function entriesOf(folder) {
  const reader = folder.createReader(),
    found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return found; // a browser gives a hundred at a time
    found.push(...some);
  }
}

/** All files of what was dropped, however deep. */
export async function filesUnder(entry) {
  if (entry instanceof File) return [entry];
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
  const inner = await entriesOf(entry);
  return (await Promise.all(inner.map(filesUnder))).flat();
}
