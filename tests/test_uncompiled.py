"""PyTorch does without its compiler on shapes, and has it, whole, when it is wanted."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from convscope.uncompiled import _OF_NUMBERS, uncompiled

COMPILER = "{'torch._dynamo', 'torch._dynamo.utils', 'sympy', 'triton', 'torch._inductor', "
COMPILER += "'torch.fx.experimental.symbolic_shapes'}"


def runs(code: str) -> None:
    """Run lines of Python in a process of their own."""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_summary_imports_no_compiler_and_leaves_it_whole() -> None:
    runs(f"""
import gc, sys, types, torch
import convscope as cs
from torch import nn
found = cs.summary("cnn")
assert (found.total.parameters, found.total.multiply_adds) == (29034, 2838080)
assert cs.summary("tv:resnet18").total.parameters == 11689512
layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
assert cs.summary(nn.Sequential(layer, nn.LSTM(32, 8)), (10, 32)).total.note == ""
assert not {COMPILER} & set(sys.modules), {COMPILER} & set(sys.modules)
functions = [it for it in gc.get_objects() if type(it) is types.FunctionType]
assert not [it for it in functions if "__dynamo_disable" in vars(it)]

compiled = torch.compile(lambda x: torch.relu(x) * 2, backend="eager")
assert compiled(torch.ones(2)).tolist() == [2, 2]
assert sys.modules["torch._dynamo"] is torch._dynamo and torch._dynamo.__file__
assert sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu") is True
import sympy, torch.fx.experimental.symbolic_shapes as shapes
assert sympy.Symbol("x") + 1 != 1 and hasattr(shapes, "ShapeEnv")
""")


@pytest.mark.parametrize(
    "wants",
    [
        "import torch._dynamo.config as found",
        "import sympy; found = sympy.Symbol",
    ],
)
def test_what_needs_the_compiler_has_it(wants: str) -> None:
    runs(f"""
import sys, torch
from convscope.uncompiled import uncompiled
with uncompiled():
    torch.ones(2, device="meta") + 1
    assert not hasattr(sys.modules["torch._dynamo"], "__file__")
    {wants}
assert getattr(found, "__module__", "torch") != "convscope.uncompiled"
stand_ins = [name for name, it in sys.modules.items() if type(it).__name__ == "_Instead"]
assert not stand_ins, stand_ins
assert torch._dynamo.__file__ and (torch.ones(2, device="meta") + 1).shape == (2,)
""")


def test_other_threads_have_the_compiler_as_ever_and_it_may_begin_again() -> None:
    runs("""
import importlib.util, sys, threading, torch
from convscope.uncompiled import uncompiled
found, spec = {}, importlib.util.find_spec("triton")
def other():
    import torch._dynamo as dynamo
    found["disable"] = dynamo.disable(len)
    found["config"] = dynamo.config.__name__
    found["module"] = sys.modules["torch._dynamo"].__file__
    found["triton"] = importlib.util.find_spec("triton")
with uncompiled():
    with uncompiled():
        torch.ones(2, device="meta") + 1
    assert type(sys.modules["torch._dynamo"]).__name__ == "_Instead"  # the inner ended nothing
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found["config"] == "torch._dynamo.config" and found["module"].endswith("__init__.py")
    assert found["triton"] == spec
    assert "_shield" not in repr(found["disable"])
    torch.ones(2, device="meta") + 1
left = [name for name, it in sys.modules.items() if type(it).__name__ == "_Instead"]
assert not left, left
from convscope import uncompiled as module
assert not module._owner and module._absent not in sys.meta_path
""")


def test_threads_within_take_turns() -> None:
    inside: list[int] = []

    def work() -> None:
        with uncompiled():
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    most: list[int] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_numbers_are_judged_as_the_compiler_judges_them() -> None:
    from torch.fx.experimental import symbolic_shapes

    bools = [(a, b) for a in (True, False) for b in (True, False)]
    given = {
        "sym_and": [(True,), *bools],
        "sym_or": [(False,), *bools],
        "sym_eq": [(3, 3), (3, 4), ((1, 2), [1, 2]), ((1, 2), (1, 2, 3)), ([(1,)], [[2]])],
        "is_nested_int": [(3,)],
        "has_guarding_hint": [(3,)],
        "guard_int": [(3,)],
        "free_unbacked_symbols": [],
    }
    for name, function in _OF_NUMBERS.items():
        for arguments in given.get(name, [(True,), (False,)]):
            assert function(*arguments) == getattr(symbolic_shapes, name)(*arguments), name
