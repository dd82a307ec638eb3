"""The arguments of networks, read off the text of their builders, since to import those is to
import torch: kind and default from the signature, what an argument is from the docstring."""

from __future__ import annotations

import ast
import importlib.util
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from convscope.recipe.sections import as_typed

BUILDER = re.compile(
    r'^ *def \w+\(\s*num_classes: int,.*?\) -> Classifier:\s+""".*?"""', re.MULTILINE | re.DOTALL
)
GIVEN = 3  # arguments that the data decides: num_classes, in_channels, image_size
NAMES = {"torchvision": "tv:NAME"}  # builder -> its networks, where they are not called as it is


class Argument(NamedTuple):
    """An argument of one network: its type as it is annotated, its default, what it is."""

    network: str
    name: str
    annotation: str
    default: object
    text: str


def arguments() -> list[Argument]:
    """Every argument of every network.

    >>> [(a.network, a.default, a.text) for a in arguments() if a.name == "hidden"]
    [('mlp', 500, 'hidden units')]
    """
    spec = importlib.util.find_spec("convscope.models")
    assert spec is not None and spec.origin is not None
    found = []
    for file in sorted(Path(spec.origin).parent.glob("*.py")):
        said: dict[str, str] = {}  # a family says once what its arguments are
        for text in BUILDER.findall(file.read_text(encoding="utf-8")):
            (builder,) = ast.parse(textwrap.dedent(text)).body
            assert isinstance(builder, ast.FunctionDef)
            said |= _described(ast.get_docstring(builder) or "")
            own, defaults = builder.args.args[GIVEN:], builder.args.defaults
            for argument, default in zip(own, defaults, strict=True):
                assert argument.annotation is not None
                found.append(
                    Argument(
                        NAMES.get(builder.name, builder.name),
                        argument.arg,
                        ast.unparse(argument.annotation),
                        ast.literal_eval(default),
                        said.get(argument.arg, ""),
                    )
                )
    assert found, "the builders of convscope.models are read off their source, which is not there"
    return found


def networks() -> list[str]:
    """The names of all networks, in the order of the registry, whose text is read.

    >>> networks()[:3]
    ['mlp', 'cnn', 'inception']
    """
    spec = importlib.util.find_spec("convscope.models")
    assert spec is not None and spec.origin is not None
    text = Path(spec.origin).read_text(encoding="utf-8")
    registry = re.search(r"^MODELS\b.*? = \{(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert registry is not None, f"{spec.origin} has no registry MODELS"
    return re.findall(r'^ +"(\w+)":', registry[1], re.MULTILINE)


def _described(docstring: str) -> dict[str, str]:
    """What a docstring says of each argument: one sentence.

    >>> _described("A network. ``width``: channels. ``depth``: layers, 3n + 1. Raises nothing.")
    {'width': 'channels', 'depth': 'layers, 3n + 1'}
    """
    entries = re.findall(r"``(\w+)``: (.*?)\.(?=\s|\Z)", docstring, re.DOTALL)
    return {name: " ".join(text.split()) for name, text in entries}


def helps(of: list[Argument]) -> str:
    """What one argument is, as each of its networks has it.

    >>> helps([a for a in arguments() if a.name == "growth"])
    'densenet, densenet40: maps that a layer adds [default: 12]'
    """
    same: dict[str, list[str]] = {}
    for one in of:
        said = f"{one.text} [default: {as_typed(one.default)}]"
        same.setdefault(said, []).append(one.network)
    return "; ".join(f"{', '.join(networks)}: {said}" for said, networks in same.items())
