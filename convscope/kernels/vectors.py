"""Arithmetic on 16 numbers at a time, where a compiler's own choice of vectors is too timid."""

# mypy: ignore-errors

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from convscope.kernels import compiled

WIDE = 16  # numbers at a time: float32 in a register of AVX-512
if compiled.READY:
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


def lanes(function: Callable[..., Sequence[Lanes]]) -> Any:
    """For kernels, of a function of numbers: f(of, places, also, more, into, results, shift).

    Its arguments are read at each index of ``places`` and then of ``more``, 16 neighbours at once,
    and what it returns is written at each of ``results``, once all was read; ``shift`` is added to
    every index. Addresses are those of float32 or of bfloat16, which becomes float32 on the way in
    and is rounded on the way out, as in other kernels.
    """
    if not compiled.READY:
        return None

    @compiled.intrinsic
    def sixteen(
        context: Any,
        of: Any,
        places: Any,
        also: Any,
        more: Any,
        into: Any,
        results: Any,
        shift: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            def at(source: int) -> list[Any]:
                half = signature.args[source].dtype == compiled.types.uint16
                kind = (HALVES if half else FLOATS).as_pointer()
                indices = [
                    builder.add(builder.extract_value(values[source + 1], k), values[-1])
                    for k in range(len(signature.args[source + 1]))
                ]
                return [
                    builder.bitcast(builder.gep(values[source], [index]), kind) for index in indices
                ]

            found = function(*(_read(builder, pointer) for pointer in at(0) + at(2)))
            for number, pointer in zip(found, at(4), strict=True):
                _write(builder, number.value, pointer)
            return context.get_dummy_value()

        return compiled.types.void(of, places, also, more, into, results, shift), generate

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
