"""What a search tries next, and what it ends early: a Gaussian process over all of its trials
proposes, those that were ended early or are at work among them, and Hyperband ends."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna import create_study
from optuna.distributions import BaseDistribution
from optuna.pruners import HyperbandPruner
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, create_trial

CANDIDATES = 128  # of which TPE proposes the best
LATE = 300  # trials, up to which a proposal takes less than a second; beyond them it is TPE's
LEAST = 1e-3  # of errors in logarithms


class Proposals(BaseSampler):
    """Proposes settings by expected improvement of the logarithm of validation's error under a
    Gaussian process (Jones et al. 1998).

    Optuna's GPSampler, which it leaves that to, learns from trials that were trained to their end
    alone, and would try again what was ended early. Here such a trial counts as well, and one that
    others are at: as what it had, and the median gain of whole trials from that epoch on. One that
    could not be trained is as bad as the worst. The first ``startup`` trials are drawn at random;
    fields that only some trials have are left to TPE (Bergstra et al. 2011), as everything is
    beyond ``LATE`` trials.
    """

    def __init__(self, startup: int, seed: int) -> None:
        self.startup = startup
        self.tree = TPESampler(
            n_startup_trials=startup, n_ei_candidates=CANDIDATES, seed=seed, multivariate=True
        )
        self.process = GPSampler(seed=seed, n_startup_trials=0, deterministic_objective=False)

    def reseed_rng(self) -> None:
        """Draw anew, in another process."""
        self.tree.reseed_rng()
        self.process.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What all trials have."""
        return self.tree.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of what all trials have."""
        every = study.get_trials(deepcopy=False)
        known = [one for one in every if search_space and search_space.keys() <= one.params.keys()]
        done = [one for one in known if one.state.name in ("COMPLETE", "PRUNED")]
        if not self.startup <= len(done) <= LATE:
            return self.tree.sample_relative(study, trial, search_space)
        running = [one for one in known if one.state.name == "RUNNING"]
        seen = [*done, *(one for one in running if one.intermediate_values)]
        told = create_study(sampler=self.process, direction="maximize")
        for one, value in zip(seen, reached(seen), strict=True):
            params, kinds = one.params, one.distributions
            told.add_trial(create_trial(params=params, distributions=kinds, value=value))
        told.add_trials([one for one in running if not one.intermediate_values])
        with np.errstate(invalid="ignore"):  # where it knows all, no place is better than others
            return told.ask(search_space).params

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A value of what only some trials have."""
        return self.tree.sample_independent(study, trial, param_name, param_distribution)


class Hyperband(HyperbandPruner):
    """Ends what is behind half of the others after as many of its ``epochs`` (Li et al. 2018).

    Before half of them are over the learning rate is about its peak, and validation says little of
    the end. What failed is no rival: it is tried again, and would be one of itself.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__(epochs // 2 + 1, max(1, epochs), 2)

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        return -1 if trial.state.name == "FAIL" else super()._get_bracket_id(study, trial)


def reached(seen: Sequence[FrozenTrial]) -> list[float]:
    """What each trial reached, or would have: minus the logarithm of its error."""
    whole = [one for one in seen if one.state.name == "COMPLETE"]
    gains: dict[int, float] = {}
    found: list[float | None] = []
    for one in seen:
        told, accuracy = one.intermediate_values, one.value
        if one.state.name != "COMPLETE":
            last = max(told, default=0)
            if last not in gains:
                ends = [(w.value, w.intermediate_values.get(last)) for w in whole]
                gained = [end - then for end, then in ends if end is not None and then is not None]
                gains[last] = statistics.median(gained or [0.0])
            accuracy = min(1.0, told[last] + gains[last]) if told else None
        found.append(None if accuracy is None else -math.log(1 - accuracy + LEAST))
    worst = min((one for one in found if one is not None), default=0.0)
    return [worst if one is None else one for one in found]
