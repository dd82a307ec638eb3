"""Whether two checkouts of convscope train the same weights, to the bit.

    python scripts/same_bits.py OTHER [--steps 50] [--only mnist-cnn]

Trains recipes of the package for some steps with this checkout and with the one in the folder
OTHER, each in a process of its own, in float32 and bfloat16, as PyTorch computes them and with
fused kernels, and compares every weight. Prints a line a case and ends with 1 where one differs.
Measures nothing on the machine, so that both sides compute by the same algorithms. CIFAR-10 is
looked for as ``convscope train cifar10`` does; cases whose data are not here are left out, by name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
RECIPES = (
    *("mnist-cnn", "mnist-resnet", "mnist-inception", "mnist-preact_resnet20"),
    *("cifar10-cifar_cnn", "cifar10-record"),
)
# Of some layers also those algorithms that would be chosen by measuring, by their former names,
# which every version reads.
CHOSEN = {
    ("mnist-cnn", "float32"): "features.0=few,direct,few features.4=winograd,winograd,matmul",
    ("mnist-cnn", "bfloat16"): "features.0=few,direct,few features.4=matmul,turned,matmul",
    ("mnist-resnet", "float32"): "features.7.conv1=winograd,turned,winograd",
    ("mnist-resnet", "bfloat16"): "features.4=dot,dot,dot features.7.conv1=winograd,turned,dot",
}


def cases(only: list[str] | None) -> list[tuple[str, str, str]]:
    """(recipe, precision, kernels) of each."""
    found = [
        (name, precision, kernels)
        for name in only or RECIPES
        for precision in ("float32", "bfloat16")
        for kernels in ("plain", "fused", f"fused {CHOSEN.get((name, precision), '')}".rstrip())
    ]
    return list(dict.fromkeys(found))


def trained(asked: list[tuple[str, str, str]], steps: int) -> dict[str, str]:
    """The SHA-256 of the weights of each case, or why there is none."""
    import convscope

    found = {}
    for name, precision, kernels in asked:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            given = {"precision": precision, "kernels": kernels, "memory_format": "channels_last"}
            try:
                convscope.train(
                    recipe=name, steps=steps, epochs=1, out=out, look=False, threads=2, **given
                )
                weights = (out / "model.safetensors").read_bytes()
                found[f"{name} {precision} {kernels}"] = hashlib.sha256(weights).hexdigest()
            except convscope.ConvscopeError as why:
                found[f"{name} {precision} {kernels}"] = str(why)
    return found


def run(checkout: Path, asked: list[tuple[str, str, str]], steps: int) -> dict[str, str]:
    """What that checkout makes of the cases."""
    command = [sys.executable, str(Path(__file__).resolve()), "--cases", json.dumps(asked)]
    done = subprocess.run(
        [*command, "--steps", str(steps), str(checkout)],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=checkout,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--only", nargs="+", choices=RECIPES)
    parser.add_argument("--cases", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cases:
        print(json.dumps(trained([tuple(case) for case in json.loads(args.cases)], args.steps)))
        return 0
    asked = cases(args.only)
    ours, theirs = run(HERE, asked, args.steps), run(args.other.resolve(), asked, args.steps)
    differ = 0
    for name, found in ours.items():
        why = [one for one in (found, theirs[name]) if len(one) != 64]
        says = "same bits" if found == theirs[name] else "DIFFERENT"
        if why:
            says = f"not trained{' on one side' * (len(why) == 1)}: {why[0][:100]}"
        differ += found != theirs[name] and len(why) < 2
        print(f"{name}: {says}")
    print(f"{differ} of {len(asked)} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
