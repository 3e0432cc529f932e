"""A small model with the surface that extraction uses, and shards made of plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clipsteer.activations.cast import to_stored
from clipsteer.activations.reader import ActivationReader
from clipsteer.activations.writer import ArrayLayout, write_shard
from clipsteer.store.trees import FolderTree

SIDE = 4


@dataclass
class FakeClip:
    """Layers that mix an image's tokens by matrix products; keeps what it is given."""

    n_layers: int = 3
    width: int = 8
    n_tokens: int = 5
    projection_dim: int = 6
    cls: int | None = 0
    scale: float = 1.0
    seen: list[Tensor] = field(default_factory=list)

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.stack(
            [torch.from_numpy(np.asarray(i, np.float32) / 255).permute(2, 0, 1) for i in images]
        )

    def run(self, pixels: Tensor, hook_points: Sequence[str]) -> Any:
        self.seen.append(pixels)
        make = torch.Generator().manual_seed(7)
        first = torch.randn(3 * SIDE * SIDE, self.n_tokens * self.width, generator=make)
        x = (pixels.flatten(1) @ first).reshape(-1, self.n_tokens, self.width) * self.scale
        taps: dict[str, list[Tensor]] = {hook: [] for hook in hook_points}
        for _ in range(self.n_layers):
            out = torch.tanh(x @ torch.randn(self.width, self.width, generator=make))
            x = x + out
            for hook in hook_points:
                taps[hook].append(x if hook == "resid_post" else out)
        head = torch.randn(self.width, self.projection_dim, generator=make)
        return x[:, 0] @ head, taps


def picture(index: int) -> Image.Image:
    """The image `index` of an endless data set."""
    noise = np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def activations(n: int, tokens: int = 5, width: int = 8, seed: int = 0) -> NDArray[np.float32]:
    """Heavy-tailed values (n, tokens, width)."""
    values = np.random.default_rng(seed).standard_t(3, (n, tokens, width))
    return values.astype(np.float32)


def as_stored(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    return to_stored(torch.from_numpy(values), dtype)


def write_array(
    folder: Path,
    values: NDArray[np.float32],
    *,
    dtype: str = "float16",
    codec: str = "none",
    batch: int = 7,
    name: str = "resid_post/00",
    **more: Any,
) -> Path:
    """One array as a shard; its folder."""
    stored = as_stored(values, dtype)
    write_shard(
        folder,
        n_images=len(values),
        layouts={name: ArrayLayout(values.shape[1:], dtype)},
        batches=({name: stored[i : i + batch]} for i in range(0, len(values), batch)),
        codec=codec,
        attributes={},
        **more,
    )
    return folder / name


def sharded(
    folder: Path, values: NDArray[np.float32], size: int, *, start: int = 0, **more: Any
) -> ActivationReader:
    """`values` written as shards of `size` images, open for reading."""
    shards = []
    for low in range(0, len(values), size):
        part = values[low : low + size]
        array = write_array(folder / f"{size}-{low}", part, **more)
        shards.append((start + low, start + low + len(part), FolderTree(array)))
    return ActivationReader(shards)


def filled(out: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """`out`, which now holds the values: what a source does that is given an array to fill."""
    out[:] = values
    return out
