"""Arithmetic on 16 numbers at a time, where a compiler's own choice of vectors is too timid."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from convscope.kernels import compiled
from convscope.kernels.toolchain import cgutils, ir

WIDE = 16  # numbers at a time: float32 in a register of AVX-512
if compiled.READY:
    FLOATS, WORDS = (ir.VectorType(kind, WIDE) for kind in (ir.FloatType(), ir.IntType(32)))
    HALVES, BYTES = (ir.VectorType(ir.IntType(bits), WIDE) for bits in (16, 8))
    WORD = ir.IntType(64)


class Vec16:
    """16 float32 of a function that is being made, with a number's operators."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Vec16) -> Vec16:
        return Vec16(self.builder, self.builder.fadd(self.value, other.value))

    def __sub__(self, other: Vec16) -> Vec16:
        return Vec16(self.builder, self.builder.fsub(self.value, other.value))

    def __neg__(self) -> Vec16:
        return Vec16(self.builder, self.builder.fneg(self.value))

    def __rmul__(self, factor: float) -> Vec16:
        return Vec16(self.builder, self.builder.fmul(FLOATS([factor] * WIDE), self.value))

    def __mul__(self, other: Vec16) -> Vec16:
        return Vec16(self.builder, self.builder.fmul(self.value, other.value))

    def __truediv__(self, other: Vec16) -> Vec16:
        return Vec16(self.builder, self.builder.fdiv(self.value, other.value))

    def of(self, number: float) -> Vec16:
        """The number, 16 times."""
        return Vec16(self.builder, FLOATS([number] * WIDE))

    def times_plus(self, factor: Vec16 | float, more: Vec16 | float) -> Vec16:
        """self factor + more, rounded once."""
        factor, more = (self.of(n) if isinstance(n, float) else n for n in (factor, more))
        return self._call("fma", self.value, factor.value, more.value)

    def at_least(self, number: float) -> Vec16:
        """The larger of the two."""
        return self._call("maxnum", self.value, self.of(number).value)

    def floor(self) -> Vec16:
        """The whole number below."""
        return self._call("floor", self.value)

    def size(self) -> Vec16:
        """Without its sign."""
        return self._call("fabs", self.value)

    def power_of_two(self) -> Vec16:
        """2 to the power of a whole number from -126 to 127."""
        whole = self.builder.add(self.builder.fptosi(self.value, WORDS), WORDS([127] * WIDE))
        bits = self.builder.shl(whole, WORDS([23] * WIDE))
        return Vec16(self.builder, self.builder.bitcast(bits, FLOATS))

    def if_positive(self, one: Vec16, other: Vec16) -> Vec16:
        """One where this is above zero, the other elsewhere."""
        above = self.builder.fcmp_ordered(">", self.value, self.of(0.0).value)
        return Vec16(self.builder, self.builder.select(above, one.value, other.value))

    def if_equal(self, other: Vec16, one: Vec16, another: Vec16) -> Vec16:
        """One where this equals the other, another elsewhere."""
        same = self.builder.fcmp_ordered("==", self.value, other.value)
        return Vec16(self.builder, self.builder.select(same, one.value, another.value))

    def _call(self, name: str, *values: Any) -> Vec16:
        kind = ir.FunctionType(FLOATS, [FLOATS] * len(values))
        name = f"llvm.{name}.v{WIDE}f32"
        made = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return Vec16(self.builder, self.builder.call(made, values))


