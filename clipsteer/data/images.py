"""Image bytes to RGB, whatever the file is."""

from __future__ import annotations

import io
import struct
import zlib

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


def decode(data: bytes, name: str) -> Image.Image:
    """The image as 8-bit RGB: EXIF orientation applied, greyscale, CMYK and palettes converted.

    Transparency is laid over white. 16-bit greyscale is scaled to 8 bits (x / 257, rounded). Of an
    animation the first frame counts. Pillow's limit against decompression bombs holds
    (a warning from 89 million pixels on, an error from 179 million).

    Args:
        data: the file's bytes.
        name: the file's name, for messages.

    Raises:
        ClipsteerError: the bytes are not an image (a pointer of Git LFS, say), the image is cut short,
            or it is too large.
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
    return _to_rgb(_upright(image), name)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _FAULTS:
        return image  # a sound image with an unreadable EXIF block


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bit(image).convert("RGB")
    if image.mode == "F":
        raise ClipsteerError(
            f"{name}: found floating-point pixels, whose range is unknown; expected 8 or 16 bits. "
            "Convert the file to PNG or JPEG."
        )
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    # Pillow's own conversion would clip everything above 255 to white.
    values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
