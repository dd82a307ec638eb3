"""What a kernel is made of: how it reads and writes memory, is compiled, kept, and run.

Inside a kernel memory is read and written through plain addresses: ``load`` and ``store0`` ... take
maps, which are float32 or bfloat16 and float32 in between, so that each kernel exists in two
versions; ``load_f`` and ``store_f0`` ... take float32, ``_half`` bfloat16. What these load no
kernel stores; ``store_s0`` ... and ``store_l0`` ... write two kinds of a thread's own scratch,
which ``load_s`` and ``load_l`` read again. Each tells the compiler that it lies apart from all the
others, without which it would check so for every few channels, or not use vectors at all.

A kernel is compiled by numba on its first use on a machine, a second or two. The machine code is
kept, and loaded from then on by LLVM alone: numba's own cache would first set up its compiler,
which takes 0.2 s and 54 MB (measured 2026-11-25).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import struct
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope import files
from convscope.kernels import toolchain
from convscope.kernels.toolchain import intrinsic, ir, njit, types

carray = toolchain.carray
EXACT = {"contract", "nsz", "arcp"}  # what the compiler may assume: infinity and NaN do occur


class Kernel:
    """A function of a table of int64, compiled when it is first called and run on every thread.

    Its first tensor says whether maps are float32 or bfloat16: one version each.
    """

    def __init__(self, function: Callable[..., None], tensors: int, sizes: int) -> None:
        self.function, self.tensors = function, tensors
        self.expected = (True,) * tensors + (False,) * sizes
        self.versions: dict[bool, tuple[int, Any]] = {}  # address, and what it lives in
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Tensor | int) -> None:
        """Run with the tensors' addresses, then the sizes."""
        assert tuple(isinstance(a, Tensor) for a in arguments) == self.expected, self.__name__
        half = arguments[0].dtype is torch.bfloat16
        address, _ = self.versions.get(half) or self._version(half)
        tensors = self.tensors
        table = (ctypes.c_int64 * len(arguments))(
            *[a.data_ptr() for a in arguments[:tensors]], *arguments[tensors:]
        )
        toolchain.openmp().GOMP_parallel(address, table, torch.get_num_threads(), 0)

    def _version(self, half: bool) -> tuple[int, Any]:
        toolchain.openmp()  # its symbols are what kernels are linked with
        name, plain = self.__name__, self.function
        if half:
            name = f"{name}-bf16"
            plain = FunctionType(plain.__code__, {**plain.__globals__, **HALF}, plain.__name__)
        self.versions[half] = code(plain, name)
        return self.versions[half]


def code(
    function: Callable[[Any], None], name: str, fastmath: bool | set[str] = EXACT
) -> tuple[int, Any]:
    """The address of a function of a table of int64, compiled, and what it lives in.

    It is kept under this name, and taken from there where it is not damaged.
    """
    kept = None
    with contextlib.suppress(Exception):  # what keeps it may change: nothing is kept then
        kept = toolchain.folder() / f"{name}.o"
        return _load(kept.read_bytes())
    address, made = toolchain.compiled(function, fastmath)
    with contextlib.suppress(Exception):
        if kept is not None:
            files.write_whole(kept, _sealed(toolchain.machine_code(made)))
    return address, made


def _sealed(named: bytes) -> bytes:
    """Bytes behind their SHA-256."""
    return hashlib.sha256(named).digest() + named


def _load(kept: bytes) -> tuple[int, Any]:
    """The address of kept machine code, and the engine that it lives in.

    Raises ValueError for what is damaged, or linked with what is not there.
    """
    named = kept[32:]
    if kept != _sealed(named):  # LLVM ends the process over a damaged object
        raise ValueError("damaged")
    name, _, content = named.partition(b"\0")
    try:
        held = toolchain.sections(content)
    except RuntimeError as why:
        raise ValueError(f"no object file ({why})") from None
    for missing in _undefined(held):
        if not toolchain.there(missing):
            raise ValueError(f"{missing} is not in this process")
    address, engine = toolchain.loaded(content, name.decode(errors="replace"))
    if not address:
        raise ValueError("the function is not in it")
    return address, engine


def _undefined(sections: dict[Any, bytes]) -> list[str]:
    """The names that an ELF file of 64 bits takes from elsewhere. Raises ValueError."""
    named = {(k.decode() if isinstance(k, bytes) else k): v for k, v in sections.items()}
    table, strings = named.get(".symtab", b""), named.get(".strtab", b"")
    if not table or len(table) % 24:
        raise ValueError("no table of symbols")
    found = []
    for name, _, _, section, _, _ in struct.iter_unpack("<IBBHQQ", table):
        if name and not section:
            found.append(strings[name : strings.index(b"\0", name)].decode())
    return found


