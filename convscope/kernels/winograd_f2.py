"""Winograd's transforms at four points, of bfloat16: tiles of 4x4, each for 2x2 outputs of a 3x3
kernel, 16 channels at a time.

The points 0, 1, -1 and infinity need additions and halves alone, so that bfloat16 loses little in
them: what comes out differs by some 0.4 % from the exact result, whose own rounding makes 0.2 %
(Lavin & Gray 2016, arXiv 1509.09308, sec. 4.1). Where an index lies beyond the edge of a map, zeros
are read that lie some way from it, or room is written that nobody reads. Of channels that are no
multiple of 16 the last 16 are done, some of them twice.
"""

from __future__ import annotations

from convscope.kernels.compiled import carray, floats, halves, inline, kernel, thread, threads
from convscope.kernels.vectors import WIDE, lanes


def _spread(d0, d1, d2, d3):
    """B' of four numbers."""
    return d0 - d2, d1 + d2, d2 - d1, d1 - d3


def _sums(m0, m1, m2, m3):
    """A' of four numbers: two."""
    return m0 + m1 + m2, m1 - m2 - m3


def _slopes(y0, y1):
    """A of two numbers: four."""
    return y0, y0 + y1, y0 - y1, -y1


def _points(k0, k1, k2):
    """G of three numbers: four."""
    e, o = 0.5 * (k0 + k2), 0.5 * k1
    return k0, e + o, e - o, k2


def _back(u0, u1, u2, u3):
    """G' of four numbers: three."""
    e = 0.5 * (u1 + u2)
    return u0 + e, 0.5 * (u1 - u2), e + u3


def _both_ways(once):
    """Of a function of a column, that of a square, row after row."""

    def twice(*square):
        side = round(len(square) ** 0.5)
        columns = [once(*square[k::side]) for k in range(side)]
        return [number for row in zip(*columns, strict=True) for number in once(*row)]

    return twice


def _out(*square):
    """A'MA + bias; the bias comes last."""
    return [number + square[-1] for number in _both_ways(_sums)(*square[:-1])]


_tile_in = lanes(_both_ways(_spread))
_tile_slope = lanes(_both_ways(_slopes))
_tile_out = lanes(_out)
_kernel_in = lanes(_both_ways(_points))
_kernel_back = lanes(_both_ways(_back))
_sum = lanes(lambda one, other: (one + other,))


@inline
def _three(o, step):
    """Three places, that far apart."""
    return o, o + step, o + 2 * step


@inline
def _nine(o, step):
    """The places of a kernel's numbers."""
    return _three(o, step) + _three(o + 3 * step, step) + _three(o + 6 * step, step)


@inline
def _sixteen(o, plane):
    """The places of a tile's numbers in 16 planes."""
    last = o + 15 * plane
    return _nine(o, plane) + _three(o + 9 * plane, plane) + _three(o + 12 * plane, plane) + (last,)


@inline
def _four(i, j, H, W, K, at, beyond):
    """The places of the 2x2 numbers at (i, j) of a map that begins at ``at``."""
    q = at + (i * W + j) * K
    down, along = i + 1 < H, j + 1 < W
    return (
        q,
        q + K if along else beyond,
        q + W * K if down else beyond,
        q + W * K + K if down and along else beyond,
    )


@inline
def _row(y, H, q, C, s0, s1, s2, s3, zeros):
    """The places of four numbers of a row of a map; of zeros, where it has none."""
    inside = y >= 0 and y < H
    return (
        q if inside and s0 else zeros,
        q + C if inside and s1 else zeros,
        q + 2 * C if inside and s2 else zeros,
        q + 3 * C if inside and s3 else zeros,
    )


