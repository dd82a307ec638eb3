"""Figures show the pixels they were given, where they belong, under their titles."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from convscope.errors import BadArgument
from convscope.insight.figures import (
    before_after,
    cut_out,
    image_grid,
    labelled_grids,
    learning_rates,
)


def batch(n: int = 5, channels: int = 1, height: int = 6, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, channels, height, width), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_shows_every_image_under_its_title(channels: int) -> None:
    images, titles = batch(channels=channels), ["a", "b", "$x_1$", "d" * 40, "e"]
    figure = image_grid(images, titles, columns=3)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        *titles[:3],
        "d" * 15 + "…",
        "e",
    ]
    for axes, image in zip(figure.axes, images, strict=True):
        shown = axes.images[0].get_array()
        expected = np.repeat(image, 3 // channels, axis=0).transpose(1, 2, 0)
        np.testing.assert_array_equal(shown, expected)
    corners = [axes.get_position() for axes in figure.axes]
    assert corners[0].y0 == corners[2].y0 > corners[3].y0
    assert corners[0].x0 == corners[3].x0 < corners[1].x0


def test_pixels_are_crisp_on_paper() -> None:
    """A black and white board has hardly a grey pixel when drawn, as smoothing would give."""
    board = (np.indices((6, 6)).sum(axis=0) % 2 * 255).astype(np.uint8)[None, None]
    figure = image_grid(board, [""])
    file = io.BytesIO()
    figure.savefig(file, format="png")
    drawn = np.asarray(Image.open(file).convert("L"))
    assert ((drawn > 20) & (drawn < 235)).mean() < 0.01
    assert (drawn < 20).sum() == pytest.approx(160 * 160 / 2, rel=0.03)


def test_wide_images_keep_their_shape() -> None:
    figure = image_grid(batch(2, height=4, width=8), ["a", "b"])
    place = figure.axes[0].get_position(original=True)  # before matplotlib fits the image in
    size = figure.get_size_inches()
    assert place.width * size[0] == pytest.approx(2 * place.height * size[1])


def test_before_after_puts_each_image_above_its_augmented_self() -> None:
    images, augmented = batch(), batch()[:, :, ::-1]
    figure = before_after(images, augmented, list("abcde"), columns=4)
    assert [text.get_text() for text in figure.texts] == ["As it is", "As augmented"]
    first, second = figure.axes[:5], figure.axes[5:]
    for above, below, was, became in zip(first, second, images, augmented, strict=True):
        assert above.get_position().x0 == pytest.approx(below.get_position().x0)
        assert above.get_position().y0 > below.get_position().y1
        assert above.get_title(loc="left") == below.get_title(loc="left")
        np.testing.assert_array_equal(above.images[0].get_array()[..., 0], was[0])
        np.testing.assert_array_equal(below.images[0].get_array()[..., 0], became[0])
    headings = [text.get_position()[1] for text in figure.texts]
    assert headings[0] > first[0].get_position().y1 > headings[1] > second[0].get_position().y1


def test_labelled_grids_have_images_and_titles_of_their_own() -> None:
    long = "what only the first of two is right about"
    groups = [
        (long, batch(1), ["a\nas b, 99%"]),
        ("second", batch(5), [f"{i}\n{'x' * 20}\n\nz" for i in range(5)]),
        ("third", batch(2), ["c", "d"]),
    ]
    figure = labelled_grids(groups, columns=2)
    assert [text.get_text() for text in figure.texts] == [long, "second", "third"]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0] == "a\nas b, 99%" and titles[1] == "0\n" + "x" * 15 + "…\n\nz"
    np.testing.assert_array_equal(figure.axes[3].images[0].get_array()[..., 0], groups[1][1][2, 0])
    # from the top down: heading, titles, images, and all of it within the page
    page, at = figure.bbox, page_order(figure, [[1], [2, 2, 1], [2]])
    assert page.y1 >= at[0] and at == sorted(at, reverse=True) and at[-1] >= page.y0
    assert all(text.get_window_extent().x1 <= page.x1 for text in figure.texts)


def page_order(figure: Figure, rows: list[list[int]]) -> list[float]:
    """Where, in pixels, each heading, row of titles and row of images begins and ends, downwards,
    for blocks with so many images a row."""
    at, axes = [], iter(figure.axes)
    for text, block in zip(figure.texts, rows, strict=True):
        at += [text.get_window_extent().y1, text.get_window_extent().y0]
        for count in block:
            row = [next(axes) for _ in range(count)]
            boxes = [one._left_title.get_window_extent() for one in row]
            images = [one.get_position() for one in row]
            at += [max(box.y1 for box in boxes), min(box.y0 for box in boxes)]
            at += [y * figure.bbox.height for y in (images[0].y1, images[0].y0)]
            assert images[0].y0 == pytest.approx(images[-1].y0)
    return at


def test_nothing_leaves_the_page() -> None:
    for n in (1, 3, 17):
        for axes in before_after(batch(n), batch(n), ["t"] * n).axes:
            box = axes.get_position()
            assert min(box.x0, box.y0) >= 0
            assert max(box.x1, box.y1) <= 1


@pytest.mark.parametrize(
    ("images", "titles", "message"),
    [
        (batch(channels=2), ["t"] * 5, r"images=uint8 of shape \[5, 2, 6, 6\]: .*1 or 3 channels"),
        (batch().astype(float), ["t"] * 5, "images=float64"),
        (batch(), ["t"] * 4, r"images=5 images: must be as many as the titles \(4\)"),
        (batch(0), [], "at least one"),
    ],
)
def test_refusals(images: np.ndarray, titles: list[str], message: str) -> None:
    with pytest.raises(BadArgument, match=message):
        image_grid(images, titles)


def test_other_refusals() -> None:
    with pytest.raises(BadArgument, match="augmented=4 images"):
        before_after(batch(), batch(4), ["t"] * 5)
    with pytest.raises(BadArgument, match="columns=0"):
        image_grid(batch(), ["t"] * 5, columns=0)


def test_pyplot_and_its_state_are_never_loaded() -> None:
    code = (
        "import sys, numpy as np\n"
        "from convscope.insight import figures\n"
        "assert 'matplotlib' not in sys.modules\n"
        "figures.image_grid(np.zeros((1, 1, 4, 4), np.uint8), ['a'])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_learning_rates_are_drawn_with_what_is_suggested() -> None:
    rates, losses = [1e-4, 1e-3, 1e-2, 1e-1], [2.4, 2.2, 1.2, 9.0]
    smoothed = [2.3, 2.0, 1.4, 5.0]
    axes = learning_rates(rates, losses, smoothed, 1e-3, title="$x_1$, cnn").axes[0]
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [losses, smoothed]
    assert list(axes.lines[2].get_xdata()) == [1e-3, 1e-3]
    assert (axes.get_xscale(), axes.get_title(loc="left")) == ("log", "$x_1$, cnn")
    assert "steepest at 1.0e-03" in [text.get_text() for text in axes.get_legend().get_texts()]
    low, high = axes.get_ylim()
    assert low < 1.4 and 2.4 < high < 5  # what breaks away does not flatten the rest
    bare = learning_rates(rates, losses, smoothed, None).axes[0]
    assert len(bare.lines) == 2


def test_what_was_cut_out_stands_below_the_boxes_it_was_cut_from() -> None:
    photo, images = batch(1, 3, 60, 80)[0], batch(9)
    boxes = [(8 * at, 10, 8 * at + 6, 30) for at in range(9)]
    whole, *small = cut_out(photo, boxes, images).axes
    np.testing.assert_array_equal(whole.images[0].get_array(), photo.transpose(1, 2, 0))
    drawn = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in whole.patches]
    assert drawn == [(left, 10, 6, 20) for left, *_ in boxes]
    assert [text.get_text() for text in whole.texts] == list("123456789")
    for axes, image in zip(small, images, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array()[..., 0], image[0])
        assert axes.get_position().y1 < whole.get_position().y0
    assert small[8].get_position().y1 < small[0].get_position().y0
