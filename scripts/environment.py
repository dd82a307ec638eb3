"""Make the virtual environment `.venv` and install convscope into it; nothing is done where it is
up to date.

python scripts/environment.py          what `make demo` needs
python scripts/environment.py test     that and what the tests and checks need
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def main(extra: str) -> None:
    """Make, check and fill the environment."""
    if sys.version_info < (3, 11):  # noqa: UP036
        stop(
            f"Python {sys.version.split()[0]} is too old: convscope needs 3.11 or newer",
            "name one: make PYTHON=python3.12 demo",
        )
    base = f"{Path(sys.base_prefix).resolve()} {sys.version_info.major}.{sys.version_info.minor}"
    made_by, complete = VENV / "made-by", VENV / "complete"
    if VENV.exists() and not made_by.exists() and any(VENV.iterdir()):
        stop(".venv was not made by this script", "remove it or give it another name")
    if made_by.exists() and made_by.read_text() != base:
        stop(
            f".venv was made by the Python in {made_by.read_text()}, not by the one in {base}",
            "remove .venv, or name that Python: make PYTHON=...",
        )
    if not complete.exists():
        try:
            import ensurepip  # noqa: F401
            import venv  # noqa: F401
        except ImportError as why:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            stop(
                f"this Python has no module {why.name}, which makes virtual environments",
                f"Debian, Ubuntu: apt install python{version}-venv; elsewhere: install Python from "
                "python.org; or name another Python: make PYTHON=... demo",
            )
        VENV.mkdir(exist_ok=True)
        made_by.write_text(base)
        run(sys.executable, "-m", "venv", str(VENV))
        complete.write_text("")
    wanted = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt", "scripts/environment.py"):
        wanted.update((ROOT / name).read_bytes())
    stamps = {name: VENV / f"installed-{name}" for name in ("demo", "test")}
    if stamps["test"].exists() and stamps["test"].read_text() == wanted.hexdigest():
        return
    if stamps[extra].exists() and stamps[extra].read_text() == wanted.hexdigest():
        return
    what = ".[test]" if extra == "test" else "."
    print(
        "installing into .venv (PyTorch is large: this takes a few minutes the first time)",
        flush=True,
    )
    run(str(PYTHON), "-m", "pip", "install", "-q", "-c", "constraints.txt", "-e", what)
    stamps[extra].write_text(wanted.hexdigest())


def run(*command: str) -> None:
    """Run a command in the project's folder; stop with its exit code if it fails."""
    code = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}, check=False
    ).returncode
    if code:
        stop(f"{' '.join(command)} failed with exit code {code}", "see what it says above")


def stop(problem: str, remedy: str) -> None:
    """Say what is wrong and how to mend it."""
    sys.exit(f"error: {problem}; {remedy}")


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:] not in ([], ["test"]):
        sys.exit(__doc__)
    main(sys.argv[1] if len(sys.argv) == 2 else "demo")
