"""Pictures whose pixels are known."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from convscope.data.decode import decode


def picture(mode="RGB", size=(24, 16)) -> Image.Image:
    """A smooth picture: red grows to the right, green downwards, blue with both."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    rgb = np.stack([x, y, (x + y) / 2], -1).round().astype(np.uint8)
    return Image.fromarray(rgb).convert(mode)


def encoded(image: Image.Image, form="PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def as_is(source, channels=3):
    """Decode at the image's own size (width, height)."""
    image = Image.open(io.BytesIO(source)) if isinstance(source, bytes) else source
    return decode(source, channels=channels, size=(image.height, image.width))


def pixels(image: Image.Image) -> np.ndarray:
    """An RGB or grey image as ``[C,H,W]``."""
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def png(depth, colour, row, clear, width) -> bytes:
    """A PNG of one row, with a transparent colour."""
    head = width.to_bytes(4, "big") + bytes([0, 0, 0, 1, depth, colour, 0, 0, 0])
    data = zlib.compress(b"\0" + row)
    whole = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", head), (b"tRNS", clear), (b"IDAT", data), (b"IEND", b"")):
        whole += struct.pack(">I", len(body)) + kind + body
        whole += struct.pack(">I", zlib.crc32(kind + body))
    return whole


def grey16(mode="I;16", top=65535) -> Image.Image:
    """A ramp over 16 bits, 4096 pixels wide."""
    ramp = np.linspace(0, top, 4096).round().astype(np.uint16)
    return Image.fromarray(np.broadcast_to(ramp, (4, 4096)).copy()).convert(mode)
