"""Small pictures for pages: WebP, the same bytes for the same pixels."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_QUALITY = 75  # of 100: 2 to 3 kB at 112 pixels
_EFFORT = 4  # of 6


def thumbnail(pixels: NDArray[np.uint8], longest: int) -> bytes:
    """An image (H, W, 3) as WebP, its longer side at most `longest` pixels."""
    picture = Image.fromarray(pixels)
    if max(picture.size) > longest:
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY, method=_EFFORT)
    return buffer.getvalue()
