"""Draw the lessons' diagrams: docs/lessons/pictures/*.svg, and those with Chinese words in zh/.

    python scripts/diagrams.py

Sizes and counts are read off the networks themselves.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import convscope as cs
from convscope.models import build
from convscope.models.inception import InceptionA

LESSONS = Path(__file__).parent.parent / "docs" / "lessons"
INK, QUIET, BLUE, RED, PALE, SAND = "#1c1d21", "#62656d", "#0072b2", "#c04b00", "#d9eaf5", "#eceae5"
FONT = "system-ui, 'Segoe UI', 'Noto Sans', 'Noto Sans CJK SC', 'Microsoft YaHei', sans-serif"
JOINS = ("+", "{concatenated}")
CHINESE = {
    "image": "图像",
    "convolution": "卷积",
    "padding": "填充",
    "batch norm": "批量规范化",
    "ReLU": "ReLU",
    "max-pool": "最大汇聚",
    "average-pool": "平均汇聚",
    "flatten": "展平",
    "linear": "全连接",
    "parameters": "个参数",
    "numbers": "个数",
    "classes": "个类别",
    "channels": "个通道",
    "concatenated": "拼接",
    "plain": "普通",
    "residual": "残差",
    "pre-activation": "预激活",
    "dense": "稠密",
    "images": "张图像",
    "one image": "一张图像",
    "a batch": "一个批量",
    "weights": "权重",
    "outputs": "输出",
    "input": "输入",
    "kernel": "卷积核",
    "output": "输出",
    "stride 1": "步幅 1",
    "sum": "求和",
}


@dataclass
class Canvas:
    """A drawing of ``width`` by ``height``; words are translated where it is in Chinese."""

    width: int
    height: int
    chinese: bool = False
    parts: list[str] = field(default_factory=list)

    def words(self, text: str) -> str:
        """The text with each word in {braces}, and the marks, in the drawing's language."""
        for english, chinese in CHINESE.items():
            text = text.replace(f"{{{english}}}", chinese if self.chinese else english)
        assert "{" not in text, text
        return text.replace(", ", "，").replace(": ", "：") if self.chinese else text

    def text(
        self, x: float, y: float, text: str, size: int = 15, colour: str = INK,
        anchor: str = "start", bold: bool = False,
    ) -> None:  # fmt: skip
        """A line of text; ``y`` is its middle."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y + size * 0.35:g}" font-size="{size}" fill="{colour}" '
            f'text-anchor="{anchor}"{weight}>{html.escape(self.words(text))}</text>'
        )

    def box(
        self, x: float, y: float, w: float, h: float, fill: str = "white", line: str = INK,
        round: float = 0, width: float = 1,
    ) -> None:  # fmt: skip
        """A rectangle."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{round:g}" fill="{fill}" '
            f'stroke="{line}" stroke-width="{width:g}"/>'
        )

    def line(self, *points: tuple[float, float], colour: str = QUIET, arrow: bool = True) -> None:
        """A line through points, an arrow at its end."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        end = ' marker-end="url(#end)"' if arrow else ""
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{end}/>'
        )

    def stack(self, x: float, y: float, side: float, count: int, fill: str = PALE) -> None:
        """Maps of ``side``, ``count`` of them one behind the other, centred on (x, y)."""
        apart = min(3.0, 30 / count)
        reach = side + apart * (count - 1)
        for n in range(count):
            at = apart * (count - 1 - n) - reach / 2
            self.box(x + at, y - at - side, side, side, fill, BLUE, 0, 0.7)

    def numbers(
        self, x: float, y: float, table: list[list[object]], cell: float = 30, fill: str = "white"
    ) -> None:
        """A table of numbers, its upper left corner at (x, y)."""
        for i, row in enumerate(table):
            for j, value in enumerate(row):
                self.box(x + j * cell, y + i * cell, cell, cell, fill, QUIET, 0, 0.7)
                size = round(cell * 0.45)
                self.text(
                    x + (j + 0.5) * cell, y + (i + 0.5) * cell, str(value), size, INK, "middle"
                )

    def svg(self) -> str:
        """The whole drawing."""
        marker = (
            '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{QUIET}"/>'
            "</marker></defs>"
        )
        inside = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" font-family="{FONT}">\n{marker}\n'
            f'<rect width="{self.width}" height="{self.height}" fill="white"/>\n{inside}\n</svg>\n'
        )


def network(chinese: bool) -> Canvas:
    """System A's network, a line a step: its maps to scale, their shape, what makes them."""
    found = cs.summary(build("cnn", 10, 1, (28, 28)), (1, 28, 28)).rows
    conv1, norm1, pool1, _, conv2, norm2, pool2, _, flat, linear = found[1:]
    steps = [
        ("1 x 28 x 28", "{image}", None, (28, 1)),
        (_shape(conv1), "5x5 {convolution}, {padding} 2", conv1.parameters, (28, 16)),
        ("", "{batch norm}, {ReLU}", norm1.parameters, None),
        (_shape(pool1), "2x2 {max-pool}", None, (14, 16)),
        (_shape(conv2), "5x5 {convolution}, {padding} 2", conv2.parameters, (14, 32)),
        ("", "{batch norm}, {ReLU}", norm2.parameters, None),
        (_shape(pool2), "2x2 {max-pool}", None, (7, 32)),
        (_shape(flat), "{flatten}: 32 · 7 · 7 {numbers}", None, None),
        (_shape(linear), "{linear}: 10 {classes}", linear.parameters, None),
    ]
    heights = [{28: 76, 14: 64, 7: 54}[s[3][0]] if s[3] else 34 for s in steps]
    canvas = Canvas(560, sum(heights) + 44, chinese)
    y = 10.0
    for (shape, made, parameters, maps), height in zip(steps, heights, strict=True):
        y += height
        middle = y - height / 2
        if maps:
            canvas.stack(60, middle, maps[0] * 1.5, maps[1], SAND if maps[1] == 1 else PALE)
        canvas.text(130, middle, shape, 16, BLUE, bold=True)
        canvas.text(258, middle, made, 15)
        if parameters:
            canvas.text(548, middle, f"{parameters:,}", 15, RED, "end")
    total = sum(row.parameters for row in found)
    canvas.line((430, y + 1), (548, y + 1), arrow=False)
    canvas.text(548, y + 14, f"{total:,} {{parameters}}", 15, RED, "end", bold=True)
    return canvas


