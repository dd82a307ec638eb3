"""Dropout of maps, after rectifying or not, forward and back."""

from __future__ import annotations

import numpy as np

from convscope.kernels.compiled import (
    carray,
    f4,
    floats,
    inline,
    kernel,
    load,
    load_f,
    maps,
    store0,
    store1,
    thread,
    threads,
)


@inline
def _bits(index, seed):
    """32 random bits that depend on index and seed alone: two rounds of multiplying and folding
    (the 32-bit mixer of Wellons' hash prospector, bias 0.17)."""
    h = np.uint32(np.uint32(index) * np.uint32(0x9E3779B9) + seed)
    h = np.uint32(h ^ (h >> np.uint32(16)))
    h = np.uint32(h * np.uint32(0x7FEB352D))
    h = np.uint32(h ^ (h >> np.uint32(15)))
    h = np.uint32(h * np.uint32(0x846CA68B))
    return np.uint32(h ^ (h >> np.uint32(16)))


@kernel(tensors=3, sizes=4)
def dropout(p):
    """x, y [n], scale [1], n, seed, least, kind: y is scale f(x) where the sixteen random bits of
    its place are at least `least` (of 2**16), else 0; f rectifies (1) or not (0)."""
    a = carray(p, (7,))
    n, seed, least = a[3], np.uint32(a[4]), np.uint32(a[5])
    x, y = maps(a[0]), maps(a[1])
    scale, floor = load_f(floats(a[2]), 0), f4(0) if a[6] == 1 else f4(-np.inf)
    t, T = thread(), threads()
    m = n // 2  # the two halves share the bits of a place; the last of an odd number has its own
    for i in range(t * m // T, (t + 1) * m // T):
        bits = _bits(i, seed)
        u = load(x, i)
        v = scale if u > floor else f4(0)
        store0(y, i, u * (v * f4((bits & np.uint32(0xFFFF)) >= least)))
        u = load(x, m + i)
        v = scale if u > floor else f4(0)
        store1(y, m + i, u * (v * f4((bits >> np.uint32(16)) >= least)))
    if t == 0 and n % 2:
        u = load(x, n - 1)
        v = scale if u > floor else f4(0)
        store0(y, n - 1, u * (v * f4((_bits(n - 1, seed) >> np.uint32(16)) >= least)))


@kernel(tensors=4, sizes=4)
def dropout_backward(p):
    """g, x, dx [n], scale [1], n, seed, least, kind: the gradient of `dropout`'s x from that of its
    y."""
    a = carray(p, (8,))
    n, seed, least = a[4], np.uint32(a[5]), np.uint32(a[6])
    g, x, dx = maps(a[0]), maps(a[1]), maps(a[2])
    scale, floor = load_f(floats(a[3]), 0), f4(0) if a[7] == 1 else f4(-np.inf)
    t, T = thread(), threads()
    m = n // 2
    for i in range(t * m // T, (t + 1) * m // T):
        bits = _bits(i, seed)
        v = scale if load(x, i) > floor else f4(0)
        store0(dx, i, load(g, i) * (v * f4((bits & np.uint32(0xFFFF)) >= least)))
        v = scale if load(x, m + i) > floor else f4(0)
        store1(dx, m + i, load(g, m + i) * (v * f4((bits >> np.uint32(16)) >= least)))
    if t == 0 and n % 2:
        v = scale if load(x, n - 1) > floor else f4(0)
        keep = f4((_bits(n - 1, seed) >> np.uint32(16)) >= least)
        store0(dx, n - 1, load(g, n - 1) * (v * keep))
