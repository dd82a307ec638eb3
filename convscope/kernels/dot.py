"""Direct convolutions in bfloat16 by the processor's dot products of pairs (``vdpbf16ps``), stride
1: 32 multiply-adds an instruction, float32 sums in registers, no matrix of windows in memory.

An image is copied once, zeros around it, and stays in the first caches. The output, and with the
kernel flipped the gradient of the input, multiplies pairs of neighbouring channels of 8 pixels with
16 or 32 filters' weights; the gradient of the weights multiplies pairs of neighbouring pixels of 8
channels with those of 16 or 32 output gradients.
"""

from __future__ import annotations

from convscope.kernels.compiled import (
    barrier,
    carray,
    f4,
    floats,
    halves,
    inline,
    kernel,
    load_f,
    load_half,
    store_f0,
    store_f1,
    store_half,
    thread,
    threads,
    words,
)
from convscope.kernels.pairs import (
    BLOCK,
    add_up,
    copy,
    forward_one,
    forward_two,
    grad_one,
    grad_two,
    interleave,
)
from convscope.kernels.vectors import PIXELS, WIDE


@inline
def _frame(x, b, H, row, room, top, line, edge):
    """Image b of x, H rows of ``row`` numbers, into the middle of a zeroed room."""
    for i in range(H):
        for e in range(0, row, WIDE):
            f = min(e, row - WIDE)
            copy(x, (b * H + i) * row + f, room, (top + i) * line + edge + f)


@inline
def _clear(room, size):
    """Zeros into a room of ``size`` float32."""
    for i in range(size):
        store_f0(room, i, f4(0))


@inline
def _pairs_of_input(w, K, k, row, pairs):
    """w [K,k,row], pairs of neighbours in a row -> [k,row/2,K,2]; an odd row ends with a zero."""
    span = row + row % 2
    for f in range(K):
        for r in range(k):
            for e in range(row):
                o = (r * span + e - e % 2) * K + 2 * f + e % 2
                store_half(pairs, o, load_half(w, (f * k + r) * row + e))
            if row % 2:
                store_half(pairs, (r * span + row - 1) * K + 2 * f + 1, f4(0))


@inline
def _words_of_input(w, K, taps, pairs):
    """The same of an even row, as numbers of 32 bits: w [K,taps] -> [taps,K]."""
    for f in range(K):
        for m in range(taps):
            store_f1(pairs, m * K + f, load_f(w, f * taps + m))


@inline
def _pairs_of_output(w, C, k, l, K, pairs):
    """w [C,k,l,K], whose taps are turned round, -> pairs of the first index [k,l,C/2,K,2]."""
    for r in range(k * l):
        for j in range(0, C, 2):
            a, o = (j * k * l + k * l - 1 - r) * K, (r * C + j) * K
            for f in range(0, K, WIDE):
                c = min(f, K - WIDE)
                interleave(w, a + c, a + k * l * K + c, 1, pairs, o + 2 * c)


@kernel(tensors=6, sizes=14)
def dot_forward(p):
    """x [B,H,W,C], w [K,k,l,C] of bfloat16, bias float32 [K], y [B,h,w,K], room of ``long`` numbers
    a thread, places int64 [h*w], B, H, W, C, K, k, l, top, left, h, w, size, long, back: y is the
    convolution, of 8 pixels and rows of 16 numbers at least; where ``back`` is 1, that with w
    [C,k,l,K] and its taps turned round. A thread's room holds an image of ``size`` numbers, zeros
    around it, and the weights in pairs [k,span,K], span being l*C made even; ``size`` is even."""
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
            given = (room, places, q, line, weight, bias)
            if K > WIDE:
                far = min(WIDE, K - WIDE)
                for f in range(0, K, 2 * WIDE):
                    c = min(f, K - WIDE - far)
                    forward_two(*given, c, far, K, first, last, span, y, o)
            else:
                forward_one(*given, 0, 0, K, first, last, span, y, o)


@inline
def _pairs_of_rows(g, first, h, w, K, L, pairs):
    """h rows of g, w pixels of K numbers each, -> pairs of neighbouring pixels [h,(w+1)/2,L,2]."""
    columns = (w + 1) // 2
    for i in range(h):
        for m in range(columns):
            q, both = ((first + i) * w + 2 * m) * K, 1 if 2 * m + 1 < w else 0
            o = (i * columns + m) * L * 2
            for f in range(0, K, WIDE):
                e = min(f, K - WIDE)
                interleave(g, q + e, q + e + K * both, both, pairs, o + 2 * e)


@inline
def _merge(shares, long, k, row, R, K, L, d):
    """The sums of the threads' shares [k,R,L], ``long`` apart, -> d [K,k,row]."""
    t, T = thread(), threads()
    for r in range(k):
        for f in range(K):
            for e in range(t * row // T, (t + 1) * row // T):
                total = f4(0)
                for n in range(T):
                    total += load_f(shares, n * long + (r * R + e) * L + f)
                store_half(d, (f * k + r) * row + e, total)


@inline
def _merge_totals(shares, start, long, K, totals):
    """The sums of the threads' shares [K], ``long`` apart."""
    t, T = thread(), threads()
    for f in range(t * K // T, (t + 1) * K // T):
        total = f4(0)
        for n in range(T):
            total += load_f(shares, n * long + start + f)
        store_f0(totals, f, total)


@kernel(tensors=5, sizes=14)
def dot_grad_weight(p):
    """x [B,H,W,C], g [B,h,w,K] of bfloat16, d [K,k,l,C], room of ``long`` float32 a thread, totals
    float32 [K], B, H, W, C, K, k, l, top, left, h, w, size, slopes, long: the gradient of the
    weights, and in ``channel_sums`` that of the bias.

    A thread's room holds its share of the sums [k,R,L] and [L], with l*C of R and K of L, which are
    multiples of 8 and 16 (what follows means nothing), an image of ``size`` bfloat16 with zeros
    around it, the same in pairs, and ``backward_reduce`` of g in pairs; these numbers are even."""
    a = carray(p, (19,))
    B, H, W, C, K, k, l = a[5], a[6], a[7], a[8], a[9], a[10], a[11]
    top, left, h, w, size, long = a[12], a[13], a[14], a[15], a[16], a[18]
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
            interleave(room, e, e + C, 1, pairs, 2 * e)
        _pairs_of_rows(g, b * h, h, w, K, L, slopes)
        for f in range(0, L, WIDE):
            add_up(slopes, f, L, h * columns, sums, k * R * L)
        for r in range(k):
            first, last = max(0, top - r), min(h, H + top - r)
            for e in range(0, row, BLOCK):
                q, s = (r * line + e) * 2, (r * R + e) * L
                given = (pairs, q, 2 * line, 4 * C, slopes, first, last, columns)
                if L % (2 * WIDE) == 0:
                    for f in range(0, L, 2 * WIDE):
                        grad_two(*given, f, L, sums, s)
                else:
                    for f in range(0, L, WIDE):
                        grad_one(*given, f, L, sums, s)
    barrier()
    shares = floats(a[3])
    _merge(shares, long, k, row, R, K, L, halves(a[2]))
    _merge_totals(shares, k * R * L, long, K, floats(a[4]))
