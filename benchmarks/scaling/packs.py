"""An epoch over a pack in shards that is ten times the memory a process may have, against the same
where it fits.

    python benchmarks/scaling/packs.py [--memory 800MB] [--times 10] [--model mlp] [--repeats 2]
                                       [--json FILE]
    python benchmarks/scaling/packs.py --shuffle 4

A store on this machine serves one shard of random 32 x 32 images under the names of as many shards
as make ``--times`` the ``--memory``. Runs of ``convscope train``, each a process with a cache of
its own: bounded by a control group of Linux, which counts pages of files as well, and then with no
bound, in turn. The first epoch fetches the shards from the store, the second reads them from the
cache's disk (without a bound: from memory). A control group needs root, or one of its own.

With ``--shuffle`` the order of 8 lanes over 47 shards of MNIST is held against a full shuffle: test
accuracy of a small network after two epochs, over so many seeds each.

Two cores of an AMD EPYC (family 25, model 17, Zen 4), 2026-11-30: 2,603,900 images, 8 GB, in 800
MB: 0.83 times the seconds of an epoch without a bound where it is fetched, 1.18 times where it is
read from the cache's disk (--repeats 2; 0.80 and 1.01 in a pair before). --shuffle 4 gives 95.54 %
+- 0.16 for the full shuffle, and 95.66 % +- 0.24 for lanes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.server
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from convscope.data.columns import as_json, image_and_label
from convscope.data.pack import FORMAT_VERSION
from convscope.data.pack_writer import head
from convscope.data.shard_writer import LANES, WINDOW
from convscope.training.memory import bytes_of

SHAPE = (3, 32, 32)
EACH = 650  # images of a shard, 2 MB
TRAIN = """
import json, resource, sys
import convscope as cs
url, model, out = sys.argv[1:]
more = {"hidden": 64} if model == "mlp" else {}
run = cs.train(url, model=model, **more, epochs=2, batch_size=500, augment="none",
               precision="float32", kernels="plain", memory_format="contiguous", look=False,
               out=out)
lines = open(out + "/history.jsonl").read().splitlines()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": [json.loads(line)["seconds"] for line in lines], "peak": peak}))
"""


def described(content: bytes, shape: list[int], dtype: str) -> dict[str, Any]:
    """What ``meta.json`` says of a file."""
    sha256 = hashlib.sha256(content).hexdigest()
    return {"shape": shape, "dtype": dtype, "bytes": len(content), "sha256": sha256}


def store(shards: int) -> dict[str, bytes]:
    """The files of a pack of so many shards to learn from, and one each to validate and test; that
    of a shard, whatever its number, under nothing."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (EACH, *SHAPE), dtype=np.uint8).tobytes()
    one = {"bytes": len(pixels), "sha256": hashlib.sha256(pixels).hexdigest()}
    counts = {"train": [EACH] * shards, "val": [EACH], "test": [EACH]}
    splits: dict[str, dict[str, Any]] = {}
    files = {"": pixels}
    for split, each in counts.items():
        n = sum(each)
        begin = head((n, *SHAPE), "uint8")
        whole = hashlib.sha256(begin)
        for _ in each:
            whole.update(pixels)
        image = {"shape": [n, *SHAPE], "dtype": "uint8", "sha256": whole.hexdigest()}
        splits[split] = {"image": image | {"bytes": len(begin) + len(each) * len(pixels)}}
        labels = {"label": np.arange(n) % 10, "hashes": random.integers(0, 2**63, n, np.uint64)}
        for part, values in labels.items():
            content = head(values.shape, values.dtype) + values.tobytes()
            files[f"{split}-{part}.npy"] = content
            splits[split][part] = described(content, [n], str(values.dtype))
    meta = {
        "format_version": FORMAT_VERSION,
        "name": "random",
        "columns": as_json(image_and_label(SHAPE, [str(n) for n in range(10)])),
        "fingerprint": "random",
        "source": "drawn",
        "own_test": True,
        "splits": splits,
        "shards": {
            "lanes": LANES,
            "window": WINDOW,
            "records": counts,
            "files": {split: {"image": [one] * len(each)} for split, each in counts.items()},
            "statistics": {"image": [[0.5] * 3, [0.29] * 3]},
        },
    }
    return files | {"meta.json": json.dumps(meta).encode()}


