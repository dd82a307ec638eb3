// The page of a network, until it is there: the network is exported by the studio, which is asked how
// that goes. What cannot be shown is said, with what there is to read instead.

import { about, element, languageTag, say, speakIn, turnLanguage } from "./words.js";

const ASK = 700; // milliseconds between two questions
const address = `/api/runs/${about.run.name.split("/").map(encodeURIComponent).join("/")}/network`;
let now = about.run.problem ? { state: "none", error: about.run.problem } : { state: "waiting" };

function speakWaiting() {
  document.documentElement.lang = languageTag();
  speakIn(document);
  const { state, seconds = 0, error = "" } = now;
  const said = {
    making: say("waiting.making"),
    waiting: say("waiting.waiting"),
    away: say("runs.away"),
    failed: say("waiting.failed"),
    none: say("waiting.none"),
  };
  if (element("waiting").textContent !== said[state]) element("waiting").textContent = said[state];
  element("bar").hidden = ["failed", "none"].includes(state);
  element("why").textContent = error;
  element("more").textContent =
    state === "making" ? say("waiting.more", { seconds: Math.round(seconds) }) : "";
  element("instead").replaceChildren(...choices(state));
}

function choices(state) {
  if (state !== "failed" && state !== "none") return [];
  const links = [
    ["report.html", say("pages.report")],
    ["explain/", say("pages.explained")],
  ]
    .filter(([path]) => about.run.pages?.some((page) => page.startsWith(path)))
    .map(([path, text]) =>
      Object.assign(document.createElement("a"), {
        className: "button",
        href: path,
        textContent: text,
      }),
    );
  if (state === "none") return links;
  const again = document.createElement("button");
  again.textContent = say("waiting.again");
  again.addEventListener("click", () => {
    now = { state: "waiting" };
    speakWaiting();
    wait();
  });
  return [again, ...links];
}

/** Have the network exported, ask until it is, and open its page then. */
async function wait() {
  for (;;) {
    try {
      const method = now.state === "making" ? "GET" : "POST"; // it is begun once
      const answer = await fetch(address, { method });
      const said = await answer.json();
      now = answer.ok ? said : { state: "failed", error: said.error?.message };
    } catch {
      now = { state: "away" };
    }
    if (now.state === "ready") return location.reload();
    speakWaiting();
    if (now.state === "failed") return;
    await new Promise((done) => setTimeout(done, ASK));
  }
}

element("language").addEventListener("click", turnLanguage);
document.addEventListener("convscope:language", speakWaiting);
speakWaiting();
if (now.state === "waiting") wait();
