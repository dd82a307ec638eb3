// Training a set: advice, what is chosen, how it goes, what came of it.

import { count, language, say } from "./words.js";
import { askStudio, fill, make, pathOf } from "./teaching.js";
import { shareOf, durationOf } from "./tagged.js";
import { figureOf, mistakesOf, tableOf } from "./teach_results.js";
import { TrainingCourse, TrainingCurves } from "./teach_curves.js";

const FEW_IMAGES = 10; // images of a class, below which it is said
const UNEVEN_TIMES = 3; // times as many images of one class as of another, from which on it is said
const MINUTES = [1, 5, 15, 60];
const STAGES = [
  // what a stage of the process is called here
  [/^(look at|read) /, "read"],
  [/^features of/, "features"],
  [/^measure/, "measure"],
  [/^epoch (\d+)\/(\d+)/, "epoch"],
  [/^validate/, "validate"],
  [/^judge/, "judge"],
];

/** The trainings of the page `of` (a Teach). */
export class Trainings {
  constructor(of) {
    this.of = of;
    this.options = { minutes: null, scratch: false, mirrored: true };
    this.panel = make("section.teach-train");
    const names = ["title", "figure", "going", "warnings", "fitted", "mistakes", "command"];
    this.parts = Object.fromEntries(
      names.map((name) => [name, make(name === "title" ? "h2" : "div")]),
    );
    const { title, figure, going, warnings, fitted, mistakes, command } = this.parts;
    this.curves = new TrainingCurves();
    this.command = make("details", {}, make("summary"), command); // stays open
    this.live = make(
      "section.teach-live",
      {},
      ...[title, figure, going, warnings, fitted, this.curves.root, mistakes, this.command],
    );
    this.results = make("section.teach-results");
    this.root = make(".teach-trainings", {}, this.panel, this.live, this.results);
    this.forget();
  }

  forget() {
    this.list = [];
    this.follow("");
    this.wrong = new Map(); // run -> its mistakes
  }

  /** Read the journal of a training from its beginning. */
  follow(run) {
    Object.assign(this, {
      run,
      next: 0,
      course: new TrainingCourse(),
      progress: null,
      notices: [],
      read: false,
    });
  }

  take(list) {
    this.list = list;
  }

  /** Read on in the journal of the latest training. */
  async look() {
    const [latest] = this.list;
    if (!latest) return;
    if (latest.run !== this.run) this.follow(latest.run);
    if (this.read && latest.state !== "running") return;
    const { run } = this,
      said = await askStudio(`trainings/${pathOf(run)}/events?start=${this.next}`);
    if (run !== this.run) return;
    this.next = said.next;
    for (const event of said.events) this.happened(event);
    this.read = said.training.state !== "running";
    this.list = this.list.map((one) => (one.run === run ? said.training : one));
    const { training } = said;
    if (training.accuracy !== undefined && !this.wrong.has(run)) {
      this.wrong.set(run, (await askStudio(`trainings/${pathOf(run)}/mistakes`)).mistakes);
    }
  }

  happened(event) {
    if (event.event === "begin") [this.progress, this.began] = [null, event.time];
    const amid = this.progress?.unit === "steps" && this.progress.done < this.progress.total;
    if (event.event === "progress" && !(amid && event.stage === "validate")) this.progress = event;
    if (event.event === "notice") this.notices.push(event);
    if (event.event === "epoch") this.course.known = event.epochs;
    const epochs = event.event === "progress" && /^epoch \d+\/(\d+)/.exec(event.stage);
    if (epochs) this.course.known = Number(epochs[1]);
    this.course.take(event);
  }

  render() {
    const { set, running } = this.of;
    this.root.hidden = !set;
    if (!set) return;
    const sizes = set.classes.map(({ name, images }) => [name, images.length]),
      busy = running ? running.run : "",
      bursts = set.classes.filter(({ images }) => oneBurst(images)).map(({ name }) => name);
    fill(this.panel, [sizes, busy, this.options, this.list.length > 0, bursts], () =>
      this.buildPanel(sizes, busy, bursts),
    );
    this.renderLatest();
    fill(this.results, this.list.slice(1), () =>
      this.list.length > 1 ? tableOf(this.list.slice(1)) : [],
    );
  }

