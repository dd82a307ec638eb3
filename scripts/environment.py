"""Make the virtual environment `.venv` and install convscope into it; nothing is done where it is
up to date.

python scripts/environment.py          what `make demo` needs
python scripts/environment.py test     that and what the tests and checks need
python scripts/environment.py docs     that and what the site of the documentation is made with

Which build of PyTorch is installed, the environment variable TORCH chooses: `cpu`, from PyTorch's
own index; `cuda`, the one with CUDA, which PyPI has for Linux; `default`, whatever pip takes by
itself. Where it says nothing, and no PyTorch that fits is there: on Linux the CPU build, unless
there is an NVIDIA GPU, pip is set up to take packages from elsewhere, or that index does not answer
within seconds; else the default.
"""

from __future__ import annotations

import hashlib
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PATIENCE = 4.0  # seconds that the index has to answer
WORD = 10.0  # seconds between two lines of progress where nobody sees pip's own
SMALL = "0.2 GB to download, 0.7 GB on disk"
LARGE = "gigabytes to download, 5.5 GB on disk with its CUDA libraries"
BUILDS = ("cpu", "cuda", "default")
GPU_FILES = ("/proc/driver/nvidia/version", "/dev/nvidia0")


def main(extra: str) -> None:
    """Make, check and fill the environment."""
    if sys.version_info < (3, 11):  # noqa: UP036
        stop(
            f"Python {sys.version.split()[0]} is too old: convscope needs 3.11 or newer",
            "name one: make PYTHON=python3.12 demo",
        )
    build = os.environ.get("TORCH", "")
    if build and build not in BUILDS:
        stop(f"TORCH={build} is no build of PyTorch", f"choose one of {', '.join(BUILDS)}")
    if build == "cuda" and not sys.platform.startswith("linux"):
        stop(
            "TORCH=cuda: PyPI has PyTorch with CUDA for Linux alone",
            "install it into .venv by the command that pytorch.org gives, then leave TORCH out",
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
    enough = {"docs": ("docs",), "test": ("test",)}.get(extra, (extra, "test"))
    stamps = [VENV / f"installed-{name}" for name in enough]
    current = any(s.exists() and s.read_text() == wanted.hexdigest() for s in stamps)
    if current and (not build or fits(build)):
        return
    install_torch(build)
    what = f".[{extra}]" if extra in ("docs", "test") else "."
    say(f"installing convscope and what it needs into {VENV.name}")
    pip("install", "-c", "constraints.txt", "-e", what)
    stamps[0].write_text(wanted.hexdigest())


def install_torch(build: str) -> None:
    """Install PyTorch's CPU build, or the one with CUDA in its place, where that is what is chosen;
    the default one is left to what comes after. Says which one and why before anything is
    downloaded."""
    if fits(build):
        return
    there = installed("torch")
    chosen, why = (build, f"as TORCH={build} says") if build else automatic()
    words = {"cpu": f"PyTorch's CPU build ({SMALL})", "cuda": f"PyTorch with CUDA ({LARGE})"}
    usual = f" (PyPI's: {LARGE})" if sys.platform.startswith("linux") else ""
    say(f"installing {words.get(chosen, f'the PyTorch that pip finds{usual}')}: {why}")
    exact = [f"{name}=={pinned(name)}" for name in ("torch", "torchvision")]
    if chosen == "cpu":
        only = [f"{one}+cpu" for one in exact]
        pip("install", "--no-deps", "--index-url", CPU_INDEX, *only)
    elif chosen == "cuda" and there is not None:  # pip takes a CPU build to be as good
        pip("install", "--no-deps", "--force-reinstall", *exact)


def automatic() -> tuple[str, str]:
    """Which build is installed where nobody chose, and why."""
    if not sys.platform.startswith("linux"):
        return "default", "it has no CUDA libraries on this system"
    if gpu := nvidia_gpu():
        return "default", f"there is an NVIDIA GPU ({gpu}); TORCH=cpu takes the small CPU build"
    if elsewhere := configured():
        return "default", (
            f"pip is set up to look elsewhere ({elsewhere}); TORCH=cpu takes PyTorch's CPU build"
        )
    page, problem = fetched(f"{CPU_INDEX}/torch/", PATIENCE)
    version, python = re.escape(pinned("torch")), "cp{}{}".format(*sys.version_info[:2])
    machine = re.escape(os.uname().machine)
    if page is None:
        return "default", f"no NVIDIA GPU, but {CPU_INDEX} does not answer ({problem})"
    if not re.search(rf"torch-{version}(\+|%2B)cpu-{python}-{python}-\w*{machine}\.whl", page):
        return "default", f"no NVIDIA GPU, but {CPU_INDEX} has no such build for this system"
    return "cpu", "there is no NVIDIA GPU; TORCH=default takes the one with CUDA"


def nvidia_gpu() -> str | None:
    """What shows that there is an NVIDIA GPU; None where nothing does."""
    return next((path for path in GPU_FILES if Path(path).exists()), shutil.which("nvidia-smi"))


def configured() -> str | None:
    """The first of pip's settings that says where packages come from, if that is not PyPI."""
    command = [str(PYTHON), "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        where = ("index-url", "extra-index-url", "find-links", "no-index")
        if key in where and value.strip("'/") != "https://pypi.org/simple":
            return f"{key} {value}"
    return None


def fetched(url: str, seconds: float) -> tuple[str | None, str]:
    """The page at ``url``, or None and why there is none within so many seconds, in which a name
    has to be resolved as well."""
    found: list[str] = []
    problems = [f"nothing came within {seconds:g} s"]

    def fetch() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds) as page:
                found.append(page.read().decode("utf-8", "replace"))
        except (OSError, ValueError, HTTPException) as why:
            problems.append(str(why))

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(seconds)
    return (found[0], "") if found else (None, problems[-1])


def fits(build: str) -> bool:
    """Whether the PyTorch that is installed is the pinned one, and of this build."""
    version = installed("torch")
    if version is None or version.partition("+")[0] != pinned("torch"):
        return False
    return {"cpu": version.endswith("+cpu"), "cuda": not version.endswith("+cpu")}.get(build, True)


def installed(name: str) -> str | None:
    """The version of a package in the environment, if it is there."""
    for found in sorted(VENV.glob(f"[Ll]ib/**/site-packages/{name}-*.dist-info")):
        return found.name.removesuffix(".dist-info").removeprefix(f"{name}-")
    return None


def pinned(name: str) -> str:
    """The version of a package that constraints.txt asks for."""
    text = (ROOT / "constraints.txt").read_text()
    found = re.search(rf"^{name}==(\S+)$", text, re.MULTILINE)
    assert found, name
    return found[1]


def pip(*arguments: str) -> None:
    """Run pip, its progress to be seen: its own on a terminal, else a line now and then."""
    command = (str(PYTHON), "-m", "pip", *arguments)
    if sys.stdout.isatty():
        run(*command)
        return
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.strip())
        lines.put(None)

    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        reader = threading.Thread(target=read)
        reader.start()
        tell(lines)
        reader.join()
    if process.returncode:
        failed(command, process.returncode)


