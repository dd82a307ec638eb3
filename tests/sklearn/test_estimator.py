"""ImageClassifier: scikit-learn's contract, and the network that ``train`` would make."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from quick import QUICK
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import convscope as cs
from convscope.errors import BadArgument, ImageError, Interrupted
from convscope.evaluation.calibration import Calibration
from convscope.job import complete
from convscope.sklearn import ImageClassifier, held
from convscope.training import checkpoint

FAILS: dict[str, str] = {}  # scikit-learn's checks that it fails, and why
NAMES = np.array(["flat", "upright", "spot"])


def quick(**more: object) -> ImageClassifier:
    """One that learns the tiny pack in a moment, as QUICK does."""
    named = {name: QUICK[name] for name in ("model", "epochs", "batch_size", "lr")}
    options = more.pop("options", {})
    options = {"widths": [4, 8], **options} if isinstance(options, dict) else options
    return ImageClassifier(**named | {"random_state": 0} | more, options=options)


@pytest.fixture(scope="module")
def digits():
    """The first 400 of scikit-learn's own digits, float64 [N,8,8] of 0 to 16."""
    found = load_digits()
    return found.images[:400], found.target[:400]


@pytest.fixture
def images(tiny):
    """The tiny pack's training images uint8 [N,H,W] and their classes by name."""
    train = tiny.splits["train"]
    return train.images[:, 0], NAMES[train.labels]


