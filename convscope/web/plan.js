// What the page knows of its network: the stages, what they are from, how they stand beside each other,
// and where their units are.

import { about, count, say } from "./words.js";
import { clamped } from "./board.js";

/** The stages of the page: the image, those of the graph, and the softmax. */
export const stages = about.graph
  ? [
      {
        does: "input",
        value: about.graph.input,
        shape: about.graph.shape.slice(1),
        from: [],
        layer: "",
        kind: "",
      },
      ...about.graph.stages,
      {
        does: "softmax",
        value: "",
        shape: [about.classes.length],
        layer: "",
        kind: "",
        from: [about.graph.output],
      },
    ]
  : [];
export const LOGITS = Math.max(0, stages.length - 2);
const byValue = new Map(stages.map((stage, n) => [stage.value, n]));
/** The places, among the stages, of those that one is from, and of those that read it. */
export const sourcesOf = (n) =>
  stages[n].from.map((name) => byValue.get(name)).filter((one) => one >= 0);
export const readersOf = (n) =>
  stages.flatMap((one, i) => (one.from.includes(stages[n].value) ? [i] : []));

/** What a stage does, in words. */
export function doesWhat({ does, kind, norm, shape }) {
  const words = {
    input: say("inside.does.input"),
    conv: norm ? say("inside.does.conv.norm") : say("inside.does.conv"),
    linear: say("inside.does.linear"),
    norm: say("inside.does.norm"),
    maxpool: say("inside.does.maxpool"),
    avgpool: say("inside.does.avgpool"),
    mean: shape.length > 1 ? say("inside.does.mean") : say("inside.does.avgpool"),
    pair: kind === "Add" ? say("inside.does.add") : kind,
    concat: say("inside.does.concat"),
    moved: say("inside.does.moved"),
    softmax: say("inside.does.softmax"),
    each: kind === "Normalise" ? say("inside.does.normalise") : kind.replace("Relu", "ReLU"),
  };
  return words[does] ?? kind;
}

/** A stage's layer, as it is called within its block. */
export function layerOf({ layer, block }) {
  return block && layer.startsWith(`${block}.`) ? layer.slice(block.length + 1) : layer;
}

/** What a stage does, with its layer. */
export function nameOf(stage) {
  const layer = stage.kind.toLowerCase() === stage.layer ? "" : layerOf(stage);
  return [doesWhat(stage), layer].filter(Boolean).join(" ");
}

export const shapeText = (shape) => shape.map((n) => count(n)).join(" × ");

/** Stages one after another; those of a block together, as `{ block, within }`. */
export function itemsOf() {
  const items = [];
  stages.forEach((stage, n) => {
    const last = items.at(-1);
    if (stage.block && last?.block === stage.block) last.within.push(n);
    else if (stage.block) items.push({ block: stage.block, within: [n] });
    else items.push({ within: [n] });
  });
  return items;
}

/** Where the stages of a block stand: `rank` along the way, `lane` across it, -1 for all lanes. */
export function placed(within) {
  const places = new Map(),
    tails = [];
  for (const n of within) {
    const before = sourcesOf(n).filter((one) => places.has(one));
    const rank = before.length ? 1 + Math.max(...before.map((one) => places.get(one).rank)) : 0;
    const joins = ["pair", "concat"].includes(stages[n].does);
    let lane = before.length ? tails.indexOf(before[0]) : -1;
    if (joins || (before.length && places.get(before[0]).lane < 0)) lane = -1;
    else if (lane < 0) lane = tails.length;
    if (lane >= 0) tails[lane] = n;
    places.set(n, { rank, lane });
  }
  return { places, lanes: Math.max(1, tails.length) };
}

export const sizeOf = (n) =>
  stages[n].shape.length > 1 ? stages[n].shape[1] * stages[n].shape[2] : 1;

/** Channel, row and column of a unit of a stage; of a row of numbers its place. */
export function placeOf(n, at) {
  const { shape } = stages[n];
  if (shape.length < 2) return [at];
  const [, h, w] = shape;
  return [Math.floor(at / (h * w)), Math.floor(at / w) % h, at % w];
}

export function placeText(n, at) {
  const [channel, row, column] = placeOf(n, at),
    { shape } = stages[n];
  if (row === undefined)
    return n >= stages.length - 2 ? about.classes[at] : say("inside.unit.of", { unit: channel });
  const where = shape[1] * shape[2] > 1 ? say("inside.row.column", { row, column }) : "";
  return [say("inside.channel", { channel }), where].filter(Boolean).join(", ");
}

/** The unit of a stage that is made of this one of the stage before, as far as it has one place. */
export function unitAfter(n, at, reader) {
  const stage = stages[reader],
    [channel, row, column] = placeOf(n, at);
  if (["each", "pair", "norm"].includes(stage.does)) return at;
  if (stage.does === "concat") {
    const before = stage.from.slice(0, stage.from.indexOf(stages[n].value));
    return (
      at +
      before.reduce(
        (sum, name) => sum + stages.find((one) => one.value === name).shape.reduce((a, b) => a * b),
        0,
      )
    );
  }
  if (!["maxpool", "avgpool", "conv"].includes(stage.does))
    return stage.does === "mean" ? channel : 0;
  const { strides = [1, 1], pads = [0, 0] } = about.graph.nodes[stage.nodes[0]].attributes;
  const [h, w] = stage.shape.slice(1),
    i = clamped(Math.floor((row + (stage.does === "conv" ? 0 : pads[0])) / strides[0]), 0, h - 1),
    j = clamped(
      Math.floor((column + (stage.does === "conv" ? 0 : pads[1])) / strides[1]),
      0,
      w - 1,
    );
  return ((stage.does === "conv" ? 0 : channel) * h + i) * w + j;
}
