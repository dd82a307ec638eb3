// What the page is about, and its words in the language of whoever reads it.

export const about = JSON.parse(document.getElementById("about").textContent);
export const element = (id) => document.getElementById(id);

export let language = languageOf();

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
export function say(key, values = {}) {
  const text = about.words[language][key] ?? about.words.en[key] ?? "";
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export const count = (n) => n.toLocaleString(language);

/** A probability, never as certain or impossible. */
export function percent(p) {
  if (p < 0.001) return "<0.1%";
  return p > 0.999 ? ">99.9%" : `${(100 * p).toFixed(1)}%`;
}

/** Put the words of the page's language where `data-say` and `data-label` ask for them, within `root`;
    `special` has texts by their keys that stand for others, as those with values inside. */
export function speakIn(root, special = {}) {
  for (const one of root.querySelectorAll("[data-say]")) {
    one.textContent = special[one.dataset.say] ?? say(one.dataset.say);
  }
  for (const one of root.querySelectorAll("[data-label]")) {
    one.setAttribute("aria-label", say(one.dataset.label));
  }
}

/** The other language from now on; whoever has words listens to `convscope:language`. */
export function turnLanguage() {
  language = language === "en" ? "zh" : "en";
  try {
    localStorage.setItem("convscope-language", language);
  } catch {
    // as above
  }
  document.documentElement.lang = languageTag();
  document.dispatchEvent(new CustomEvent("convscope:language"));
}

export const languageTag = () => (language === "zh" ? "zh-Hans" : language);
