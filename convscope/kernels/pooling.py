"""Pooling of maps, forward and back, with what is done on the way: scale, shift, rectifying.

On the way back 16 channels are done at a time, the last ones twice where they are no multiple."""

from __future__ import annotations

import numpy as np

from convscope.kernels.compiled import (
    carray,
    doubles,
    f4,
    floats,
    kernel,
    load,
    load_byte,
    load_f,
    load_l0,
    load_l1,
    maps,
    octets,
    store0,
    store1,
    store2,
    store3,
    store_byte,
    store_l0,
    store_l1,
    thread,
    threads,
)
from convscope.kernels.vectors import WIDE, lanes


def _parted(g, place):
    """A gradient where its number came from, zeros elsewhere: four."""
    return [place.if_equal(place.of(float(k)), g, g.of(0.0)) for k in range(4)]


def _parted_norm(g, place, x0, x1, x2, x3, u, v, r):
    """u (gradient where its number came from, else 0) + v x + r: four."""
    parts = _parted(g * u, place)
    rest = (x.times_plus(v, r) for x in (x0, x1, x2, x3))
    return [part + more for part, more in zip(parts, rest, strict=True)]


def _added(g, place, x0, x1, x2, x3, one, two):
    """Sums of the gradient and of it times the number it came from, with these added."""
    x = place.if_equal(place.of(2.0), x2, x3)
    x = place.if_equal(place.of(0.0), x0, place.if_equal(place.of(1.0), x1, x))
    g = place.if_equal(place.of(4.0), g.of(0.0), g)
    return one + g, g.times_plus(x, two)


_unpool_plain, _unpool_norm, _pool_sums = lanes(_parted), lanes(_parted_norm), lanes(_added)


