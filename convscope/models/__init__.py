"""Networks by name: one visible dict, and one way to build from it; beside it torchvision's, as
``tv:NAME``, and the user's own, as ``file.py:Class``."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from convscope.data.columns import Class, Columns, Image, Labels, outputs_of
from convscope.errors import BadArgument, bare, nearest
from convscope.formatting import listed
from convscope.models import tv
from convscope.models.densenet import densenet, densenet40
from convscope.models.efficientnet_lite import efficientnet_lite0, efficientnet_lite2
from convscope.models.inception import inception
from convscope.models.joined import Normalised, joined
from convscope.models.layers import layers
from convscope.models.parts import Classifier
from convscope.models.plain import cifar_cnn, cnn, keras_cnn, mlp
from convscope.models.preact import preact_resnet, preact_resnet20
from convscope.models.record import record
from convscope.models.resnet import resnet, resnet18_small
from convscope.models.wide_resnet import wide_resnet

MODELS: dict[str, Callable[..., Classifier]] = {
    "mlp": mlp,
    "cnn": cnn,
    "inception": inception,
    "resnet": resnet,
    "keras_cnn": keras_cnn,
    "cifar_cnn": cifar_cnn,
    "resnet18_small": resnet18_small,
    "preact_resnet20": preact_resnet20,
    "preact_resnet": preact_resnet,
    "densenet40": densenet40,
    "densenet": densenet,
    "wide_resnet": wide_resnet,
    "record": record,
    "efficientnet_lite0": efficientnet_lite0,
    "efficientnet_lite2": efficientnet_lite2,
    "layers": layers,
}

_GIVEN = ("num_classes", "in_channels", "image_size")  # what the data decides, not the user


def arguments_of(name: str) -> dict[str, Any]:
    """A registered network's own arguments and their defaults. Raises BadArgument for an unknown
    name.

    >>> arguments_of("cnn")
    {'kernel_size': 5, 'widths': (16, 32)}
    """
    parameters = inspect.signature(_builder(name)).parameters
    return {key: p.default for key, p in parameters.items() if key not in _GIVEN}


def build(
    name: str,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    arguments: Mapping[str, Any] | None = None,
) -> Classifier:
    """A network by its registered name, torchvision's as ``tv:NAME``, or the user's own class as
    ``path/to/file.py:ClassName``.

    A class from a file is called with those of ``num_classes``, ``in_channels`` and ``image_size``
    that its signature names; it takes float 0..1 [B,C,H,W], normalised, and gives logits [B,K].
    Raises BadArgument for an unknown name, argument or value.

    >>> build("cnn", 10, 1, (28, 28), {"widths": [8, 16]}).head[1].in_features
    784
    """
    given = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    arguments = dict(arguments or {})
    if is_own(name):
        return Classifier(in_channels, None, _own(name, given, arguments))
    builder = _builder(name)
    known = arguments_of(name)
    hints = typing.get_type_hints(builder)
    for key, value in arguments.items():
        if key not in known:
            raise no_argument(key, value, name)
        arguments[key] = _fitting(key, value, hints[key])
    return builder(**given, **arguments)


def build_for(
    name: str, columns: Columns, arguments: Mapping[str, Any] | None = None, shared: bool = False
) -> nn.Module:
    """A network by its name, as :func:`build` takes it, for data with these columns: of one image
    and one class that network itself; of others a :class:`~convscope.models.joined.Joined` one
    whose trunks of images are of that name, one for all where they are ``shared``.

    A user's class that is made for several gets its inputs in their order, each normalised, and is
    called with those of ``inputs`` (the shape of each by name) and ``targets`` (the number of
    outputs of each) that its signature names; of several targets it gives a dictionary.
    """
    inputs = [one for one in columns.values() if one.is_input]
    targets = [one for one in columns.values() if not one.is_input]
    if len(inputs) == len(targets) == 1:
        (image,), (target,) = inputs, targets
        if isinstance(image, Image) and isinstance(target, Class | Labels):
            return build(name, len(target.classes), image.channels, image.size, arguments)
    if is_own(name):
        given = {
            "inputs": {key: one.shape for key, one in columns.items() if one.is_input},
            "targets": {key: outputs_of(one) for key, one in columns.items() if not one.is_input},
        }
        return Normalised(columns, _own(name, given, dict(arguments or {})))

    def build_trunk(width: int, channels: int, size: tuple[int, int]) -> Classifier:
        return build(name, width, channels, size, arguments)

    return joined(columns, build_trunk, shared)


def no_argument(key: str, value: object, name: str, also: Iterable[str] = ()) -> BadArgument:
    """The error for an argument that the network ``name`` does not take: which networks do, and
    what this one takes; or the nearest of its own and of what may ``also`` be meant.

    >>> print(no_argument("hidden", 64, "cnn"))
    hidden=64: is no argument of cnn but of mlp; leave it out, or take model mlp (cnn takes
    kernel_size, widths)
    """
    own = arguments_of(name)
    takes = f"{name} takes {', '.join(own) or 'none'}"
    having = [one for one in MODELS if key in arguments_of(one)]
    if key == "small_stem":
        having.append(f"{tv.PREFIX}NAME")
    if having:
        rule = f"is no argument of {name} but of {', '.join(having)}"
        return BadArgument(key, value, rule, f"leave it out, or take model {having[0]} ({takes})")
    rule = f"is no argument of {name}" + ", nor an option" * bool(also)
    hint = nearest(key, own, listed=False) or nearest(key, also, listed=False)
    return BadArgument(key, value, rule, hint + takes)


def is_own(name: str) -> bool:
    """Whether the name is a user's ``file.py:ClassName``."""
    return ".py:" in name or name.endswith(".py")


