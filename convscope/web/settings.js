// The controls of what moves over what: each reads and edits the experiment of a Moving.

import { about } from "./words.js";
import { numberText } from "./board.js";
import { numberOf } from "./editing.js";
import { built, choiceField, tickField, typedField } from "./fields.js";
import { INPUTS, KERNELS } from "./presets.js";
import { Unfit } from "./sliding.js";
import { wholeNumbers } from "./experiment.js";

/** Every number of a text one more or less. */
const steppedBy = (least) => (text, by) =>
  /[a-z]/.test(text) ? String(least) : text.replace(/\d+/g, (n) => Math.max(least, Number(n) + by));

function numberTyped(text) {
  const value = numberOf(text);
  if (Number.isNaN(value)) throw new Unfit("lab.bad.number", { text });
  return value;
}

/** The convolutions of the page's network, as its graph has them. */
export const learntLayers = () =>
  (about.graph?.nodes ?? []).filter(
    (node) => node.op === "Conv" && node.in[1] in about.graph.constants,
  );

function inputChoices(moving) {
  const names = Object.keys(INPUTS).map((name) => [name, `lab.input.${name}`]);
  const { name } = moving.experiment;
  if (moving.answer) names.push(["try", "lab.input.try"]);
  if (name === "layer") names.push([name, "lab.input.layer"]);
  return [["", [["", "lab.own"], ...names]]];
}

function kernelChoices() {
  const groups = Object.entries(KERNELS).map(([group, kernels]) => [
    group,
    Object.keys(kernels).map((name) => [name, `lab.kernel.${name.replace("-", "_")}`]),
  ]);
  const learnt = learntLayers().map((node, n) => [
    `learnt.${n}`,
    `${node.layer || node.out[0]}: ${about.graph.constants[node.in[1]].shape.join(" × ")}`,
  ]);
  return [["", [["", "lab.own"]]], ...groups, ...(learnt.length ? [["lab.learnt", learnt]] : [])];
}

/** The controls of a Moving: `parts` for the page, `show()` what they say now. */
export function settingsOf(moving) {
  const now = () => moving.experiment,
    refuse = (why) => moving.refuse(why);
  const field = (key, read, write, { step = null, size = 4 } = {}) =>
    typedField(key, { read, write, refuse, size, step: step && ((by) => write(step(read(), by))) });
  const of = (key, name, least) =>
    field(
      key,
      () => now()[name],
      (text) => moving.edit((e) => (e[name] = text)),
      { step: steppedBy(least) },
    );
  const edited = (key, read, change, options) =>
    field(
      key,
      () => read(now()),
      (text) => moving.edit((e) => change(e, text)),
      options,
    );
  const input = choiceField(
    "lab.input",
    () => inputChoices(moving),
    (name) => moving.chooseInput(name),
  );
  const kernel = choiceField("lab.kernel", kernelChoices, (name) => moving.chooseKernel(name));
  const file = built("input", {
    type: "file",
    accept: "image/*",
    onchange: () => {
      moving.readImage(file.files[0]);
      file.value = "";
    },
  });
  const image = built("label", { class: "button" }, file, built("span", { say: "choose" }));
  const pool = choiceField(
    "lab.pool",
    () => [
      [
        "",
        [
          ["max", "lab.max"],
          ["average", "lab.average"],
        ],
      ],
    ],
    (kind) => moving.edit((e) => (e.kind = kind)),
  );
  const global = built("button", {
    type: "button",
    say: "lab.global",
    onclick: () => moving.makeGlobal(),
  });
  const fields = {
    size: edited(
      "lab.size",
      (e) => e.X.shape.join("×"),
      (e, text) => e.sizeInput(text),
      { size: 9 },
    ),
    brush: field(
      "lab.brush",
      () => numberText(moving.painted),
      (text) => {
        moving.brush = text.trim() ? numberTyped(text) : null;
        moving.compute();
      },
    ),
    unit: field(
      "lab.unit",
      () => String((now().learnt?.[1] ?? 0) + 1),
      (text) => {
        const [layer] = now().learnt,
          units = about.graph.constants[learntLayers()[layer].in[1]].shape[0];
        moving.learn(layer, wholeNumbers(text, 1, units, [1])[0] - 1);
      },
      { step: steppedBy(1) },
    ),
    side: edited(
      "lab.kernel_size",
      (e) => e.kernel.join("×"),
      (e, text) => e.sizeKernel(text),
      { step: steppedBy(1) },
    ),
    kernels: edited(
      "lab.kernels",
      (e) => String(e.W.shape[0]),
      (e, text) => e.countKernels(text),
      { step: steppedBy(1) },
    ),
    groups: edited(
      "lab.groups",
      (e) => String(e.groups),
      (e, text) => e.countGroups(text),
    ),
    bias: edited(
      "lab.bias",
      (e) => numberText(e.B[e.at[0]] ?? 0),
      (e, text) => (e.B[e.at[0]] = numberTyped(text)),
      { step: (text, by) => String(numberTyped(text) + by) },
    ),
    padding: of("lab.padding", "padding", 0),
    stride: of("lab.stride", "stride", 1),
    dilation: of("lab.dilation", "dilation", 1),
  };
  const ceil = tickField("lab.ceil", (on) => moving.edit((e) => (e.ceil = on)));
  const counted = tickField("lab.count_padding", (on) => moving.edit((e) => (e.withPads = on)));
  const part = (...all) => built("div", { class: "part" }, ...all.map((one) => one.whole ?? one));
  const { size, brush, unit, side, kernels, groups, bias, padding, stride, dilation } = fields;
  const parts = [
    part(input, size, brush, image),
    part(pool, kernel, unit, side, global, kernels, groups, bias),
    part(padding, stride, dilation, ceil, counted),
  ];
  function show() {
    const e = now(),
      { pools } = e;
    for (const one of Object.values(fields)) one.show();
    input.show(e.name);
    kernel.show(pools ? "" : e.learnt ? `learnt.${e.learnt[0]}` : e.kernelName);
    pool.show(e.kind);
    [ceil.box.checked, counted.box.checked] = [e.ceil, e.withPads];
    const learnt = e.learnt !== null;
    const shown = [
      [kernel, !pools],
      [unit, !pools && learnt],
      [kernels, !pools && !learnt],
      [bias, !pools],
      [groups, e.kind === "conv" && !learnt && e.X.shape[0] > 1],
      [pool, pools],
      [global, pools],
      [ceil, pools],
      [counted, e.kind === "average"],
    ];
    for (const [one, on] of shown) (one.whole ?? one).hidden = !on;
  }
  return { parts, show };
}
