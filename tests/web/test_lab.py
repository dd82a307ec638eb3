"""The lab in a real browser: its arithmetic against the reference's, its grids edited by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from convscope import webpage
from convscope.errors import BadArgument
from convscope.insight import reference
from convscope.insight.lab import counting, inputs, page, sliding, stack
from convscope.insight.receptive_field import ReceptiveField

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Opened = Callable[..., "Page"]
GRID = np.arange(9.0).reshape(1, 3, 3)
K = np.arange(4.0).reshape(2, 2)
WEB = Path(webpage.__file__).parent / "web"

KERNELS = ("conv", "transposed")  # kinds that have them

# its arithmetic

SLIDE = """(cases) => cases.map((one) => {
  const tensor = ({ data, shape }) => ({ data: Float64Array.from(data), shape });
  const asked = { ...one, X: tensor(one.X), W: one.W && tensor(one.W) };
  try {
    const found = slide(asked), [M, h, w] = found.Y.shape;
    const [m, i, j] = [M - 1, h >> 1, w >> 1];
    return { Y: [...found.Y.data], shape: found.Y.shape, counts: found.counts, at: [m, i, j],
      formula: found.axes.map(formulaOf), terms: termsOf(asked, found, m, i, j) };
  } catch (why) {
    if (!(why instanceof Unfit)) throw why;
    return { unfit: why.message };
  }
})"""


@pytest.fixture(scope="module")
def arithmetic(browser: Browser) -> Page:
    """An empty page with the lab's arithmetic."""
    page = browser.new_page()
    page.add_script_tag(content=webpage.script("convscope", "web/layers.js"))  # and sliding.js
    return page


