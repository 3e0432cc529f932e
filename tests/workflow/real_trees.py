"""People's own data in small: image files of every kind in the real layouts, and a random CLIP."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import Family
from clipsteer.data.images import decode
from tests.backbones.tiny import make_tiny
from tests.data.small_trees import Face, celeba_text, face_name, write

# Three images of each group in each split.
FACES: list[Face] = [(s, m, b) for s in (0, 1, 2) for m in (0, 1) for b in (0, 1) for _ in "abc"]
KINDS = ("plain", "grey", "cmyk", "rgba", "turned", "narrow")


def photo(kind: str, seed: int) -> bytes:
    """A noisy picture as a file of one kind; all of them will be called .jpg."""
    rng = np.random.Generator(np.random.Philox(seed))
    blocks = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    image = Image.fromarray(blocks).resize((40, 48), Image.Resampling.BILINEAR)
    settings: dict[str, object] = {"format": "JPEG", "quality": 90}
    if kind == "grey":
        image = image.convert("L")
    elif kind == "cmyk":
        image = image.convert("CMYK")
    elif kind == "rgba":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        settings = {"format": "PNG"}
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6  # orientation: to be turned by 90 degrees
        settings["exif"] = exif
    elif kind == "narrow":
        image = image.resize((1, 20))
    buffer = io.BytesIO()
    image.save(buffer, **settings)
    return buffer.getvalue()


def celeba_tree(root: Path, faces: Sequence[Face] = tuple(FACES)) -> Path:
    """CelebA's own layout with its text tables (CRLF, trailing blank) and files of all KINDS."""
    attributes, partition = celeba_text(faces)
    write(root / "list_attr_celeba.txt", attributes)
    write(root / "list_eval_partition.txt", partition)
    for i in range(len(faces)):
        write(root / "img_align_celeba" / face_name(i), photo(KINDS[i % len(KINDS)], i))
    return root


def waterbirds_tree(root: Path) -> Path:
    """Waterbirds' own layout; the rows of metadata.csv mix the splits."""
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    number = 0
    for y in (0, 1):
        for place in (1, 0):
            for split in (2, 0, 1):
                number += 1
                name = f"{number:03d}.Bird/Bird_{number:04d}.jpg"
                lines.append(f"{number},{name},{y},{split},{place},/o/ocean/{number}.jpg")
                write(root / name, photo(KINDS[number % len(KINDS)], number))
    write(root / "metadata.csv", "\r\n".join(lines) + "\r\n")
    return root


def make_model(folder: Path, *, family: Family = "clip", **vision: int) -> Path:
    """A random model of width 16 with three layers, for images of 32 pixels in patches of 16.

    Random towers see nearly the same in every image; the mean of what they see is taken away, so
    that both classes are predicted.
    """
    make_tiny(folder, family=family, **vision)
    model = load_backbone(folder, device="cpu")
    images = [decode(photo("plain", 1000 + i), "photo") for i in range(32)]
    seen, _ = model.run(model.pixels(images), [])
    mean, tower = seen.mean(dim=0), model.model.vision_model
    with torch.no_grad():
        if family == "clip":
            undo = torch.linalg.pinv(model.model.visual_projection.weight) @ mean
            tower.post_layernorm.bias -= undo
        else:
            tower.head.mlp.fc2.bias -= mean
    model.model.save_pretrained(folder)
    return folder


def real_config(model: Path, celeba: Path) -> dict[str, object]:
    """Laid over the tiny configuration: one layer, one Top-K dictionary, no painted image."""
    training = {
        **{"expansion": 4, "k": 4, "epochs": 2, "batch_size": 16},
        **{"warmup_steps": 2, "dead_window": 3, "buffer_mb": 1},
    }
    return {
        "model": {"name": "random-clip", "source": str(model)},
        "datasets": {
            "celeba": {"root": str(celeba), "evaluation": {"validation": 2, "test": None}}
        },
        "activations": {"layers": [1], "dtype": "float32", "batch_size": 8},
        "dictionaries": {"celeba_topk": {"training": training}},
        "tables": {"celeba": ["celeba_topk", "neurons"]},
    }
