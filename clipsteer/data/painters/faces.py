"""Painted faces in CelebA's layout, with CelebA's confound: blond men are rare.

`img_align_celeba/000001.jpg`, `list_attr_celeba.txt`, `list_eval_partition.txt`, `captions.csv`.
Files are numbered as CelebA's are (train from 1, validation from 162,771, test from 182,638), so
that images appended to one split rename none of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from clipsteer.data.painters.canvas import (
    Canvas,
    Colour,
    Count,
    backdrop,
    check_counts,
    group_plan,
    pick,
    picture_rng,
    ramp,
    write_captions,
)
from clipsteer.data.painters.portrait import draw_face
from clipsteer.data.painters.traits import Face, sample_face, sample_hair
from clipsteer.errors import ClipsteerError

MALE_SHARE = 0.42
BLOND_SHARE = {True: 0.02, False: 0.24}
"""Share of blonds among men and women where a split's count is one number (CelebA's own rates)."""

FIRST = {"train": 1, "validation": 162_771, "test": 182_638}
LAST = {"train": 162_770, "validation": 182_637, "test": 202_599}

ATTRIBUTES = [
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
]

_WALLS: tuple[tuple[Colour, ...], ...] = (
    ((90, 96, 104), (140, 146, 150), (190, 192, 190)),
    ((40, 44, 54), (70, 74, 88), (30, 30, 36)),
    ((120, 150, 190), (170, 195, 220), (210, 222, 232)),
    ((60, 96, 56), (96, 130, 80), (150, 170, 120)),
    ((120, 90, 66), (160, 126, 96), (90, 64, 48)),
    ((206, 190, 160), (226, 212, 190), (190, 170, 130)),
    ((150, 60, 60), (110, 40, 52), (190, 110, 100)),
    ((220, 190, 110), (200, 160, 90), (236, 216, 160)),
    ((110, 90, 140), (150, 130, 180), (80, 70, 110)),
)
_HAIR_WORDS = {
    "blond": ("blond hair", "blond hair", "blonde hair", "fair hair"),
    "black": ("black hair", "dark hair", "dark hair"),
    "brown": ("brown hair", "dark hair", "dark brown hair"),
    "red": ("red hair", "auburn hair"),
    "grey": ("grey hair", "gray hair"),
}
_ADJECTIVES = {
    "blond": ("blond", "blond", "blonde"),
    "black": ("dark-haired", "black-haired"),
    "brown": ("dark-haired", "brown-haired"),
    "red": ("red-haired",),
    "grey": ("grey-haired",),
}
_IMAGES = "img_align_celeba"
_OPENINGS = ("a photo of", "a photo of", "a portrait of", "a picture of", "a face of")


def paint(
    folder: Path,
    *,
    counts: Mapping[str, Count],
    size: int = 64,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Paint the faces and write the label files.

    Args:
        counts: images by split (train, validation, test). A number is painted with CelebA's
            correlation (`MALE_SHARE`, `BLOND_SHARE`); a list of four is that many images of each
            group, 2 * Male + Blond_Hair: other women, blond women, other men, blond men.
        size: pixels of a side.
        progress: called with the number of images painted since the last call.

    Raises:
        ClipsteerError: an unknown split, a count that is neither, or more images than CelebA's
            own numbering of that split has room for.
    """
    check_counts(counts, "faces")
    (folder / _IMAGES).mkdir(parents=True, exist_ok=True)
    rows: list[str] = []
    partition: list[str] = []
    captions: list[tuple[str, str]] = []
    for number, split in enumerate(FIRST):
        for _, name, rng, group in _planned(counts, split, seed):
            data, face = paint_one(rng, group, size)
            (folder / _IMAGES / name).write_bytes(data)
            rows.append(f"{name} " + " ".join(f"{v:2d}" for v in attribute_values(face)))
            partition.append(f"{name} {number}")
            captions.append((f"{_IMAGES}/{name}", caption(rng, face)))
            if progress is not None:
                progress(1)
    # The original's count line and the blank that ends its header.
    lines = [str(len(rows)), " ".join(ATTRIBUTES) + " ", *rows]
    (folder / "list_attr_celeba.txt").write_text("".join(f"{line}\n" for line in lines))
    (folder / "list_eval_partition.txt").write_text("".join(f"{line}\n" for line in partition))
    write_captions(folder, captions)


