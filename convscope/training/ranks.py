"""This process among the ranks of one training, as PyTorch's launcher ``torchrun`` starts them.

Rank 0 decides and writes; it tells the others what it decided, and they compute their part of each
batch. Nothing that is sent is a pickle: facts go as JSON, weights as tensors. A thread of each rank
tells the launcher's store every few seconds that it is there, so that all end where one does not.
Of an error one rank speaks.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from convscope import machine
from convscope.errors import BadArgument, ConvscopeError, RunError
from convscope.formatting import plural

PATIENCE = 60.0  # seconds without a sign of life after which a rank is given up
LONG = datetime.timedelta(days=7)  # of one answer: who dies is noticed otherwise
MEETING = 600  # seconds in which all ranks have to come
SPEAKS = 2.0  # seconds that others have to say themselves what ended them


NOWHERE = machine.Place()


class Lost(ConvscopeError):
    """Another rank does not answer any more."""


@dataclass(eq=False)
class Ranks:
    """All ranks of a training as one of them sees them; by itself, one process alone."""

    place: machine.Place = NOWHERE
    store: Any = None
    talk: Any = None  # a group of processes for what lies in the CPU's memory
    left: threading.Event = field(default_factory=threading.Event)
    rounds: int = 0
    launch: Any = None  # what processes that the launcher starts anew can read and write, too
    again: bool = False  # whether the launcher starts anew what had its folder already
    answered: float = field(default_factory=time.monotonic)  # when its store last did

    @property
    def rank(self) -> int:
        """Which one this is."""
        return self.place.rank

    @property
    def count(self) -> int:
        """How many there are."""
        return self.place.ranks

    @property
    def leads(self) -> bool:
        """Whether it is the one that decides and writes."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.count > 1

    @property
    def dropout(self) -> tuple[int, ...]:
        """What tells the seeds of its masks of dropout from those of order and augmentation, and of
        the other ranks."""
        return (1, self.rank) if self.rank else (1,)

    def begins(self) -> None:
        """Let those that the launcher starts after this one know that its folder is theirs."""
        if self.launch is not None:
            self.launch.set("begun", "")

    def tell(self, value: Any = None) -> Any:
        """What rank 0 says, as JSON, to all; they wait for it as long as it takes."""
        if not self.several:
            return value
        said = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        size = torch.tensor([len(said)])
        with self.heard():
            dist.broadcast(size, 0, group=self.talk)
            if not self.leads:
                said = torch.empty(int(size), dtype=torch.uint8)
            dist.broadcast(said, 0, group=self.talk)
        return json.loads(bytes(said.tolist()))

    def tensors(self, mine: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rank 0's tensors by name, on the CPU of every rank."""
        if not self.several:
            return dict(mine)
        kinds = {n: (str(t.dtype).removeprefix("torch."), list(t.shape)) for n, t in mine.items()}
        found = {}
        for name, (kind, shape) in self.tell(kinds).items():
            if self.leads:
                one = mine[name].detach().cpu().contiguous()
            else:
                one = torch.empty(shape, dtype=getattr(torch, kind))
            with self.heard():
                if one.numel():
                    dist.broadcast(one.view(-1).view(torch.uint8), 0, group=self.talk)
            found[name] = one
        return found

    def agree(self, facts: Callable[[], Mapping[str, str]], remedy: str) -> None:
        """Refuse to go on where a rank fails to say what is asked, or says something else. Raises
        BadArgument on rank 0, which names who says what; the error of a rank, if that has none."""
        if not self.several:
            return
        self.rounds += 1
        why: ConvscopeError | None = None
        try:
            said = {"facts": dict(facts())}
        except ConvscopeError as one:
            why, said = one, {"error": str(one)}  # type: ignore[dict-item]
        with self.heard():
            self.store.set(self._key(self.rank), json.dumps(said | {"host": socket.gethostname()}))
            if not self.leads:
                self._await(why)
                return
            keys = [self._key(rank) for rank in range(self.count)]
            self.store.wait(keys, LONG)
            found = [json.loads(self.store.get(key)) for key in keys]
        if why is not None:
            raise why
        errors = by_value([one.get("error", "") for one in found])
        errors.pop("", None)
        for text, which in errors.items():
            raise RunError(f"{self.named(which, found)}: {text}")
        for name in sorted({name for one in found for name in one["facts"]}):
            values = by_value([one["facts"].get(name, "(none)") for one in found])
            if len(values) > 1:
                told = "; ".join(f"{text} on {self.named(r, found)}" for text, r in values.items())
                raise BadArgument(name, told, "must be the same on all ranks", remedy)
        self.store.set(f"agreed/{self.rounds}", "")

    def _await(self, why: ConvscopeError | None) -> None:
        """Wait until rank 0 has found that all agree. Raises this rank's own error, and Lost where
        they do not."""
        if why is not None:
            raise why
        while not self.store.check([f"agreed/{self.rounds}"]):
            if self.store.check(["code"]):
                raise Lost("the ranks do not agree")
            time.sleep(0.05)

    def _key(self, rank: int) -> str:
        return f"agree/{self.rounds}/{rank}"

    @staticmethod
    def named(which: Sequence[int], found: Sequence[Mapping[str, Any]]) -> str:
        """Ranks in words, with the machine of the first."""
        numbers = ", ".join(map(str, which[:8])) + (" ..." if len(which) > 8 else "")
        return f"rank{'s' * (len(which) > 1)} {numbers} ({found[which[0]]['host']})"

    def gathered(self, index: Tensor, rows: Mapping[str, Tensor], total: int) -> dict[str, Tensor]:
        """The rows of all ranks, by name, in the order of their ``index`` [n], on rank 0; nothing
        on the others. Raises RunError unless the indices are those of ``total`` rows, each once."""
        names, widths = list(rows), [one.shape[1] for one in rows.values()]
        with self.heard():
            counts = torch.zeros(self.count, dtype=torch.int64)
            counts[self.rank] = len(index)
            dist.all_reduce(counts, group=self.talk)
            if not self.leads:
                dist.send(index, 0, group=self.talk)
                for one in rows.values():
                    dist.send(one.contiguous(), 0, group=self.talk)
                return {}
            parts = [(index, list(rows.values()))]
            for rank in range(1, self.count):
                count = int(counts[rank])
                theirs = torch.empty(count, dtype=torch.int64)
                dist.recv(theirs, rank, group=self.talk)
                given = [torch.empty(count, width) for width in widths]
                for one in given:
                    dist.recv(one, rank, group=self.talk)
                parts.append((theirs, given))
        whole = torch.cat([indices for indices, _ in parts])
        if not torch.equal(whole.sort().values, torch.arange(total)):
            raise RunError(f"the ranks judged other records than 0 to {total - 1}, each once")
        return {
            name: torch.empty(total, widths[at]).index_copy_(
                0, whole, torch.cat([given[at] for _, given in parts])
            )
            for at, name in enumerate(names)
        }

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Turn what PyTorch says where another rank is gone into Lost."""
        try:
            yield
        except RuntimeError as why:  # DistError is one
            raise Lost(str(why).splitlines()[0]) from None

    def first_to_speak(self, code: int) -> bool:
        """Whether no other rank has said yet why all end, with the exit ``code``."""
        try:
            first = bool(self.store.add("spoken", 1) == 1)
            if first:
                self.store.set("code", str(code))
        except RuntimeError:  # the store is gone: each machine speaks for itself
            return self.place.local_rank == 0
        return first

    def spoken(self, seconds: float) -> int | None:
        """The exit code of the rank that has said why all end; None where none does in time."""
        until = time.monotonic() + seconds
        try:
            while not self.store.check(["code"]):
                if time.monotonic() > until:
                    return None
                time.sleep(0.05)
            return int(self.store.get("code"))
        except RuntimeError:
            return None

    def missing(self) -> list[int]:
        """The other ranks that did not say that they end."""
        others = [rank for rank in range(self.count) if rank != self.rank]
        with contextlib.suppress(RuntimeError):
            return [rank for rank in others if not self.store.check([f"ends/{rank}"])]
        return []


ALONE = Ranks()


def by_value(values: Sequence[str]) -> dict[str, list[int]]:
    """Who says what.

    >>> by_value(["2.0", "2.0", "2.1"])
    {'2.0': [0, 1], '2.1': [2]}
    """
    found: dict[str, list[int]] = {}
    for rank, value in enumerate(values):
        found.setdefault(value, []).append(rank)
    return found


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """This process among the others that ``torchrun`` started; alone where it did not. Where one
    ends with an error, all do, and one of them raises it; the others leave with its exit code."""
    place = machine.place()
    if place.ranks == 1:
        launch = _launch(place) if os.environ.get(AGENT) == "True" else None
        yield Ranks(place, launch=launch, again=launch is not None and launch.check(["begun"]))
        return
    us = Ranks(place)
    ours = not dist.is_initialized()
    try:
        with us.heard():
            us.launch = _launch(place)
            us.again = us.launch.check(["begun"])
            us.store = _meet(place, us.launch)
        threading.Thread(target=_watch, args=(us, patience()), daemon=True).start()
        yield us
    except BaseException as why:
        _end(us, why)
    finally:
        us.left.set()
        if us.store is not None:
            with contextlib.suppress(RuntimeError):
                us.store.set(f"ends/{us.rank}", "")
        if ours and dist.is_initialized():
            with contextlib.suppress(RuntimeError):
                dist.destroy_process_group()


def connect(us: Ranks) -> None:
    """Let the ranks, which have agreed that they belong together, talk. Raises Lost."""
    if not us.several:
        return
    with us.heard():
        if not dist.is_initialized():
            store = PrefixStore("talk", us.store)
            dist.init_process_group(
                "gloo", store=store, rank=us.rank, world_size=us.count, timeout=LONG
            )
        us.talk = dist.new_group(backend="gloo", timeout=LONG)


AGENT = "TORCHELASTIC_USE_AGENT_STORE"
_stores: list[Any] = []  # that of the launcher, once it was found
_joins = itertools.count()


def _launch(place: machine.Place) -> Any:
    """What the processes of a launch can write to and read from, those that are started anew among
    them: a part of its own for each training of a script."""
    if not _stores:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        own = os.environ.get(AGENT) != "True" and place.rank == 0
        _stores.append(TCPStore(address, port, is_master=own, wait_for_workers=False))
    return PrefixStore(f"convscope/{next(_joins)}", _stores[0])


def _meet(place: machine.Place, store: Any) -> Any:
    """What all ranks can write to and read from, anew for each training: what an earlier start has
    left in the ``store`` is not taken for this one's, since each process has a name of its own.
    Raises RunError where a rank does not come."""
    name, until = uuid.uuid4().hex, time.monotonic() + MEETING
    store.set(f"here/{place.rank}", name)
    everyone, told, met = [f"here/{rank}" for rank in range(place.ranks)], "", ""
    while not (met and store.check([f"{met}/go"])):
        if place.rank == 0 and store.check(everyone):
            names = json.dumps([store.get(key).decode() for key in everyone])
            if names != told:  # or one of them is of an earlier start
                told, met = names, uuid.uuid4().hex
                store.set("met", json.dumps([met, json.loads(names)]))
            if store.check([f"{met}/{rank}" for rank in range(1, place.ranks)]):
                store.set(f"{met}/go", "")
        elif place.rank and store.check(["met"]):
            place_of, all_names = json.loads(store.get("met"))
            met = place_of if name in all_names else ""
            if met:
                store.set(f"{met}/{place.rank}", "")
        if time.monotonic() > until:
            gone = [rank for rank in range(place.ranks) if not store.check([f"here/{rank}"])]
            raise RunError(f"{_ranks(gone)} did not come within {MEETING} seconds; look there")
        time.sleep(0.02)
    return PrefixStore(met, store)


def patience() -> float:
    """Seconds without a sign of life after which a rank is given up: ``CONVSCOPE_RANK_TIMEOUT``.
    Raises BadArgument."""
    said = os.environ.get("CONVSCOPE_RANK_TIMEOUT", str(PATIENCE))
    try:
        found = float(said)
    except ValueError:
        found = 0.0
    if not 1 <= found < float("inf"):
        rule = "must be seconds, at least 1"
        raise BadArgument("CONVSCOPE_RANK_TIMEOUT", said, rule, f"try {PATIENCE:g}")
    return found


def _watch(us: Ranks, limit: float) -> None:
    """Give signs of life, and look for those of the others: rank 0 for all, the others for its
    own. Ends the process where one is given up, or where another has said why all end."""
    try:
        store = us.store.clone()
    except RuntimeError:
        return
    watched = [0] if us.rank else list(range(1, us.count))
    seen = {rank: (b"", time.monotonic()) for rank in watched}
    threading.Thread(target=_alone, args=(us, 2 * limit), daemon=True).start()
    counted, us.answered = 0, time.monotonic()
    while not us.left.wait(min(2.0, limit / 4)):
        counted += 1
        try:
            store.set(f"beat/{us.rank}", str(counted))
            for rank in watched:
                if store.check([f"ends/{rank}"]):
                    seen[rank] = (b"", time.monotonic())
                    continue
                beat = store.get(f"beat/{rank}") if store.check([f"beat/{rank}"]) else b""
                if beat != seen[rank][0]:
                    seen[rank] = (beat, time.monotonic())
            ended = store.check(["code"])
        except RuntimeError:
            if time.monotonic() - us.answered > limit and not us.left.is_set():
                _die(us, "the launcher's store does not answer any more", 1)
            continue
        us.answered = time.monotonic()
        gone = [rank for rank, (_, when) in seen.items() if us.answered - when > limit]
        if us.left.is_set():
            return
        if gone:
            _die(us, f"{_ranks(gone)} gave no sign of life for {limit:g} seconds", 1)
        if ended and us.left.wait(SPEAKS) is False:
            os._exit(int(store.get("code")))


def _alone(us: Ranks, limit: float) -> None:
    """End a process whose question to the store is never answered, as where it was cut off."""
    while not us.left.wait(limit / 8):
        if time.monotonic() - us.answered > limit:
            if not us.place.local_rank:
                sys.stderr.write(f"error: {_gone('this machine was cut off from the others')}\n")
                sys.stderr.flush()
            os._exit(1)


def _ranks(which: Sequence[int]) -> str:
    return ("ranks " if len(which) > 1 else "rank ") + ", ".join(map(str, which))


def _die(us: Ranks, why: str, code: int) -> NoReturn:
    """End this process, whose main thread may wait for an answer that never comes: it says why by
    itself."""
    if us.first_to_speak(code):
        sys.stderr.write(f"error: {_gone(why)}\n")
        sys.stderr.flush()
    os._exit(code)


def _gone(why: str) -> str:
    return (
        f"{why}, so that all ranks end; the last checkpoint stands: start them again with "
        "--out and --resume (torchrun --max-restarts does so by itself)"
    )


def _end(us: Ranks, why: BaseException) -> NoReturn:
    """Raise the error, if it is this rank that is to tell it; else leave without a word."""
    code = getattr(why, "exit_code", getattr(why, "code", 1))
    code = code if isinstance(code, int) else 1
    if us.store is None:
        raise why
    if isinstance(why, KeyboardInterrupt | SystemExit):
        if us.leads:
            raise why
        raise SystemExit(code if isinstance(why, SystemExit) or code > 1 else 130) from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's, who sees a rank end
    with contextlib.suppress(RuntimeError):
        us.store.set(f"ends/{us.rank}", "")
    known = isinstance(why, ConvscopeError) and not us.leads
    if known and (said := us.spoken(SPEAKS)) is not None:  # rank 0, or who has another error
        raise SystemExit(said) from None
    lost = isinstance(why, Lost)
    if lost and us.leads and (said := us.spoken(SPEAKS / 2)) is not None:
        raise SystemExit(said) from None
    if not us.first_to_speak(code):
        raise SystemExit(us.spoken(SPEAKS) or 1) from None
    if lost:
        gone = us.missing()
        why = RunError(_gone(f"{_ranks(gone)} died" if gone else f"the ranks lost touch ({why})"))
    elif known:
        why = RunError(f"rank {us.rank} ({socket.gethostname()}): {why}")
    if isinstance(why, ConvscopeError):
        why.speaks = True
    raise why from None


def one_process(what: str) -> None:
    """Refuse what one process does where ``torchrun`` started several. Raises BadArgument."""
    if (count := machine.place().ranks) > 1:
        rule = f"is how many processes were started, and a {what} is done by one"
        raise BadArgument("torchrun", count, rule, "leave torchrun out")


def refuse(us: Ranks, **asked: Any) -> None:
    """Refuse what one process does by itself. Raises BadArgument."""
    for name, value in asked.items():
        if us.several and value:
            rule = f"is measured by one process, and there are {plural(us.count, 'rank')}"
            raise BadArgument(name, value, rule, "leave it out, or start one process")
