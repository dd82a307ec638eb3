"""Make a lesson's pictures by running it: docs/lessons/pictures/*.png and *.svg.

    python scripts/pictures.py PAGE FOLDER

PAGE is a lesson's file. It is run in FOLDER in full, as a reader would, but for its sweeps and what
has been trained there already. The pictures that the page shows are then kept, those of pixels in
few colours. (Diagrams are drawn by diagrams.py.)
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from diagrams import DIAGRAMS
from documents import Reader, blocks
from PIL import Image

COLOURS = 256


def main(page: Path, folder: Path) -> None:
    """Run the page in the folder, and keep what it shows."""
    import matplotlib

    matplotlib.use("agg")
    kept = page.resolve().parent / "pictures"
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"\(pictures/(.*?)\)", text)
    wanted = [name for name in shown if Path(name).stem not in DIAGRAMS]
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    for name in wanted:
        Path(name).unlink(missing_ok=True)
    reader = Reader()
    for block in blocks(text):
        if "convscope sweep" not in block.text and not _trained(block.text):
            print(block.text.strip().splitlines()[0][:100])
            reader.run(block)
    for name in wanted:
        if name.endswith(".svg"):
            shutil.copy(name, kept / name)
        else:
            few = Image.open(name).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
            few.save(kept / name, optimize=True)
        print(f"{kept / name}: {(kept / name).stat().st_size:,} bytes")


def _trained(text: str) -> bool:
    """Whether a block trains only what is there already."""
    found = re.findall(r"convscope train .*--out (\S+)", text)
    return bool(found) and all(Path(run, "report.html").exists() for run in found)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
