"""The confusion matrix, the images behind its counts, and the worst mistakes.

A count is a button that opens its images, by the browser's own popovers: no script runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from convscope.evaluation.predictions_file import PredictionRow
from convscope.formatting import plural
from convscope.insight.sprites import sprites
from convscope.markup import esc, note, scroll, table
from convscope.report.run_files import RunFiles, percent, probability

LARGEST_MATRIX = 99  # more classes than that are shown as their most confused pairs alone
PAIRS, MORE_PAIRS = 10, 40  # most confused pairs, beside a matrix and without one
WORST = 24  # mistakes shown below the matrix
PER_CELL = 18  # images shown for one count of the matrix
FEW = 5  # classes whose matrix is drawn large, with its pairs close beside it
DIAGONAL = 20  # up to so many classes, right images are shown too

Pair = tuple[int, int]


class Confusion:
    """The matrix of a run, and which images stand behind each count: the surest mistakes first, and
    of right ones the least sure. ``images`` are uint8 [N,C,h,w] in the order of ``rows``, or None.
    """

    def __init__(
        self, run: RunFiles, rows: Sequence[PredictionRow], images: np.ndarray | None
    ) -> None:
        self.run, self.rows = run, rows
        self.classes, self.matrix = run.classes, run.metrics["confusion"]
        at = {name: i for i, name in enumerate(self.classes)}
        groups: dict[Pair, list[int]] = defaultdict(list)
        for i, row in enumerate(rows):
            groups[at[row.label], at[row.predicted]].append(i)
        for (label, predicted), members in groups.items():
            sign = 1 if label == predicted else -1
            members.sort(key=lambda i: (sign * rows[i].p_predicted, i))
        self.groups = groups
        wrong = [i for (a, b), members in groups.items() if a != b for i in members]
        self.wrong = sorted(wrong, key=lambda i: (-rows[i].p_predicted, i))
        self.pairs = sorted(
            (pair for pair in groups if pair[0] != pair[1]),
            key=lambda pair: (-len(groups[pair]), pair),
        )
        images = None if images is None or len(images) != len(rows) else images
        self.opened = dict.fromkeys(self._opened(images is not None))
        self.sprites = None if images is None else sprites(images, self._wanted())

    def _opened(self, drawn: bool) -> list[Pair]:
        """The counts that open, the largest first."""
        if len(self.classes) > LARGEST_MATRIX or not drawn:
            return self.pairs[:MORE_PAIRS]
        right = [(i, i) for i in range(len(self.classes)) if (i, i) in self.groups]
        return self.pairs + (right if len(self.classes) <= DIAGONAL else [])

    def _wanted(self) -> list[int]:
        """Images in the order of their claim to room: the worst, then the first of each count, then
        more, the sooner the larger the count."""
        claims = [
            ((turn + 1) / math.sqrt(len(self.groups[pair])), i)
            for pair in self.opened
            for turn, i in enumerate(self.groups[pair][:PER_CELL])
        ]
        firsts = [self.groups[pair][0] for pair in self.opened]
        return self.wrong[:WORST] + firsts + [i for _, i in sorted(claims)]

    def style(self) -> str:
        """The style of its images."""
        return self.sprites.style() if self.sprites is not None else ""

    def html(self) -> str:
        """Matrix, pairs and panels."""
        if not self.pairs:
            most = note("No image was taken for another class.")
        else:
            count = PAIRS if len(self.classes) <= LARGEST_MATRIX else MORE_PAIRS
            items = [
                (
                    esc(self.classes[i]),
                    esc(self.classes[j]),
                    self._button((i, j)),
                    percent(len(self.groups[i, j]) / sum(self.matrix[i]), 1),
                )
                for i, j in self.pairs[:count]
            ]
            heads = ["true class", "taken for", "images", "of the class"]
            most = table("pairs", "Most confused pairs", heads, items, caption=True, words=2)
        panels = "".join(map(self._panel, self.opened))
        if len(self.classes) > LARGEST_MATRIX:
            said = f"A matrix of {len(self.classes)} classes would show nothing; these are its "
            said += "largest counts off the diagonal. Choose one to see its images."
            return f"{note(said)}{most}{panels}"
        said = "Images by true class (rows) and predicted class (columns); empty is none."
        said += " Choose a count to see its images." if panels else ""
        skip = '<a class="skip" href="#mistakes">Skip the matrix</a>'
        matrix = scroll("Confusion matrix", self._matrix())
        return f'{note(said)}{skip}<div class="wide">{matrix}{most}</div>{panels}'

    def _matrix(self) -> str:
        names = list(map(esc, self.classes))
        few = len(names) <= FEW
        look = (
            "matrix"
            + " long" * (max(map(len, self.classes)) > (9 if few else 4))
            + " huge" * (len(names) > 25)
        )
        look += " few" * few
        head = "".join(f'<th scope="col" title="{c}"><span>{c}</span></th>' for c in names)
        worst = len(self.groups[self.pairs[0]]) if self.pairs else 1
        body = []
        for i, row in enumerate(self.matrix):
            drawn = []
            for j, count in enumerate(row):
                if not count:
                    drawn.append("<td></td>")
                    continue
                tint = f"hit h{_level(count / sum(row))}" if i == j else f"m{_level(count / worst)}"
                drawn.append(f'<td class="{tint}">{self._button((i, j))}</td>')
            body.append(
                f'<tr><th scope="row" title="{names[i]}">{names[i]}</th>{"".join(drawn)}</tr>\n'
            )
        return (
            f'<table class="{look}"><caption class="hidden">Confusion matrix</caption>'
            f'<thead><tr><td class="corner"></td>{head}</tr></thead>\n'
            f"<tbody>{''.join(body)}</tbody></table>"
        )

    def _button(self, pair: Pair) -> str:
        """The count, which opens its images where there are some to show."""
        count = f"{len(self.groups[pair]):,}"
        if not self._images(pair):
            return count
        label = f"{self._title(pair)}: {plural(len(self.groups[pair]), 'image')}"
        return (
            f'<button type="button" popovertarget="cell-{pair[0]}-{pair[1]}" '
            f'aria-label="{esc(label)}">{count}</button>'
        )

    def _title(self, pair: Pair) -> str:
        label, predicted = (self.classes[i] for i in pair)
        return f"{label}, rightly" if label == predicted else f"{label} taken for {predicted}"

    def _images(self, pair: Pair) -> list[int]:
        """Those behind a count that are shown; without pictures, their names."""
        members = self.groups[pair][:PER_CELL] if pair in self.opened else []
        return [i for i in members if self.sprites is None or i in self.sprites.places]

    def _panel(self, pair: Pair) -> str:
        shown = self._images(pair)
        if not shown:
            return ""
        whole, name = len(self.groups[pair]), f"cell-{pair[0]}-{pair[1]}"
        order = "least sure" if pair[0] == pair[1] else "surest"
        some = f"{len(shown)} of {plural(whole, 'image')}, the {order} first"
        items = "".join(self.item(i) for i in shown)
        return (
            f'<div class="cell" id="{name}" popover role="group" aria-labelledby="{name}-title">'
            f'<div class="top"><h3 id="{name}-title">{esc(self._title(pair))} <small>{some}</small>'
            f'</h3><button type="button" popovertarget="{name}" '
            f'popovertargetaction="hide">Close</button></div>'
            f'<ol class="mistakes">{items}</ol></div>\n'
        )

    def item(self, i: int) -> str:
        """A test image with its name, what was said of it, and how probable both classes are."""
        row = self.rows[i]
        split = self.run.metrics["split"]
        numbered = row.file_or_index.isdecimal()
        said = f"{split} image {row.file_or_index}: {row.label}" + (
            f", taken for {row.predicted}" if row.label != row.predicted else ", rightly"
        )
        tile = self.sprites.tile(i, said) if self.sprites is not None else ""
        no = "no" if row.label != row.predicted else "yes"
        lines = f'<div class="{no}"><dt>said <b>{esc(row.predicted)}</b></dt>'
        lines += f"{_bar(row.p_predicted)}</div>"
        if row.label != row.predicted:
            lines += f"<div><dt>is <b>{esc(row.label)}</b></dt>{_bar(row.p_label)}</div>"
        name = f"#{row.file_or_index}" if numbered else row.file_or_index
        return f'<li>{tile}<p class="id">{esc(name)}</p><dl>{lines}</dl></li>'

    def worst(self) -> str:
        """The mistakes of which the network was surest."""
        if not self.wrong:
            return note(f"None: all {self.run.metrics['n']:,} images are right.")
        few = len(self.wrong) <= WORST
        said = "All mistakes" if few else f"The {WORST} of {len(self.wrong):,} mistakes of which "
        said += "" if few else "the network was surest"
        said += ", with the probability it gave to the class it said and to the class it is."
        return (
            f'{note(said)}<ol class="mistakes">{"".join(map(self.item, self.wrong[:WORST]))}</ol>'
        )


def _level(share: float) -> int:
    """One of nine tints; the square root keeps a single mistake visible beside hundreds."""
    return max(1, min(9, round(9 * math.sqrt(share))))


def _bar(p: float) -> str:
    return f'<dd style="--p:{p:.3f}">{esc(probability(p))}</dd>'
