"""Image bytes to RGB, whatever the file is."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from clipsteer.errors import ClipsteerError
from clipsteer.lookalikes import check_content

# What Pillow raises on files that are not what they say.
_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


# Tags of a TIFF.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2


def decode(data: bytes, name: str) -> Image.Image:
    """The image as 8-bit RGB: EXIF orientation applied; greyscale, palettes, CMYK, LAB converted.

    Transparency is laid over white. Greyscale of 9 to 16 bits is scaled to 8 (x / 257, rounded, for
    16 bits), and a TIFF whose zero is white is turned round. Of an animation, and of a TIFF of
    several pages, the first counts. Pillow's limit against decompression bombs holds (a warning
    from 89 million pixels on, an error from 179 million).

    Args:
        data: the file's bytes.
        name: the file's name, for messages.

    Raises:
        ClipsteerError: the bytes are not an image (a pointer of Git LFS, say), the image is cut short,
            it is too large, or its pixels are signed, of 32 bits or floating-point, so that nobody
            knows which is white.
    """
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError:
        check_content(data, name)
        found = "an empty file" if not data else f"{len(data)} bytes that are no image"
        raise ClipsteerError(
            f"{name}: found {found}; expected a JPEG, PNG or another image that Pillow reads. "
            "Replace the file or take it out of the data set."
        ) from None
    except Image.DecompressionBombError as fault:
        raise ClipsteerError(
            f"{name}: the image is too large to be decoded safely ({fault}). Scale it down."
        ) from None
    except _FAULTS as fault:
        raise ClipsteerError(
            f"{name}: the image is damaged or cut short ({fault}); expected a whole image "
            "file. Fetch it again or take it out of the data set."
        ) from None
    tags = getattr(image, "tag_v2", {})
    unknown = _unknown_range(image, tags)
    if unknown:
        raise ClipsteerError(
            f"{name}: found {unknown} pixels, whose range is unknown; expected whole numbers of 8 or "
            "16 bits. Convert the file to PNG or JPEG."
        )
    upright = _upright(image)
    if upright.mode.startswith("I"):
        return _to_8_bit(upright, tags).convert("RGB")
    return _to_rgb(upright)


def _unknown_range(image: Image.Image, tags: Mapping[int, Any]) -> str:
    """What pixels the image has where nobody can say which value is white; else nothing."""
    if image.mode == "F":
        return "floating-point"
    # Pillow brings Netpbm's 16 bits, and those alone, to mode I in their full range.
    if image.mode == "I" and image.format != "PPM" and max(tags.get(_BITS, (32,))) > 16:
        return "32-bit integer"
    return "signed" if _SIGNED in tags.get(_SAMPLE_FORMAT, ()) else ""


def _to_8_bit(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    # Pillow's own conversion would clip everything above 255 to white.
    top = 2 ** max(tags.get(_BITS, (16,))) - 1
    values = np.asarray(image).astype(np.int64)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = top - values
    values[values == image.info.get("transparency")] = (
        top  # the one grey that stands for it in a PNG
    )
    return Image.fromarray(((255 * values + top // 2) // top).astype(np.uint8))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _FAULTS:
        return image  # a sound image with an unreadable EXIF block


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")
