"""Warping of whole batches, against one pixel at a time, NumPy and Pillow."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.data import warp
from convscope.recipe import Augment

PADDINGS = ("black", "edge", "reflect")
PAD = {"black": "constant", "edge": "edge", "reflect": "reflect"}


@pytest.fixture(autouse=True)
def one_thread():
    """Many small steps are done sooner by one thread than by several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 256, shape, generator=seeded(seed), dtype=torch.uint8)


def plain(batch: int) -> torch.Tensor:
    """Maps that leave every pixel where it is."""
    return torch.tensor([[1.0, 0, 0], [0, 1, 0]]).repeat(batch, 1, 1)


def slowly(image: np.ndarray, numbers: np.ndarray, padding: str) -> np.ndarray:
    """One image [C,H,W] read through its map [2,3], pixel by pixel."""
    _, height, width = image.shape
    far = max(height, width)  # beyond it the mirror image would have a mirror image of its own
    padded = np.pad(image.astype(float), ((0, 0), (far, far), (far, far)), PAD[padding])
    out = np.zeros(image.shape)
    for row in range(height):
        for column in range(width):
            place = (column - (width - 1) / 2, row - (height - 1) / 2, 1)
            x, y = numbers @ place + ((width - 1) / 2 + far, (height - 1) / 2 + far)
            left, top = math.floor(x), math.floor(y)
            for to_x, share_x in ((left, left + 1 - x), (left + 1, x - left)):
                for to_y, share_y in ((top, top + 1 - y), (top + 1, y - top)):
                    out[:, row, column] += share_x * share_y * padded[:, to_y, to_x]
    return out


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(3, 8, 8), (1, 7, 10)])
def test_sample_reads_between_pixels(size, padding):
    images = drawn(6, *size)
    random = np.random.default_rng(1)
    maps = plain(6).numpy() + random.uniform(-0.3, 0.3, (6, 2, 3))
    maps[:, :, 2] *= 8
    wanted = np.stack([slowly(i.numpy(), m, padding) for i, m in zip(images, maps, strict=True)])
    maps = torch.from_numpy(maps).float()
    found = warp.sample(images, maps, padding)
    assert found.dtype == torch.uint8 and np.abs(found.numpy() - wanted).max() < 0.51
    found = warp.sample(images / 255, maps, padding)
    assert found.dtype == torch.float32 and np.abs(found.numpy() * 255 - wanted).max() < 0.01


@pytest.mark.parametrize("padding", PADDINGS)
def test_the_plain_map_changes_nothing(padding):
    for size in ((3, 32, 32), (1, 28, 28), (2, 5, 9), (1, 1, 7), (1, 6, 1)):
        images = drawn(4, *size)
        assert torch.equal(warp.sample(images, plain(4), padding), images)


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_move_by_whole_pixels_is_exact(padding):
    images, maps = drawn(2, 3, 9, 12), plain(2)
    maps[:, :, 2] = torch.tensor([[3.0, -2.0], [-4.0, 5.0]])
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (5, 5), (5, 5)), PAD[padding])
    wanted = [padded[0, :, 3:12, 8:20], padded[1, :, 10:19, 1:13]]
    assert np.array_equal(warp.sample(images, maps, padding), np.stack(wanted))


def test_quarter_turns_are_exact():
    images = drawn(1, 3, 8, 8)
    maps = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    assert torch.equal(warp.sample(images, maps), images.rot90(1, (2, 3)))
    oblong = drawn(1, 1, 4, 6)  # the middle 4 x 4 turns, the rest comes from beyond the edge
    found = warp.sample(oblong, maps)
    assert torch.equal(found[..., 1:5], oblong[..., 1:5].rot90(1, (2, 3)))
    assert not found[..., [0, 5]].any()


