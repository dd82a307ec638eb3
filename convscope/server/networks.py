"""The networks of a studio's runs as ONNX files, exported when they are first asked for; their
pages, and their answers where a page would be too large."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from convscope import files
from convscope.errors import BadArgument, ConvscopeError
from convscope.predicting.onnx_file import OnnxFile, load_onnx
from convscope.run import RunFolder
from convscope.server.batching import Computed, Lane
from convscope.server.limits import Limits, Refusal
from convscope.server.named import FILE
from convscope.server.repository import Model
from convscope.server.studio_pages import BACK
from convscope.server.uploads import upload_of

BEARS = (1_000_000_000, 100_000_000)  # multiply-adds and bytes of weights that a page here computes
READ = {  # pages of a run that are linked to, where they are there
    "report.html": ("report.html", "pages.report"),
    "explain/index.html": ("explain/", "pages.explained"),
    "summary.html": ("summary.html", "pages.layers"),
}
OPEN = 2  # networks that answer at once, kept in memory
PATIENCE = 5.0  # seconds for an export to end once it is told to


@dataclass
class Export:
    """An export in a process of its own, and what it complains of."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    began: float = field(default_factory=time.monotonic)

    @property
    def failure(self) -> str:
        """Why it failed, in its last words; nothing where it goes on or has succeeded."""
        if not self.process.poll():
            return ""
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines() or ["error: ?"]
        return lines[-1].removeprefix("error: ")


class Networks:
    """The networks of runs as ONNX files: a run's own where it is that of the run as it is, else
    one in the cache, by what ``model.json`` says, weights included."""

    def __init__(self) -> None:
        self.folder = files.cache_root() / "networks"
        self.exports: dict[Path, Export] = {}
        self.models: dict[Path, Model] = {}
        self.lock = threading.Lock()

    def file(self, place: RunFolder) -> Path | None:
        """The ONNX file of a run, if there is one. Raises RunError for a damaged run."""
        said = place.read_model()
        for path in (place.path / FILE, self._cached(place)):
            try:
                if path.exists() and OnnxFile.open(path).model == said:
                    return path
            except ConvscopeError:  # damaged, or of another version: it is exported anew
                continue
        return None

    def state(self, place: RunFolder) -> dict[str, Any]:
        """Whether a run's network is there: ``ready``, ``making`` (for so many ``seconds``),
        ``failed`` with an ``error``, or ``absent``."""
        export = self.exports.get(self._cached(place))
        ended = export is None or export.process.poll() is not None
        if self.file(place) is not None:
            return {"state": "ready"}
        if export is not None and export.failure:
            return {"state": "failed", "error": export.failure}
        if export is None or ended:  # what it wrote has gone, or is of other weights
            return {"state": "absent"}
        return {"state": "making", "seconds": round(time.monotonic() - export.began, 1)}

    def export(self, place: RunFolder) -> dict[str, Any]:
        """Begin to export a run's network, unless it is there or on its way: ``waiting`` while
        another is exported, as one takes all cores."""
        with self.lock:
            found = self.state(place)
            if found["state"] in ("ready", "making"):
                return found
            if any(one.process.poll() is None for one in self.exports.values()):
                return {"state": "waiting"}
            target = self._cached(place)
            with files.explained(target):
                files.make_folder(target.parent)
            errors = tempfile.TemporaryFile()  # noqa: SIM115
            command = [sys.executable, "-m", "convscope", "export", str(place.path), "--force"]
            process = subprocess.Popen(
                [*command, "--out", str(target)], stdout=subprocess.DEVNULL, stderr=errors
            )
            self.exports[target] = Export(process, errors)
            return self.state(place)

    def page(self, place: RunFolder, run: str, pages: Sequence[str] = ()) -> str | None:
        """The page of a run's network, if that is there, under the run's name, with links to the
        ``pages`` of the run. What is too large for it, or has an operator that it does not compute,
        the server answers. Raises BadArgument for what has no page at all."""
        from convscope.shipping.page import page_of

        if "columns" in place.read_model()["architecture"]:
            rule = "its network has several inputs or targets, and a page shows it one image"
            raise BadArgument("run", run, rule, "read its report")
        file = self.file(place)
        if file is None:
            return None
        after = [link for page, link in READ.items() if page in pages]
        beside: dict[str, Any] = {"named": run, "before": BACK, "after": after}
        try:
            return page_of(file, run=place, bears=BEARS, **beside)
        except BadArgument:
            return page_of(file, answers="server", **beside)

    def answer(self, place: RunFolder, query: bytes, kind: str, body: bytes) -> bytes:
        """What a run's network says of an image in a body, as ``POST /predict`` has it. Raises
        Refusal."""
        file = self.file(place)
        if file is None:
            raise Refusal(409, "network", f"{place.path}: is not exported yet")
        asked = upload_of(self._model(file), query, kind, body, Limits())
        pixels = asked.read()
        with asked.model.lane.computing:
            logits = asked.model.predictor.logits(pixels)
        computed = Computed(logits, asked.model.predictor, asked.top)
        return asked.answer(computed, slice(0, len(pixels)))

    def close(self) -> None:
        """End what is being exported."""
        for one in self.exports.values():
            if one.process.poll() is None:
                one.process.terminate()
                try:
                    one.process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    one.process.kill()
            one.errors.close()

    def _cached(self, place: RunFolder) -> Path:
        return self.folder / hashlib.sha256(place.model.read_bytes()).hexdigest()[:32] / FILE

    def _model(self, file: Path) -> Model:
        with self.lock:
            version = files.sha256(file)[:12]
            kept = self.models.get(file)
            if kept is None or kept.version != version:
                predictor = load_onnx(file)
                kept = Model(file.parent.name, file, version, Lane(predictor))
                self.models = {**dict(list(self.models.items())[1 - OPEN :]), file: kept}
            return kept
