"""Released dictionaries that are made up: ViT-Prisma's layout, for the tiny CLIP, lossless or broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

WIDTH = 32


def prisma_layer(folder: Path, layer: int, *, broken: bool = False, **changes: Any) -> Path:
    """One layer: x = b_dec + relu(x - b_dec) - relu(b_dec - x), or nothing of the kind where `broken`."""
    folder.mkdir(parents=True, exist_ok=True)
    eye = torch.eye(WIDTH)
    b_dec = torch.linspace(-1, 1, WIDTH)
    tensors = {
        "W_enc": torch.cat([eye, -eye], dim=1),
        "b_enc": torch.zeros(2 * WIDTH),
        "W_dec": torch.cat([eye, -eye]).flip(0) if broken else torch.cat([eye, -eye]),
        "b_dec": b_dec,
    }
    config = {
        "architecture": "standard",
        "model_name": "open-clip:who/tiny",
        "hook_point_layer": layer,
        "layer_subtype": "hook_resid_post",
        "d_in": WIDTH,
        "activation_fn_str": "relu",
        "normalize_activations": None,
        "cls_token_only": False,
        "use_patches_only": False,
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    torch.save(tensors, folder / "weights.pt")
    return folder


def imported(source: Path | str, **others: Any) -> dict[str, Any]:
    """A dictionary of the config."""
    found = {"architecture": "imported", "hook_point": "resid_post", "source": str(source)}
    return found | {"trained_on": "imagenet"} | others
