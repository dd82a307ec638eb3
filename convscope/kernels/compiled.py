"""What a kernel is made of: how it reads and writes memory, is compiled, kept, and run.

Inside a kernel memory is read and written through plain addresses: ``look`` and ``set0`` ... read
and write maps, which are float32 or bfloat16 and float32 in between, so that each kernel exists in
two versions; ``get`` and ``put0`` ... read and write float32. What ``look`` and ``get`` read no
kernel writes; ``keep0`` ... and ``hold0`` ... write a thread's own scratch, and ``kept`` and
``held`` read that again. Each tells the compiler that it lies apart from all the others, without
which it would check so for every few channels, or not use vectors at all.

A kernel is compiled by numba on its first use on a machine, a second or two. The machine code is
kept, and loaded from then on by LLVM alone: numba's own cache would first set up its compiler,
which takes 0.2 s and 54 MB (measured 2026-11-25).
"""

# Kernels are loops over plain numbers: their many arguments and branches are unrolled on purpose.
# mypy: ignore-errors

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope import files, machine

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
        _openmp().GOMP_parallel(address, table, torch.get_num_threads(), 0)

    def _version(self, half: bool) -> tuple[int, Any]:
        _openmp()  # its symbols are what kernels are linked with
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
    kept = _folder() / f"{name}.o"
    try:
        return _load(kept.read_bytes())
    except (OSError, ValueError):
        signature = types.void(types.CPointer(types.int64))
        with machine.muted():  # LLVM remarks on every loop that is none for vectors
            made = numba.cfunc(signature, fastmath=fastmath, error_model="numpy")(function)
        with contextlib.suppress(Exception):  # numba's insides may change: nothing is kept then
            _, _, (content, _) = made._library.serialize_using_object_code()
            files.write_whole(kept, _sealed(made.native_name.encode() + b"\0" + content))
        return made.address, made


@functools.cache
def _folder() -> Path:
    """Where machine code is kept for this processor, these versions and these sources."""
    found = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        found.update(source.read_bytes())
    host = llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten()
    versions = numba.__version__, llvmlite.__version__, sys.version, *host
    found.update(repr(versions).encode())
    return files.cache_root() / "kernels" / found.hexdigest()[:16]


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
        held = llvmlite.binding.ObjectFileRef.from_data(content)
        sections = {section.name(): section.data() for section in held.sections()}
    except RuntimeError as why:
        raise ValueError(f"no object file ({why})") from None
    for missing in _undefined(sections):
        if llvmlite.binding.address_of_symbol(missing) is None:
            raise ValueError(f"{missing} is not in this process")
    target = llvmlite.binding.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvmlite.binding.create_mcjit_compiler(llvmlite.binding.parse_assembly(""), target)
    engine.add_object_file(held)
    engine.finalize_object()
    address = engine.get_function_address(name.decode(errors="replace"))
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


try:
    import llvmlite.binding
    import numba
    from llvmlite import ir
    from numba import carray, njit, types
    from numba.core.runtime import _nrt_python
    from numba.extending import intrinsic

    llvmlite.binding.initialize_native_target()
    llvmlite.binding.initialize_native_asmprinter()
    llvmlite.binding.add_symbol(  # which numba names in all that it makes
        "NRT_MemInfo_call_dtor", _nrt_python.c_helpers["MemInfo_call_dtor"]
    )
    # Loops over 16 channels are too short for more than eight numbers at a time.
    llvmlite.binding.set_option("convscope", "-force-vector-interleave=1")
    llvmlite.binding.set_option("convscope", "-force-vector-width=8")

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
    HALF |= {"look": _getter(types.float32, half=True), "maps": halves}
    keep0, keep1, keep2, keep3, keep4, keep5 = (_putter(types.float32, i) for i in range(6, 12))
    kept = _getter(types.float32, *range(6, 12))
    hold0, hold1, hold2, hold3 = (_putter(types.float32, i) for i in range(12, 16))
    held0, held1 = _getter(types.float32, 12), _getter(types.float32, 13)
    held = _getter(types.float32, *range(12, 16))
    READY = True
    inline = njit(fastmath=EXACT, error_model="numpy", inline="always")
except ImportError:  # pragma: no cover
    READY = False
    carray = thread = threads = barrier = None
    floats = octets = doubles = maps = halves = words = float_of_bits = None
    get = get_byte = look = look_half = put_byte = set_half = None
    put0 = put1 = put2 = put3 = put4 = put5 = set0 = set1 = set2 = set3 = None
    keep0 = keep1 = keep2 = keep3 = keep4 = keep5 = kept = None
    hold0 = hold1 = hold2 = hold3 = held = held0 = held1 = None
    HALF = {}

    def inline(function: Callable[..., Any]) -> Callable[..., Any]:
        return function


f4 = np.float32


def scratch(size: int) -> Tensor:
    """Room for ``size`` float32 a thread."""
    return torch.empty(torch.get_num_threads(), size)
