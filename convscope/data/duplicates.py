"""Images that a data set holds more than once, pixel for pixel at the size that it is packed at.

They are told by 64 bits of each image, which packs keep, so that no pixel is read for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from convscope.data.columns import Array, Columns, Image
from convscope.events import Notice

if TYPE_CHECKING:
    from convscope.data.pack import Pack, Split

ALARM = 0.001  # share of the test images that moves an accuracy by a tenth of a point at most
NAMED = 3  # pairs that a sentence names
KEPT = 20  # pairs that figures name
_PIECE = 1 << 20  # bytes that are hashed together: what a second-level cache holds
_KEY = 2026  # of the factors; another one gives other hashes
_MIX = 0x9E3779B97F4A7C15  # odd, so that no bit of a hash is lost: 2**64 / the golden ratio

Hashes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]


def image_hashes(images: npt.NDArray[np.uint8]) -> Hashes:
    """64 bits of the pixels of each image ``[N,C,H,W]``, or of as many bytes, whatever its label.

    Two multilinear hashes of 32 bits (Lemire and Kaser 2014, The Computer Journal 57:1624): images
    that differ have the same one with a chance of 2**-64.

    >>> a = np.zeros((2, 1, 3, 3), np.uint8)
    >>> a[1, 0, 2, 2] = 1
    >>> one, two, again = image_hashes(a[[0, 1, 0]]).tolist()
    >>> one == again, one == two
    (True, False)
    """
    size = int(np.prod(images.shape[1:]))
    words = -(-size // 4)
    factors = np.random.Philox(key=_KEY).random_raw(2 * words).reshape(2, words).T
    found = np.empty(len(images), np.uint64)
    step = max(1, _PIECE // (8 * words))
    padded = np.zeros((step, 4 * words), np.uint8)
    for begin in range(0, len(images), step):
        piece = images[begin : begin + step]
        padded[: len(piece), :size] = piece.reshape(len(piece), size)
        sums = padded[: len(piece)].view("<u4").astype(np.uint64) @ factors  # [n,2], modulo 2**64
        found[begin : begin + step] = sums[:, 0] >> 32 << 32 | sums[:, 1] >> 32
    return found


def input_hashes(columns: Columns, values: Mapping[str, Array]) -> Hashes:
    """64 bits of the inputs of each record, whatever its targets: :func:`image_hashes` where they
    are one image, else those of every input, in order.

    >>> from convscope.data.columns import Numbers
    >>> found = input_hashes({"x": Numbers(("a",))}, {"x": np.array([[1.0], [2.0], [1.0]], "f4")})
    >>> len(found), len(set(found.tolist()))
    (3, 2)
    """
    names = [name for name, column in columns.items() if column.is_input]
    found, *others = (image_hashes(_as_bytes(values[name])) for name in names)
    for other in others:
        found = found * np.uint64(_MIX) + other  # modulo 2**64
    return found


def _as_bytes(values: Array) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)


def firsts(hashes: Hashes) -> Positions:
    """For each image the position of the first one that is identical: its own, if it is alone.

    >>> firsts(np.array([7, 5, 7, 9], np.uint64))
    array([0, 1, 0, 3])
    """
    ordered = np.sort(hashes)
    if np.all(ordered[1:] != ordered[:-1]):
        return np.arange(len(hashes))
    _, index, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    return index[inverse]


@dataclass(frozen=True)
class Duplicates:
    """How many images of a data set are there more than once, and examples of each kind: pairs of
    an image and the first one that is identical to it, by their files or positions.

    ``test_in_train`` and ``val_in_train`` count test and validation images that the training split
    holds (those of test also where validation does), ``test_repeated`` other test images that are
    there before, ``two_labels`` images whose copies have another label. ``leaked`` [N] says of each
    test image whether it is one of the first kind.
    """

    test_in_train: int
    val_in_train: int
    test_repeated: int
    two_labels: int
    test: int
    images: int
    size: tuple[int, int]
    leaked: npt.NDArray[np.bool_]
    examples: Mapping[str, list[tuple[str, str]]] = field(default_factory=dict)

    def as_json(self, right: npt.NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """The counts and some examples; and, where ``right`` [N] says which test images are right,
        the accuracy without those that the training split holds, None where none is left."""
        found: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("test_in_train", "val_in_train", "test_repeated", "two_labels")
        }
        found["examples"] = {name: [list(pair) for pair in p] for name, p in self.examples.items()}
        if right is not None:
            others = right[~self.leaked]
            found["n_without"] = len(others)
            found["accuracy_without"] = float(others.mean()) if len(others) else None
        return found

    def notice(self, name: str) -> Notice | None:
        """What there is to say of them before a training; a warning where more than ``ALARM`` of
        the test images have been seen in training, or of all images judge and are learnt from, or
        have two labels."""
        size = "{} x {}".format(*self.size)
        kinds = {
            "test_in_train": "test images that are training images, too",
            "val_in_train": "validation images that are training images, too",
            "test_repeated": "test images that repeat another one",
            "two_labels": "images under two labels, of which one at most is right",
        }
        said = []
        for kind, text in kinds.items():
            if count := getattr(self, kind):
                of = ""
                if kind.startswith("test"):
                    of = f" of {self.test:,} ({100 * count / self.test:.2g} %)"
                pairs = [f"{one} = {other}" for one, other in self.examples[kind][:NAMED]]
                more = ", ..." if len(self.examples[kind]) > NAMED else ""
                said.append(f"{text}: {count:,}{of}, such as {', '.join(pairs)}{more}")
        if not said:
            return None
        leaked = "; the accuracy without them is given beside the other: delete one of each pair"
        return Notice(
            f"{name}: identical pixel for pixel at {size}: {'; '.join(said)}"
            + leaked * bool(self.test_in_train),
            warning=self.test_in_train > ALARM * self.test
            or max(self.val_in_train, self.two_labels) > ALARM * self.images,
        )


def found_in(pack: Pack) -> Duplicates:
    """The images of a pack that are there more than once."""
    splits = [(name, pack.splits[name]) for name in ("train", "val", "test") if name in pack.splits]
    first = firsts(np.concatenate([split.hashes for _, split in splits]))
    starts = np.cumsum([0, *(len(split) for _, split in splits)])
    where = np.repeat(np.arange(len(splits)), np.diff(starts))  # the split of each image
    names = [name for name, _ in splits]
    test = where == names.index("test") if "test" in names else np.zeros(len(where), bool)
    earlier = where[first] < where
    two = _differ([split for _, split in splits], pack, first)
    kinds = {
        "test_in_train": test & earlier,
        "val_in_train": ~test & earlier,
        "test_repeated": test & ~earlier & (first != np.arange(len(first))),
        "two_labels": two,
    }

    def called(at: int) -> str:
        name, split = splits[where[at]]
        inside = at - int(starts[where[at]])
        return f"{name} image {inside}" if split.files is None else split.files[inside]

    examples = {
        kind: [(called(at), called(int(first[at]))) for at in np.flatnonzero(chosen)[:KEPT]]
        for kind, chosen in kinds.items()
        if chosen.any()
    }
    counts = {kind: int(chosen.sum()) for kind, chosen in kinds.items()}
    counts["two_labels"] = int(np.isin(first, first[two]).sum())  # with those they are copies of
    return Duplicates(
        **counts,
        test=int(test.sum()),
        images=len(first),
        size=next(one.size for one in pack.inputs.values() if isinstance(one, Image)),
        leaked=kinds["test_in_train"][test],
        examples=examples,
    )


def _differ(splits: Sequence[Split], pack: Pack, first: Positions) -> npt.NDArray[np.bool_]:
    """Which records [N] have another target than the first one that is identical to each."""
    found = np.zeros(len(first), bool)
    for name in pack.targets:
        values = np.concatenate([split.values[name] for split in splits])
        found |= (values != values[first]).reshape(len(values), -1).any(axis=1)
    return found
