"""Extraction from a real, small model of each family with random weights: its own numbers, for any cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from clipsteer.activations.extract import Images, Kept, extract_shard
from clipsteer.activations.reader import ActivationReader
from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import Family, write_shaped
from clipsteer.store.trees import FolderTree
from tests.backbones.hooked import hooked
from tests.folders import contents

HOOKS = ("resid_post", "mlp_out")
IMAGES = 40


@pytest.fixture(scope="module", params=get_args(Family))
def tower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = tmp_path_factory.mktemp("model") / "model"
    size = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    write_shaped(
        folder,
        family=request.param,
        vision={**size, "num_hidden_layers": 3, "image_size": 64, "patch_size": 16},
        text={**size, "num_hidden_layers": 1},
        projection_dim=32,
    )
    return load_backbone(folder, device="cpu")


def photograph(index: int) -> Image.Image:
    rng = np.random.default_rng(index)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return small.resize((70 + index, 90), Image.Resampling.BILINEAR)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def extract(
    tower: Backbone, folder: Path, start: int, stop: int, decode_threads: int = 2
) -> list[str]:
    return extract_shard(
        tower,
        Images(photograph, start, stop),
        Kept(HOOKS, range(3), "float32", "none"),
        folder,
        batch_size=8,
        decode_threads=decode_threads,
    )


def test_as_transformers_gives_them(tower: Backbone, tmp_path: Path) -> None:
    names = extract(tower, tmp_path / "a", 0, IMAGES)
    assert len(names) == 7
    readers = {n: ActivationReader([(0, IMAGES, FolderTree(tmp_path / "a" / n))]) for n in names}
    for low in range(0, IMAGES, 8):
        pixels = tower.pixels([photograph(i) for i in range(low, low + 8)])
        embedding, taps = hooked(tower, pixels)
        np.testing.assert_array_equal(readers["embedding"].read(low, low + 8), embedding.numpy())
        for hook in HOOKS:
            for layer in range(3):
                got = readers[f"{hook}/{layer:02d}"].read(low, low + 8)
                np.testing.assert_array_equal(got, taps[hook][layer].numpy())
                assert readers[f"{hook}/{layer:02d}"].cls == tower.cls


def test_same_values_for_any_cut_and_threads(
    tower: Backbone, tmp_path: Path, threads: None
) -> None:
    torch.set_num_threads(1)
    names = extract(tower, tmp_path / "whole", 0, IMAGES, 1)
    torch.set_num_threads(2)
    extract(tower, tmp_path / "again", 0, IMAGES, 3)
    assert contents(tmp_path / "whole") == contents(tmp_path / "again")
    for low in range(0, IMAGES, 11):
        extract(tower, tmp_path / f"{low}", low, min(IMAGES, low + 11))
    for name in names:
        parts = [
            (low, min(IMAGES, low + 11), FolderTree(tmp_path / f"{low}" / name))
            for low in range(0, IMAGES, 11)
        ]
        whole = ActivationReader([(0, IMAGES, FolderTree(tmp_path / "whole" / name))])
        # A batch cut by a border had other images in its other rows: no bit may differ.
        np.testing.assert_array_equal(
            ActivationReader(parts).read(0, IMAGES), whole.read(0, IMAGES)
        )
