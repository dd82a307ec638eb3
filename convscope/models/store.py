"""Networks to disk and back: safetensors for the weights, JSON for what they are. No pickle."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.parameter import is_lazy

from convscope import files
from convscope.data import columns as typed
from convscope.data.columns import Class, Columns, Image
from convscope.errors import BadArgument, RunError
from convscope.models import build_for, is_own
from convscope.models.parts import Classifier
from convscope.run import RunFolder


def to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Tensors as one safetensors file, each contiguous and with its own memory; one that is there
    under several names (weights that are tied) is written under the first."""
    return safetensors.torch.save(_plain(tensors))


def write(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write such a file straight to disk; its SHA-256. Raises OSError."""
    try:
        safetensors.torch.save_file(_plain(tensors), path)
    except SafetensorError as why:
        number = re.search(r"os error (\d+)", str(why))
        raise OSError(int(number[1]) if number else errno.EIO, str(why)) from None
    return files.sha256(path)


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    memory: set[int] = set()
    for name, first in tied(tensors).items():
        if name != first:
            continue
        plain = tensors[name].detach().cpu().contiguous()
        if plain.numel() and plain.untyped_storage().data_ptr() in memory:  # a part of another one
            plain = plain.clone()
        memory.add(plain.untyped_storage().data_ptr())
        found[name] = plain
    return found


def tied(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Each name with the first name of the same numbers in the same memory: itself, unless weights
    are tied.

    >>> one = torch.zeros(2, 2)
    >>> tied({"a": one, "b": one, "c": one[:1], "d": one.clone()})
    {'a': 'a', 'b': 'a', 'c': 'c', 'd': 'd'}
    """
    first: dict[tuple[object, ...], str] = {}
    found = {}
    for name, tensor in tensors.items():
        where = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        known = tensor.data_ptr() and tensor.numel()  # else nobody can tell whose memory it is
        found[name] = first.setdefault(where if known else (name,), name)
    return found


def architecture(
    name: str, arguments: dict[str, Any], columns: Columns, shared_trunk: bool = False
) -> dict[str, Any]:
    """What :func:`load` needs to build the network again; a user's file is pinned by its
    SHA-256."""
    image = next(one for one in columns.values() if isinstance(one, Image))
    main = next(one for one in columns.values() if isinstance(one, Class))
    found: dict[str, Any] = {
        "name": name,
        "arguments": arguments,
        "num_classes": len(main.classes),
        "in_channels": image.channels,
        "image_size": list(image.size),
    }
    if len(columns) > 2:
        found |= {"columns": typed.as_json(columns), "shared_trunk": shared_trunk}
    if is_own(name):
        found["source_sha256"] = files.sha256(Path(name.rpartition(":")[0]))
    return found


def save(folder: RunFolder, model: torch.nn.Module, info: dict[str, Any]) -> None:
    """Write ``model.safetensors``, then ``model.json``, which names the weights by their
    SHA-256."""
    content = to_bytes(model.state_dict())
    files.write_whole(folder.weights, content)
    files.write_json(folder.model, info | {"weights_sha256": hashlib.sha256(content).hexdigest()})


def load(folder: RunFolder, own: str | None = None) -> Classifier:
    """The trained network of a run, as :func:`load_network`, if it tells one class by one image;
    else RunError."""
    network = load_network(folder, own)
    if not isinstance(network, Classifier):
        raise RunError(
            f"{folder.path}: its network has several inputs or targets, and this needs one image "
            "and one class; eval and predict take it"
        )
    return network


def load_network(folder: RunFolder, own: str | None = None) -> torch.nn.Module:
    """The trained network of a run, in evaluation mode.

    A network from a user's file is imported only from ``own``, the ``file.py:ClassName`` that the
    caller names now: no name that a file holds is ever imported. Raises RunError for a damaged or
    ill-fitting file, BadArgument where ``own`` is needed, or not.
    """
    info = folder.read_model()
    built = info["architecture"]
    name = built["name"]
    if is_own(name):
        if own is None:
            raise BadArgument(
                "model",
                "(not given)",
                f"this run's network is the class {name.rpartition(':')[2]} of a user's own file, "
                "and no code is loaded that you do not name",
                f"add --model {name}, if you trust that file",
            )
        if own.rpartition(":")[2] != name.rpartition(":")[2]:
            raise BadArgument(
                "model", own, "is not the class this run was made with", f"name {name}"
            )
        name = own
        file = own.rpartition(":")[0]
        if Path(file).is_file() and files.sha256(Path(file)) != built.get("source_sha256"):
            raise RunError(
                f"{file}: was edited since this run was made with it, so that its figures no "
                "longer hold; put the old version back, or train again"
            )
    elif own is not None and own != name:
        raise BadArgument("model", own, f"this run's network is {name}", "leave model out")
    try:
        model = build_for(
            name, typed.of_model(info), built["arguments"], built.get("shared_trunk", False)
        )
    except (BadArgument, KeyError, TypeError) as why:
        if is_own(name):
            raise
        raise RunError(f"{folder.model}: was edited or damaged: {why}") from None
    if is_own(name):
        inputs = [one for one in typed.of_model(info).values() if one.is_input]
        make_up(model, *(torch.zeros(2, *one.shape) for one in inputs))
    try:
        content = folder.weights.read_bytes()
    except OSError:
        raise RunError(f"{folder.weights}: is not there; restore it or train again") from None
    if hashlib.sha256(content).hexdigest() != info["weights_sha256"]:
        raise RunError(
            f"{folder.weights}: was cut short or edited: its SHA-256 is not the one in model.json; "
            "restore it from a copy or train again"
        )
    if len(info["classes"]) != built["num_classes"]:
        raise RunError(
            f"{folder.model}: was edited or damaged: it names {len(info['classes'])} classes "
            f"for {built['num_classes']} outputs"
        )
    fill(model, from_bytes(content, folder.weights), folder.weights)
    return model.eval()


def make_up(model: torch.nn.Module, *inputs: Tensor) -> None:
    """Let lazy layers of a user's class take their sizes from a first batch, [B,C,H,W] each."""
    if any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        with torch.no_grad():
            model.eval()(*inputs)


def from_bytes(content: bytes, path: Path | str) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises RunError, naming ``path``, where it is none."""
    try:
        return safetensors.torch.load(content)
    except SafetensorError as why:
        raise RunError(f"{path}: is damaged ({why}); restore it from a copy") from None


def fill(model: torch.nn.Module, tensors: dict[str, Tensor], path: Path | str) -> None:
    """Load weights into a network, every one of them and no other; those that it ties are there
    once. Raises RunError naming what does not fit."""
    wanted = model.state_dict()
    names = {name: first for name, first in tied(wanted).items() if first in tensors}
    tensors = {name: tensors[first] for name, first in names.items()} | tensors
    for name in [*wanted, *tensors]:
        expected = tuple(wanted[name].shape) if name in wanted else "nothing"
        found = tuple(tensors[name].shape) if name in tensors else "nothing"
        if expected != found:
            raise RunError(
                f"{path}: does not fit the network: {name} should be {expected}, is {found}"
            )
    model.load_state_dict(tensors)