def kernel(tensors: int, sizes: int) -> Callable[[Callable[..., None]], Kernel]:
    """Make a kernel of a function of a table of so many tensors' addresses and so many sizes."""
    return functools.partial(Kernel, tensors=tensors, sizes=sizes)


READY = not toolchain.MISSING
if READY:
    thread = types.ExternalFunction("omp_get_thread_num", types.int32())
    threads = types.ExternalFunction("omp_get_num_threads", types.int32())
    barrier = types.ExternalFunction("GOMP_barrier", types.void())

    def pointer_to(kind: Any) -> Any:
        """A function in kernels that takes an address for a pointer to numbers of that kind."""

        @intrinsic
        def pointer(context: Any, address: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

            return types.CPointer(kind)(types.int64), generate

        return pointer

    floats, octets, doubles = map(pointer_to, (types.float32, types.uint8, types.float64))
    maps, halves, words = floats, pointer_to(types.uint16), pointer_to(types.int64)

    @intrinsic
    def float_of_bits(context: Any, bits: Any) -> Any:
        """The float32 that these 32 bits are."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], ir.FloatType())

        return types.float32(types.int32), generate

    _SCOPES = 16

    def _scopes(builder: Any, chosen: Any) -> Any:
        """The alias scopes of LLVM's language reference, one for each ``store``."""
        module = builder.module
        domain = module.add_metadata([ir.MetaDataString(module, "convscope")])
        return module.add_metadata(
            [module.add_metadata([ir.MetaDataString(module, f"store {i}"), domain]) for i in chosen]
        )

    def _loader(kind: Any, *own: int, half: bool = False) -> Any:
        """Reads the number at an index; one that these ``store`` may have written."""
        stored = types.uint16 if half else kind
        others = [i for i in range(_SCOPES) if i not in own]

        @intrinsic
        def load(context: Any, pointer: Any, index: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                value = builder.load(builder.gep(arguments[0], [arguments[1]]))
                value.set_metadata("noalias", _scopes(builder, others))
                return _widened(builder, value) if half else value

            return kind(types.CPointer(stored), types.int64), generate

        return load

    def _storer(kind: Any, own: int, half: bool = False) -> Any:
        """Writes a number at an index, apart from every other ``store``."""
        stored = types.uint16 if half else kind
        others = [i for i in range(_SCOPES) if i != own]

        @intrinsic
        def store(context: Any, pointer: Any, index: Any, value: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                value = _rounded(builder, arguments[2]) if half else arguments[2]
                made = builder.store(value, builder.gep(arguments[0], [arguments[1]]))
                made.set_metadata("alias.scope", _scopes(builder, [own]))
                made.set_metadata("noalias", _scopes(builder, others))
                return context.get_dummy_value()

            return types.void(types.CPointer(stored), types.int64, kind), generate

        return store

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

    stores = [_storer(types.float32, i) for i in range(_SCOPES)]  # never of the same place
    load_f, load_byte = _loader(types.float32), _loader(types.uint8)
    store_f0, store_f1, store_f2, store_f3, store_f4, store_f5 = stores[:6]
    store_byte = _storer(types.uint8, 1)
    load, store0, store1, store2, store3 = load_f, store_f0, store_f1, store_f2, store_f3
    load_half, store_half = _loader(types.float32, half=True), _storer(types.float32, 3, half=True)
    HALF = {f"store{i}": _storer(types.float32, i, half=True) for i in range(4)}
    HALF |= {"load": _loader(types.float32, half=True), "maps": halves}
    store_s0, store_s1, store_s2, store_s3, store_s4, store_s5 = stores[6:12]
    load_s = _loader(types.float32, *range(6, 12))
    store_l0, store_l1, store_l2, store_l3 = stores[12:]
    load_l0, load_l1 = _loader(types.float32, 12), _loader(types.float32, 13)
    load_l = _loader(types.float32, *range(12, 16))
    inline = njit(fastmath=EXACT, error_model="numpy", inline="always")
else:  # names that kernels hold, and do not use before they are compiled
    thread = threads = barrier = None
    floats = octets = doubles = maps = halves = words = float_of_bits = None
    load_f = load_byte = load = load_half = store_byte = store_half = None
    store_f0 = store_f1 = store_f2 = store_f3 = store_f4 = store_f5 = None
    store0 = store1 = store2 = store3 = load_s = load_l = load_l0 = load_l1 = None
    store_s0 = store_s1 = store_s2 = store_s3 = store_s4 = store_s5 = None
    store_l0 = store_l1 = store_l2 = store_l3 = None
    HALF = {}

    def inline(function: Callable[..., Any]) -> Callable[..., Any]:
        return function


f4 = np.float32


def scratch(size: int) -> Tensor:
    """Room for ``size`` float32 a thread."""
    return torch.empty(torch.get_num_threads(), size)
