"""A tiny random model in a real transformers directory, and images to show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from clipsteer.backbones.shaped import Family, write_shaped

VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
TEXT = {
    "hidden_size": 12,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 24,
}


def make_tiny(
    folder: Path, activation: str | None = None, *, family: Family = "clip", **vision: Any
) -> Path:
    """Every tensor is made random: initial biases of 0 and gains of 1 would hide a swapped one."""
    write_shaped(
        folder,
        family=family,
        seed=1,
        activation=activation,
        vision={**VISION, **vision},
        text=TEXT,
        projection_dim=8,
    )
    path = folder / "model.safetensors"
    generator = torch.Generator().manual_seed(2)
    tensors = load_file(path)
    for name in sorted(tensors):
        tensors[name] += 0.2 * torch.randn(tensors[name].shape, generator=generator)
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def photos(count: int, size: tuple[int, int] = (40, 36)) -> list[Image.Image]:
    noise = np.random.Generator(np.random.Philox(3)).integers(
        0, 256, (count, size[1], size[0], 3), dtype=np.uint8
    )
    return [Image.fromarray(pixels) for pixels in noise]


def to_bin(folder: Path) -> Path:
    """Keep the same weights as a torch archive only."""
    path = folder / "model.safetensors"
    torch.save(load_file(path), folder / "pytorch_model.bin")
    path.unlink()
    return folder


def to_parts(folder: Path) -> Path:
    """Split the weights over two files with an index, as large models are."""
    import json

    path = folder / "model.safetensors"
    tensors = load_file(path)
    names = sorted(tensors)
    index: dict[str, str] = {}
    for part, chosen in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{part:05d}-of-00002.safetensors"
        save_file({n: tensors[n] for n in chosen}, folder / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(chosen, file))
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)
    path.unlink()
    return folder
