"""The Open Inference Protocol: tensors in JSON and in bytes, and what is not as it says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import CLASSES

INFER = "/v2/models/tags/infer"


def images(n: int = 3, side: int = 6) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 1, side, side), np.uint8)


def tensor(values: np.ndarray, **more: object) -> dict:
    return {"name": "images", "shape": list(values.shape), "datatype": "UINT8", **more}


def in_bytes(values: np.ndarray, **more: object) -> tuple[bytes, dict[str, str]]:
    """A request whose tensor follows its JSON."""
    given_ = tensor(values, parameters={"binary_data_size": values.size})
    text = json.dumps({"inputs": [given_], **more}).encode()
    return text + values.tobytes(), {"Inference_Header_Content_Length": str(len(text))}


def expected(server, values: np.ndarray) -> np.ndarray:
    return server.network(values)


def floats(found, name: str) -> np.ndarray:
    """An output of a response in JSON."""
    [one] = [one for one in found["outputs"] if one["name"] == name]
    assert one["datatype"] == "FP32"
    return np.array(one["data"], np.float32).reshape(one["shape"])


def test_the_server_and_its_models_say_what_they_are(server):
    assert server.ask("GET", "/v2").json["extensions"] == ["binary_tensor_data"]
    assert server.ask("GET", "/v2/health/live").json == {"live": True}
    assert server.ask("GET", "/v2/health/ready").json == {"ready": True}
    said = server.ask("GET", "/v2/models/tags").json
    assert said["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, -1, -1]}]
    assert [one["name"] for one in said["outputs"]] == ["probabilities", "logits"]
    assert said["outputs"][0]["shape"] == [-1, len(CLASSES)]
    [version] = said["versions"]
    assert server.ask("GET", f"/v2/models/tags/versions/{version}").json == said
    for path in ("/v2/models/tags/ready", f"/v2/models/tags/versions/{version}/ready"):
        assert server.ask("GET", path).json == {"name": "tags", "ready": True}
    for path in ("/v2/models/a", "/v2/models/tags/versions/1/ready", "/v2/models/a/ready"):
        found = server.ask("GET", path)
        assert found.status == 404 and isinstance(found.json["error"], str)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("side", [6, 9])
def test_a_tensor_in_json(server, nested, side):
    values = images(side=side)
    data = values.tolist() if nested else values.ravel().tolist()
    asked = {"id": "a1", "inputs": [tensor(values, data=data)]}
    found = server.post(INFER, json.dumps(asked))  # http.client sends no Content-Type
    assert found.status == 200 and found.headers["content-type"] == "application/json"
    assert found.json["id"] == "a1" and found.json["model_name"] == "tags"
    logits = expected(server, values)
    assert np.array_equal(floats(found.json, "logits"), logits)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert floats(found.json, "probabilities") == pytest.approx(
        p / p.sum(axis=1)[:, None], abs=1e-6
    )


def test_a_tensor_in_bytes_and_an_answer_in_bytes(server):
    values = images()
    body, headers = in_bytes(values, parameters={"binary_data_output": True})
    found = server.post(INFER, body, **headers)
    length = int(found.headers["inference-header-content-length"])
    said = json.loads(found.body[:length])
    assert "id" not in said and found.headers["content-type"] == "application/octet-stream"
    sizes = [one["parameters"]["binary_data_size"] for one in said["outputs"]]
    assert sizes == [3 * len(CLASSES) * 4] * 2
    logits = np.frombuffer(found.body[length + sizes[0] :], "<f4").reshape(3, -1)
    assert np.array_equal(logits, expected(server, values))


def test_outputs_are_chosen_one_by_one(server):
    outputs = [{"name": "logits", "parameters": {"binary_data": True}}]
    body, headers = in_bytes(images(), outputs=outputs)
    found = server.post(INFER, body, **headers)
    said = json.loads(found.body[: int(found.headers["inference-header-content-length"])])
    assert [one["name"] for one in said["outputs"]] == ["logits"]
    outputs = [{"name": "probabilities", "parameters": {"binary_data": False}}]
    body, headers = in_bytes(images(), outputs=outputs, parameters={"binary_data_output": True})
    assert "inference-header-content-length" not in server.post(INFER, body, **headers).headers


ONE = tensor(images(1), data=[0] * 36)
WRONG = {
    "not json": b"{",
    "nested too deep": b"[" * 100_000,
    "no object": b"[]",
    "no inputs": b"{}",
    "two inputs": json.dumps({"inputs": [ONE, ONE]}),
    "another input": json.dumps({"inputs": [ONE | {"name": "x"}]}),
    "another datatype": json.dumps({"inputs": [ONE | {"datatype": "FP32"}]}),
    "no shape": json.dumps({"inputs": [ONE | {"shape": None}]}),
    "a shape of words": json.dumps({"inputs": [ONE | {"shape": ["1", 1, 6, 6]}]}),
    "a shape with true": json.dumps({"inputs": [ONE | {"shape": [True, 1, 6, 6]}]}),
    "negative": json.dumps({"inputs": [ONE | {"shape": [-1, 1, -6, 6]}]}),
    "three channels": json.dumps({"inputs": [ONE | {"shape": [1, 3, 4, 3]}]}),
    "another size": json.dumps({"inputs": [ONE | {"shape": [1, 1, 5, 6]}]}),
    "no data": json.dumps({"inputs": [tensor(images(1))]}),
    "data too large": json.dumps({"inputs": [ONE | {"data": [256] * 36}]}),
    "fractions": json.dumps({"inputs": [ONE | {"data": [0.5] * 36}]}),
    "words": json.dumps({"inputs": [ONE | {"data": ["a"] * 36}]}),
    "lengths differ": json.dumps({"inputs": [ONE | {"data": [[1, 2], [3]]}]}),
    "huge": b'{"inputs": [' + b"9" * 5000 + b"]}",
    "size is no number": json.dumps({"inputs": [ONE | {"parameters": {"binary_data_size": "a"}}]}),
    "bytes are missing": json.dumps({"inputs": [ONE | {"parameters": {"binary_data_size": 36}}]}),
    "another output": json.dumps({"inputs": [ONE], "outputs": [{"name": "x"}]}),
    "outputs of words": json.dumps({"inputs": [ONE], "outputs": ["logits"]}),
    "classification": json.dumps(
        {
            "inputs": [ONE],
            "outputs": [{"name": "logits", "parameters": {"classification": 3}}],
        }
    ),
    "id is a number": json.dumps({"inputs": [ONE], "id": 3}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_as_the_protocol_has_it_is_named(server, name):
    found = server.post(INFER, WRONG[name])
    assert found.status == 400 and found.json["code"] == "request"
    assert isinstance(found.json["error"], str) and len(found.json["error"]) > 10


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "9" * 30, "999999", "0"])
def test_a_length_of_the_header_that_is_none(server, length):
    found = server.post(INFER, b"{}", Inference_Header_Content_Length=length)
    assert found.status == 400 and found.json["code"] == "request"


def test_limits_of_tensors(served):
    server = served(images=4, pixels=100, json_body=2000)
    for values, code in ((images(5), "images"), (images(1, 11), "pixels")):
        body, headers = in_bytes(values)
        found = server.post(INFER, body, **headers)
        assert (found.status, found.json["code"]) == (413, code)
    found = server.post(INFER, json.dumps({"inputs": [ONE | {"data": [100] * 1000}]}))
    assert (found.status, found.json["code"], found.json["limit"]) == (413, "json", 2000)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = ("name", "shape", "datatype", "data", "parameters", "inputs", "outputs", "id")


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(st.sampled_from(FIELDS), anything),
    st.dictionaries(st.sampled_from(FIELDS), anything),
)
def test_whatever_stands_in_a_request(server, inner, outer):
    asked = {"inputs": [ONE | inner], **outer}
    found = server.post(INFER, json.dumps(asked))
    assert found.status in (200, 400, 413)
