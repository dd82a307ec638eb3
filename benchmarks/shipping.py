"""How long does an exported network take, and what does the preprocessing inside it cost?

    python benchmarks/shipping.py latency [--run FOLDER] [--pairs 15] [--calls 300]
    python benchmarks/shipping.py threads [--pairs 7]

``latency``: one image of MNIST through the network `cnn`, in process, from uint8 pixels, on one
thread each. Ours is the exported file in ONNX Runtime. Its peers: the bare network in ONNX Runtime,
which is given floats that fit already; eager PyTorch; and for images of twice the size the bare
network behind Pillow and NumPy, as one would write it. ``threads``: our files of a small and of a
larger network on two threads and on one, which sleep or spin while they wait, for one image and for
64. Two sides take turns of ``--calls``; what counts is the ratio of their medians, and of those the
median over all pairs. Without ``--run`` a network is trained for an epoch.

Two cores of an AMD EPYC (family 25, model 17), 2026-11-30, quiet, ours / peer:

| | ours | peer | ratio |
|---|---|---|---|
| fits already / bare network on floats | 71 us | 67 us | 1.06 (1.06 to 1.06) |
| 56 x 56, resized inside / bare network on floats | 85 us | 66 us | 1.27 (1.27 to 1.28) |
| the same / Pillow, NumPy and the bare network | 85 us | 107 us | 0.79 |
| 56 x 40, resized, with a border / bare network on floats | 100 us | 67 us | 1.50 |
| the same / Pillow, NumPy and the bare network | 100 us | 104 us | 0.95 |
| fits already / eager PyTorch, inference_mode | 71 us | 319 us | 0.22 (0.21 to 0.22) |

Two threads against one, seven pairs, the same day, at a load of 8: `cnn` 1.07 asleep and 1.03
spinning for one image, 1.02 and 1.01 for 64; `resnet18_small` 0.77 and 1.02 for one image, 0.72 and
0.65 for 64. Hence all cores by default, asleep while they wait: the small network loses little, the
larger one gains, and other processes keep the cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image

import convscope as cs
from convscope.data.columns import image_and_label
from convscope.models import build, store
from convscope.predicting.onnx_file import OnnxFile
from convscope.run import RunFolder
from convscope.shipping.onnx import graph_of

Side = Callable[[], object]


def p50(side: Side, calls: int) -> float:
    """The median of so many calls in microseconds, after some that do not count."""
    took = []
    for call in range(calls + calls // 10):
        began = time.perf_counter()
        side()
        if call >= calls // 10:
            took.append(time.perf_counter() - began)
    return 1e6 * statistics.median(took)


def in_turn(name: str, ours: Side, peer: Side, pairs: int, calls: int) -> None:
    """Print the medians of two sides that take turns, and of their ratios."""
    both = [(p50(ours, calls), p50(peer, calls)) for _ in range(pairs)]
    ratios = sorted(one / other for one, other in both)
    mine, theirs = (statistics.median(side) for side in zip(*both, strict=True))
    print(
        f"{name:58} {mine:9.1f} us {theirs:9.1f} us   {statistics.median(ratios):5.2f}x "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


def session(content: bytes, threads: int, spinning: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def bare(network: torch.nn.Module) -> onnxruntime.InferenceSession:
    """The network alone, as PyTorch exports it: floats in, logits out."""
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 1, 28, 28),),
        dynamo=True,
        opset_version=18,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        input_names=["x"],
        output_names=["logits"],
        verbose=False,
    )
    return session(program.model_proto.SerializeToString(), 1)


def latency(run: str, pairs: int, calls: int) -> None:
    """Our file beside the bare network, and beside PyTorch."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(run or Path(folder) / "run")
        if not run:
            cs.train("mnist", model="cnn", epochs=1, out=place, look=False, emit=cs.silent)
        path = cs.export(place, out=Path(folder) / "model.onnx", emit=cs.silent).path
        ours = OnnxFile.open(path).session(threads=1)
        network = store.load(RunFolder(place))
    peer = bare(network)
    test = cs.open_data("mnist").splits["test"].images
    image = np.array(test[:1])
    floats = image.astype(np.float32) / 255
    twice = {
        side: np.asarray(Image.fromarray(image[0, 0]).resize((side[1], side[0])))[None, None]
        for side in ((56, 56), (56, 40))
    }

    def eager() -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(image) * (1 / 255)).softmax(1)

    def by_hand(pixels: np.ndarray) -> object:
        fitted = Image.fromarray(pixels[0, 0]).resize((28, 28), Image.Resampling.BILINEAR)
        return peer.run(None, {"x": np.asarray(fitted)[None, None].astype(np.float32) / 255})

    def of_ours(pixels: np.ndarray) -> Side:
        return partial(ours.run, ["probabilities"], {"images": pixels})

    print(f"{'one image, one thread':58} {'ours':>12} {'peer':>12}")
    fits, bare_alone = of_ours(image), partial(peer.run, None, {"x": floats})
    in_turn("fits already / bare network on floats", fits, bare_alone, pairs, calls)
    for (height, width), pixels in twice.items():
        name = f"{height} x {width}, resized inside"
        in_turn(f"{name} / bare network on floats", of_ours(pixels), bare_alone, pairs, calls)
        hand = partial(by_hand, pixels)
        in_turn(f"{name} / Pillow, NumPy, bare network", of_ours(pixels), hand, pairs, calls)
    in_turn("fits already / eager PyTorch, inference_mode", fits, eager, pairs, calls)


def threads(pairs: int) -> None:
    """One thread beside two, which sleep or spin while they wait."""
    print(f"{'two threads / one thread':58} {'two':>12} {'one':>12}")
    for name, channels, size in (("cnn", 1, (28, 28)), ("resnet18_small", 3, (32, 32))):
        network = build(name, 10, channels, size).eval()
        columns = image_and_label((channels, *size), [*"0123456789"])
        content = graph_of(network, columns, {}).SerializeToString()
        for count in (1, 64):
            given = {"images": np.zeros((count, channels, *size), np.uint8)}
            alone = partial(session(content, 1).run, None, given)
            calls = 100 if name == "cnn" and count == 1 else 10
            for spinning in (False, True):
                two = session(content, 2, spinning)
                said = f"{name}, {count} images, waiting threads {'spin' if spinning else 'sleep'}"
                in_turn(said, partial(two.run, None, given), alone, pairs, calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(required=True)
    one = verbs.add_parser("latency")
    one.add_argument("--run", default="")
    one.add_argument("--pairs", type=int, default=15)
    one.add_argument("--calls", type=int, default=300)
    one.set_defaults(job=latency)
    two = verbs.add_parser("threads")
    two.add_argument("--pairs", type=int, default=7)
    two.set_defaults(job=threads)
    asked = vars(parser.parse_args())
    asked.pop("job")(**asked)


if __name__ == "__main__":
    main()
