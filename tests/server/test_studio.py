"""The studio's routes: what is listed, told, compared and opened, and whom it refuses."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import sys
import time
import urllib.request
from urllib.parse import quote

import pytest
from filelock import FileLock
from quick import convscope, python
from studios import copied, studio, unfinished

from convscope.evaluation import compare as comparing
from convscope.run import RunFolder
from convscope.runs import Listing
from convscope.server import networks


@pytest.fixture(scope="module")
def served(trained):
    with studio(trained) as found:
        yield found


def test_the_page_asks_for_nothing_from_elsewhere(served):
    page = served.ask("GET", "/")
    text = page.body.decode()
    assert (
        page.status == 200 and page.headers["content-security-policy"] == "frame-ancestors 'none'"
    )
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert {"default-src 'none'", "connect-src 'self'"} <= set(policy.split("; "))
    assert not re.findall(r'(?:src|href)="(?!#)', text) and "import " not in text
    assert served.ask("GET", "/favicon.ico").status == 204
    assert served.ask("GET", "/nix").code == "path"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_foreign_host_is_refused(served, host):
    for path in ("/", "/api/runs", "/run/a/report.html"):
        found = served.ask("GET", path, Host=host)
        assert (found.status, found.code) == (400, "host")


NETWORK = "/api/runs/a/network"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Origin": "http://evil.example"}, 403),
        ("POST", {"Origin": "null"}, 403),
        ("POST", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ("POST", {"Sec-Fetch-Site": "same-site"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),  # a link
        ("GET", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
    ],
)
def test_a_page_of_another_site_reads_and_changes_nothing(
    served, monkeypatch, method, headers, status
):
    monkeypatch.setattr(networks.Networks, "export", lambda self, place: pytest.fail("exported"))
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    found = served.ask(method, NETWORK, **named)
    assert found.status == status
    assert status == 200 or found.code == "origin"
    assert found.headers.get("cross-origin-resource-policy", "same-origin") == "same-origin"


def test_runs_are_those_of_the_listing(served, trained):
    found = served.ask("GET", "/api/runs")
    assert found.json["runs"] == [row.as_json() for row in Listing(trained).rows()]
    again = served.ask("GET", "/api/runs", If_None_Match=found.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert [row["name"] for row in served.ask("GET", "/api/runs?sort=name").json["runs"]] == [
        *("a", "more/b"),
    ]
    bad = served.ask("GET", "/api/runs?sort=size")
    assert (bad.status, bad.code) == (400, "convscope") and "nothing to sort by" in str(bad.json)


def test_two_are_compared_as_the_command_line_does(served, trained):
    found = served.ask("GET", "/api/compare?a=a&b=more/b").json
    said = comparing.compare(
        *(comparing.read(RunFolder(trained / name)) for name in ("a", "more/b"))
    ).as_json()
    assert found.pop("a")["run"] == "a" and found.pop("b")["run"] == "more/b"
    assert found.items() <= json.loads(json.dumps(said)).items()
    assert found["finding"] in ("a", "b", "none", "same", "undecided")
    same = served.ask("GET", "/api/compare?a=a&b=a")
    assert (same.status, same.code) == (400, "convscope") and "same run twice" in str(same.json)
    missing = served.ask("GET", "/api/compare?a=a")
    assert (missing.status, missing.code) == (400, "argument") and "b: " in str(missing.json)
    assert served.ask("GET", "/api/compare?a=a&b=nix").code == "run"


def test_what_is_written_while_it_is_served_is_told(trained, tmp_path):
    root = copied(trained, tmp_path / "runs")
    unfinished(root / "a", 0)
    place = RunFolder(root / "a")
    rows = RunFolder(trained / "a").read_history()
    with studio(root) as served, FileLock(place.lock):
        for n in range(len(rows) + 1):
            place.write_history(rows[:n])
            found = served.ask("GET", "/api/runs/a/history").json
            assert (found["state"], found["rows"]) == ("training", rows[:n])
        (root / "more/b/model.json").write_text("{")
        said = served.ask("GET", "/api/runs/more/b/history").json
        assert (said["state"], said["file"]) == ("damaged", "model.json") and len(said["rows"]) == 3
        place.history.write_text("{}\n")
        found = served.ask("GET", "/api/runs/a/history")
        assert (found.status, found.code) == (409, "convscope") and "epoch is not" in str(
            found.json
        )
        shown = served.ask("GET", "/run/more/b/").body.decode()
        assert "model.json: is damaged" in shown and 'id="pad"' not in shown


def test_pages_of_a_run_and_nothing_else_of_it(trained, tmp_path):
    root = copied(trained, tmp_path / "runs")
    (tmp_path / "secret.html").write_text("secret")
    (root / "secret.html").write_text("secret")
    (root / "a/explain").mkdir()
    (root / "a/explain/index.html").write_text("explained")
    (root / "a/explain/heat.png").write_bytes(b"png")
    (root / "more/b/summary.html").unlink()
    (root / "more/b/summary.html").symlink_to(tmp_path / "secret.html")
    (root / "more/b/explain").symlink_to(tmp_path, target_is_directory=True)
    (root / "linked").symlink_to(root / "a", target_is_directory=True)
    with studio(root) as served:
        report = served.ask("GET", "/run/a/report.html")
        assert report.body == (root / "a/report.html").read_bytes()
        assert report.headers["content-type"].startswith("text/html")
        policy = report.headers[
            "content-security-policy"
        ]  # whatever it holds: no part of the studio
        assert policy.startswith("sandbox allow-scripts") and "allow-same-origin" not in policy
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert (
            served.ask("GET", "/run/a/README.md").headers["content-type"].startswith("text/plain")
        )
        assert served.ask("GET", "/run/a/explain/").body == b"explained"
        assert served.ask("GET", "/run/a/explain/heat.png").headers["content-type"] == "image/png"
        moved = served.ask("GET", "/run/more/b")
        assert (moved.status, moved.headers["location"]) == (307, "b/")
        assert served.ask("GET", "/run/a/page.html").headers["location"] == "./"
        for path in (
            *("a/recipe.toml", "a/model.safetensors", "a/.lock", "a/metrics.json"),
            *("../secret.html", "a/../secret.html", "a/../../secret.html", "secret.html"),
            *("a/explain/../../../secret.html", "a/explain/../recipe.toml", "a//report.html"),
            *("more/b/summary.html", "more/b/explain/secret.html", "linked/report.html"),
            *(
                "..\\secret.html",
                "a/..\\..\\secret.html",
                "a/report.html\0",
                "/etc/passwd",
                "a" * 300,
            ),
        ):
            for written in (path, quote(path, safe=""), quote(quote(path, safe=""), safe="")):
                if " " in written or "\0" in written:
                    continue
                found = served.ask("GET", f"/run/{written}")
                assert found.status == 404 and b"secret" not in found.body.replace(
                    b"secret.html", b""
                )


FAKE = """#!{python}
import os, pathlib, shutil, sys, time
run, out = sys.argv[4], sys.argv[-1]
if "bad" in run:
    sys.exit("warning: of no concern\\nerror: the layer fold cannot be exported")
