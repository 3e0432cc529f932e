"""Pictures are what the model sees, whatever its processor does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipsteer.backbones.pixels import load_process
from clipsteer.steering.shown import Seen
from tests.workflow.real_trees import make_model

MEAN, STD = np.array([0.48, 0.46, 0.41], np.float32), np.array([0.27, 0.26, 0.28], np.float32)


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(5)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def normalised(pixels: np.ndarray) -> np.ndarray:
    values = (pixels.astype(np.float32) / 255 - MEAN) / STD
    return values.transpose(2, 0, 1)


def test_every_byte_comes_back() -> None:
    def process(image: Any) -> np.ndarray:
        return normalised(np.asarray(image)[3:40, 5:64])

    image = noise(80, 50)
    assert (Seen(process)(image) == np.asarray(image)[3:40, 5:64]).all()


@pytest.mark.parametrize(("size", "box"), [((96, 32), (32, 0, 64, 32)), ((32, 40), (0, 4, 32, 36))])
def test_clip_sees_the_middle(tmp_path: Path, size: tuple[int, int], box: tuple[int, ...]) -> None:
    model = make_model(tmp_path / "clip", image_size=32, patch_size=16)
    image = noise(*size)
    seen = Seen(load_process(model, 32))(image)
    assert (seen == np.asarray(image.crop(box))).all()
