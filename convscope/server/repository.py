"""The models of a server by name, each replaced when its file is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convscope.errors import ConvscopeError, text_of
from convscope.predicting.predictor import Predictor
from convscope.server.batching import Lane
from convscope.server.limits import Refusal

Stamp = tuple[int, int, int]
log = logging.getLogger("convscope.server")


@dataclass(frozen=True, eq=False)
class Model:
    """A network that is served: its file as it was when it was opened. ``version`` is the
    beginning of the SHA-256 of that file."""

    name: str
    path: Path
    version: str
    lane: Lane

    @property
    def predictor(self) -> Predictor:
        """What it answers by."""
        return self.lane.predictor


class Repository:
    """Models by name, the first of them the one that is meant where none is named. A request keeps
    the model that it began with, so that none is dropped where a file is replaced."""

    def __init__(self, paths: Mapping[str, Path], opener: Callable[[Path], Predictor]) -> None:
        self.opener = opener
        self.models = {name: self._opened(name, path) for name, path in paths.items()}
        self.stamps = {name: _stamp(path) for name, path in paths.items()}
        self.seen = dict(self.stamps)

    def find(self, name: str | None = None, version: str | None = None) -> Model:
        """The model of a name. Raises Refusal."""
        model = next(iter(self.models.values())) if name is None else self.models.get(name)
        if model is None:
            known = ", ".join(self.models)
            raise Refusal(404, "model", f"no model {name!r:.80} is served here; there is {known}")
        if version and version != model.version:
            text = f"{model.name} is there in version {model.version}, not in {version!r:.80}"
            raise Refusal(404, "version", text)
        return model

    def refresh(self) -> None:
        """Open anew what was replaced and is the same as at the last call, so that it is not being
        written just now. What cannot be opened is said once, and the old model goes on."""
        for name, model in list(self.models.items()):
            stamp, before = _stamp(model.path), self.seen[name]
            self.seen[name] = stamp
            if stamp is None or stamp != before or stamp == self.stamps[name]:
                continue
            self.stamps[name] = stamp
            try:
                self.models[name] = self._opened(name, model.path)
            except (ConvscopeError, OSError) as why:
                log.warning("%s: the new file is not served: %s", name, text_of(why))
            else:
                log.warning("%s: version %s is served", name, self.models[name].version)

    def _opened(self, name: str, path: Path) -> Model:
        """A model that has computed once. Raises what the opener does."""
        version = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        predictor = self.opener(path)
        predictor.logits(np.zeros((1, predictor.channels, *predictor.size), np.uint8))
        return Model(name, path, version, Lane(predictor, name))


def _stamp(path: Path) -> Stamp | None:
    """What changes with a file; None where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