def inception(chinese: bool) -> Canvas:
    """An Inception block of system B: four branches and how many channels each gives."""
    found = {row.name: row for row in cs.summary(InceptionA(10), (10, 12, 12)).rows}

    def out(name: str) -> str:
        shape = found[name].output_shape
        assert shape is not None
        return f"{shape[0]}"

    branches = [
        [("1x1", out("branch1x1"))],
        [("1x1", out("branch5x5.0")), ("5x5", out("branch5x5.1"))],
        [(k, out(f"branch3x3.{n}")) for n, k in enumerate(("1x1", "3x3", "3x3"))],
        [("{average-pool} 3x3", out("branch_pool.0")), ("1x1", out("branch_pool.1"))],
    ]
    canvas = Canvas(600, 380, chinese)
    canvas.box(200, 10, 200, 36, SAND, QUIET, 6)
    canvas.text(300, 28, "10 {channels}, 12 x 12", 15, anchor="middle")
    for n, branch in enumerate(branches):
        x = 75 + 150 * n
        canvas.line((300, 46), (x, 72))
        for step in range(3):
            y = 74 + 76 * step
            if step < len(branch):
                name, count = branch[step]
                last = step == len(branch) - 1
                canvas.box(x - 64, y, 128, 44, PALE if last else "white", BLUE, 6)
                canvas.text(x, y + 13, name, 14, anchor="middle")
                canvas.text(x, y + 31, f"{count} {{channels}}", 13, QUIET, "middle")
        end = 74 + 76 * (len(branch) - 1) + 44
        for step in range(1, len(branch)):
            canvas.line((x, 74 + 76 * step - 32), (x, 74 + 76 * step - 2))
        canvas.line((x, end), (x, 300), (300, 328))
    canvas.box(120, 330, 360, 40, PALE, BLUE, 6)
    sums = " + ".join(branch[-1][1] for branch in branches)
    total = sum(int(branch[-1][1]) for branch in branches)
    canvas.text(300, 350, f"{{concatenated}}: {sums} = {total}", 16, anchor="middle", bold=True)
    return canvas


def shortcuts(chinese: bool) -> Canvas:
    """What becomes of x in a plain, a residual, a pre-activation and a dense block."""
    norm, relu = "{batch norm}", "{ReLU}"
    kinds = [
        ("{plain}", ["3x3", relu, "3x3", relu]),
        ("{residual}", ["3x3", relu, "3x3", "+", relu]),
        ("{pre-activation}", [norm, relu, "3x3", norm, relu, "3x3", "+"]),
        ("{dense}", [norm, relu, "3x3", "{concatenated}"]),
    ]
    canvas = Canvas(600, 395, chinese)
    for n, (name, steps) in enumerate(kinds):
        x = 66 + 150 * n
        canvas.text(x + 6, 16, name, 16, BLUE, "middle", bold=True)
        canvas.text(x, 44, "x", 16, INK, "middle")
        y = 54.0
        for step in steps:
            canvas.line((x, y), (x, y + 16))
            y += 17
            if step in JOINS:
                half = 14 if step == "+" else 50
                canvas.box(x - half, y, 2 * half, 28, PALE, BLUE, 14)
                canvas.text(x, y + 14, step, 20 if step == "+" else 14, BLUE, "middle")
                side, end = x + 68, (x + half + 1, y + 14)
                canvas.line((x + 8, 44), (side, 44), (side, y + 14), end, colour=RED)
                y += 28
            else:
                canvas.box(x - 50, y, 100, 28, SAND if step == "3x3" else "white", QUIET, 5)
                canvas.text(x, y + 14, step, 14, anchor="middle")
                y += 28
        canvas.line((x, y), (x, y + 20))
    return canvas


