"""Whether a layer is exactly PyTorch's own, so that something else may compute what it does."""

from __future__ import annotations

from torch import Tensor, nn

from convscope.models.parts import is_ours

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def untouched(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module computes what PyTorch's ``kind`` does, and nobody is told or asked when it
    does: no other class (a parametrisation makes one, too) but convscope's own without another
    ``forward``, no hook, no method or weight put in place of the class's on this one object.

    >>> layer = nn.Linear(2, 2)
    >>> untouched(layer, nn.Linear), untouched(layer, nn.Conv2d)
    (True, False)
    >>> _ = nn.utils.parametrizations.weight_norm(layer)
    >>> untouched(layer, nn.Linear)
    False
    """
    own = type(module)
    ours = issubclass(own, kind) and is_ours(module)
    if not (own is kind or ours) or not _same_forward(own, kind):
        return False
    if any(getattr(module, hooks) for hooks in _HOOKS):
        return False
    if any(callable(value) and hasattr(own, name) for name, value in vars(module).items()):
        return False
    tensors = [*module._parameters.values(), *module._buffers.values()]
    there = [tensor for tensor in tensors if tensor is not None]
    plain = all(type(tensor) in (nn.Parameter, Tensor) for tensor in there)
    shadowed = {"weight", "bias"} & vars(module).keys()
    return plain and not shadowed and not module._modules


def _same_forward(own: type[nn.Module], kind: type[nn.Module]) -> bool:
    """Whether a class computes as ``kind`` does, or in the engine's way of it."""
    return own.forward is kind.forward or getattr(own, "stands_for", None) is kind
