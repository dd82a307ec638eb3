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
    barrier,
    carray,
    f4,
    floats,
    get,
    halves,
    inline,
    kernel,
    look_half,
    maps,
    put0,
    put1,
    set1,
    set_half,
    thread,
    threads,
    words,
)
from convscope.kernels.toolchain import cgutils, ir
from convscope.kernels.vectors import PIXELS, WIDE, _Memory, _read, _Sums, _write

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
    """For kernels: the outputs of 8 pixels, for 16 filters from c on, or two times 16, ``apart``
    filters from each other.

    f(x, places, n, line, w, bias, c, apart, K, r, k, span, y, o): the windows of pixels n to n + 7
    begin at ``places[n]`` ... of x; their rows from r to k, of ``span`` numbers, ``line`` apart, are
    multiplied; w [rows*span/2,K,2]; y [8,K] at o.
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
        apart: Any,
        K: Any,
        r: Any,
        k: Any,
        span: Any,
        y: Any,
        o: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            places, n, line, c, apart, K, r, k, span, o = (
                values[i] for i in (1, 2, 3, 6, 7, 8, 9, 10, 11, 13)
            )
            x, w, bias, y = (_Memory(builder, signature.args[i], values[i]) for i in (0, 4, 5, 12))
            each = [(p, v) for p in range(PIXELS) for v in range(vectors)]
            first_of = [c, builder.add(c, apart)][:vectors]
            starts = [bias.read(f) for f in first_of]
            sums = _DotSums(builder, [starts[v] for _, v in each])
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
                _write(builder, sums.of(i), y.at(o, builder.mul(WORD(p), K), first_of[v]))
            return context.get_dummy_value()

        kinds = x, places, n, line, w, bias, c, apart, K, r, k, span, y, o
        return compiled.types.void(*kinds), generate

    return eight


def _grad_weight(vectors: int) -> Any:
    """For kernels: what an image adds to the gradients of a tap's weights, of 8 channels for
    ``vectors`` times 16 filters from c on.

    f(x, q, line, step, g, i, h, pairs, c, K, sums, s): pairs of pixels of x, two numbers a channel,
    the first at q, the rows ``line`` numbers apart and the pairs ``step``; g [rows,pairs,K,2], whose
    rows from i to h are multiplied; sums float32 [8,K] at s.
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
        i: Any,
        h: Any,
        pairs: Any,
        c: Any,
        K: Any,
        sums: Any,
        s: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            q, line, step, top, h, pairs, c, K, s = (
                values[i] for i in (1, 2, 3, 5, 6, 7, 8, 9, 11)
            )
            x, g, into = (_Memory(builder, signature.args[i], values[i]) for i in (0, 4, 10))
            each = [(e, v) for e in range(BLOCK) for v in range(vectors)]
            totals = _DotSums(builder, [FLOATS([0.0] * WIDE)] * len(each))
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
                total = builder.fadd(totals.of(i), _read(builder, there).value)
                _write(builder, total, there)
            return context.get_dummy_value()

        return compiled.types.void(x, q, line, step, g, i, h, pairs, c, K, sums, s), generate

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


