"""The one preprocessing as a graph: what ONNX Runtime makes of any image, against the decoder."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from convscope.data.columns import Image
from convscope.data.decode import decode
from convscope.shipping.golden import patterns
from convscope.shipping.preprocessing import IR, OPSET, fit_nodes

HEIGHT, WIDTH = 14, 10
SIZES = [
    *((1, 1), (1, 60), (60, 1), (2, 300), (300, 2), (3, 2)),
    *((14, 11), (15, 10), (28, 20), (7, 5), (9, 31), (31, 9), (120, 161), (241, 97)),
]


def session(channels: int, fit: str) -> onnxruntime.InferenceSession:
    nodes = fit_nodes(Image(channels, (HEIGHT, WIDTH), fit), "images", "scaled", "")
    value = helper.make_tensor_value_info
    shape = ["N", channels, HEIGHT, WIDTH]
    graph = helper.make_graph(
        nodes,
        "fit",
        [value("images", TensorProto.UINT8, ["N", channels, "H", "W"])],
        [value("fitted", TensorProto.UINT8, shape), value("scaled", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, ir_version=IR, opset_imports=[helper.make_opsetid("", OPSET)])
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_pixels_are_the_decoders_within_one_level(fit: str, channels: int) -> None:
    """Over waves with noise, noise alone and blocks: pad, cut and stretch to the same pixel."""
    run = session(channels, fit).run
    random = np.random.default_rng(1)
    for height, width in SIZES:
        images = patterns((3, channels, height, width), height)
        images[1] = random.integers(0, 256, images[1].shape)
        images[2] = 255 * (np.arange(height)[:, None] // 3 % 2 ^ np.arange(width) // 2 % 2)
        fitted, scaled = run(None, {"images": images})
        for image, found in zip(images, fitted, strict=True):
            array = image[0] if channels == 1 else image.transpose(1, 2, 0)
            wanted = decode(array, channels=channels, size=(HEIGHT, WIDTH), fit=fit)
            apart = np.abs(found.astype(int) - wanted)
            assert apart.max() <= 1, (height, width)
        np.testing.assert_allclose(scaled, fitted / 255, atol=1e-6)


def test_a_border_is_never_two_levels_off() -> None:
    """Over many small images of noise, whose two middle values are often half a level apart."""
    run = session(1, "pad").run
    images = np.random.default_rng(2).integers(0, 256, (2000, 1, 5, 9), np.uint8)
    wanted = [decode(one[0], channels=1, size=(HEIGHT, WIDTH)) for one in images]
    apart = np.abs(run(["fitted"], {"images": images})[0].astype(int) - np.stack(wanted))
    assert apart.max() == 1


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_an_image_that_fits_is_left_as_it_is(fit: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, HEIGHT, WIDTH), np.uint8)
    assert np.array_equal(session(3, fit).run(["fitted"], {"images": images})[0], images)
