"""Direct convolutions in bfloat16 by the processor's dot products of pairs (``vdpbf16ps``), stride
1: 32 multiply-adds an instruction, float32 sums in registers, no matrix of windows in memory.

An image is copied once, zeros around it, and stays in the first caches. The output, and with the
kernel flipped the gradient of the input, multiplies pairs of neighbouring channels of 8 pixels with
16 or 32 filters' weights; the gradient of the weights multiplies pairs of neighbouring pixels of 8
channels with those of 16 or 32 output gradients.
"""

# Kernels are loops over plain numbers: their many arguments and branches are unrolled on purpose.
# ruff: noqa: E741
# mypy: ignore-errors

from __future__ import annotations

from typing import Any

from convscope.kernels import compiled, toolchain
from convscope.kernels.compiled import (
    carray,
    floats,
    halves,
    inline,
    kernel,
    thread,
    threads,
    words,
)
from convscope.kernels.toolchain import cgutils, ir
from convscope.kernels.vectors import PIXELS, WIDE, _Memory, _read, _Sums, _write

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


def _pairs(builder: Any, memory: _Memory, *parts: Any) -> Any:
    """16 pairs at an index that is the sum of these."""
    index = parts[0]
    for part in parts[1:]:
        index = builder.add(index, part)
    there = builder.bitcast(builder.gep(memory.address, [index]), PAIRS.as_pointer())
    return builder.load(there, align=2)


def _pair(builder: Any, memory: _Memory, *parts: Any) -> Any:
    """The pair at an index that is the sum of these, 16 times."""
    index = parts[0]
    for part in parts[1:]:
        index = builder.add(index, part)
    word = ir.IntType(32)
    there = builder.bitcast(builder.gep(memory.address, [index]), word.as_pointer())
    first = builder.insert_element(
        ir.Constant(WORDS, ir.Undefined), builder.load(there, align=2), WORD(0)
    )
    spread = builder.shuffle_vector(first, first, ir.Constant(WORDS, [0] * WIDE))
    return builder.bitcast(spread, PAIRS)


class _DotSums(_Sums):
    """Sums in registers, 16 lanes each, of products of pairs."""

    def add(self, n: int, one: Any, other: Any) -> None:
        """The dot products of the pairs of one and the other to the n-th."""
        so_far = self.builder.load(self.rooms[n])
        self.builder.store(_dot(self.builder, so_far, one, other), self.rooms[n])