def test_it_passes_scikit_learns_own_checks():
    found = check_estimator(
        ImageClassifier(), on_fail=None, on_skip=None, expected_failed_checks=FAILS
    )
    failed = {one["check_name"]: repr(one["exception"]) for one in found
              if one["status"] not in ("passed", "skipped")}  # fmt: skip
    assert failed.keys() == FAILS.keys(), failed
    skipped = {one["check_name"] for one in found if one["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}  # which wants SCIPY_ARRAY_API before all imports
    assert len(found) > 50


@pytest.mark.slow
def test_a_convolutional_network_passes_them_too():
    """9 s of one core, the array API's check included: 2026-11-30, Zen 4."""
    code = """
from sklearn.utils.estimator_checks import check_estimator
from convscope.sklearn import ImageClassifier
options = {"layers": "c3-8 relu flatten fc"}
network = ImageClassifier("layers", epochs=25, batch_size=50, options=options)
found = check_estimator(network)
print({one["status"] for one in found})"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "{'passed'}\n"


def test_its_network_is_the_one_that_train_makes(bars, images):
    run = cs.train("mnist", augment="none", emit=cs.silent, threads=1, **QUICK)
    alike = {name: QUICK[name] for name in ("precision", "memory_format", "kernels")}
    arrays, labels = images[0], bars.splits["train"].labels
    found = quick(augment="none", options={"threads": 1} | alike).fit(arrays, labels)
    assert found.predictor_.logits.weights == (run.path / "model.safetensors").read_bytes()
    test = bars.splits["test"]
    logits = cs.load(run.path).logits(test.images)
    np.testing.assert_allclose(found.decision_function(test.images[:, 0]), logits, rtol=1e-6)
    assert found.score(test.images[:, 0], test.labels) == run.metrics.accuracy > 0.8
    assert [row["epoch"] for row in found.history_] == [1, 2, 3]


def test_the_form_of_its_images_changes_nothing(images, tmp_path):
    arrays, names = images
    files = [tmp_path / f"{n}.png" for n in range(len(arrays))]
    for file, array in zip(files, arrays, strict=True):
        Image.fromarray(array).save(file)
    forms = {
        "uint8": arrays,
        "0 to 1": arrays / 255,
        "rows": arrays.reshape(len(arrays), -1).astype(float),
        "a channel": arrays[..., None],
        "files": [str(file) for file in files],
        "a column of files": np.array(files, object)[:, None],
    }
    fitted = {name: quick(epochs=1).fit(X, names) for name, X in forms.items()}
    first = fitted["uint8"].predict_proba(arrays)
    for name, one in fitted.items():
        assert one.predictor_.logits.weights == fitted["uint8"].predictor_.logits.weights, name
        assert np.array_equal(one.predict_proba(forms[name]), first), name
        assert one.n_features_in_ == 144 and one.image_shape_ == (12, 12, 1)
    assert np.array_equal(fitted["0 to 1"].predict_proba(files), first)
    files[3].write_bytes(b"GIF")
    for call in (fitted["files"].predict, lambda X: quick().fit(X, names)):
        with pytest.raises(ImageError, match="3.png: is no image"):
            call(files)


def test_images_are_brought_to_a_size(images, tmp_path):
    arrays, names = images
    colour = [tmp_path / f"{n}.png" for n in range(20)]
    for n, (file, array) in enumerate(zip(colour, arrays, strict=False)):
        Image.fromarray(array).convert("RGB").resize((12 + n, 24)).save(file)
    found = quick(epochs=1, image_size=(8, 6)).fit(colour, names[:20])
    assert found.image_shape_ == (8, 6, 3) and found.recipe_.augment.flip
    found = quick(epochs=1, image_size=8).fit(arrays, names)
    assert found.image_shape_ == (12, 12, 1) and found.predictor_.size == (8, 8)
    assert found.predict_proba(arrays[:5]).shape == (5, 3)


def test_it_goes_where_pickles_go_and_leaves_no_file(images, workplace, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(workplace))
    monkeypatch.setattr(checkpoint, "save", None)  # which nobody calls
    found = quick(epochs=1).fit(*images)
    before = found.predict_proba(images[0])
    content = pickle.dumps(found)
    assert b"torch" not in content
    assert np.array_equal(pickle.loads(content).predict_proba(images[0]), before)
    assert found.classes_.tolist() == sorted(NAMES) and set(found.predict(images[0])) <= set(NAMES)
    assert not list(workplace.iterdir())
    with pytest.raises(ValueError, match="not fitted"):
        clone(found).predict(images[0])


def test_probabilities_are_those_of_the_temperature_of_validation(images):
    found = quick(epochs=1).fit(*images)
    found.predictor_ = replace(found.predictor_, calibration=Calibration(2.0))
    logits = found.decision_function(images[0]).astype(float)
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.predict_proba(images[0]), expected, rtol=1e-5)


def test_a_seed_makes_a_network_and_leaves_the_process_as_it_was(images):
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    one, two, other = (quick(epochs=1, random_state=seed).fit(*images) for seed in (1, 1, 2))
    one.predict(images[0])
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads
    assert one.predictor_.logits.weights == two.predictor_.logits.weights
    assert one.predictor_.logits.weights != other.predictor_.logits.weights
    drawn = [quick(epochs=1, random_state=state).fit(*images)
             for state in (np.random.RandomState(3), np.random.RandomState(3), None)]  # fmt: skip
    seeds = [fit.recipe_.train.seed for fit in drawn]
    assert seeds[0] == seeds[1] != seeds[2]


def test_fits_of_two_threads_take_turns(images, monkeypatch):
    fitted, alone = complete.fitted, []

    def watched(*given: object) -> object:
        alone.append(held.ALONE._is_owned())
        return fitted(*given)

    monkeypatch.setattr(complete, "fitted", watched)
    with ThreadPoolExecutor(2) as pool:
        fits = [pool.submit(quick(epochs=1).fit, *images) for _ in range(2)]
    one, two = (fit.result().predictor_.logits.weights for fit in fits)
    assert one == two and alone == [True, True]


def test_it_is_searched_over_in_processes_of_their_own(digits):
    grid = {"lr": np.array([1e-6, 0.01]), "options": [{"widths": (8,)}]}
    search = GridSearchCV(
        ImageClassifier(epochs=2, random_state=0, batch_size=20), grid, cv=2, n_jobs=2
    ).fit(*digits)
    assert search.best_params_["lr"] == 0.01 and search.best_score_ > 0.5
    assert search.best_estimator_.recipe_.model.arguments == {"widths": (8,)}


def test_it_is_validated_calibrated_and_put_into_a_pipeline(digits):
    X, y = digits
    network = ImageClassifier(epochs=5, batch_size=20, random_state=0)
    halved = make_pipeline(FunctionTransformer(lambda rows: rows / 2), network)
    assert cross_val_score(halved, X.reshape(400, -1), y, cv=2).mean() > 0.8
    calibrated = CalibratedClassifierCV(network, method="temperature", cv=2).fit(X, y)
    p = calibrated.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert (p.argmax(axis=1) == y).mean() > 0.9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"epochs": 0}, "epochs=0: must be a whole number of at least 1"),
        ({"epochs": "3"}, "epochs='3': must be a whole number of at least 1"),
        ({"model": "cnm"}, "model=cnm: is no registered network; did you mean cnn"),
        ({"augment": "some"}, "augment=some: must be none, light or strong"),
        ({"image_size": 0}, "image_size=0: must be pixels a side"),
        ({"value_range": (1, 1)}, "value_range=.*must be two numbers"),
        ({"options": {"seed": 1}}, r"options\['seed'\]=1: .* it is said by random_state"),
        ({"options": {"lr": 1}}, r"options\['lr'\]=1: .* it is said by lr; leave it out"),
        ({"options": {"widhts": 1}}, "widhts=1: is no argument of cnn, nor an option; did you"),
        ({"options": ["ema"]}, r"options=\['ema'\]: must be a mapping"),
        ({"options": {"flip": 2}}, "flip=2: must be true or false"),
        ({"start": "nowhere"}, "start=nowhere: is neither imagenet, a run folder"),
    ],
)
def test_a_wrong_value_is_named_before_anything_is_trained(images, arguments, said):
    with pytest.raises(BadArgument, match=said):
        quick(**arguments).fit(*images)


def test_what_is_no_data_is_named(images):
    arrays, names = images
    found = quick(epochs=1).fit(arrays, names)
    for call, said in (
        (lambda: quick().fit(arrays, ["flat"] * len(arrays)), "y=flat: has one class"),
        (lambda: quick().fit(arrays, names[:5]), "inconsistent numbers of samples"),
        (lambda: quick().fit(["a.png", 3], [0, 1]), "X=3: is no file, where the first image is"),
        (lambda: quick(value_range=(0, 1)).fit(["a"], [0]), "is for arrays, and X are image files"),
        (lambda: found.predict(arrays[:, :10]), "X=10 x 12 x 1: has images of another shape"),
        (lambda: found.predict(arrays[:0]), r"X=an array \[0, 12, 12\]: has no images: 0 sample"),
        (lambda: quick().fit(arrays[:0], names[:0]), "has no images: 0 sample.*a minimum of 1 is"),
        (lambda: found.predict(-arrays.astype(int)), "are not of one scale with that"),
        (lambda: found.predict(arrays / 255), "may be 0 to 1 or 0 to 255"),
        (lambda: quick(epochs=1).fit(arrays - 0.5, names).predict(["a.png"]), "are no files"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def test_it_begins_from_a_run(bars, images, trained):
    start = str(trained / "a")
    found = ImageClassifier(start=start, random_state=0).fit(*images)
    assert found.recipe_.train.start == start and found.recipe_.model.name == "cnn"
    assert found.score(*images) > 0.8


def test_an_interrupted_fit_does_not_speak_of_a_run(images, monkeypatch):
    def stopped(*given: object) -> None:
        raise Interrupted(2, "saved in /tmp/x; go on with --resume")

    monkeypatch.setattr(complete, "fitted", stopped)
    with pytest.raises(Interrupted, match="stopped by SIGINT; nothing of this fit is kept"):
        quick().fit(*images)


def test_progress_is_drawn_where_it_is_asked_for(images, capfd):
    quick(epochs=1).fit(*images)
    assert capfd.readouterr().err == ""
    quick(epochs=1, verbose=True).fit(*images)
    assert "216 images to learn from, 24 held out" in capfd.readouterr().err


def test_without_scikit_learn_the_extra_is_named():
    code = "import sys; sys.modules['sklearn'] = None; import convscope.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "needs scikit-learn 1.6 or newer: pip install 'convscope[sklearn]'" in done.stderr
