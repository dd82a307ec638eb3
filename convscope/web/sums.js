// The sum of a place written out, term by term.

import { count, say } from "./words.js";
import { numberText } from "./board.js";
import { built } from "./fields.js";

const TERMS = 300; // of a sum that are written out

const factorText = (v) => (v < 0 ? `(${numberText(v, 4)})` : numberText(v, 4));
const quietly = (text) => built("span", { class: "quiet" }, text);

/** Terms with something between them; where there are too many, how many more. */
function listedTerms(texts, between) {
  const left = texts.length - TERMS,
    shown = texts
      .slice(0, TERMS)
      .flatMap((text) => [between, text])
      .slice(1);
  return left > 0 ? [...shown, ` … ${say("lab.more", { count: count(left) })}`] : shown;
}

const productOf = ({ value, weight }) =>
  value === null
    ? quietly(`0·${factorText(weight)}`)
    : `${factorText(value)}·${factorText(weight)}`;

/**
 * What is said of a place [m, i, j] of an experiment: the whole, and of each input channel
 * [first, how many] that is `shown` a line; padding is quieter. `terms` are those of termsOf().
 */
export function sumOf(
  { kind, B },
  terms,
  { place: [m, i, j], channels: [from, depth], result, divisor, shown },
) {
  const head = `${say("lab.place", { i, j })} `,
    end = [" = ", built("b", {}, numberText(result))];
  if (kind === "max") {
    const texts = terms.filter((term) => term.value !== null).map(({ value }) => numberText(value));
    return [head, "max(", ...listedTerms(texts, ", "), ")", ...end];
  }
  if (kind === "average") {
    const taken = terms.filter((term) => term.value !== null || term.counted);
    const texts = taken.map(({ value }) => (value === null ? quietly("0") : factorText(value)));
    return [head, "(", ...listedTerms(texts, " + "), `) / ${divisor}`, ...end];
  }
  const bias = B[m] ? ` + ${factorText(B[m])}` : "";
  if (depth === 1)
    return [
      head,
      ...(terms.length ? listedTerms(terms.map(productOf), " + ") : ["0"]),
      bias,
      ...end,
    ];
  const sums = Array(depth).fill(0),
    parts = sums.map(() => []);
  for (const term of terms) {
    sums[term.c] += (term.value ?? 0) * term.weight;
    parts[term.c].push(productOf(term));
  }
  const lines = parts.slice(...shown).map((part, n) => {
    const c = shown[0] + n,
      name = quietly(say("lab.of_channel", { n: from + c + 1 }));
    return built(
      "p",
      {},
      name,
      " ",
      ...(part.length ? listedTerms(part, " + ") : ["0"]),
      ` = ${numberText(sums[c])}`,
    );
  });
  return [
    built("p", {}, head, ...listedTerms(sums.map(factorText), " + "), bias, ...end),
    ...lines,
  ];
}