@pytest.mark.parametrize("size", [(28, 28), (20, 36)])
def test_rotate_turns_as_pillow_does(size):
    """A smooth picture, turned by the angle that was drawn; oblong ones keep their proportions."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    blob = 255 * np.exp(-(((y - height * 0.4) / 2.5) ** 2 + ((x - width * 0.65) / 2.5) ** 2))
    picture = blob.astype(np.uint8)
    images = torch.from_numpy(picture)[None, None]
    found = warp.warp(images, Augment(rotate=30), seeded(3))[0, 0].numpy()
    angle = float(torch.rand(1, generator=seeded(3)) * 2 - 1) * 30
    turned = Image.fromarray(picture).rotate(angle, Image.Resampling.BILINEAR)
    assert abs(angle) > 3
    assert np.abs(np.asarray(turned, dtype=int) - found).max() <= 2


def test_warp_takes_degrees():
    images, spec = drawn(10, 3, 9, 11), Augment(rotate=20, scale=0.3, shear=30, padding="edge")
    maps = warp.turns(10, math.pi / 9, 0.3, math.pi / 6, seeded(2))
    assert torch.equal(warp.warp(images, spec, seeded(2)), warp.sample(images, maps, "edge"))


def test_turns_compose_scale_shear_and_rotation():
    maps = warp.turns(2000, 0.5, 0.3, 0.4, seeded()).double().numpy()
    assert (maps[:, :, 2] == 0).all()
    size = 1 / np.sqrt(np.linalg.det(maps[:, :, :2]))
    turn = np.arctan2(maps[:, 1, 0], maps[:, 1, 1])
    assert 0.7 <= size.min() < 0.71 and 1.29 < size.max() < 1.3001
    assert -0.5001 < turn.min() < -0.49 and 0.49 < turn.max() < 0.5001
    back = np.stack([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]).transpose(
        2, 0, 1
    )
    lean = maps[:, :, :2] @ back * size[:, None, None]  # what is left: [[1, tan], [0, 1]]
    np.testing.assert_allclose(lean[:, :, 0], [[1, 0]] * 2000, atol=1e-5)
    np.testing.assert_allclose(lean[:, 1, 1], 1, atol=1e-5)
    angles = np.arctan(lean[:, 0, 1])
    assert -0.4001 < angles.min() < -0.39 and 0.39 < angles.max() < 0.4001
    assert abs(np.corrcoef(size, turn)[0, 1]) < 0.1 and abs(np.corrcoef(turn, angles)[0, 1]) < 0.1


@pytest.mark.parametrize("least", [0.3, 0.9])
def test_crops_lie_within_the_image(least):
    shares, middle = warp.crops(4000, least, (20, 41), seeded())
    area, aspect = shares.prod(1), shares[:, 0] / shares[:, 1]
    assert least - 1e-6 <= float(area.min()) < least + 0.01 and 0.99 < float(area.max()) <= 1.0001
    assert abs(float(area.mean()) - (1 + least) / 2) < 0.02
    narrow = max(least, 0.75)  # a narrower one would be longer than the image
    assert narrow - 1e-4 < float(aspect.min()) < narrow + 0.02
    assert 1 / narrow - 0.04 < float(aspect.max()) < 1 / narrow + 1e-4
    assert abs(float(aspect.log().mean())) < 0.01
    half = torch.tensor([20.0, 9.5])
    room = half * (1 - shares)
    used = (middle / room)[(room > 0.1).all(1)]
    assert bool((middle.abs() <= room + 1e-4).all())
    assert bool((used.amin(0) < -0.99).all()) and bool((used.amax(0) > 0.99).all())
    assert bool((middle.mean(0).abs() < 0.2).all())


def test_a_crop_is_a_part_of_the_picture_at_full_size():
    """A ramp has in each crop the slope that its share of the width gives, and no black edge."""
    ramp = (torch.arange(33) * 6 + 20).to(torch.uint8).repeat(200, 1, 33, 1)
    found = warp.warp(ramp, Augment(crop=0.25), seeded(1)).double()
    shares, middle = _crops_of_warp(200, 0.25, (33, 33), seed=1)
    x = torch.arange(33) - 16
    wanted = 20 + 6 * (16 + shares[:, :1] * x + middle[:, :1])  # [B,W]
    assert float((found - wanted[:, None, None]).abs().max()) < 0.51
    tall = ramp.mT.contiguous()
    wanted = 20 + 6 * (16 + shares[:, 1:] * x + middle[:, 1:])
    found = warp.warp(tall, Augment(crop=0.25), seeded(1)).double()
    assert float((found - wanted[:, None, :, None]).abs().max()) < 0.51


def _crops_of_warp(batch: int, least: float, size: tuple[int, int], seed: int):
    generator = seeded(seed)
    warp.turns(batch, 0, 0, 0, generator)  # drawn first
    return warp.crops(batch, least, size, generator)


def test_a_crop_of_everything_changes_nothing():
    images = drawn(20, 3, 16, 16)
    assert torch.equal(warp.warp(images, Augment(crop=1.0), seeded()), images)


def test_what_turns_into_a_crop_is_the_picture_around_it():
    """Where the crop leaves room, rotation brings in no black."""
    bright = torch.full((2000, 1, 33, 33), 200, dtype=torch.uint8)
    found = warp.warp(bright, Augment(crop=0.1, rotate=45), seeded())
    shares, middle = _crops_of_warp(2000, 0.1, (33, 33), seed=0)
    inner = (middle.abs().amax(1) < 2) & (shares.amax(1) < 0.6)
    assert int(inner.sum()) > 10 and bool((found[inner] == 200).all())
    assert not bool((found == 200).all())


@pytest.mark.parametrize("padding", PADDINGS)
def test_padding_comes_in_at_the_edge(padding):
    bright = torch.full((50, 1, 20, 20), 200, dtype=torch.uint8)
    found = warp.warp(bright, Augment(rotate=45, padding=padding), seeded())
    assert bool((found == 200).all()) == (padding != "black")


def test_uniform_reaches_its_bounds():
    found = warp.uniform(-2, 3, 10_000, seeded())
    assert -2 <= float(found.min()) < -1.99 and 2.99 < float(found.max()) <= 3
    assert abs(float(found.mean()) - 0.5) < 0.05
