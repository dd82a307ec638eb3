"""A job that several ranks do together: what they must have in common, and what rank 0 tells the
others of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from convscope import devices, files, machine, models
from convscope import recipe as recipes
from convscope.data.draws import slots
from convscope.data.loader import forward
from convscope.data.pack import Pack, Split
from convscope.data.sources import of_recipe
from convscope.data.split import Part
from convscope.errors import BadArgument
from convscope.evaluation import predictions
from convscope.evaluation.predictions import evaluating
from convscope.events import Emit, Notice, silent
from convscope.models import surgery
from convscope.recipe import Recipe
from convscope.training import sync_batch_norm
from convscope.training.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from convscope.job.prepare import Job

SAME = "install the same on all machines"


@dataclass(frozen=True)
class Plan:
    """What rank 0 tells the others of a run: its ``recipe``, the training records that are held
    out (``val``), the ``path`` of its folder, and whether anything is left that they do."""

    recipe: Recipe
    val: list[int]
    path: str
    trains: bool

    def told(self, ranks: Ranks) -> None:
        """Tell it."""
        text = recipes.dumps(self.recipe)
        ranks.tell({**vars(self), "recipe": text})


def heard(ranks: Ranks) -> Plan:
    """What rank 0 has told of the run."""
    said = ranks.tell()
    return Plan(**{**said, "recipe": recipes.parse(said["recipe"], "of rank 0")})


def versions_and_options(model: str | None, typed: Mapping[str, Any]) -> dict[str, str]:
    """What of a rank must be that of every other one before they talk: versions, convscope's own
    code, a user's own class, what was typed."""
    found = {f"version of {name}": one for name, one in machine.versions().items()}
    code = hashlib.sha256()
    for path in sorted(Path(files.__file__).parent.rglob("*.py")):
        code.update(path.read_bytes())
    found["code of convscope"] = code.hexdigest()[:12]
    found |= {} if model is None else _source_of(model)
    return found | {name: str(value) for name, value in typed.items() if value is not None}


def _source_of(model: str) -> dict[str, str]:
    """The digest of the file of a network of one's own."""
    if not models.is_own(model):
        return {}
    file = Path(model.rpartition(":")[0])
    return {f"source of {model}": files.sha256(file)[:12] if file.is_file() else "not there"}


def content(pack: Pack) -> dict[str, str]:
    """What of its data must be that of every other rank."""
    return {
        f"fingerprint of {pack.name}": pack.fingerprint[:12],
        f"order of {pack.name}": pack.digest[:12],
    }


def opened(asked: Recipe, ranks: Ranks, emit: Emit) -> Pack:
    """The data of a recipe, which are the same on all ranks. Raises DataError, and BadArgument
    where they are not."""
    if not ranks.several:
        return of_recipe(asked, emit)
    packs: list[Pack] = []

    def facts() -> dict[str, str]:
        packs.append(of_recipe(asked, emit))
        return content(packs[0]) | _source_of(asked.model.name)

    ranks.agree(facts, "copy the same files to all machines")
    return packs[0]


