// Image files on their way to the server, and what became of them in words.

import { count, say } from "./words.js";
import { askStudio, inEnglish, pathOf } from "./teaching.js";

const SENT_AT_ONCE = [12, 12e6]; // files and bytes of one request

/** The files that are sent to the sets of a page (a Teach), some at a time. */
export class Sending {
  constructor(of) {
    this.of = of;
    this.waiting = []; // { set, of, file, filmed }
    this.busy = false;
  }

  /** Send files to a class; while the server is away they wait. `filmed` ones are counted elsewhere:
      of them only what went wrong is told. */
  send(of, files, filmed = false) {
    const hidden = /^(\.|thumbs\.db$|desktop\.ini$)/i;
    const wanted = files.filter(({ name }) => !hidden.test(name));
    this.waiting.push(...wanted.map((file) => ({ set: this.of.set.name, of, file, filmed })));
    if (!this.busy) this.sendAll();
  }

  async sendAll() {
    this.busy = true;
    const told = { added: 0, same: [], refused: [] };
    while (this.waiting.length) {
      const [{ set, of, filmed }] = this.waiting,
        form = new FormData();
      let [n, size] = [0, 0];
      for (const one of this.waiting) {
        size += one.file.size;
        if (
          one.set !== set ||
          one.of !== of ||
          n >= SENT_AT_ONCE[0] ||
          (n && size > SENT_AT_ONCE[1])
        )
          break;
        form.append("file", one.file, one.file.name);
        n++;
      }
      if (!filmed)
        this.of.tell(say("teach.sending", { count: count(this.waiting.length), class: of }));
      const path = `/images?of=${encodeURIComponent(of)}`,
        said =
          this.of.set?.name === set
            ? await this.of.change(path, form, this.of.news)
            : await askStudio(`sets/${pathOf(set)}${path}`, form).catch(() => null);
      if (!said && this.of.away) {
        await new Promise((later) => setTimeout(later, 1500));
        continue;
      }
      const sent = this.waiting.splice(0, n);
      if (said) {
        told.added += filmed ? 0 : said.added.length;
        told.same.push(...said.same.map((one) => ({ ...one, of })));
        told.refused.push(...said.refused);
      } else
        told.refused.push(
          ...sent.map(({ file }) => ({ file: file.name, why: this.of.news?.text ?? "" })),
        );
    }
    this.busy = false;
    if (told.added || told.same.length || told.refused.length) this.report(told);
  }

  /** What became of files, in words. */
  report({ added, same, refused }) {
    const parts = [];
    if (added) parts.push(say("teach.added", { count: count(added) }));
    const twice = same.filter((one) => one.class === one.of),
      elsewhere = same.filter((one) => one.class !== one.of);
    if (twice.length)
      parts.push(
        say("teach.same", { count: count(twice.length), file: twice[0].file, as: twice[0].as }),
      );
    if (elsewhere.length)
      parts.push(
        say("teach.same.other", {
          count: count(elsewhere.length),
          file: elsewhere[0].file,
          class: elsewhere[0].class,
        }),
      );
    if (refused.length) {
      parts.push(say("teach.refused", { count: count(refused.length) }));
      parts.push(
        ...refused
          .slice(0, 5)
          .map(({ file, why }) =>
            say("teach.refused.one", { file, why: inEnglish() ? why : say("teach.refused.why") }),
          ),
      );
    }
    this.of.tell(parts.join(" "), refused.length > 0);
  }
}
