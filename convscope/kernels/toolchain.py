"""numba, LLVM and OpenMP, as far as kernels need them: every name of theirs that is used is here.

Some of these names are not public, and any may go with another version. What must be there is
looked for when this module is imported, which never fails: without it :data:`MISSING` says what is
missing, and there are no kernels. What only keeps machine code from run to run is looked for when
it is needed; without it kernels are compiled anew in each process.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from convscope import files, machine

NUMBA = "numba is not installed"
NEEDED = (
    *("numba.njit", "numba.cfunc", "numba.carray", "numba.extending.intrinsic"),
    *("numba.types.ExternalFunction", "numba.types.CPointer", "numba.types.void"),
    *("numba.core.cgutils.alloca_once", "numba.core.cgutils.alloca_once_value"),
    *("numba.core.cgutils.for_range", "numba.core.cgutils.get_or_insert_function"),
    *("llvmlite.ir.IntType", "llvmlite.ir.FloatType", "llvmlite.ir.VectorType"),
    *("llvmlite.ir.Constant", "llvmlite.ir.Undefined", "llvmlite.ir.MetaDataString"),
    "llvmlite.binding.add_symbol",
)
# What the compiled code takes from elsewhere: a thread's number, how many, where they meet.
OPENMP = ("omp_get_thread_num", "omp_get_num_threads", "GOMP_barrier")


def _missing() -> str:
    """Which of the names that must be there is not, in words; empty where all are."""
    try:
        importlib.import_module("numba")
    except ModuleNotFoundError as why:
        return NUMBA if why.name == "numba" else f"numba cannot be imported ({why})"
    except Exception as why:  # of another Python, NumPy or LLVM than it was made for
        return f"numba cannot be imported ({type(why).__name__}: {why})"
    for name in NEEDED:
        module, _, attribute = name.rpartition(".")
        try:
            getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            return f"{name} is not there"
    return ""


MISSING = _missing()
ir = types = cgutils = carray = njit = None


def intrinsic(function: Any) -> Any:
    """What kernels are made of; nothing without numba."""


if not MISSING:
    import llvmlite.ir
    import numba.core.cgutils
    import numba.extending
    from llvmlite import binding

    ir, types, cgutils = llvmlite.ir, numba.types, numba.core.cgutils
    carray, njit, intrinsic = numba.carray, numba.njit, numba.extending.intrinsic

    with contextlib.suppress(Exception):
        # Loops over 16 channels are too short for more than eight numbers at a time. Without these
        # two, kernels are right and slower.
        binding.set_option("convscope", "-force-vector-interleave=1")
        binding.set_option("convscope", "-force-vector-width=8")


def compiled(function: Callable[[Any], None], fastmath: bool | set[str]) -> tuple[int, Any]:
    """The address of a function of a table of int64, and what it lives in."""
    signature = types.void(types.CPointer(types.int64))
    with machine.muted():  # LLVM remarks on every loop that is none for vectors
        made = numba.cfunc(signature, fastmath=fastmath, error_model="numpy")(function)
    return made.address, made


def machine_code(made: Any) -> bytes:
    """The name and the object file of what :func:`compiled` gave, by numba's own insides. Raises
    whatever these raise."""
    _, _, (content, _) = made._library.serialize_using_object_code()
    return made.native_name.encode() + b"\0" + content


@functools.cache
def versions() -> str:
    """What machine code depends on: the processor and the versions of what made it."""
    host = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    return repr((numba.__version__, llvmlite.__version__, sys.version, *host))


@functools.cache
def instructions() -> frozenset[str]:
    """What the processor can do, by LLVM's names; nothing where LLVM does not tell."""
    with contextlib.suppress(Exception):
        return frozenset(name for name, has in binding.get_host_cpu_features().items() if has)
    return frozenset()


@functools.cache
def folder() -> Path:
    """Where machine code is kept for this processor, these versions and these sources. Raises what
    LLVM raises where it does not know the processor."""
    found = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        found.update(source.read_bytes())
    found.update(versions().encode())
    return files.cache_root() / "kernels" / found.hexdigest()[:16]


@functools.cache
def _loader_ready() -> None:
    """Set LLVM up to load machine code without numba, which names a function of its own in all that
    it makes."""
    from numba.core.runtime import _nrt_python

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.add_symbol("NRT_MemInfo_call_dtor", _nrt_python.c_helpers["MemInfo_call_dtor"])


def sections(content: bytes) -> dict[Any, bytes]:
    """The sections of an object file. Raises RuntimeError where it is none."""
    return {s.name(): s.data() for s in binding.ObjectFileRef.from_data(content).sections()}


def there(symbol: str) -> bool:
    """Whether machine code finds this name in the process."""
    _loader_ready()
    return binding.address_of_symbol(symbol) is not None


def loaded(content: bytes, name: str) -> tuple[int, Any]:
    """The address of a function in an object file, 0 where it is not in it, and the engine that it
    lives in."""
    _loader_ready()
    target = binding.Target.from_default_triple().create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target)
    engine.add_object_file(binding.ObjectFileRef.from_data(content))
    engine.finalize_object()
    return engine.get_function_address(name), engine


def _in_process() -> list[str]:
    """The files of GNU OpenMP that are in this process. Raises OSError."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    paths = (line.split(maxsplit=5)[5] for line in lines if "/" in line)
    return sorted({path for path in paths if Path(path).name.startswith("libgomp")})


def _is_torchs(library: Any) -> bool:
    """Whether PyTorch runs on it: how many threads PyTorch is told to use, it knows."""
    before = torch.get_num_threads()
    try:
        for count in (before + 1, before + 2):
            torch.set_num_threads(count)
            if library.omp_get_max_threads() != count:
                return False
        return True
    finally:
        torch.set_num_threads(before)


@functools.cache
def openmp() -> Any:
    """The GNU OpenMP that PyTorch runs on; compiled code is linked with it and no other.

    Two in one process would have a pool of threads each, and fight over the cores. Raises OSError,
    with the reason, where PyTorch runs on none that is found.
    """
    if sys.platform != "linux":
        raise OSError("GNU OpenMP is looked for on Linux only")
    for path in _in_process():
        library = ctypes.CDLL(path)
        if _is_torchs(library):
            library.GOMP_parallel.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_uint] * 2
            for name in OPENMP:
                binding.add_symbol(name, ctypes.cast(library[name], ctypes.c_void_p).value)
            return library
    found = ", ".join(_in_process()) or "none"
    raise OSError(f"PyTorch does not run on a GNU OpenMP of this process (found: {found})")
