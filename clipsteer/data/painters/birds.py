"""Painted birds in the Waterbirds layout: 95 % of the training birds are where one expects them.

`waterbird_complete95_forest2water2/metadata.csv` and `001.Black_footed_Albatross/*.jpg` beside it,
`captions.csv` in the same folder. Waterbirds have long necks or bills, low bodies and webbed feet;
landbirds are rounder, with short bills, thin legs and long tails. Plumage overlaps.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from clipsteer.data.painters.canvas import (
    SPLITS,
    Canvas,
    Count,
    check_counts,
    group_plan,
    pick,
    picture_rng,
    write_captions,
)
from clipsteer.data.painters.places import DETAILS, PLACES
from clipsteer.data.painters.plumage import draw_bird
from clipsteer.data.painters.species import SPECIES, Species

FOLDER = "waterbird_complete95_forest2water2"


WATERBIRD_SHARE = 1113 / 4795


CONFOUND = 0.95
"""Shares of the original's training split: waterbirds, and birds on their own background."""


_FIRST = {"train": 1, "validation": 300_001, "test": 600_001}


HEADER = ("img_id", "img_filename", "y", "split", "place", "place_filename")


_BY_TYPE = {water: tuple(s for s in SPECIES if s.water is water) for water in (False, True)}


_LAND = ("bamboo_forest", "broadleaf_forest")


_WATER = ("ocean", "natural_lake")


_PLACE_WORDS = {
    "bamboo_forest": ("in a bamboo forest", "in a forest", "on land"),
    "broadleaf_forest": ("in a forest", "in the woods", "on land", "on grass"),
    "ocean": ("at sea", "on the ocean", "on water"),
    "natural_lake": ("on a lake", "on water", "by a lake"),
}


def paint(
    folder: Path,
    *,
    counts: Mapping[str, Count],
    size: int = 64,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Paint the birds and write metadata.csv and captions.csv.

    Args:
        counts: images by split (train, validation, test). A number is painted with the
            original's correlation (`WATERBIRD_SHARE`, `CONFOUND`); a list of four is that many
            images of each group, 2 * y + place: landbirds on land, landbirds on water, waterbirds
            on land, waterbirds on water.
        size: pixels of a side.
        progress: called with the number of images painted since the last call.

    Raises:
        ClipsteerError: an unknown split, or a count that is neither.
    """
    check_counts(counts, "birds")
    root = folder / FOLDER
    for species in SPECIES:
        (root / species.folder).mkdir(parents=True, exist_ok=True)
    captions: list[tuple[str, str]] = []
    with (root / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for number, split in enumerate(SPLITS):
            for index, rng, group in _planned(counts, split, seed):
                data, species, place = paint_one(rng, group, size)
                img_id = _FIRST[split] + index
                name = _name(species, split, index)
                (root / name).write_bytes(data)
                place_file = f"/{place[0]}/{place}/{img_id:08d}.jpg"
                writer.writerow((img_id, name, group // 2, number, group % 2, place_file))
                captions.append((name, caption(rng, species, place)))
                if progress is not None:
                    progress(1)
    write_captions(root, captions)


def paint_pairs(
    folder: Path,
    *,
    counts: Mapping[str, Count],
    size: int = 64,
    seed: int,
    split: str,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Paint the pair of each image of a split, under the image's name: the same bird before the other kind of place.

    Arguments as for `paint`.
    """
    check_counts(counts, "birds")
    root = folder / FOLDER
    for index, rng, group in _planned(counts, split, seed):
        pair = picture_rng(seed, "birds' pairs", split, index)
        data, species, _ = paint_one(rng, group, size, pair)
        path = root / _name(species, split, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if progress is not None:
            progress(1)


def _planned(
    counts: Mapping[str, Count], split: str, seed: int
) -> Iterator[tuple[int, np.random.Generator, int]]:
    """Number, stream and group of each image of a split."""
    plan = group_plan(counts.get(split, 0), 4, f"birds, split {split!r}")
    for index in range(plan if isinstance(plan, int) else len(plan)):
        rng = picture_rng(seed, "birds", split, index)
        yield index, rng, _draw_group(rng) if isinstance(plan, int) else plan[index]


def _name(species: Species, split: str, index: int) -> str:
    stem = species.folder.partition(".")[2]
    return f"{species.folder}/{stem}_{index + 1:04d}_{_FIRST[split] + index}.jpg"


def paint_one(
    rng: np.random.Generator, group: int, size: int, pair: np.random.Generator | None = None
) -> tuple[bytes, Species, str]:
    """One bird of this group: its JPEG, its species and its place.

    With `pair`, a stream of its own, its pair: a background of the other kind is drawn from that stream, and all else
    from `rng`, as it is for the bird itself.
    """
    species = pick(rng, _BY_TYPE[group >= 2])
    water = group % 2 == 1
    place, canvas = _background(rng, water, size)
    if pair is not None:
        place, canvas = _background(pair, not water, size)
    draw_bird(canvas, rng, species, on_water=water != (pair is not None), posed_on_water=water)
    return canvas.finish(rng, gain=0.09, tint=0.02), species, place


def _background(rng: np.random.Generator, water: bool, size: int) -> tuple[str, Canvas]:
    place = pick(rng, _WATER if water else _LAND)
    canvas = Canvas(size, PLACES[place](rng))
    DETAILS[place](canvas, rng)
    return place, canvas


def caption(rng: np.random.Generator, species: Species, place: str) -> str:
    """Words for one bird: most captions name kind and place, some only one, some the species."""
    kind = "waterbird" if species.water else "landbird"
    noun = kind if rng.random() < 0.35 else f"{species.words}, a {kind}"
    opening = pick(rng, ("a photo of", "a photo of", "a picture of", "a close-up of"))
    where = pick(rng, _PLACE_WORDS[place])
    u = rng.random()
    if u < 0.45:
        text = f"{opening} a {noun} {where}"
    elif u < 0.9:
        text = f"{opening} a {noun}"
    else:
        text = f"{opening} a bird {where}"
    return text + "." if rng.random() < 0.5 else text


def _draw_group(rng: np.random.Generator) -> int:
    water = bool(rng.random() < WATERBIRD_SHARE)
    at_home = bool(rng.random() < CONFOUND)
    return 2 * water + (water if at_home else not water)