  /** What is to be said before training: [text, whether it stands against it]. */
  advice(sizes, bursts) {
    const empty = sizes.filter(([, n]) => !n).map(([name]) => name),
      few = sizes.filter(([, n]) => n && n < FEW_IMAGES).map(([name]) => name),
      counts = sizes.map(([, n]) => n),
      all = counts.reduce((sum, n) => sum + n, 0);
    const found = [];
    if (sizes.length < 2) found.push([say("teach.advice.classes"), true]);
    if (empty.length) found.push([say("teach.advice.empty", { class: quotedNames(empty) }), true]);
    if (found.length) return found;
    if (few.length)
      found.push([say("teach.advice.few", { class: quotedNames(few), few: FEW_IMAGES }), false]);
    const [least, most] = [Math.min(...counts), Math.max(...counts)];
    if (most >= UNEVEN_TIMES * least) {
      const [rare] = sizes.find(([, n]) => n === least),
        [common] = sizes.find(([, n]) => n === most);
      found.push([
        say("teach.advice.uneven", { rare, common, times: (most / least).toFixed(0) }),
        false,
      ]);
    }
    if (bursts.length)
      found.push([say("teach.advice.burst", { class: quotedNames(bursts) }), false]);
    found.push([
      say("teach.advice.apart", { count: count(Math.round(all / 5)), all: count(all) }),
      false,
    ]);
    return found;
  }

  buildPanel(sizes, busy, bursts) {
    const advice = this.advice(sizes, bursts),
      against = advice.some(([, one]) => one) || Boolean(busy);
    const { options } = this;
    const chosen = (key, value) => {
      options[key] = value;
      this.of.render();
    };
    const minutes = make("select", {
      id: "teach-minutes",
      "data-key": "minutes",
      onchange: (event) => chosen("minutes", Number(event.target.value) || null),
    });
    minutes.append(
      new Option(say("teach.minutes.none"), "", false, options.minutes === null),
      ...MINUTES.map(
        (n) =>
          new Option(
            say(n === 1 ? "teach.minutes.one" : "teach.minutes", { n }),
            n,
            false,
            options.minutes === n,
          ),
      ),
    );
    const begin = make("select", {
      id: "teach-begin",
      "data-key": "begin",
      onchange: (event) => chosen("scratch", event.target.value === "scratch"),
    });
    begin.append(
      new Option(say("teach.start.auto"), "auto", false, !options.scratch),
      new Option(say("teach.start.none"), "scratch", false, options.scratch),
    );
    const mirrored = make("input", {
      id: "teach-mirrored",
      type: "checkbox",
      checked: options.mirrored,
      "data-key": "mirrored",
      onchange: (event) => chosen("mirrored", event.target.checked),
    });
    return [
      make("h2", {}, say("teach.train")),
      make(
        "ul.advice",
        { id: "teach-advice" },
        advice.map(([text, bad]) => make(bad ? "li.bad" : "li", {}, text)),
      ),
      make(
        ".options",
        {},
        make("div", {}, make("label", { for: "teach-begin" }, say("teach.start")), begin),
        make(
          "div",
          {},
          make("label", { for: "teach-minutes" }, say("teach.minutes.most")),
          minutes,
        ),
        make("label.check", {}, mirrored, say("teach.mirrored")),
      ),
      make(
        "button.strong.go",
        {
          type: "button",
          "data-key": "train",
          disabled: against,
          "aria-describedby": "teach-advice",
          onclick: () => this.train(),
        },
        say(this.list.length ? "teach.train.again" : "teach.train.now"),
      ),
      busy && make("p.note", {}, say("teach.busy", { run: busy })),
    ];
  }

  async train() {
    const said = await this.of.change("/train", {
      ...this.options,
      revision: this.of.set.revision,
    });
    if (!said) return;
    this.of.running = said;
    this.list = [said, ...this.list];
    this.follow(said.run);
    this.of.render();
    this.live.scrollIntoView({
      block: "nearest",
      behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
    });
  }

  async ask(run, what) {
    try {
      const said = await askStudio(`trainings/${pathOf(run)}/${what}`, {});
      this.list = this.list.map((one) => (one.run === run ? said : one));
      if (what === "resume") this.read = false;
      this.of.news = what === "stop" ? { text: say("teach.stopping") } : null;
    } catch (why) {
      this.of.news = { text: why.message, bad: true };
    }
    this.of.render();
    this.of.look();
  }

