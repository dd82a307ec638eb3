"""The choice: measures, checks against float32, remembers, never overrides what was typed, and
falls back to what the processor can do."""

from __future__ import annotations

import copy
import functools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from listening import notices
from torch import nn

from convscope import kernels, machine, recipe
from convscope.data.columns import Class
from convscope.data.loader import Batch
from convscope.engine import autotune, choice, measurements, timing, tuned_network
from convscope.engine.timing import Race, Timing
from convscope.errors import BadArgument
from convscope.events import silent
from convscope.models import build
from convscope.training.losses import Loss, mean_loss

IMAGES, LABELS = torch.rand(16, 1, 12, 12), torch.arange(16) % 3
CPU = torch.device("cpu")
BATCH = Batch({"image": IMAGES}, {"label": LABELS})
LOSS = functools.partial(mean_loss, {"label": Loss(Class(("a", "b", "c")))})
FORMATS = [f"{p} {f} plain" for p in ("float32", "bfloat16") for f in tuned_network.FORMATS]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return build("cnn", 3, 1, (12, 12))


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nobody else is at work."""
    monkeypatch.setattr(timing, "QUIET", 1e9)
    monkeypatch.setattr(choice, "PATIENCE", 600.0)
    monkeypatch.setattr(autotune, "PATIENCE", 600.0)


def raced(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float | None]) -> None:
    """Let every race be as told: seconds by a part of a candidate's name, None for one that never
    had a quiet round."""

    def race(runs, *, far, **_) -> Race:
        timings = {}
        for name in runs:
            took = next(s for part, s in seconds.items() if part in str(name))
            timings[name] = Timing([took] * 3 if took else [], 0 if took else 9)
        leader = min(one.best for one in timings.values())
        racing = [n for n, one in timings.items() if not one.sure or one.best < far * leader]
        return Race(timings, tuple(racing))

    monkeypatch.setattr(choice, "race", race)


def test_what_is_measured_is_said_and_kept(network, fresh, quiet, events):
    seen, emit = events
    before = {name: p.clone() for name, p in network.named_parameters()}
    asked = recipe.resolve({"model": "cnn"})
    first = choice.choose(asked, network, BATCH, LOSS, emit)
    train = first.recipe.train
    assert train.precision in tuned_network.DTYPES and train.memory_format in tuned_network.FORMATS
    origin = first.recipe.origin
    assert {origin[f"train.{k}"] for k in ("precision", "memory_format", "kernels")} == {"measured"}
    (path,) = fresh.glob("precision/network-*.json")
    kept = json.loads(path.read_text())
    assert (kept["network"], kept["shape"], kept["classes"]) == ("cnn", [16, 1, 12, 12], 3)
    assert {name.split()[0] for name in kept["seconds"]} <= {"float32", "bfloat16"}
    assert kept["chosen"] == " ".join([train.precision, train.memory_format, train.kernels])
    assert len(notices(seen)) == 1 and len(notices(seen)[0]) < 79
    again = choice.choose(asked, network, BATCH, LOSS, emit)
    assert again == first and again.measurement is not None
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ((1.0, 2.0, 0.5, 0.9), "bfloat16 channels_last"),
        ((1.0, 2.0, 0.95, 0.9), "float32 channels_last"),  # not enough faster to be worth it
        ((2.0, 1.0, 1.5, 1.1), "float32 contiguous"),
        ((2.0, 1.0, 9.0, 0.1), "bfloat16 contiguous"),
    ],
)
def test_the_fastest_is_taken(network, monkeypatch, events, times, chosen):
    seen, emit = events
    raced(monkeypatch, dict(zip(FORMATS, times, strict=True)))
    asked = recipe.resolve({"kernels": "plain"})
    train = choice.choose(asked, network, BATCH, LOSS, emit).recipe.train
    assert f"{train.precision} {train.memory_format}" == chosen
    assert notices(seen)[0].startswith(chosen.split()[0])


def test_a_newcomer_reads_one_short_line(network, monkeypatch, events):
    seen, emit = events
    raced(monkeypatch, dict(zip(FORMATS, (1.7, 2.0, 1.0, 1.2), strict=True)))
    choice.choose(recipe.resolve({"kernels": "plain"}), network, BATCH, LOSS, emit)
    assert notices(seen) == ["bfloat16, 1.7x as fast as float32 here"]


@pytest.mark.parametrize("has", [{"avx512_bf16"}, {"amx_bf16", "avx2"}, {"avx2"}, set()])
def test_where_no_moment_is_quiet_the_processor_decides_and_nothing_is_kept(
    network, fresh, monkeypatch, events, has
):
    seen, emit = events
    monkeypatch.setattr(machine, "features", lambda: frozenset(has))
    raced(monkeypatch, {"": None})
    monkeypatch.setattr(autotune, "plan", lambda *_: pytest.fail("layers were timed"))
    found = choice.choose(recipe.resolve({}), network, BATCH, LOSS, emit)
    fast = bool(has - {"avx2"})
    algorithms = "fused" if kernels.available() else "plain"
    wanted = ("bfloat16" if fast else "float32", "channels_last", algorithms)
    train = found.recipe.train
    assert (train.precision, train.memory_format, train.kernels) == wanted
    assert found.measurement is None and not [*fresh.glob("precision/network-*.json")]
    assert "too busy to measure" in notices(seen)[-1] and "nothing is kept" in notices(seen)[-1]
    if fast:
        assert next(iter(has & choice.PRIOR.keys())) in notices(seen)[-1]


def test_where_a_pass_is_long_for_the_time_left_nothing_is_timed(
    network, fresh, monkeypatch, events
):
    seen, emit = events
    monkeypatch.setattr(choice, "race", lambda *_, **__: pytest.fail("timed"))
    found = choice.choose(recipe.resolve({}), network, BATCH, LOSS, emit, 1e-6)
    assert found.recipe.train.precision == choice.prior(recipe.resolve({}), CPU).precision
    assert found.measurement is None and not [*fresh.glob("precision/network-*.json")]
    assert "the time budget is too short to measure, and nothing is kept" in notices(seen)[-1]


def test_of_a_slow_network_fewer_images_are_timed_once(network, monkeypatch):
    monkeypatch.setattr(choice, "SLOW", 0.0)
    monkeypatch.setattr(choice, "LONG", 0.0)
    raced(monkeypatch, {"": 1.0})
    asked = recipe.resolve({"kernels": "plain"})
    found = choice.choose(asked, network, BATCH, LOSS, silent).measurement
    assert found is not None and found.images == choice.FEWEST


def test_what_was_typed_is_in_the_prior(network, monkeypatch):
    raced(monkeypatch, {"": None})
    asked = recipe.resolve({"precision": "float32", "kernels": "plain"})
    train = choice.choose(asked, network, BATCH, LOSS, silent).recipe.train
    assert (train.precision, train.memory_format, train.kernels) == (
        *("float32", "channels_last", "plain"),
    )
    asked = recipe.resolve({"memory_format": "contiguous"})
    assert choice.prior(asked, CPU).kernels == "plain"  # the others take channels-last maps alone


def test_layers_are_measured_where_the_prior_is_far_behind(network, fresh, monkeypatch):
    """It was timed, and left the race."""
    if not kernels.available():
        pytest.skip("needs compiled kernels")
    monkeypatch.setattr(machine, "features", lambda: frozenset({"avx512_bf16"}))
    raced(monkeypatch, {"bfloat16": 90.0, "im2col": 0.001, "float32": 0.002})
    monkeypatch.setattr(choice, "FEW", 4)  # so that those that are left race again, on more
    layer = next(iter(autotune.shapes(network, BATCH.inputs)))
    monkeypatch.setattr(autotune, "plan", lambda *_: f"fused {layer}=im2col,aten,aten")
    found = choice.choose(recipe.resolve({}), network, BATCH, LOSS, silent)
    assert "im2col" in found.recipe.train.kernels and found.measurement is not None


def test_what_half_could_be_measured_counts_and_is_not_kept(network, fresh, monkeypatch, events):
    """The prior was timed, and another was not: the fastest of those that were."""
    seen, emit = events
    monkeypatch.setattr(machine, "features", lambda: frozenset({"avx512_bf16"}))
    raced(monkeypatch, {"float32 contiguous": None, "bfloat16": 2.0, "float32": 1.0})
    asked = recipe.resolve({"kernels": "plain"})
    found = choice.choose(asked, network, BATCH, LOSS, emit)
    assert found.recipe.train.precision == "float32" and found.measurement is None
    assert not [*fresh.glob("precision/network-*.json")] and "as far as" in notices(seen)[-1]


def test_a_candidate_that_computes_something_else_is_not_taken(network, fresh, quiet, monkeypatch):
    passed = choice._pass

    def wrong(model, batch, loss, kind):
        logits = passed(model, batch, loss, kind)
        if kind == "bfloat16":
            for parameter in model.parameters():
                parameter.grad = -parameter.grad
        return logits

    monkeypatch.setattr(choice, "_pass", wrong)
    found = choice.choose(recipe.resolve({}), network, BATCH, LOSS, silent)
    assert found.recipe.train.precision == "float32" and found.measurement is not None
    assert found.measurement.wrong and all(
        n.precision == "bfloat16" for n in found.measurement.wrong
    )
    assert all(n.precision == "float32" for n in found.measurement.seconds)
    with pytest.raises(BadArgument, match="precision=bfloat16: computes wrong gradients on this"):
        asked = recipe.resolve({"precision": "bfloat16"})
        choice.choose(asked, network, BATCH, LOSS, silent)


def test_where_rounding_tells_nothing_float32_tells_what_is_right(network, fresh, monkeypatch):
    """In bfloat16 each gradient comes out the other way round, and so it does in float32 once the
    weights are rounded: in that network it says nothing. Then kernels count that are wrong in
    float32."""
    passed, engine, broken = choice._pass, choice.engine, set()

    def turned(model, batch, loss, kind):
        logits = passed(model, batch, loss, kind)
        if kind == "bfloat16" or getattr(model, "rounded", False) or id(model) in broken:
            for parameter in model.parameters():
                parameter.grad = -parameter.grad
        return logits

    def marked(model):
        twin = copy.deepcopy(model)
        twin.rounded = True
        return twin

    def breaking(twin, algorithms, precision):
        made = engine(twin, "plain", precision)
        if algorithms == "fused":
            broken.add(id(made))
            kept.append(made)
        return made

    kept: list[torch.nn.Module] = []
    raced(monkeypatch, {"bfloat16": 1.0, "": 2.0})
    monkeypatch.setattr(choice, "_pass", turned)
    monkeypatch.setattr(choice, "_rounded", marked)
    found = choice.choose(recipe.resolve({"kernels": "plain"}), network, BATCH, LOSS, silent)
    assert found.recipe.train.precision == "bfloat16"
    assert found.measurement is not None and found.measurement.wrong == ()
    if kernels.available():
        monkeypatch.setattr(choice, "engine", breaking)
        asked = recipe.resolve({"precision": "bfloat16", "kernels": "fused"})
        with pytest.raises(BadArgument, match="computes wrong gradients"):
            choice.choose(asked, network, BATCH, LOSS, silent)


def test_what_was_typed_stays(network, quiet):
    typed = {"precision": "bfloat16", "memory_format": "contiguous", "kernels": "fused"}
    typed = recipe.resolve(typed)
    assert choice.choose(typed, network, BATCH, LOSS, silent) == choice.Choice(typed)
    half = recipe.resolve({"precision": "bfloat16"})
    found = choice.choose(half, network, BATCH, LOSS, silent).recipe
    assert found.train.precision == "bfloat16" and found.origin["train.precision"] == "typed"


def test_a_damaged_measurement_is_taken_anew(network, fresh, monkeypatch):
    raced(monkeypatch, {"": 1.0})
    choice.choose(recipe.resolve({}), network, BATCH, LOSS, silent)
    (path,) = fresh.glob("precision/network-*.json")
    for damaged in ("{", "{}", "[]", '{"float32 contiguous": null}'):
        path.write_text(damaged)
        choice.choose(recipe.resolve({}), network, BATCH, LOSS, silent)
        assert json.loads(path.read_text())["seconds"]


def test_what_other_code_kept_of_the_network_is_not_taken(network, monkeypatch):
    """The key holds machine, versions, network, batch and what was asked for."""
    raced(monkeypatch, {"": 1.0})
    asked = recipe.resolve({})
    one = choice.choose(asked, network, BATCH, LOSS, silent)
    others = [
        choice.choose(asked, network, BATCH.first(8), LOSS, silent),
        choice.choose(recipe.resolve({"kernels": "plain"}), network, BATCH, LOSS, silent),
        choice.choose(asked, build("cnn", 3, 1, (12, 12), {"widths": [8]}), BATCH, LOSS, silent),
    ]
    monkeypatch.setattr(machine, "processor", lambda: "another")
    others.append(choice.choose(asked, network, BATCH, LOSS, silent))
    assert len({one.key, *(other.key for other in others)}) == 5


def test_a_cache_that_cannot_be_written_stops_nothing(
    network, tmp_path, quiet, monkeypatch, events
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "file"))
    seen, emit = events
    found = choice.choose(recipe.resolve({}), network, BATCH, LOSS, emit)
    assert found.recipe.train.precision in tuned_network.DTYPES
    assert any("is not kept" in text for text in notices(seen))


def test_dropout_makes_no_candidate_wrong(quiet):
    """Its masks differ by memory format and kernel; what is checked is the arithmetic."""
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(800, 3)
    )
    found = choice.choose(recipe.resolve({}), network, BATCH, LOSS, silent)
    assert found.measurement is not None and found.measurement.wrong == ()
    assert network[2].p == 0.5


def test_what_is_far_slower_on_a_few_images_never_sees_the_batch(network, quiet, monkeypatch):
    sizes: list[tuple[str, int]] = []
    passed = choice._pass

    def timed(model, batch, loss, kind):
        sizes.append((kind, len(batch)))
        if kind == "bfloat16":
            for _ in range(30):
                passed(model, batch, loss, kind)
        return passed(model, batch, loss, kind)

    monkeypatch.setattr(choice, "_pass", timed)
    batch = Batch({"image": IMAGES.repeat(4, 1, 1, 1)}, {"label": LABELS.repeat(4)})
    asked = recipe.resolve({"kernels": "plain", "memory_format": "contiguous"})
    found = choice.choose(asked, network, batch, LOSS, silent)
    assert found.recipe.train.precision == "float32"
    assert {size for kind, size in sizes if kind == "bfloat16"} == {choice.FEW}
    assert ("float32", 64) in sizes


def test_layers_are_measured_only_in_formats_that_are_not_far_behind(network, quiet, monkeypatch):
    if not kernels.available():
        pytest.skip("no kernels on this machine")
    planned: list[torch.dtype] = []
    monkeypatch.setattr(
        autotune,
        "plan",
        lambda *given: planned.append(given[3]) or "fused 0=small_channels,aten,small_channels",
    )
    seconds = {"bfloat16 contiguous": 1.0, "bfloat16": 0.5, "float32 contiguous": 1.0}

    def race(runs, **_) -> Race:
        took = {n: next((s for p, s in seconds.items() if str(n).startswith(p)), 0.9) for n in runs}
        near = tuple(n for n in runs if took[n] < 0.8) or tuple(runs)
        return Race({n: Timing([s] * 3) for n, s in took.items()}, near)

    monkeypatch.setattr(choice, "race", race)
    monkeypatch.setattr(choice, "_runner", lambda *given: RUNNER)
    monkeypatch.setattr(choice, "_gradient", lambda *given: torch.ones(3))
    choice.choose(recipe.resolve({}), network, BATCH, LOSS, silent)
    assert planned == [torch.bfloat16]


RUNNER = choice._Runner(build("cnn", 3, 1, (12, 12)), BATCH, LOSS, "float32")


def test_a_measurement_says_what_it_led_to():
    texts = "float32 channels_last plain", "float32 channels_last fused"
    plain, fused = map(measurements.Candidate.read, texts)
    one = measurements.Measurement(
        *("cnn", {}, 3, (16, 1, 12, 12), "cpu", ("auto",) * 3, 16, {plain: 1.0, fused: 0.5}, ()),
        *(fused, 1.0, measurements.today(), {}),
    )
    assert choice.in_words(one) == "float32, 2.0x as fast as PyTorch's own kernels here"
    assert choice.in_words(replace(one, chosen=plain)) == "float32, which is fastest here"