def tell(lines: queue.Queue[str | None]) -> None:
    """Say now and then what pip said last, and each time that it downloads something large; until a
    None."""
    began = told = time.monotonic()
    last = ""
    while True:
        try:
            line = lines.get(timeout=WORD / 4)
        except queue.Empty:
            line = ""
        if line is None:
            return
        last = line or last
        large = re.match(r"Downloading .*\((\d+(\.\d+)? GB|\d\d+(\.\d+)? MB)\)", line)
        now = time.monotonic()
        if last and (large or now - told >= WORD):
            shown = last if len(last) <= 100 else f"{last[:97]}..."
            say(f"  {now - began:4.0f} s  {shown}")
            told = now


def run(*command: str) -> None:
    """Run a command in the project's folder; stop with its exit code if it fails."""
    code = subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode
    if code:
        failed(command, code)


def environment() -> dict[str, str]:
    """The environment variables of a command."""
    return {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def failed(command: tuple[str, ...], code: int) -> None:
    """Stop where a command did."""
    stop(f"{shlex.join(command)} failed with exit code {code}", "see what it says above")


def say(text: str) -> None:
    """Tell of progress."""
    print(text, flush=True)


def stop(problem: str, remedy: str) -> None:
    """Say what is wrong and how to mend it."""
    sys.exit(f"error: {problem}; {remedy}")


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:] not in ([], ["test"], ["docs"]):
        sys.exit(__doc__)
    main(sys.argv[1] if len(sys.argv) == 2 else "demo")
