"""What training has seen of validation is said beside what validation says of the answers."""

from __future__ import annotations

import pytest
from listening import notices, warnings_in
from quick import QUICK

import convscope as cs
from convscope.data import pack_writer, sources


@pytest.fixture
def repeated(tiny, tmp_path, monkeypatch):
    """The bars with a validation split of their own, of which two images are training images."""
    train, test = tiny.splits["train"], tiny.splits["test"]
    both = train.images[:180], train.labels[:180]
    val = train.images[178:], train.labels[178:]
    splits = {"train": both, "val": val, "test": (test.images, test.labels)}
    pack = pack_writer.write_pack(tmp_path / "pack", "mnist", tiny.classes, splits, "drawn")
    monkeypatch.setattr(sources, "open_data", lambda *rest, **named: pack)
    monkeypatch.chdir(tmp_path)


def test_early_stopping_has_seen_validation(bars, events):
    seen, emit = events
    cs.train("mnist", **QUICK, look=False, out="a", emit=emit)
    assert not any("too good" in one for one in notices(seen))
    cs.train("mnist", **QUICK, look=False, out="b", early_stopping=2, emit=emit)
    said = "what validation says of the answers is likely too good: early stopping chose the weig"
    assert sum(one.startswith(said) for one in notices(seen)) == 1 and not warnings_in(seen)
    cs.train("mnist", **QUICK, look=False, out="c", keep="best", emit=emit)
    assert any(one.endswith("too good: the weights are those of the epoch that was best on it")
               for one in notices(seen))  # fmt: skip


def test_images_of_validation_that_are_learnt_from_are_a_warning(repeated, events):
    seen, emit = events
    cs.train("mnist", **QUICK, look=False, out="a", emit=emit)
    [said] = [one for one in warnings_in(seen) if "too good" in one]
    assert said.endswith("is likely too good: 2 of its images are training images, too")
