"""A last layer fitted to features: the whole of a training, or the beginning of one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from listening import notices, warnings_in
from photos import scene
from quick import QUICK, same_weights

import convscope as cs
from convscope.errors import BadArgument, RunError
from convscope.evaluation import features, metrics, predictions
from convscope.job import probe, tune
from convscope.models import build, pretrained
from convscope.models.pretrained import Weights

PLAIN = {"precision": "float32", "memory_format": "contiguous", "kernels": "plain"}
TUNED = {"epochs": 2, "batch_size": 40, "lr": 0.001, **PLAIN}


@pytest.fixture
def begun(bars):
    """A run on bars, of two epochs."""
    return cs.train("mnist", **QUICK, out="begun", look=False).path


def weights(path):
    return cs.load(path).network.state_dict()


def test_with_its_features_frozen_only_the_last_layer_is_fitted(begun, bars, events):
    seen, emit = events
    run = cs.train("mnist", start="begun", freeze="features", out="a", look=False, emit=emit)
    before, after = weights(begun), weights(run.path)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"head.1.weight", "head.1.bias"}
    assert any("last layer fitted to features of 72 numbers an image" in t for t in notices(seen))
    logits = predictions.logits_of(cs.load(run.path).network, bars.splits["test"].images)
    right = (logits.argmax(1) == bars.splits["test"].labels).mean()
    assert run.metrics.accuracy == pytest.approx(right) and right > 0.9
    (row,) = map(json.loads, (run.path / "history.jsonl").read_text().splitlines())
    assert row["epoch"] == 1 and 0 < row["val_loss"] < 1
    assert cs.evaluate(run.path)["accuracy"] == pytest.approx(right)
    recipe = run.recipe
    assert (recipe.train.epochs, recipe.augment.shift) == (1, 0)
    assert recipe.origin["train.start"] == recipe.origin["train.freeze"] == "typed"
    info = json.loads((run.path / "model.json").read_text())
    assert (
        info["start"]["sha256"] == json.loads((begun / "model.json").read_text())["weights_sha256"]
    )


def test_few_images_of_validation_are_learnt_from_once_they_were_judged(begun, bars, events):
    seen, emit = events
    frozen = {"start": "begun", "freeze": "features", "look": False, "emit": emit}
    apart = cs.train("mnist", **frozen, out="apart", val=0.11)
    few = cs.train("mnist", **frozen, out="few")
    (said,) = [text for text in notices(seen) if "of validation are learnt from" in text]
    read = {one: json.loads((one.path / "model.json").read_text())["data"] for one in (apart, few)}
    assert said.startswith(f"the {read[few]['val']} images") and 0 < read[few]["val"] < 50
    assert read[few]["learnt_from_val"] and "learnt_from_val" not in read[apart]
    held = np.array(json.loads((few.path / "split.json").read_text())["val"])
    train, network = bars.splits["train"], cs.load(few.path).network
    now = predictions.logits_of(network, train.images[held])
    (row,) = map(json.loads, (few.path / "history.jsonl").read_text().splitlines())
    assert metrics.cross_entropy(now, train.labels[held]) < row["val_loss"]  # since it knows them
    cs.evaluate(few.path, "val", emit=emit)
    assert any("fitted to these images, too" in text for text in warnings_in(seen))


def test_features_are_computed_once(begun, bars, monkeypatch):
    one = cs.train("mnist", start="begun", freeze="features", out="a", look=False)

    def computed(*rest, **named):
        raise AssertionError

    monkeypatch.setattr(features.predictions, "logits_of", computed)
    two = cs.train("mnist", start="begun", freeze="features", out="b", look=False)
    assert same_weights(one.path, two.path) and one.metrics.accuracy == two.metrics.accuracy


def test_a_run_that_ends_at_the_probe_goes_on_to_the_same_bits(begun, cache):
    whole = cs.train("mnist", start="begun", freeze="features", out="whole", look=False)
    shutil.copytree(whole.path, "cut")
    for name in ("metrics.json", "model.json", "model.safetensors", "history.jsonl"):
        (whole.path.parent / "cut" / name).unlink()
    shutil.rmtree(cache / "features")
    again = cs.train(out="cut", resume=True, look=False)
    assert same_weights(whole.path, again.path)
    assert again.metrics.accuracy == whole.metrics.accuracy


def test_a_bound_of_memory_is_refused(begun):
    with pytest.raises(BadArgument, match="is kept by the steps of training"):
        cs.train("mnist", start="begun", freeze="features", out="a", max_memory="9GB")
    assert not Path("a").exists()


def test_features_that_take_longer_than_there_is_time_are_refused(begun, monkeypatch):
    monkeypatch.setattr(probe.Frozen, "seconds", lambda self, splits: 40.0 + len(splits))
    with pytest.raises(BadArgument, match=r"time_budget=40 s: .* features .* take 42") as caught:
        cs.train("mnist", start="begun", freeze="features", out="a", time_budget="40s")
    assert "try 1 min" in caught.value.remedy and not Path("a").exists()
    run = cs.train("mnist", start="begun", freeze="features", out="a", time_budget="10m")
    assert run.recipe.train.freeze == "features"


def test_features_that_are_kept_take_no_time(begun, bars):
    frozen = probe.Frozen(cs.load("begun").network, bars, "cpu", cs.silent)
    assert frozen.seconds(["train", "test"]) > 0
    frozen.of("train")
    frozen.of("test")
    assert frozen.seconds(["train", "test"]) == 0


def test_without_time_for_a_step_the_fitted_layer_is_all(begun, monkeypatch, events):
    seen, emit = events
    monkeypatch.setattr(tune.budget, "fit", lambda *prices: 0)
    run = cs.train("mnist", start="begun", out="a", look=False, time_budget="1m", emit=emit)
    fitted = cs.train("mnist", start="begun", freeze="features", out="b", look=False)
    assert same_weights(run.path, fitted.path)
    assert any("no step of fine-tuning fits into the time budget" in t for t in warnings_in(seen))
    assert (run.recipe.train.freeze, run.recipe.train.epochs) == ("features", 1)
    assert run.recipe.augment.shift == 0


@pytest.mark.parametrize("typed", [{"class_weights": "auto"}, {"sampler": "balanced"}])
def test_rare_classes_count_more_in_the_last_layer_too(begun, monkeypatch, typed):
    seen = []

    def fit(*given):
        seen.append(given[-1])
        return fitted(*given)

    fitted = probe.probes.fit
    monkeypatch.setattr(probe.probes, "fit", fit)
    cs.train("mnist", start="begun", freeze="features", out="a", look=False, **typed)
    labels = np.array(cs.open_data("mnist").splits["train"].labels)
    counts = np.bincount(np.delete(labels, split_of("a")["val"]))
    np.testing.assert_allclose(seen[0].weights, counts.mean() / counts, rtol=1e-6)


def split_of(path):
    return json.loads((Path(path) / "split.json").read_text())


def test_photos_are_fitted_unasked_by_the_features_of_a_published_network(workplace, monkeypatch):
    """Of a network with weights of no meaning, in the place of those that an extra brings."""
    network = build("efficientnet_lite0", 1000, 3, (64, 64))
    found = Weights(
        "imagenet", "efficientnet_lite0", network.state_dict(), "0" * 64, (64, 64), "stretch", "x"
    )
    monkeypatch.setattr(pretrained, "find", lambda start, model=None: found)
    for at, tint in enumerate([(200, 90, 90), (90, 90, 200)]):
        (workplace / "pets" / str(at)).mkdir(parents=True)
        for n in range(10):
            scene(20 * at + n, tint=tint).save(workplace / "pets" / str(at) / f"{n}.png")
    run = cs.train("pets", out="a", look=False)
    assert run.recipe.train.freeze == "features" and run.recipe.data.image_size == "64x64"
    kept = weights(run.path)
    for name, value in network.state_dict().items():
        if name in kept and not name.startswith("head."):
            assert torch.equal(kept[name], value), name
    with pytest.raises(BadArgument, match="--freeze none"):
        cs.train("pets", out="b", rotate=5.0)


def test_what_a_fitted_layer_does_not_use_is_refused(begun):
    for typed in ({"epochs": 3}, {"lr": 0.1}, {"rotate": 5.0}):
        with pytest.raises(BadArgument, match="is not used where only the last layer learns"):
            cs.train("mnist", start="begun", freeze="features", out="a", **typed)


def test_fine_tuning_begins_where_the_fitted_layer_ends(begun, monkeypatch, events):
    seen, emit = events
    more = {"keep": "last", "out": "a", "look": False, "emit": emit}
    run = cs.train("mnist", start="begun", **TUNED, **more)
    before, after = weights(begun), weights(run.path)
    assert not torch.equal(after["features.0.weight"], before["features.0.weight"])
    assert any("last layer fitted" in text for text in notices(seen))
    assert len((run.path / "history.jsonl").read_text().splitlines()) == 2


def test_fine_tuning_that_does_not_gain_on_validation_is_dropped(begun):
    wild = TUNED | {"lr": 0.5, "clip_grad": 1.0, "optimizer": "sgd", "schedule": "constant"}
    wild |= {"early_stopping": 9}
    run = cs.train("mnist", start="begun", **wild, out="a", look=False)
    fitted = cs.train("mnist", start="begun", freeze="features", out="b", look=False)
    assert same_weights(run.path, fitted.path)


def test_a_run_goes_on_with_the_weights_that_it_began_from(begun, monkeypatch):
    whole = cs.train("mnist", start="begun", freeze="stem", **TUNED, out="whole", look=False)
    shutil.copytree(whole.path, "cut")
    for name in ("metrics.json", "model.json", "model.safetensors"):
        (whole.path.parent / "cut" / name).unlink()
    for late in sorted((whole.path.parent / "cut" / "checkpoint").glob("step-*"))[1:]:
        shutil.rmtree(late)
    again = cs.train(out="cut", resume=True, look=False)
    assert same_weights(whole.path, again.path)
    with pytest.raises(BadArgument, match="is not what this run was begun with"):
        cs.train(out="cut", resume=True, start="none")
    (again.path / "metrics.json").unlink()
    other = cs.train("mnist", **QUICK | {"seed": 1}, out="other", look=False)
    for name in ("model.json", "model.safetensors"):
        shutil.copy(other.path / name, begun / name)
    with pytest.raises(RunError, match="the weights of .*begun were changed since"):
        cs.train(out="cut", resume=True, look=False)


def test_a_network_with_a_deeper_head_trains_it_by_steps(bars):
    small = {"model": "cifar_cnn", "epochs": 1, "batch_size": 60, **PLAIN}
    cs.train("mnist", **small, out="a", look=False)
    run = cs.train("mnist", **small, start="a", freeze="features", out="b", look=False)
    before, after = weights("a"), weights(run.path)
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"head"}


def test_embeddings_are_what_the_last_layer_gets(begun, bars):
    images = bars.splits["test"].images[:5]
    found = cs.embed(begun, images)
    network = cs.load(begun).network
    assert found.shape == (5, 72)
    logits = torch.from_numpy(found) @ network.head[1].weight.T + network.head[1].bias
    np.testing.assert_allclose(
        logits.detach().numpy(), predictions.logits_of(network, images), rtol=1e-4, atol=1e-4
    )
