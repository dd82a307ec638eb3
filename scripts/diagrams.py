"""Draw the lessons' diagrams: docs/lessons/pictures/*.svg, and those with Chinese words in zh/.

    python scripts/diagrams.py

Sizes and counts are read off the networks themselves.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

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
    "batch norm": "批归一化",
    "ReLU": "ReLU",
    "max-pool": "最大池化",
    "average-pool": "平均池化",
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
    "linear probe": "线性探测",
    "fine-tuning": "微调",
    "stem": "茎部",
    "stage": "阶段",
    "last layer": "最后一层",
    "features": "特征",
    "learns": "学习",
    "stays": "不变",
    "slowly": "慢慢学习",
    "fold": "折",
    "network": "网络",
    "judged": "评估",
    "learnt from": "用来学习",
    "left": "左",
    "right": "右",
    "trunk": "主干",
    "side by side": "并排",
    "left digit": "左边的数字",
    "right digit": "右边的数字",
    "their sum": "两数之和",
    "larger one": "较大的一个",
    "shared": "共用",
    "old network": "旧网络",
    "new network": "新网络",
    "cut": "剪下",
    "join": "拼接",
    "new layers": "新的层",
    "new head": "新的头",
    "head": "头",
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


def start(chinese: bool) -> Canvas:
    """What learns of a network with ImageNet's weights: in a linear probe, and in fine-tuning."""
    from convscope.models import surgery

    with torch.device("meta"):
        network = build("efficientnet_lite0", 3, 3, (224, 224))
    last = sum(p.numel() for p in surgery.output_layer(network)[1].parameters())
    rest = sum(p.numel() for p in network.parameters()) - last
    assert network.features is not None
    stages = surgery.stages(network, (224, 224))
    kept = sum(p.numel() for p in network.features[: stages[3]].parameters())
    canvas = Canvas(640, 270, chinese)
    for row, (name, tuned) in enumerate((("{linear probe}", False), ("{fine-tuning}", True))):
        y = 34 + 124 * row
        canvas.text(12, y - 14, name, 16, BLUE, bold=True)
        widths = [(f"{{stem}} … {{stage}} {len(stages) - 1}", 250, False, kept),
                  (f"… {{stage}} {len(stages)}", 170, tuned, rest - kept),
                  ("{last layer}", 130, True, last)]  # fmt: skip
        x = 12.0
        for n, (what, width, learns, count) in enumerate(widths):
            fill = PALE if learns else SAND
            canvas.box(x, y + 6, width, 44, fill, BLUE if learns else QUIET, 6)
            canvas.text(x + width / 2, y + 28, what, 15, anchor="middle")
            said = "{stays}" if not learns else "{slowly}" if n == 1 else "{learns}"
            colour = BLUE if learns else QUIET
            canvas.text(x + width / 2, y + 64, said, 14, colour, "middle", learns)
            canvas.text(x + width / 2, y + 83, f"{count:,}", 14, RED, "middle")
            x += width + 24
            if n < 2:
                canvas.line((x - 24, y + 28), (x - 1, y + 28))
    canvas.text(628, 258, f"{last + rest:,} {{parameters}}", 14, RED, "end", bold=True)
    return canvas


def folds(chinese: bool) -> Canvas:
    """Three folds, and which of them each of three networks learns from."""
    canvas = Canvas(560, 196, chinese)
    for fold in range(3):
        canvas.text(200 + 130 * fold, 18, f"{{fold}} {fold + 1}", 15, BLUE, "middle", bold=True)
        y = 36 + 52 * fold
        canvas.text(12, y + 20, f"{{network}} {fold + 1}", 15)
        for other in range(3):
            judged = other == fold
            fill, line = (PALE, BLUE) if judged else (SAND, QUIET)
            canvas.box(140 + 130 * other, y, 120, 40, fill, line, 5, 2 if judged else 1)
            said = "{judged}" if judged else "{learnt from}"
            colour = BLUE if judged else QUIET
            canvas.text(200 + 130 * other, y + 20, said, 14, colour, "middle", judged)
    return canvas


