"""Batch normalisation and the activation after it, over maps, forward and back."""

from __future__ import annotations

import numpy as np

from convscope.kernels.compiled import (
    barrier,
    carray,
    doubles,
    f4,
    float_of_bits,
    floats,
    inline,
    kernel,
    load,
    load_f,
    load_l0,
    load_l1,
    maps,
    store0,
    store2,
    store_f0,
    store_f1,
    store_f2,
    store_f3,
    store_l0,
    store_l1,
    thread,
    threads,
)
from convscope.kernels.vectors import WIDE, lanes


@inline
def _exp(x):
    """e**x for x <= 0, to 2 ulp: 2**n, set as its exponent's bits, times a polynomial."""
    x = max(x, f4(-87.0))
    n = np.floor(x * f4(1.44269504088896341) + f4(0.5))
    r = x - n * f4(0.693359375) + n * f4(2.12194440e-4)
    p = f4(1.9875691500e-4)
    p = p * r + f4(1.3981999507e-3)
    p = p * r + f4(8.3334519073e-3)
    p = p * r + f4(4.1665795894e-2)
    p = p * r + f4(1.6666665459e-1)
    p = p * r + f4(5.0000001201e-1)
    p = p * r * r + r + f4(1.0)
    return p * float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))


@inline
def _tail(z, e):
    """1 - Phi(|z|) for e = exp(-z z / 2) / sqrt(2 pi), to 7.5e-8 (Abramowitz & Stegun 26.2.17)."""
    k = f4(1) / (f4(1) + f4(0.2316419) * abs(z))
    q = k * f4(1.330274429) - f4(1.821255978)
    q = q * k + f4(1.781477937)
    q = q * k - f4(0.356563782)
    q = q * k + f4(0.319381530)
    return e * q * k


def _bell(z):
    """exp(-z z / 2) / sqrt(2 pi), of vectors, as `_exp` has it."""
    x = (-0.5 * (z * z)).at_least(-87.0)
    n = x.times_plus(1.44269504088896341, 0.5).floor()
    r = n.times_plus(2.12194440e-4, n.times_plus(-0.693359375, x))
    p = r.times_plus(1.9875691500e-4, 1.3981999507e-3)
    p = p.times_plus(r, 8.3334519073e-3).times_plus(r, 4.1665795894e-2)
    p = p.times_plus(r, 1.6666665459e-1).times_plus(r, 5.0000001201e-1)
    p = (p * r).times_plus(r, r).times_plus(1.0, 1.0)
    return 0.3989422804 * (p * n.power_of_two())


def _share(z, e):
    """Phi(z) for e = `_bell` of z, of vectors, as `_tail` has it."""
    k = z.of(1.0) / z.size().times_plus(0.2316419, 1.0)
    q = k.times_plus(1.330274429, -1.821255978).times_plus(k, 1.781477937)
    q = q.times_plus(k, -0.356563782).times_plus(k, 0.319381530)
    tail = e * q * k
    return z.if_positive(z.of(1.0) - tail, tail)


def _gelu(x, scale, shift):
    """GELU of scale x + shift (Hendrycks & Gimpel 2016, arXiv 1606.08415)."""
    z = x.times_plus(scale, shift)
    return (z * _share(z, _bell(z)),)


def _gelu_slope(x, g, scale, shift, one, two):
    """s, g times the slope there, and the sums of s and of s x."""
    z = x.times_plus(scale, shift)
    e = _bell(z)
    s = g * z.times_plus(e, _share(z, e))
    return s, one + s, s.times_plus(x, two)


_gelus, _gelu_slopes = lanes(_gelu), lanes(_gelu_slope)


@kernel(tensors=3, sizes=2)
def batch_norm_stats(p):
    """x [n,C], sums float64 [T,2,C], scratch 2C, n, C -> per thread the sums of v and v**2 over its
    rows, where v is x less the first row, which keeps the variance of large means exact."""
    a = carray(p, (5,))
    n, C = a[3], a[4]
    t, T = thread(), threads()
    x, one = maps(a[0]), floats(a[2] + 8 * C * t)
    two = floats(a[2] + 8 * C * t + 4 * C)
    sums = carray(doubles(a[1]), (T, 2, C))
    sums[t, :, :] = 0.0
    i, end = t * n // T, (t + 1) * n // T
    while i < end:
        stop = min(i + 128, end)
        for c in range(C):
            store_l0(one, c, f4(0))
            store_l1(two, c, f4(0))
        for j in range(i, stop):
            o = j * C
            for c in range(C):
                v = load(x, o + c) - load(x, c)
                store_l0(one, c, load_l0(one, c) + v)
                store_l1(two, c, load_l1(two, c) + v * v)
        for c in range(C):
            sums[t, 0, c] += load_l0(one, c)
            sums[t, 1, c] += load_l1(two, c)
        i = stop


