// The classes of a set as columns: their names, their images, and how images come into them.

import { Camera } from "./camera.js";
import { count, say } from "./words.js";
import { entriesOf, filesUnder, fill, imageOf, make } from "./teaching.js";
import { ClassColumn } from "./teach_column.js";
import { Sending } from "./teach_sending.js";

/** The columns of the page `of` (a Teach). */
export class TeachBoard {
  constructor(of) {
    this.of = of;
    this.columns = new Map(); // by the name of the class
    this.list = make(".columns");
    this.adding = make("form.column.new", { onsubmit: (event) => this.addClass(event) });
    this.left = make("details.out");
    this.dialog = make("dialog.teach-dialog", {});
    this.root = make(".teach-board", {}, this.list, this.left, this.dialog);
    this.last = ""; // the class that was looked at last: a pasted image goes there
    this.camera = new Camera();
    this.filming = ""; // the class whose camera is open
    this.sending = new Sending(of);
    this.root.addEventListener("dragover", (event) => this.over(event));
    this.root.addEventListener("dragleave", (event) => this.over(event, false));
    this.root.addEventListener("drop", (event) => this.dropped(event));
    document.addEventListener("paste", (event) => this.pasted(event));
  }

  render() {
    const { set } = this.of;
    this.root.hidden = !set;
    if (!set) return this.closeCamera();
    const names = set.classes.map(({ name }) => name);
    for (const [name, column] of this.columns) {
      if (names.includes(name) && column.set === set.name) continue;
      if (this.filming === name) this.closeCamera();
      column.root.remove();
      this.columns.delete(name);
    }
    let before = null;
    for (const { name, images } of set.classes) {
      if (!this.columns.has(name)) this.columns.set(name, new ClassColumn(this, set.name, name));
      const column = this.columns.get(name);
      if ((before ? before.nextSibling : this.list.firstChild) !== column.root) {
        this.list.insertBefore(column.root, before ? before.nextSibling : this.list.firstChild);
      }
      column.render(images);
      before = column.root;
    }
    this.list.append(this.adding);
    fill(this.adding, names.length, () => [
      make("label", { for: "teach-class" }, say("teach.class.new")),
      make(
        ".teach-line",
        {},
        make("input", {
          id: "teach-class",
          name: "name",
          maxLength: 80,
          autocomplete: "off",
          placeholder: say("teach.class.name"),
          "data-key": "class",
          "data-typed": 1,
          required: true,
        }),
        make("button", { type: "submit" }, say("teach.class.add")),
      ),
      make("p.note", {}, say("teach.folders")),
    ]);
    const out = set.out.flatMap(({ name, images }) => images.map((one) => ({ ...one, of: name })));
    this.left.hidden = !out.length;
    fill(this.left, out, () => [
      make("summary", { "data-key": "out" }, say("teach.out", { count: count(out.length) })),
      make("p.note", {}, say("teach.out.more")),
      make(
        "ul.thumbs",
        {},
        out.map(({ of, file, key }) => this.thumb("", `${of}/${file}`, key)),
      ),
    ]);
  }

  /** An image of a class ("" is out) as a button that can be dragged. */
  thumb(of, file, key, wide = []) {
    const name = file.split("/").at(-1);
    const image = make("img", {
      src: imageOf(this.of.set.name, of, file, key),
      alt: "",
      loading: "lazy",
      width: 56,
      height: 56,
      draggable: false,
    });
    const button = make(
      "button.thumb",
      {
        type: "button",
        title: name,
        draggable: true,
        "aria-label": of
          ? say("teach.image", { file: name, class: of })
          : say("teach.image.out", { file: name }),
        "data-key": `${of}/${file}`,
        onclick: () => this.lookAt(of, file, key),
        ondragstart: (event) => {
          event.dataTransfer.setData("application/x-convscope", JSON.stringify([of, file]));
          event.dataTransfer.effectAllowed = "move";
          document.body.classList.add("teach-dragging");
        },
        ondragend: () => document.body.classList.remove("teach-dragging"),
      },
      image,
      ...wide,
    );
    return make("li", {}, button);
  }

  /** An image, large, and where it can go. */
  lookAt(of, file, key, news = "") {
    const { set } = this.of,
      back = document.activeElement?.dataset.key;
    const go = async (to) => {
      this.dialog.close();
      await this.move([[of, file]], to);
    };
    const places = set.classes.filter(({ name }) => name !== of);
    this.open(
      say("teach.look", { file: file.split("/").at(-1) }),
      back,
      make("img.large", {
        src: imageOf(set.name, of, file, key, true),
        alt: say("teach.look", { file }),
      }),
      make("p.note", {}, news || (of ? say("teach.in", { class: of }) : say("teach.in.out"))),
      make(
        ".teach-line",
        { role: "group", "aria-label": say("teach.move") },
        places.map(({ name }) =>
          make(
            "button",
            { type: "button", onclick: () => go(name) },
            say("teach.move.to", { class: name }),
          ),
        ),
        of && make("button", { type: "button", onclick: () => go(null) }, say("teach.move.out")),
      ),
    );
  }

  move(images, to) {
    const text = to === null ? say("teach.moved.out") : say("teach.moved", { class: to });
    return this.of.change("/move", { images, to }, { text });
  }

