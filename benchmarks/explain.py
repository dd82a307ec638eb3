"""Are class images legible, are heat maps better than chance, and how long does `explain` take?

    python benchmarks/explain.py legible RUN --judges RUN RUN ... [--seeds 3]
    python benchmarks/explain.py doubt RUN [--images 200] [--methods occlusion gradcam ig]
    python benchmarks/explain.py seconds RUN ...

``legible``: the regularised class images of a run, made from noise alone, shown to networks of
other families that took no part in making them: how many of the classes each recognises (9 of 10 is
the aim). ``doubt``: the deletion of heat maps on seeded test images, against those of three
networks with random weights: on how many images it is better than their mean, with the 95 %
interval (75 %, and an interval above 50 %, are the aim). ``seconds``: the whole of `convscope
explain RUN`, a process each (60 s is the aim). Printed as a table, a line each.

On two cores of an Intel Xeon (family 6, model 167, AMX), 2026-11-25, one thread, beside other jobs:

- ``legible`` (three seeds each), of mnist cnn: keras_cnn 10, 10, 10; resnet 10, 9, 10; inception
  10, 10, 10; mlp 7, 4, 6. Of mnist keras_cnn: cnn, resnet and inception 10, 10, 10; mlp 8, 8, 10.
- ``doubt`` on 200 test images, of cifar10 record: occlusion (the default) on 97.0 % (93.6 to 98.6),
  ig on 87.0 % (81.6 to 91.0), gradcam on 75.5 % (69.1 to 80.9); of cifar_cnn: occlusion on 99.5 %
  (97.2 to 99.9), gradcam on 77.0 % (70.7 to 82.3).
- ``seconds``: two threads, nothing beside: mnist cnn 10.7, cifar10 record 18.8; one thread: mlp
  12.6.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import convscope as cs
from convscope import machine
from convscope.insight.explain import ascent, heat
from convscope.insight.explain.map_layers import fitting, stages
from convscope.insight.explain.overview import inputs_of, probabilities


def legible(folder: str, judges: list[str], seeds: int) -> None:
    """Print how many class images each judge recognises, by seed."""
    trained = cs.load(folder)
    classes = range(len(trained.classes))
    shape = (len(classes), trained.channels, *trained.size)
    loss = ascent.of_classes(trained.network, classes)
    with ascent.still(trained.network):
        made = [
            ascent.regularised(trained.network, loss, shape, seed=seed) for seed in range(seeds)
        ]
    for judge in judges:
        network = cs.load(judge).network
        right = [int((probabilities(network, one).argmax(1) == classes).sum()) for one in made]
        said = ", ".join(f"{n} of {len(classes)}" for n in right)
        print(f"class images of {folder}, judged by {judge}: {said}", flush=True)


def doubt(folder: str, count: int, methods: list[str], seed: int = 0) -> None:
    """Print the deletion of each method against random weights."""
    trained = cs.load(folder)
    data = cs.open_data("mnist" if trained.channels == 1 else "cifar10")
    test = data.splits["test"]
    drawn = np.sort(np.random.default_rng(seed).choice(len(test), count, replace=False))
    pixels = np.array(test.images[drawn])
    size = (trained.channels, *trained.size)
    network, images = trained.network, inputs_of(pixels)
    stage = fitting(stages(network, size))
    with ascent.still(network):
        wanted = torch.from_numpy(probabilities(network, pixels).argmax(1))
        for method in methods:
            found = heat.doubt(
                network,
                images,
                wanted,
                lambda one, method=method: heat.heat_maps(one, images, wanted, method, stage),
            ).better()
            low, high = found["deletion_better_ci95"]
            print(
                f"{folder} {method}: better than random weights on {found['deletion_better']:.1%} "
                f"of {count} ({low:.1%} to {high:.1%}), than each "
                f"{found['deletion_better_pairs']:.1%}, than all three "
                f"{found['deletion_better_than_all']:.1%}; deletion "
                f"{found['deletion']:.3f} against {found['deletion_random']:.3f}, insertion "
                f"{found['insertion']:.3f} against {found['insertion_random']:.3f}",
                flush=True,
            )


def seconds(folders: list[str], threads: int) -> None:
    """Print how long `convscope explain` takes, from the command to its end."""
    for folder in folders:
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "convscope", "explain", folder, "--out", f"{out}/x"]
            began = time.perf_counter()
            subprocess.run([*command, "--threads", str(threads)], check=True, capture_output=True)
            spent = time.perf_counter() - began
            names = sorted(path.stem for path in Path(out, "x").glob("*.png"))
        print(f"{folder}: {spent:.1f} s, {', '.join(names)}", flush=True)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("legible")
    one.add_argument("run")
    one.add_argument("--judges", nargs="+", required=True)
    one.add_argument("--seeds", type=int, default=3)
    two = verbs.add_parser("doubt")
    two.add_argument("run")
    two.add_argument("--images", type=int, default=200)
    two.add_argument("--methods", nargs="+", default=list(heat.METHODS))
    three = verbs.add_parser("seconds")
    three.add_argument("runs", nargs="+")
    for each in (one, two, three):
        each.add_argument("--threads", type=int, default=0)
    asked = parser.parse_args()
    print(machine.processor(), f"{machine.cores()} cores", flush=True)
    with machine.at_work(asked.threads):
        if asked.verb == "legible":
            legible(asked.run, asked.judges, asked.seeds)
        elif asked.verb == "doubt":
            doubt(asked.run, asked.images, asked.methods)
    if asked.verb == "seconds":
        seconds(asked.runs, asked.threads)


if __name__ == "__main__":
    main()
