"""Compiled loops for what PyTorch does in many passes over memory: channels-last, on the CPU.

Each kernel is a function of addresses and sizes, compiled by numba on its first use (a second or
two, then kept on disk) and run on PyTorch's own OpenMP threads, so that no second pool of threads
fights with the first. Where numba or GNU OpenMP are not at hand, :func:`available` says so and
callers use PyTorch's operators. Every sum is made in an order that depends on the number of threads
alone.

Inside a kernel memory is read and written through plain addresses: ``look`` and ``set0`` ... read
and write maps, which are float32 or bfloat16 and float32 in between, so that each kernel exists in
two versions; ``get`` and ``put0`` ... read and write float32. What ``look`` and ``get`` read no
kernel writes; ``keep0`` ... and ``hold0`` ... write a thread's own scratch, and ``kept`` and
``held`` read that again. Each tells the compiler that it lies apart from all the others, without
which it would check so for every few channels, or not use vectors at all.
"""

# Kernels are loops over plain numbers: their many arguments and branches are unrolled on purpose.
# ruff: noqa: E741, PLW3301
# mypy: ignore-errors

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope import files, machine

MAPS = (torch.float32, torch.bfloat16)  # what maps may be made of
LINEAR, RELU, GELU = 0, 1, 2  # what follows scale and shift
EXACT = {"contract", "nsz", "arcp"}  # what the compiler may assume: infinity and NaN do occur


class Kernel:
    """A function of a table of int64, compiled when it is first called and run on every thread.

    Its first tensor says whether maps are float32 or bfloat16: one version each.
    """

    def __init__(self, function: Callable[..., None], tensors: int, sizes: int) -> None:
        self.function, self.tensors = function, tensors
        self.expected = (True,) * tensors + (False,) * sizes
        self.made: dict[bool, Any] = {}
        functools.update_wrapper(self, function)

    def _compile(self, half: bool) -> Any:
        plain = self.function
        if half:  # under another name, since a compiled function is kept under its name
            plain = FunctionType(plain.__code__, {**plain.__globals__, **HALF}, plain.__name__)
            plain.__qualname__, plain.__module__ = f"{plain.__name__}_bf16", __name__
        signature = types.void(types.CPointer(types.int64))
        with machine.muted():  # LLVM remarks on every loop that is none for vectors
            made = numba.cfunc(signature, fastmath=EXACT, error_model="numpy", cache=True)(plain)
        self.made[half] = made
        return made

    def __call__(self, *arguments: Tensor | int) -> None:
        """Run with the tensors' addresses, then the sizes."""
        assert tuple(isinstance(a, Tensor) for a in arguments) == self.expected, self.__name__
        half = arguments[0].dtype is torch.bfloat16
        made = self.made.get(half) or self._compile(half)
        tensors = self.tensors
        table = (ctypes.c_int64 * len(arguments))(
            *[a.data_ptr() for a in arguments[:tensors]], *arguments[tensors:]
        )
        _openmp().GOMP_parallel(made.address, table, torch.get_num_threads(), 0)


def kernel(tensors: int, sizes: int) -> Callable[[Callable[..., None]], Kernel]:
    """Make a kernel of a function of a table of so many tensors' addresses and so many sizes."""
    return functools.partial(Kernel, tensors=tensors, sizes=sizes)


@functools.cache
def _openmp() -> Any:
    """PyTorch's own GNU OpenMP; the one already in the process. Raises OSError where it is none."""
    if sys.platform != "linux":
        raise OSError("GNU OpenMP is looked for on Linux only")
    library = ctypes.CDLL("libgomp.so.1")
    library.GOMP_parallel.argtypes = [
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_uint,
        ctypes.c_uint,
    ]
    llvmlite.binding.load_library_permanently("libgomp.so.1")
    return library


@functools.cache
def available() -> bool:
    """Whether kernels can be compiled and run here; one is, to be sure."""
    if os.environ.get("CONVSCOPE_KERNELS") == "off" or numba is None:
        return False
    if "OpenMP" not in torch.__config__.parallel_info().split("backend:")[-1]:
        return False
    try:
        x = torch.arange(12, dtype=torch.float32)
        y = torch.empty(12)
        one, zero = torch.ones(3), torch.zeros(3)
        activate(x, one, zero, y, 4, 3, LINEAR)
    except Exception:  # whatever a foreign compiler, linker or loader may raise
        return False
    return torch.equal(x, y)


