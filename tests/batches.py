"""Batches, and recipes of augmentation, that the tests of several modules share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope.recipe import Augment

PAD = {"black": "constant", "edge": "edge", "reflect": "reflect"}

# Each transformation alone, and what a recipe may put together.
SPECS = {
    "shift": Augment(shift=2),
    "shift-edge": Augment(shift=2, padding="edge"),
    "shift-reflect": Augment(shift=2, padding="reflect"),
    "flip": Augment(flip=True),
    "alternating_flip": Augment(alternating_flip=True),
    "crop": Augment(crop=0.4),
    "rotate": Augment(rotate=30),
    "scale": Augment(scale=0.3),
    "shear": Augment(shear=20, padding="edge"),
    "brightness": Augment(brightness=0.5),
    "contrast": Augment(contrast=0.5),
    "saturation": Augment(saturation=0.5),
    "hue": Augment(hue=0.3),
    "randaugment": Augment(randaugment=2, magnitude=15),
    "trivialaugment": Augment(trivialaugment=True),
    "cutout": Augment(cutout=4),
    "erase": Augment(erase=0.5),
    "mixup": Augment(mixup=0.8),
    "cutmix": Augment(cutmix=1.0),
    "hot": Augment(shift=2, flip=True, cutout=4),
    "all": Augment(
        crop=0.5,
        rotate=10,
        shift=1,
        padding="reflect",
        flip=True,
        brightness=0.2,
        saturation=0.2,
        randaugment=1,
        cutout=3,
        erase=0.3,
        mixup=0.5,
        cutmix=0.5,
    ),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Pixels of which none is black."""
    return torch.randint(1, 256, shape, generator=seeded(seed), dtype=torch.uint8)


def slowly(images, spec: Augment, generator: torch.Generator) -> np.ndarray:
    """Flip, shift and cutout, an image at a time; draws what augment draws."""
    batch, _, height, width = images.shape
    places, cut = 2 * spec.shift + 1, spec.cutout
    mirrored = torch.randint(2, (batch,), generator=generator) if spec.flip else torch.zeros(batch)
    place = torch.zeros(batch, dtype=int)
    if spec.shift:
        place = torch.randint(places**2, (batch,), generator=generator)
    if cut:
        middle = torch.randint(height * width, (batch,), generator=generator)
    out = []
    for i, image in enumerate(np.asarray(images)):
        seen = image[:, :, ::-1] if mirrored[i] else image
        padded = np.pad(seen, ((0, 0), (spec.shift,) * 2, (spec.shift,) * 2), PAD[spec.padding])
        top, left = divmod(int(place[i]), places)
        seen = padded[:, top : top + height, left : left + width].copy()
        if cut:
            y, x = divmod(height * width - 1 - int(middle[i]), width)
            top, left = max(y - cut // 2, 0), max(x - cut // 2, 0)
            seen[:, top : y - cut // 2 + cut, left : x - cut // 2 + cut] = 0
        out.append(seen)
    return np.stack(out)


# ---- shift, flip, cutout, and drawing from a source