def lanes(function: Callable[..., Sequence[Vec16]]) -> Any:
    """For kernels, of a function of numbers: f(sources, targets, shift).

    ``sources`` are pairs of an address and indices, at each of which 16 neighbours are read: the
    arguments, in that order. What the function returns is written, once all was read, to
    ``targets``, which are pairs too; ``shift`` is added to every index. Addresses are those of
    float32, of bfloat16, which becomes float32 on the way in and is rounded on the way out, as in
    other kernels, or of bytes, which are whole numbers.
    """

    @compiled.intrinsic
    def sixteen(context, sources, targets, shift):
        def generate(context, builder, signature, values):
            def pointers(kinds: Any, pairs: Any) -> list[Any]:
                found = []
                for n, (address, indices) in enumerate(kinds):
                    pair = builder.extract_value(pairs, n)
                    start, places = (builder.extract_value(pair, k) for k in (0, 1))
                    vector = _vector(address)
                    for k in range(len(indices)):
                        index = builder.add(builder.extract_value(places, k), values[2])
                        there = builder.gep(start, [index])
                        found.append(builder.bitcast(there, vector.as_pointer()))
                return found

            numbers = [read_vector(builder, pointer) for pointer in pointers(sources, values[0])]
            into = pointers(targets, values[1])
            for number, pointer in zip(function(*numbers), into, strict=True):
                write_vector(builder, number.value, pointer)
            return context.get_dummy_value()

        return compiled.types.void(sources, targets, shift), generate

    return sixteen


def _vector(address: Any) -> Any:
    """What 16 of the numbers at an address are."""
    kinds = {compiled.types.uint16: HALVES, compiled.types.uint8: BYTES}
    return kinds.get(address.dtype, FLOATS)


def read_vector(builder: Any, pointer: Any) -> Vec16:
    """float32 from there; bfloat16's bits are the upper half of the other's."""
    if pointer.type.pointee == BYTES:
        return Vec16(builder, builder.uitofp(builder.load(pointer, align=1), FLOATS))
    half = pointer.type.pointee == HALVES
    value = builder.load(pointer, align=2 if half else 4)
    if half:
        whole = builder.shl(builder.zext(value, WORDS), WORDS([16] * WIDE))
        value = builder.bitcast(whole, FLOATS)
    return Vec16(builder, value)


def write_vector(builder: Any, value: Any, pointer: Any) -> None:
    """float32 to there; as bfloat16 to the nearest, halves to even."""
    if pointer.type.pointee == BYTES:
        builder.store(builder.fptoui(value, BYTES), pointer, align=1)
        return
    half = pointer.type.pointee == HALVES
    if half:
        bits, upper = builder.bitcast(value, WORDS), WORDS([16] * WIDE)
        odd = builder.and_(builder.lshr(bits, upper), WORDS([1] * WIDE))
        up = builder.add(builder.add(bits, WORDS([0x7FFF] * WIDE)), odd)
        value = builder.trunc(builder.lshr(up, upper), HALVES)
    builder.store(value, pointer, align=2 if half else 4)


PIXELS, TAPS = 8, 5  # of an image whose sums stay in registers


class Sums:
    """Vectors that a loop adds to, and their addresses."""

    def __init__(self, builder: Any, starts: Sequence[Any]) -> None:
        self.builder = builder
        self.rooms = [cgutils.alloca_once(builder, FLOATS) for _ in starts]
        for room, start in zip(self.rooms, starts, strict=True):
            builder.store(start, room)

    def add(self, n: int, one: Any, other: Any) -> None:
        """one times other to the n-th."""
        so_far = Vec16(self.builder, self.builder.load(self.rooms[n]))
        total = Vec16(self.builder, one).times_plus(Vec16(self.builder, other), so_far)
        self.builder.store(total.value, self.rooms[n])

    def of(self, n: int) -> Any:
        return self.builder.load(self.rooms[n])


def spread(builder: Any, number: Any, kind: Any) -> Any:
    """A vector of that kind whose 16 numbers are this one."""
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, WORD(0))
    return builder.shuffle_vector(first, first, ir.Constant(WORDS, [0] * WIDE))


class Memory:
    """Numbers and vectors of numbers at an address."""

    def __init__(self, builder: Any, kind: Any, address: Any) -> None:
        self.builder, self.address = builder, address
        self.vectors = _vector(kind)

    def place(self, kind: Any, *parts: Any) -> Any:
        """The address of what is of that kind at the index that is the sum of these."""
        there = self.builder.gep(self.address, [functools.reduce(self.builder.add, parts)])
        return self.builder.bitcast(there, kind.as_pointer())

    def at(self, *parts: Any) -> Any:
        """The vector whose index is the sum of these."""
        return self.place(self.vectors, *parts)

    def read(self, *parts: Any) -> Any:
        return read_vector(self.builder, self.at(*parts)).value

    def everywhere(self, *parts: Any) -> Any:
        """The number at that index, 16 times."""
        index = functools.reduce(self.builder.add, parts)
        return spread(
            self.builder, self.builder.load(self.builder.gep(self.address, [index])), FLOATS
        )


