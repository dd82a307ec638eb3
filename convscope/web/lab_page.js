// A page with the lab alone, as `convscope lab --save` writes it.

import { about, element, languageTag, say, speakIn, turnLanguage } from "./words.js";
import { lab } from "./lab.js";

function speakPage() {
  document.documentElement.lang = languageTag();
  speakIn(document, { footer: say("footer", { version: about.version }) });
  document.title = say("lab.page");
}

element("language").addEventListener("click", turnLanguage);
document.addEventListener("convscope:language", speakPage);
globalThis.convscope = { lab: lab(element("tab-lab")) };
addEventListener("hashchange", () =>
  document.dispatchEvent(new CustomEvent("convscope:tab", { detail: "lab" })),
);
speakPage();
