"""numba and LLVM may change: whatever of theirs is taken away, the package is imported, and kernels
are not available, or merely not kept."""

from __future__ import annotations

import ctypes
import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from convscope import kernels
from convscope.kernels import compiled, toolchain
from convscope.kernels.compiled import carray

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no kernels on this machine")


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """What is looked for once a process is looked for again, before and after."""

    def forget() -> None:
        for known in (kernels.why_not, toolchain.openmp, toolchain._loader_ready):
            known.cache_clear()
        for known in (toolchain.folder, toolchain.versions):
            known.cache_clear()

    forget()
    yield
    forget()


def holder(name: str) -> tuple[Any, str]:
    """The module or class that a dotted name is looked up in, and its last part."""
    path, _, last = name.rpartition(".")
    try:
        return importlib.import_module(path), last
    except ImportError:  # a class
        around, _, inner = path.rpartition(".")
        return getattr(importlib.import_module(around), inner), last


@pytest.mark.parametrize("name", toolchain.NEEDED)
def test_a_name_that_is_needed_and_not_there_is_named(name, monkeypatch):
    assert toolchain._missing() == ""
    monkeypatch.delattr(*holder(name))
    assert toolchain._missing() == f"{name} is not there"


def following(p: Any) -> None:
    a = carray(p, (2,))
    a[1] = a[0] + 1


def works(address: int) -> bool:
    table = (ctypes.c_int64 * 2)(41, 0)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(table)
    return table[1] == 42


INSIDES = (
    "numba.core.runtime._nrt_python",
    "numba.core.runtime._nrt_python.c_helpers",
    "numba.core.codegen.JITCodeLibrary.serialize_using_object_code",
    "numba.core.ccallback.CFunc.native_name",
    *("llvmlite.binding.initialize_native_target", "llvmlite.binding.get_host_cpu_name"),
    *("llvmlite.binding.initialize_native_asmprinter", "llvmlite.binding.get_host_cpu_features"),
    *("llvmlite.binding.ObjectFileRef", "llvmlite.binding.Target"),
    "llvmlite.binding.address_of_symbol",
)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("name", INSIDES)
def test_what_only_keeps_machine_code_may_go(name, kept, tmp_path, monkeypatch):
    """Taken away once numba, which needs most of it too, has made its own."""
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path))
    made = [compiled.code(following, "following")]  # numba is set up by it
    (file,) = tmp_path.glob("kernels/*/following.o")
    assert works(made[0][0])
    if not kept:
        file.unlink()
    for known in (toolchain._loader_ready, toolchain.folder, toolchain.versions):
        known.cache_clear()
    where, last = holder(name)
    if last == "c_helpers":
        monkeypatch.delitem(where.c_helpers, "MemInfo_call_dtor")
    else:
        owner = (
            next(k for k in where.__mro__ if last in vars(k)) if isinstance(where, type) else where
        )
        monkeypatch.delattr(owner, last)
    made.append(compiled.code(following, "following"))
    assert works(made[1][0])


def test_vectors_may_be_of_any_length(monkeypatch):
    monkeypatch.delattr("llvmlite.binding.set_option")
    found = importlib.util.find_spec("convscope.kernels.toolchain")
    again = importlib.util.module_from_spec(found)
    found.loader.exec_module(again)
    assert again.MISSING == "" and again.intrinsic


def test_numba_that_is_not_there_is_nothing_odd(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert toolchain._missing() == toolchain.NUMBA
    monkeypatch.setattr(toolchain, "MISSING", toolchain.NUMBA)
    assert kernels.why_not() == toolchain.NUMBA and not kernels.odd()
    monkeypatch.setattr(toolchain, "MISSING", "numba.njit is not there")
    kernels.why_not.cache_clear()
    assert kernels.odd() == "numba.njit is not there" and not kernels.available()


def test_numba_that_cannot_be_imported_says_why(monkeypatch):
    def refuse(name: str) -> Any:
        raise SystemError("made for another NumPy")

    monkeypatch.setattr(toolchain.importlib, "import_module", refuse)
    why = "numba cannot be imported (SystemError: made for another NumPy)"
    assert toolchain._missing() == why


def test_the_package_is_imported_without_what_it_needs(tmp_path):
    code = """
import numba.core.cgutils
del numba.core.cgutils.alloca_once
from convscope import kernels
print(kernels.available(), kernels.odd())
"""
    env = {"CONVSCOPE_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout == "False numba.core.cgutils.alloca_once is not there\n"


@pytest.mark.parametrize("how", ["", "strict"])
def test_an_error_in_a_kernel_is_raised_where_it_is_asked_for(how, monkeypatch):
    def broken(*_: Any) -> None:
        raise TypeError("a slip in a kernel")

    monkeypatch.setattr(kernels, "elementwise", broken)
    monkeypatch.setenv("CONVSCOPE_KERNELS", how)
    if how:
        with pytest.raises(TypeError, match="a slip in a kernel"):
            kernels.available()
    else:
        assert not kernels.available() and kernels.odd() == "TypeError: a slip in a kernel"


def test_a_kernel_that_computes_something_else_is_none(monkeypatch):
    monkeypatch.setattr(kernels, "elementwise", lambda x, one, zero, y, *rest: y.zero_())
    assert not kernels.available() and "something else" in kernels.odd()


def test_another_openmp_than_pytorchs_is_not_used(tmp_path, monkeypatch):
    # Other libraries may have brought one of their own into the process.
    own = next(p for p in toolchain._in_process() if toolchain._is_torchs(ctypes.CDLL(p)))
    other = tmp_path / "libgomp-other.so.1"
    shutil.copy(own, other)
    assert not toolchain._is_torchs(ctypes.CDLL(str(other)))
    monkeypatch.setattr(toolchain, "_in_process", lambda: [str(other)])
    assert "PyTorch does not run on a GNU OpenMP of this process" in kernels.odd()
    monkeypatch.setattr(toolchain, "_in_process", lambda: [str(other), own])
    toolchain.openmp.cache_clear()
    kernels.why_not.cache_clear()
    assert toolchain.openmp()._name == own and kernels.available()
