"""The model card, filled from the run."""

from __future__ import annotations

import json
import re
from typing import Any

from convscope.evaluation.calibration import Calibration
from convscope.evaluation.targets import in_words
from convscope.formatting import answers, listed, plural
from convscope.report.run_files import RunFiles, count_text, digits_for, looks, value_text


def card(run: RunFiles) -> str:
    m, model, data = run.metrics, run.model, run.model["data"]
    n, digits = m["n"], digits_for(m["n"])
    low, high = m["accuracy_ci95"]
    network, dataset, split = _md(run.network), _md(run.data), _md(m["split"])
    interval = f"{100 * low:.{digits}f} % to {100 * high:.{digits}f} %"
    accuracy = f"{100 * m['accuracy']:.{digits}f} %"
    names = listed([_md(name) for name in run.classes], 20)
    met = [row for row in m["per_class"] if row["recall"] is not None]
    least = min(row["recall"] for row in met)
    hard = [row for row in met if row["recall"] == least]
    hardest = (
        f"The hardest class is {_md(hard[0]['class'])}: {100 * least:.{digits}f} % of "
        f"{hard[0]['support']:,} are recognised."
        if len(hard) == 1
        else f"The hardest classes are {len(hard):,}, equally hard: {100 * least:.{digits}f} % of "
        f"each are recognised ({listed([_md(row['class']) for row in hard])})."
    )
    size = model["preprocessing"].get("size", [])
    shape = " x ".join(map(str, size)) if isinstance(size, list) else size
    channels = model["preprocessing"].get("channels", "?")
    colour = {1: "grey", 3: "colour"}.get(channels, f"{_md(channels)}-channel")
    table = "\n".join(
        f"| {_md(row['class'])} | {row['support']:,} | "
        + " | ".join(
            "undefined" if row[key] is None else f"{100 * row[key]:.{digits}f} %"
            for key in ("precision", "recall", "f1")
        )
        + " |"
        for row in m["per_class"]
    )
    recipe = "\n".join(
        f"- **{_md(key)}**: "
        + ", ".join(f"{_md(k)} {_md(value_text(v))}" for k, v in table_.items())
        for key, table_ in run.recipe.items()
        if isinstance(table_, dict) and key != "origin"
    )
    sizes = ", ".join(f"{count_text(data[k])} {k}" for k in ("train", "val", "test") if k in data)
    return f"""---
library_name: convscope
pipeline_tag: image-classification
tags:
- convscope
- pytorch
- image-classification
- {_yaml(run.network)}
datasets:
- {_yaml(run.data)}
metrics:
- accuracy
model-index:
- name: {_yaml(run.name)}
  results:
  - task:
      type: image-classification
    dataset:
      name: {_yaml(run.data)}
      type: {_yaml(run.data)}
      split: {_yaml(m["split"])}
    metrics:
    - type: accuracy
      value: {m["accuracy"]}
---

# {network} on {dataset}

An image classifier of {len(run.classes)} classes with {model["parameters"]:,} parameters. It gets \
{accuracy} of {n:,} {split} images right (95 % interval {interval}).

## Model details

- **Network**: {network}, {model["parameters"]:,} parameters, weights in `model.safetensors`
  (SHA-256 `{_md(model["weights_sha256"])}`)
- **Input**: {colour} images, fitted to {_md(shape)} pixels; scaling is part of it
- **Output**: a probability for each of {names}
- **Made**: {_md(model["created"])} with {_md(value_text(model["versions"]))}

## Uses

It tells the classes above apart in images like those of {dataset}. It is not made for images of \
other kinds, nor for decisions about people without a person who checks them.

## Bias, risks and limitations

- Whatever it is shown, it answers with one of its {len(run.classes)} classes. {_unsure(run)}
- {hardest}
- The interval covers chance in the choice of {split} images. It does not cover another camera, \
another hand or another place: measure on images of your own before you rely on it.
- What {dataset} shows seldom, or shows one-sidedly, the network has learnt the same way.

## Training

Trained for {plural(len(run.history), "epoch")} in {m["train_seconds"]:.1f} s \
({m["images_per_second"]:,.0f} images a second) on {_md(value_text(model["machine"]))}.

- **Data**: {dataset} ({sizes}), fingerprint `{_md(data.get("fingerprint", "unknown"))}`
{recipe}

```sh
{model["command"].replace(chr(10), " ")}
```

## Evaluation

The {split} split was looked at {looks(m["test_looks"])}; \
{_copies(run) or "training and selection never used it."}

| figure | value |
|---|---|
| accuracy | {accuracy} of {n:,} ({n - run.wrong:,} right) |
| 95 % interval (Wilson) | {interval} |
| cross-entropy of the raw logits | {m["loss"]:.4f} |
| expected calibration error, 15 bins | {100 * m["ece"]:.2f} % \
(before temperature scaling {100 * m["ece_raw"]:.2f} %) |
| temperature | {model["temperature"]:.3f} |{_answers(run)}

| class | images | precision | recall | F1 |
|---|---|---|---|---|
{table}

{_targets(m)}`report.html` shows the same in pictures, `predictions.csv` has a row for each image.

## How to get started

In this folder, with convscope installed:

{_start(run)}"""


def _start(run: RunFiles) -> str:
    """The commands and the code that use it."""
    own = ".py:" in run.network
    flag = f" --model {run.network}" if own else ""
    argument = f", model={json.dumps(run.network)}" if own else ""
    command = f"convscope predict .{flag} image.png"
    code = f'''[prediction] = cs.load("."{argument}).predict(["image.png"])
print(prediction.label, prediction.p)'''
    if run.several:
        command = f"convscope eval .{flag}"
        code = f'print(cs.evaluate("."{argument})["accuracy"])'
    return f"""```sh
{command}
```

```python
import convscope as cs

{code}
```
"""


def _targets(metrics: dict[str, Any]) -> str:
    """The figures of each target, where there are several."""
    found = metrics.get("targets") or {}
    rows = "".join(f"| {_md(name)} | {in_words(one)} |\n" for name, one in found.items())
    return f"| target | how good |\n|---|---|\n{rows}\n" if found else ""


def _unsure(run: RunFiles) -> str:
    """How it says that it does not know."""
    found = Calibration.of(run.model)
    kept = [one for one in (found.selective, found.ood) if one is not None]
    if not kept:
        return "A low probability is its only way to say that it does not know."
    of = f"{_md(run.leading)}: " if run.leading else ""
    said = [of + one.said for one in kept]
    return " ".join(f"{one[:1].upper()}{one[1:]}." for one in said)


def _answers(run: RunFiles) -> str:
    """The row of the answers that are not unsure."""
    found = run.metrics.get("abstain")
    of = f" ({_md(run.leading)})" if run.leading else ""
    return f"\n| answers{of} | {answers(found, run.metrics['n'])} |" if found else ""


def _copies(run: RunFiles) -> str:
    """What the accuracy is worth where test images are training images, too."""
    found = run.duplicates
    if not found.get("test_in_train"):
        return ""
    share, n = found["accuracy_without"], found["n_without"]
    rest = "none is left without them"
    if share is not None:
        rest = f"without them {100 * share:.{digits_for(n)}f} % of {n:,} are right"
    return (
        f"{found['test_in_train']:,} of its {run.metrics['n']:,} images are training images, too, "
        f"pixel for pixel at the network's size: {rest}. Training and selection used no other."
    )


def _yaml(text: str) -> str:
    """A text as a YAML scalar; a JSON string is one."""
    return json.dumps(text.encode(errors="replace").decode())


def _md(text: object) -> str:
    """A text as it stands, in one line of Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))
