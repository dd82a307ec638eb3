"""Pillow's bilinear resize with antialiasing of an RGB image, as compiled code: pixel for pixel.

The arithmetic is Pillow's own (src/libImaging/Resample.c of 13.0): weights in float64, rounded to
22 bits behind the point; one pass along the rows, rounded to bytes, then one along the columns. It
runs on the thread that calls it, which lets go of the interpreter meanwhile.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.kernels import compiled
from convscope.kernels.compiled import carray, octets, words
from convscope.kernels.toolchain import cgutils, intrinsic, ir, njit, types

BITS = 22  # of a weight, behind the point
HALF = 1 << (BITS - 1)
ROWS = 4  # mixed at once: a vector of as many pixels, each of four bytes


def resize(source: int, sizes: tuple[int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image of ``sizes`` (width, height), whose pixels of four bytes are at the address
    ``source``, as ``[3,H,W]`` of ``size`` (width, height)."""
    w, h = size
    across, down = (taps(*sides) for sides in zip(sizes, size, strict=True))
    kept = (down // ROWS + 2) * ROWS  # rows that are needed again, and those that are made next
    numbers = 2 * (w + h)  # int64: where the weights of a pixel begin, and how many they are
    room = np.empty(8 * numbers + 4 * (w * across + h * down + 4 * w) + kept * 4 * w, np.uint8)
    out = np.empty((3, h, w), np.uint8)
    addresses = (a.__array_interface__["data"][0] for a in (out, room))
    table = (ctypes.c_int64 * 9)(source, *addresses, *sizes, w, h, across, down)
    _code()(table)
    return out


def taps(length: int, size: int) -> int:
    """How many pixels one of ``size`` new ones is made of, at most, along so many old ones."""
    return int(np.ceil(max(length / size, 1.0))) * 2 + 1


@functools.cache
def _code() -> Callable[[Any], None]:
    """The compiled loops."""
    address, holder = compiled.code(_resize, "resize", fastmath=False)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
    function.holder = holder
    return function


def _resize(p):
    """The address of the image, out uint8 [3,h,w], room; width, height, w, h, the most taps across
    and down -> out."""
    a = carray(p, (9,))
    width, height, w, h, across, down = a[3], a[4], a[5], a[6], a[7], a[8]
    source, out, pitch, line = a[0], octets(a[1]), 4 * width, 4 * w
    x0 = words(a[2])
    xn, y0, yn = words(a[2] + 8 * w), words(a[2] + 16 * w), words(a[2] + 8 * (2 * w + h))
    weights = a[2] + 16 * (w + h)
    columns = weights + 4 * w * across  # the address of their weights
    totals = columns + 4 * h * down
    rows, total = totals + 4 * line, integers(totals)
    kept = (down // ROWS + 2) * ROWS
    _weigh(width, w, across, x0, xn, integers(weights))
    _weigh(height, h, down, y0, yn, integers(columns))
    begin, end = y0[0], y0[h - 1] + yn[h - 1]
    made = begin
    for y in range(h):
        first, count = y0[y], yn[y]
        while made < first + count:
            row, target = source + made * pitch, rows + (made - begin) % kept * line
            if made + ROWS <= end:
                for x in range(w):
                    at = weights + 4 * across * x
                    _mix_rows(row + 4 * x0[x], pitch, at, xn[x], target + 4 * x, line)
                made += ROWS
            else:
                for x in range(w):
                    at = weights + 4 * across * x
                    _mix_one(row + 4 * x0[x], pitch, at, xn[x], target + 4 * x, line)
                made += 1
        for i in range(line):
            total[i] = HALF
        for j in range(count):
            row = octets(rows + (first + j - begin) % kept * line)
            weight = integers(columns + 4 * (y * down + j))[0]
            for i in range(line):
                total[i] += np.int32(row[i]) * weight
        o, plane = y * w, h * w
        for x in range(w):
            out[o + x] = np.uint8(total[4 * x] >> BITS)
            out[plane + o + x] = np.uint8(total[4 * x + 1] >> BITS)
            out[2 * plane + o + x] = np.uint8(total[4 * x + 2] >> BITS)


def _weigh(size, n, most, first, count, weights):
    """Of which of ``size`` pixels each of ``n`` new ones is made, and their weights int32
    [n,most]."""
    scale = np.float64(size) / n
    spread = max(scale, 1.0)
    for i in range(n):
        center = (i + 0.5) * scale
        low = max(np.int64(center - spread + 0.5), 0)
        high = min(np.int64(center + spread + 0.5), size)
        total = 0.0
        for j in range(low, high):
            total += max(0.0, 1.0 - abs((j - center + 0.5) * (1.0 / spread)))
        for j in range(low, high):
            share = max(0.0, 1.0 - abs((j - center + 0.5) * (1.0 / spread))) / total
            weights[i * most + j - low] = np.int32(0.5 + share * (1 << BITS))
        first[i], count[i] = low, high - low


if compiled.READY:
    integers = compiled.pointer_to(types.int32)
    _weigh = njit(error_model="numpy", inline="always")(_weigh)

    def _mixing(rows: int) -> Any:
        """A function in kernels that makes a pixel of each of so many rows."""
        byte, word, long, lanes = ir.IntType(8), ir.IntType(32), ir.IntType(64), 4 * rows
        numbers, pixels = ir.VectorType(word, lanes), ir.VectorType(word, rows)

        def same(value: int) -> Any:
            return ir.Constant(numbers, [value] * lanes)

        def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
            source, pitch, weights, count, target, line = arguments
            source, target = (b.inttoptr(a, byte.as_pointer()) for a in (source, target))
            weights = b.inttoptr(weights, word.as_pointer())
            total = cgutils.alloca_once_value(b, same(HALF))
            b.store(same(HALF), total)  # once more for each pixel
            with cgutils.for_range(b, count) as loop:
                column, none = b.gep(source, [b.mul(loop.index, long(4))]), ir.Undefined
                read = ir.Constant(pixels, none)
                for row in range(rows):
                    place = b.gep(column, [b.mul(pitch, long(row))])
                    pixel = b.load(b.bitcast(place, word.as_pointer()), align=1)
                    read = b.insert_element(read, pixel, word(row))
                read = b.zext(b.bitcast(read, ir.VectorType(byte, lanes)), numbers)
                weight = b.load(b.gep(weights, [loop.index]))
                weight = b.insert_element(ir.Constant(numbers, none), weight, word(0))
                weight = b.shuffle_vector(weight, ir.Constant(numbers, none), same(0))
                b.store(b.add(b.load(total), b.mul(read, weight)), total)
            mixed = b.trunc(b.lshr(b.load(total), same(BITS)), ir.VectorType(byte, lanes))
            mixed = b.bitcast(mixed, pixels)
            for row in range(rows):
                place = b.gep(target, [b.mul(line, long(row))])
                pixel = b.extract_element(mixed, word(row))
                b.store(pixel, b.bitcast(place, word.as_pointer()), align=1)
            return context.get_dummy_value()

        @intrinsic
        def mix(context, source, pitch, weights, count, target, line):
            """From ``count`` pixels of each row at ``source`` and their weights to a pixel at
            ``target``; the next row is ``pitch``, or ``line``, bytes further on."""
            return types.void(*[types.int64] * 6), generate

        return mix

    _mix_one, _mix_rows = _mixing(1), _mixing(ROWS)
