"""What a training begins from: photos from ImageNet, whatever was typed as it was typed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from listening import notices, warnings_in
from photos import photos

from convscope import recipe
from convscope.errors import BadArgument
from convscope.job import preflight
from convscope.models import pretrained
from convscope.models.pretrained import NotInstalled, Weights


@pytest.fixture
def weights(monkeypatch):
    """Weights of ImageNet that are there, whatever is installed."""
    found = Weights(
        "imagenet", "efficientnet_lite0", {}, "0" * 64, (224, 224), "stretch", "weights"
    )
    monkeypatch.setattr(pretrained, "find", lambda start, model=None: found)
    return found


@pytest.fixture
def root(tmp_path):
    return str(photos(tmp_path / "photos", ("cat", "dog"), 3, size=(80, 70)))


def settled(emit=lambda event: None, **typed):
    return preflight.settle(recipe.resolve(typed), emit)


def test_photos_begin_from_imagenet(weights, root, events):
    seen, emit = events
    asked = settled(emit, data=root)
    assert (asked.train.start, asked.model.name) == ("imagenet", "efficientnet_lite0")
    assert (asked.data.image_size, asked.data.resize_mode) == ("224x224", "stretch")
    assert asked.train.freeze == "features"
    assert asked.origin["train.start"] == asked.origin["train.freeze"] == "measured"
    (said,) = notices(seen)
    assert "6 images in colour, about 70 x 80: begins from weights" in said
    assert "--from none trains from scratch" in said


def test_large_photos_whose_features_are_only_computed_are_seen_larger(weights, tmp_path):
    large = str(photos(tmp_path / "large", ("cat", "dog"), 3, size=(300, 290)))
    assert settled(data=large).data.image_size == "288x288"
    assert settled(data=large, freeze="stage:4").data.image_size == "224x224"
    assert settled(data=large, image_size="96x96").data.image_size == "96x96"


def test_what_is_typed_stands(weights, root):
    typed = {"lr": 0.02, "image_size": "96x96", "batch_size": 7, "freeze": "none"}
    asked = settled(data=root, model="efficientnet_lite2", **typed)
    for name, value in typed.items():
        section = getattr(asked, recipe.options()[name].section)
        assert getattr(section, name) == value, name
    assert asked.model.name == "efficientnet_lite2" and asked.train.start == "imagenet"


def test_enough_photos_are_fine_tuned(weights, root, monkeypatch, events):
    monkeypatch.setattr(preflight, "ENOUGH", 6)
    monkeypatch.setattr(preflight, "PASSES", 24)
    seen, emit = events
    train = settled(emit, data=root).train
    assert (train.freeze, train.keep, train.epochs) == ("stage:4", "accuracy", 4)
    assert (train.lr, train.layer_decay, train.label_smoothing) == (5e-4, 0.9, 0.1)
    (said,) = notices(seen)
    assert "what comes after stage:4 learns for 4 epochs at 0.0005, the best on" in said
    assert settled(data=root, optimizer="sgd").train.lr == 5e-3
    monkeypatch.setattr(preflight, "PASSES", 60)
    assert settled(data=root).train.epochs == 10
    monkeypatch.setattr(preflight, "ENOUGH", 7)
    assert settled(data=root).train.freeze == "features"


@pytest.mark.parametrize("typed", [{"epochs": 3}, {"lr": 0.001}])
def test_who_types_how_long_fine_tunes(weights, root, typed):
    train = settled(data=root, **typed).train
    assert train.freeze == "stage:4"
    assert all(getattr(train, name) == value for name, value in typed.items())


def test_frozen_features_leave_nothing_to_fine_tune(weights, root, monkeypatch):
    monkeypatch.setattr(preflight, "ENOUGH", 1)
    train = settled(data=root, freeze="features").train
    assert (train.layer_decay, train.keep, train.label_smoothing) == (1.0, "last", 0.0)


def test_so_does_what_a_recipe_says(weights, root):
    base = recipe.parse('[train]\nfreeze = "stem"', "r.toml")
    asked = preflight.settle(recipe.resolve({"data": root}, recipe=base), lambda event: None)
    assert (asked.train.freeze, asked.train.start) == ("stem", "imagenet")


@pytest.mark.parametrize("typed", [{"start": "none"}, {"model": "cnn"}, {"data": "cifar10"}])
def test_others_are_trained_from_scratch(weights, root, events, typed):
    seen, emit = events
    asked = settled(emit, **{"data": root} | typed)
    assert asked.train.start == "none" and not seen
    assert asked.model.name == "cnn" and asked.data.image_size == "auto"


@pytest.mark.parametrize(
    ("size", "mode", "found"),
    [((64, 30), "RGB", True), ((80, 70), "L", False), ((63, 63), "RGB", False)],
)
def test_photos_are_in_colour_and_large_or_few(tmp_path, monkeypatch, size, mode, found):
    root = photos(tmp_path / "photos", ("cat", "dog"), 3, size=size, mode=mode)
    (root / "cat" / "broken.png").write_bytes(b"")
    assert bool(preflight.photos_in(str(root))) == found  # as of many: see conftest.py
    monkeypatch.setattr(preflight, "SMALL", 7)
    assert bool(preflight.photos_in(str(root))) == (mode == "RGB")


def test_a_table_of_photos_is_photos(weights, root, tmp_path):
    rows = [f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(3)]
    names = sorted(str(p.relative_to(root)) for p in Path(root).glob("*/*"))
    assert len(names) == len(rows)
    table = Path(root) / "list.csv"
    table.write_text("file,label,split\n" + "".join(
        f"{name},{name.split('/')[0]},{'test' if n % 3 == 2 else 'train'}\n"
        for n, name in enumerate(names)
    ))  # fmt: skip
    assert preflight.photos_in(str(table)) == preflight.Photos(4, (70, 80))
    elsewhere = tmp_path / "list.csv"
    table.rename(elsewhere)
    assert preflight.photos_in(root, str(elsewhere)) == preflight.Photos(4, (70, 80))
    asked = settled(data=root, labels=str(elsewhere))
    assert (asked.train.start, asked.data.image_size) == ("imagenet", "224x224")
    several = tmp_path / "several.csv"
    several.write_text("file,kind:class,price:number\na.png,cat,3\n")
    assert preflight.photos_in(root, str(several)) is None


def test_no_folder_has_no_photos(tmp_path):
    assert preflight.photos_in("mnist") is None
    assert preflight.photos_in(str(tmp_path / "gone")) is None
    (tmp_path / "empty").mkdir()
    assert preflight.photos_in(str(tmp_path / "empty")) is None


def test_without_the_extra_it_says_what_is_missed_and_goes_on(root, events, monkeypatch):
    def gone(start, model=None):
        raise NotInstalled("start", "imagenet", "needs a package", "install it: pip install x")

    monkeypatch.setattr(pretrained, "find", gone)
    seen, emit = events
    assert settled(emit, data=root).train.start == "none"
    (said,) = warnings_in(seen)
    assert "training from scratch" in said and "install it: pip install x" in said
    with pytest.raises(NotInstalled):
        settled(emit, data=root, start="imagenet")


@pytest.mark.parametrize(
    ("name", "value"), [("freeze", "stem"), ("last_layer", "kept"), ("batch_norm", "learning")]
)
def test_nothing_is_frozen_or_kept_from_scratch(root, name, value):
    with pytest.raises(BadArgument, match=f"{name}={value}: is not used where training starts"):
        settled(data=root, start="none", **{name: value})


def test_only_a_run_has_a_last_layer_to_keep(weights, root):
    with pytest.raises(BadArgument, match="last_layer=kept: needs the names of the classes"):
        settled(data=root, start="imagenet", last_layer="kept")


def test_a_run_brings_its_network(monkeypatch):
    found = Weights("runs/a", "resnet18_small", {"a": torch.ones(1)}, "", (28, 28), "pad", "a run",
                    {"width": 8})  # fmt: skip
    monkeypatch.setattr(pretrained, "find", lambda start, model=None: found)
    asked = settled(data="mnist", start="runs/a")
    assert (asked.model.name, asked.model.arguments) == ("resnet18_small", {"width": 8})
    assert asked.data.image_size == "auto" and asked.train.epochs == 5
