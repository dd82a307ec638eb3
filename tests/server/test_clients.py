"""Others' clients ask this server, and another's server takes the same file: all say the same.

Their packages are in environments of their own (:mod:`environments`), which the first run makes.
Last run: ``pytest -m slow tests/server/test_clients.py``, two cores of an AMD EPYC (family 25,
model 17), 2026-11-30: 4 passed, differences below 1e-5.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from environments import python_with
from servers import started

from convscope.predicting.onnx_file import load_onnx
from convscope.server import serving
from convscope.server.limits import Limits

TRITON = """
import json, sys
import numpy as np
import tritonclient.http as http

images = np.load(sys.argv[2])
client = http.InferenceServerClient(f"127.0.0.1:{sys.argv[1]}")
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("bars")
assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
assert client.get_model_metadata("bars")["inputs"][0]["name"] == "images"
found = {}
for binary in (False, True):
    given = http.InferInput("images", list(images.shape), "UINT8")
    given.set_data_from_numpy(images, binary_data=binary)
    asked = http.InferRequestedOutput("logits", binary_data=binary)
    for outputs in ([asked], None):
        answer = client.infer("bars", [given], outputs=outputs)
        found[f"{binary} {outputs is None}"] = answer.as_numpy("logits").tolist()
try:
    client.infer("nobody", [given])
except http.InferenceServerException as why:
    found["error"] = str(why)
print(json.dumps(found))
"""

KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

images = np.load(sys.argv[2])
url = f"http://127.0.0.1:{sys.argv[1]}"

async def ask():
    client, found = InferenceRESTClient(RESTConfig(protocol="v2")), {}
    assert await client.is_server_ready(url) and await client.is_model_ready(url, "bars")
    for binary in (False, True):
        given = InferInput("images", list(images.shape), "UINT8")
        given.set_data_from_numpy(images, binary_data=binary)
        asked = InferRequest("bars", [given])
        answer = await client.infer(url, asked, model_name="bars")
        [logits] = [one for one in answer.outputs if one.name == "logits"]
        found[str(binary)] = logits.as_numpy().tolist()
    return found

print(json.dumps(asyncio.run(ask())))
"""

MLSERVER = """
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Onnx(MLModel):
    async def load(self):
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        images = NumpyCodec.decode_input(payload.inputs[0]).astype("uint8")
        names = ["probabilities", "logits"]
        found = self.session.run(names, {"images": images})
        outputs = [NumpyCodec.encode_output(*pair) for pair in zip(names, found)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images that the network takes, and a size that its file has to fit, in a file of NumPy's."""
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (3, 1, 12, 12), np.uint8))
    return path


def said_by(client: str, name: str, packages: list[str], run: Path, images: Path) -> dict[str, Any]:
    """What a client's script prints of its talk with a server of the run."""
    service = serving.service_of({"bars": run / "model.onnx"}, Limits())
    with serving.listening("127.0.0.1", 0) as taken, started(service, taken) as server:
        command = [python_with(name, *packages), "-c", client, str(server.port), str(images)]
        own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_tritons_client_is_answered_in_json_and_in_bytes(run, images):
    found = said_by(TRITON, "triton", ["tritonclient[http]==2.73.0"], run, images)
    assert "no model 'nobody' is served here; there is bars" in found.pop("error")
    expected = load_onnx(run / "model.onnx").logits(np.load(images))
    assert len(found) == 4
    for name, logits in found.items():
        assert np.array(logits) == pytest.approx(expected, abs=1e-5), name


@pytest.mark.slow
def test_kserves_client_is_answered_in_json_and_in_bytes(run, images):
    found = said_by(KSERVE, "kserve", ["kserve==0.21.0"], run, images)
    expected = load_onnx(run / "model.onnx").logits(np.load(images))
    assert set(found) == {"False", "True"}
    for logits in found.values():
        assert np.array(logits) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("side", [12, 31])
def test_another_server_takes_the_file_and_says_the_same(run, tmp_path, side):
    python = python_with("mlserver", "mlserver==1.7.1", "onnxruntime==1.32.0")
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        http, grpc = a.getsockname()[1], b.getsockname()[1]
    (tmp_path / "runtime.py").write_text(MLSERVER)
    settings = {"http_port": http, "grpc_port": grpc, "metrics_endpoint": None}
    settings |= {"host": "127.0.0.1", "parallel_workers": 0}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    model = {"name": "bars", "implementation": "runtime.Onnx"}
    model["parameters"] = {"uri": str(run / "model.onnx")}
    (tmp_path / "model-settings.json").write_text(json.dumps(model))
    values = np.random.default_rng(side).integers(0, 256, (2, 1, side, side), np.uint8)
    tensor = {"name": "images", "shape": list(values.shape), "datatype": "UINT8"}
    asked = json.dumps({"inputs": [tensor | {"data": values.ravel().tolist()}]}).encode()

    def outputs(port: int) -> dict[str, np.ndarray]:
        headers = {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{port}/v2/models/bars/infer"
        with urllib.request.urlopen(urllib.request.Request(url, asked, headers)) as answer:
            found = json.loads(answer.read())["outputs"]
        return {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in found}

    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(Path(python).with_name("mlserver")), "start", str(tmp_path)]
    other = subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                theirs = outputs(http)
                break
            except OSError:
                assert other.poll() is None and time.monotonic() < deadline
                time.sleep(0.5)
    finally:
        other.terminate()
        other.wait(30)
    service = serving.service_of({"bars": run / "model.onnx"}, Limits())
    with serving.listening("127.0.0.1", 0) as taken, started(service, taken) as server:
        ours = outputs(server.port)
    for name in ("probabilities", "logits"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-5)