def batch(chinese: bool) -> Canvas:
    """A batch as one matrix: a row an image."""
    canvas = Canvas(600, 250, chinese)
    canvas.text(20, 18, "{one image}", 16, BLUE, bold=True)
    _product(canvas, 40, 1)
    canvas.text(20, 112, "{a batch}", 16, BLUE, bold=True)
    _product(canvas, 130, 4)
    return canvas


def _product(canvas: Canvas, y: float, images: int) -> None:
    for n in range(images):
        canvas.box(20, y + 24 * n, 190, 20, PALE, BLUE)
        canvas.box(430, y + 24 * n, 60, 20, PALE, BLUE)
    middle = y + 12 * images - 2
    canvas.text(115, middle + 12 * images + 12, f"{images} x 1600", 14, QUIET, "middle")
    canvas.text(236, middle, "·", 24, anchor="middle")
    canvas.box(262, middle - 28, 90, 56, SAND)
    canvas.text(307, middle, "{weights}", 14, anchor="middle")
    below = middle + 40
    canvas.text(307, below, "1600 x 10", 14, QUIET, "middle")
    canvas.text(390, middle, "=", 22, anchor="middle")
    canvas.text(460, middle + 12 * images + 12, f"{images} x 10", 14, QUIET, "middle")


def channels(chinese: bool) -> Canvas:
    """Many channels: each kernel spans all the input's, each gives one map of the output."""
    canvas = Canvas(600, 330, chinese)
    canvas.text(70, 16, "{input}", 15, BLUE, "middle", bold=True)
    canvas.text(70, 36, "3 x 5 x 5", 14, QUIET, "middle")
    canvas.text(300, 16, "{kernel}", 15, BLUE, "middle", bold=True)
    canvas.text(300, 36, "2 x 3 x 3 x 3", 14, QUIET, "middle")
    canvas.text(530, 16, "{output}", 15, BLUE, "middle", bold=True)
    canvas.text(530, 36, "2 x 3 x 3", 14, QUIET, "middle")
    fills = ["#f6d9cc", "#dcefd9", "#d6e6f5"]
    for c, fill in enumerate(fills):
        y = 56 + 92 * c
        canvas.numbers(30, y, [[""] * 5 for _ in range(5)], 16, fill)
        canvas.box(30, y, 48, 48, "none", RED, 0, 2)
    for m in (0, 1):
        top = 90 + 130 * m
        for c, fill in enumerate(fills):
            canvas.numbers(212 + 62 * c, top, [[""] * 3 for _ in range(3)], 16, fill)
            if c:
                canvas.text(205 + 62 * c, top + 24, "+", 16, QUIET, "middle")
        canvas.line((140, 120 + 62 * m), (200, top + 24))
        canvas.line((400, top + 24), (496, top + 24))
        canvas.text(446, top + 10, "{sum}", 14, QUIET, "middle")
        canvas.numbers(504, top, [[""] * 3 for _ in range(3)], 16, PALE)
        canvas.box(504, top, 16, 16, "none", RED, 0, 2)
    return canvas


DIAGRAMS: dict[str, Callable[[bool], Canvas]] = {
    "a-network": network,
    "b-inception": inception,
    "b-shortcuts": shortcuts,
    "c-batch": batch,
    "d-channels": channels,
}


def drawn() -> dict[Path, str]:
    """Every diagram's file and what belongs into it."""
    folders = ((LESSONS / "pictures", False), (LESSONS / "zh" / "pictures", True))
    return {
        folder / f"{name}.svg": draw(chinese).svg()
        for name, draw in DIAGRAMS.items()
        for folder, chinese in folders
    }


def _shape(row: object) -> str:
    shape = row.output_shape  # type: ignore[attr-defined]
    return " x ".join(map(str, shape))


if __name__ == "__main__":
    for path, text in drawn().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        print(path.relative_to(LESSONS))
