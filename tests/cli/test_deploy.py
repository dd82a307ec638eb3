"""The files of docs/deploy: taken by the programs that they are for."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from missing import missing
from servers import image, running

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"


def commands() -> list[list[str]]:
    """The arguments of each `convscope serve` in these files."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(DEPLOY.iterdir()))
    found = re.findall(r"convscope serve [^`\n]+", text)
    found += [" ".join(re.findall(r'"([^"]+)"', line)) for line in text.splitlines()
              if line.startswith("ENTRYPOINT")]  # fmt: skip
    return [line.split()[1:] for line in found]


def test_the_options_of_the_server_are_there(run):
    """A port that is none is refused after the options were read, before a file is looked for."""
    assert len(commands()) == 3
    for words in commands():
        said = run(*words, "--port", "70000")
        assert said.code == 2 and "70000" in said.err, said


@pytest.mark.slow
def test_nginx_stands_in_front(tmp_path):
    """Last run: 2026-11-30, nginx 1.22.1: passed."""
    nginx = shutil.which("nginx") or missing("nginx, to stand in front of the server")
    with running(tmp_path) as server, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        site = (DEPLOY / "nginx.conf").read_text()
        site = site.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        site = site.replace("listen 80;", f"listen 127.0.0.1:{port};")
        site = site.replace("images.example.org", "localhost")
        conf = tmp_path / "nginx.conf"
        conf.write_text(
            f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; client_body_temp_path {tmp_path}/body; {site} }}"
        )
        process = subprocess.Popen([nginx, "-c", str(conf)])
        try:
            for _ in range(100):
                try:
                    with urllib.request.urlopen(f"http://localhost:{port}/v2/health/live") as said:
                        assert said.status == 200
                    break
                except OSError:
                    assert process.poll() is None
                    time.sleep(0.1)
            asked = urllib.request.Request(f"http://localhost:{port}/predict", image(7))
            with urllib.request.urlopen(asked) as said:
                assert b'"label":"7"' in said.read().replace(b" ", b"")
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_reads_the_unit(tmp_path):
    unit = tmp_path / "convscope.service"
    text = (DEPLOY / "convscope.service").read_text()
    unit.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text))
    command = ["systemd-analyze", "verify", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "convscope.service:" not in done.stderr and done.returncode == 0, done.stderr
