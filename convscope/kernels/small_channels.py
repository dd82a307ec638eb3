"""Convolutions of images of few channels, such as a network's first: every number of an image times
a vector of weights, over 16 output channels.

An image is copied once, zeros around it, and stays in the first-level cache; a few pixels' sums
stay in registers.
"""

from __future__ import annotations

from convscope.kernels.compiled import (
    carray,
    f4,
    floats,
    inline,
    kernel,
    load,
    maps,
    store_f0,
    thread,
    threads,
)
from convscope.kernels.vectors import PIXELS, TAPS, WIDE, correlate, weigh

_weigh_one, _weigh_two = weigh(1), weigh(2)
_correlate_one, _correlate_two = correlate(1), correlate(2)


@inline
def _frame(load, x, b, H, wide, room, o, line):
    """Image b of x, H rows of ``wide`` numbers, into a room at o, ``line`` apart."""
    for i in range(H):
        for e in range(wide):
            store_f0(room, o + i * line + e, load(x, (b * H + i) * wide + e))


@kernel(tensors=5, sizes=13)
def small_channels_forward(p):
    """x [B,H,W,C], w float32 [k*l*C,K], bias float32 [K], y [B,h,w,K], room float32 of ``size`` a
    thread, B, H, W, C, K, k, l, top, left, stride, h, w, size: y is the convolution, of 8 columns
    at least."""
    a = carray(p, (18,))
    B, H, W, C, K, k, l = a[5], a[6], a[7], a[8], a[9], a[10], a[11]
    top, left, stride, h, w, size = a[12], a[13], a[14], a[15], a[16], a[17]
    t, T = thread(), threads()
    x, weight, bias, y = maps(a[0]), floats(a[1]), floats(a[2]), maps(a[3])
    room, line = floats(a[4] + 4 * size * t), (W + 2 * left) * C
    for e in range(size):
        store_f0(room, e, f4(0))
    for b in range(t * B // T, (t + 1) * B // T):
        _frame(load, x, b, H, W * C, room, top * line + left * C, line)
        for i in range(h):
            for start in range(0, w, PIXELS):
                j = min(start, w - PIXELS)
                q, o = i * stride * line + j * stride * C, ((b * h + i) * w + j) * K
                if K % (2 * WIDE) == 0:
                    for c in range(0, K, 2 * WIDE):
                        _weigh_two(room, q, stride * C, line, weight, bias, c, K, k, l * C, y, o)
                else:
                    for c in range(0, K, WIDE):
                        _weigh_one(room, q, stride * C, line, weight, bias, c, K, k, l * C, y, o)


@kernel(tensors=4, sizes=13)
def small_channels_grad_weight(p):
    """x [B,H,W,C], g [B,h,w,K], sums float32 [T,k,L,K], zeroed, room float32 of ``size`` a thread,
    B, H, W, C, K, k, L, top, left, stride, h, w, size: each thread's share of the weights'
    gradient, l*C of L a row; what follows, up to a multiple of five, means nothing."""
    a = carray(p, (17,))
    B, H, W, C, K, k, L = a[4], a[5], a[6], a[7], a[8], a[9], a[10]
    top, left, stride, h, w, size = a[11], a[12], a[13], a[14], a[15], a[16]
    t, T = thread(), threads()
    x, g = maps(a[0]), maps(a[1])
    sums = floats(a[2] + 4 * t * k * L * K)
    room, line = floats(a[3] + 4 * size * t), (W + 2 * left) * C
    for e in range(size):
        store_f0(room, e, f4(0))
    for b in range(t * B // T, (t + 1) * B // T):
        _frame(load, x, b, H, W * C, room, top * line + left * C, line)
        for i in range(h):
            o = (b * h + i) * w * K
            for r in range(k):
                for e in range(0, L, TAPS):
                    q, s = (i * stride + r) * line + e, (r * L + e) * K
                    if K % (2 * WIDE) == 0:
                        for c in range(0, K, 2 * WIDE):
                            _correlate_two(room, q, stride * C, g, o, w, c, K, sums, s)
                    else:
                        for c in range(0, K, WIDE):
                            _correlate_one(room, q, stride * C, g, o, w, c, K, sums, s)