def threads(asked: Recipe, ranks: Ranks) -> int:
    """How many threads this rank computes with: those that were typed, else its share of the
    machine's cores."""
    if not ranks.several or asked.origin.get("train.threads") == "typed":
        return asked.train.threads
    return max(1, machine.cores() // ranks.place.local_ranks)


def device(asked: Recipe, kind: str, ranks: Ranks) -> str:
    """Where a rank computes: of several GPUs each has its own. Raises BadArgument, also for a
    recipe that so many ranks do not bear."""
    _check(asked, ranks)
    if not ranks.several or kind == "cpu":
        return kind
    if kind != "cuda":
        rule = f"is not for {ranks.count} ranks, which compute on CPUs or on a GPU each"
        raise BadArgument("device", kind, rule, "try cpu, or cuda")
    if torch.cuda.device_count() < ranks.place.local_ranks:
        rule = f"needs a GPU for each of the {ranks.place.local_ranks} ranks of this machine, "
        rule += f"which has {torch.cuda.device_count()}"
        raise BadArgument("device", kind, rule, "start fewer ranks, or add --device cpu")
    own = f"cuda:{ranks.place.local_rank}"
    torch.cuda.set_device(own)
    return devices.of(own)


def _check(asked: Recipe, ranks: Ranks) -> None:
    """Refuse a batch that is too small for the ranks, and what cannot be synchronised. Raises
    BadArgument."""
    train = asked.train
    if ranks.several and train.batch_size < 2 * ranks.count:
        rule = f"is too small for {ranks.count} ranks, each of which learns from 2 images or more"
        remedy = f"try {2 * ranks.count}, or start {max(1, train.batch_size // 2)} ranks or fewer"
        raise BadArgument("batch_size", train.batch_size, rule, remedy)
    if ranks.several and train.sync_batch_norm and train.micro_batch:
        rule = "parts the batch, which sync_batch_norm takes as a whole"
        raise BadArgument("micro_batch", train.micro_batch, rule, "leave one of them out")


def together(model: nn.Module, asked: Recipe, ranks: Ranks, emit: Emit) -> None:
    """Let the batch norm of a network, if it has any that learns, see what the recipe says, in
    place; what that is is told."""
    if not ranks.several:
        return
    norms = [one for one in model.modules() if isinstance(one, _BatchNorm)]
    learning = any(not isinstance(one, surgery.FrozenBatchNorm2d) for one in norms)
    part = f"{ranks.count} ranks, each of which learns from its part of every batch"
    norm = "; batch norm sees that part (--sync-batch-norm: the whole)" if learning else ""
    if asked.train.sync_batch_norm:
        sync_batch_norm.synchronise(model)
        for one in norms:
            if not isinstance(one, sync_batch_norm.Synchronised | surgery.FrozenBatchNorm2d):
                rule = f"is not for {type(one).__name__}, but for BatchNorm1d and BatchNorm2d"
                raise BadArgument("sync_batch_norm", True, rule, "leave it out, or use these")
        norm = "; batch norm sees the whole" if learning else ""
    emit(Notice(part + norm))


def sized(job: Job) -> Job:
    """The job of a rank whose network stands no trial, once its lazy layers have their sizes."""
    if any(is_lazy(one) for one in (*job.model.parameters(), *job.model.buffers())):
        batch = next(replace(job.loader, rank=0, ranks=1).epoch(0)).first(2)
        with evaluating(job.model), torch.no_grad():
            forward(job.model, batch.inputs)
    return job


def outputs(job: Job, model: nn.Module, split: Split, stage: str) -> dict[str, Any]:
    """What the network gives for each target of a split, on rank 0: each rank computes a part, and
    hands over which records it had with what it found. Nothing on the other ranks."""
    ranks, total = job.ranks, len(split)
    apart = ranks.several and total >= 2 * ranks.count
    if not apart and not ranks.leads:
        return {}
    mine = slots(total, ranks.rank, ranks.count) if apart else range(total)
    found = predictions.outputs(
        model,
        {name: _rows(values, mine) for name, values in split.inputs.items()},
        job.pack.targets,
        batch_size=job.recipe.train.eval_batch,
        device=job.loader.device,
        memory_format=job.loader.memory_format,
        emit=job.emit if ranks.leads else silent,
        stage=stage,
    )
    if not apart:
        return found
    rows = {name: torch.from_numpy(one) for name, one in found.items()}
    whole = ranks.gathered(torch.arange(mine.start, mine.stop), rows, total)
    return {name: np.asarray(one) for name, one in whole.items()}


def _rows(values: Any, mine: range) -> Any:
    """Some records of an input, read where they lie when they are needed."""
    if len(mine) == len(values):
        return values
    if values.ndim == 4:
        return Part(values, np.arange(mine.start, mine.stop))
    return values[mine.start : mine.stop]


def alone(job: Job) -> Job:
    """The same job as rank 0 does it by itself: what the others take no part in."""
    return replace(job, ranks=ALONE)