@kernel(tensors=2, sizes=10)
def f2_input_transform(p):
    """x [B,H,W,C], V [16,n*th*tw,C], H, W, C, first, n, th, tw, top, left, zeros: the 4x4 tiles
    of images first..first+n, 2 apart, as B'dB; C zeros lie ``zeros`` numbers from x."""
    a = carray(p, (12,))
    H, W, C, first, n, th, tw = a[2], a[3], a[4], a[5], a[6], a[7], a[8]
    top, left, zeros, plane = a[9], a[10], a[11], a[6] * a[7] * a[8] * a[4]
    t, T = thread(), threads()
    x, V = halves(a[0]), halves(a[1])
    for row in range(t * n * th // T, (t + 1) * n * th // T):
        y = (row % th) * 2 - top
        for j in range(tw):
            z = j * 2 - left
            s0, s1 = z >= 0 and z < W, z >= -1 and z < W - 1
            s2, s3 = z >= -2 and z < W - 2, z >= -3 and z < W - 3
            q, line = (((first + row // th) * H + y) * W + z) * C, W * C
            places = (
                _row(y, H, q, C, s0, s1, s2, s3, zeros)
                + _row(y + 1, H, q + line, C, s0, s1, s2, s3, zeros)
                + _row(y + 2, H, q + 2 * line, C, s0, s1, s2, s3, zeros)
                + _row(y + 3, H, q + 3 * line, C, s0, s1, s2, s3, zeros)
            )
            into = _sixteen((row * tw + j) * C, plane)
            for c in range(0, C, WIDE):
                _tile_in(((x, places),), ((V, into),), min(c, C - WIDE))


@kernel(tensors=3, sizes=8)
def f2_output_transform(p):
    """M [16,n*th*tw,K], y [B,H,W,K], bias float32 [K], H, W, K, first, n, th, tw, room: y = A'MA
    + bias for images first..first+n; room for K numbers a thread lies ``room`` numbers from y."""
    a = carray(p, (11,))
    H, W, K, first, n, th, tw, room = a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10]
    t, T = thread(), threads()
    M, y, bias = halves(a[0]), halves(a[1]), floats(a[2])
    plane = n * th * tw * K
    for row in range(t * n * th // T, (t + 1) * n * th // T):
        image = (first + row // th) * H * W * K
        for j in range(tw):
            places = _sixteen((row * tw + j) * K, plane)
            into = _four((row % th) * 2, 2 * j, H, W, K, image, room + t * K)
            for c in range(0, K, WIDE):
                _tile_out(((M, places), (bias, (0,))), ((y, into),), min(c, K - WIDE))


@kernel(tensors=2, sizes=8)
def f2_grad_output_transform(p):
    """g [B,H,W,K], D [16,n*th*tw,K], H, W, K, first, n, th, tw, zeros: D = AgA' for images
    first..first+n, the transpose of `f2_output_transform`; K zeros lie ``zeros`` numbers from g."""
    a = carray(p, (10,))
    H, W, K, first, n, th, tw, zeros = a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]
    t, T = thread(), threads()
    g, D = halves(a[0]), halves(a[1])
    plane = n * th * tw * K
    for row in range(t * n * th // T, (t + 1) * n * th // T):
        image = (first + row // th) * H * W * K
        for j in range(tw):
            places = _four((row % th) * 2, 2 * j, H, W, K, image, zeros)
            into = _sixteen((row * tw + j) * K, plane)
            for c in range(0, K, WIDE):
                _tile_slope(((g, places),), ((D, into),), min(c, K - WIDE))


@kernel(tensors=2, sizes=3)
def f2_filter_transform(p):
    """w [K,3,3,C], U [16,K,C], K, C, flipped: U = GwG', of w flipped or not."""
    a = carray(p, (5,))
    K, C, flipped = a[2], a[3], a[4]
    t, T = thread(), threads()
    w, U = halves(a[0]), halves(a[1])
    for k in range(t * K // T, (t + 1) * K // T):
        q = 9 * k * C
        places = _nine(q + 8 * C, -C) if flipped else _nine(q, C)
        for c in range(0, C, WIDE):
            _kernel_in(((w, places),), ((U, _sixteen(k * C, K * C)),), min(c, C - WIDE))


@kernel(tensors=2, sizes=1)
def f2_accumulate(p):
    """M [N], sums float32 [N], N: M added to the sums."""
    a = carray(p, (3,))
    t, T = thread(), threads()
    M, sums, parts = halves(a[0]), floats(a[1]), a[2] // WIDE
    for i in range(t * parts // T, (t + 1) * parts // T):
        _sum(((M, (0,)), (sums, (0,))), ((sums, (0,)),), i * WIDE)


@kernel(tensors=2, sizes=2)
def f2_filter_gradient(p):
    """w [K,3,3,C], sums float32 [16,K,C], K, C: w = G' sums G, the transpose of
    `f2_filter_transform`."""
    a = carray(p, (4,))
    K, C = a[2], a[3]
    t, T = thread(), threads()
    w, sums = halves(a[0]), floats(a[1])
    for k in range(t * K // T, (t + 1) * K // T):
        for c in range(0, C, WIDE):
            _kernel_back(
                ((sums, _sixteen(k * C, K * C)),), ((w, _nine(9 * k * C, C)),), min(c, C - WIDE)
            )