  /** The latest training: how it goes, then its figure. */
  renderLatest() {
    const [one] = this.list,
      { parts, course, of } = this;
    this.live.hidden = !one;
    if (!one) return;
    const judged = one.accuracy !== undefined,
      going = one.state === "running",
      wrong = this.wrong.get(one.run);
    const title = say(going ? "teach.training" : "teach.trained", { run: one.run });
    if (parts.title.textContent !== title) parts.title.textContent = title;
    fill(parts.figure, judged && one, () => (judged ? figureOf(one) : []));
    fill(parts.going, [one, judged, going && this.progress, Boolean(of.running)], () => {
      if (going) return this.buildProgress(one, judged);
      return judged ? [] : this.buildEnded(one);
    });
    const warnings = this.notices.filter(({ warning }) => warning).map(({ text }) => text);
    fill(parts.warnings, warnings, () =>
      warnings.map((text) => make("p.note", { lang: "en" }, text)),
    );
    const fitted = this.fitted();
    fill(parts.fitted, fitted, () => (fitted ? make("p", {}, fitted) : []));
    this.curves.root.hidden = Boolean(fitted);
    if (!fitted) this.curves.show(course, going);
    fill(parts.mistakes, judged && [one.run, of.set.revision, Boolean(wrong)], () =>
      judged && wrong ? mistakesOf(one, wrong, of) : [],
    );
    this.command.firstChild.textContent = say("teach.command");
    fill(parts.command, [one.command, this.notices.length], () => [
      make("p.note", {}, say("teach.command.more")),
      make("code", {}, one.command),
      this.notices.length > 0 &&
        make("pre", { lang: "en", tabIndex: 0 }, this.notices.map(({ text }) => text).join("\n")),
    ]);
  }

  buildProgress(one, judged) {
    const { progress } = this,
      [, stage] = STAGES.find(([rule]) => rule.test(progress?.stage ?? "")) ?? [
        null,
        progress ? "work" : "start",
      ],
      [, n, all] = /^epoch (\d+)\/(\d+)/.exec(progress?.stage ?? "") ?? [];
    const text = judged ? say("teach.stage.report") : say(`teach.stage.${stage}`, { n, all });
    const left =
      !judged && progress?.left
        ? say("teach.left", { time: durationOf(Math.max(1, Math.round(progress.left)), true) })
        : "";
    const bar = make("progress", { "aria-label": text });
    if (progress?.total && !judged) [bar.max, bar.value] = [progress.total, progress.done];
    return make(
      ".going",
      {},
      make("p", { role: "status" }, text),
      bar,
      make("p.note", {}, left),
      !judged &&
        make(
          "button",
          { type: "button", "data-key": "stop", onclick: () => this.ask(one.run, "stop") },
          say(one.begun ? "teach.stop" : "teach.stop.early"),
        ),
    );
  }

  buildEnded(one) {
    const failed = one.state === "failed";
    return make(
      ".going",
      {},
      make(
        failed ? "p.bad" : "p",
        { role: "status" },
        say(failed ? "teach.failed" : "teach.halted"),
      ),
      one.error && make("p.note", { lang: "en" }, one.error),
      make(
        "button",
        {
          type: "button",
          "data-key": "resume",
          disabled: Boolean(this.of.running),
          onclick: () => this.ask(one.run, "resume"),
        },
        say("teach.resume"),
      ),
    );
  }

  /** What is said of a last layer that was fitted, which has no curve; "" of any other training. */
  fitted() {
    const { epochs, looks } = this.course,
      [end] = epochs.values();
    if (epochs.size !== 1 || end.epochs !== 1 || looks.length) return "";
    const right = (share) => (share === null ? say("teach.fitted.none") : shareOf(share));
    return say("teach.fitted", { train: right(end.train_accuracy), val: right(end.val_accuracy) });
  }
}

/** Whether all images of a class are of the camera, and were taken in one go. */
function oneBurst(images) {
  const times = images.map(({ file }) => Number(/camera-(\d+)-\d+\.\w+$/.exec(file)?.[1] ?? NaN));
  if (!times.length || times.some(Number.isNaN)) return false;
  const sorted = [...new Set(times)].sort((a, b) => a - b);
  return sorted.every((time, n) => n === 0 || time - sorted[n - 1] < 40); // tenths of seconds
}

const quotedNames = (names) =>
  names.map((name) => `“${name}”`).join(language === "zh" ? "、" : ", ");