def _forward(vectors: int) -> Any:
    """For kernels: the outputs of 8 pixels, for ``vectors`` times 16 filters from c on.

    f(x, places, n, line, w, bias, c, K, k, span, y, o): the windows of pixels n to n + 7 begin at
    ``places[n]`` ... of x, k rows of ``span`` numbers, ``line`` apart; w [k*span/2,K,2]; y [8,K]
    at o.
    """
    if not compiled.READY:
        return None

    @compiled.intrinsic
    def eight(
        context: Any,
        x: Any,
        places: Any,
        n: Any,
        line: Any,
        w: Any,
        bias: Any,
        c: Any,
        K: Any,
        k: Any,
        span: Any,
        y: Any,
        o: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            places, n, line, c, K, k, span, o = (values[i] for i in (1, 2, 3, 6, 7, 8, 9, 11))
            x, w, bias, y = (_Memory(builder, signature.args[i], values[i]) for i in (0, 4, 5, 10))
            each = [(p, v) for p in range(PIXELS) for v in range(vectors)]
            starts = [bias.read(c, WORD(WIDE * v)) for v in range(vectors)]
            sums = _DotSums(builder, [starts[v] for _, v in each])
            begin = [
                builder.load(builder.gep(places, [builder.add(n, WORD(p))])) for p in range(PIXELS)
            ]
            half = builder.lshr(span, WORD(1))
            with cgutils.for_range(builder, k, intp=WORD) as row:
                down, first = builder.mul(row.index, line), builder.mul(row.index, half)
                with cgutils.for_range(builder, half, intp=WORD) as tap:
                    at = builder.add(c, builder.mul(builder.add(first, tap.index), K))
                    at = builder.shl(at, WORD(1))
                    weights = [_pairs(builder, w, at, WORD(2 * WIDE * v)) for v in range(vectors)]
                    along = builder.add(down, builder.shl(tap.index, WORD(1)))
                    for p in range(PIXELS):
                        pair = _pair(builder, x, begin[p], along)
                        for v in range(vectors):
                            sums.add(p * vectors + v, pair, weights[v])
            for i, (p, v) in enumerate(each):
                _write(builder, sums.of(i), y.at(o, builder.mul(WORD(p), K), c, WORD(WIDE * v)))
            return context.get_dummy_value()

        return compiled.types.void(x, places, n, line, w, bias, c, K, k, span, y, o), generate

    return eight


def _grad_weight(vectors: int) -> Any:
    """For kernels: what an image adds to the gradients of a tap's weights, of 8 channels for
    ``vectors`` times 16 filters from c on.

    f(x, q, line, step, g, h, pairs, c, K, sums, s): pairs of pixels of x, two numbers a channel,
    the first at q, the rows ``line`` numbers apart and the pairs ``step``; g [h,pairs,K,2]; sums
    float32 [8,K] at s.
    """
    if not compiled.READY:
        return None

    @compiled.intrinsic
    def block(
        context: Any,
        x: Any,
        q: Any,
        line: Any,
        step: Any,
        g: Any,
        h: Any,
        pairs: Any,
        c: Any,
        K: Any,
        sums: Any,
        s: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            q, line, step, h, pairs, c, K, s = (values[i] for i in (1, 2, 3, 5, 6, 7, 8, 10))
            x, g, into = (_Memory(builder, signature.args[i], values[i]) for i in (0, 4, 9))
            each = [(e, v) for e in range(BLOCK) for v in range(vectors)]
            totals = _DotSums(builder, [FLOATS([0.0] * WIDE)] * len(each))
            wide, two = builder.shl(K, WORD(1)), builder.shl(c, WORD(1))
            with cgutils.for_range(builder, h, intp=WORD) as row:
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
                total = builder.fadd(totals.of(i), _read(builder, there).value)
                _write(builder, total, there)
            return context.get_dummy_value()

        return compiled.types.void(x, q, line, step, g, h, pairs, c, K, sums, s), generate

    return block


def _interleave() -> Any:
    """For kernels: 16 numbers at a of x and 16 at b as pairs, 32 numbers at o of y; zeros for the
    second of each where ``both`` is 0."""
    if not compiled.READY:
        return None

    @compiled.intrinsic
    def sixteen(context: Any, x: Any, a: Any, b: Any, both: Any, y: Any, o: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
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
    if not compiled.READY:
        return None

    @compiled.intrinsic
    def sixteen(context: Any, x: Any, a: Any, y: Any, o: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            x, a, y, o = values
            there = builder.bitcast(builder.gep(x, [a]), HALVES.as_pointer())
            into = builder.bitcast(builder.gep(y, [o]), HALVES.as_pointer())
            builder.store(builder.load(there, align=2), into, align=2)
            return context.get_dummy_value()

        return compiled.types.void(x, a, y, o), generate

    return sixteen


_forward_one, _forward_two = _forward(1), _forward(2)
_grad_one, _grad_two = _grad_weight(1), _grad_weight(2)
_pair_up, _copy_row = _interleave(), _copy()


@inline
def _frame(x, b, H, row, room, top, line, edge):
    """Image b of x, H rows of ``row`` numbers, into the middle of a zeroed room."""
    for i in range(H):
        for e in range(0, row, WIDE):
            f = min(e, row - WIDE)
            _copy_row(x, (b * H + i) * row + f, room, (top + i) * line + edge + f)


@kernel(tensors=6, sizes=12)
def dot_forward(p):
    """x [B,H,W,C], w [k,l*C/2,K,2] of bfloat16, bias float32 [K], y [B,h,w,K], room of ``size``
    numbers a thread, zeroed, places int64 [h*w], B, H, W, C, K, k, l, top, left, h, w, size: y is
    the convolution, of 8 pixels and rows of 16 numbers at least."""
    a = carray(p, (18,))
    B, H, W, C, K, k, l = a[6], a[7], a[8], a[9], a[10], a[11], a[12]
    top, left, h, w, size = a[13], a[14], a[15], a[16], a[17]
    t, T = thread(), threads()
    x, weight, bias, y = halves(a[0]), halves(a[1]), floats(a[2]), halves(a[3])
    room, places = halves(a[4] + 2 * size * t), words(a[5])
    line, n = (W + 2 * left) * C, h * w
    for b in range(t * B // T, (t + 1) * B // T):
        _frame(x, b, H, W * C, room, top, line, left * C)
        for start in range(0, n, PIXELS):
            q = min(start, n - PIXELS)
            o = (b * n + q) * K
            if K >= 2 * WIDE:
                for f in range(0, K, 2 * WIDE):
                    c = min(f, K - 2 * WIDE)
                    _forward_two(room, places, q, line, weight, bias, c, K, k, l * C, y, o)
            else:
                for f in range(0, K, WIDE):
                    c = min(f, K - WIDE)
                    _forward_one(room, places, q, line, weight, bias, c, K, k, l * C, y, o)


@kernel(tensors=6, sizes=13)
def dot_grad_weight(p):
    """x [B,H,W,C], g [B,h,w,K] of bfloat16, sums float32 [T,k,l,C,L], zeroed, room of ``size``
    numbers a thread, zeroed, pairs of twice as many, slopes of ``long``, B, H, W, C, K, k, l, top,
    left, h, w, size, long: each thread's share of the weights' gradient, K of L a row, which is a
    multiple of 16; what follows means nothing."""
    a = carray(p, (19,))
    B, H, W, C, K, k, l = a[6], a[7], a[8], a[9], a[10], a[11], a[12]
    top, left, h, w, size, long = a[13], a[14], a[15], a[16], a[17], a[18]
    t, T = thread(), threads()
    L = (K + WIDE - 1) // WIDE * WIDE
    x, g, sums = halves(a[0]), halves(a[1]), floats(a[2] + 4 * t * k * l * C * L)
    room, pairs, slopes = (
        halves(a[3] + 2 * size * t),
        halves(a[4] + 4 * size * t),
        halves(a[5] + 2 * long * t),
    )
    line, columns = (W + 2 * left) * C, (w + 1) // 2
    for b in range(t * B // T, (t + 1) * B // T):
        _frame(x, b, H, W * C, room, top, line, left * C)
        for e in range(0, (H + 2 * top) * line, WIDE):
            _pair_up(room, e, e + C, 1, pairs, 2 * e)
        for i in range(h):
            for m in range(columns):
                q, both = ((b * h + i) * w + 2 * m) * K, 1 if 2 * m + 1 < w else 0
                o = (i * columns + m) * L * 2
                for f in range(0, K, WIDE):
                    e = min(f, K - WIDE)
                    _pair_up(g, q + e, q + e + K * both, both, slopes, o + 2 * e)
        for r in range(k):
            for d in range(l):
                for c in range(0, C, BLOCK):
                    q, s = (r * line + d * C + c) * 2, ((r * l + d) * C + c) * L
                    if L % (2 * WIDE) == 0:
                        for f in range(0, L, 2 * WIDE):
                            _grad_two(pairs, q, 2 * line, 4 * C, slopes, h, columns, f, L, sums, s)
                    else:
                        for f in range(0, L, WIDE):
                            _grad_one(pairs, q, 2 * line, 4 * C, slopes, h, columns, f, L, sums, s)
