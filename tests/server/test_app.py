"""The routes: what they answer, and how they refuse."""

from __future__ import annotations

import json
import re

import pytest
from servers import CLASSES, SIDE, form, image, predictor_of, running


def test_an_image_gets_what_predict_says_of_it(server):
    found = server.post("/predict?top=2", image(9))
    [one] = predictor_of(server.network).predict([image(9)], top_k=2)
    assert found.status == 200 and found.headers["content-type"] == "application/json"
    assert found.json == {
        "model": "tags",
        "version": found.json["version"],
        **one.as_json(),
        "file": "",
    }
    assert found.json["top"][0]["label"] == "9" and len(found.json["top"]) == 2
    same = server.post("/models/tags/predict?top=2", image(9), Content_Type="image/png")
    assert same.json == found.json == server.post("/predict?top=2&model=tags", image(9)).json


def test_dark_and_light_are_swapped_on_demand(server):
    assert server.post("/predict?invert=true", image(9)).json["top"][0]["label"] == "246"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "", "Image/JPEG; a=b"])
def test_a_file_is_taken_as_it_is_sent(server, kind):
    """The first is what curl says of --data-binary."""
    assert server.post("/predict", image(9), Content_Type=kind).json["top"][0]["label"] == "9"


def test_a_form_has_an_answer_a_part(server):
    body, kind = form(("a.png", image(3)), ("no.txt", b"words"), ("b.png", image(5)))
    found = server.post("/predict?top=1", body, Content_Type=kind)
    assert found.status == 200
    assert [one["file"] for one in found.json["results"]] == ["a.png", "no.txt", "b.png"]
    assert [[top["label"] for top in one["top"]] for one in found.json["results"]] == [
        *(["3"], [], ["5"])
    ]
    assert "is no image" in found.json["results"][1]["error"]
    body, kind = form(("alone.png", image(3)))
    assert server.post("/predict", body, Content_Type=kind).json["file"] == "alone.png"


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "image/png", 422, "image"),
        (b"words", "image/png", 422, "image"),
        (image()[:-20], "", 422, "image"),
        (image(), "text/plain", 415, "content_type"),
        (b"{}", "application/json", 415, "content_type"),
        (image(), "multipart/form-data", 400, "multipart"),
        (image(), "multipart/form-data; boundary=a", 400, "multipart"),
        (b"--a--\r\n", "multipart/form-data; boundary=a", 400, "multipart"),
        (form(("a", b"x"))[0][:-4], form()[1], 400, "multipart"),
        (form(("a", image()), ("b", image()))[0][:-40], form()[1], 400, "multipart"),
        (form(("a", b"x"), ("b", b""))[0], form()[1], 422, "image"),
        (
            b"--cut\r\nA" + b"a" * 10_000 + b": b\r\n\r\nx\r\n--cut--\r\n",
            form()[1],
            400,
            "multipart",
        ),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(server, body, kind, status, code):
    found = server.post("/predict", body, Content_Type=kind)
    assert (found.status, found.code) == (status, code)
    assert len(found.json["error"]["message"]) > 10


@pytest.mark.parametrize(
    "query", ["top=0", "top=x", "top=1001", "top=%C2%B2", "invert=perhaps", "size=3"]
)
def test_an_argument_that_makes_no_sense_is_named(server, query):
    found = server.post(f"/predict?{query}", image())
    assert (found.status, found.code) == (400, "argument")
    assert query.partition("=")[0] in found.json["error"]["message"]