def serve(files: dict[str, bytes]) -> http.server.ThreadingHTTPServer:
    """These files over HTTP, on a free port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            content = files[name if name in files else ""]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # who asked has ended
                self.wfile.write(content)

        def log_message(self, *rest: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def group(limit: int) -> Path:
    """A control group whose memory, pages of files included, is bounded."""
    root = Path("/sys/fs/cgroup")
    old = root / "memory"  # version 1
    place = (old if old.is_dir() else root) / f"convscope-packs-{os.getpid()}"
    place.mkdir()
    name = "memory.limit_in_bytes" if old.is_dir() else "memory.max"
    (place / name).write_text(str(limit))
    return place


def train(url: str, model: str, place: Path | None, folder: Path) -> dict[str, Any]:
    """A run of two epochs, in a control group or in none."""
    own = {"CONVSCOPE_CACHE": str(folder / "cache")}
    join = f"echo $$ > {place}/cgroup.procs; " if place else ""
    words = ["sh", "-c", f'{join}exec "$0" "$@"', sys.executable, "-c", TRAIN, url, model]
    done = subprocess.run(  # noqa: PLW1510
        [*words, str(folder / "run")], env=os.environ | own, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"failed with {done.returncode}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def shuffle(seeds: int) -> None:
    """Test accuracy of a small network on MNIST after two epochs: full shuffle against lanes."""
    import torch
    from torch import nn
    from torch.nn import functional

    from convscope.data import shard_writer
    from convscope.data.loader import Loader, tensor_of
    from convscope.data.sources import open_data
    from convscope.data.stores import Store
    from convscope.events import silent
    from convscope.recipe import Augment

    pack, found = open_data("mnist"), dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CONVSCOPE_CACHE"] = f"{folder}/cache"
        plan = shard_writer.planned(pack, np.empty(0, np.int64), 1_000_000)
        shard_writer.write(plan, Store(folder), silent)
        both = {"full": pack, "lanes": open_data(folder)}
        test = torch.from_numpy(np.asarray(pack.splits["test"].images)).flatten(1) / 255
        for seed in range(seeds):
            for kind, data in both.items():
                train = data.splits["train"]
                inputs = {"image": tensor_of(train.images)}
                targets = {"label": torch.from_numpy(np.array(train.labels))}
                rest = torch.arange(len(train)), 100, seed, Augment()
                loader = Loader(data.columns, inputs, targets, *rest, shards=train.shards)
                torch.manual_seed(seed)
                net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
                adam = torch.optim.Adam(net.parameters(), 1e-3)
                for batch in (batch for epoch in range(2) for batch in loader.epoch(epoch)):
                    adam.zero_grad()
                    logits = net(batch.inputs["image"].flatten(1))
                    functional.cross_entropy(logits, batch.targets["label"]).backward()
                    adam.step()
                right = net(test).argmax(1).numpy() == pack.splits["test"].labels
                found.setdefault(kind, []).append(float(right.mean()))
    for kind, accuracies in found.items():
        mean, spread = statistics.mean(accuracies), statistics.stdev(accuracies)
        print(f"{kind:5} {mean:.2%} +- {spread:.2%} ({seeds} seeds)")


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--memory", default="800MB")
    parser.add_argument("--times", type=float, default=10)
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--shuffle", type=int, metavar="SEEDS", help="accuracy instead of time")
    asked = parser.parse_args(argv)
    if asked.shuffle:
        shuffle(asked.shuffle)
        return
    limit = bytes_of(asked.memory)
    shards = round(asked.times * limit / (EACH * np.prod(SHAPE)))
    size, free = shards * EACH * int(np.prod(SHAPE)), shutil.disk_usage(tempfile.gettempdir()).free
    if size > 0.9 * free:
        raise SystemExit(f"needs {size / 1e9:.1f} GB in {tempfile.gettempdir()}, and has "
                         f"{free / 1e9:.1f}; set TMPDIR")  # fmt: skip
    server = serve(store(shards))
    url = f"http://127.0.0.1:{server.server_port}"
    images = shards * EACH
    print(f"{images:,} images, {size / 1e9:.2f} GB, {asked.model}; bound {limit / 1e6:,.0f} MB")
    found: dict[str, list[list[float]]] = {"bounded": [], "free": []}
    for _ in range(asked.repeats):
        for kind, seconds in found.items():
            place = group(limit) if kind == "bounded" else None
            try:
                with tempfile.TemporaryDirectory() as folder:
                    run = train(url, asked.model, place, Path(folder))
            finally:
                if place:
                    place.rmdir()
            seconds.append(run["seconds"])
            rates = ", ".join(f"{s:.1f} s ({images / s:,.0f}/s)" for s in run["seconds"])
            load = os.getloadavg()[0]
            print(f"{kind:8} epochs {rates}; peak {run['peak'] / 1e6:,.0f} MB; load {load:.1f}")
    ratios = []
    for epoch, what in enumerate(("fetched from the store", "from the cache")):
        each = {kind: statistics.median(one[epoch] for one in runs) for kind, runs in found.items()}
        ratios.append(each["bounded"] / each["free"])
        print(f"{what}: {ratios[-1]:.2f}x of the time of one that fits")
    if asked.json:
        result = {"images": images, "bytes": size, "bound": limit, "seconds": found}
        asked.json.write_text(json.dumps(result | {"ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
