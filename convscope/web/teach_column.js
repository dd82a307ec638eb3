// A class as a column: its name, its images, its camera.

import { count, say } from "./words.js";
import { fill, make } from "./teaching.js";

const IMAGES_SHOWN = 24; // before all are asked for
const FRAME = 200; // ms between two pictures of the camera
const BURST = 10; // pictures that are one burst: they are alike, and stay on one side in training
const LONGEST_FRAME = 640; // pixels

/** A class: its name, its images, its camera. */
export class ClassColumn {
  constructor(board, set, name) {
    Object.assign(this, { board, set, name, all: false, holding: 0 });
    this.head = make(".head");
    this.tools = make(".tools");
    this.film = make(".film", { hidden: true });
    this.images = make("div");
    this.root = make(
      "section.column",
      {
        "aria-label": say("teach.class", { name }),
        onfocusin: () => (board.last = name),
        onpointerdown: () => (board.last = name),
      },
      this.head,
      this.tools,
      this.film,
      this.images,
    );
  }

  render(images) {
    const { name, board } = this;
    this.root.setAttribute("aria-label", say("teach.class", { name }));
    fill(this.head, [name, images.length], () => this.buildHead(images.length));
    fill(this.tools, board.filming === name, () => this.buildTools());
    const shown = this.all ? images : images.slice(0, IMAGES_SHOWN),
      more = images.length - shown.length;
    fill(this.images, [shown, more], () =>
      images.length
        ? [
            make(
              "ul.thumbs",
              {},
              shown.map(({ file, key }) => board.thumb(name, file, key)),
            ),
            more > 0 &&
              make(
                "button",
                {
                  type: "button",
                  "data-key": "all",
                  onclick: () => [(this.all = true), this.board.render()],
                },
                say("teach.all", { count: count(images.length) }),
              ),
          ]
        : make("p.empty", {}, say("teach.empty")),
    );
  }

  buildHead(size) {
    const { name } = this;
    const field = make("input.name", {
      value: name,
      maxLength: 80,
      autocomplete: "off",
      spellcheck: false,
      "aria-label": say("teach.class.rename", { name }),
      "data-key": `name ${name}`,
      "data-typed": 1,
      onkeydown: (event) => {
        if (event.key === "Enter" && !event.isComposing) field.blur();
        if (event.key === "Escape") [(field.value = name), field.blur()];
      },
      onblur: () => this.rename(field),
    });
    return [
      field,
      make(
        "span.count",
        {},
        say(size === 1 ? "teach.images.one" : "teach.images", { count: count(size) }),
      ),
      make(
        "button.quiet",
        {
          type: "button",
          "data-key": `remove ${name}`,
          title: say("teach.class.remove", { name }),
          "aria-label": say("teach.class.remove", { name }),
          onclick: () => this.remove(),
        },
        "×",
      ),
    ];
  }

  async rename(field) {
    const { name, board } = this,
      wanted = field.value.trim();
    if (!wanted || wanted === name) return (field.value = name);
    const { revision } = board.of.set;
    const said = await board.of.change("/classes/rename", { of: name, name: wanted, revision });
    if (!said) field.value = name;
    else for (const one of board.sending.waiting) if (one.of === name) one.of = wanted;
  }

  remove() {
    const { revision } = this.board.of.set;
    this.board.of.change(
      "/classes/remove",
      { of: this.name, revision },
      { text: say("teach.class.removed", { name: this.name }) },
    );
  }

  buildTools() {
    const { name, board } = this,
      filming = board.filming === name;
    const chooser = (key, text, more) => {
      const field = make("input", {
        type: "file",
        multiple: true,
        ...more,
        "data-key": `${key} ${name}`,
        "aria-label": `${text}: ${name}`,
      });
      field.addEventListener("change", () => {
        board.send(name, [...field.files]);
        field.value = "";
      });
      return make("label.button", {}, field, make("span", {}, text));
    };
    return [
      chooser("files", say("teach.choose"), { accept: "image/*" }),
      "webkitdirectory" in HTMLInputElement.prototype &&
        chooser("folder", say("teach.choose.folder"), { webkitdirectory: true }),
      make(
        "button",
        {
          type: "button",
          "data-key": `camera ${name}`,
          "aria-pressed": filming,
          onclick: () => (filming ? board.closeCamera() : board.openCamera(this)),
        },
        say(filming ? "teach.camera.close" : "teach.camera"),
      ),
    ];
  }

  showCamera() {
    this.video = make("video", {
      hidden: true,
      muted: true,
      playsInline: true,
      "aria-label": say("teach.camera.seen"),
    });
    const begin = (event) => {
      if (event.key && event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      if (event.pointerId !== undefined) event.target.setPointerCapture?.(event.pointerId);
      event.currentTarget.focus();
      this.hold();
    };
    const end = () => this.release();
    this.hint = make("span.note", { role: "status" }, "");
    const button = make(
      "button.strong.hold",
      {
        type: "button",
        onpointerdown: begin,
        onpointerup: end,
        onpointercancel: end,
        onkeydown: begin,
        onkeyup: end,
        onblur: end,
        oncontextmenu: (event) => event.preventDefault(),
      },
      say("teach.hold"),
    );
    this.film.replaceChildren(this.video, make(".teach-line", {}, button, this.hint));
    this.film.hidden = false;
    this.board.render();
  }

  hideCamera() {
    this.release();
    this.film.replaceChildren();
    this.film.hidden = true;
    this.board.render();
  }

  /** Take pictures until it is let go of. */
  hold() {
    if (this.holding) return;
    let n = 0,
      burst = 0;
    const take = async () => {
      const canvas = this.board.camera.shot(LONGEST_FRAME);
      if (!canvas) return;
      if (n % BURST === 0) burst = Math.floor(Date.now() / 100);
      const name = `camera-${burst}-${n++ % BURST}.jpg`;
      this.hint.textContent = say("teach.held", { count: count(n) });
      const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
      this.board.send(this.name, [new File([blob], name, { type: "image/jpeg" })], true);
    };
    take();
    this.holding = setInterval(take, FRAME);
  }

  release() {
    clearInterval(this.holding);
    this.holding = 0;
  }
}
