"""Photos of one's own: what training makes of a folder of them by its defaults.

    python benchmarks/photos.py folder FOLDER [--seeds 5] [--budget 3m] [--each 20] [--fastai]
    python benchmarks/photos.py small [--draws 20] [--images 60]
    python benchmarks/photos.py reuse [--draws 20] [--images 10]
    python benchmarks/photos.py labels [--images 10000] [--swapped 0.05]

``folder``: class folders, split 70/13/17 anew for each seed, and `convscope train` of them as a
command of its own, within a time budget, or with so many training photos a class (``--each``): test
accuracy and seconds in all, then those of `--freeze features`, which finds the features kept.
``--fastai`` trains the same network from the same weights by fastai's ``fine_tune``, as its
documentation does (`pip install fastai`), for as many epochs as take three times as long.
``small``: three classes of CIFAR-10, 60 images each, learnt from as they are by default and
without a start from trained weights. ``reuse``: ten images a class of MNIST, learnt from with the
features of a network of Fashion-MNIST frozen, and from scratch, with one and the same augmentation
and rate; the ratio of their errors is that of the means, its interval a bootstrap over the draws.
``labels``: images of CIFAR-10 of which some have another class's label, as the audit of a folder
lists them; the average precision of that list, and of cleanlab's own orders of all images by the
same probabilities.

Two cores of an AMD EPYC (family 25, model 17), 2026-11-30. ``folder`` of trashnet (2,527 photos,
six classes), five seeds: 93.26, 91.16, 91.86, 92.33 and 90.70 %, mean 91.86 %, in 322 to 346 s (the
last two beside other work), the fitted layer alone 87.91 to 88.84 %, a second time in 7 to 13 s;
with ``--budget 3m`` 90.47 % in 178 s (one seed); with ``--each 20`` 71.62, 74.53, 75.86, 72.95 and
75.95 %, mean 74.18 %, in 29 and 33 s (two seeds). fastai's ``fine_tune`` of the same network from
the same weights on the first of these splits, 4 epochs and the one with the network frozen: 86.74 %
in 1,845 s of processors, about 920 s of two, where ours has 93.26 % in a third. ``small``: errors
5.2 and 40.5 %, ratio 0.128 (0.098 to 0.157). ``labels``: 506 of 10,000 wrong, 803 listed in 179 s;
average precision 0.826 of the list, 0.783 of cleanlab's own list of 1,060, 0.854 of all images by
``self_confidence``, 0.731 and 0.787 by its two other orders. ``reuse``, stopped after three draws:
0.94, 0.80 and 0.96. A loop of its own beside it, 60 epochs, 2 to 4 draws, `cnn` and `resnet`: all
layers learning from the clothes' weights, by one rate or by a smaller one for each layer nearer to
the image, or the features frozen, are between 0.93 and 1.4 times the error from scratch, with
shifts and with affine warps.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import convscope as cs

SHARES = 0.70, 0.13  # of training and validation


def divided(folder: Path, seed: int, each: int, out: Path) -> None:
    """Links to the photos of a folder, divided into train, val and test at random."""
    random = np.random.default_rng(seed)
    files = [one for one in sorted(folder.glob("*/*")) if one.is_file()]
    files = [files[n] for n in random.permutation(len(files))]
    first, second = (round(len(files) * share) for share in (SHARES[0], sum(SHARES)))
    parts = {"train": files[:first], "val": files[first:second], "test": files[second:]}
    if each:
        known = {one.parent.name for one in files}
        some = [f for name in known for f in [f for f in files if f.parent.name == name][:each]]
        parts = {"train": some, "test": [f for f in files if f not in set(some)]}
    for split, found in parts.items():
        for one in found:
            place = out / split / one.parent.name / one.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(one.resolve())


def folder(path: Path, seeds: int, budget: str | None, each: int, fastai: bool) -> None:
    """Print accuracy and seconds, a line a seed."""
    print("seed accuracy seconds fitted seconds" + (" fastai epochs seconds" if fastai else ""))
    rows = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as place:
            photos = Path(place) / "photos"
            divided(path, seed, each, photos)
            command = [sys.executable, "-m", "convscope", "train", str(photos), "--seed", str(seed)]
            command += ["--time-budget", budget] if budget else []
            row = list[float]()
            for out, more in (("a", []), ("b", ["--freeze", "features", "--no-look"])):
                began = time.perf_counter()
                told = [*command, *more, "--out", f"{place}/{out}"]
                done = subprocess.run(told, check=False, capture_output=True, text=True)
                taken = time.perf_counter() - began
                if done.returncode:
                    raise SystemExit(done.stderr)
                row += [json.loads(Path(place, out, "metrics.json").read_text())["accuracy"], taken]
            if fastai:
                row += by_fastai(photos, seed, 3 * row[1])
            rows.append(row)
            print(seed, *(f"{value:.4g}" for value in row), flush=True)
    print("mean", *(f"{value:.4g}" for value in np.mean(rows, axis=0)))


def by_fastai(photos: Path, seed: int, room: float) -> list[float]:
    """Test accuracy, epochs and seconds of fastai's ``fine_tune`` of the same network."""
    import torch
    from fastai.vision import all as fv
    from torch import nn

    from convscope.models import pretrained

    def learner() -> fv.Learner:
        fv.set_seed(seed)
        network = pretrained.whole("efficientnet_lite0")
        body = nn.Sequential(network.normalise, network.features)
        return fv.Learner(
            data,
            nn.Sequential(body, fv.create_head(1280, data.c)),
            metrics=fv.accuracy,
            splitter=lambda model: [fv.params(model[0]), fv.params(model[1])],
            path=photos,
        )

    data = fv.ImageDataLoaders.from_folder(
        photos,
        train="train",
        valid="val",
        bs=32,
        item_tfms=fv.Resize(224, method="squish"),
        batch_tfms=fv.aug_transforms(),
        num_workers=0,
        device=torch.device("cpu"),
    )
    times = [0.0]
    for epochs in (1, 2):  # each with the one of a frozen body before it
        one, began = learner(), time.perf_counter()
        with one.no_bar(), one.no_logging():
            one.fine_tune(epochs)
        times.append(time.perf_counter() - began)
    epochs = max(1, int((room - times[1]) / (times[2] - times[1])) + 1)
    one, began = learner(), time.perf_counter()
    with one.no_bar(), one.no_logging():
        one.fine_tune(epochs)
        taken = time.perf_counter() - began
        files = fv.get_image_files(photos / "test")
        logits, _ = one.get_preds(dl=data.test_dl(files))
    found = [data.vocab[int(y)] for y in logits.argmax(1)]
    right = [name == file.parent.name for name, file in zip(found, files, strict=True)]
    return [float(np.mean(right)), float(epochs), taken]