if "slow" in run:
    pathlib.Path(out).with_name("pid").write_text(str(os.getpid()))
    time.sleep(600)
shutil.copy({ready!r}, out)
"""


def test_a_network_is_exported_once_by_a_process_of_its_own(run, tmp_path, monkeypatch):
    """By a process that does what `convscope export` does, but for PyTorch."""
    ready = tmp_path / "ready.onnx"
    (run / "model.onnx").rename(ready)
    script = tmp_path / "python"
    script.write_text(FAKE.format(python=sys.executable, ready=str(ready)))
    script.chmod(0o700)
    monkeypatch.setattr(networks.sys, "executable", str(script))
    monkeypatch.setenv("CONVSCOPE_CACHE", str(tmp_path / "cache"))
    try:
        for name in ("good", "bad", "slow"):
            copied(run, tmp_path / "runs" / name)
            said = json.loads((tmp_path / "runs" / name / "model.json").read_text())
            kept = said if name == "good" else said | {"command": name}
            (tmp_path / "runs" / name / "model.json").write_text(json.dumps(kept, indent=1))
        with studio(tmp_path / "runs") as served:

            def network(name, method="GET"):
                return served.ask(method, f"/api/runs/{name}/network").json

            waiting = served.ask("GET", "/run/good/").body.decode()
            assert "<h1>good</h1>" in waiting and not re.search("@[a-z]+@", waiting)
            assert network("good") == {"state": "absent"}
            assert served.post("/run/good/predict", b"").code == "network"
            assert network("good", "POST")["state"] == "making"
            while (state := network("good"))["state"] == "making":
                assert state["seconds"] < 60
            assert state == {"state": "ready"}
            page = served.ask("GET", "/run/good/").body.decode()
            assert '<a href="/#runs"' in page and '<a href="report.html"' in page
            assert 'id="weights"' in page and "convscope · good" in page
            kept = (tmp_path / "cache/networks").rename(tmp_path / "away")
            assert network("good") == {"state": "absent"}  # and can be made again
            kept.rename(tmp_path / "cache/networks")
            network("bad", "POST")
            while (state := network("bad"))["state"] == "making":
                pass
            error = "the layer fold cannot be exported"
            assert state == {"state": "failed", "error": error}
            assert network("slow", "POST")["state"] == "making"
            assert network("bad", "POST") == {"state": "waiting"}  # for the slow one
            while not (pids := [*(tmp_path / "cache/networks").glob("*/pid")]):
                time.sleep(0.02)
        with pytest.raises(ProcessLookupError):  # it ended with the studio
            os.kill(int(pids[0].read_text()), 0)
        with studio(
            tmp_path / "runs"
        ) as served:  # which has ended the slow one, and keeps the good
            assert served.ask("GET", "/api/runs/good/network").json == {"state": "ready"}
            assert served.ask("GET", "/api/runs/slow/network").json == {"state": "absent"}
    finally:
        ready.rename(run / "model.onnx")


def test_a_network_that_is_too_large_for_a_page_is_answered_by_the_server(run, monkeypatch):
    from servers import image

    monkeypatch.setattr(networks, "BEARS", (10, 10))
    with studio(run.parent) as served:
        page = served.ask("GET", f"/run/{run.name}/").body.decode()
        assert '"answers":"server"' in page
        found = served.post(f"/run/{run.name}/predict?digits=false&top=3", image(200, (12, 12)))
        assert found.status == 200 and len(found.json["top"]) == 3
        bad = served.post(f"/run/{run.name}/predict", b"no image")
        assert (bad.status, bad.code) == (422, "image")


NO_TORCH = """
import sys, threading, time, urllib.request
from convscope.cli import main
from convscope.server import serving

def asked(service, taken, workers=1):
    import uvicorn
    server = uvicorn.Server(serving.config(service))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    for path in ("/", "/api/runs", "/api/runs/a/history", "/api/compare?a=a&b=more/b", "/run/a/"):
        assert urllib.request.urlopen(serving.address(taken) + path).read()
    server.should_exit = True
    thread.join()
    print("loaded:", sorted({"torch", "matplotlib", "numba", "onnxscript"} & set(sys.modules)))

serving.serve = asked
sys.argv = ["convscope", "studio", sys.argv[1], "--port", "0"]
main()
"""


def test_a_studio_loads_no_torch(trained):
    said, errors = python(NO_TORCH, trained).communicate(timeout=120)
    assert said.splitlines()[1:] == ["loaded: []"], errors


def test_it_makes_its_root_says_where_it_is_and_ends_in_good_order(tmp_path):
    heard = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    words = ("studio", str(tmp_path / "new/runs"), "--port", "0")
    process = convscope(*words, preexec_fn=heard)  # what runs in the background may ignore Ctrl-C
    try:
        where = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", where)
        assert urllib.request.urlopen(f"{where}/api/runs").status == 200
        assert (tmp_path / "new/runs").is_dir()
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, said, errors) == (130, "", "")
