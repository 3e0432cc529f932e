from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from clipsteer.data.augment import CONTRAST, CROP, ROTATIONS, augment


def photo(width: int = 100, height: int = 80) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([60 + x, 60 + y * 2, 40 + (x * 3 + y) % 150], axis=-1)
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def test_copy_0_is_the_original() -> None:
    image = photo()
    assert augment(image, seed=1, index=2, copy=0).tobytes() == image.tobytes()


def test_a_copy_hangs_on_seed_index_and_copy_alone() -> None:
    def draw(seed: int, index: int, copy: int) -> bytes:
        return augment(photo(), seed=seed, index=index, copy=copy).tobytes()

    first = draw(3, 10, 1)
    draw(9, 9, 9)
    np.random.default_rng(0).random(3)
    assert draw(3, 10, 1) == first
    others = [draw(4, 10, 1), draw(3, 11, 1), draw(3, 10, 2), draw(10, 3, 1), draw(1, 3, 10)]
    assert len({first, *others}) == 6
    assert draw(2**63, 2**60 + 1, 1) != draw(2**63, 2**60, 1)


def test_the_image_itself_is_left_alone() -> None:
    image = photo()
    before = image.tobytes()
    augment(image, seed=0, index=0, copy=1)
    assert image.tobytes() == before


@settings(max_examples=60)
@given(st.integers(0, 2**62), st.integers(1, 2**31), st.integers(1, 100))
def test_each_copy_is_one_that_the_paper_names(seed: int, index: int, copy: int) -> None:
    """Some flip, listed rotation, crop and contrast in range give exactly these pixels."""
    image = photo()
    got = augment(image, seed=seed, index=index, copy=copy)
    width, height = image.size
    assert (1 - 2 * CROP[1]) * width <= got.width <= (1 - 2 * CROP[0]) * width + 2
    assert (1 - 2 * CROP[1]) * height <= got.height <= (1 - 2 * CROP[0]) * height + 2
    # The draws, in the documented order, from the documented stream.
    rng = np.random.Generator(
        np.random.Philox(
            key=np.array([seed, index], np.uint64), counter=np.array([0, 0, 0, copy], np.uint64)
        )
    )
    flip, angle = rng.integers(2), ROTATIONS[rng.integers(4)]
    left, top, right, bottom = rng.uniform(*CROP, 4)
    factor = rng.uniform(*CONTRAST)
    want = ImageOps.mirror(image) if flip else image
    want = want.rotate(angle, resample=Image.Resampling.BILINEAR)
    box = (int(left * 100), int(top * 80), 100 - int(right * 100), 80 - int(bottom * 80))
    want = ImageEnhance.Contrast(want.crop(box)).enhance(factor)
    assert got.tobytes() == want.tobytes()


def test_all_rotations_and_both_flips_occur() -> None:
    """Seen in the pixels: the brightness gradient points where flip and rotation put it."""
    ramp = Image.fromarray(np.tile(np.arange(50, 150, dtype=np.uint8)[None, :, None], (100, 1, 3)))
    angles = []
    for copy in range(1, 200):
        grey = np.asarray(augment(ramp, seed=0, index=0, copy=copy).convert("L")).astype(float)
        centre = grey[25:-25, 25:-25]
        dy, dx = (float(d.mean()) for d in np.gradient(centre))
        angles.append(round(float(np.degrees(np.arctan2(-dy, dx))) / 10) * 10 % 360)
    assert set(angles) == {10, 20, 340, 350, 160, 170, 190, 200}


def test_one_pixel_images_and_negative_numbers() -> None:
    for size in ((1, 1), (1, 9), (9, 1), (2, 3)):
        for copy in range(1, 6):
            got = augment(Image.new("RGB", size, "red"), seed=0, index=0, copy=copy)
            assert min(got.size) >= 1
    for wrong in ({"seed": -1}, {"index": -1}, {"copy": -1}):
        with pytest.raises(ValueError, match="negative"):
            augment(photo(), **{"seed": 0, "index": 0, "copy": 1, **wrong})
