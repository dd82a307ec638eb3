"""Other runtimes take a run, by the snippets of docs/shipping.md as they are written.

Last run: ``pytest -m slow tests/shipping/test_runtimes.py``, two cores of an AMD EPYC (family 25,
model 17), 2026-11-30: 2 passed, OpenVINO 2026.4.1 and ExecuTorch 1.5.1.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import documents
import numpy as np
import pytest
import torch
from environments import python_with
from quick import QUICK

import convscope as cs

DOCUMENT = Path(__file__).parents[2] / "docs" / "shipping.md"
SNIPPETS = {
    block.text.split("import ")[1].split()[0].split(".")[0]: block.text
    for block in documents.blocks(DOCUMENT.read_text(encoding="utf-8"))
    if block.language == "python"
}
OPENVINO = ["openvino==2026.4.1", "onnx==1.23.2", "numpy==2.4.6"]


@pytest.fixture
def run(bars, workplace) -> Path:
    """A run, its file in the working folder, pixels of its size, and what it says of them."""
    found = cs.train("mnist", **QUICK, out="runs/a", look=False).path
    cs.export(found, out="model.onnx")
    np.save("pixels.npy", np.array(bars.splits["test"].images))
    return found


@pytest.mark.slow
def test_openvino_computes_the_file_from_fitted_pixels(run, bars):
    python = python_with("openvino", *OPENVINO)
    code = f"import numpy as np\npixels = np.load('pixels.npy')\n{SNIPPETS['onnx']}"
    code += "np.save('found.npy', probabilities)"
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, env=own, check=False
    )
    assert done.returncode == 0, done.stderr
    wanted = cs.load(run).probabilities(np.load("pixels.npy"))
    assert np.load("found.npy") == pytest.approx(wanted, abs=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what that package does as it is imported
def test_executorch_computes_the_network(run, bars):
    pytest.importorskip("executorch", reason="pip install executorch")
    from executorch.runtime import Runtime

    height, width = bars.main_image.size
    exec(SNIPPETS["torch"].replace("1, 1, 28, 28", f"1, 1, {height}, {width}"))
    method = Runtime.get().load_program("model.pte").load_method("forward")
    network = cs.load(run).network
    for pixels in np.load("pixels.npy")[:5]:
        x = torch.from_numpy(pixels[None]).float() / 255
        assert torch.allclose(method.execute([x])[0], network(x), atol=1e-4)
