"""Windows of maps as rows of a matrix, and tiles of maps through Winograd's transforms."""

from __future__ import annotations

from convscope.kernels.compiled import (
    carray,
    f4,
    floats,
    inline,
    kernel,
    load,
    load_f,
    load_l,
    load_l0,
    load_s,
    maps,
    store0,
    store_f0,
    store_f1,
    store_f2,
    store_f3,
    store_f4,
    store_f5,
    store_l0,
    store_l1,
    store_l2,
    store_l3,
    store_s0,
    store_s1,
    store_s2,
    store_s3,
    store_s4,
    store_s5,
    thread,
    threads,
)


@kernel(tensors=2, sizes=11)
def im2col(p):
    """x [B,H,W,C], out [B*h*w,k*l*C], B, H, W, C, k, l, top, left, stride, h, w: each window as a
    row, zeros beyond the edge."""
    a = carray(p, (13,))
    B, H, W, C, k, l = a[2], a[3], a[4], a[5], a[6], a[7]
    top, left, stride, h, w = a[8], a[9], a[10], a[11], a[12]
    x, out = maps(a[0]), maps(a[1])
    t, T = thread(), threads()
    length, line = l * C, W * C
    for row in range(t * B * h // T, (t + 1) * B * h // T):
        b, i = row // h, row % h
        for j in range(w):
            start = (j * stride - left) * C
            for r in range(k):
                y = i * stride - top + r
                o, q = ((row * w + j) * k + r) * length, (b * H + y) * line + start
                if y < 0 or y >= H:
                    for e in range(length):
                        store0(out, o + e, f4(0))
                elif start >= 0 and start + length <= line:
                    for e in range(length):
                        store0(out, o + e, load(x, q + e))
                else:
                    for e in range(length):
                        inside = start + e >= 0 and start + e < line
                        store0(out, o + e, load(x, q + e) if inside else f4(0))


@kernel(tensors=3, sizes=10)
def f4_input_transform(p):
    """x [B,H,W,C], V [36,n*th*tw,C], scratch 72C, H, W, C, first, n, th, tw, m, top, left: the 6x6
    tiles of images first..first+n, m apart, as B'dB (Lavin & Gray 2016, sec. 4.1, for 6 points)."""
    a = carray(p, (13,))
    H, W, C, first, n, th, tw = a[3], a[4], a[5], a[6], a[7], a[8], a[9]
    m, top, left = a[10], a[11], a[12]
    t, T = thread(), threads()
    x, V = floats(a[0]), floats(a[1])
    d, f = floats(a[2] + 288 * C * t), floats(a[2] + 288 * C * t + 144 * C)
    two, four, five = f4(2), f4(4), f4(5)
    plane = n * th * tw * C
    for row in range(t * n * th // T, (t + 1) * n * th // T):
        b, i = first + row // th, row % th
        for j in range(tw):
            for r in range(6):
                y = i * m - top + r
                for s in range(6):
                    z = j * m - left + s
                    o, q = (r * 6 + s) * C, ((b * H + y) * W + z) * C
                    if y >= 0 and y < H and z >= 0 and z < W:
                        for c in range(C):
                            store_l0(d, o + c, load_f(x, q + c))
                    else:
                        for c in range(C):
                            store_l0(d, o + c, f4(0))
            for s in range(6):
                o = s * C
                for c in range(C):
                    k = o + c
                    d0, d1 = load_l0(d, k), load_l0(d, k + 6 * C)
                    d2, d3 = load_l0(d, k + 12 * C), load_l0(d, k + 18 * C)
                    d4, d5 = load_l0(d, k + 24 * C), load_l0(d, k + 30 * C)
                    e, u = d4 - four * d2, d3 - four * d1
                    v, q = d4 - d2, two * (d3 - d1)
                    store_s0(f, k, four * d0 - five * d2 + d4)
                    store_s1(f, k + 6 * C, e + u)
                    store_s2(f, k + 12 * C, e - u)
                    store_s3(f, k + 18 * C, v + q)
                    store_s4(f, k + 24 * C, v - q)
                    store_s5(f, k + 30 * C, four * d1 - five * d3 + d5)
            g = (row * tw + j) * C
            for r in range(6):
                o, w = 6 * r * C, 6 * r * plane + g
                for c in range(C):
                    k = o + c
                    d0, d1, d2 = load_s(f, k), load_s(f, k + C), load_s(f, k + 2 * C)
                    d3, d4 = load_s(f, k + 3 * C), load_s(f, k + 4 * C)
                    d5 = load_s(f, k + 5 * C)
                    e, u = d4 - four * d2, d3 - four * d1
                    v, q = d4 - d2, two * (d3 - d1)
                    store_f0(V, w + c, four * d0 - five * d2 + d4)
                    store_f1(V, w + plane + c, e + u)
                    store_f2(V, w + 2 * plane + c, e - u)
                    store_f3(V, w + 3 * plane + c, v + q)
                    store_f4(V, w + 4 * plane + c, v - q)
                    store_f5(V, w + 5 * plane + c, four * d1 - five * d3 + d5)


@inline
def _four(d0, d1, d2, d3, d4, d5, bias):
    """A' for outputs of four."""
    e, o, f, q = d1 + d2, d1 - d2, d3 + d4, d3 - d4
    y0, y1 = d0 + e + f + bias, o + f4(2) * q + bias
    return y0, y1, e + f4(4) * f + bias, o + f4(8) * q + d5 + bias


@kernel(tensors=4, sizes=8)
def f4_output_transform(p):
    """M [36,n*th*tw,K], y [B,H,W,K], bias [K], scratch 28K, H, W, K, first, n, th, tw, m: y = A'MA
    + bias for images first..first+n; m is 4 (3x3 kernels) or 2 (5x5)."""
    a = carray(p, (12,))
    H, W, K, first, n, th, tw, m = a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11]
    t, T = thread(), threads()
    M, y, bias = floats(a[0]), floats(a[1]), floats(a[2])
    d, out = floats(a[3] + 112 * K * t), floats(a[3] + 112 * K * t + 96 * K)
    two, zero = f4(2), f4(0)
    plane = n * th * tw * K
    for row in range(t * n * th // T, (t + 1) * n * th // T):
        b, i = first + row // th, row % th
        for j in range(tw):
            g = (row * tw + j) * K
            for s in range(6):
                q, o = s * plane + g, s * K
                for c in range(K):
                    k = q + c
                    m0, m1 = load_f(M, k), load_f(M, k + 6 * plane)
                    m2, m3 = load_f(M, k + 12 * plane), load_f(M, k + 18 * plane)
                    m4, m5 = load_f(M, k + 24 * plane), load_f(M, k + 30 * plane)
                    if m == 4:
                        r0, r1, r2, r3 = _four(m0, m1, m2, m3, m4, m5, zero)
                        store_s0(d, o + c, r0)
                        store_s1(d, o + 6 * K + c, r1)
                        store_s2(d, o + 12 * K + c, r2)
                        store_s3(d, o + 18 * K + c, r3)
                    else:
                        store_s0(d, o + c, m0 + (m1 + m2) + (m3 + m4))
                        store_s1(d, o + 6 * K + c, (m1 - m2) + two * (m3 - m4) + m5)
            for r in range(min(m, H - i * m)):
                o, wide = 6 * r * K, min(m, W - j * m)
                q = ((b * H + i * m + r) * W + j * m) * K
                for c in range(K):
                    k, e = o + c, load_f(bias, c)
                    m0, m1, m2 = load_s(d, k), load_s(d, k + K), load_s(d, k + 2 * K)
                    m3, m4 = load_s(d, k + 3 * K), load_s(d, k + 4 * K)
                    m5 = load_s(d, k + 5 * K)
                    if m == 4:
                        r0, r1, r2, r3 = _four(m0, m1, m2, m3, m4, m5, e)
                        store_l0(out, c, r0)
                        store_l1(out, K + c, r1)
                        store_l2(out, 2 * K + c, r2)
                        store_l3(out, 3 * K + c, r3)
                    else:
                        store_l0(out, c, m0 + (m1 + m2) + (m3 + m4) + e)
                        store_l1(out, K + c, (m1 - m2) + two * (m3 - m4) + m5 + e)
                for c in range(wide * K):
                    store_f0(y, q + c, load_l(out, c))


@kernel(tensors=3, sizes=8)
def f4_grad_output_transform(p):
    """g [B,H,W,K], D [36,n*th*tw,K], scratch 40K, H, W, K, first, n, th, tw, m: D = AgA' for images
    first..first+n, the transpose of `f4_output_transform`."""
    a = carray(p, (11,))
    H, W, K, first, n, th, tw, m = a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10]
    t, T = thread(), threads()
    g, D = floats(a[0]), floats(a[1])
    d, e = floats(a[2] + 160 * K * t), floats(a[2] + 160 * K * t + 64 * K)
    two, four, eight, zero = f4(2), f4(4), f4(8), f4(0)
    plane = n * th * tw * K
    for row in range(t * n * th // T, (t + 1) * n * th // T):
        b, i = first + row // th, row % th
        for j in range(tw):
            for r in range(4):
                y = i * m + r
                for s in range(4):
                    z = j * m + s
                    o, q = (4 * r + s) * K, ((b * H + y) * W + z) * K
                    if r < m and s < m and y < H and z < W:
                        for c in range(K):
                            store_l0(d, o + c, load_f(g, q + c))
                    else:
                        for c in range(K):
                            store_l0(d, o + c, zero)
            for s in range(4):
                for c in range(K):
                    k = s * K + c
                    d0, d1 = load_l0(d, k), load_l0(d, k + 4 * K)
                    d2, d3 = load_l0(d, k + 8 * K), load_l0(d, k + 12 * K)
                    u, v = d0 + d2, d1 + d3
                    q, w = d0 + four * d2, two * d1 + eight * d3
                    last = d3 if m == 4 else d1
                    store_s0(e, k, d0)
                    store_s1(e, k + 4 * K, u + v)
                    store_s2(e, k + 8 * K, u - v)
                    store_s3(e, k + 12 * K, q + w)
                    store_s4(e, k + 16 * K, q - w)
                    store_s5(e, k + 20 * K, last)
            f = (row * tw + j) * K
            for r in range(6):
                o, x = 4 * r * K, 6 * r * plane + f
                for c in range(K):
                    k = o + c
                    d0, d1 = load_s(e, k), load_s(e, k + K)
                    d2, d3 = load_s(e, k + 2 * K), load_s(e, k + 3 * K)
                    u, v = d0 + d2, d1 + d3
                    q, w = d0 + four * d2, two * d1 + eight * d3
                    last = d3 if m == 4 else d1
                    store_f0(D, x + c, d0)
                    store_f1(D, x + plane + c, u + v)
                    store_f2(D, x + 2 * plane + c, u - v)
                    store_f3(D, x + 3 * plane + c, q + w)
                    store_f4(D, x + 4 * plane + c, q - w)
                    store_f5(D, x + 5 * plane + c, last)
