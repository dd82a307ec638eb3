"""Pictures of images and of curves, as matplotlib figures; no state, and matplotlib is imported
late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from convscope import webpage
from convscope.errors import BadArgument
from convscope.insight.canvas import blank, matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL = 1.0  # inches an image is wide
_GAP = 0.12  # inches between images
_LINE = 0.2  # inches of a title above an image
_NEXT = 0.14  # inches of a further line of it
_LETTER = 0.1  # inches of a letter of a heading
_EDGE = 0.15  # inches around everything
_HEADING = 0.27  # inches of a heading above a grid
_BREAK = 0.25  # inches between two grids
_INK, _QUIET = "#1c1d21", "#62656d"
_LINE_COLOUR, _MARK, _TRAINING = map(webpage.colour, ("blue", "red", "training"))


def image_grid(images: np.ndarray, titles: Sequence[str], *, columns: int = 8) -> Figure:
    """A grid of uint8 images [N,C,H,W] with 1 or 3 channels, a title above each, every pixel crisp.

    Raises BadArgument for other images or another number of titles.

    >>> figure = image_grid(np.zeros((3, 1, 28, 28), np.uint8), ["7", "2", "1"], columns=2)
    >>> len(figure.axes)
    3
    """
    return _blocks([("", _checked(images, titles), titles)], columns)


def labelled_grids(
    groups: Sequence[tuple[str, np.ndarray, Sequence[str]]], *, columns: int = 8
) -> Figure:
    """Grids one below the other: of each a heading, its images uint8 [N,C,H,W] with 1 or 3 channels
    and a title an image, which may be of several lines.

    Raises BadArgument for other images or another number of titles.

    >>> images = np.zeros((3, 1, 28, 28), np.uint8)
    >>> figure = labelled_grids([("cats", images, "abc"), ("dogs", images[:1], ["d"])])
    >>> len(figure.axes), [text.get_text() for text in figure.texts]
    (4, ['cats', 'dogs'])
    """
    blocks = [(heading, _checked(images, titles), titles) for heading, images, titles in groups]
    return _blocks(blocks, columns)


def before_after(
    images: np.ndarray, augmented: np.ndarray, titles: Sequence[str], *, columns: int = 8
) -> Figure:
    """The same batch as it is and as augmented: two labelled grids, image under image.

    Both are uint8 [N,C,H,W] with 1 or 3 channels. Raises BadArgument for batches of different
    length, other images or another number of titles.

    >>> batch = np.zeros((4, 3, 32, 32), np.uint8)
    >>> len(before_after(batch, batch, ["cat", "dog", "cat", "ship"]).axes)
    8
    """
    blocks = [
        ("As it is", _checked(images, titles), titles),
        ("As augmented", _checked(augmented, titles, "augmented"), titles),
    ]
    return _blocks(blocks, columns)


def cut_out(photo: np.ndarray, boxes: Sequence[Sequence[float]], images: np.ndarray) -> Figure:
    """A photograph, uint8 [C,H,W], with numbered boxes (left, top, right, bottom), and below it
    what was cut out of each: uint8 images [N,C,h,w], every pixel crisp.

    >>> images = np.zeros((2, 1, 28, 28), np.uint8)
    >>> boxes = [(10, 10, 30, 40), (40, 10, 60, 40)]
    >>> len(cut_out(np.zeros((3, 60, 80), np.uint8), boxes, images).axes)
    3
    """
    titles = [str(at) for at in range(1, len(boxes) + 1)]
    [whole], small = _checked(photo[None], ["photo"]), _checked(images, titles)
    columns = 8
    rows = -(-len(boxes) // columns)
    width = columns * (_CELL + _GAP)
    tall = width * whole.shape[0] / whole.shape[1]
    height = tall + rows * (_CELL + _LINE + _GAP) + 2 * _EDGE
    figure = blank(figsize=(width, height), dpi=160, facecolor="white")
    axes = figure.add_axes((0, 1 - tall / height, 1, tall / height))
    axes.imshow(whole)
    axes.set_axis_off()
    for title, (left, top, right, bottom) in zip(titles, boxes, strict=True):
        size = right - left, bottom - top
        frame = matplotlib().patches.Rectangle((left, top), *size, fill=False, edgecolor=_MARK)
        axes.add_patch(frame)
        axes.annotate(title, (left, top), (0, 2), textcoords="offset points", color=_MARK)
    for at, (title, image) in enumerate(zip(titles, small, strict=True)):
        left = _GAP / 2 + at % columns * (_CELL + _GAP)
        bottom = height - tall - _EDGE - (at // columns + 1) * (_CELL + _LINE + _GAP) + _GAP
        box = (left / width, bottom / height, _CELL / width, _CELL / height)
        _draw(figure.add_axes(box), image, title)
    return figure


def learning_rates(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
    *,
    title: str = "",
) -> Figure:
    """The loss at each learning rate, as it was and smoothed, and the rate that is suggested.

    >>> figure = learning_rates([1e-3, 1e-2, 1e-1], [2.3, 1.9, 2.4], [2.3, 2.0, 2.4], 1e-2)
    >>> figure.axes[0].get_xscale()
    'log'
    """
    figure = blank(figsize=(7, 4.2), dpi=160, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses, color=_QUIET, alpha=0.45, linewidth=1, label="loss of a step")
    axes.plot(rates, smoothed, color=_TRAINING, linewidth=2, label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color=_LINE_COLOUR, linewidth=1.2, linestyle="--")
        at = smoothed[min(range(len(rates)), key=lambda i: abs(rates[i] - suggestion))]
        axes.plot(
            [suggestion], [at], "o", color=_LINE_COLOUR, label=f"steepest at {suggestion:.1e}"
        )
    low, high = min(smoothed), max(smoothed[: max(1, len(smoothed) // 2)])
    axes.set_ylim(max(0.0, low - 0.1 * (high - low)), high + 0.6 * (high - low) + 1e-9)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate", color=_INK)
    axes.set_ylabel("loss", color=_INK)
    axes.set_title(title, size=10, color=_INK, loc="left", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_QUIET)
    axes.legend(frameon=False, fontsize=8)
    return figure


def learning_curve(
    images: Sequence[int],
    errors: Sequence[float],
    along: Sequence[float],
    heights: Sequence[float],
    band: Sequence[tuple[float, float]],
    y_label: str,
) -> Figure:
    """Errors after training on so many images, the line through them, and its band; dashed where it
    goes beyond what was measured.

    >>> figure = learning_curve([1, 2], [0.4, 0.3], [1, 2, 4], [0.4, 0.3, 0.2], [(0, 1)] * 3, "e")
    >>> figure.axes[0].get_xscale()
    'log'
    """
    figure = blank(figsize=(7, 4.2), dpi=120, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    low, high = zip(*band, strict=True)
    axes.fill_between(along, low, high, color=_LINE_COLOUR, alpha=0.15, linewidth=0)
    inside = [(x, y) for x, y in zip(along, heights, strict=True) if x <= images[-1]]
    beyond = [(x, y) for x, y in zip(along, heights, strict=True) if x >= inside[-1][0]]
    for points, style in ((inside, "-"), (beyond, "--")):
        axes.plot(*zip(*points, strict=True), style, color=_LINE_COLOUR, linewidth=1.6)
    axes.plot(images, errors, "o", color=_MARK)
    axes.set_xscale("log")
    axes.set_xticks([*images, 2 * images[-1]], [f"{n:,}" for n in (*images, 2 * images[-1])])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(matplotlib().ticker.PercentFormatter(1.0, decimals=None))
    axes.set_xlabel("training images", color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_QUIET)
    return figure


def where_time_goes(steps: Mapping[str, Mapping[str, float]]) -> Figure:
    """A bar for each way of running the same training step, divided by kind of work.

    ``steps`` gives for each name milliseconds by kind; the shares of a bar are written into it
    where there is room.

    >>> bars = {"before": {"convolution": 20.0, "pooling": 5.0}, "after": {"convolution": 18.0}}
    >>> len(where_time_goes(bars).axes[0].patches)
    4
    """
    kinds = list(dict.fromkeys(kind for parts in steps.values() for kind in parts))
    longest = max(sum(parts.values()) for parts in steps.values())
    colours = matplotlib().colormaps["tab20"]
    figure = blank(figsize=(9, 1.6 + 0.75 * len(steps) + 0.22 * (len(kinds) / 3)))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    for row, parts in enumerate(steps.values()):
        left, whole = 0.0, sum(parts.values())
        for i, kind in enumerate(kinds):
            value = parts.get(kind, 0.0)
            axes.barh(row, value, left=left, color=colours(i % 20), edgecolor="white")
            if value > 0.035 * longest:  # wide enough to be written into
                text = f"{100 * value / whole:.0f}%"
                axes.text(left + value / 2, row, text, ha="center", va="center", fontsize=8)
            left += value
        axes.text(left, row, f"  {whole:.1f} ms", va="center", fontsize=9, color=_INK)
    axes.set_yticks(range(len(steps)), list(steps))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * longest)
    axes.set_xlabel("milliseconds a training step")
    axes.spines[["top", "right"]].set_visible(False)
    patch = matplotlib().patches.Patch
    handles = [patch(color=colours(i % 20), label=kind) for i, kind in enumerate(kinds)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def trade_offs(
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    costs: Mapping[str, Sequence[float]],
    title: str = "",
) -> Figure:
    """Accuracies with their intervals against each cost, a panel a cost; logarithmic where a cost
    spans more than a factor of eight.

    >>> costs = {"seconds": [3.0, 5.0], "parameters": [100.0, 20_000.0]}
    >>> figure = trade_offs(["a", "b"], [0.91, 0.95], [(0.9, 0.92), (0.94, 0.96)], costs)
    >>> [axes.get_xscale() for axes in figure.axes]
    ['linear', 'log']
    """
    rows = -(-len(names) // 3)
    figure = blank(figsize=(3.6 * len(costs), 3.4 + 0.2 * rows), dpi=120, facecolor="white")
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    colours = matplotlib().colormaps["tab10"]
    for axes, (cost, each) in zip(panels, costs.items(), strict=True):
        for i, (x, y, (low, high)) in enumerate(zip(each, values, intervals, strict=True)):
            around = [[max(0.0, y - low)], [max(0.0, high - y)]]
            axes.errorbar(x, y, around, fmt="os^Dv"[i // 10 % 5], color=colours(i % 10), capsize=3)
        if min(each) > 0 and max(each) / min(each) > 8:
            axes.set_xscale("log")
        axes.margins(x=0.15)
        axes.set_xlabel(cost, color=_INK)
        axes.yaxis.set_major_formatter(matplotlib().ticker.PercentFormatter(1.0, decimals=None))
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=_QUIET)
        axes.grid(axis="y", color="#e5e6ea", linewidth=0.8)
    panels[0].set_ylabel("test accuracy, 95 % interval", color=_INK)
    handles = [line[0] for line in panels[0].containers]
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    if title:
        figure.suptitle(title, size=10, color=_INK, x=0.01, ha="left", parse_math=False)
    return figure


def curves(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    x_label: str,
    y_label: str,
    *,
    log: bool = False,
    share: bool = False,
) -> Figure:
    """Named lines over a common ``x``, of which a shorter line takes the beginning.

    ``log``: a logarithmic height; ``share``: heights are shares, shown in percent.

    >>> len(curves(range(3), {"a": [1, 2, 3], "b": [4, 5]}, "x", "y").axes[0].lines)
    2
    """
    figure = blank(figsize=(7, 4.2), dpi=120, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    for i, (name, heights) in enumerate(lines.items()):
        axes.plot(list(x)[: len(heights)], heights, marker="os^Dv"[i // 10 % 5], ms=4, label=name)
    if log:
        axes.set_yscale("log")
    if share:
        axes.yaxis.set_major_formatter(matplotlib().ticker.PercentFormatter(1.0, decimals=None))
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_QUIET)
    axes.legend(frameon=False, fontsize=8)
    return figure


def bars(points: Mapping[str, Sequence[float]], x_label: str) -> Figure:
    """A bar a name, as long as the mean of its points, which stand on it as dots.

    >>> len(bars({"a": [1.0, 3.0], "b": [2.0]}, "seconds").axes[0].patches)
    2
    """
    names = list(points)
    size = (7, 0.9 + 0.32 * len(names))
    figure = blank(figsize=size, dpi=120, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    axes.barh(names, [float(np.mean(points[name])) for name in names], color="C0", alpha=0.45)
    for name in names:
        axes.plot(points[name], [name] * len(points[name]), "o", color="C0", ms=4)
    axes.invert_yaxis()
    axes.axvline(0, color=_QUIET, linewidth=0.8)
    axes.set_xlabel(x_label, color=_INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=_QUIET)
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    return figure


def _checked(images: np.ndarray, titles: Sequence[str], argument: str = "images") -> np.ndarray:
    """The images as uint8 [N,H,W,3]."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise BadArgument(
            argument,
            f"{images.dtype} of shape {list(images.shape)}",
            "must be uint8 [N,C,H,W] with 1 or 3 channels",
            "pick 1 or 3 channels with images[:, :1] or images[:, :3]",
        )
    if not 0 < len(images) == len(titles):
        rule = f"must be as many as the titles ({len(titles)}), and at least one"
        raise BadArgument(argument, f"{len(images)} images", rule, "give one title an image")
    return np.broadcast_to(images, (len(images), 3, *images.shape[2:])).transpose(0, 2, 3, 1)


