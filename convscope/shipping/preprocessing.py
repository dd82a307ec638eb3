"""The one preprocessing as nodes of an ONNX graph: any uint8 images -> pixels of a network's size.

They compute what :func:`convscope.data.resize.fitted` does. ``Resize`` leaves out what is beyond
the border, as Pillow does, and is rounded once: Pillow rounds between its passes, too, so that the
two are at most one level apart (on uint8 ONNX Runtime rounds twice in an order of its own, and is
up to two off). The colour of a border is the mean of the two middle values of the edge, which are
as far apart; where that is a half, it is rounded to odd: what is even could be two levels from what
Python makes of it. Images that have the size already pass through one comparison of shapes.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import compose, parser

from convscope.data.columns import Image

OPSET, IR = 18, 10
HEAD = f'<ir_version: {IR}, opset_import: ["": {OPSET}]>'

_RESIZE = """
    numbers = Cast<to=1>({0})
    exact = Resize<
        mode="linear", antialias=1, exclude_outside=1, axes=[2, 3],
        coordinate_transformation_mode="half_pixel"
    >(numbers, , , {1})
    levels = Round(exact)
"""

# Each ends in uint8 [N,C,h,w]; sides are (height, width). Names are given a prefix later.
_STRETCH = f"""
    {_RESIZE.format("images", "wanted")}
    resized = Cast<to=2>(levels)
"""

_SCALES = """
    given_sides = Cast<to=11>(given)
    wanted_sides = Cast<to=11>(wanted)
    scales = Div(wanted_sides, given_sides)
"""

_CROP = f"""
    {_SCALES}
    scale = ReduceMax<keepdims=1>(scales)
    shown_sides = Div(wanted_sides, scale)
    shown_rounded = Round(shown_sides)
    shown_whole = Cast<to=7>(shown_rounded)
    one = Constant<value = int64[1] {{1}}>()
    two = Constant<value = int64[1] {{2}}>()
    axes = Constant<value = int64[2] {{2, 3}}>()
    shown = Max(shown_whole, one)
    over = Sub(given, shown)
    begin = Div(over, two)
    end = Add(begin, shown)
    box = Slice(images, begin, end, axes)
    {_RESIZE.format("box", "wanted")}
    resized = Cast<to=2>(levels)
"""

_PAD = f"""
    {_SCALES}
    scale = ReduceMin<keepdims=1>(scales)
    inner_sides = Mul(given_sides, scale)
    inner_rounded = Round(inner_sides)
    inner_whole = Cast<to=7>(inner_rounded)
    one = Constant<value = int64[1] {{1}}>()
    inner = Max(inner_whole, one)
    {_RESIZE.format("images", "inner")}
    is_filled_each = Equal(inner, wanted)
    is_filled_number = Cast<to=6>(is_filled_each)
    is_filled_least = ReduceMin<keepdims=0>(is_filled_number)
    is_filled = Cast<to=9>(is_filled_least)
    resized = If<
        then_branch = filled () => (uint8[N,C,h,w] whole) {{ whole = Cast<to=2>(levels) }},
        else_branch = bordered () => (uint8[N,C,h,w] padded) {{
            zero = Constant<value = int64[1] {{0}}>()
            two = Constant<value = int64[1] {{2}}>()
            last = Constant<value = int64[1] {{-1}}>()
            middle = Constant<value = int64[1] {{-2}}>()
            beyond = Constant<value = int64[1] {{9223372036854775807}}>()
            rows = Constant<value = int64[1] {{2}}>()
            columns = Constant<value = int64[1] {{3}}>()
            axes = Constant<value = int64[2] {{2, 3}}>()
            as_line = Constant<value = int64[3] {{0, 0, -1}}>()
            top_row = Slice(levels, zero, one, rows)
            bottom_row = Slice(levels, last, beyond, rows)
            left_column = Slice(levels, zero, one, columns)
            right_column = Slice(levels, last, beyond, columns)
            top = Reshape(top_row, as_line)
            bottom = Reshape(bottom_row, as_line)
            left = Reshape(left_column, as_line)
            right = Reshape(right_column, as_line)
            edge = Concat<axis=2>(top, bottom, left, right)
            half = ReduceSum<keepdims=1>(inner)
            above_half = Add(half, one)
            upper, places = TopK(edge, above_half)
            two_middle = Slice(upper, middle, beyond, rows)
            median = ReduceMean<keepdims=1>(two_middle, rows)
            unit = Constant<value = float {{1}}>()
            median_below = Sub(median, unit)
            median_even = Round(median_below)
            median_odd = Add(median_even, unit)
            colour = Unsqueeze(median_odd, columns)
            difference = Sub(levels, colour)
            border = Sub(wanted, inner)
            before = Div(border, two)
            after = Sub(border, before)
            pads = Concat<axis=0>(before, after)
            in_border = Pad(difference, pads, , axes)
            coloured = Add(in_border, colour)
            padded = Cast<to=2>(coloured)
        }}>(is_filled)
"""

_FITS = {"stretch": _STRETCH, "crop": _CROP, "pad": _PAD}


def fit_nodes(column: Image, images: str, scaled: str, prefix: str) -> list[onnx.NodeProto]:
    """Nodes that bring the value ``images``, uint8 [N,C,H,W], to the size of the column as its
    ``fit`` says, as ``PREFIXfitted``, uint8 [N,C,h,w], and that to ``scaled``, float32 of 0 to 1.
    Other values of theirs begin with the prefix ``PREFIXfit.``."""
    height, width = column.size
    model = parser.parse_model(f"""{HEAD} fit (uint8[N,C,H,W] images) => (float[N,C,h,w] scaled) {{
        wanted = Constant<value = int64[2] {{{height}, {width}}}>()
        given = Shape<start=2>(images)
        is_same_each = Equal(given, wanted)
        is_same_number = Cast<to=6>(is_same_each)
        is_same_least = ReduceMin<keepdims=0>(is_same_number)
        is_same = Cast<to=9>(is_same_least)
        fitted = If<
            then_branch = same () => (uint8[N,C,h,w] kept) {{ kept = Identity(images) }},
            else_branch = other () => (uint8[N,C,h,w] resized) {{ {_FITS[column.fit]} }}
        >(is_same)
        level = Constant<value = float {{{1 / 255!r}}}>()
        number = Cast<to=1>(fitted)
        scaled = Mul(number, level)
    }}""")
    named = compose.add_prefix(model, f"{prefix}fit.").graph
    own = {"images": images, "fitted": f"{prefix}fitted", "scaled": scaled}
    _rename(named.node, {f"{prefix}fit.{old}": new for old, new in own.items()})
    return list(named.node)


def _rename(nodes: Iterable[onnx.NodeProto], names: dict[str, str]) -> None:
    """Give values other names, in subgraphs, too, and each node that of its first."""
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        node.name = node.output[0]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g.node, names)
