"""The general set: everyday things in ImageNet's class folders, for general-purpose dictionaries.

`train/<wnid>/<wnid>_<n>.JPEG` (and `val/` where asked for), `Labels.json`, `captions.csv`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from clipsteer.data.painters import beings, food, scenes
from clipsteer.data.painters.canvas import check_counts, pick, picture_rng, write_captions
from clipsteer.data.painters.stage import Scene
from clipsteer.errors import ClipsteerError

FOLDERS = {"train": "train", "validation": "val"}

CLASSES: dict[str, tuple[str, Scene]] = {
    "n01443537": ("goldfish, Carassius auratus", beings.goldfish),
    "n01531178": ("goldfinch, Carduelis carduelis", beings.goldfinch),
    "n01847000": ("drake", beings.drake),
    "n02099601": ("golden retriever", beings.retriever),
    "n02123045": ("tabby, tabby cat", beings.cat),
    "n02129165": ("lion, king of beasts, Panthera leo", beings.lion),
    "n02782093": ("balloon", scenes.balloon),
    "n02793495": ("barn", scenes.barn),
    "n02814860": ("beacon, lighthouse, beacon light, pharos", scenes.beacon),
    "n03124170": ("cowboy hat, ten-gallon hat", beings.cowboy_hat),
    "n03590841": ("jack-o'-lantern", food.pumpkin),
    "n04146614": ("school bus", scenes.school_bus),
    "n04273569": ("speedboat", scenes.speedboat),
    "n04285008": ("sports car, sport car", scenes.sports_car),
    "n04356056": ("sunglasses, dark glasses, shades", beings.sunglasses),
    "n04462240": ("toyshop", beings.doll),
    "n04584207": ("wig", beings.wig),
    "n04612504": ("yawl", scenes.yawl),
    "n07742313": ("Granny Smith", food.apple),
    "n07745940": ("strawberry", food.strawberry),
    "n07747607": ("orange", food.orange),
    "n07749582": ("lemon", food.lemon),
    "n07753592": ("banana", food.banana),
    "n07802026": ("hay", scenes.hay),
    "n09193705": ("alp", scenes.alp),
    "n09246464": ("cliff, drop, drop-off", scenes.cliff),
    "n09332890": ("lakeside, lakeshore", scenes.lakeside),
    "n09428293": ("seashore, coast, seacoast, sea-coast", scenes.seashore),
    "n09835506": ("ballplayer, baseball player", beings.ballplayer),
    "n10148035": ("groom, bridegroom", beings.groom),
    "n11879895": ("rapeseed", scenes.rapeseed),
    "n11939491": ("daisy", food.daisy),
    "n12144580": ("corn", food.corn),
}
"""ImageNet's id -> (its words, the painter)."""

_OTHER_WORDS: dict[str, tuple[str, ...]] = {
    "n02099601": ("golden retriever", "dog", "golden dog"),
    "n02123045": ("tabby cat", "cat"),
    "n02129165": ("lion", "lion with a mane"),
    "n02814860": ("lighthouse", "beacon"),
    "n04462240": ("toyshop", "doll in a toyshop", "doll"),
    "n04612504": ("yawl", "sailing boat on the sea"),
    "n07742313": ("Granny Smith", "green apple"),
    "n07802026": ("hay", "golden field with hay"),
    "n09193705": ("alp", "mountain with snow"),
    "n09246464": ("cliff", "cliff by the sea"),
    "n09332890": ("lakeside", "lake with trees"),
    "n09428293": ("seashore", "beach by the sea"),
    "n11879895": ("rapeseed", "yellow field of rapeseed"),
}


def paint(
    folder: Path,
    *,
    counts: Mapping[str, int],
    size: int = 64,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Paint the pictures and write Labels.json and captions.csv.

    Args:
        counts: images by split (train, validation); the classes take turns, so that every class
            has as many pictures as any other, give or take one.
        size: pixels of a side.
        progress: called with the number of images painted since the last call.

    Raises:
        ClipsteerError: a split other than these two, or a count that is no number of images.
    """
    check_counts(counts, "general", tuple(FOLDERS))
    wnids = sorted(CLASSES)
    captions: list[tuple[str, str]] = []
    for split, name in FOLDERS.items():
        n = counts.get(split, 0)
        if not isinstance(n, int) or n < 0:
            raise ClipsteerError(
                f"general, split {split!r}: found {n!r}; expected one number of images, 0 or more."
            )
        for wnid in wnids[:n]:
            (folder / name / wnid).mkdir(parents=True, exist_ok=True)
        for index in range(n):
            rng = picture_rng(seed, "general", split, index)
            wnid = wnids[index % len(wnids)]
            path = f"{name}/{wnid}/{wnid}_{index // len(wnids) + 1}.JPEG"
            (folder / path).write_bytes(paint_one(rng, wnid, size))
            captions.append((path, caption(rng, wnid)))
            if progress is not None:
                progress(1)
    folder.mkdir(parents=True, exist_ok=True)
    labels = {wnid: words for wnid, (words, _) in CLASSES.items()}
    (folder / "Labels.json").write_text(json.dumps(labels, indent=2) + "\n", encoding="utf-8")
    write_captions(folder, captions)


def paint_one(rng: np.random.Generator, wnid: str, size: int) -> bytes:
    """One picture of this class as a JPEG."""
    return CLASSES[wnid][1](size, rng).finish(rng, gain=0.09, tint=0.025)


def caption(rng: np.random.Generator, wnid: str) -> str:
    """Words for one picture: its class, sometimes in other words."""
    name = CLASSES[wnid][0].partition(",")[0]
    if rng.random() < 0.5:
        name = pick(rng, _OTHER_WORDS.get(wnid, (name,)))
    opening = pick(rng, ("a photo of a", "a photo of a", "a picture of a", "a close-up of a"))
    return f"{opening} {name}" + ("." if rng.random() < 0.5 else "")
