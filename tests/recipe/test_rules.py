"""What each value of a recipe must be."""

from __future__ import annotations

import pytest

from convscope import recipe
from convscope.errors import BadArgument


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ({"epochs": 0}, "epochs=0: must be a whole number of at least 1; try 5"),
        ({"epochs": 2.5}, "epochs=2.5: must be a whole number of at least 1"),
        ({"epochs": True}, "epochs=True: must be a whole number"),
        ({"lr": float("nan")}, "lr=nan: must be a finite number above 0; try 0.001"),
        ({"lr": float("inf")}, "lr=inf: must be a finite number above 0"),
        ({"lr": 0}, "lr=0.0: must be a finite number above 0"),
        ({"lr": "fast"}, "lr=fast: must be a finite number above 0"),
        ({"lr": "0.1"}, "lr='0.1': must be a finite number above 0"),
        ({"flip": "true"}, "flip='true': must be true or false"),
        ({"val": 1}, "val=1.0: must be a share of the training data, 0 <= val < 1"),
        ({"batch_size": 0}, "batch_size=0: must be a whole number of at least 1"),
        ({"optimizer": "adamm"}, "optimizer=adamm: must be sgd, adam or adamw"),
        ({"momentum": 0.9}, "momentum=0.9: is not used by adamw; leave it out, or choose"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0: must be 0 <= label_smoothing < 1"),
        ({"seed": -1}, "seed=-1: must be a whole number, 0 <= seed"),
        ({"shift": -2}, "shift=-2: must be a whole number of pixels"),
        ({"schedule": "step"}, "schedule=step: must be constant, cosine or one-cycle"),
        ({"precision": "float16"}, "precision=float16: must be auto, float32, bfloat16 or tf32"),
        ({"warmup": 1.0}, "warmup=1.0: must be a share of all steps"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds=-1.0: must be a finite number >= 0"),
        ({"image_size": "64by64"}, "image_size=64by64: must be auto, N or HxW in pixels; try 64"),
        ({"eval_batch": 0}, "eval_batch=0: must be a whole number of at least 1; try 250"),
        ({"randaugment": 11}, "randaugment=11: must be 0 to 10 operations an image; try 2"),
        ({"crop": 1.5}, "crop=1.5: must be a share of the area, 0 <= crop <= 1; try 0.5"),
        ({"epohcs": 3}, "epohcs=3: is no option; did you mean epochs?"),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused(typed, text):
    with pytest.raises(BadArgument, match=text):
        recipe.resolve(typed)
