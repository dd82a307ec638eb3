"""Images out of a data set, augmented while they are copied."""

from __future__ import annotations

import numpy as np

from convscope.kernels.compiled import (
    carray,
    f4,
    floats,
    kernel,
    load_byte,
    octets,
    store_byte,
    store_f0,
    thread,
    threads,
    words,
)

BLACK, EDGE, REFLECT = 0, 1, 2  # what lies beyond an image's edge


@kernel(tensors=3, sizes=7)
def gather(p):
    """source uint8 [N,C,H,W], out uint8 [B,C,H,W], plan int64 [B,6], B, C, H, W, most, edge, cut:
    out[b] is image plan[b,0] of the source, mirrored if plan[b,1], moved so that its row r and
    column c come from r + plan[b,2] and c + plan[b,3], at most `most` away, with black, the outer
    pixel or the mirror image beyond the edge; then black in the square of `cut` pixels whose first
    row and column are plan[b,4] and plan[b,5], cut off at the edge."""
    a = carray(p, (10,))
    B, C, H, W, most, edge, cut = a[3], a[4], a[5], a[6], a[7], a[8], a[9]
    source, out = octets(a[0]), octets(a[1])
    plan = carray(words(a[2]), (B, 6))
    t, T = thread(), threads()
    zero = np.uint8(0)
    for b in range(t * B // T, (t + 1) * B // T):
        first, turned = plan[b, 0] * C * H * W, plan[b, 1] != 0
        down, right, top, left = plan[b, 2], plan[b, 3], plan[b, 4], plan[b, 5]
        begin, end = max(left, 0), min(left + cut, W)
        low, high = max(0, -right), min(W, W - right)  # columns that lie within
        for c in range(C):
            for r in range(H):
                o, y = ((b * C + c) * H + r) * W, r + down
                if (y < 0 or y >= H) and edge == 0:
                    for x in range(W):
                        store_byte(out, o + x, zero)
                else:
                    if edge == 1:
                        y = min(max(y, 0), H - 1)
                    elif edge == 2:
                        y = -y if y < 0 else (2 * (H - 1) - y if y >= H else y)
                    q = first + (c * H + y) * W
                    if turned:
                        for x in range(low, high):
                            store_byte(out, o + x, load_byte(source, q + W - 1 - (x + right)))
                    else:
                        for x in range(low, high):
                            store_byte(out, o + x, load_byte(source, q + x + right))
                    for k in range(most):
                        for side in range(2):
                            x = k if side == 0 else W - 1 - k
                            z = x + right
                            if z < 0 or z >= W:
                                if edge == 0:
                                    store_byte(out, o + x, zero)
                                else:
                                    if edge == 1:
                                        z = min(max(z, 0), W - 1)
                                    else:
                                        z = -z if z < 0 else 2 * (W - 1) - z
                                    z = W - 1 - z if turned else z
                                    store_byte(out, o + x, load_byte(source, q + z))
                if r >= top and r < top + cut:
                    for x in range(begin, end):
                        store_byte(out, o + x, zero)


@kernel(tensors=2, sizes=4)
def to_float(p):
    """images uint8 [B,C,H,W], out float32 [B,H,W,C], B, C, H, W: out = images / 255, as 1/255 times
    them."""
    a = carray(p, (6,))
    B, C, H, W = a[2], a[3], a[4], a[5]
    images, out = octets(a[0]), floats(a[1])
    t, T = thread(), threads()
    by, plane = f4(1 / 255), H * W
    for row in range(t * B * H // T, (t + 1) * B * H // T):
        o = row * W * C
        q = (row // H * C * H + row % H) * W
        if C == 1:
            for x in range(W):
                store_f0(out, o + x, f4(load_byte(images, q + x)) * by)
        elif C == 3:
            for x in range(W):
                store_f0(out, o + 3 * x, f4(load_byte(images, q + x)) * by)
                store_f0(out, o + 3 * x + 1, f4(load_byte(images, q + plane + x)) * by)
                store_f0(out, o + 3 * x + 2, f4(load_byte(images, q + 2 * plane + x)) * by)
        else:
            for c in range(C):
                for x in range(W):
                    store_f0(out, o + x * C + c, f4(load_byte(images, q + c * plane + x)) * by)