@kernel(tensors=5, sizes=5)
def max_pool(p):
    """x [B,H,W,C], scale, shift [C], y [B,H//2,W//2,C], place uint8 like y, B, H, W, C, kind: y is
    the largest of each 2x2 window of f(scale x + shift), f rectifying (1) or not (0); place says
    which of the four it was, and 4 where it is cut to zero."""
    a = carray(p, (10,))
    B, H, W, C, kind = a[5], a[6], a[7], a[8], a[9]
    h, w = H // 2, W // 2
    x, scale, shift, y = maps(a[0]), floats(a[1]), floats(a[2]), maps(a[3])
    place = octets(a[4])
    least = f4(0) if kind == 1 else f4(-np.inf)
    t, T = thread(), threads()
    for row in range(t * B * h // T, (t + 1) * B * h // T):
        b, i = row // h, row % h
        for j in range(w):
            o, q = (row * w + j) * C, ((b * H + 2 * i) * W + 2 * j) * C
            r = q + W * C
            for c in range(C):
                s, d = load_f(scale, c), load_f(shift, c)
                v0, v1 = load(x, q + c) * s + d, load(x, q + C + c) * s + d
                v2, v3 = load(x, r + c) * s + d, load(x, r + C + c) * s + d
                m = max(max(v0, v1), max(v2, v3))
                n = (v0 + v1) + (v2 + v3)
                m = n if n != n else m  # NaN, which max drops where it comes second
                k = np.int32(3)
                k = np.int32(2) if v2 == m else k
                k = np.int32(1) if v1 == m else k
                k = np.int32(0) if v0 == m else k
                k = k if m > least else np.int32(4)
                store0(y, o + c, max(m, least))
                store_byte(place, o + c, np.uint8(k))


@kernel(tensors=5, sizes=4)
def max_pool_backward_reduce(p):
    """g [B,h,w,C], place, x [B,H,W,C], sums float64 [T,2,C], scratch 2C, B, H, W, C -> per thread
    the sums over its rows of g and of g times the x it came from."""
    a = carray(p, (9,))
    B, H, W, C = a[5], a[6], a[7], a[8]
    h, w = H // 2, W // 2
    t, T = thread(), threads()
    g, place, x = maps(a[0]), octets(a[1]), maps(a[2])
    one, two = floats(a[4] + 8 * C * t), floats(a[4] + 8 * C * t + 4 * C)
    sums = carray(doubles(a[3]), (T, 2, C))
    sums[t, :, :] = 0.0
    for row in range(t * B * h // T, (t + 1) * B * h // T):
        b, i = row // h, row % h
        for c in range(C):
            store_l0(one, c, f4(0))
            store_l1(two, c, f4(0))
        for j in range(w):
            o, q = (row * w + j) * C, ((b * H + 2 * i) * W + 2 * j) * C
            r = q + W * C
            if C % WIDE == 0:
                both = ((one, (0,)), (two, (0,)))
                given = ((g, (o,)), (place, (o,)), (x, (q, q + C, r, r + C)))
                for c in range(0, C, WIDE):
                    _pool_sums(given + both, both, c)
                continue
            for c in range(C):
                k = np.int32(load_byte(place, o + c))
                v, v1 = load(x, q + c), load(x, q + C + c)
                v2, v3 = load(x, r + c), load(x, r + C + c)
                v = v1 if k == 1 else v
                v = v2 if k == 2 else v
                v = v3 if k == 3 else v
                d = load(g, o + c)
                d = d if k < 4 else f4(0)
                store_l0(one, c, load_l0(one, c) + d)
                store_l1(two, c, load_l1(two, c) + d * v)
        for c in range(C):
            sums[t, 0, c] += load_l0(one, c)
            sums[t, 1, c] += load_l1(two, c)


@kernel(tensors=7, sizes=4)
def max_pool_backward_elementwise(p):
    """g [B,h,w,C], place, x, dx [B,H,W,C], u, v, r [C], B, H, W, C: dx = u (g where it came from,
    else 0) + v x + r, rows and columns left over included."""
    a = carray(p, (11,))
    B, H, W, C = a[7], a[8], a[9], a[10]
    h, w = H // 2, W // 2
    g, place, x, dx = maps(a[0]), octets(a[1]), maps(a[2]), maps(a[3])
    u, v, r = floats(a[4]), floats(a[5]), floats(a[6])
    t, T = thread(), threads()
    rows, zero = (H + 1) // 2, f4(0)
    for row in range(t * B * rows // T, (t + 1) * B * rows // T):
        b, i = row // rows, row % rows
        top = (b * H + 2 * i) * W * C
        if i < h:
            for j in range(w):
                o, q = ((b * h + i) * w + j) * C, top + 2 * j * C
                s = q + W * C
                if C >= WIDE:
                    four = (q, q + C, s, s + C)
                    given = ((g, (o,)), (place, (o,)), (x, four), (u, (0,)), (v, (0,)), (r, (0,)))
                    for f in range(0, C, WIDE):
                        _unpool_norm(given, ((dx, four),), min(f, C - WIDE))
                    continue
                for c in range(C):
                    k = np.int32(load_byte(place, o + c))
                    d, m, e = load(g, o + c) * load_f(u, c), load_f(v, c), load_f(r, c)
                    store0(dx, q + c, (d if k == 0 else zero) + (load(x, q + c) * m + e))
                    store1(dx, q + C + c, (d if k == 1 else zero) + (load(x, q + C + c) * m + e))
                    store2(dx, s + c, (d if k == 2 else zero) + (load(x, s + c) * m + e))
                    store3(dx, s + C + c, (d if k == 3 else zero) + (load(x, s + C + c) * m + e))
            if W % 2:
                q = top + (W - 1) * C
                s = q + W * C
                for c in range(C):
                    store0(dx, q + c, load(x, q + c) * load_f(v, c) + load_f(r, c))
                    store1(dx, s + c, load(x, s + c) * load_f(v, c) + load_f(r, c))
        else:
            for j in range(W):
                q = top + j * C
                for c in range(C):
                    store0(dx, q + c, load(x, q + c) * load_f(v, c) + load_f(r, c))


@kernel(tensors=3, sizes=4)
def max_pool_backward(p):
    """g [B,h,w,C], place, dx [B,H,W,C], B, H, W, C: dx = g where it came from, else 0."""
    a = carray(p, (7,))
    B, H, W, C = a[3], a[4], a[5], a[6]
    h, w = H // 2, W // 2
    g, place, dx = maps(a[0]), octets(a[1]), maps(a[2])
    t, T = thread(), threads()
    rows, zero = (H + 1) // 2, f4(0)
    for row in range(t * B * rows // T, (t + 1) * B * rows // T):
        b, i = row // rows, row % rows
        top = (b * H + 2 * i) * W * C
        if i < h:
            for j in range(w):
                o, q = ((b * h + i) * w + j) * C, top + 2 * j * C
                s = q + W * C
                if C >= WIDE:
                    for f in range(0, C, WIDE):
                        four = ((dx, (q, q + C, s, s + C)),)
                        _unpool_plain(((g, (o,)), (place, (o,))), four, min(f, C - WIDE))
                    continue
                for c in range(C):
                    k, d = np.int32(load_byte(place, o + c)), load(g, o + c)
                    store0(dx, q + c, d if k == 0 else zero)
                    store1(dx, q + C + c, d if k == 1 else zero)
                    store2(dx, s + c, d if k == 2 else zero)
                    store3(dx, s + C + c, d if k == 3 else zero)
            if W % 2:
                q = top + (W - 1) * C
                for c in range(C):
                    store0(dx, q + c, zero)
                    store1(dx, q + W * C + c, zero)
        else:
            for c in range(W * C):
                store0(dx, top + c, zero)


@kernel(tensors=3, sizes=4)
def average_pool(p):
    """x, y [B,H,W,C], shift [C], B, H, W, C: y is the mean of each 3x3 window of x, zeros beyond
    the edge counted, plus shift."""
    a = carray(p, (7,))
    B, H, W, C = a[3], a[4], a[5], a[6]
    x, y, shift = maps(a[0]), maps(a[1]), floats(a[2])
    t, T = thread(), threads()
    ninth = f4(1 / 9)
    for row in range(t * B * H // T, (t + 1) * B * H // T):
        i = row % H
        up, down = f4(i > 0), f4(i < H - 1)
        above, below = (-W * C if i > 0 else 0), (W * C if i < H - 1 else 0)
        for j in range(W):
            left, right = f4(j > 0), f4(j < W - 1)
            before, after = (-C if j > 0 else 0), (C if j < W - 1 else 0)
            o = (row * W + j) * C
            for c in range(C):
                k = o + c
                middle = load(x, k) + up * load(x, k + above) + down * load(x, k + below)
                one = load(x, k + before) + up * load(x, k + before + above)
                two = load(x, k + after) + up * load(x, k + after + above)
                one += down * load(x, k + before + below)
                two += down * load(x, k + after + below)
                store0(y, k, (middle + left * one + right * two) * ninth + load_f(shift, c))
