// What the network says of an image, and what is to be said of that: convscope/evaluation's
// temperature, threshold and score, in float64 as there.

/** Probabilities of logits over a temperature. */
export function softmaxOf(logits, temperature) {
  const heated = Array.from(logits, (logit) => logit / temperature);
  const top = Math.max(...heated);
  const total = heated.reduce((sum, one) => sum + Math.exp(one - top), 0);
  return heated.map((one) => Math.exp(one - top - Math.log(total)));
}

const SCORES = {
  // lower is more unlike what the network was trained on
  energy: (logits) => {
    const top = Math.max(...logits);
    return top + Math.log(logits.reduce((sum, one) => sum + Math.exp(one - top), 0));
  },
  max_softmax: (logits) => Math.max(...softmaxOf(logits, 1)),
};

/** Probabilities; whether the image is unlike those of training, and whether the answer is unsure:
    null is what is not known. */
export function answersOf(logits, { temperature, ood, abstain }) {
  const p = softmaxOf(logits, temperature);
  const unlike = ood ? SCORES[ood.score](Array.from(logits)) < ood.threshold : null;
  const confidence = unlike ? -1 : Math.max(...p);
  const known = abstain && (abstain.threshold !== null || abstain.asked);
  const unsure = known ? confidence < (abstain.threshold ?? Infinity) : unlike || null;
  return { p, unlike, unsure };
}