@kernel(tensors=4, sizes=2)
def channel_sums(p):
    """x [n,C], out [C], sums float64 [T,C], scratch C, n, C: out is the sum of x over its rows."""
    a = carray(p, (6,))
    n, C = a[4], a[5]
    t, T = thread(), threads()
    x, out, sums = maps(a[0]), floats(a[1]), carray(doubles(a[2]), (T, C))
    one = floats(a[3] + 4 * C * t)
    sums[t, :] = 0.0
    i, end = t * n // T, (t + 1) * n // T
    while i < end:
        stop = min(i + 128, end)
        for c in range(C):
            store_l0(one, c, f4(0))
        if (stop - i) % 2:
            for c in range(C):
                store_l0(one, c, load(x, i * C + c))
        for j in range(i + (stop - i) % 2, stop, 2):
            o = j * C
            for c in range(C):
                store_l0(one, c, load_l0(one, c) + (load(x, o + c) + load(x, o + C + c)))
        for c in range(C):
            sums[t, c] += load_l0(one, c)
        i = stop
    barrier()
    if t == 0:
        for c in range(C):
            total = 0.0
            for i in range(T):
                total += sums[i, c]
            store_f0(out, c, f4(total))


@kernel(tensors=11, sizes=2)
def batch_norm_scale(p):
    """x [n,C], sums float64 [T,2,C], weight, bias, running mean, running variance [C], constants
    float64 [momentum, eps], scale, shift [C], mean, inverse float64 [C], n, C -> from the sums of
    `batch_norm_stats` the batch's mean and 1 / sqrt(variance + eps), the scale and shift that
    normalise with them, and the running statistics moved, the variance without bias."""
    a = carray(p, (13,))
    n, C = a[11], a[12]
    t, T = thread(), threads()
    x, weight, bias = maps(a[0]), floats(a[2]), floats(a[3])
    running, spread = floats(a[4]), floats(a[5])
    sums, constants = carray(doubles(a[1]), (T, 2, C)), carray(doubles(a[6]), (2,))
    scale, shift = floats(a[7]), floats(a[8])
    mean, inverse = carray(doubles(a[9]), (C,)), carray(doubles(a[10]), (C,))
    momentum, eps = constants[0], constants[1]
    if t == 0:
        for c in range(C):
            one, two = 0.0, 0.0
            for i in range(T):
                one += sums[i, 0, c]
                two += sums[i, 1, c]
            one /= n
            variance = max(two / n - one * one, 0.0)
            middle = one + load(x, c)
            turned = 1.0 / np.sqrt(variance + eps)
            by = load_f(weight, c) * turned
            mean[c], inverse[c] = middle, turned
            store_f0(scale, c, f4(by))
            store_f1(shift, c, f4(load_f(bias, c) - middle * by))
            before, was = np.float64(load_f(running, c)), np.float64(load_f(spread, c))
            store_f2(running, c, f4(before + momentum * (middle - before)))
            store_f3(spread, c, f4(was + momentum * (variance * n / max(n - 1, 1) - was)))


@kernel(tensors=8, sizes=2)
def backward_terms(p):
    """sums float64 [T,2,C] of the slopes d and of d x, mean, inverse float64 [C], scale [C], the
    gradients of weight and bias [C], v, r [C], n, C -> those gradients, and v and r such that the
    input's gradient is scale d + v x + r."""
    a = carray(p, (10,))
    n, C = a[8], a[9]
    t, T = thread(), threads()
    sums = carray(doubles(a[0]), (T, 2, C))
    mean, inverse, scale = carray(doubles(a[1]), (C,)), carray(doubles(a[2]), (C,)), floats(a[3])
    weight, bias, v, r = floats(a[4]), floats(a[5]), floats(a[6]), floats(a[7])
    if t == 0:
        for c in range(C):
            one, two = 0.0, 0.0
            for i in range(T):
                one += sums[i, 0, c]
                two += sums[i, 1, c]
            by = np.float64(load_f(scale, c))
            d_weight = inverse[c] * (two - mean[c] * one)
            slope = -by * inverse[c] * d_weight / n
            store_f0(weight, c, f4(d_weight))
            store_f1(bias, c, f4(one))
            store_f2(v, c, f4(slope))
            store_f3(r, c, f4(-by * one / n - slope * mean[c]))