def _totals() -> Any:
    """For kernels: what an image adds to the bias's gradient, of 16 filters from c on.

    f(g, c, K, count, sums, s): g [count,K,2]; sums float32 [K] at s.
    """
    if not compiled.READY:
        return None

    @compiled.intrinsic
    def sixteen(context: Any, g: Any, c: Any, K: Any, count: Any, sums: Any, s: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            c, K, count, s = (values[i] for i in (1, 2, 3, 5))
            g, into = (_Memory(builder, signature.args[i], values[i]) for i in (0, 4))
            ones = builder.bitcast(ir.Constant(WORDS, [ONES] * WIDE), PAIRS)
            total = _DotSums(builder, [FLOATS([0.0] * WIDE)])
            two, wide = builder.shl(c, WORD(1)), builder.shl(K, WORD(1))
            with cgutils.for_range(builder, count, intp=WORD) as pair:
                total.add(0, _pairs(builder, g, two, builder.mul(pair.index, wide)), ones)
            there = into.at(s, c)
            _write(builder, builder.fadd(total.of(0), _read(builder, there).value), there)
            return context.get_dummy_value()

        return compiled.types.void(g, c, K, count, sums, s), generate

    return sixteen


_forward_one, _forward_two = _forward(1), _forward(2)
_grad_one, _grad_two = _grad_weight(1), _grad_weight(2)
_pair_up, _copy_row, _add_up = _interleave(), _copy(), _totals()


@inline
def _frame(x, b, H, row, room, top, line, edge):
    """Image b of x, H rows of ``row`` numbers, into the middle of a zeroed room."""
    for i in range(H):
        for e in range(0, row, WIDE):
            f = min(e, row - WIDE)
            _copy_row(x, (b * H + i) * row + f, room, (top + i) * line + edge + f)


@inline
def _clear(room, size):
    """Zeros into a room of ``size`` float32."""
    for i in range(size):
        put0(room, i, f4(0))


@inline
def _pairs_of_input(w, K, k, row, pairs):
    """w [K,k,row], pairs of neighbours in a row -> [k,row/2,K,2]; an odd row ends with a zero."""
    span = row + row % 2
    for f in range(K):
        for r in range(k):
            for e in range(row):
                o = (r * span + e - e % 2) * K + 2 * f + e % 2
                set_half(pairs, o, look_half(w, (f * k + r) * row + e))
            if row % 2:
                set_half(pairs, (r * span + row - 1) * K + 2 * f + 1, f4(0))


@inline
def _words_of_input(w, K, taps, pairs):
    """The same of an even row, as numbers of 32 bits: w [K,taps] -> [taps,K]."""
    for f in range(K):
        for m in range(taps):
            put1(pairs, m * K + f, get(w, f * taps + m))


@inline
def _pairs_of_output(w, C, k, l, K, pairs):
    """w [C,k,l,K], whose taps are turned round, -> pairs of the first index [k,l,C/2,K,2]."""
    for r in range(k * l):
        for j in range(0, C, 2):
            a, o = (j * k * l + k * l - 1 - r) * K, (r * C + j) * K
            for f in range(0, K, WIDE):
                c = min(f, K - WIDE)
                _pair_up(w, a + c, a + k * l * K + c, 1, pairs, o + 2 * c)


@kernel(tensors=6, sizes=14)
def dot_forward(p):
    """x [B,H,W,C], w [K,k,l,C] of bfloat16, bias float32 [K], y [B,h,w,K], room of ``size`` numbers
    and k*K*span, a thread, span being l*C made even, places int64 [h*w], B, H, W, C, K, k, l, top, left, h, w, size,
    long, back: y is the convolution, of 8 pixels and rows of 16 numbers at least; where ``back`` is
    1, that with w [C,k,l,K] and its taps turned round. ``long`` is ``size`` and those of the
    weights, even both."""
    a = carray(p, (20,))
    B, H, W, C, K, k, l = a[6], a[7], a[8], a[9], a[10], a[11], a[12]
    top, left, h, w, size, long, back = a[13], a[14], a[15], a[16], a[17], a[18], a[19]
    t, T = thread(), threads()
    x, bias, y, places = halves(a[0]), floats(a[2]), halves(a[3]), words(a[5])
    own = a[4] + 2 * long * t
    room, weight = halves(own), halves(own + 2 * size)
    span = l * C + l * C % 2
    if back:
        _pairs_of_output(halves(a[1]), C, k, l, K, weight)
    elif span == l * C:
        _words_of_input(floats(a[1]), K, k * span // 2, floats(own + 2 * size))
    else:
        _pairs_of_input(halves(a[1]), K, k, l * C, weight)
    _clear(floats(own), size // 2)
    line, n = (W + 2 * left) * C, h * w
    for b in range(t * B // T, (t + 1) * B // T):
        _frame(x, b, H, W * C, room, top, line, left * C)
        for start in range(0, n, PIXELS):
            q = min(start, n - PIXELS)
            o = (b * n + q) * K
            first, last = max(0, top - (q + PIXELS - 1) // w), min(k, H + top - q // w)
            if K > WIDE:
                far = min(WIDE, K - WIDE)
                for f in range(0, K, 2 * WIDE):
                    c = min(f, K - WIDE - far)
                    _forward_two(
                        room, places, q, line, weight, bias, c, far, K, first, last, span, y, o
                    )
            else:
                _forward_one(
                    room, places, q, line, weight, bias, 0, 0, K, first, last, span, y, o
                )


@kernel(tensors=5, sizes=14)
def dot_grad_weight(p):
    """x [B,H,W,C], g [B,h,w,K] of bfloat16, d [K,k,l,C], room of ``long`` float32 a thread, totals
    float32 [K], B, H, W, C, K, k, l, top, left, h, w, size, slopes, long: the gradient of the
    weights, and in ``totals`` that of the bias.

    A thread's room holds its share of the sums [k,R,L] and [L], with l*C of R and K of L, which are
    multiples of 8 and 16 (what follows means nothing), an image of ``size`` bfloat16 with zeros around it,
    the same in pairs, and ``slopes`` of g in pairs; even numbers all."""
    a = carray(p, (19,))
    B, H, W, C, K, k, l = a[5], a[6], a[7], a[8], a[9], a[10], a[11]
    top, left, h, w, size, count, long = a[12], a[13], a[14], a[15], a[16], a[17], a[18]
    t, T = thread(), threads()
    L, row = (K + WIDE - 1) // WIDE * WIDE, l * C
    R = (row + BLOCK - 1) // BLOCK * BLOCK
    own = a[3] + 4 * long * t
    there = own + 4 * (k * R + 1) * L
    x, g, sums, room = halves(a[0]), halves(a[1]), floats(own), halves(there)
    pairs, slopes = halves(there + 2 * size), halves(there + 6 * size)
    _clear(sums, (k * R + 1) * L + size // 2)
    line, columns = (W + 2 * left) * C, (w + 1) // 2
    for b in range(t * B // T, (t + 1) * B // T):
        _frame(x, b, H, W * C, room, top, line, left * C)
        for e in range(0, size - C - WIDE + 1, WIDE):
            _pair_up(room, e, e + C, 1, pairs, 2 * e)
        for i in range(h):
            for m in range(columns):
                q, both = ((b * h + i) * w + 2 * m) * K, 1 if 2 * m + 1 < w else 0
                o = (i * columns + m) * L * 2
                for f in range(0, K, WIDE):
                    e = min(f, K - WIDE)
                    _pair_up(g, q + e, q + e + K * both, both, slopes, o + 2 * e)
        for f in range(0, L, WIDE):
            _add_up(slopes, f, L, h * columns, sums, k * R * L)
        for r in range(k):
            first, last = max(0, top - r), min(h, H + top - r)
            for e in range(0, row, BLOCK):
                q, s = (r * line + e) * 2, (r * R + e) * L
                if L % (2 * WIDE) == 0:
                    for f in range(0, L, 2 * WIDE):
                        _grad_two(
                            *(pairs, q, 2 * line, 4 * C, slopes),
                            *(first, last, columns, f, L, sums, s),
                        )
                else:
                    for f in range(0, L, WIDE):
                        _grad_one(
                            *(pairs, q, 2 * line, 4 * C, slopes),
                            *(first, last, columns, f, L, sums, s),
                        )
    barrier()
    shares, d, totals = floats(a[3]), maps(a[2]), floats(a[4])
    for r in range(k):
        for f in range(K):
            for e in range(t * row // T, (t + 1) * row // T):
                total = f4(0)
                for n in range(T):
                    total += get(shares, n * long + (r * R + e) * L + f)
                set1(d, (f * k + r) * row + e, total)
    for f in range(t * K // T, (t + 1) * K // T):
        total = f4(0)
        for n in range(T):
            total += get(shares, n * long + k * R * L + f)
        put0(totals, f, total)
