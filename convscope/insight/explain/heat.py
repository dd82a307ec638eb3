"""Heat maps: which pixels an answer rests on, through captum; and how far to trust them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import BadArgument
from convscope.insight.explain.stages import Stage, opened

METHODS = {
    "gradcam": "Grad-CAM",
    "ig": "integrated gradients",
    "occlusion": "occlusion",
}


def captum() -> Any:
    """captum's attribution methods. Raises BadArgument that names the extra where it is not
    installed."""
    try:
        import captum.attr as found
    except ImportError as why:
        rule = f"needs a package that is not installed ({why.name or why})"
        remedy = "install it: pip install 'convscope[explain]'"
        raise BadArgument("explain", "heat maps", rule, remedy) from None
    return found


def gradcam(network: nn.Module, images: Tensor, targets: Tensor, stage: Stage) -> Tensor:
    """Grad-CAM at a stage (Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2), [N,h,w], at that
    stage's own resolution: what speaks for the target is positive, the rest is zero."""
    made, layer = opened(network, stage.name)
    inputs = images.detach().requires_grad_()
    found = captum().LayerGradCam(made, layer).attribute(inputs, targets, relu_attributions=True)
    maps: Tensor = found[:, 0].detach()
    return maps


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [N,h,w] brought to the size of the image, bilinear."""
    if tuple(maps.shape[1:]) == size:
        return maps
    return nn.functional.interpolate(maps[:, None], size, mode="bilinear")[:, 0]


def unit_range(maps: Tensor) -> Tensor:
    """Each map [H,W] divided by its largest magnitude: 1 is its hottest place, zeros stay."""
    most = maps.abs().flatten(1).amax(1).clamp_min(torch.finfo(maps.dtype).tiny)
    return maps / most[:, None, None]
