"""Odd files are named, those that are like the others are not."""

import numpy as np
import pytest
from photos import image_file, opened, photos, scene

from convscope.data.audit import heads
from convscope.data.audit.samples import Samples
from convscope.events import Progress, silent

pytestmark = pytest.mark.usefixtures("own_cache")


def named(found) -> list[list[str]]:
    return [[entry.file for entry in one.entries] for one in found]


def test_odd_sizes_and_modes(tmp_path):
    root = photos(tmp_path / "pets", count=20)
    (root / "cat" / "huge.png").write_bytes(image_file(1, (200, 150)))
    (root / "cat" / "tiny.png").write_bytes(image_file(2, (6, 4)))
    (root / "dog" / "long.png").write_bytes(image_file(3, (80, 6)))
    (root / "dog" / "upright.png").write_bytes(image_file(4, (16, 24)))
    (root / "dog" / "grey.png").write_bytes(image_file(5, mode="L"))
    scene(6, (24, 16)).convert("P").save(root / "cow" / "palette.png")
    pack, _ = opened(root)
    sizes, modes = heads.odd(Samples(pack), root, silent)
    assert sorted(named(sizes)) == [["cat/huge.png"], ["cat/tiny.png"], ["dog/long.png"]]
    [huge] = [one for one in sizes if one.entries[0].file == "cat/huge.png"]
    assert huge.why == "150 x 200, where the median is 16 x 24"
    assert sorted(named(modes)) == [["cow/palette.png"], ["dog/grey.png"]]
    whys = {one.why for one in modes}
    assert "grey (L), where most have colour (RGB)" in whys


def test_many_sizes_are_not_odd(tmp_path):
    root, random = tmp_path / "pets", np.random.default_rng(0)
    photos(root, ("cat", "dog"), count=2)
    for n in range(30):
        side = int(np.exp(random.uniform(np.log(10), np.log(80))))
        (root / "cat" / f"x{n}.png").write_bytes(image_file(n, (side, side)))
    pack, _ = opened(root, size=(8, 8))
    assert heads.odd(Samples(pack), root, silent)[0] == []


def test_a_file_that_has_gone_stops_nothing(tmp_path):
    root = photos(tmp_path / "pets")
    pack, _ = opened(root)
    (root / "cat" / "000.png").unlink()
    assert heads.odd(Samples(pack), root, silent) == ([], [])


def test_unreadable_files_have_their_reason(tmp_path, events):
    seen, emit = events
    root = photos(tmp_path / "pets", ("cat",), count=3)
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "cat" / "cut.png").write_bytes(image_file(1)[:300])
    paths = sorted(f"cat/{path.name}" for path in (root / "cat").iterdir())
    found = heads.unreadable(root, paths, emit)
    assert named(found) == [["cat/cut.png"], ["cat/empty.png"]]
    assert found[1].why == "is empty; copy it again from where it came, or leave it out"
    assert [(e.done, e.total) for e in seen if isinstance(e, Progress)] == [(5, 5)]
