"""Arithmetic on 16 numbers at a time, where a compiler's own choice of vectors is too timid."""

# mypy: ignore-errors

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from convscope.kernels import compiled

WIDE = 16  # numbers at a time: float32 in a register of AVX-512
if compiled.READY:
    from numba.core import cgutils

    from convscope.kernels.compiled import ir

    FLOATS, WORDS = (ir.VectorType(kind, WIDE) for kind in (ir.FloatType(), ir.IntType(32)))
    HALVES = ir.VectorType(ir.IntType(16), WIDE)


class Lanes:
    """16 float32 of a function that is being made, with a number's operators."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.fadd(self.value, other.value))

    def __sub__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.fsub(self.value, other.value))

    def __neg__(self) -> Lanes:
        return Lanes(self.builder, self.builder.fneg(self.value))

    def __rmul__(self, factor: float) -> Lanes:
        return Lanes(self.builder, self.builder.fmul(FLOATS([factor] * WIDE), self.value))

    def __mul__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.fmul(self.value, other.value))

    def __truediv__(self, other: Lanes) -> Lanes:
        return Lanes(self.builder, self.builder.fdiv(self.value, other.value))

    def of(self, number: float) -> Lanes:
        """The number, 16 times."""
        return Lanes(self.builder, FLOATS([number] * WIDE))

    def times_plus(self, factor: Lanes | float, more: Lanes | float) -> Lanes:
        """self factor + more, rounded once."""
        factor, more = (self.of(n) if isinstance(n, float) else n for n in (factor, more))
        return self._call("fma", self.value, factor.value, more.value)

    def at_least(self, number: float) -> Lanes:
        """The larger of the two."""
        return self._call("maxnum", self.value, self.of(number).value)

    def floor(self) -> Lanes:
        """The whole number below."""
        return self._call("floor", self.value)

    def size(self) -> Lanes:
        """Without its sign."""
        return self._call("fabs", self.value)

    def power_of_two(self) -> Lanes:
        """2 to the power of a whole number from -126 to 127."""
        whole = self.builder.add(self.builder.fptosi(self.value, WORDS), WORDS([127] * WIDE))
        bits = self.builder.shl(whole, WORDS([23] * WIDE))
        return Lanes(self.builder, self.builder.bitcast(bits, FLOATS))

    def if_positive(self, one: Lanes, other: Lanes) -> Lanes:
        """One where this is above zero, the other elsewhere."""
        above = self.builder.fcmp_ordered(">", self.value, self.of(0.0).value)
        return Lanes(self.builder, self.builder.select(above, one.value, other.value))

    def _call(self, name: str, *values: Any) -> Lanes:
        kind = ir.FunctionType(FLOATS, [FLOATS] * len(values))
        name = f"llvm.{name}.v{WIDE}f32"
        made = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return Lanes(self.builder, self.builder.call(made, values))


def lanes(function: Callable[..., Sequence[Lanes]]) -> Any:
    """For kernels, of a function of numbers: f(sources, targets, shift).

    ``sources`` are pairs of an address and indices, at each of which 16 neighbours are read: the
    arguments, in that order. What the function returns is written, once all was read, to
    ``targets``, which are pairs too; ``shift`` is added to every index. Addresses are those of
    float32 or of bfloat16, which becomes float32 on the way in and is rounded on the way out, as in
    other kernels.
    """
    if not compiled.READY:
        return None

    @compiled.intrinsic
    def sixteen(context: Any, sources: Any, targets: Any, shift: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            def pointers(kinds: Any, pairs: Any) -> list[Any]:
                found = []
                for n, (address, indices) in enumerate(kinds):
                    pair = builder.extract_value(pairs, n)
                    start, places = (builder.extract_value(pair, k) for k in (0, 1))
                    vector = HALVES if address.dtype == compiled.types.uint16 else FLOATS
                    for k in range(len(indices)):
                        index = builder.add(builder.extract_value(places, k), values[2])
                        there = builder.gep(start, [index])
                        found.append(builder.bitcast(there, vector.as_pointer()))
                return found

            numbers = [_read(builder, pointer) for pointer in pointers(sources, values[0])]
            into = pointers(targets, values[1])
            for number, pointer in zip(function(*numbers), into, strict=True):
                _write(builder, number.value, pointer)
            return context.get_dummy_value()

        return compiled.types.void(sources, targets, shift), generate

    return sixteen


def _read(builder: Any, pointer: Any) -> Lanes:
    """float32 from there; bfloat16's bits are the upper half of the other's."""
    half = pointer.type.pointee == HALVES
    value = builder.load(pointer, align=2 if half else 4)
    if half:
        whole = builder.shl(builder.zext(value, WORDS), WORDS([16] * WIDE))
        value = builder.bitcast(whole, FLOATS)
    return Lanes(builder, value)


def _write(builder: Any, value: Any, pointer: Any) -> None:
    """float32 to there; as bfloat16 to the nearest, halves to even."""
    half = pointer.type.pointee == HALVES
    if half:
        bits, upper = builder.bitcast(value, WORDS), WORDS([16] * WIDE)
        odd = builder.and_(builder.lshr(bits, upper), WORDS([1] * WIDE))
        up = builder.add(builder.add(bits, WORDS([0x7FFF] * WIDE)), odd)
        value = builder.trunc(builder.lshr(up, upper), HALVES)
    builder.store(value, pointer, align=2 if half else 4)
