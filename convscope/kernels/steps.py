"""A step of an optimiser over all parameters."""

from __future__ import annotations

import numpy as np

from convscope.kernels.compiled import (
    carray,
    doubles,
    f4,
    floats,
    halves,
    inline,
    kernel,
    load_f,
    load_half,
    store_f0,
    store_f1,
    store_f2,
    store_half,
    thread,
    threads,
    words,
)

# A row of these kernels' table is a parameter: the addresses of its weights, gradient and two
# moments, that of its bfloat16 copy, and how many numbers it has. With a copy, the gradient is
# bfloat16 too; without one (0) both are float32.


@inline
def _fall(w, wide, narrow, v, copy, i, end, rate, momentum, decay, one, two, half, moves):
    """Numbers i to end of `sgd`; each call, its last two arguments known, is a loop of its own."""
    for k in range(i, end):
        g = load_half(narrow, k) if half else load_f(wide, k)
        z = load_f(w, k)
        g += decay * z
        u = momentum * load_f(v, k) + g if moves else g
        if moves:
            store_f1(v, k, u)
        z += rate * (one * u + two * g)
        store_f0(w, k, z)
        if half:
            store_half(copy, k, z)


@kernel(tensors=2, sizes=1)
def sgd(p):
    """table int64 [P,6], constants float64 [lr, momentum, share of the velocity, share of the
    gradient, weight decay of each], P: a step of SGD, v = momentum v + g, w -= lr (share v + share
    g); the first moment is the velocity v, address 0 without momentum."""
    a = carray(p, (3,))
    table, by = carray(words(a[0]), (a[2], 6)), carray(doubles(a[1]), (4 + a[2],))
    rate, momentum, one, two = f4(-by[0]), f4(by[1]), f4(by[2]), f4(by[3])
    t, T = thread(), threads()
    for k in range(a[2]):
        n = table[k, 5]
        w, v, copy = floats(table[k, 0]), floats(table[k, 2]), halves(table[k, 4])
        wide, narrow, half = floats(table[k, 1]), halves(table[k, 1]), table[k, 4] != 0
        i, end, decay = t * n // T, (t + 1) * n // T, f4(by[4 + k])
        if table[k, 2] != 0 and half:
            _fall(w, wide, narrow, v, copy, i, end, rate, momentum, decay, one, two, True, True)
        elif table[k, 2] != 0:
            _fall(w, wide, narrow, v, copy, i, end, rate, momentum, decay, one, two, False, True)
        elif half:
            _fall(w, wide, narrow, v, copy, i, end, rate, momentum, decay, one, two, True, False)
        else:
            _fall(w, wide, narrow, v, copy, i, end, rate, momentum, decay, one, two, False, False)


@kernel(tensors=2, sizes=1)
def adam(p):
    """table int64 [P,6], constants float64 [lr, beta 1, beta 2, epsilon, whether decay is
    decoupled, 1 - beta 1 ** step, 1 - beta 2 ** step, weight decay of each], P: a step of Adam
    (Kingma & Ba 2015, algorithm 1) or AdamW (Loshchilov & Hutter 2019, algorithm 2)."""
    a = carray(p, (3,))
    table, by = carray(words(a[0]), (a[2], 6)), carray(doubles(a[1]), (7 + a[2],))
    one, two, tiny = f4(by[1]), f4(by[2]), f4(by[3])
    first, second = f4(1.0 - by[1]), f4(1.0 - by[2])
    size, root = f4(by[0] / by[5]), f4(np.sqrt(by[6]))
    t, T = thread(), threads()
    for k in range(a[2]):
        n = table[k, 5]
        w, m, v = floats(table[k, 0]), floats(table[k, 2]), floats(table[k, 3])
        wide, narrow, copy = floats(table[k, 1]), halves(table[k, 1]), halves(table[k, 4])
        half = table[k, 4] != 0
        coupled = f4(0) if by[4] != 0 else f4(by[7 + k])
        shrink = f4(1.0 - by[0] * by[7 + k]) if by[4] != 0 else f4(1)
        for i in range(t * n // T, (t + 1) * n // T):
            g = load_half(narrow, i) if half else load_f(wide, i)
            z = load_f(w, i)
            g += coupled * z
            z *= shrink
            x = one * load_f(m, i) + first * g
            y = two * load_f(v, i) + second * g * g
            store_f1(m, i, x)
            store_f2(v, i, y)
            z -= size * x / (np.sqrt(y) / root + tiny)
            store_f0(w, i, z)
            if half:
                store_half(copy, i, z)