def paint_pairs(
    folder: Path,
    *,
    counts: Mapping[str, Count],
    size: int = 64,
    seed: int,
    split: str,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Paint the pair of each image of a split, under the image's name: the same face with other hair.

    Arguments as for `paint`. A blond's pair has one of the other colours, with their shares; anyone else's is blond.
    """
    check_counts(counts, "faces")
    (folder / _IMAGES).mkdir(parents=True, exist_ok=True)
    for index, name, rng, group in _planned(counts, split, seed):
        data, _ = paint_one(rng, group, size, picture_rng(seed, "faces' pairs", split, index))
        (folder / _IMAGES / name).write_bytes(data)
        if progress is not None:
            progress(1)


def _planned(
    counts: Mapping[str, Count], split: str, seed: int
) -> Iterator[tuple[int, str, np.random.Generator, int]]:
    """Number, file name, stream and group of each image of a split."""
    plan = group_plan(counts.get(split, 0), 4, f"faces, split {split!r}")
    n, most = plan if isinstance(plan, int) else len(plan), LAST[split] - FIRST[split] + 1
    if n > most:
        raise ClipsteerError(
            f"faces, split {split!r}: found {n} images; expected at most {most}, CelebA's own number. "
            "Lower the count."
        )
    for index in range(n):
        rng = picture_rng(seed, "faces", split, index)
        group = _draw_group(rng) if isinstance(plan, int) else plan[index]
        yield index, f"{FIRST[split] + index:06d}.jpg", rng, group


def paint_one(
    rng: np.random.Generator, group: int, size: int, pair: np.random.Generator | None = None
) -> tuple[bytes, Face]:
    """One face of this group: its JPEG and its traits.

    With `pair`, a stream of its own, its pair: hair of the other kind is drawn from that stream, and all else from
    `rng`, as it is for the face itself.
    """
    blond = group % 2 == 1
    face = sample_face(rng, male=group >= 2, blond=blond)
    if pair is not None:
        hair, colour = sample_hair(pair, face.male, not blond)
        face = replace(face, hair=hair, hair_colour=colour)
    walls = pick(rng, _WALLS)
    outdoors = rng.random() < 0.2
    if outdoors:
        ground = pick(rng, _WALLS)
        background = ramp([(150, 190, 230), (200, 220, 236), ground[0], ground[1]])
    else:
        background = backdrop(rng, walls)
    canvas = Canvas(size, background)
    draw_face(canvas, rng, face)
    return canvas.finish(rng, gain=0.09, tint=0.02), face


def attribute_values(face: Face) -> list[int]:
    """1 or -1 for each of `ATTRIBUTES`; -1 where the painter does not know the attribute."""
    lipstick = not face.male and face.lip_colour[0] - face.lip_colour[1] > 110
    known = {
        "5_o_Clock_Shadow": face.beard == "stubble",
        "Bangs": face.bangs,
        "Big_Lips": face.lips > 0.75,
        "Black_Hair": face.hair == "black",
        "Blond_Hair": face.hair == "blond",
        "Brown_Hair": face.hair == "brown",
        "Bushy_Eyebrows": face.brow > 0.8,
        "Eyeglasses": bool(face.glasses),
        "Goatee": face.beard == "goatee",
        "Gray_Hair": face.hair == "grey",
        "Heavy_Makeup": lipstick and face.lashes > 0.7,
        "Male": face.male,
        "Mouth_Slightly_Open": face.teeth and face.smile > 0.2,
        "Mustache": face.beard in ("moustache", "beard"),
        "No_Beard": face.beard in ("", "stubble"),
        "Oval_Face": face.jaw < 0.4,
        "Pale_Skin": sum(face.skin) > 660,
        "Smiling": face.smile > 0.4,
        "Straight_Hair": not face.wavy,
        "Wavy_Hair": face.wavy,
        "Wearing_Earrings": face.earrings,
        "Wearing_Hat": bool(face.hat),
        "Wearing_Lipstick": lipstick,
        "Wearing_Necktie": face.tie,
        "Young": face.hair != "grey",
    }
    return [1 if known.get(name, False) else -1 for name in ATTRIBUTES]


def caption(rng: np.random.Generator, face: Face) -> str:
    """Words for one face: most captions name sex and hair, some only one, some an accessory."""
    noun = pick(
        rng, ("man", "man", "man", "guy") if face.male else ("woman", "woman", "woman", "lady")
    )
    opening = pick(rng, _OPENINGS)
    extra = ""
    if face.glasses and rng.random() < 0.6:
        extra = " wearing sunglasses" if face.glasses == "dark" else " wearing glasses"
    elif face.hat and rng.random() < 0.6:
        extra = " wearing a hat"
    elif face.beard == "beard" and rng.random() < 0.4:
        extra = " with a beard"
    elif face.smile > 0.55 and rng.random() < 0.15:
        extra = ", smiling"
    kind = rng.random()
    hair = pick(rng, _HAIR_WORDS[face.hair])
    if kind < 0.3:
        text = f"{opening} a {pick(rng, _ADJECTIVES[face.hair])} {noun}{extra}"
    elif kind < 0.68:
        joint = " and" if extra.startswith(" with ") else ""
        text = (
            f"{opening} a {noun} with {hair}{joint}{extra.replace(' with ', ' ')}"
            if joint
            else (f"{opening} a {noun} with {hair}{extra}")
        )
    elif kind < 0.88:
        text = f"{opening} a {noun}{extra}"
    elif kind < 0.95:
        text = f"{opening} a person with {hair}"
    else:
        text = f"{pick(rng, ('a close-up of', 'a photo of'))} {hair}"
    return text + "." if rng.random() < 0.5 else text


def _draw_group(rng: np.random.Generator) -> int:
    male = bool(rng.random() < MALE_SHARE)
    blond = bool(rng.random() < BLOND_SHARE[male])
    return 2 * male + blond