def test_digits_are_cut_out_only_for_networks_of_digits(server):
    found = server.post("/predict?digits=true", image())
    assert (found.status, found.code) == (400, "argument")
    assert "the network takes 1 x 6 x 6" in found.json["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "path"),
        ("GET", "/predict", 405, "method"),
        ("POST", "/predict?model=other", 404, "model"),
        ("POST", "/models/other/predict", 404, "model"),
        ("POST", "/models/..%2F..%2Fetc/predict", 404, "path"),
        ("POST", "/models/../../etc/predict", 404, "path"),
        ("POST", "/predict?model=../../etc/passwd", 404, "model"),
        ("GET", "/static-offline-docs/..%2f..%2fcore.py", 404, "path"),
        ("GET", "/static-offline-docs/../core.py", 404, "path"),
        ("PUT", "/metrics", 405, "method"),
    ],
)
def test_what_is_not_there_is_refused_in_json(server, method, path, status, code):
    found = server.ask(method, path, image() if method == "POST" else None)
    assert (found.status, found.code) == (status, code)


def test_the_first_model_is_meant_where_none_is_named(tmp_path):
    (tmp_path / "sure.json").write_text('{"sharp": 50}')
    with running(tmp_path) as server:
        assert server.post("/predict", image()).json["model"] == "tags"
        found = server.post("/predict?model=sure", image()).json
        assert found["model"] == "sure" and found["top"][0]["p"] == pytest.approx(1)


def test_the_documentation_loads_nothing_from_elsewhere(server):
    page = server.ask("GET", "/docs").body.decode()
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) >= 3 and all(link.startswith("/static-offline-docs/") for link in links)
    assert all(server.ask("GET", link).status == 200 for link in links)
    assert "http" not in re.sub(r"<script>.*", "", page, flags=re.S)


def test_openapi_names_every_route_and_argument(server):
    paths = server.ask("GET", "/openapi.json").json["paths"]
    wanted = {"/predict", "/models/{name}/predict", "/metrics", "/v2", "/v2/health/live"}
    assert wanted | {"/v2/models/{name}/versions/{version}/infer"} <= set(paths)
    said = [one["name"] for one in paths["/predict"]["post"]["parameters"]]
    assert said == ["model", "top", "invert", "digits"]
    assert "multipart/form-data" in paths["/predict"]["post"]["requestBody"]["content"]


def test_prometheus_reads_what_was_counted(tmp_path):
    with running(tmp_path) as server:
        for _ in range(3):
            server.post("/predict", image())
        server.post("/predict", b"words")
        server.ask("GET", "/nowhere")
        text = server.ask("GET", "/metrics").body.decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert lines['convscope_requests_total{route="/predict",status="200"}'] == "3.0"
    assert lines['convscope_requests_total{route="/predict",status="422"}'] == "1.0"
    assert lines['convscope_requests_total{route="other",status="404"}'] == "1.0"
    assert lines['convscope_batch_images_sum{model="tags"}'] == "3.0"
    assert lines["convscope_waiting"] == "0.0"


def test_a_page_is_shown_where_there_is_one(tmp_path):
    with running(tmp_path, page=lambda path: f"<p>{path.stem}</p>") as server:
        assert (
            server.ask("GET", "/").body == server.ask("GET", "/models/tags/").body == b"<p>tags</p>"
        )
        assert server.ask("GET", "/models/other/").code == "model"


def test_a_network_that_fails_is_an_error_of_the_server(tmp_path):
    class Broken:
        def __call__(self, images, emit=None):
            if images.mean() > 100:
                raise ArithmeticError("as it happens")
            return images.reshape(len(images), -1)[:, :1].repeat(len(CLASSES), 1).astype("f4")

    with running(tmp_path) as server:
        server.network.__class__ = Broken
        found = server.post("/predict", image(200))
        assert (found.status, found.code) == (500, "internal")
        assert "as it happens" not in found.body.decode()
        assert server.post("/predict", image(7)).status == 200  # and the server goes on


def test_images_of_any_size_and_kind_are_fitted(server):
    for form_ in ("PNG", "JPEG", "BMP", "WEBP"):
        found = server.post("/predict", image(120, (3 * SIDE, 2 * SIDE), form_))
        assert found.json["top"][0]["label"] == "120", form_
    assert json.loads(found.body)["error"] is None