def small(draws: int, images: int) -> None:
    """Print the error of three classes of small images by both starts, a line a draw."""
    pack = cs.open_data("cifar10")
    train, test = pack.splits["train"], pack.splits["test"]
    errors = []
    for draw in range(draws):
        random = np.random.default_rng(draw)
        kinds = random.choice(10, 3, replace=False)
        with tempfile.TemporaryDirectory() as place:
            for split, part, count in (("train", train, images), ("test", test, 200)):
                for kind in kinds:
                    chosen = random.choice(np.flatnonzero(part.labels == kind), count, False)
                    where = Path(place) / "photos" / split / pack.classes[kind]
                    where.mkdir(parents=True)
                    for n in chosen:
                        Image.fromarray(part.images[n].transpose(1, 2, 0)).save(where / f"{n}.png")
            row = [
                1 - cs.train(f"{place}/photos", out=f"{place}/{start}", start=start, seed=draw,
                             look=False, emit=cs.silent).metrics.accuracy
                for start in ("auto", "none")
            ]  # fmt: skip
        errors.append(row)
        print(draw, *(f"{value:.4f}" for value in row), flush=True)
    _ratio(np.array(errors))


def reuse(draws: int, images: int) -> None:
    """Print the error on MNIST with and without features of Fashion-MNIST, a line a draw."""
    errors = []
    common = {"val": 0, "share": images / 6000, "shift": 1, "lr": 0.002, "epochs": 60}
    common |= {"batch_size": 20, "look": False, "emit": cs.silent}
    with tempfile.TemporaryDirectory() as place:
        cs.train("fashion-mnist", out=f"{place}/fashion", epochs=5, look=False, emit=cs.silent)
        for draw in range(draws):
            other = {"start": f"{place}/fashion", "freeze": "none", "layer_decay": 0.5}
            row = [
                1 - cs.train("mnist", out=f"{place}/{draw}-{n}", seed=draw, **common, **more)
                .metrics.accuracy
                for n, more in enumerate((other, {"start": "none"}))
            ]  # fmt: skip
            errors.append(row)
            print(draw, *(f"{value:.4f}" for value in row), flush=True)
    _ratio(np.array(errors))