  /** A dialog with a title; the focus goes back to whoever has `data-key` `back` when it is closed. */
  open(title, back, ...inside) {
    const close = make(
      "button.close",
      { type: "button", "aria-label": say("teach.close"), onclick: () => this.dialog.close() },
      "×",
    );
    this.dialog.replaceChildren(
      make(".head", {}, make("h2", { id: "teach-dialog" }, title), close),
      ...inside,
    );
    this.dialog.setAttribute("aria-labelledby", "teach-dialog");
    this.dialog.onclose = () => {
      this.dialog.replaceChildren();
      const again =
        back &&
        [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === back);
      again?.focus();
    };
    this.dialog.onclick = ({ target }) => {
      if (target === this.dialog) this.dialog.close(); // beside it
    };
    this.dialog.showModal();
  }

  /** A name that is typed, or null. */
  askName(title, value, done) {
    return new Promise((resolve) => {
      const field = make("input", {
        value,
        maxLength: 80,
        required: true,
        autocomplete: "off",
        "aria-label": title,
      });
      const form = make(
        "form.teach-line",
        {
          onsubmit: (event) => {
            event.preventDefault();
            resolve(field.value.trim() || null);
            this.dialog.close();
          },
        },
        field,
        make("button.strong", { type: "submit" }, done),
      );
      this.open(title, document.activeElement?.dataset.key, form);
      const closed = this.dialog.onclose;
      this.dialog.onclose = () => [closed(), resolve(null)];
      field.select();
    });
  }

  /** Whether a question is answered with `yes`. */
  confirm(question, yes) {
    return new Promise((resolve) => {
      const answer = (given) => () => [resolve(given), this.dialog.close()];
      const line = make(
        ".teach-line",
        {},
        make("button.strong", { type: "button", onclick: answer(true) }, yes),
        make("button", { type: "button", onclick: answer(false) }, say("teach.cancel")),
      );
      this.open(question, document.activeElement?.dataset.key, line);
      const closed = this.dialog.onclose;
      this.dialog.onclose = () => [closed(), resolve(false)];
    });
  }

  async addClass(event) {
    event.preventDefault();
    const field = event.target.elements.name,
      name = field.value.trim();
    if (!name) return;
    if (await this.of.change("/classes", { name })) {
      const again = document.getElementById("teach-class");
      if (again) again.value = "";
    }
  }

  columnAt(target) {
    return [...this.columns.values()].find(({ root }) => root.contains(target)) ?? null;
  }

  over(event, inside = true) {
    const kinds = [...(event.dataTransfer?.types ?? [])];
    if (!kinds.includes("Files") && !kinds.includes("application/x-convscope")) return;
    event.preventDefault();
    const column =
      inside &&
      (this.columnAt(event.target)?.root ?? (this.left.contains(event.target) ? this.left : null));
    for (const one of this.root.querySelectorAll(".dropping"))
      one.classList.toggle("dropping", one === column);
    if (column) column.classList.add("dropping");
  }

  async dropped(event) {
    this.over(event, false);
    for (const one of this.root.querySelectorAll(".dropping")) one.classList.remove("dropping");
    const own = event.dataTransfer.getData("application/x-convscope"),
      column = this.columnAt(event.target);
    event.preventDefault();
    event.stopPropagation();
    if (own) {
      const [of, file] = JSON.parse(own);
      if (column && column.name !== of) await this.move([[of, file]], column.name);
      if (!column && of && this.left.contains(event.target)) await this.move([[of, file]], null);
      return;
    }
    const entries = [...event.dataTransfer.items]
      .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile())
      .filter(Boolean);
    if (column) return this.send(column.name, (await Promise.all(entries.map(filesUnder))).flat());
    for (const entry of entries) {
      if (!entry.isDirectory) return this.of.tell(say("teach.drop.where"), true);
    }
    for (const entry of entries) await this.folder(entry);
  }

  /** A folder that was dropped beside the classes is a class, or has one in each of its folders. */
  async folder(entry) {
    const inner = await entriesOf(entry);
    const folders = inner.filter((one) => one.isDirectory);
    for (const one of folders.length ? folders : [entry]) {
      const known = this.of.set.classes.some(({ name }) => name === one.name.normalize("NFC"));
      if (!known && !(await this.of.change("/classes", { name: one.name }))) return;
      this.send(one.name.normalize("NFC"), await filesUnder(one));
    }
  }

  pasted(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length || !this.of.set || this.root.closest("[hidden]")) return;
    const name = this.columnAt(document.activeElement)?.name ?? this.last;
    if (!this.columns.has(name)) return this.of.tell(say("teach.paste.where"), true);
    event.preventDefault();
    this.send(name, files);
  }

  /** Send files to a class; see `Sending`. */
  send(of, files, filmed) {
    this.sending.send(of, files, filmed);
  }

  async openCamera(column) {
    this.closeCamera();
    this.filming = column.name;
    column.showCamera();
    try {
      await this.camera.open(column.video);
      column.video.hidden = false;
    } catch (trouble) {
      if (!trouble.why) return; // closed meanwhile
      this.closeCamera();
      this.of.tell(say(`teach.camera.${trouble.why.split(".")[1]}`), true);
    }
  }

  closeCamera() {
    const column = this.columns.get(this.filming);
    this.filming = "";
    this.camera.close();
    column?.hideCamera();
  }
}