def _blocks(blocks: Sequence[tuple[str, np.ndarray, Sequence[str]]], columns: int) -> Figure:
    """Grids one below the other, placed by hand in inches, so that all cells have the same size."""
    if columns < 1:
        rule = "must be a whole number of at least 1"
        raise BadArgument("columns", columns, rule, "try columns=8")
    columns = min(columns, max(len(titles) for _, _, titles in blocks))
    tallest = max(images.shape[1] / images.shape[2] for _, images, _ in blocks)
    above = _LINE + _NEXT * max(title.count("\n") for _, _, titles in blocks for title in titles)
    cell_height, step = _CELL * tallest, _CELL * tallest + above + _GAP
    heading_height = _HEADING if blocks[0][0] else 0.0
    heights = [heading_height - (-len(t) // columns) * step - _GAP for _, _, t in blocks]
    words = max(len(heading) for heading, _, _ in blocks) * _LETTER
    width = 2 * _EDGE + max(columns * _CELL + (columns - 1) * _GAP, words)
    height = 2 * _EDGE + sum(heights) + (len(blocks) - 1) * _BREAK
    figure = blank(figsize=(width, height), dpi=160, facecolor="white")
    top = height - _EDGE  # inches from the bottom, as matplotlib counts
    for (heading, images, titles), block_height in zip(blocks, heights, strict=True):
        if heading:
            figure.text(
                _EDGE / width, top / height, heading, va="top", size=11, weight="bold", color=_INK
            )
        for i, (image, title) in enumerate(zip(images, titles, strict=True)):
            left = _EDGE + i % columns * (_CELL + _GAP)
            bottom = top - heading_height - i // columns * step - above - cell_height
            box = (left / width, bottom / height, _CELL / width, cell_height / height)
            _draw(figure.add_axes(box), image, title)
        top -= block_height + _BREAK
    return figure


def _draw(axes: Axes, image: np.ndarray, title: str) -> None:
    axes.imshow(image, interpolation="nearest")
    lines = [line if len(line) <= 16 else line[:15] + "…" for line in title.split("\n")]
    axes.set_title("\n".join(lines), size=8, color=_QUIET, pad=3, loc="left", parse_math=False)
    axes.set_axis_off()