def labels(images: int, swapped: float) -> None:
    """Print the average precision of the audit's list of likely wrong labels."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.metrics import average_precision_score

    from convscope.data.audit import labels as audit
    from convscope.evaluation.predictions import logits_of
    from convscope.models import pretrained

    random, train = np.random.default_rng(0), cs.open_data("cifar10").splits["train"]
    chosen = np.sort(random.choice(len(train.labels), images, replace=False))
    given = np.array(train.labels[chosen])
    wrong = random.random(images) < swapped
    given[wrong] = (given[wrong] + random.integers(1, 10, wrong.sum())) % 10
    began = time.perf_counter()
    network = pretrained.Features(next(iter(pretrained.PUBLISHED)))
    vectors = logits_of(network, train.images[chosen], batch_size=64)
    told = audit.out_of_fold(vectors, given, np.arange(images), 10, cs.silent)
    listed = audit.suspects(told, given)
    taken = time.perf_counter() - began
    score = np.zeros(images)
    score[listed] = np.arange(len(listed), 0, -1)
    right = 100 * (told.argmax(axis=1) == given).mean()
    print(
        f"{wrong.sum()} of {images} wrong; told {right:.1f} %; {len(listed)} listed, {taken:.0f} s"
    )
    print(f"the list {average_precision_score(wrong, score):.3f}")
    options = {"return_indices_ranked_by": "self_confidence"}
    theirs, score = find_label_issues(given, told, **options), np.zeros(images)
    score[theirs] = np.arange(len(theirs), 0, -1)
    print(f"cleanlab's list, {len(theirs)} {average_precision_score(wrong, score):.3f}")
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        quality = get_label_quality_scores(given, told, method=method)
        print(f"cleanlab's order, {method} {average_precision_score(wrong, -quality):.3f}")


def _ratio(errors: NDArray[np.float64]) -> None:
    random = np.random.default_rng(0)
    drawn = errors[random.integers(0, len(errors), (10_000, len(errors)))].mean(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    first, second = errors.mean(axis=0)
    print(f"mean {first:.4f} {second:.4f}, ratio {first / second:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("folder")
    one.add_argument("path", type=Path)
    one.add_argument("--seeds", type=int, default=5)
    one.add_argument("--budget")
    one.add_argument("--each", type=int, default=0)
    one.add_argument("--fastai", action="store_true")
    for verb, count in (("small", 60), ("reuse", 10)):
        one = verbs.add_parser(verb)
        one.add_argument("--draws", type=int, default=20)
        one.add_argument("--images", type=int, default=count)
    one = verbs.add_parser("labels")
    one.add_argument("--images", type=int, default=10_000)
    one.add_argument("--swapped", type=float, default=0.05)
    given = vars(parser.parse_args())
    {"folder": folder, "small": small, "reuse": reuse, "labels": labels}[given.pop("verb")](**given)
