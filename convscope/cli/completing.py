"""What a value that is begun is completed to when tab is pressed: names of networks, recipes, data
sets, studies and runs, and of values where there are only so many.

``convscope --install-completion`` teaches the shell to ask; it completes file names where nothing
here begins as what was typed. Nothing is imported that imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import convscope
from convscope.cli import builders
from convscope.recipe import AUGMENT_BY_NAME, names, options

Names = Callable[[], Iterable[str]]


def among(*known: str) -> Names:
    """These names."""
    return lambda: known


def data_sets() -> Iterable[str]:
    """The data sets that have a name."""
    from convscope.data.published import PUBLISHED  # sources.py, which names them, takes longer

    return (*PUBLISHED, "mnist-pairs")


def studies() -> Iterable[str]:
    """The studies that are ready."""
    ready = Path(convscope.__file__).parent / "studies" / "ready"
    return sorted(path.stem for path in ready.glob("*.toml"))


def networks_and_runs() -> Iterable[str]:
    """What `summary` is asked about."""
    return [*builders.networks(), *runs()]


def kernels() -> Iterable[str]:
    """The kernels that have a name."""
    from convscope.insight.lab import inputs

    return inputs.KERNELS


def runs() -> Iterable[str]:
    """The run folders in ``runs``, where `train` puts them."""
    return sorted(str(path.parent) for path in Path("runs").glob("*/recipe.toml"))


FIELDS: dict[str, Names] = {  # of `train`: those whose rule does not list all that they may be
    "model": builders.networks,
    "recipe": names,
    "augment": among(*AUGMENT_BY_NAME),
    "start": among("auto", "none", "imagenet"),
    "freeze": among("none", "stem", "features"),
    "kernels": among("auto", "plain", "fused"),
    "device": among("auto", "cpu", "cuda"),
}


def of_field(name: str) -> Names | None:
    """What an option of `train` may be, if that can be listed.

    >>> list(of_field("optimizer")()), of_field("lr")
    (['sgd', 'adam', 'adamw'], None)
    """
    rule = options()[name].rule if name in options() else None
    return FIELDS.get(name) or (among(*rule.names) if rule and rule.names else None)
