"""What `make` does first: the environment script, where something is missing or does not fit, and
which PyTorch it takes from where."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import environment
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


@pytest.mark.parametrize("build", ["gpu", "CPU"])
def test_an_unknown_build_of_pytorch_is_refused(checkout, monkeypatch, build):
    monkeypatch.setenv("TORCH", build)
    done = run(checkout)
    assert done.returncode == 1
    assert f"TORCH={build} is no build of PyTorch; choose one of cpu, cuda, default" in done.stderr
    assert not (checkout / ".venv").exists()


PYTHON = "cp{}{}".format(*sys.version_info[:2])
TORCH, VISION = environment.pinned("torch"), environment.pinned("torchvision")


def wheel(folder: Path, name: str, version: str) -> None:
    """A package without content, on a page of its own as an index has it."""
    (folder / name).mkdir(parents=True)
    tag = f"{PYTHON}-{PYTHON}-linux_{os.uname().machine}"
    path = folder / name / f"{name}-{version}-{tag}.whl"
    meta = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: {tag}\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as file:
        for part, text in meta.items():
            file.writestr(f"{name}-{version}.dist-info/{part}", text)
    quoted = path.name.replace("+", "%2B")
    (folder / name / "index.html").write_text(f'<a href="{quoted}">{path.name}</a><br/>')


@pytest.fixture
def bare(tmp_path, monkeypatch) -> Path:
    """An environment without PyTorch, on Linux without a GPU, and a pip that is not set up to look
    anywhere; what it installs goes into that environment."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    venv = tmp_path / "venv"
    target = venv / "lib" / "site-packages"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_TARGET", str(target))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("TORCH", raising=False)
    monkeypatch.setattr(environment, "VENV", venv)
    monkeypatch.setattr(environment, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(environment, "PATIENCE", 20.0)
    monkeypatch.setattr(environment, "nvidia_gpu", lambda: None)
    return target


@pytest.fixture
def index(tmp_path, monkeypatch) -> Iterator[tuple[Path, list[str]]]:
    """PyTorch's index, on loopback: its folder, and what it was asked for."""
    folder, asked = tmp_path / "index", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(environment, "CPU_INDEX", f"http://127.0.0.1:{server.server_port}")
        yield folder, asked
        server.shutdown()


@pytest.fixture
def pip(monkeypatch) -> list[tuple[str, ...]]:
    """What pip is called with, instead of running it."""
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(environment, "pip", lambda *arguments: calls.append(arguments))
    return calls


def test_the_cpu_build_is_taken_from_an_index_that_answers(bare, index, capsys):
    folder, asked = index
    wheel(folder, "torch", f"{TORCH}+cpu")
    wheel(folder, "torchvision", f"{VISION}+cpu")
    environment.install_torch("")
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("installing PyTorch's CPU build (0.2 GB to download")
    assert "there is no NVIDIA GPU; TORCH=default takes" in first
    assert environment.installed("torch") == f"{TORCH}+cpu"
    assert environment.installed("torchvision") == f"{VISION}+cpu"
    assert environment.fits("") and environment.fits("cpu") and not environment.fits("cuda")
    before = len(asked)
    environment.install_torch("")  # it is there: nothing is asked for again
    assert len(asked) == before and capsys.readouterr().out == ""


def test_an_index_that_hangs_is_not_waited_for(bare, pip, monkeypatch, capsys):
    monkeypatch.setattr(environment, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        monkeypatch.setattr(environment, "CPU_INDEX", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        environment.install_torch("")
        assert time.monotonic() - began < 10
    said = capsys.readouterr().out
    assert "installing the PyTorch that pip finds (PyPI's: gigabytes to download" in said
    assert "does not answer (nothing came within 0.5 s)" in said or "timed out" in said
    assert pip == []  # it comes with what needs it


def test_an_index_that_answers_drop_by_drop_is_not_waited_for(bare, monkeypatch):
    stop = threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not stop.wait(0.05):
                self.wfile.write(b"<br/>")

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        began = time.monotonic()
        page, problem = environment.fetched(f"http://127.0.0.1:{server.server_port}", 0.5)
        assert page is None and problem == "nothing came within 0.5 s"
        assert time.monotonic() - began < 10
        stop.set()
        server.shutdown()


def test_an_index_that_refuses_leaves_the_default(bare, pip, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    monkeypatch.setattr(environment, "CPU_INDEX", f"http://127.0.0.1:{port}")
    environment.install_torch("")
    said = capsys.readouterr().out
    assert "does not answer (<urlopen error [Errno 111] Connection refused>)" in said
    assert pip == []


def test_an_index_without_this_version_leaves_the_default(bare, index, pip, capsys):
    wheel(index[0], "torch", "1.0.0+cpu")
    environment.install_torch("")
    assert "has no such build for this system" in capsys.readouterr().out
    assert pip == []


def test_with_a_gpu_the_default_is_taken_and_no_index_asked(
    bare, index, pip, tmp_path, monkeypatch, capsys
):
    monkeypatch.undo()
    monkeypatch.setattr(environment, "VENV", tmp_path / "venv")
    seen = tmp_path / "nvidia0"
    seen.touch()
    monkeypatch.setattr(environment, "GPU_FILES", (str(tmp_path / "no"), str(seen)))
    environment.install_torch("")
    assert f"there is an NVIDIA GPU ({seen})" in capsys.readouterr().out
    assert index[1] == []
    monkeypatch.setattr(environment, "GPU_FILES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.nvidia_gpu() is None
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    assert environment.nvidia_gpu() == str(tmp_path / "nvidia-smi")


@pytest.mark.parametrize("key", ["FIND_LINKS", "INDEX_URL", "EXTRA_INDEX_URL"])
def test_where_pip_is_set_up_to_look_is_respected(bare, index, pip, monkeypatch, capsys, key):
    monkeypatch.setenv(f"PIP_{key}", "/some/wheels")
    environment.install_torch("")
    name = key.lower().replace("_", "-")
    assert f"pip is set up to look elsewhere ({name} '/some/wheels')" in capsys.readouterr().out
    assert index[1] == [] and pip == []
    environment.install_torch("cpu")  # chosen: taken all the same
    assert pip[0][:4] == ("install", "--no-deps", "--index-url", environment.CPU_INDEX)


def test_pip_that_is_set_up_to_look_in_pypi_is_not_set_up(bare, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "https://pypi.org/simple/")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    assert environment.configured() is None


@pytest.mark.parametrize(
    ("there", "build", "called"),
    [
        (TORCH, "", None),
        (TORCH, "default", None),
        (TORCH, "cuda", None),
        (f"{TORCH}+cpu", "default", None),
        (f"{TORCH}+cpu", "cpu", None),
        (TORCH, "cpu", f"torch=={TORCH}+cpu"),
        (f"{TORCH}+cpu", "cuda", f"torch=={TORCH}"),
        (None, "cuda", None),  # it comes with what needs it
        (None, "default", None),
        ("2.0.0", "cpu", f"torch=={TORCH}+cpu"),
    ],
)
def test_what_is_chosen_takes_the_place_of_what_is_there(bare, pip, there, build, called):
    if there:
        (bare / f"torch-{there}.dist-info").mkdir(parents=True)
    environment.install_torch(build)
    assert (called in pip[0]) if called else (pip == [])


def test_a_choice_counts_in_an_environment_that_is_up_to_date(bare, pip, monkeypatch):
    venv = environment.VENV
    (bare / f"torch-{TORCH}.dist-info").mkdir(parents=True)
    version = "{}.{}".format(*sys.version_info[:2])
    (venv / "made-by").write_text(f"{Path(sys.base_prefix).resolve()} {version}")
    (venv / "complete").touch()
    environment.main("demo")
    assert [call[-1] for call in pip] == ["."]
    for build in ("", "default", "cuda"):
        monkeypatch.setenv("TORCH", build)
        environment.main("demo")
    assert len(pip) == 1
    monkeypatch.setenv("TORCH", "cpu")
    environment.main("demo")
    assert pip[1][-1] == f"torchvision=={VISION}+cpu" and pip[2][-1] == "."
    monkeypatch.delenv("TORCH")
    environment.main("test")
    assert pip[3][-1] == ".[test]" and len(pip) == 4
    (bare / f"torch-{TORCH}.dist-info").rmdir()  # whatever somebody does to it by hand
    environment.main("demo")  # what the tests need is more
    assert len(pip) == 4
    for stamp in venv.glob("installed-*"):
        stamp.write_text("of another pyproject.toml")
    (bare / f"torch-{TORCH}.dist-info").mkdir()
    environment.main("demo")
    assert pip[4][-1] == "." and len(pip) == 5
    for _ in range(2):  # neither the demo's packages nor the tests' are all of these
        environment.main("docs")
    assert pip[5][-1] == ".[docs]" and len(pip) == 6


@pytest.fixture
def told(tmp_path, monkeypatch) -> Callable[[str], None]:
    """Run pip's place-taker, a script, with a line of progress every fifth of a second at most."""
    monkeypatch.setattr(environment, "WORD", 0.2)

    def told(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!{sys.executable}\nimport time, sys\n{script}")
        path.chmod(0o755)
        monkeypatch.setattr(environment, "PYTHON", path)
        environment.pip("install", ".")

    return told


def test_progress_is_told_now_and_then_where_nobody_sees_pips_own(told, capsys):
    told(
        "for n in range(2000):\n    print('Collecting', n, flush=True)\n"
        "print('Downloading torch.whl (190.0 MB)', flush=True)\ntime.sleep(1)"
    )
    lines = capsys.readouterr().out.splitlines()
    assert 3 <= len(lines) < 100
    assert "Downloading torch.whl (190.0 MB)" in lines[-1]  # told again while it goes on
    assert sum("Downloading" in line for line in lines) >= 2
    assert all(line.split()[1] == "s" for line in lines)


def test_a_large_download_is_told_at_once(told, monkeypatch, capsys):
    monkeypatch.setattr(environment, "WORD", 3600.0)
    told(
        "for line in ('Collecting a', 'Downloading a.whl (9.9 MB)', 'Downloading b.whl (10.5 MB)',"
        " 'Downloading c.whl (1.5 GB)', 'Downloading d.whl (99 kB)'):\n    print(line)"
    )
    lines = [line.split("s  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["Downloading b.whl (10.5 MB)", "Downloading c.whl (1.5 GB)"]


def test_an_installation_that_fails_ends_in_words(told, capfd):
    with pytest.raises(SystemExit, match=r"pip install \. failed with exit code 3; see what it"):
        told("print('ERROR: no such package', file=sys.stderr)\nsys.exit(3)")
    assert "ERROR: no such package" in capfd.readouterr().err