os.environ.setdefault("NUMBA_CACHE_DIR", str(files.cache_root() / "kernels"))
try:
    import llvmlite.binding
    import numba
    from llvmlite import ir
    from numba import carray, njit, types
    from numba.extending import intrinsic

    # Loops over 16 channels are too short for more than eight numbers at a time.
    llvmlite.binding.set_option("convscope", "-force-vector-interleave=1")
    llvmlite.binding.set_option("convscope", "-force-vector-width=8")

    _thread = types.ExternalFunction("omp_get_thread_num", types.int32())
    _threads = types.ExternalFunction("omp_get_num_threads", types.int32())

    def _pointer(kind: Any) -> Any:
        """A function in kernels that takes an address for a pointer to numbers of that kind."""

        @intrinsic
        def pointer(context: Any, address: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

            return types.CPointer(kind)(types.int64), generate

        return pointer

    _floats, _bytes, _doubles = map(_pointer, (types.float32, types.uint8, types.float64))
    _maps, _halves, _words = _floats, _pointer(types.uint16), _pointer(types.int64)

    @intrinsic
    def _float_of_bits(context: Any, bits: Any) -> Any:
        """The float32 that these 32 bits are."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], ir.FloatType())

        return types.float32(types.int32), generate

    _SCOPES = 16

    def _scopes(builder: Any, chosen: Any) -> Any:
        """The alias scopes of LLVM's language reference, one for each ``put``."""
        module = builder.module
        domain = module.add_metadata([ir.MetaDataString(module, "convscope")])
        return module.add_metadata(
            [module.add_metadata([ir.MetaDataString(module, f"put {i}"), domain]) for i in chosen]
        )

    def _getter(kind: Any, *own: int, half: bool = False) -> Any:
        """Reads the number at an index; one that these ``put`` may have written."""
        stored = types.uint16 if half else kind
        others = [i for i in range(_SCOPES) if i not in own]

        @intrinsic
        def get(context: Any, pointer: Any, index: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                value = builder.load(builder.gep(arguments[0], [arguments[1]]))
                value.set_metadata("noalias", _scopes(builder, others))
                return _widened(builder, value) if half else value

            return kind(types.CPointer(stored), types.int64), generate

        return get

    def _putter(kind: Any, own: int, half: bool = False) -> Any:
        """Writes a number at an index, apart from every other ``put``."""
        stored = types.uint16 if half else kind
        others = [i for i in range(_SCOPES) if i != own]

        @intrinsic
        def put(context: Any, pointer: Any, index: Any, value: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                value = _rounded(builder, arguments[2]) if half else arguments[2]
                store = builder.store(value, builder.gep(arguments[0], [arguments[1]]))
                store.set_metadata("alias.scope", _scopes(builder, [own]))
                store.set_metadata("noalias", _scopes(builder, others))
                return context.get_dummy_value()

            return types.void(types.CPointer(stored), types.int64, kind), generate

        return put

    def _widened(builder: Any, bits: Any) -> Any:
        """bfloat16 to float32: its bits are the upper half of the other's."""
        whole = builder.shl(builder.zext(bits, ir.IntType(32)), ir.IntType(32)(16))
        return builder.bitcast(whole, ir.FloatType())

    def _rounded(builder: Any, value: Any) -> Any:
        """float32 to bfloat16, to the nearest, halves to even; a NaN of arithmetic stays one."""
        word = ir.IntType(32)
        bits = builder.bitcast(value, word)
        odd = builder.and_(builder.lshr(bits, word(16)), word(1))
        up = builder.add(builder.add(bits, word(0x7FFF)), odd)
        return builder.trunc(builder.lshr(up, word(16)), ir.IntType(16))

    get, get_byte = _getter(types.float32), _getter(types.uint8)
    put0, put1, put2, put3, put4, put5 = (_putter(types.float32, i) for i in range(6))
    put_byte = _putter(types.uint8, 1)
    look, set0, set1, set2, set3 = get, put0, put1, put2, put3
    look_half, set_half = _getter(types.float32, half=True), _putter(types.float32, 3, half=True)
    HALF = {f"set{i}": _putter(types.float32, i, half=True) for i in range(4)}
    HALF |= {"look": _getter(types.float32, half=True), "_maps": _halves}
    keep0, keep1, keep2, keep3, keep4, keep5 = (_putter(types.float32, i) for i in range(6, 12))
    kept = _getter(types.float32, *range(6, 12))
    hold0, hold1, hold2, hold3 = (_putter(types.float32, i) for i in range(12, 16))
    held0, held1 = _getter(types.float32, 12), _getter(types.float32, 13)
    held = _getter(types.float32, *range(12, 16))
    inline = njit(fastmath=EXACT, error_model="numpy", inline="always")
except ImportError:  # pragma: no cover
    numba = None

    def inline(function: Callable[..., Any]) -> Callable[..., Any]:
        return function


f4 = np.float32


def scratch(size: int) -> Tensor:
    """Room for ``size`` float32 a thread."""
    return torch.empty(torch.get_num_threads(), size)


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
    return p * _float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))


@inline
def _tail(z, e):
    """1 - Phi(|z|) for e = exp(-z z / 2) / sqrt(2 pi), to 7.5e-8 (Abramowitz & Stegun 26.2.17)."""
    k = f4(1) / (f4(1) + f4(0.2316419) * abs(z))
    q = k * f4(1.330274429) - f4(1.821255978)
    q = q * k + f4(1.781477937)
    q = q * k - f4(0.356563782)
    q = q * k + f4(0.319381530)
    return e * q * k


@kernel(tensors=3, sizes=2)
def statistics(p):
    """x [n,C], sums float64 [T,2,C], scratch 2C, n, C -> per thread the sums of v and v**2 over its
    rows, where v is x less the first row, which keeps the variance of large means exact."""
    a = carray(p, (5,))
    n, C = a[3], a[4]
    t, T = _thread(), _threads()
    x, one = _maps(a[0]), _floats(a[2] + 8 * C * t)
    two = _floats(a[2] + 8 * C * t + 4 * C)
    sums = carray(_doubles(a[1]), (T, 2, C))
    for c in range(C):
        sums[t, 0, c] = 0.0
        sums[t, 1, c] = 0.0
    i, end = t * n // T, (t + 1) * n // T
    while i < end:
        stop = min(i + 128, end)
        for c in range(C):
            hold0(one, c, f4(0))
            hold1(two, c, f4(0))
        for j in range(i, stop):
            o = j * C
            for c in range(C):
                v = look(x, o + c) - look(x, c)
                hold0(one, c, held0(one, c) + v)
                hold1(two, c, held1(two, c) + v * v)
        for c in range(C):
            sums[t, 0, c] += held0(one, c)
            sums[t, 1, c] += held1(two, c)
        i = stop


@kernel(tensors=3, sizes=2)
def totals(p):
    """x [n,C], sums float64 [T,C], scratch C, n, C -> per thread the sums of x over its rows."""
    a = carray(p, (5,))
    n, C = a[3], a[4]
    t, T = _thread(), _threads()
    x, one = _maps(a[0]), _floats(a[2] + 4 * C * t)
    sums = carray(_doubles(a[1]), (T, C))
    for c in range(C):
        sums[t, c] = 0.0
    i, end = t * n // T, (t + 1) * n // T
    while i < end:
        stop = min(i + 128, end)
        for c in range(C):
            hold0(one, c, f4(0))
        for j in range(i, stop):
            o = j * C
            for c in range(C):
                hold0(one, c, held0(one, c) + look(x, o + c))
        for c in range(C):
            sums[t, c] += held0(one, c)
        i = stop


@kernel(tensors=11, sizes=2)
def normalise(p):
    """x [n,C], sums float64 [T,2,C], weight, bias, running mean, running variance [C], constants
    float64 [momentum, eps], scale, shift [C], mean, inverse float64 [C], n, C -> from the sums of
    `statistics` the batch's mean and 1 / sqrt(variance + eps), the scale and shift that normalise
    with them, and the running statistics moved, the variance without bias."""
    a = carray(p, (13,))
    n, C = a[11], a[12]
    t, T = _thread(), _threads()
    x, weight, bias, running, spread = (
        _maps(a[0]),
        _floats(a[2]),
        _floats(a[3]),
        _floats(a[4]),
        _floats(a[5]),
    )
    sums, constants = carray(_doubles(a[1]), (T, 2, C)), carray(_doubles(a[6]), (2,))
    scale, shift = _floats(a[7]), _floats(a[8])
    mean, inverse = carray(_doubles(a[9]), (C,)), carray(_doubles(a[10]), (C,))
    momentum, eps = constants[0], constants[1]
    if t == 0:
        for c in range(C):
            one, two = 0.0, 0.0
            for i in range(T):
                one += sums[i, 0, c]
                two += sums[i, 1, c]
            one /= n
            variance = max(two / n - one * one, 0.0)
            middle = one + look(x, c)
            turned = 1.0 / np.sqrt(variance + eps)
            by = get(weight, c) * turned
            mean[c], inverse[c] = middle, turned
            put0(scale, c, f4(by))
            put1(shift, c, f4(get(bias, c) - middle * by))
            before, was = np.float64(get(running, c)), np.float64(get(spread, c))
            put2(running, c, f4(before + momentum * (middle - before)))
            put3(spread, c, f4(was + momentum * (variance * n / max(n - 1, 1) - was)))


@kernel(tensors=8, sizes=2)
def settle(p):
    """sums float64 [T,2,C] of the slopes d and of d x, mean, inverse float64 [C], scale [C], the
    gradients of weight and bias [C], v, r [C], n, C -> those gradients, and v and r such that the
    input's gradient is scale d + v x + r."""
    a = carray(p, (10,))
    n, C = a[8], a[9]
    t, T = _thread(), _threads()
    sums = carray(_doubles(a[0]), (T, 2, C))
    mean, inverse, scale = carray(_doubles(a[1]), (C,)), carray(_doubles(a[2]), (C,)), _floats(a[3])
    weight, bias, v, r = _floats(a[4]), _floats(a[5]), _floats(a[6]), _floats(a[7])
    if t == 0:
        for c in range(C):
            one, two = 0.0, 0.0
            for i in range(T):
                one += sums[i, 0, c]
                two += sums[i, 1, c]
            by = np.float64(get(scale, c))
            d_weight = inverse[c] * (two - mean[c] * one)
            slope = -by * inverse[c] * d_weight / n
            put0(weight, c, f4(d_weight))
            put1(bias, c, f4(one))
            put2(v, c, f4(slope))
            put3(r, c, f4(-by * one / n - slope * mean[c]))


@kernel(tensors=4, sizes=3)
def activate(p):
    """x [n,C], scale [C], shift [C], y [n,C], n, C, kind: y = f(scale x + shift)."""
    a = carray(p, (7,))
    n, C, kind = a[4], a[5], a[6]
    x, scale, shift, y = _maps(a[0]), _floats(a[1]), _floats(a[2]), _maps(a[3])
    t, T = _thread(), _threads()
    for i in range(t * n // T, (t + 1) * n // T):
        o = i * C
        if kind == 1:
            for c in range(C):
                z = look(x, o + c) * get(scale, c) + get(shift, c)
                set0(y, o + c, max(z, f4(0)))
        elif kind == 2:
            for c in range(C):
                z = look(x, o + c) * get(scale, c) + get(shift, c)
                tail = _tail(z, f4(0.3989422804) * _exp(f4(-0.5) * z * z))
                set0(y, o + c, z * (f4(1) - tail if z > 0 else tail))
        else:
            for c in range(C):
                set0(y, o + c, look(x, o + c) * get(scale, c) + get(shift, c))


@kernel(tensors=5, sizes=5)
def pool(p):
    """x [B,H,W,C], scale, shift [C], y [B,H//2,W//2,C], place uint8 like y, B, H, W, C, kind: y is
    the largest of each 2x2 window of f(scale x + shift), f rectifying (1) or not (0); place says
    which of the four it was, and 4 where it is cut to zero."""
    a = carray(p, (10,))
    B, H, W, C, kind = a[5], a[6], a[7], a[8], a[9]
    h, w = H // 2, W // 2
    x, scale, shift, y = _maps(a[0]), _floats(a[1]), _floats(a[2]), _maps(a[3])
    place = _bytes(a[4])
    least = f4(0) if kind == 1 else f4(-np.inf)
    t, T = _thread(), _threads()
    for row in range(t * B * h // T, (t + 1) * B * h // T):
        b, i = row // h, row % h
        for j in range(w):
            o, q = (row * w + j) * C, ((b * H + 2 * i) * W + 2 * j) * C
            r = q + W * C
            for c in range(C):
                s, d = get(scale, c), get(shift, c)
                v0, v1 = look(x, q + c) * s + d, look(x, q + C + c) * s + d
                v2, v3 = look(x, r + c) * s + d, look(x, r + C + c) * s + d
                m = max(max(v0, v1), max(v2, v3))
                k = np.int32(3)
                k = np.int32(2) if v2 == m else k
                k = np.int32(1) if v1 == m else k
                k = np.int32(0) if v0 == m else k
                k = k if m > least else np.int32(4)
                set0(y, o + c, max(m, least))
                put_byte(place, o + c, np.uint8(k))


@kernel(tensors=5, sizes=4)
def pool_sums(p):
    """g [B,h,w,C], place, x [B,H,W,C], sums float64 [T,2,C], scratch 2C, B, H, W, C -> per thread
    the sums over its rows of g and of g times the x it came from."""
    a = carray(p, (9,))
    B, H, W, C = a[5], a[6], a[7], a[8]
    h, w = H // 2, W // 2
    t, T = _thread(), _threads()
    g, place, x = _maps(a[0]), _bytes(a[1]), _maps(a[2])
    one, two = _floats(a[4] + 8 * C * t), _floats(a[4] + 8 * C * t + 4 * C)
    sums = carray(_doubles(a[3]), (T, 2, C))
    for c in range(C):
        sums[t, 0, c] = 0.0
        sums[t, 1, c] = 0.0
    for row in range(t * B * h // T, (t + 1) * B * h // T):
        b, i = row // h, row % h
        for c in range(C):
            hold0(one, c, f4(0))
            hold1(two, c, f4(0))
        for j in range(w):
            o, q = (row * w + j) * C, ((b * H + 2 * i) * W + 2 * j) * C
            r = q + W * C
            for c in range(C):
                k = np.int32(get_byte(place, o + c))
                v, v1 = look(x, q + c), look(x, q + C + c)
                v2, v3 = look(x, r + c), look(x, r + C + c)
                v = v1 if k == 1 else v
                v = v2 if k == 2 else v
                v = v3 if k == 3 else v
                d = look(g, o + c)
                d = d if k < 4 else f4(0)
                hold0(one, c, held0(one, c) + d)
                hold1(two, c, held1(two, c) + d * v)
        for c in range(C):
            sums[t, 0, c] += held0(one, c)
            sums[t, 1, c] += held1(two, c)


@kernel(tensors=7, sizes=4)
def unpool(p):
    """g [B,h,w,C], place, x, dx [B,H,W,C], u, v, r [C], B, H, W, C: dx = u (g where it came from,
    else 0) + v x + r, rows and columns left over included."""
    a = carray(p, (11,))
    B, H, W, C = a[7], a[8], a[9], a[10]
    h, w = H // 2, W // 2
    g, place, x, dx = _maps(a[0]), _bytes(a[1]), _maps(a[2]), _maps(a[3])
    u, v, r = _floats(a[4]), _floats(a[5]), _floats(a[6])
    t, T = _thread(), _threads()
    rows, zero = (H + 1) // 2, f4(0)
    for row in range(t * B * rows // T, (t + 1) * B * rows // T):
        b, i = row // rows, row % rows
        top = (b * H + 2 * i) * W * C
        if i < h:
            for j in range(w):
                o, q = ((b * h + i) * w + j) * C, top + 2 * j * C
                s = q + W * C
                for c in range(C):
                    k = np.int32(get_byte(place, o + c))
                    d, m, e = look(g, o + c) * get(u, c), get(v, c), get(r, c)
                    set0(dx, q + c, (d if k == 0 else zero) + (look(x, q + c) * m + e))
                    set1(dx, q + C + c, (d if k == 1 else zero) + (look(x, q + C + c) * m + e))
                    set2(dx, s + c, (d if k == 2 else zero) + (look(x, s + c) * m + e))
                    set3(dx, s + C + c, (d if k == 3 else zero) + (look(x, s + C + c) * m + e))
            if W % 2:
                q = top + (W - 1) * C
                s = q + W * C
                for c in range(C):
                    set0(dx, q + c, look(x, q + c) * get(v, c) + get(r, c))
                    set1(dx, s + c, look(x, s + c) * get(v, c) + get(r, c))
        else:
            for j in range(W):
                q = top + j * C
                for c in range(C):
                    set0(dx, q + c, look(x, q + c) * get(v, c) + get(r, c))


@kernel(tensors=3, sizes=4)
def unpool_plain(p):
    """g [B,h,w,C], place, dx [B,H,W,C], B, H, W, C: dx = g where it came from, else 0."""
    a = carray(p, (7,))
    B, H, W, C = a[3], a[4], a[5], a[6]
    h, w = H // 2, W // 2
    g, place, dx = _maps(a[0]), _bytes(a[1]), _maps(a[2])
    t, T = _thread(), _threads()
    rows, zero = (H + 1) // 2, f4(0)
    for row in range(t * B * rows // T, (t + 1) * B * rows // T):
        b, i = row // rows, row % rows
        top = (b * H + 2 * i) * W * C
        if i < h:
            for j in range(w):
                o, q = ((b * h + i) * w + j) * C, top + 2 * j * C
                s = q + W * C
                for c in range(C):
                    k, d = np.int32(get_byte(place, o + c)), look(g, o + c)
                    set0(dx, q + c, d if k == 0 else zero)
                    set1(dx, q + C + c, d if k == 1 else zero)
                    set2(dx, s + c, d if k == 2 else zero)
                    set3(dx, s + C + c, d if k == 3 else zero)
            if W % 2:
                q = top + (W - 1) * C
                for c in range(C):
                    set0(dx, q + c, zero)
                    set1(dx, q + W * C + c, zero)
        else:
            for c in range(W * C):
                set0(dx, top + c, zero)


@kernel(tensors=7, sizes=3)
def slopes(p):
    """g [n,C], x [n,C], scale, shift [C], d [n,C], sums float64 [T,2,C], scratch 2C, n, C, kind ->
    per thread the sums of s and of s x over its rows, where s is g times the slope of f at scale x
    + shift; d = s for GELU, whose slope is dear, and is left alone otherwise."""
    a = carray(p, (10,))
    n, C, kind = a[7], a[8], a[9]
    t, T = _thread(), _threads()
    g, x, scale, shift, d = (
        _maps(a[0]),
        _maps(a[1]),
        _floats(a[2]),
        _floats(a[3]),
        _maps(a[4]),
    )
    one, two = _floats(a[6] + 8 * C * t), _floats(a[6] + 8 * C * t + 4 * C)
    sums = carray(_doubles(a[5]), (T, 2, C))
    for c in range(C):
        sums[t, 0, c] = 0.0
        sums[t, 1, c] = 0.0
    i, end = t * n // T, (t + 1) * n // T
    while i < end:
        stop = min(i + 128, end)
        for c in range(C):
            hold0(one, c, f4(0))
            hold1(two, c, f4(0))
        for j in range(i, stop):
            o = j * C
            if kind == 1:
                for c in range(C):
                    v, s = look(x, o + c), look(g, o + c)
                    s = s if v * get(scale, c) + get(shift, c) > 0 else f4(0)
                    hold0(one, c, held0(one, c) + s)
                    hold1(two, c, held1(two, c) + s * v)
            elif kind == 2:
                for c in range(C):
                    v = look(x, o + c)
                    z = v * get(scale, c) + get(shift, c)
                    e = f4(0.3989422804) * _exp(f4(-0.5) * z * z)
                    tail = _tail(z, e)
                    s = look(g, o + c) * ((f4(1) - tail if z > 0 else tail) + z * e)
                    set2(d, o + c, s)
                    hold0(one, c, held0(one, c) + s)
                    hold1(two, c, held1(two, c) + s * v)
            else:
                for c in range(C):
                    s = look(g, o + c)
                    hold0(one, c, held0(one, c) + s)
                    hold1(two, c, held1(two, c) + s * look(x, o + c))
        for c in range(C):
            sums[t, 0, c] += held0(one, c)
            sums[t, 1, c] += held1(two, c)
        i = stop


@kernel(tensors=7, sizes=3)
def combine(p):
    """g [n,C], x [n,C], u, shift, v, r [C], out [n,C], n, C, kind: out = u g + v x + r, with zero
    for g where u x + shift is cut off by f if that rectifies (1); out may be g."""
    a = carray(p, (10,))
    n, C, kind = a[7], a[8], a[9]
    g, x, out = _maps(a[0]), _maps(a[1]), _maps(a[6])
    u, shift, v, r = _floats(a[2]), _floats(a[3]), _floats(a[4]), _floats(a[5])
    t, T = _thread(), _threads()
    for i in range(t * n // T, (t + 1) * n // T):
        o = i * C
        if kind == 1:
            for c in range(C):
                z, by = look(x, o + c), get(u, c)
                s = look(g, o + c) * by
                s = s if z * by + get(shift, c) > 0 else f4(0)
                set0(out, o + c, s + (z * get(v, c) + get(r, c)))
        else:
            for c in range(C):
                s = look(g, o + c) * get(u, c)
                set0(out, o + c, s + (look(x, o + c) * get(v, c) + get(r, c)))


@kernel(tensors=2, sizes=11)
def patches(p):
    """x [B,H,W,C], out [B*h*w,k*l*C], B, H, W, C, k, l, top, left, stride, h, w: each window as a
    row, zeros beyond the edge."""
    a = carray(p, (13,))
    B, H, W, C, k, l = a[2], a[3], a[4], a[5], a[6], a[7]
    top, left, stride, h, w = a[8], a[9], a[10], a[11], a[12]
    x, out = _maps(a[0]), _maps(a[1])
    t, T = _thread(), _threads()
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
                        set0(out, o + e, f4(0))
                elif start >= 0 and start + length <= line:
                    for e in range(length):
                        set0(out, o + e, look(x, q + e))
                else:
                    for e in range(length):
                        inside = start + e >= 0 and start + e < line
                        set0(out, o + e, look(x, q + e) if inside else f4(0))


@kernel(tensors=3, sizes=10)
def tiles_in(p):
    """x [B,H,W,C], V [36,n*th*tw,C], scratch 72C, H, W, C, first, n, th, tw, m, top, left: the 6x6
    tiles of images first..first+n, m apart, as B'dB (Lavin & Gray 2016, sec. 4.1, for 6 points)."""
    a = carray(p, (13,))
    H, W, C, first, n, th, tw = a[3], a[4], a[5], a[6], a[7], a[8], a[9]
    m, top, left = a[10], a[11], a[12]
    t, T = _thread(), _threads()
    x, V = _floats(a[0]), _floats(a[1])
    d, f = _floats(a[2] + 288 * C * t), _floats(a[2] + 288 * C * t + 144 * C)
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
                            hold0(d, o + c, get(x, q + c))
                    else:
                        for c in range(C):
                            hold0(d, o + c, f4(0))
            for s in range(6):
                o = s * C
                for c in range(C):
                    k = o + c
                    d0, d1, d2 = held0(d, k), held0(d, k + 6 * C), held0(d, k + 12 * C)
                    d3, d4 = held0(d, k + 18 * C), held0(d, k + 24 * C)
                    d5 = held0(d, k + 30 * C)
                    e, u = d4 - four * d2, d3 - four * d1
                    v, q = d4 - d2, two * (d3 - d1)
                    keep0(f, k, four * d0 - five * d2 + d4)
                    keep1(f, k + 6 * C, e + u)
                    keep2(f, k + 12 * C, e - u)
                    keep3(f, k + 18 * C, v + q)
                    keep4(f, k + 24 * C, v - q)
                    keep5(f, k + 30 * C, four * d1 - five * d3 + d5)
            g = (row * tw + j) * C
            for r in range(6):
                o, w = 6 * r * C, 6 * r * plane + g
                for c in range(C):
                    k = o + c
                    d0, d1, d2 = kept(f, k), kept(f, k + C), kept(f, k + 2 * C)
                    d3, d4, d5 = kept(f, k + 3 * C), kept(f, k + 4 * C), kept(f, k + 5 * C)
                    e, u = d4 - four * d2, d3 - four * d1
                    v, q = d4 - d2, two * (d3 - d1)
                    put0(V, w + c, four * d0 - five * d2 + d4)
                    put1(V, w + plane + c, e + u)
                    put2(V, w + 2 * plane + c, e - u)
                    put3(V, w + 3 * plane + c, v + q)
                    put4(V, w + 4 * plane + c, v - q)
                    put5(V, w + 5 * plane + c, four * d1 - five * d3 + d5)


@inline
def _four(d0, d1, d2, d3, d4, d5, bias):
    """A' for outputs of four."""
    e, o, f, q = d1 + d2, d1 - d2, d3 + d4, d3 - d4
    return (
        d0 + e + f + bias,
        o + f4(2) * q + bias,
        e + f4(4) * f + bias,
        o + f4(8) * q + d5 + bias,
    )


@kernel(tensors=4, sizes=8)
def tiles_out(p):
    """M [36,n*th*tw,K], y [B,H,W,K], bias [K], scratch 28K, H, W, K, first, n, th, tw, m: y = A'MA
    + bias for images first..first+n; m is 4 (3x3 kernels) or 2 (5x5)."""
    a = carray(p, (12,))
    H, W, K, first, n, th, tw, m = a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11]
    t, T = _thread(), _threads()
    M, y, bias = _floats(a[0]), _floats(a[1]), _floats(a[2])
    d, out = _floats(a[3] + 112 * K * t), _floats(a[3] + 112 * K * t + 96 * K)
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
                    m0, m1 = get(M, k), get(M, k + 6 * plane)
                    m2, m3 = get(M, k + 12 * plane), get(M, k + 18 * plane)
                    m4, m5 = get(M, k + 24 * plane), get(M, k + 30 * plane)
                    if m == 4:
                        r0, r1, r2, r3 = _four(m0, m1, m2, m3, m4, m5, zero)
                        keep0(d, o + c, r0)
                        keep1(d, o + 6 * K + c, r1)
                        keep2(d, o + 12 * K + c, r2)
                        keep3(d, o + 18 * K + c, r3)
                    else:
                        keep0(d, o + c, m0 + (m1 + m2) + (m3 + m4))
                        keep1(d, o + 6 * K + c, (m1 - m2) + two * (m3 - m4) + m5)
            for r in range(min(m, H - i * m)):
                o, wide = 6 * r * K, min(m, W - j * m)
                q = ((b * H + i * m + r) * W + j * m) * K
                for c in range(K):
                    k, e = o + c, get(bias, c)
                    m0, m1, m2 = kept(d, k), kept(d, k + K), kept(d, k + 2 * K)
                    m3, m4, m5 = kept(d, k + 3 * K), kept(d, k + 4 * K), kept(d, k + 5 * K)
                    if m == 4:
                        r0, r1, r2, r3 = _four(m0, m1, m2, m3, m4, m5, e)
                        hold0(out, c, r0)
                        hold1(out, K + c, r1)
                        hold2(out, 2 * K + c, r2)
                        hold3(out, 3 * K + c, r3)
                    else:
                        hold0(out, c, m0 + (m1 + m2) + (m3 + m4) + e)
                        hold1(out, K + c, (m1 - m2) + two * (m3 - m4) + m5 + e)
                for c in range(wide * K):
                    put0(y, q + c, held(out, c))


@kernel(tensors=3, sizes=8)
def tiles_slope(p):
    """g [B,H,W,K], D [36,n*th*tw,K], scratch 40K, H, W, K, first, n, th, tw, m: D = AgA' for images
    first..first+n, the transpose of `tiles_out`."""
    a = carray(p, (11,))
    H, W, K, first, n, th, tw, m = a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10]
    t, T = _thread(), _threads()
    g, D = _floats(a[0]), _floats(a[1])
    d, e = _floats(a[2] + 160 * K * t), _floats(a[2] + 160 * K * t + 64 * K)
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
                            hold0(d, o + c, get(g, q + c))
                    else:
                        for c in range(K):
                            hold0(d, o + c, zero)
            for s in range(4):
                for c in range(K):
                    k = s * K + c
                    d0, d1 = held0(d, k), held0(d, k + 4 * K)
                    d2, d3 = held0(d, k + 8 * K), held0(d, k + 12 * K)
                    u, v = d0 + d2, d1 + d3
                    q, w = d0 + four * d2, two * d1 + eight * d3
                    last = d3 if m == 4 else d1
                    keep0(e, k, d0)
                    keep1(e, k + 4 * K, u + v)
                    keep2(e, k + 8 * K, u - v)
                    keep3(e, k + 12 * K, q + w)
                    keep4(e, k + 16 * K, q - w)
                    keep5(e, k + 20 * K, last)
            f = (row * tw + j) * K
            for r in range(6):
                o, x = 4 * r * K, 6 * r * plane + f
                for c in range(K):
                    k = o + c
                    d0, d1 = kept(e, k), kept(e, k + K)
                    d2, d3 = kept(e, k + 2 * K), kept(e, k + 3 * K)
                    u, v = d0 + d2, d1 + d3
                    q, w = d0 + four * d2, two * d1 + eight * d3
                    last = d3 if m == 4 else d1
                    put0(D, x + c, d0)
                    put1(D, x + plane + c, u + v)
                    put2(D, x + 2 * plane + c, u - v)
                    put3(D, x + 3 * plane + c, q + w)
                    put4(D, x + 4 * plane + c, q - w)
                    put5(D, x + 5 * plane + c, last)


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
def drop(p):
    """x, y [n], scale [1], n, seed, least, kind: y is scale f(x) where the sixteen random bits of
    its place are at least `least` (of 2**16), else 0; f rectifies (1) or not (0)."""
    a = carray(p, (7,))
    n, seed, least = a[3], np.uint32(a[4]), np.uint32(a[5])
    x, y = _maps(a[0]), _maps(a[1])
    scale, floor = get(_floats(a[2]), 0), f4(0) if a[6] == 1 else f4(-np.inf)
    t, T = _thread(), _threads()
    m = n // 2  # the two halves share the bits of a place; the last of an odd number has its own
    for i in range(t * m // T, (t + 1) * m // T):
        bits = _bits(i, seed)
        u = look(x, i)
        v = scale if u > floor else f4(0)
        set0(y, i, u * (v * f4((bits & np.uint32(0xFFFF)) >= least)))
        u = look(x, m + i)
        v = scale if u > floor else f4(0)
        set1(y, m + i, u * (v * f4((bits >> np.uint32(16)) >= least)))
    if t == 0 and n % 2:
        u = look(x, n - 1)
        v = scale if u > floor else f4(0)
        set0(y, n - 1, u * (v * f4((_bits(n - 1, seed) >> np.uint32(16)) >= least)))


@kernel(tensors=4, sizes=4)
def drop_slope(p):
    """g, x, dx [n], scale [1], n, seed, least, kind: the gradient of `drop`'s x from that of its
    y."""
    a = carray(p, (8,))
    n, seed, least = a[4], np.uint32(a[5]), np.uint32(a[6])
    g, x, dx = _maps(a[0]), _maps(a[1]), _maps(a[2])
    scale, floor = get(_floats(a[3]), 0), f4(0) if a[7] == 1 else f4(-np.inf)
    t, T = _thread(), _threads()
    m = n // 2
    for i in range(t * m // T, (t + 1) * m // T):
        bits = _bits(i, seed)
        v = scale if look(x, i) > floor else f4(0)
        set0(dx, i, look(g, i) * (v * f4((bits & np.uint32(0xFFFF)) >= least)))
        v = scale if look(x, m + i) > floor else f4(0)
        set1(dx, m + i, look(g, m + i) * (v * f4((bits >> np.uint32(16)) >= least)))
    if t == 0 and n % 2:
        v = scale if look(x, n - 1) > floor else f4(0)
        keep = f4((_bits(n - 1, seed) >> np.uint32(16)) >= least)
        set0(dx, n - 1, look(g, n - 1) * (v * keep))


@kernel(tensors=4, sizes=2)
def standardise(p):
    """y [n,C], x float32 [n,C], scale, shift [C], n, C: y = scale x + shift."""
    a = carray(p, (6,))
    n, C = a[4], a[5]
    y, x, scale, shift = _maps(a[0]), _floats(a[1]), _floats(a[2]), _floats(a[3])
    t, T = _thread(), _threads()
    for i in range(t * n // T, (t + 1) * n // T):
        o = i * C
        for c in range(C):
            set0(y, o + c, get(x, o + c) * get(scale, c) + get(shift, c))


# A row of these kernels' table is a parameter: the addresses of its weights, gradient and two
# moments, that of its bfloat16 copy, and how many numbers it has. With a copy, the gradient is
# bfloat16 too; without one (0) both are float32.


@inline
def _fall(w, wide, narrow, v, copy, i, end, rate, momentum, decay, one, two, half, moves):
    """Numbers i to end of `sgd`; each call, its last two arguments known, is a loop of its own."""
    for k in range(i, end):
        g = look_half(narrow, k) if half else get(wide, k)
        z = get(w, k)
        g += decay * z
        u = momentum * get(v, k) + g if moves else g
        if moves:
            put1(v, k, u)
        z += rate * (one * u + two * g)
        put0(w, k, z)
        if half:
            set_half(copy, k, z)


@kernel(tensors=2, sizes=1)
def sgd(p):
    """table int64 [P,6], constants float64 [lr, momentum, share of the velocity, share of the
    gradient, weight decay of each], P: a step of SGD, v = momentum v + g, w -= lr (share v + share
    g); the first moment is the velocity v, address 0 without momentum."""
    a = carray(p, (3,))
    table, by = carray(_words(a[0]), (a[2], 6)), carray(_doubles(a[1]), (4 + a[2],))
    rate, momentum, one, two = f4(-by[0]), f4(by[1]), f4(by[2]), f4(by[3])
    t, T = _thread(), _threads()
    for k in range(a[2]):
        n = table[k, 5]
        w, v, copy = _floats(table[k, 0]), _floats(table[k, 2]), _halves(table[k, 4])
        wide, narrow, half = _floats(table[k, 1]), _halves(table[k, 1]), table[k, 4] != 0
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
    table, by = carray(_words(a[0]), (a[2], 6)), carray(_doubles(a[1]), (7 + a[2],))
    one, two, tiny = f4(by[1]), f4(by[2]), f4(by[3])
    first, second = f4(1.0 - by[1]), f4(1.0 - by[2])
    size, root = f4(by[0] / by[5]), f4(np.sqrt(by[6]))
    t, T = _thread(), _threads()
    for k in range(a[2]):
        n = table[k, 5]
        w, m, v = _floats(table[k, 0]), _floats(table[k, 2]), _floats(table[k, 3])
        wide, narrow, copy = _floats(table[k, 1]), _halves(table[k, 1]), _halves(table[k, 4])
        half = table[k, 4] != 0
        coupled = f4(0) if by[4] != 0 else f4(by[7 + k])
        shrink = f4(1.0 - by[0] * by[7 + k]) if by[4] != 0 else f4(1)
        for i in range(t * n // T, (t + 1) * n // T):
            g = look_half(narrow, i) if half else get(wide, i)
            z = get(w, i)
            g += coupled * z
            z *= shrink
            x = one * get(m, i) + first * g
            y = two * get(v, i) + second * g * g
            put1(m, i, x)
            put2(v, i, y)
            z -= size * x / (np.sqrt(y) / root + tiny)
            put0(w, i, z)
            if half:
                set_half(copy, i, z)
