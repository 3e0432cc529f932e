"""Augmented copies of the Waterbirds images for SAE training (the paper, Section 10.1)."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

ROTATIONS = (-20.0, -10.0, 10.0, 20.0)
"""Degrees, anticlockwise."""
CROP = (0.05, 0.15)
"""Share of the width or height that is cut from each edge."""
CONTRAST = (1.1, 1.3)


def augment(image: Image.Image, *, seed: int, index: int, copy: int) -> Image.Image:
    """Copy number `copy` of the image; copy 0 is the image itself.

    Section 10.1: "rotations (+-10 degrees, +-20 degrees), 5-15 % edge cropping, contrast
    enhancements (factors of 1.1-1.3), and horizontal flips". How they are combined is not
    published; here each copy has all of them: a flip with probability 1/2, one of the four
    rotations (about the centre, same size, black corners, bilinear), each edge cut by a share drawn
    uniformly, and a contrast factor drawn uniformly. The crop follows the rotation, so that it
    takes most of the black corners away.

    Args:
        image: RGB, any size; a crop never takes the last pixel.
        seed, index, copy: non-negative; the copy is a pure function of the three and the image
            (Philox, key (seed, index), counter from (0, 0, 0, copy)).

    Raises:
        ValueError: a number is negative.
    """
    if min(seed, index, copy) < 0:
        raise ValueError(f"seed, index, copy must not be negative: {seed}, {index}, {copy}")
    if copy == 0:
        return image
    bits = np.random.Philox(
        key=np.array([seed, index], dtype=np.uint64),
        counter=np.array([0, 0, 0, copy], dtype=np.uint64),
    )
    rng = np.random.Generator(bits)
    flip = bool(rng.integers(2))
    angle = ROTATIONS[int(rng.integers(len(ROTATIONS)))]
    left, top, right, bottom = rng.uniform(*CROP, size=4)
    contrast = float(rng.uniform(*CONTRAST))

    if flip:
        image = ImageOps.mirror(image)
    image = image.rotate(angle, resample=Image.Resampling.BILINEAR)
    width, height = image.size
    # Truncated, so that at most 15 % goes from each edge.
    image = image.crop(
        (
            int(left * width),
            int(top * height),
            width - int(right * width),
            height - int(bottom * height),
        )
    )
    return ImageEnhance.Contrast(image).enhance(contrast)