def weigh(vectors: int) -> Any:
    """For kernels: the outputs of 8 pixels, for ``vectors`` times 16 channels from c on.

    f(x, q, step, line, w, bias, c, K, k, span, y, o): windows of k rows of ``span`` numbers, the
    rows ``line`` apart and the windows ``step``, the first at q of x; w [k*span,K]; y [8,K] at o.
    """

    @compiled.intrinsic
    def eight(context, x, q, step, line, w, bias, c, K, k, span, y, o):
        def generate(context, builder, signature, values):
            q, step, line, c, K, k, span, o = (values[n] for n in (1, 2, 3, 6, 7, 8, 9, 11))
            x, w, bias, y = (Memory(builder, signature.args[n], values[n]) for n in (0, 4, 5, 10))
            each = [(p, v) for p in range(PIXELS) for v in range(vectors)]
            starts = [bias.read(c, WORD(WIDE * v)) for v in range(vectors)]
            sums = Sums(builder, [starts[v] for _, v in each])
            places = [builder.add(q, builder.mul(WORD(p), step)) for p in range(PIXELS)]
            with cgutils.for_range(builder, k, intp=WORD) as row:
                down, first = builder.mul(row.index, line), builder.mul(row.index, span)
                with cgutils.for_range(builder, span, intp=WORD) as tap:
                    at = builder.add(c, builder.mul(builder.add(first, tap.index), K))
                    weights = [w.read(at, WORD(WIDE * v)) for v in range(vectors)]
                    along = builder.add(down, tap.index)
                    for p in range(PIXELS):
                        number = x.everywhere(places[p], along)
                        for v in range(vectors):
                            sums.add(p * vectors + v, number, weights[v])
            for n, (p, v) in enumerate(each):
                into = y.at(o, builder.mul(WORD(p), K), c, WORD(WIDE * v))
                write_vector(builder, sums.of(n), into)
            return context.get_dummy_value()

        return compiled.types.void(x, q, step, line, w, bias, c, K, k, span, y, o), generate

    return eight


def correlate(vectors: int) -> Any:
    """For kernels: what a row of pixels adds to the gradients of 5 neighbouring weights, for
    ``vectors`` times 16 channels from c on.

    f(x, q, step, g, o, count, c, K, sums, s): ``count`` windows, ``step`` apart, the first at q of
    x; g [count,K] at o; sums [5,K] at s.
    """

    @compiled.intrinsic
    def five(context, x, q, step, g, o, count, c, K, sums, s):
        def generate(context, builder, signature, values):
            q, step, o, count, c, K, s = (values[n] for n in (1, 2, 4, 5, 6, 7, 9))
            x, g, into = (Memory(builder, signature.args[n], values[n]) for n in (0, 3, 8))
            each = [(t, v) for t in range(TAPS) for v in range(vectors)]
            sums = Sums(builder, [FLOATS([0.0] * WIDE)] * len(each))
            with cgutils.for_range(builder, count, intp=WORD) as pixel:
                at = builder.add(builder.add(o, c), builder.mul(pixel.index, K))
                slopes = [g.read(at, WORD(WIDE * v)) for v in range(vectors)]
                place = builder.add(q, builder.mul(pixel.index, step))
                for t in range(TAPS):
                    number = x.everywhere(place, WORD(t))
                    for v in range(vectors):
                        sums.add(t * vectors + v, number, slopes[v])
            for n, (t, v) in enumerate(each):
                there = into.at(s, builder.mul(WORD(t), K), c, WORD(WIDE * v))
                total = builder.fadd(sums.of(n), read_vector(builder, there).value)
                write_vector(builder, total, there)
            return context.get_dummy_value()

        return compiled.types.void(x, q, step, g, o, count, c, K, sums, s), generate

    return five
