"""A network of one's own, held through all that convscope does with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

import convscope as cs
from convscope.data import pack, pack_writer, sources
from convscope.data.pack import Pack
from convscope.errors import BadArgument, ConvscopeError
from convscope.events import EpochEnd
from convscope.models import store
from convscope.run import RunFolder

FILE = Path(__file__).with_name("odd_networks.py")
OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 20, "augment": False, "look": False}
OPTIONS |= {"lr": 0.01, "eval_batch": 16, "threads": 1}


class Power(Exception):
    """The lights go out."""


def bars(folder: Path) -> Pack:
    """Two splits of 3 classes, flat, upright and spot, 12 x 12: 40 and 20 images."""
    random = np.random.default_rng(0)
    splits = {}
    for name, n in (("train", 40), ("test", 20)):
        labels = np.arange(n, dtype=np.int64) % 3
        images = random.integers(0, 60, (n, 1, 12, 12), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            at = random.integers(3, 8)
            image[0][[np.s_[at], np.s_[:, at], np.s_[at : at + 3, at : at + 3]][label]] = 220
        splits[name] = images, labels
    return pack_writer.write_pack(folder, "mnist", ("flat", "upright", "spot"), splits, "drawn")


def hold(name: str, folder: Path, data: Pack) -> list[str]:
    """Train, eval, resume, summary, explain, predict and script; the warnings. Raises BadArgument
    where the network is refused, with nothing written, and AssertionError where something is
    wrong."""
    model, place, said = f"{FILE}:{name}", folder / name, []
    try:
        run = cs.train("mnist", model=model, out=place, **OPTIONS, emit=said.append)
    except ConvscopeError as why:
        assert isinstance(why, BadArgument), why
        assert not place.exists(), "something was written"
        raise
    before = run.metrics
    images = np.array(data.splits["test"].images)
    first = cs.load(place, model=model)
    found = cs.evaluate(place, model=model, device="cpu", emit=said.append)
    assert found["test_looks"] == 2
    for key in ("accuracy", "loss", "ece", "confusion"):
        assert found[key] == getattr(before, key), f"eval gives another {key}"
    logits = first.logits(images)
    assert np.array_equal(logits, cs.load(place, model=model).logits(images)), "loads otherwise"
    guesses = [guess.label for guess in first.predict(images)]
    assert (place / "report.html").exists() and (place / "README.md").exists()
    failed = [e.text for e in said if isinstance(e, cs.Notice) and "could not be made" in e.text]
    rows = (place / "predictions.csv").read_text().splitlines()[1:]
    agreeing = [row.split(",")[2] == label for row, label in zip(rows, guesses, strict=True)]
    assert sum(agreeing) >= len(rows) - 1, "predicts otherwise"  # float32 in another order

    stopped = folder / f"{name}-stopped"
    shutil.rmtree(stopped, ignore_errors=True)

    def cut(event: object) -> None:
        if isinstance(event, EpochEnd) and event.epoch == 2:
            raise Power

    pinned = {
        key: getattr(run.recipe.train, key) for key in ("precision", "memory_format", "kernels")
    }
    try:
        cs.train("mnist", model=model, out=stopped, **OPTIONS, **pinned, emit=cut)
    except Power:
        cs.train(model=model, out=stopped, resume=True, look=False)
    same = [(one / "model.safetensors").read_bytes() for one in (place, stopped)]
    assert same[0] == same[1], "resumed to other weights"

    network = store.load(RunFolder(place), model)
    held = {key: value.clone() for key, value in network.state_dict().items()}
    batch = torch.rand(4, 1, 12, 12)
    with torch.no_grad():
        answer = network(batch)
        try:
            told = cs.summary(network.head, (1, 12, 12))
            assert told.failure is None, told.failure
            assert told.total.parameters == sum(p.numel() for p in network.head.parameters())
            assert not failed, failed
        except BadArgument as why:
            said.append(cs.Notice(f"summary: {why}", warning=True))
        assert torch.equal(network(batch), answer), "a summary changes it"
    assert all(torch.equal(held[key], value) for key, value in network.state_dict().items())
    try:
        shown = cs.explain(place, model=model, only=("classes",), out=folder / f"{name}-explained")
        assert json.loads((shown.path / "explain.json").read_text())["pictures"]
    except BadArgument as why:
        said.append(cs.Notice(f"explain: {why}", warning=True))
    try:
        cs.script(place)
        raise AssertionError("a script of a user's class")
    except BadArgument as why:
        assert "plain PyTorch already" in str(why)
    return [e.text for e in said if isinstance(e, cs.Notice) and e.warning]


def verdict(name: str, folder: Path) -> str:
    """What becomes of a network, in a line."""
    data = (
        bars(folder / "pack") if not (folder / "pack").exists() else pack.open_pack(folder / "pack")
    )
    sources.open_data = lambda *rest, **named: data  # type: ignore[assignment]
    try:
        warned = hold(name, folder, data)
    except BadArgument as why:
        return f"refused: {why}".replace(f"{FILE}:", "")
    except Exception as why:
        return f"WRONG: {type(why).__name__}: {why}"
    return "right" + "".join(f" ({text})" for text in warned)
