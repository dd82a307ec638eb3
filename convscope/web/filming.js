// The camera in the place of the pad: what it sees, a shot of it, and what to do without one.

import { Camera } from "./camera.js";
import { element, say } from "./words.js";

/** Have `#live` open the camera in `#film`, where `#shoot` gives a canvas to `taken`, and `#stop`
    and Escape close it; so does what is given back. */
export function film(taken) {
  const camera = new Camera(),
    capture = element("camera").closest("label"); // the camera's own program, by a file
  let trouble = "";
  capture.hidden = Boolean(navigator.mediaDevices?.getUserMedia);

  function show(open) {
    document.body.classList.toggle("filming", open);
    element("film").hidden = element("filming").hidden = !open;
    element("controls").hidden = open;
    element("trouble").hidden = !trouble;
    element("trouble").textContent = trouble && say(trouble) + say("camera.instead");
    element("shoot").disabled = !camera.opened || !element("film").videoWidth;
  }

  async function open() {
    trouble = "";
    show(true);
    element("stop").focus();
    try {
      await camera.open(element("film"));
      show(true);
      element("shoot").focus();
    } catch ({ why }) {
      if (!why) return; // closed meanwhile
      trouble = why;
      capture.hidden = false;
      show(false);
      element("live").focus();
    }
  }

  function close() {
    if (element("film").hidden) return;
    camera.close();
    show(false);
    element("live").focus();
  }

  element("live").addEventListener("click", open);
  element("stop").addEventListener("click", close);
  element("shoot").addEventListener("click", () => {
    const canvas = camera.shot();
    close();
    if (canvas) taken(canvas);
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
  document.addEventListener("visibilitychange", () => document.hidden && close());
  document.addEventListener("convscope:tab", close);
  document.addEventListener("convscope:language", () => show(!element("film").hidden));
  return close;
}
