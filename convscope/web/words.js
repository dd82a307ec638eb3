// What the page is about, and its words in the language of whoever reads it.

"use strict";

const about = JSON.parse(document.getElementById("about").textContent);
const element = (id) => document.getElementById(id);

let language = languageOf();

function languageOf() {
  let kept = null;
  try {
    kept = localStorage.getItem("convscope-language");
  } catch {
    // a page that is opened from a file may keep nothing
  }
  const wanted = [kept, ...navigator.languages].find((one) => about.words[one?.slice(0, 2)]);
  return wanted?.slice(0, 2) ?? "en";
}

/** A text by its key in the language of the page, its {names} replaced. */
function say(key, values = {}) {
  const text = about.words[language][key] ?? about.words.en[key] ?? "";
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

const count = (n) => n.toLocaleString(language);

/** A probability, never as certain or impossible. */
function percent(p) {
  if (p < 0.001) return "<0.1%";
  return p > 0.999 ? ">99.9%" : `${(100 * p).toFixed(1)}%`;
}
