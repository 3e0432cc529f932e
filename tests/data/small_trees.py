"""Small trees in the real layouts, without the painters: the loaders' second witness."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

# CelebA's forty attributes, in the official order.
ATTRIBUTES = """
5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose
Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee
Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard
Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair
Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young
""".split()  # noqa: SIM905
MALE, BLOND = ATTRIBUTES.index("Male"), ATTRIBUTES.index("Blond_Hair")

Face = tuple[int, int, int]
"""split (0, 1, 2), male, blond"""

# Two images of each group in each split, train first, as in CelebA.
FACES: list[Face] = [(s, m, b) for s in (0, 1, 2) for m in (0, 1) for b in (0, 1) for _ in "ab"]


def jpeg(shade: int = 128) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade % 256, 90, 60)).save(buffer, "JPEG")
    return buffer.getvalue()


def write(file: Path, data: bytes | str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return file


def write_all(root: Path, files: Mapping[str, bytes | str]) -> Path:
    """Files by their paths below `root`."""
    for name, data in files.items():
        write(root / name, data)
    return root


def attribute_values(male: int, blond: int) -> list[int]:
    """Forty values; every other attribute has the opposite sign of its neighbours."""
    values = [1 if i % 2 else -1 for i in range(len(ATTRIBUTES))]
    values[MALE], values[BLOND] = 2 * male - 1, 2 * blond - 1
    return values


def face_name(number: int) -> str:
    return f"{number + 1:06d}.jpg"


def celeba_text(faces: Sequence[Face], *, count: int | None = None) -> tuple[str, str]:
    """The attribute and the partition table in the official text form, CRLF on the header."""
    head = f"{len(faces) if count is None else count}\r\n{' '.join(ATTRIBUTES)} \r\n"
    padded = {
        (male, blond): " ".join(f"{v:2d}" for v in attribute_values(male, blond))
        for male in (0, 1)
        for blond in (0, 1)
    }
    rows = (f"{face_name(i)} {padded[m, b]}\n" for i, (_, m, b) in enumerate(faces))
    return head + "".join(rows), "".join(
        f"{face_name(i)} {split}\n" for i, (split, _, _) in enumerate(faces)
    )


def celeba_csv(faces: Sequence[Face], first: str = "image_id") -> tuple[str, str]:
    rows = (
        ",".join([face_name(i), *map(str, attribute_values(male, blond))]) + "\r\n"
        for i, (_, male, blond) in enumerate(faces)
    )
    partition = "".join(f"{face_name(i)},{split}\n" for i, (split, _, _) in enumerate(faces))
    header = ",".join([first, *ATTRIBUTES]) + "\r\n"
    return header + "".join(rows), "image_id,partition\n" + partition


def celeba(root: Path, faces: Sequence[Face] = tuple(FACES), *, form: str = "txt") -> Path:
    attributes, partition = celeba_text(faces) if form == "txt" else celeba_csv(faces)
    write(root / f"list_attr_celeba.{form}", attributes)
    write(root / f"list_eval_partition.{form}", partition)
    for i in range(len(faces)):
        write(root / "img_align_celeba" / face_name(i), jpeg(i))
    return root


# img_id, img_filename, y, split, place; the order mixes the splits, as the real one.
BIRDS = [
    (i + 1, f"{y:03d}.{'Gull' if y else 'Wren'}/{i:04d}.jpg", y, split, place)
    for i, (y, place, split) in enumerate(
        (y, place, split) for y in (0, 1) for place in (1, 0) for split in (2, 0, 1)
    )
]


def waterbirds(root: Path) -> Path:
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for number, name, y, split, place in BIRDS:
        lines.append(f"{number},{name},{y},{split},{place},/o/ocean/{number}.jpg")
        write(root / name, jpeg(number))
    write(root / "metadata.csv", "\n".join(lines) + "\n")
    return root