def _builder(name: str) -> Callable[..., Classifier]:
    if name.startswith(tv.PREFIX):
        return tv.builder(name)
    if name not in MODELS:
        known = f"Known: {', '.join(sorted(MODELS))}"
        remedy = f"{_meant(name)}{known}, tv:NAME of torchvision, or file.py:ClassName"
        raise BadArgument("model", name, "is no registered network", remedy)
    return MODELS[name]


def _meant(name: str) -> str:
    """What an unknown name is likely to mean: torchvision's networks are known without their
    prefix, and both kinds whatever their capitals and hyphens."""
    spelt = {bare(one): f"{tv.PREFIX}{one}" for one in tv.names()} | {bare(k): k for k in MODELS}
    close = difflib.get_close_matches(bare(name), spelt, n=1, cutoff=0.5)
    return f"did you mean {spelt[close[0]]}? " if close else ""


def _fitting(key: str, value: Any, hint: Any) -> Any:
    """The value as the builder's signature wants it; TOML's lists stand for tuples."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    many = any(typing.get_origin(kind) in (tuple, Sequence) for kind in kinds)
    one = tuple(kind for kind in kinds if isinstance(kind, type) and not typing.get_origin(kind))
    if many and isinstance(value, list | tuple) and all(type(item) is int for item in value):
        return tuple(value)
    if float in one and type(value) is int:
        return float(value)
    if one and type(value) in one:
        return value
    rules = [KINDS[kind][0] for kind in one] + ["several whole numbers"] * many
    remedy = "try 16,32" if many else KINDS[one[0]][1]
    raise BadArgument(key, value, f"must be {' or '.join(rules)}", remedy)


KINDS = {  # of an argument -> what it must be, an example
    int: ("a whole number", "try 16"),
    float: ("a number", "try 0.5"),
    bool: ("true or false", "write true or false"),
    str: ("a line of words", "write it in quotes"),
}


def _own(name: str, given: Mapping[str, Any], arguments: Mapping[str, Any]) -> nn.Module:
    """Import the user's file, because the user named it, and make its module."""
    file, _, class_name = name.rpartition(":") if ".py:" in name else (name, "", "")
    path = Path(file)
    if not path.is_file():
        raise BadArgument(
            "model", name, "names no file that is there", "give path/to/file.py:ClassName"
        )
    if not class_name:
        raise BadArgument("model", name, "names no class", f"give {name}:ClassName")
    spec = importlib.util.spec_from_file_location(f"convscope_own_{path.stem}", path.resolve())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as why:  # a user's file may raise anything
        rule = f"{path} cannot be imported: {type(why).__name__}: {why}"
        raise BadArgument("model", name, rule, "mend the file") from why
    kind = getattr(module, class_name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        found = [
            k for k, v in vars(module).items() if isinstance(v, type) and issubclass(v, nn.Module)
        ]
        raise BadArgument(
            "model", name, f"{path} has no nn.Module {class_name}", nearest(class_name, found)
        )
    parameters = inspect.signature(kind).parameters
    for key, value in arguments.items():
        if key not in parameters:
            raise BadArgument(
                key, value, f"is no argument of {class_name}", nearest(key, parameters)
            )
    wanted = {key: value for key, value in given.items() if key in parameters}
    missing = [
        key
        for key, p in parameters.items()
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and key not in wanted
        and key not in arguments
    ]
    if missing:
        raise BadArgument(
            "model",
            name,
            f"{class_name} needs {', '.join(missing)}, which convscope does not know",
            f"give them defaults ({listed([*given])} are passed where named)",
        )
    try:
        network = kind(**wanted, **arguments)
    except Exception as why:
        rule = f"{class_name} cannot be made: {type(why).__name__}: {why}"
        raise BadArgument("model", name, rule, "mend the class or its arguments") from why
    return network
