"""What is typed: sizes, matrices, named kernels, pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from convscope.data.decode import decode, look
from convscope.errors import BadArgument, nearest
from convscope.insight.reference.windows import Array

MOST = 4_000_000  # numbers of an input
LONGER = 256  # pixels of a picture's longer side, unless a size is given

KERNELS = {
    "sobel-x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],  # Sobel and Feldman 1968
    "sobel-y": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "prewitt-x": [[-1, 0, 1]] * 3,  # Prewitt 1970
    "prewitt-y": [[-1] * 3, [0] * 3, [1] * 3],
    "laplace": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "box": [[1 / 9] * 3] * 3,
    "gauss": [[1 / 16, 1 / 8, 1 / 16], [1 / 8, 1 / 4, 1 / 8], [1 / 16, 1 / 8, 1 / 16]],
    "average": [[1 / 25] * 5] * 5,
    "emboss": [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],
    "pixel": [[1]],  # laid on all channels of a pixel
}


def sizes(text: str, name: str, example: str) -> tuple[int, ...]:
    """'8x8', '3x8x8', '2,1' or '5' as whole numbers. Raises BadArgument.

    >>> sizes("3x8x8", "input", "8x8"), sizes("2,1", "padding", "2,1")
    ((3, 8, 8), (2, 1))
    """
    try:
        return tuple(int(part) for part in re.split("[x,]", text.strip()))
    except ValueError:
        raise BadArgument(name, text, "must be whole numbers", f"write {example}") from None


def numbers(text: str, name: str) -> Array:
    """A size as an array that counts up from zero, or the numbers themselves: rows between
    semicolons, or JSON. [H,W], or [C,H,W]. Raises BadArgument.

    >>> numbers("2x3", "input").tolist()
    [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    >>> numbers("1,0; 0,1", "input").tolist() == numbers("[[1,0],[0,1]]", "input").tolist()
    True
    """
    typed = text.strip()
    if re.fullmatch(r"-?\d+(x-?\d+){1,3}", typed):
        shape = sizes(typed, name, "8x8")
        if min(shape) < 1:
            raise BadArgument(name, text, "must be at least 1 in every direction", "try 8x8")
        if np.prod([float(side) for side in shape]) > MOST:
            raise BadArgument(name, text, f"is more than {MOST:,} numbers", "try 8x8")
        return np.arange(float(np.prod(shape))).reshape(shape)
    try:
        if typed.startswith("["):
            found = np.array(json.loads(typed), np.float64)
        else:
            rows = [re.split(r"[,\s]+", row.strip()) for row in typed.strip(";").split(";")]
            found = np.array([[float(cell) for cell in row] for row in rows])
    except (ValueError, TypeError):
        rule = "is neither a size nor rows of numbers, all equally long"
        raise BadArgument(name, text, rule, 'write 8x8, or "0,1;2,3"') from None
    if not 2 <= found.ndim <= 4 or found.size == 0 or not np.isfinite(found).all():
        rule = "must be finite numbers, [H,W] or [C,H,W]"
        raise BadArgument(name, text, rule, 'write 8x8, or "0,1;2,3"')
    return found


def kernel(text: str) -> Array:
    """A kernel by name, by size (counting up from zero) or by its numbers. Raises BadArgument.

    >>> kernel("sobel-x").tolist()[1], kernel("3").shape, kernel("1,-1").tolist()
    ([-2.0, 0.0, 2.0], (3, 3), [[1.0, -1.0]])
    """
    typed = text.strip().lower()
    if typed in KERNELS:
        return np.array(KERNELS[typed], np.float64)
    if re.fullmatch(r"-?\d+", typed):
        typed = f"{typed}x{typed}"
    if re.fullmatch(r"[a-z][a-z-]*", typed):
        raise BadArgument("kernel", text, "is no kernel by name", nearest(typed, KERNELS))
    return numbers(typed, "kernel")


def picture(path: Path, size: str | None) -> Array:
    """An image file as grey values 0 to 255, [1,H,W]; its longer side is brought to 256 pixels
    where it is longer and no size is given. Raises ImageError, BadArgument."""
    height, width = look(path)[1]
    if size is not None:
        given = sizes(size, "size", "128 or 96x128")
        if len(given) > 2 or min(given) < 1:
            raise BadArgument("size", size, "must be one or two numbers above 0", "try 128")
        height, width = given[0], given[-1]
    elif max(height, width) > LONGER:
        scale = LONGER / max(height, width)
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
    fit = "pad" if size is not None else "stretch"
    return decode(path, channels=1, size=(height, width), fit=fit).astype(np.float64)
