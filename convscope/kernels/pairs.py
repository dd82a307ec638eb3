"""Arithmetic on 16 pairs of bfloat16 at a time: the processor's dot products (``vdpbf16ps``), 32
multiply-adds an instruction, whose float32 sums stay in registers."""

from __future__ import annotations

from typing import Any

from convscope.kernels import compiled, toolchain
from convscope.kernels.toolchain import cgutils, ir
from convscope.kernels.vectors import PIXELS, WIDE, Memory, Sums, read_vector, spread, write_vector

ONES = 0x3F803F80  # a pair of 1 and 1
BLOCK = 8  # channels of the weights' gradient whose sums stay in registers
if compiled.READY:
    from convscope.kernels.vectors import FLOATS, HALVES, WORD, WORDS

    class _BFloat(ir.types.Type):
        """LLVM's bfloat, which llvmlite has no name for."""

        def _to_string(self) -> str:
            return "bfloat"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, _BFloat)

        def __hash__(self) -> int:
            return hash("bfloat")

    PAIRS = ir.VectorType(_BFloat(), 2 * WIDE)


def suits() -> bool:
    """Whether this processor has the instruction."""
    return compiled.READY and "avx512bf16" in toolchain.instructions()


def _dot(builder: Any, total: Any, one: Any, other: Any) -> Any:
    """total + the products of the pairs of each of 16 lanes."""
    kind = ir.FunctionType(FLOATS, [FLOATS, PAIRS, PAIRS])
    name = "llvm.x86.avx512bf16.dpbf16ps.512"
    made = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(made, [total, one, other])


def _pairs(builder: Any, memory: Memory, *parts: Any) -> Any:
    """16 pairs at an index that is the sum of these."""
    return builder.load(memory.place(PAIRS, *parts), align=2)


def _pair(builder: Any, memory: Memory, *parts: Any) -> Any:
    """The pair at an index that is the sum of these, 16 times."""
    pair = builder.load(memory.place(ir.IntType(32), *parts), align=2)
    return builder.bitcast(spread(builder, pair, WORDS), PAIRS)


class DotSums(Sums):
    """Sums in registers, 16 lanes each, of products of pairs."""

    def add(self, n: int, one: Any, other: Any) -> None:
        """The dot products of the pairs of one and the other to the n-th."""
        so_far = self.builder.load(self.rooms[n])
        self.builder.store(_dot(self.builder, so_far, one, other), self.rooms[n])


def _forward(vectors: int) -> Any:
    """For kernels: the outputs of 8 pixels, for 16 filters from c on, or two times 16, ``apart``
    filters from each other.

    f(x, places, n, line, w, bias, c, apart, K, r, k, span, y, o): the windows of pixels n to n + 7
    begin at ``places[n]`` ... of x; their rows from r to k, of ``span`` numbers, ``line`` apart,
    are multiplied; w [rows*span/2,K,2]; y [8,K] at o.
    """

    @compiled.intrinsic
    def eight(context, x, places, n, line, w, bias, c, apart, K, r, k, span, y, o):
        def generate(context, builder, signature, values):
            places, n, line, c, apart, K, r, k, span, o = (
                values[i] for i in (1, 2, 3, 6, 7, 8, 9, 10, 11, 13)
            )
            x, w, bias, y = (Memory(builder, signature.args[i], values[i]) for i in (0, 4, 5, 12))
            each = [(p, v) for p in range(PIXELS) for v in range(vectors)]
            first_of = [c, builder.add(c, apart)][:vectors]
            starts = [bias.read(f) for f in first_of]
            sums = DotSums(builder, [starts[v] for _, v in each])
            begin = [
                builder.load(builder.gep(places, [builder.add(n, WORD(p))])) for p in range(PIXELS)
            ]
            half = builder.lshr(span, WORD(1))
            wide = builder.shl(K, WORD(1))

            def multiply(at: Any, along: Any) -> None:
                pairs = builder.shl(at, WORD(1))
                weights = [_pairs(builder, w, pairs, builder.shl(f, WORD(1))) for f in first_of]
                for p in range(PIXELS):
                    pair = _pair(builder, x, begin[p], along)
                    for v in range(vectors):
                        sums.add(p * vectors + v, pair, weights[v])

            with cgutils.for_range(builder, k, start=r, intp=WORD) as row:
                down = builder.mul(row.index, line)
                first = builder.mul(builder.mul(row.index, half), K)
                with cgutils.for_range(builder, builder.lshr(half, WORD(1)), intp=WORD) as two:
                    at = builder.add(first, builder.mul(two.index, wide))
                    along = builder.add(down, builder.shl(two.index, WORD(2)))
                    multiply(at, along)
                    multiply(builder.add(at, K), builder.add(along, WORD(2)))
                with builder.if_then(builder.trunc(half, ir.IntType(1))):
                    last = builder.sub(half, WORD(1))
                    at = builder.add(first, builder.mul(last, K))
                    multiply(at, builder.add(down, builder.shl(last, WORD(1))))
            for i, (p, v) in enumerate(each):
                write_vector(builder, sums.of(i), y.at(o, builder.mul(WORD(p), K), first_of[v]))
            return context.get_dummy_value()

        kinds = x, places, n, line, w, bias, c, apart, K, r, k, span, y, o
        return compiled.types.void(*kinds), generate

    return eight


