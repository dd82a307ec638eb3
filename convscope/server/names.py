"""Names that folders and files can have on every system."""

from __future__ import annotations

import io
import os
import unicodedata
from collections.abc import Sequence

from PIL import Image

from convscope.data.decode import SUFFIXES
from convscope.data.layout import FOLDERS
from convscope.data.scan import HARMLESS
from convscope.server.limits import Refusal

LONGEST = 80  # letters
BYTES = 200  # of UTF-8, so that a suffix and a temporary mark go into the 255 of file systems
BY_FORMAT = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "PPM": ".ppm"}
FORBIDDEN = frozenset('/\\:*?"<>|')


def named(text: str, what: str, taken: Sequence[str] = ()) -> str:
    """A name that a folder can have on every system, of a ``what``: trimmed, composed (NFC). Raises
    Refusal for one that it cannot have, or that is ``taken``, whatever its capitals.

    >>> named(" 猫 2 ", "class")
    '猫 2'
    """
    name = unicodedata.normalize("NFC", text).strip()
    rule = ""
    if not name:
        rule = f"a {what} needs a name"
    elif len(name) > LONGEST or len(name.encode("utf-8", "replace")) > BYTES:
        rule = f"the name has more than {LONGEST} letters; choose a shorter one"
    elif any(letter in FORBIDDEN or not letter.isprintable() for letter in name):
        rule = f"{name!r}: a name may have none of {' '.join(sorted(FORBIDDEN))}"
    elif name[0] in ".-" or name[-1] == "." or name.lower() in HARMLESS:
        rule = f"{name!r}: no name may begin with . or -, or end with .; choose another one"
    elif what == "class" and name.lower() in FOLDERS:
        rule = f"{name!r} is what training calls a part of its images; choose another name"
    if rule:
        raise Refusal(400, "name", rule)
    if name.casefold() in {one.casefold() for one in taken}:
        raise Refusal(409, "name", f"there is a {what} called {name!r} already")
    return name


def file_name(given: str, data: bytes) -> str:
    """The name that an uploaded file gets: its own, without what folders may not have, and with a
    suffix by which training knows an image."""
    name = unicodedata.normalize("NFC", given.replace("\\", "/").rpartition("/")[2])
    kept = "".join(c if c.isprintable() and c not in FORBIDDEN else "_" for c in name).strip()
    stem, suffix = os.path.splitext(kept.lstrip(".-"))  # noqa: PTH122
    if suffix.lower() not in SUFFIXES:
        stem += suffix
        with Image.open(io.BytesIO(data)) as image:
            kind = image.format or "PNG"
        suffix = BY_FORMAT.get(kind, f".{kind.lower()}")
    stem = stem.rstrip(". ")[:LONGEST] or "image"
    while len(os.fsencode(stem)) > BYTES:
        stem = stem[:-1]
    return stem + suffix
