"""The wheel as a user installs it: pure Python, whole, and able to train from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (path,) = folder.glob("*.whl")
    return path


def run(*command: str, **more: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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


def test_it_trains_from_another_folder(wheel, tmp_path):
    """Installed without dependencies into a new environment that sees this one's packages, but not
    this checkout."""
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env"))
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = tmp_path / "env" / scripts / "python"
    site = run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    run(
        *(sys.executable, "-m", "pip", "--python", str(python), "install", "-q"),
        *("--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)),
    )
    parent = run(
        sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
    ).strip()
    Path(site, "parent.pth").write_text(parent + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = run(str(python), "-c", "import convscope; print(convscope.__file__)", cwd=elsewhere)
    assert where.startswith(str(tmp_path))
    command = Path(python).with_name("convscope")
    words = ["train", "mnist", "--model", "mlp", "--epochs", "1", "-b", "200", "--hidden", "64"]
    said = run(str(command), *words, cwd=elsewhere)
    assert "test accuracy 9" in said
    assert (elsewhere / "runs" / "mnist-mlp-1" / "report.html").is_file()