def case(random: np.random.Generator) -> tuple[dict[str, Any], Any]:
    """An experiment as the page has it, and what the reference makes of it."""
    kind = str(random.choice(["conv", "transposed", "max", "average"]))
    group = int(random.integers(1, 3)) if kind == "conv" else 1
    C, M = group * int(random.integers(1, 3)), group * int(random.integers(1, 3))
    X = random.normal(size=(C, *random.integers(1, 8, 2)))
    side, (ceil, counted) = random.integers(1, 4, 2).tolist(), map(bool, random.integers(0, 2, 2))
    pads, strides = random.integers(0, 3, 4).tolist(), random.integers(1, 4, 2).tolist()
    dilations = random.integers(1, 3, 2).tolist()
    same = str(random.choice(["", "", "upper", "lower"])) if kind != "transposed" else ""
    W, B = random.normal(size=(M, C // group, *side)), random.normal(size=M)
    moves = {"strides": strides, "dilations": dilations}
    moves |= {"auto_pad": f"SAME_{same.upper()}"} if same else {"pads": pads}
    asked = {
        "kind": kind, "X": {"data": X.ravel().tolist(), "shape": X.shape}, "window": side,
        "W": {"data": W.ravel().tolist(), "shape": W.shape} if kind in KERNELS else None,
        "B": B.tolist(), "pads": pads, "strides": strides, "dilations": dilations, "same": same,
        "ceil": ceil, "withPads": counted, "group": group,
    }  # fmt: skip
    if kind == "conv":
        return asked, lambda: reference.conv2d(X[None], W, B, group=group, **moves)[0]
    if kind == "transposed":
        return asked, lambda: transposed(X, W, B, pads, moves)
    pool = {"count_include_pad": counted} if kind == "average" else {}
    return asked, lambda: sliding.pool(X, side, kind=kind, ceil_mode=ceil, **pool, **moves).Y


def transposed(X: Any, W: Any, B: Any, pads: list[int], moves: dict[str, Any]) -> Any:
    """The gradient of a convolution's input: X as that of its output."""
    spans = [d * (k - 1) + 1 for k, d in zip(W.shape[2:], moves["dilations"], strict=True)]
    sides = [(n - 1) * s + span - pads[a] - pads[a + 2] for a, (n, s, span) in
             enumerate(zip(X.shape[1:], moves["strides"], spans, strict=True))]  # fmt: skip
    if min(sides) < 1:
        raise BadArgument("pads", pads, "leaves nothing", "pad less")
    like = np.zeros((1, len(W), *sides))
    dX, _, _ = reference.conv2d_backward(X[None], like, W.transpose(1, 0, 2, 3), **moves)
    return dX[0] + B[:, None, None]


def test_its_arithmetic_is_the_reference_s(arithmetic: Page) -> None:
    random = np.random.default_rng(0)
    cases = [case(random) for _ in range(240)]
    found = arithmetic.evaluate(SLIDE, [asked for asked, _ in cases])
    seen = dict.fromkeys(("refused", "conv", "transposed", "max", "average"), 0)
    for (asked, wanted), one in zip(cases, found, strict=True):
        try:
            Y = wanted()
        except BadArgument:
            assert "unfit" in one, asked
            seen["refused"] += 1
            continue
        assert one.get("shape") == list(Y.shape), (asked, one)
        np.testing.assert_allclose(np.reshape(one["Y"], Y.shape), Y, atol=1e-12)
        m, i, j = one["at"]
        values = [term["value"] or 0 for term in one["terms"]]
        if asked["W"]:
            made = asked["B"][m] + np.dot(values, [term["weight"] for term in one["terms"]])
        elif asked["kind"] == "max":
            made = max(term["value"] for term in one["terms"] if term["value"] is not None)
        else:
            counted = [t for t in one["terms"] if t["value"] is not None or t.get("counted")]
            assert len(counted) == one["counts"][i * Y.shape[2] + j]
            made = sum(values) / len(counted)
        assert made == pytest.approx(Y[m, i, j], abs=1e-12)
        seen[asked["kind"]] += 1
    assert min(seen.values()) > 15, seen


def test_it_writes_the_formula_as_python_does(arithmetic: Page) -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        size, kernel, stride, dilation, pad = (int(n) for n in random.integers(1, 5, 5))
        found = sliding.convolve(np.ones((1, 20 + size, 20)), np.ones((kernel, 1)), pads=pad,
                                 strides=stride, dilations=dilation)  # fmt: skip
        moves = {"begin": pad, "end": pad, "stride": stride, "dilation": dilation}
        said = arithmetic.evaluate("([n, k, moves]) => formulaOf(axisOf(n, k, moves))",
                                   [20 + size, kernel, moves])  # fmt: skip
        assert said == found.formula()[0]


LINES = [
    "c5-16 bn relu mp2 c5-32 mp2",
    "c3-4 relu [ c3-4 bn c5-4 ]+ mp2 [ [ c3-4 ]+ c3x5-4d2 drop0.5 ]+ ap3s2p1 c2-6s2",
    "c5x3-4p0d2x1s2 mp2 c3-4 gap fc10",
]


def seen_by(row: ReceptiveField) -> list[Any]:
    axes = [[axis.size, axis.low, axis.high, axis.stride] for axis in (row.height, row.width)]
    return [row.layer, row.whole, axes]


@pytest.mark.parametrize("line", LINES)
def test_its_receptive_fields_are_python_s(arithmetic: Page, line: str) -> None:
    rows = arithmetic.evaluate(
        "([line, size]) => followed(line, size).map(({ layer, whole, axes }) => [layer, whole,"
        " axes.map(({ size, low, high, stride }) => [size, low, high, stride])])",
        [line, [28, 31]],
    )
    assert rows == [seen_by(row) for row in stack.follow(line.split(), (28, 31))]


def test_its_gradient_descent_is_the_reference_s(arithmetic: Page) -> None:
    x, K = np.random.default_rng(2).normal(size=(6, 7)), np.array([[1.0, -2], [0.5, 3]])
    y = reference.corr2d(x, K)
    wanted = reference.learn_kernel(x, y, steps=40, seed=3)
    found = arithmetic.evaluate("([x, y, start]) => learn(x, y, start, 40)",
                                [x.tolist(), y.tolist(), wanted.kernels[0].tolist()])  # fmt: skip
    assert found["rate"] == pytest.approx(wanted.lr, rel=1e-6)
    np.testing.assert_allclose(found["kernels"], wanted.kernels, atol=1e-6)
    np.testing.assert_allclose(found["losses"], wanted.losses, rtol=1e-4, atol=1e-9)


# what it opens with

PAGES = {
    "conv": lambda: page.moves(sliding.convolve(GRID, K)),
    "many": lambda: page.moves(
        sliding.convolve(np.arange(98.0).reshape(2, 7, 7), K, dilations=2, out_channels=2, bias=-1)
    ),
    "groups": lambda: page.moves(
        sliding.convolve(np.arange(36.0).reshape(4, 3, 3), K, group=2, auto_pad="SAME_LOWER")
    ),
    "max": lambda: page.moves(sliding.pool(GRID, 2, strides=1, pads=1)),
    "average": lambda: page.moves(
        sliding.pool(GRID, 2, kind="average", pads=1, count_include_pad=True)
    ),
    "fields": lambda: page.fields(stack.follow(["c5-16", "mp2", "fc10"]), "c5-16 mp2 fc10"),
    "rows": lambda: page.fields(stack.follow(["c5-16", "mp2", "fc10"])),
    "counts": lambda: page.counts(counting.one_by_one()),
    "learning": lambda: page.learning(
        np.eye(4), K, reference.learn_kernel(np.eye(4), reference.corr2d(np.eye(4), K), steps=5)
    ),
}
SAID = {  # as it opens, and once keys and pointer have moved it
    "conv": (
        "row 1, column 1: 4·0 + 5·1 + 7·2 + 8·3 = 43",
        ("Home ArrowRight", "row 0, column 1: 1·0 + 2·1 + 4·2 + 5·3 = 25"),
    ),
    "many": ("row 2, column 2: 174 + 468 + (−1) = 641", ("End", "row 4, column 4: ")),
    "groups": ("row 1, column 1: 19 + 73 = 92", ("Home", "row 0, column 0: 0 + 27 = 27")),
    "max": ("row 2, column 2: max(4, 5, 7, 8) = 8", ("Home", "row 0, column 0: max(0) = 0")),
    "average": (
        "row 1, column 1: (4 + 5 + 7 + 8) / 4 = 6",
        ("Home", "row 0, column 0: (0 + 0 + 0 + 0) / 4 = 0"),
    ),
    "fields": (
        "mp2, unit 7,7 of 14 × 14 sees 6 × 6 pixels, rows 12 to 17, columns 12 to 17",
        ("End", "mp2, unit 13,13 of 14 × 14 sees 6 × 6 pixels, rows 24 to 29, columns 24 to 29"),
    ),
    "rows": ("mp2, unit 7,7 of 14 × 14 sees 6 × 6", ("Home", "mp2, unit 0,0 of 14 × 14 sees ")),
    "counts": ("through 16 channels: 89.7% saved; weights 153,600 against 15,872",
               ("End", "through 192 channels: 24.0% more; weights 153,600 against 190,464")),
    "learning": ("step 0 of 5, loss ", ("End", "step 5 of 5, loss ")),
}  # fmt: skip


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lab.html"
    path.write_text(text, "utf-8")
    return path


def said(opened: Page) -> str:
    return opened.locator(".said:visible").inner_text()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_was_asked(opened: Opened, tmp_path: Path, name: str) -> None:
    shown = opened(written(tmp_path, PAGES[name]()))
    first, (keys, then) = SAID[name]
    assert said(shown).startswith(first)
    found = shown.locator("[type=range]:visible")
    (found if found.count() else shown.locator("[role=slider]:visible").last).focus()
    for key in keys.split():
        shown.keyboard.press(key)
    assert said(shown).startswith(then)


# edited by hand

NOW = """() => { const { experiment: e, found } = convscope.lab, rows = ({ data, shape }) =>
  ({ data: [...data], shape });
  return { X: rows(e.X), W: rows(e.W), B: e.B, at: e.at, moving: e.moving,
    Y: found && rows(found.Y), url: location.hash }; }"""


def tensor(one: dict[str, Any]) -> np.ndarray:
    return np.reshape(one["data"], one["shape"])


def checked(shown: Page) -> dict[str, Any]:
    """What the page has now, its output held against the reference, its sum worked out."""
    now = shown.evaluate(NOW)
    moving = {key: now["moving"][key] for key in ("pads", "strides", "dilations")}
    Y = reference.conv2d(tensor(now["X"])[None], tensor(now["W"]), np.array(now["B"]), **moving)[0]
    np.testing.assert_allclose(tensor(now["Y"]), Y, atol=1e-9)
    left, _, right = said(shown).partition("\n")[0].replace("−", "-").rpartition(" = ")
    value = Y[tuple(now["at"])]
    assert float(right) == pytest.approx(value, rel=1e-5)
    assert eval(left.partition(": ")[2].replace("·", "*")) == pytest.approx(value, rel=1e-3)
    return now


def test_all_of_it_is_edited_in_place(opened: Opened, tmp_path: Path) -> None:
    shown = opened(written(tmp_path, page.moves(sliding.convolve(np.ones((1, 6, 6)), K))))
    cells = shown.locator(".board canvas")
    image, kernel = cells.nth(0), cells.nth(1)
    kernel.click(position={"x": 10, "y": 10})  # typed, from cell to cell
    for key in ("-", "2", "Tab", "1", "/", "2", "Enter", "7", "Enter"):
        shown.keyboard.press(key)
    assert tensor(checked(shown)["W"]).tolist() == [[[[-2, 0.5], [2, 7]]]]
    kernel.press("Home")
    kernel.evaluate("""(canvas) => { const clipboardData = new DataTransfer();
      clipboardData.setData("text/plain", "1\\t2\\n3\\t-4");
      canvas.dispatchEvent(new ClipboardEvent("paste", { clipboardData, cancelable: true })); }""")
    assert tensor(checked(shown)["W"]).tolist() == [[[[1, 2], [3, -4]]]]
    shown.get_by_label("Paint with").fill("7")
    shown.get_by_label("Paint with").press("Enter")
    box = image.bounding_box()
    assert box
    cell = box["width"] / 6  # dragged from the second cell of a row to its fourth
    shown.mouse.move(box["x"] + 1.5 * cell, box["y"] + 0.5 * cell)
    shown.mouse.down()
    shown.mouse.move(box["x"] + 3.5 * cell, box["y"] + 0.5 * cell, steps=6)
    shown.mouse.up()
    assert tensor(checked(shown)["X"])[0, 0].tolist() == [1, 7, 7, 7, 1, 1]
    for label, text in (("Padding", "1,2"), ("Stride", "2"), ("Dilation", "2"), ("Bias", "-1.5")):
        field = shown.get_by_label(label, exact=True)
        field.fill(text)
        field.press("Enter")
    now = checked(shown)
    assert now["moving"] == {
        "pads": [1, 2, 1, 2], "same": "", "strides": [2, 2], "dilations": [2, 2]
    }  # fmt: skip
    assert shown.locator(".formula").inner_text().count("floor((6 - 3 + ") == 2
    field = shown.get_by_label("Padding", exact=True)
    field.fill("x")
    field.press("Enter")
    assert shown.get_by_role("alert").inner_text().startswith("x: write whole numbers, such as 3,")
    assert checked(shown)["moving"] == now["moving"]
    field.fill("0")
    field.press("Enter")
    shown.get_by_label("Dilation").fill("6")
    shown.get_by_label("Dilation").press("Enter")
    assert "too large for the input, which has 6" in shown.get_by_role("alert").inner_text()
    assert shown.evaluate(NOW)["Y"] is None
    shown.get_by_label("Dilation").press("ArrowDown")
    shown.get_by_label("Dilation").press("ArrowDown")
    assert shown.get_by_role("alert").count() == 0
    shown.wait_for_function("() => location.hash.includes('d=4')")  # once the hand is still
    now = checked(shown)
    before = f"history.replaceState(null, '', {json.dumps(now['url'])})"
    again = opened(tmp_path / "lab.html", before)  # the address holds the experiment
    assert checked(again) == now


def test_it_moves_by_itself_and_the_output_fills(opened: Opened, tmp_path: Path) -> None:
    path = written(tmp_path, page.moves(sliding.convolve(GRID, K)))
    shown = opened(path, reduced_motion="reduce")
    shown.locator(".board canvas").last.press("Home")
    shown.evaluate("""() => { const said = document.querySelector(".said"); globalThis.told = [];
      new MutationObserver(() => told.push(said.innerText.split(":")[0]))
        .observe(said, { childList: true }); }""")
    shown.get_by_role("button", name="Play").click()
    shown.wait_for_function("() => told.length >= 4")
    shown.get_by_role("button", name="Play").wait_for()  # at the end it stops
    assert shown.evaluate("told") == [f"row {n // 2}, column {n % 2}" for n in range(4)]
    checked(shown)


def test_the_kernels_of_the_network_are_there(opened: Opened, shipped: Any) -> None:
    """A unit of its second convolution, over what arrives there, gives what the network has behind
    its batch norm, which the page keeps beside it."""
    shown = opened()
    digit = shipped.pack.splits["test"].main_images[0].ravel().tolist()
    shown.evaluate(
        """async (pixels) => {
      const detail = await convscope.look({ pixels: Uint8Array.from(pixels) });
      document.dispatchEvent(new CustomEvent("convscope:answer", { detail })); }""",
        digit,
    )
    shown.click("#tabs a[href='#lab']")
    shown.locator("label:has-text('Kernel') > select").first.select_option("learnt.1")
    shown.wait_for_function("() => convscope.lab.experiment.learnt")
    unit = shown.get_by_label("Unit", exact=True)
    unit.fill("3")
    unit.press("Enter")
    shown.wait_for_function("() => convscope.lab.experiment.learnt[1] === 2")
    now = checked(shown)
    made = shown.evaluate("""async () => { const { nodes } = convscope.about.graph;
      const layer = nodes.filter(({ op }) => op === "Conv")[1];
      const { data, shape } = await convscope.value(layer.out[0]);
      const norm = await Promise.all(layer.norm.map(convscope.value));
      return { data: [...data], shape, norm: norm.map((one) => one.data[2]) }; }""")
    scale, shift, mean, deviation = made["norm"]
    normed = (tensor(now["Y"])[0] - mean) / deviation * scale + shift
    np.testing.assert_allclose(normed, tensor(made)[0, 2], atol=1e-4)
    shown.locator("label:has-text('Input') > select").first.select_option("try")
    assert tensor(shown.evaluate(NOW)["X"]).ravel().tolist() == digit


def test_an_image_is_shrunk_and_a_language_turned(opened: Opened, tmp_path: Path) -> None:
    shown = opened(written(tmp_path, PAGES["conv"]()))
    Image.fromarray(np.full((300, 200, 3), (255, 0, 0), np.uint8)).save(tmp_path / "red.png")
    shown.set_input_files("input[type=file]", tmp_path / "red.png")
    shown.wait_for_function("() => convscope.lab.experiment.picture")
    now = checked(shown)
    assert now["X"]["shape"] == [1, 96, 64] and set(now["X"]["data"]) == {76}
    (tmp_path / "none.png").write_bytes(b"no image")
    shown.set_input_files("input[type=file]", tmp_path / "none.png")
    shown.get_by_text("This image cannot be read.").wait_for()
    shown.click("#language")
    assert shown.get_by_role("button", name="转置卷积").is_visible()
    assert said(shown).startswith("第 ")


# its words and kernels


def test_a_link_to_a_learnt_kernel_opens_it(opened: Opened) -> None:
    """Before anything else was opened."""
    shown = opened(before="if (!location.hash) location.hash = '#lab?learnt=1.2';")
    shown.wait_for_function("() => convscope.lab?.experiment.learnt?.[1] === 2")
    own = "() => convscope.lab.experiment.W.data.some((w) => w !== Math.round(w))"
    shown.wait_for_function(own)  # no preset, then


KEY = re.compile(r'"(lab\.[\w.]+)"')


def test_every_word_of_it_is_there_and_used() -> None:
    text = "".join(path.read_text("utf-8") for path in [*WEB.glob("*.js"), *WEB.glob("*.html")])
    used = set(KEY.findall(text))
    made = re.compile(r"lab\.(do|input|kernel|fields|fields\.kind)\.\w+")  # of a name
    for words in webpage.words("lab.").values():
        there = set(words)
        assert used <= there, used - there
        assert all(made.fullmatch(key) for key in there - used), there - used


def test_its_kernels_are_those_of_the_command_line(browser: Browser) -> None:
    shown = browser.new_page()
    shown.add_script_tag(content=webpage.script("convscope", "web/presets.js"))
    found = shown.evaluate("() => Object.assign({}, ...Object.values(KERNELS))")
    shown.close()
    assert set(found) == set(inputs.KERNELS)
    for name, rows in inputs.KERNELS.items():
        np.testing.assert_allclose(found[name], rows)
