"""The probe: measures, checks against float32, remembers, and never overrides what was typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from convscope import files, recipe
from convscope.errors import BadArgument
from convscope.events import Notice
from convscope.models import build
from convscope.training import precision

IMAGES, LABELS = torch.rand(16, 1, 12, 12), torch.arange(16) % 3


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return build("cnn", 3, 1, (12, 12))


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path))
    return tmp_path


def table(folder: Path) -> Path:
    """Where the timings of a network are kept, beside those of single layers."""
    (found,) = {*folder.glob("precision/*.json")} - {*folder.glob("precision/layers-*.json")}
    return found


def test_what_is_measured_is_said_and_kept(network, fresh, events):
    seen, emit = events
    before = {name: p.clone() for name, p in network.named_parameters()}
    r = precision.choose(recipe.resolve({}), network, IMAGES, LABELS, emit)
    assert r.train.precision in precision.DTYPES and r.train.memory_format in precision.FORMATS
    assert r.origin["train.precision"] == r.origin["train.memory_format"] == "measured"
    timings = json.loads(table(fresh).read_text())
    assert len({tuple(key.split()[:2]) for key in timings}) == 4
    assert timings["float32 channels_last plain"] is None or r.train.kernels != "auto"
    seen = [event for event in seen if isinstance(event, Notice)]
    assert "measured now" in seen[-1].text
    again = precision.choose(recipe.resolve({}), network, IMAGES, LABELS, emit)
    assert again.train == r.train and r.origin["train.kernels"] == "measured"
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ((1.0, 2.0, 0.5, 0.9), "bfloat16 channels_last"),
        ((1.0, 2.0, 0.95, 0.9), "float32 channels_last"),  # not enough faster to be worth it
        ((2.0, 1.0, None, None), "float32 contiguous"),  # wrong, or far slower
        ((2.0, 1.0, None, 0.1), "bfloat16 contiguous"),
    ],
)
def test_the_fastest_right_one_is_taken(network, fresh, monkeypatch, times, chosen):
    keys = [f"{p} {f} plain" for p in ("float32", "bfloat16") for f in precision.FORMATS]
    monkeypatch.setattr(precision, "_measure", lambda *rest: dict(zip(keys, times, strict=True)))
    notices: list[object] = []
    r = precision.choose(
        recipe.resolve({"kernels": "plain"}), network, IMAGES, LABELS, notices.append
    )
    assert f"{r.train.precision} {r.train.memory_format}" == chosen
    assert isinstance(notices[0], Notice) and chosen.split()[0] in notices[0].text


def test_what_a_device_cannot_do_is_refused(network, fresh):
    for typed, rule in (
        ({"precision": "tf32"}, "precision=tf32: is not for cpu, which trains in float32 or bf"),
        ({"precision": "bfloat16", "device": "mps"}, "precision=bfloat16: is not for mps"),
        ({"kernels": "fused", "device": "mps"}, "kernels=fused: are compiled for the CPU alone"),
    ):
        images = IMAGES.to("meta") if "device" in typed else IMAGES
        with pytest.MonkeyPatch.context() as patch:
            if "device" in typed:
                patch.setattr(torch.Tensor, "device", torch.device("mps"))
            with pytest.raises(BadArgument, match=rule):
                precision.choose(recipe.resolve(typed), network, images, LABELS, print)


def test_tf32_has_to_be_worth_its_rounding_as_well():
    one, other = "float32 contiguous plain", "tf32 contiguous plain"
    assert precision._pick({one: 1.0, other: 0.95}) == one
    assert precision._pick({one: 1.0, other: 0.5}) == other


def test_a_kernel_that_computes_something_else_is_not_taken(network, fresh, monkeypatch):
    passed = precision._pass

    def wrong(model, inputs, labels, kind):
        passed(model, inputs, labels, kind)
        if kind == "bfloat16":
            for parameter in model.parameters():
                parameter.grad = -parameter.grad
            return 1e-9
        return 1.0

    monkeypatch.setattr(precision, "_pass", wrong)
    r = precision.choose(recipe.resolve({}), network, IMAGES, LABELS, lambda event: None)
    assert r.train.precision == "float32"
    with pytest.raises(BadArgument, match="precision=bfloat16: computes wrong gradients on this"):
        asked = recipe.resolve({"precision": "bfloat16"})
        precision.choose(asked, network, IMAGES, LABELS, lambda event: None)


def test_what_was_typed_stays(network, fresh):
    typed = {"precision": "bfloat16", "memory_format": "contiguous", "kernels": "fused"}
    typed = recipe.resolve(typed)
    assert precision.choose(typed, network, IMAGES, LABELS, lambda event: None) is typed
    half = recipe.resolve({"precision": "bfloat16"})
    found = precision.choose(half, network, IMAGES, LABELS, lambda event: None)
    assert found.train.precision == "bfloat16" and found.origin["train.precision"] == "typed"


def test_a_damaged_measurement_is_taken_anew(network, fresh):
    precision.choose(recipe.resolve({}), network, IMAGES, LABELS, lambda event: None)
    for damaged in ("{", "{}", "[]", '{"float32 contiguous": null}'):
        table(fresh).write_text(damaged)
        precision.choose(recipe.resolve({}), network, IMAGES, LABELS, lambda event: None)
        assert len(json.loads(table(fresh).read_text())) >= 4


def test_a_cache_that_cannot_be_written_stops_nothing(network, tmp_path, monkeypatch, events):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "file"))
    seen, emit = events
    r = precision.choose(recipe.resolve({}), network, IMAGES, LABELS, emit)
    assert r.train.precision in precision.DTYPES
    assert any(isinstance(e, Notice) and "is not kept" in e.text for e in seen)


def test_the_slow_ones_leave_the_race(network, fresh, monkeypatch):
    """Each keeps its best time; a busy moment decides nothing."""
    ran: list[str] = []
    times = [9.0, 9.0, 1.5, 7.0, 1.0, 1.2]
    seconds = {"float32": iter(times), "bfloat16": iter([9.0, 2.5, 4.0, 4.0, 4.0])}

    def timed(model, inputs, labels, kind):
        ran.append(kind)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        return next(seconds[kind])

    monkeypatch.setattr(precision, "_pass", timed)
    keys = ["float32 contiguous plain", "bfloat16 contiguous plain"]
    assert precision._measure(keys, network, IMAGES, LABELS) == dict(
        zip(keys, (1.0, None), strict=True)
    )
    assert ran.count("bfloat16") == 4  # the check, a few images, the warm-up and one round


def test_dropout_makes_no_candidate_wrong(fresh, monkeypatch):
    """Its masks differ by memory format and kernel; what is checked is the arithmetic."""
    layers = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(800, 3)]
    network = nn.Sequential(*layers)
    keys = ["float32 channels_last fused", "float32 channels_last plain"]
    monkeypatch.setattr(precision, "FAR", 1e9)
    timings = precision._measure(keys, network, IMAGES, LABELS)
    assert all(seconds is not None for seconds in timings.values())
    assert network[2].p == 0.5


def test_what_is_far_slower_on_a_few_images_never_sees_the_batch(network, fresh, monkeypatch):
    sizes: list[tuple[str, int]] = []
    passed = precision._pass

    def timed(model, inputs, labels, kind):
        sizes.append((kind, len(inputs)))
        passed(model, inputs, labels, "float32")
        return 9.0 if kind == "bfloat16" else 1.0

    monkeypatch.setattr(precision, "_pass", timed)
    keys = ["float32 contiguous plain", "bfloat16 contiguous plain"]
    assert precision._measure(keys, network, IMAGES, LABELS)[keys[1]] is None
    assert {size for kind, size in sizes if kind == "bfloat16"} == {precision.FEW}


def test_the_cache_is_where_it_is_said_to_be(fresh):
    assert files.cache_root() == fresh


def _cases() -> list[tuple[str, str]]:
    fast = torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")
    formats = ["float32", "bfloat16"] if fast else ["float32"]  # the probe takes no other there
    return [(name, form) for name in recipe.names() for form in formats]


@pytest.mark.parametrize(("name", "form"), _cases())
def test_no_step_of_a_recipe_runs_a_reference_implementation(name, form, capfd):
    """oneDNN says of each primitive what computes it; ``ref`` is a loop that nobody made fast."""
    asked = recipe.load(name)
    channels, size = (3, 32) if asked.data.name.startswith("cifar") else (1, 28)
    network = build(asked.model.name, 10, channels, (size, size), asked.model.arguments)
    network = precision.engine(network.to(memory_format=torch.channels_last), "fused", form)
    images = torch.rand(16, channels, size, size).to(memory_format=torch.channels_last)
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        precision._pass(network, images, torch.arange(16) % 10, form)
    lines = [text.split(",") for text in capfd.readouterr().out.splitlines() if ",exec," in text]
    ran = {fields[fields.index("exec") + 3] for fields in lines}
    convolves = any(isinstance(module, nn.Conv2d) for module in network.modules())
    assert (ran or not convolves) and not any(name.startswith("ref") for name in ran), ran