@kernel(tensors=4, sizes=3)
def elementwise(p):
    """x [n,C], scale [C], shift [C], y [n,C], n, C, kind: y = f(scale x + shift)."""
    a = carray(p, (7,))
    n, C, kind = a[4], a[5], a[6]
    x, scale, shift, y = maps(a[0]), floats(a[1]), floats(a[2]), maps(a[3])
    t, T = thread(), threads()
    for i in range(t * n // T, (t + 1) * n // T):
        o = i * C
        if kind == 1:
            for c in range(C):
                z = load(x, o + c) * load_f(scale, c) + load_f(shift, c)
                store0(y, o + c, max(z, f4(0)))
        elif kind == 2:
            for c in range(0, C - C % WIDE, WIDE):
                _gelus(((x, (o,)), (scale, (0,)), (shift, (0,))), ((y, (o,)),), c)
            for c in range(C - C % WIDE, C):
                z = load(x, o + c) * load_f(scale, c) + load_f(shift, c)
                tail = _tail(z, f4(0.3989422804) * _exp(f4(-0.5) * z * z))
                store0(y, o + c, z * (f4(1) - tail if z > 0 else tail))
        else:
            for c in range(C):
                store0(y, o + c, load(x, o + c) * load_f(scale, c) + load_f(shift, c))


@kernel(tensors=7, sizes=3)
def backward_reduce(p):
    """g [n,C], x [n,C], scale, shift [C], d [n,C], sums float64 [T,2,C], scratch 2C, n, C, kind ->
    per thread the sums of s and of s x over its rows, where s is g times the slope of f at scale x
    + shift; d = s for GELU, whose slope is dear, and is left alone otherwise."""
    a = carray(p, (10,))
    n, C, kind = a[7], a[8], a[9]
    t, T = thread(), threads()
    g, x, scale, shift, d = maps(a[0]), maps(a[1]), floats(a[2]), floats(a[3]), maps(a[4])
    one, two = floats(a[6] + 8 * C * t), floats(a[6] + 8 * C * t + 4 * C)
    sums = carray(doubles(a[5]), (T, 2, C))
    sums[t, :, :] = 0.0
    i, end = t * n // T, (t + 1) * n // T
    while i < end:
        stop = min(i + 128, end)
        for c in range(C):
            store_l0(one, c, f4(0))
            store_l1(two, c, f4(0))
        for j in range(i, stop):
            o = j * C
            if kind == 1:
                for c in range(C):
                    v, s = load(x, o + c), load(g, o + c)
                    s = s if v * load_f(scale, c) + load_f(shift, c) > 0 else f4(0)
                    store_l0(one, c, load_l0(one, c) + s)
                    store_l1(two, c, load_l1(two, c) + s * v)
            elif kind == 2:
                for c in range(0, C - C % WIDE, WIDE):
                    maps_here, by = ((x, (o,)), (g, (o,))), ((scale, (0,)), (shift, (0,)))
                    both = ((one, (0,)), (two, (0,)))
                    _gelu_slopes(maps_here + by + both, ((d, (o,)), *both), c)
                for c in range(C - C % WIDE, C):
                    v = load(x, o + c)
                    z = v * load_f(scale, c) + load_f(shift, c)
                    e = f4(0.3989422804) * _exp(f4(-0.5) * z * z)
                    tail = _tail(z, e)
                    s = load(g, o + c) * ((f4(1) - tail if z > 0 else tail) + z * e)
                    store2(d, o + c, s)
                    store_l0(one, c, load_l0(one, c) + s)
                    store_l1(two, c, load_l1(two, c) + s * v)
            else:
                for c in range(C):
                    s = load(g, o + c)
                    store_l0(one, c, load_l0(one, c) + s)
                    store_l1(two, c, load_l1(two, c) + s * load(x, o + c))
        for c in range(C):
            sums[t, 0, c] += load_l0(one, c)
            sums[t, 1, c] += load_l1(two, c)
        i = stop


@kernel(tensors=7, sizes=3)
def backward_elementwise(p):
    """g [n,C], x [n,C], u, shift, v, r [C], out [n,C], n, C, kind: out = u g + v x + r, with zero
    for g where u x + shift is cut off by f if that rectifies (1); out may be g."""
    a = carray(p, (10,))
    n, C, kind = a[7], a[8], a[9]
    g, x, out = maps(a[0]), maps(a[1]), maps(a[6])
    u, shift, v, r = floats(a[2]), floats(a[3]), floats(a[4]), floats(a[5])
    t, T = thread(), threads()
    for i in range(t * n // T, (t + 1) * n // T):
        o = i * C
        if kind == 1:
            for c in range(C):
                z, by = load(x, o + c), load_f(u, c)
                s = load(g, o + c) * by
                s = s if z * by + load_f(shift, c) > 0 else f4(0)
                store0(out, o + c, s + (z * load_f(v, c) + load_f(r, c)))
        else:
            for c in range(C):
                s = load(g, o + c) * load_f(u, c)
                store0(out, o + c, s + (load(x, o + c) * load_f(v, c) + load_f(r, c)))


@kernel(tensors=4, sizes=2)
def scale_shift(p):
    """y [n,C], x float32 [n,C], scale, shift [C], n, C: y = scale x + shift."""
    a = carray(p, (6,))
    n, C = a[4], a[5]
    y, x, scale, shift = maps(a[0]), floats(a[1]), floats(a[2]), floats(a[3])
    t, T = thread(), threads()
    for i in range(t * n // T, (t + 1) * n // T):
        o = i * C
        for c in range(C):
            store0(y, o + c, load_f(x, o + c) * load_f(scale, c) + load_f(shift, c))
