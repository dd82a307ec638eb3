"""Which records are held out, and which fold each is in: by seeded hashes of what they are called.

So two loads agree whatever order files are listed in, and a record stays on its side when others
come and go.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convscope.data.audit.copies import components
from convscope.data.columns import Array, Class, Columns, Labels
from convscope.data.duplicates import Positions


def class_targets(columns: Columns, values: Mapping[str, Array]) -> list[Array]:
    """The values of the targets that are classes or labels; all in one class, if there are none."""
    found = [values[name] for name, one in columns.items() if isinstance(one, Class | Labels)]
    return found or [np.zeros(len(next(iter(values.values()))), np.int64)]


@dataclass(frozen=True)
class Units:
    """The records of a data set in units that are not torn apart: a record, or a group of them.

    ``unit`` is that of each record [N], ``draw`` a number 0..1 of each unit [n], ``stratum`` which
    classes it has [n], as one number, and ``having`` the units of each class.
    """

    unit: Positions
    draw: npt.NDArray[np.float64]
    stratum: Positions
    having: tuple[Positions, ...]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        targets: Sequence[npt.NDArray[np.integer]],
        seed: int = 0,
        first: Positions | None = None,
    ) -> Units:
        """Units of records with one of these ``names`` (files, or groups), and of those that are
        identical (``first`` as of :mod:`convscope.data.duplicates`).

        ``targets`` are classes [N] or labels, 0 or 1, [N,K]; strata are those of the first one that
        is a class.
        """
        _, at, unit = np.unique(np.array(names, object), return_index=True, return_inverse=True)
        draw = np.array([drawn(names[n], seed) for n in at.tolist()])
        if first is not None and np.any(first != np.arange(len(first))):
            pairs = [*zip(at[unit].tolist(), range(len(unit)), strict=True)]
            pairs += zip(first.tolist(), range(len(unit)), strict=True)
            whole = components(len(unit), pairs)
            one, unit_of = np.unique(whole, return_inverse=True)
            lowest = np.full(len(one), np.inf)
            np.minimum.at(lowest, unit_of, draw[unit])
            unit, draw = unit_of, lowest
        having = [
            np.unique(unit[target == value]) if target.ndim == 1 else np.unique(unit[value > 0])
            for target in targets
            for value in (np.unique(target) if target.ndim == 1 else target.T)
        ]
        classes: list[list[int]] = [[] for _ in draw]
        leading = next((len(np.unique(one)) for one in targets if one.ndim == 1), 0)
        for number, units in enumerate(having[:leading]):
            for one in units.tolist():
                classes[one].append(number)
        numbers = {some: n for n, some in enumerate(sorted(set(map(tuple, classes))))}
        stratum = np.array([numbers[tuple(some)] for some in classes], np.int64)
        return cls(unit, draw, stratum, tuple(having))

    def held_out(self, share: float) -> Positions:
        """Indices, ascending, of the records whose unit has a draw below a ``share``; of each
        stratum at least half and at most one and a half times as many units as that.

        Every class of two units or more is on both sides, and one of a single unit is not held out.

        >>> units = Units.of([f"{n}.png" for n in range(1000)], [np.arange(1000) % 2])
        >>> len(units.held_out(0.1))
        90
        """
        chosen = np.zeros(len(self.draw), bool)
        for units in self._by_stratum() if share else ():
            least, most = math.floor(share * len(units) / 2), math.ceil(1.5 * share * len(units))
            count = int((self.draw[units] < share).sum())
            chosen[units[: min(max(count, least), most)]] = True
        for units in self.having if share else ():
            if len(units) > 1 and not chosen[units].any():
                chosen[units[self.draw[units].argmin()]] = True
        for units in self.having:
            if len(units) and chosen[units].all():
                chosen[units[self.draw[units].argmax()]] = False
        return np.flatnonzero(chosen[self.unit])

    def folds(self, count: int) -> Positions:
        """The fold of each record [N], 0 to ``count`` - 1: the units of each stratum are dealt in
        the order of their draws.

        >>> np.bincount(Units.of(list("abcdefg"), [np.arange(7) % 2]).folds(3)).tolist()
        [3, 2, 2]
        """
        fold = np.zeros(len(self.draw), np.int64)
        dealt = 0
        for units in self._by_stratum():
            fold[units] = (dealt + np.arange(len(units))) % count
            dealt += len(units)
        return fold[self.unit]

    def _by_stratum(self) -> list[Positions]:
        """The units of each stratum, by their draws."""
        order = np.lexsort((self.draw, self.stratum))
        cuts = np.flatnonzero(np.diff(self.stratum[order])) + 1
        return np.split(order, cuts)


def drawn(name: str, seed: int) -> float:
    """A number 0..1 that a name and a seed give, by SHA-256.

    >>> round(drawn("cat/1.png", 0), 3), round(drawn("cat/1.png", 1), 3)
    (0.089, 0.782)
    """
    digest = hashlib.sha256(f"{seed}\0{name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
