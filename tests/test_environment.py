"""What `make` does first: the environment script, where something is missing or does not fit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The script in a folder of its own, without an environment."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/environment.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(checkout: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    script = checkout / "scripts" / "environment.py"
    code = f"import runpy, sys\n{before}\nsys.argv = ['environment.py']\n"
    code += f"runpy.run_path({str(script)!r}, run_name='__main__')"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_missing_venv_module_is_named_with_its_remedy(checkout, module):
    done = run(checkout, f"sys.modules[{module!r}] = None")
    assert done.returncode == 1
    assert f"this Python has no module {module}, which makes virtual environments" in done.stderr
    assert "apt install python3." in done.stderr and "make PYTHON=" in done.stderr
    assert not (checkout / ".venv").exists()


def test_an_old_python_is_named_with_its_remedy(checkout):
    done = run(checkout, "sys.version_info = (3, 9, 1)")
    assert done.returncode == 1
    assert "is too old: convscope needs 3.11 or newer; name one: make PYTHON=" in done.stderr


@pytest.mark.parametrize("other", ["/some/other/python 3.11", "{prefix} 3.99"])
def test_another_python_does_not_take_over_an_environment(checkout, other):
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "made-by").write_text(other.format(prefix=sys.base_prefix))
    done = run(checkout)
    assert done.returncode == 1
    assert ".venv was made by the Python in" in done.stderr
    assert "remove .venv, or name that Python" in done.stderr


def test_an_environment_of_the_users_own_is_left_alone(checkout):
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "pyvenv.cfg").write_text("theirs")
    done = run(checkout)
    assert done.returncode == 1
    assert ".venv was not made by this script; remove it or give it another name" in done.stderr
    assert (checkout / ".venv" / "pyvenv.cfg").read_text() == "theirs"
