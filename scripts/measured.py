"""Keep what a finished sweep of a ready study has shown, for `convscope sweep --measured` and the
claim cards.

    python scripts/measured.py kernel-size runs/kernel-size-mnist-1
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from convscope.run import RunFolder
from convscope.studies import grid, measured, sweep


def main() -> None:
    """Write the rows of a sweep's folder into the package."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("study", choices=grid.names())
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    rows = json.loads((asked.folder / "results.json").read_text(encoding="utf-8"))["rows"]
    last = RunFolder(asked.folder / rows[-1]["run"])
    threads = last.read_recipe().train.threads
    kept = {
        "command": f"convscope sweep --study {asked.study} --threads {threads}",
        "machine": sweep.machine_of(last),
        "date": last.read_model()["created"][:10],
    }
    lines = ",\n".join(
        "  " + json.dumps({name: _short(value) for name, value in row.items() if name != "run"})
        for row in rows
    )
    head = ",\n".join(f" {json.dumps(name)}: {json.dumps(text)}" for name, text in kept.items())
    path = measured.FOLDER / f"{asked.study}.json"
    path.write_text(f'{{\n{head},\n "rows": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    print(path)


def _short(value: object) -> object:
    """Numbers to six digits, within whatever holds them."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_short(each) for each in value]
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    return value


if __name__ == "__main__":
    main()
