"""The loop: it learns, stops when told to, goes on to the bit, and never updates with what is no
number."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from convscope.data.loader import Loader
from convscope.errors import Interrupted, TrainingError
from convscope.events import EpochEnd, Notice, Progress, silent
from convscope.models.parts import Classifier
from convscope.recipe import Augment, Train
from convscope.run import RunFolder
from convscope.training.checkpoint import Position
from convscope.training.loop import fit

TRAIN = Train(epochs=3, batch_size=20, lr=0.01, warmup=0.25, precision="float32", threads=2)


def network(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2))
    return Classifier(1, features, nn.Sequential(nn.Flatten(), nn.Linear(400, 3)))


@pytest.fixture
def loader(tiny) -> Loader:
    train = tiny.splits["train"]
    return Loader.of_images(
        torch.from_numpy(train.images),
        torch.from_numpy(train.labels),
        torch.arange(240),
        20,
        seed=0,
        augment=Augment(shift=1),
        memory_format=torch.contiguous_format,
    )


def unjudged(model: nn.Module) -> tuple[None, None]:
    return None, None


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], two[name]) for name in one)


def whole(loader: Loader, folder: Path) -> dict[str, Tensor]:
    model = network()
    fit(model, loader, unjudged, TRAIN, RunFolder(folder / "whole"), silent)
    return weights(model)


def test_it_learns(loader, tmp_path, events):
    seen, emit = events
    fit(network(), loader, unjudged, replace(TRAIN, epochs=12), RunFolder(tmp_path), emit)
    ends = [event for event in seen if isinstance(event, EpochEnd)]
    assert [end.epoch for end in ends] == list(range(1, 13))
    assert ends[-1].train_accuracy > 0.9 > ends[0].train_accuracy
    assert ends[-1].train_loss < ends[0].train_loss
    steps = [event for event in seen if isinstance(event, Progress)]
    assert [step.done for step in steps] == list(range(1, 145))
    assert steps[0].total == 144


@pytest.mark.parametrize("at", [1, 5, 12, 13, 24, 35, 36])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopped_at_any_step_it_goes_on_to_the_bit(loader, tmp_path, at, signum):
    def stop(event: object) -> None:
        if isinstance(event, Progress) and event.done == at:
            os.kill(os.getpid(), signum)

    run = RunFolder(tmp_path / "run")
    with pytest.raises(Interrupted, match="saved in .*go on with --out .*run --resume") as stopped:
        fit(network(), loader, unjudged, TRAIN, run, stop)
    assert stopped.value.exit_code == {signal.SIGINT: 130, signal.SIGTERM: 143}[signum]
    model = network(seed=5)  # whatever it was, the checkpoint replaces it
    end = fit(model, loader, unjudged, TRAIN, run, silent)
    assert same(weights(model), whole(loader, tmp_path))
    assert [row["epoch"] for row in end.history] == [1, 2, 3]
    whole_rows = RunFolder(tmp_path / "whole").history.read_text().splitlines()
    assert len(run.history.read_text().splitlines()) == len(whole_rows) == 3


def test_what_comes_while_the_last_epoch_is_judged_ends_it_too(loader, tmp_path):
    judged: list[int] = []

    def stopped(model: nn.Module) -> tuple[float | None, float | None]:
        judged.append(1)
        if len(judged) == 3:
            signal.raise_signal(signal.SIGTERM)
        return None, None

    run = RunFolder(tmp_path / "run")
    with pytest.raises(Interrupted, match="saved in"):
        fit(network(), loader, stopped, TRAIN, run, silent)
    assert [row["epoch"] for row in run.read_history()] == [1, 2, 3]


def test_the_history_of_a_stopped_run_is_that_of_a_whole_one(loader, tmp_path):
    def stop(event: object) -> None:
        if isinstance(event, Progress) and event.done == 17:
            signal.raise_signal(signal.SIGTERM)

    run = RunFolder(tmp_path / "run")
    with pytest.raises(Interrupted):
        fit(network(), loader, unjudged, TRAIN, run, stop)
    stopped = fit(network(), loader, unjudged, TRAIN, run, silent).history
    straight = fit(network(), loader, unjudged, TRAIN, RunFolder(tmp_path / "w"), silent).history
    for one, two in zip(stopped, straight, strict=True):
        for key in ("epoch", "train_loss", "train_accuracy", "lr"):
            assert one[key] == two[key], key


def test_a_second_request_stops_at_once(loader, tmp_path):
    def stop(event: object) -> None:
        if isinstance(event, Progress):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # in the background of a shell it is to be ignored
    with pytest.raises(Interrupted, match="at once"):
        fit(network(), loader, unjudged, TRAIN, RunFolder(tmp_path), stop)
    assert signal.getsignal(signal.SIGINT) is before


def test_seconds_between_saves(loader, tmp_path):
    steps = []

    def watch(event: object) -> None:
        if isinstance(event, Progress):
            steps.append(len(list((tmp_path / "checkpoint").glob("step-*"))))

    fit(
        network(),
        loader,
        unjudged,
        replace(TRAIN, checkpoint_seconds=0),
        RunFolder(tmp_path),
        watch,
    )
    assert steps[:4] == [0, 1, 2, 2]  # one a step, the last two kept


@pytest.mark.parametrize("step", [1, 2, 7, 12, 13, 20, 30, 36])
@pytest.mark.parametrize("what", ["loss", "gradient", "image"])
def test_what_is_no_number_stops_the_run_and_is_never_saved(loader, tmp_path, step, what):
    model, run = network(), RunFolder(tmp_path)
    count = 0

    def spoil(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        nonlocal count
        count += 1
        if count != step:
            return output
        if what == "gradient":
            output.register_hook(lambda gradient: gradient * float("inf"))
            return output
        return output * float("nan") if what == "loss" else output

    def poison(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        return (inputs[0].fill_(float("nan")),) if what == "image" and count == step - 1 else None

    model.head.register_forward_hook(spoil)
    model.register_forward_pre_hook(poison)
    with pytest.raises(
        TrainingError, match=r"broke down at epoch \d, by step \d+ .*nothing of it was saved"
    ):
        fit(model, loader, unjudged, replace(TRAIN, checkpoint_seconds=0), run, silent)
    assert count <= step + 20
    for path in run.checkpoints.glob("step-*"):
        assert int(path.name.removeprefix("step-")) < step
        assert all(v.isfinite().all() for v in load_file(path / "state.safetensors").values())


def test_the_average_of_the_weights_is_judged_and_kept(loader, tmp_path):
    """Against the formula, in float64, from the weights after each step."""
    model, run = network(), RunFolder(tmp_path)
    expected: dict[str, Tensor] = {k: v.double() for k, v in weights(model).items()}
    judged: list[dict[str, Tensor]] = []

    def watch(event: object) -> None:
        if isinstance(event, Progress):
            decay = min(0.9, event.done / (9 + event.done))
            for name, value in weights(model).items():
                expected[name] = decay * expected[name] + (1 - decay) * value.double()

    def validate(network: nn.Module) -> tuple[float, float]:
        judged.append(weights(network))
        return 1.0, 0.5

    fit(model, loader, validate, replace(TRAIN, ema=0.9), run, watch)
    for name, value in weights(model).items():
        if value.is_floating_point():
            assert torch.allclose(value.double(), expected[name], rtol=1e-4, atol=1e-6), name
    assert same(judged[-1], weights(model))


def test_early_stopping_keeps_the_best(loader, tmp_path):
    losses = iter([3.0, 1.0, 2.0, 1.5, 0.1])
    judged: list[dict[str, Tensor]] = []

    def validate(network: nn.Module) -> tuple[float, float]:
        judged.append(weights(network))
        return next(losses), 0.5

    train = replace(TRAIN, epochs=5, early_stopping=2)
    model = network()
    end = fit(model, loader, validate, train, RunFolder(tmp_path), silent)
    assert [row["val_loss"] for row in end.history] == [3.0, 1.0, 2.0, 1.5]
    assert end.stopped and same(weights(model), judged[1])
    again = network(seed=3)  # a run that has stopped stays stopped
    end = fit(again, loader, validate, train, RunFolder(tmp_path), silent)
    assert len(end.history) == 4 and same(weights(again), judged[1])


@pytest.mark.parametrize(("keep", "epoch"), [("best", 3), ("accuracy", 2), ("last", 4)])
def test_the_best_on_validation_is_kept_by_loss_or_by_accuracy(loader, tmp_path, keep, epoch):
    figures = iter([(1.0, 0.5), (2.0, 0.75), (1.5, 0.75), (0.5, 0.5), (3.0, 0.25)])
    judged: list[dict[str, Tensor]] = []

    def validate(network: nn.Module) -> tuple[float, float]:
        judged.append(weights(network))
        return next(figures)

    model, train = network(), replace(TRAIN, epochs=5, keep=keep)
    fit(model, loader, validate, train, RunFolder(tmp_path), silent)
    assert same(weights(model), judged[epoch])


@pytest.mark.parametrize(("accuracy", "kept"), [(0.7, True), (0.5, False)])
def test_what_it_begins_with_is_kept_where_no_epoch_is_more_accurate(
    loader, tmp_path, accuracy, kept
):
    model, train = network(), replace(TRAIN, epochs=2, keep="accuracy")
    first, begun = weights(model), Position(best_loss=9.0, best_accuracy=accuracy, best_epoch=-1)
    to = RunFolder(tmp_path)
    at = fit(model, loader, lambda one: (0.1, 0.6), train, to, silent, begun=begun)
    assert at.start_kept is kept and same(weights(model), first) is kept


@pytest.mark.parametrize("micro", [1, 3, 7, 20, 50])
def test_micro_batches_sum_to_the_batch(loader, tmp_path, micro):
    """Without batch norm and dropout the weights are those of whole batches, but for rounding."""
    found = []
    for size in (0, micro):
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.Tanh(), nn.Linear(8, 3))
        model = Classifier(1, None, layers)
        train = replace(TRAIN, micro_batch=size, optimizer="sgd", momentum=0.9)
        end = fit(model, loader, unjudged, train, RunFolder(tmp_path / str(size)), silent)
        found.append((weights(model), end.history[-1]["train_loss"]))
    for name, value in found[0][0].items():
        assert torch.allclose(value, found[1][0][name], rtol=1e-4, atol=1e-5), name
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-4)


def test_the_gradient_is_clipped(loader, tmp_path):
    """Plain gradient descent moves by at most lr x clip a step."""
    train = replace(TRAIN, optimizer="sgd", momentum=0.0, clip_grad=1e-3, schedule="constant")
    train = replace(train, weight_decay=0.0, warmup=0.0, lr=1.0)
    model = network()
    last = [torch.cat([p.detach().clone().flatten() for p in model.parameters()])]
    moves = []

    def watch(event: object) -> None:
        if isinstance(event, Progress):
            now = torch.cat([p.detach().clone().flatten() for p in model.parameters()])
            moves.append(float((now - last[0]).norm()))
            last[0] = now

    fit(model, loader, unjudged, train, RunFolder(tmp_path), watch)
    assert max(moves) == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("steps", [1, 5, 12, 13, 30, 36, 99])
def test_training_ends_at_its_last_step(loader, tmp_path, steps, events):
    seen, emit = events
    train = replace(TRAIN, steps=steps)
    end = fit(network(), loader, unjudged, train, RunFolder(tmp_path), emit)
    done = [event.done for event in seen if isinstance(event, Progress)]
    assert done == list(range(1, min(steps, 36) + 1))
    assert len(end.history) == -(-min(steps, 36) // 12)
    assert end.history[-1]["lr"] < 0.01 * 0.2 or steps == 1  # the schedule ends where training does
    straight = weights_after(loader, tmp_path / "straight", train)
    run = RunFolder(tmp_path / "stopped")

    def stop(event: object) -> None:
        if isinstance(event, Progress) and event.done == min(steps, 36) // 2:
            signal.raise_signal(signal.SIGTERM)

    model = network()
    if steps > 1:
        with pytest.raises(Interrupted):
            fit(model, loader, unjudged, train, run, stop)
    fit(model, loader, unjudged, train, run, silent)
    assert same(weights(model), straight)


def weights_after(loader: Loader, folder: Path, train: Train) -> dict[str, Tensor]:
    model = network()
    fit(model, loader, unjudged, train, RunFolder(folder), silent)
    return weights(model)


def test_in_a_thread_of_its_own(loader, tmp_path):
    """A notebook or a server trains beside its main thread, where no signal handler may be set."""
    import threading

    ends: list[object] = []
    work = threading.Thread(
        target=lambda: ends.append(
            fit(network(), loader, unjudged, TRAIN, RunFolder(tmp_path), silent)
        )
    )
    work.start()
    work.join()
    assert len(ends) == 1


def test_validation_is_asked_once_an_epoch(loader, tmp_path):
    asked: list[int] = []

    def judge(model: nn.Module) -> tuple[float, float]:
        asked.append(1)
        return 0.5, 0.25

    validate: Callable[[nn.Module], tuple[float, float]] = judge
    end = fit(network(), loader, validate, TRAIN, RunFolder(tmp_path), silent)
    assert len(asked) == 3
    assert {row["val_accuracy"] for row in end.history} == {0.25}


def test_a_file_ends_training_at_the_next_step(loader, tmp_path):
    run, events = RunFolder(tmp_path), []

    def emit(event: object) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.done == 17:  # of 36, in the second epoch of 12
            run.stop.touch()

    model = network()
    at = fit(model, loader, unjudged, TRAIN, run, emit)
    assert (at.stopped, at.ended_at, at.epoch) == (True, 17, 2)
    assert (
        [row["epoch"] for row in at.history]
        == [1, 2]
        == [e.epoch for e in events if isinstance(e, EpochEnd)]
    )
    assert any(isinstance(e, Notice) and "after step 17 of 36" in e.text for e in events)
    again = network(1)
    assert fit(again, loader, unjudged, TRAIN, run, silent).ended_at == 17  # it is at its end
    assert same(weights(model), weights(again))