def parts(chinese: bool) -> Canvas:
    """Part of one network cut out and joined to new layers, with the shapes between them."""
    old = build("cnn", 10, 1, (28, 28))
    trunk = cs.cut(old, "stage:2", (28, 28))
    new = cs.join(trunk, nn.Conv2d(32, 8, 3), nn.ReLU(), classes=3, size=(1, 28, 28), freeze=[0])
    count = sum(p.numel() for p in trunk.parameters())
    learnt = {name: p.numel() for name, p in new.named_parameters() if p.requires_grad}
    layers = sum(n for name, n in learnt.items() if name.startswith("features"))
    canvas = Canvas(640, 250, chinese)
    rows = [
        ("{old network}", [("{features}: {stage} 1, 2", 220, PALE), ("{stage} 3", 120, "white"),
                           ("{head}", 120, "white")]),
        ("{new network}", [("{features}: {stage} 1, 2", 220, PALE), ("{new layers}", 120, SAND),
                           ("{new head}", 120, SAND)]),
    ]  # fmt: skip
    for row, (name, boxes) in enumerate(rows):
        y, x = 28 + 124 * row, 12.0
        canvas.text(x, y - 12, name, 16, BLUE, bold=True)
        for n, (what, width, fill) in enumerate(boxes):
            canvas.box(x, y + 4, width, 44, fill, BLUE if fill == PALE else QUIET, 6)
            canvas.text(x + width / 2, y + 26, what, 15, anchor="middle")
            if n < 2:
                canvas.line((x + width, y + 26), (x + width + 69, y + 26))
                shape = [["32 x 14 x 14", "32 x 7 x 7"], ["32 x 14 x 14", "8 x 12 x 12"]][row][n]
                canvas.text(x + width + 35, y + 64, shape, 13, QUIET, "middle")
            x += width + 70
    canvas.line((190, 78), (190, 152), colour=BLUE)
    canvas.text(200, 98, "{cut}", 14, BLUE)
    for at, number, colour in ((122, count, QUIET), (362, layers, RED), (552, 27, RED)):
        canvas.text(at, 222, f"{number:,}", 14, colour, "middle")
    assert sum(learnt.values()) == layers + 27
    return canvas


def pairs(chinese: bool) -> Canvas:
    """The network of the recipe mnist-pairs: two inputs through one trunk, four heads."""
    canvas = Canvas(640, 250, chinese)
    for n, side in enumerate(("{left}", "{right}")):
        y = 60 + 110 * n
        canvas.box(12, y, 76, 56, SAND, QUIET, 6)
        canvas.text(50, y + 18, side, 15, anchor="middle")
        canvas.text(50, y + 38, "1 x 28 x 28", 11, QUIET, "middle")
        canvas.line((88, y + 28), (122, y + 28))
        canvas.box(124, y, 90, 56, PALE, BLUE, 6)
        canvas.text(169, y + 28, "{trunk}", 15, anchor="middle")
        canvas.line((214, y + 28), (270, 125))
        canvas.text(226, y + 62 - 74 * n, "64", 13, QUIET)
    canvas.line((169, 116), (169, 170), arrow=False, colour=BLUE)
    canvas.text(176, 143, "{shared}", 13, BLUE)
    canvas.box(272, 96, 120, 58, "white", QUIET, 6)
    canvas.text(332, 114, "{side by side}", 14, anchor="middle")
    canvas.text(332, 136, "128 → 128", 13, QUIET, "middle")
    heads = [("{left digit}", 10), ("{right digit}", 10), ("{their sum}", 19), ("{larger one}", 3)]
    for n, (what, count) in enumerate(heads):
        y = 12 + 59 * n
        canvas.line((392, 125), (440, y + 22))
        canvas.box(442, y, 186, 44, PALE, BLUE, 6)
        canvas.text(535, y + 14, what, 14, anchor="middle")
        canvas.text(535, y + 32, f"{count} {{classes}}", 12, QUIET, "middle")
    return canvas


DIAGRAMS: dict[str, Callable[[bool], Canvas]] = {
    "a-network": network,
    "b-inception": inception,
    "b-shortcuts": shortcuts,
    "c-batch": batch,
    "d-channels": channels,
    "f-folds": folds,
    "f-start": start,
    "g-pairs": pairs,
    "g-parts": parts,
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
