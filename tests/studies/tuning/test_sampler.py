"""What a search tries next."""

from __future__ import annotations

import math
import random

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from convscope.studies.tuning import sampler
from convscope.studies.tuning.sampler import Hyperband, Proposals, reached

LR = optuna.distributions.FloatDistribution(1e-5, 1.0, log=True)
WIDTH = optuna.distributions.IntDistribution(4, 64, log=True)
EPOCHS = 4


@pytest.fixture(autouse=True)
def quietly():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def curve(lr: float, width: int) -> list[float]:
    """What validation says after each epoch: best at a rate of 0.01, and the wider the better."""
    end = 0.99 - 0.05 * abs(math.log10(lr) + 2) - 0.02 * math.log2(64 / width)
    return [end * (1 - 0.3 ** (epoch + 1)) for epoch in range(EPOCHS)]


def told(lr: float, width: int = 32, epochs: int = EPOCHS, state: str = "COMPLETE", **more):
    """A trial; of so many epochs."""
    seen = dict(enumerate(curve(lr, width)[:epochs], 1))
    value = seen[EPOCHS] if state == "COMPLETE" else None
    params = {"lr": lr, "width": width}
    kinds = {"lr": LR, "width": WIDTH}
    return create_trial(
        state=TrialState[state],
        params=params,
        distributions=kinds,
        value=value,
        intermediate_values=seen,
        **more,
    )


def study_of(*trials, startup: int = 5, seed: int = 0) -> optuna.Study:
    study = optuna.create_study(sampler=Proposals(startup, seed), direction="maximize")
    study.add_trials(trials)
    return study


def suggested(study: optuna.Study) -> dict[str, float]:
    trial = study.ask()
    lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
    return {"lr": lr, "width": trial.suggest_int("width", 4, 64, log=True), "of": trial}


def searched(seed: int, sampler, prunes: bool) -> list[float]:
    """What is reached by 25 trials, of which two in three end after the first epoch."""
    study = optuna.create_study(sampler=sampler, direction="maximize")
    found = []
    for at in range(25):
        one = suggested(study)
        seen = curve(one["lr"], one["width"])
        found.append(seen[-1])
        one["of"].report(seen[0], 1)
        if prunes and at % 3:
            study.tell(one["of"], state=TrialState.PRUNED)
        else:
            for epoch, accuracy in enumerate(seen[1:], 2):
                one["of"].report(accuracy, epoch)
            study.tell(one["of"], seen[-1])
    return found


def test_what_ended_early_counts_as_what_it_would_have_reached():
    whole, early = [told(0.01), told(0.1), told(1.0)], told(0.03, epochs=1, state="PRUNED")
    found = reached([*whole, early])
    assert found[:3] == sorted(found[:3], reverse=True)
    gain = curve(0.1, 32)[-1] - curve(0.1, 32)[0]  # between those of the other two
    assert found[3] == pytest.approx(-math.log(1.001 - curve(0.03, 32)[0] - gain))


def test_what_could_not_be_trained_is_as_bad_as_the_worst():
    done = [told(0.01), told(1e-5), told(0.5, epochs=0, state="PRUNED")]
    found = reached(done)
    assert found[2] == found[1] < found[0]
    assert reached([done[2]]) == [0.0]


def test_nothing_whole_and_all_right_are_numbers():
    assert reached([told(0.01, epochs=2, state="PRUNED")])[0] > 0
    perfect = create_trial(value=1.0, params={}, distributions={})
    assert reached([perfect]) == pytest.approx([-math.log(1e-3)])


@pytest.mark.parametrize("prunes", [False, True])
def test_it_comes_closer_than_chance(prunes):
    for seed in range(3):
        ours = max(searched(seed, Proposals(5, seed), prunes))
        drawn = max(searched(seed, optuna.samplers.RandomSampler(seed=seed), prunes))
        assert ours > 0.975 > drawn, seed


@pytest.mark.parametrize(("state", "ends"), [("COMPLETE", True), ("FAIL", False)])
def test_what_failed_is_no_rival(state, ends):
    study = optuna.create_study(pruner=Hyperband(3), direction="maximize")
    for accuracy, end in ((0.98, state), (0.97, "PRUNED")):
        trial = study.ask()
        trial.report(accuracy, 2)
        pruned = trial.should_prune()
        study.tell(trial, accuracy if end == "COMPLETE" else None, state=TrialState[end])
    assert pruned is ends


def test_what_was_ended_early_is_not_tried_again():
    """Optuna's own process knows nothing of it, and does."""
    good = [told(lr, 8) for lr in (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)]
    early = [told(lr, 8, epochs=1, state="PRUNED") for lr in (0.01, 0.03, 0.1, 0.3, 0.5, 0.9)]
    for one in early:
        one.intermediate_values = {1: 0.1}
    rates = [suggested(study_of(*good, *early, seed=seed))["lr"] for seed in range(5)]
    assert max(rates) < 0.01


def test_what_others_are_at_is_not_proposed_as_well():
    done = [told(10.0**-e, w) for e in (1, 2, 3, 4) for w in (8, 32)]
    alone = suggested(study_of(*done))
    busy = told(alone["lr"], alone["width"], epochs=0, state="RUNNING")
    other = suggested(study_of(*done, busy))
    assert (other["lr"], other["width"]) != (alone["lr"], alone["width"])


def test_what_others_are_at_counts_by_what_it_has_so_far():
    """A rate beyond those that are done, of which nothing is known but its first epochs."""
    done = [told(lr, 8) for lr in (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)]
    good, bad = (told(0.01, 8, epochs=2, state="RUNNING") for _ in range(2))
    bad.intermediate_values = {1: 0.1, 2: 0.1}
    assert suggested(study_of(*done, bad))["lr"] < 0.003 < suggested(study_of(*done, good))["lr"]


@pytest.mark.filterwarnings("error")
def test_where_all_is_known_it_goes_on_without_a_warning():
    drawn = random.Random(0)
    settings = [(10 ** drawn.uniform(-5, 0), drawn.randint(4, 64)) for _ in range(sampler.LATE)]
    assert 1e-5 <= suggested(study_of(*(told(lr, width) for lr, width in settings)))["lr"] <= 1


def test_the_first_are_drawn_and_the_seed_decides():
    assert suggested(study_of(told(0.01)))["lr"] == suggested(study_of(told(0.01)))["lr"]
    rates = {suggested(study_of(told(0.01), seed=seed))["lr"] for seed in range(5)}
    assert len(rates) == 5 and max(rates) > 100 * min(rates)


def test_late_and_for_what_some_trials_have_alone_it_is_tpe(monkeypatch):
    def refused(*args):
        raise AssertionError("the process was asked")

    monkeypatch.setattr(sampler.GPSampler, "sample_relative", refused)
    done = [told(10.0**-e, w) for e in (1, 2, 3, 4) for w in (8, 32)]
    trial = study_of(told(0.01)).ask()
    assert trial.suggest_categorical("optimizer", ["sgd", "adamw"]) in ("sgd", "adamw")
    monkeypatch.setattr(sampler, "LATE", len(done) - 1)
    assert 1e-5 <= suggested(study_of(*done))["lr"] <= 1
    monkeypatch.setattr(sampler, "LATE", len(done))
    with pytest.raises(AssertionError, match="was asked"):
        suggested(study_of(*done))
