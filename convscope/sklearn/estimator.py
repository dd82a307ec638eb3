"""A convolutional network as a scikit-learn classifier, of arrays of images and of image files.

It keeps scikit-learn's contract, so that it goes into its pipelines, searches and
cross-validations. What trains is the road of :func:`convscope.train`, without a test split and
without a run folder.
"""

from __future__ import annotations

import contextlib
import inspect
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from convscope.data.columns import IMAGE, LABEL, Columns, image_and_label
from convscope.errors import BadArgument, Interrupted
from convscope.events import Emit, silent
from convscope.predicting.predictor import Predictor
from convscope.recipe import Recipe
from convscope.sklearn import arrays
from convscope.sklearn.arrays import Array, Levels
from convscope.sklearn.held import ALONE, HeldNetwork
from convscope.sklearn.images import brought, chosen, decoded, files_of, rows_of

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as why:
    raise ModuleNotFoundError(
        "convscope.sklearn needs scikit-learn 1.6 or newer: pip install 'convscope[sklearn]'",
        name="sklearn",
    ) from why

if TYPE_CHECKING:
    from convscope.job.prepare import Job

POOLED = 4  # pixels a side from which on a network can halve an image twice
LONG = 50_000  # images that training sees in all, which are worth compiled kernels
ELSEWHERE = {  # fields of a recipe that are said in another way here
    "seed": "random_state",
    **dict.fromkeys(("data", "labels", "group", "skip_bad", "fold", "share"), "X and y"),
    "checkpoint_seconds": "nothing: there are no checkpoints",
}


class ImageClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A convolutional network that is fitted to images: a scikit-learn classifier.

    ``X`` is an array ``[N,H,W]`` or ``[N,H,W,C]`` (1 channel or 3, last), ``[N,D]`` with an image a
    row, or a list of image files, which are decoded and brought to one size as everywhere in
    convscope. Values are uint8 (0 to 255) or any other numbers: see ``value_range``. The network
    sees 8 bits of each. ``y`` has a class an image, of any kind.

    ``None`` is what :func:`convscope.train` takes.

    Parameters
    ----------
    model : name of a network (see ``convscope models``), ``tv:NAME`` or ``file.py:ClassName``.
        ``auto`` is ``cnn``, and ``mlp`` for strips and images of fewer than 4 pixels a side.
    epochs : passes over the training images; 5.
    batch_size : images a step; 100.
    optimizer : ``sgd``, ``adam`` or ``adamw``, which is the default.
    lr : highest learning rate; 0.05, 0.001 or 0.004 by the optimiser.
    augment : ``none``, ``light`` or ``strong``. By default images in colour get ``light`` (a part
        of at least 70 % of the area, mirrored or not), and grey ones nothing.
    val : share of the images that is held out to calibrate probabilities, 0.1; where fewer than
        5,000 are learnt from, and 50 or more held out, these choose the weights to keep, too. With
        0 all images are learnt from.
    start : weights to begin from: ``none``, ``imagenet``, or the folder of a run.
    image_shape : (height, width) or (height, width, channels) of an image of ``[N,D]``; without it
        a square grey image, or a strip of 1 x D.
    image_size : what images are brought to, pixels a side or (height, width). By default arrays
        stay as they are, and files get the median of theirs, at most 224 a side.
    value_range : (black, white), beyond which no value may lie. By default (0, 255) for uint8 and
        for whole numbers from 0 to 255, (0, 1) for fractions from 0 to 1, and else the least and
        the greatest value of ``fit``.
    device : ``auto``, ``cpu``, ``cuda`` or PyTorch's others.
    random_state : seed of weights, order and augmentation, as scikit-learn has it; with a number
        each fit on one machine gives the same network.
    verbose : whether progress is drawn on stderr, or in a notebook.
    options : a mapping of other fields of a recipe (``weight_decay``, ``ema``, ``flip``,
        ``early_stopping``, ``resize_mode`` ...) and of the network's own arguments (``widths``).

    Attributes
    ----------
    classes_ : the classes, sorted.
    n_features_in_, feature_names_in_ : numbers an image, and the columns of a data frame.
    image_shape_ : (height, width, channels) of an image.
    value_range_ : the values that are black and white.
    history_ : a dictionary an epoch: losses and accuracies, learning rate, seconds.
    recipe_ : the recipe of the training, every value with its origin.
    predictor_ : what predicts, with what validation says of its answers: see
        :class:`convscope.Trained`.

    Number format and kernels are those that suit the processor, where training sees 50,000 images
    or more in all, and else float32 by PyTorch's own kernels: nothing is timed. Training has the
    threads that PyTorch has in this process, of which scikit-learn gives each of its processes a
    share. Errors of a value are :class:`convscope.BadArgument`, a ValueError.

    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()  # 1,797 images of 8 x 8, in 16 levels of grey
    >>> network = ImageClassifier(epochs=2, random_state=0)
    >>> network.fit(digits.images[:900], digits.target[:900]).classes_
    array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    >>> network.predict_proba(digits.images[900:903]).shape
    (3, 10)
    >>> network.score(digits.images[900:], digits.target[900:]) > 0.6
    True
    """

    def __init__(
        self,
        model: str = "auto",
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        optimizer: str | None = None,
        lr: float | None = None,
        augment: str | None = None,
        val: float | None = None,
        start: str = "none",
        image_shape: Sequence[int] | None = None,
        image_size: int | Sequence[int] | None = None,
        value_range: Sequence[float] | None = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.augment = augment
        self.val = val
        self.start = start
        self.image_shape = image_shape
        self.image_size = image_size
        self.value_range = value_range
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.options = options

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Train the network on images ``X`` and their classes ``y`` ``[N]``.

        Raises ValueError, of which BadArgument is one, ImageError for a file that cannot be read,
        TrainingError where the loss is no number any more, Interrupted (Ctrl-C).
        """
        from convscope.job import preflight

        if y is None:
            rule = "requires y to be passed, but the target y is None"
            raise BadArgument("y", y, rule, "give the class of each image")
        seed, size = _seed(self.random_state), _size(self.image_size)
        with self._watching() as emit:
            asked = preflight.settle(self._asked(seed, self.model), emit)
            fit = asked.data.resize_mode.replace("auto", "pad")
            if (files := files_of(X)) is not None:
                if self.value_range is not None:
                    rule = "is for arrays, and X are image files"
                    raise BadArgument("value_range", self.value_range, rule, "leave it out")
                channels, size, fit = chosen(files, size, asked)
                X = decoded(files, channels, size, fit)
            rows, shape = rows_of(X, self.image_shape)
            rows, y = validate_data(self, rows, y)
            check_classification_targets(y)
            self.classes_, codes = np.unique(y, return_inverse=True)
            if len(self.classes_) < 2:
                rule = "has one class, and a classifier tells at least two apart"
                raise BadArgument("y", self.classes_[0], rule, "add images of another class")
            self.image_shape_ = shape or arrays.image_shape(rows.shape, self.image_shape)
            self._levels = Levels.of(rows, self.value_range)
            self.value_range_ = self._levels.low, self._levels.high
            images = arrays.images_of(self._levels.pixels(rows), self.image_shape_)
            images = brought(images, size, fit)
            if asked.origin.get("model.name", "default") == "default" and _is_small(images):
                asked = preflight.settle(self._asked(seed, "mlp"), silent)
            columns = image_and_label(images.shape[1:], self.classes_.tolist(), fit)
            self._train(asked, columns, {IMAGE: images, LABEL: codes.astype(np.int64)}, emit)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class of each image, ``[N]``."""
        likeliest = self._logits(X).argmax(axis=1)
        found: NDArray[Any] = self.classes_[likeliest]
        return found

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Probabilities ``[N,K]`` of each image's classes, in the order of ``classes_``: the
        softmax of the logits over the temperature of validation, if it has one."""
        from convscope.evaluation import metrics

        logits = self._logits(X)
        temperature = self.predictor_.calibration.temperature
        found: NDArray[np.float64] = metrics.softmax(logits, temperature)
        return found.astype(np.float32)

    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """The logits ``[N,K]`` of each image; of two classes the log odds of the second,
        ``[N]``."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def _logits(self, X: Any) -> NDArray[np.float32]:
        """Raw logits float32 [N,K]."""
        check_is_fitted(self)
        given = self.predictor_
        if (files := files_of(X)) is not None:
            if self._levels.learnt:
                rule = "are no files where fit had values of a range of their own"
                raise BadArgument("X", "image files", rule, "give arrays as in fit")
            images = decoded(files, given.channels, given.size, given.fit)
            images = arrays.images_of(images, images.shape[1:])
        else:
            rows, shape = rows_of(X, None)
            if shape is not None and shape != self.image_shape_:
                sides = " x ".join(map(str, self.image_shape_))
                rule = f"has images of another shape than those of fit, {sides}"
                raise BadArgument("X", " x ".join(map(str, shape)), rule, "bring them to it")
            rows = self._levels.pixels(validate_data(self, rows, reset=False))
            images = brought(arrays.images_of(rows, self.image_shape_), given.size, given.fit)
        return given.logits(images)

    def _options(self) -> dict[str, Any]:
        """The fields of a recipe and arguments of the network that are given otherwise than by
        name. Raises BadArgument."""
        if self.options is not None and not isinstance(self.options, Mapping):
            raise BadArgument("options", self.options, "must be a mapping", "try {'ema': 0.99}")
        own = inspect.signature(type(self)).parameters
        options = {name: _plain(value) for name, value in (self.options or {}).items()}
        for name, value in options.items():
            if name in own or name in ELSEWHERE:
                rule = f"is not for options: it is said by {ELSEWHERE.get(name, name)}"
                raise BadArgument(f"options[{name!r}]", value, rule, "leave it out there")
        return options

    @contextlib.contextmanager
    def _watching(self) -> Iterator[Emit]:
        if not self.verbose:
            yield silent
            return
        from convscope.watched import watching

        with watching("Training") as emit:
            yield emit

    def _asked(self, seed: int, model: str) -> Recipe:
        """What is asked for, every value checked. Raises BadArgument."""
        import torch

        from convscope.api import arguments

        names = ("epochs", "batch_size", "optimizer", "lr", "val", "start", "device")
        typed = {name: _plain(getattr(self, name)) for name in names}
        typed |= {"seed": seed, "threads": torch.get_num_threads(), **self._options()}
        own = None if model == "auto" else model  # which is the recipe's, or that of the start
        augment = True if self.augment is None else self.augment
        return arguments.resolved(*arguments.given("X, y", own, typed), None, augment)

    def _train(self, asked: Recipe, columns: Columns, values: dict[str, Array], emit: Emit) -> None:
        """Fit and calibrate, and keep the network."""
        from convscope import machine
        from convscope.data.pack_writer import Chunk, pack_in_memory
        from convscope.job import complete, defaults
        from convscope.job.prepare import prepare
        from convscope.job.probe import probe
        from convscope.job.tune import tune
        from convscope.models import store
        from convscope.run import RunFolder

        pack = pack_in_memory("X, y", columns, {"train": [Chunk(values)]})
        asked = defaults.suited_to_own(asked, pack, emit)
        with ALONE, machine.at_work(asked.train.threads), tempfile.TemporaryDirectory() as name:
            place = RunFolder(Path(name), kept=False)
            try:
                job = prepare(asked, pack, emit)
                job = tune(probe(replace(job, recipe=_formats(job))))
                job, at = complete.fitted(job, place)
                job, calibration, _ = complete.calibrated(job, place)
            except Interrupted as why:
                raise Interrupted(why.signum, "nothing of this fit is kept") from None
            weights = store.to_bytes(job.model.cpu().state_dict())
        image = pack.image
        self.history_, self.recipe_ = at.history, job.recipe
        logits = HeldNetwork(job.recipe, columns, weights, self.device)
        self.predictor_ = Predictor(
            logits, pack.classes, image.channels, image.size, image.fit, calibration
        )


def _formats(job: Job) -> Recipe:
    """The recipe with number format, memory format and kernels that nothing is timed for: those
    that suit the processor, where training is long enough to gain by them."""
    import torch

    from convscope.engine import choice
    from convscope.engine.measurements import Candidate

    train = job.recipe.train
    found = choice.prior(job.recipe, torch.device(job.loader.device))
    if len(job.loader.indices) * train.epochs < LONG:
        asked = (train.precision, train.memory_format, train.kernels)
        plain = ("float32", "channels_last", "plain")
        found = Candidate(*(p if a == "auto" else a for a, p in zip(asked, plain, strict=True)))
    return job.recipe.measured(**found._asdict())


def _is_small(images: Array) -> bool:
    """Whether images [N,C,H,W] cannot be halved twice."""
    return bool(min(images.shape[2:]) < POOLED)


def _plain(value: Any) -> Any:
    """A value that a search drew with NumPy as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def _seed(random_state: Any) -> int:
    """The seed of a fit. Raises ValueError."""
    drawn = check_random_state(random_state)
    given = _plain(random_state)
    return given if isinstance(given, int) else int(drawn.randint(2**31))


def _size(given: int | Sequence[int] | None) -> tuple[int, int] | None:
    """(height, width) in pixels. Raises BadArgument."""
    if given is None:
        return None
    sides = given if isinstance(given, Sequence) else (given, given)
    sides = [_plain(side) for side in sides]
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        rule = "must be pixels a side, or (height, width)"
        raise BadArgument("image_size", given, rule, "try 64 or (48, 64)")
    return sides[0], sides[1]
