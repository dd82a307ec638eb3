"""Everything convscope raises on purpose, as one tree.

::

    ConvscopeError        exit 1
    ├── BadArgument       exit 2  a value the caller gave: argument, value, rule, remedy
    ├── DataError         exit 1  a data set that is missing, damaged or unreachable
    │   └── ImageError    exit 1  one image that cannot be read; names the file and what is wrong
    ├── RunError          exit 1  a run folder that is missing, damaged, or holds something else
    ├── TrainingError     exit 1  training that cannot go on (a loss that is not a number)
    └── TargetMissed      exit 3  a recipe's claim that this run did not reach
    Interrupted           exit 130 or 143: Ctrl-C or SIGTERM, after the state was saved

``Interrupted`` is a ``KeyboardInterrupt``, so that no ``except Exception`` swallows it.
"""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Iterable


class ConvscopeError(Exception):
    """Base of all expected errors; the command line prints its text and no traceback."""

    exit_code = 1
    speaks = False  # for all ranks of a launcher, of whom one tells why they end


class BadArgument(ConvscopeError, ValueError):
    """A value that breaks a rule: says which argument, which value, the rule and the remedy.

    >>> print(BadArgument("epochs", 0, "must be a whole number of at least 1", "try epochs=5"))
    epochs=0: must be a whole number of at least 1; try epochs=5
    """

    exit_code = 2

    def __init__(self, argument: str, value: object, rule: str, remedy: str) -> None:
        super().__init__(f"{argument}={value}: {rule}; {remedy}")
        self.argument, self.value, self.rule, self.remedy = argument, value, rule, remedy


class DataError(ConvscopeError):
    """A data set that is missing, damaged or unreachable."""


class ImageError(DataError):
    """One image that cannot be read.

    >>> print(ImageError("cat.jpg", "is empty", "copy it again"))
    cat.jpg: is empty; copy it again
    """

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        super().__init__(f"{name}: {problem}; {remedy}")
        self.name, self.problem, self.remedy = name, problem, remedy


class RunError(ConvscopeError):
    """A run folder that is missing, damaged, or holds something else."""


class TrainingError(ConvscopeError):
    """Training that cannot go on."""


class TargetMissed(ConvscopeError):
    """A recipe's claim that this run did not reach; ``run`` is the run, complete."""

    exit_code = 3

    def __init__(self, text: str, run: object = None) -> None:
        super().__init__(text)
        self.run = run


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM arrived; ``saved`` says where the state went, if any was there to save."""

    def __init__(self, signum: int, saved: str = "") -> None:
        super().__init__(
            f"stopped by {signal.Signals(signum).name}" + (f"; {saved}" if saved else "")
        )
        self.signum, self.saved = signum, saved

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM: 128 plus the signal's number."""
        return 128 + self.signum


def nearest(value: str, known: Iterable[str], *, listed: bool = True) -> str:
    """The remedy for an unknown name: the nearest known one, whatever its capitals and hyphens,
    then all of them, if they are to be listed.

    >>> nearest("minst", ["mnist", "cifar10"])
    'did you mean mnist? Known: cifar10, mnist'
    >>> nearest("ResNet-18", ["resnet18", "cnn"], listed=False), nearest("batch", ["batch-size"])
    ('did you mean resnet18? ', 'did you mean batch-size? Known: batch-size')
    """
    names = sorted(known)
    spelt, given = {bare(name): name for name in reversed(names)}, bare(value)
    begun = sorted((name for name in spelt if given and name.startswith(given)), key=len)
    close = begun or difflib.get_close_matches(given, spelt, n=1, cutoff=0.55)
    hint = f"did you mean {spelt[close[0]]}? " if close else ""
    return hint + f"Known: {', '.join(names) or 'none'}" * listed


def bare(name: str) -> str:
    """A name without what is easily mistaken in it: its letters and digits, in small letters.

    >>> bare("EfficientNet-B0")
    'efficientnetb0'
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


def text_of(why: BaseException) -> str:
    """What an exception says, after its kind where it is none of convscope's own.

    >>> text_of(RunError("a: is no run")), text_of(KeyError("a")), text_of(MemoryError())
    ('a: is no run', "KeyError: 'a'", 'MemoryError')
    """
    kind = "" if isinstance(why, ConvscopeError) else f"{type(why).__name__}: "
    return f"{kind}{why}" if str(why) else type(why).__name__
