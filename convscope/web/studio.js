// The studio's page: its tabs, and in which language.

import { about, element, languageTag, say, speakIn, turnLanguage } from "./words.js";
import { showTabs } from "./tabs.js";
import { lab } from "./lab.js";
import { runs } from "./runs.js";
import { teach } from "./teach.js";

function speakStudio() {
  document.documentElement.lang = languageTag();
  document.title = say("studio.title");
  speakIn(document, { "studio.footer": say("studio.footer", { version: about.version }) });
}

element("language").addEventListener("click", turnLanguage);
document.addEventListener("convscope:language", speakStudio);
speakStudio();
showTabs({ teach, runs, lab });