def _grad_weight(vectors: int) -> Any:
    """For kernels: what an image adds to the gradients of a tap's weights, of 8 channels for
    ``vectors`` times 16 filters from c on.

    f(x, q, line, step, g, top, h, pairs, c, K, sums, s): pairs of pixels of x, two numbers a
    channel, the first at q, the rows ``line`` numbers apart and the pairs ``step``; those from
    ``top`` to h of g [rows,pairs,K,2] are multiplied; sums float32 [8,K] at s.
    """

    @compiled.intrinsic
    def block(context, x, q, line, step, g, top, h, pairs, c, K, sums, s):
        def generate(context, builder, signature, values):
            q, line, step, top, h, pairs, c, K, s = (
                values[i] for i in (1, 2, 3, 5, 6, 7, 8, 9, 11)
            )
            x, g, into = (Memory(builder, signature.args[i], values[i]) for i in (0, 4, 10))
            each = [(e, v) for e in range(BLOCK) for v in range(vectors)]
            totals = DotSums(builder, [FLOATS([0.0] * WIDE)] * len(each))
            wide, two = builder.shl(K, WORD(1)), builder.shl(c, WORD(1))
            with cgutils.for_range(builder, h, start=top, intp=WORD) as row:
                place = builder.add(q, builder.mul(row.index, line))
                first = builder.add(two, builder.mul(builder.mul(row.index, pairs), wide))
                with cgutils.for_range(builder, pairs, intp=WORD) as pair:
                    at = builder.add(first, builder.mul(pair.index, wide))
                    slopes = [_pairs(builder, g, at, WORD(2 * WIDE * v)) for v in range(vectors)]
                    there = builder.add(place, builder.mul(pair.index, step))
                    for e in range(BLOCK):
                        number = _pair(builder, x, there, WORD(2 * e))
                        for v in range(vectors):
                            totals.add(e * vectors + v, number, slopes[v])
            for i, (e, v) in enumerate(each):
                there = into.at(s, builder.mul(WORD(e), K), c, WORD(WIDE * v))
                total = builder.fadd(totals.of(i), read_vector(builder, there).value)
                write_vector(builder, total, there)
            return context.get_dummy_value()

        return compiled.types.void(x, q, line, step, g, top, h, pairs, c, K, sums, s), generate

    return block


def _interleave() -> Any:
    """For kernels: 16 numbers at a of x and 16 at b as pairs, 32 numbers at o of y; zeros for the
    second of each where ``both`` is 0."""

    @compiled.intrinsic
    def sixteen(context, x, a, b, both, y, o):
        def generate(context, builder, signature, values):
            x, a, b, both, y, o = values

            def wide(index: Any) -> Any:
                there = builder.bitcast(builder.gep(x, [index]), HALVES.as_pointer())
                return builder.zext(builder.load(there, align=2), WORDS)

            upper = builder.shl(wide(b), WORDS([16] * WIDE))
            some = builder.icmp_signed("!=", both, WORD(0))
            upper = builder.select(some, upper, WORDS([0] * WIDE))
            there = builder.bitcast(builder.gep(y, [o]), WORDS.as_pointer())
            builder.store(builder.or_(wide(a), upper), there, align=2)
            return context.get_dummy_value()

        return compiled.types.void(x, a, b, both, y, o), generate

    return sixteen


def _copy() -> Any:
    """For kernels: 16 numbers at a of x to o of y."""

    @compiled.intrinsic
    def sixteen(context, x, a, y, o):
        def generate(context, builder, signature, values):
            x, a, y, o = values
            there = builder.bitcast(builder.gep(x, [a]), HALVES.as_pointer())
            into = builder.bitcast(builder.gep(y, [o]), HALVES.as_pointer())
            builder.store(builder.load(there, align=2), into, align=2)
            return context.get_dummy_value()

        return compiled.types.void(x, a, y, o), generate

    return sixteen


def _totals() -> Any:
    """For kernels: what an image adds to the bias's gradient, of 16 filters from c on.

    f(g, c, K, count, sums, s): g [count,K,2]; sums float32 [K] at s.
    """

    @compiled.intrinsic
    def sixteen(context, g, c, K, count, sums, s):
        def generate(context, builder, signature, values):
            c, K, count, s = (values[i] for i in (1, 2, 3, 5))
            g, into = (Memory(builder, signature.args[i], values[i]) for i in (0, 4))
            ones = builder.bitcast(ir.Constant(WORDS, [ONES] * WIDE), PAIRS)
            total = DotSums(builder, [FLOATS([0.0] * WIDE)])
            two, wide = builder.shl(c, WORD(1)), builder.shl(K, WORD(1))
            with cgutils.for_range(builder, count, intp=WORD) as pair:
                total.add(0, _pairs(builder, g, two, builder.mul(pair.index, wide)), ones)
            there = into.at(s, c)
            summed = builder.fadd(total.of(0), read_vector(builder, there).value)
            write_vector(builder, summed, there)
            return context.get_dummy_value()

        return compiled.types.void(g, c, K, count, sums, s), generate

    return sixteen


forward_one, forward_two = _forward(1), _forward(2)
grad_one, grad_two = _grad_weight(1), _grad_weight(2)
interleave, copy, add_up = _interleave(), _copy(), _totals()
