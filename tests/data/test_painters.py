"""The painted worlds: layouts to the letter, stable bytes, the confound, pictures that show it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsteer.data.layouts import celeba, imagenet, waterbirds
from clipsteer.data.painters import birds, faces, general
from clipsteer.data.painters.canvas import group_plan, picture_rng
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FolderTree


def _bytes(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def _captions(folder: Path) -> dict[str, str]:
    with (folder / "captions.csv").open(newline="") as file:
        return {row["path"]: row["text"] for row in csv.DictReader(file)}


def _pictures(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.lower().endswith(("jpg", "jpeg"))}


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds")
    faces.paint(folder / "faces", counts={"train": 12, "test": [3, 3, 3, 3]}, seed=5)
    birds.paint(folder / "birds", counts={"train": 12, "validation": [2, 2, 2, 2]}, seed=5)
    general.paint(folder / "general", counts={"train": 66, "validation": 33}, seed=5)
    return folder


def test_same_seed_same_bytes_and_another_seed_other_bytes(painted: Path, tmp_path: Path) -> None:
    for name, painter, counts in (
        ("faces", faces, {"train": 12, "test": [3, 3, 3, 3]}),
        ("birds", birds, {"train": 12, "validation": [2, 2, 2, 2]}),
        ("general", general, {"train": 66, "validation": 33}),
    ):
        painter.paint(tmp_path / name, counts=counts, seed=5)  # type: ignore[attr-defined]
        assert _bytes(tmp_path / name) == _bytes(painted / name)
    faces.paint(tmp_path / "other", counts={"train": 12, "test": [3, 3, 3, 3]}, seed=6)
    ours, theirs = _pictures(_bytes(painted / "faces")), _pictures(_bytes(tmp_path / "other"))
    assert set(ours) == set(theirs)
    assert not any(ours[name] == theirs[name] for name in ours)


def test_appended_pictures_leave_the_others_alone(painted: Path, tmp_path: Path) -> None:
    faces.paint(tmp_path / "faces", counts={"train": 15, "test": [4, 4, 4, 4]}, seed=5)
    birds.paint(tmp_path / "birds", counts={"train": 14, "validation": [3, 3, 3, 3]}, seed=5)
    general.paint(tmp_path / "general", counts={"train": 70, "validation": 33}, seed=5)
    for name, more in (("faces", 7), ("birds", 6), ("general", 4)):
        before, after = _pictures(_bytes(painted / name)), _pictures(_bytes(tmp_path / name))
        assert len(after) == len(before) + more
        assert {path: after[path] for path in before} == before
    root = birds.FOLDER
    for name, where in (("faces", ""), ("birds", root), ("general", "")):
        old, new = _captions(painted / name / where), _captions(tmp_path / name / where)
        assert {path: new[path] for path in old} == old


def test_faces_layout(painted: Path) -> None:
    lines = (painted / "faces/list_attr_celeba.txt").read_text().split("\n")
    assert lines[0] == "24"
    assert lines[1].endswith("Young ")
    names = lines[1].split()
    assert len(names) == 40
    assert names == sorted(names, key=str.lower)
    rows = [line.split() for line in lines[2:-1]]
    assert lines[-1] == ""
    assert len(rows) == 24
    assert all(len(row) == 41 and set(row[1:]) <= {"1", "-1"} for row in rows)
    partition = [
        line.split()
        for line in (painted / "faces/list_eval_partition.txt").read_text().splitlines()
    ]
    assert [row[0] for row in partition] == [row[0] for row in rows]
    assert [row[1] for row in partition] == ["0"] * 12 + ["2"] * 12
    assert partition[0][0] == "000001.jpg"
    assert partition[12][0] == "182638.jpg"
    male, blond = names.index("Male") + 1, names.index("Blond_Hair") + 1
    groups = [2 * (row[male] == "1") + (row[blond] == "1") for row in rows[12:]]
    assert groups == [0, 1, 2, 3] * 3
    captions = _captions(painted / "faces")
    assert set(captions) == {f"img_align_celeba/{row[0]}" for row in rows}
    for row in rows:
        words = captions[f"img_align_celeba/{row[0]}"].replace(".", " ").replace(",", " ").split()
        assert not set(words) & ({"woman", "lady"} if row[male] == "1" else {"man", "guy"})
        if {"blond", "blonde", "fair"} & set(words):
            assert row[blond] == "1"
        if {"dark", "dark-haired", "black", "brown", "red", "grey"} & set(words):
            assert row[blond] == "-1"


def test_birds_layout(painted: Path) -> None:
    root = painted / "birds" / birds.FOLDER
    with (root / "metadata.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["img_id", "img_filename", "y", "split", "place", "place_filename"]
    assert len(rows) == 21
    assert [row[3] for row in rows[1:]] == ["0"] * 12 + ["1"] * 8
    assert [2 * int(row[2]) + int(row[4]) for row in rows[13:]] == [0, 1, 2, 3] * 2
    water = {species.folder: species.water for species in birds.SPECIES}
    captions = _captions(root)
    for _, name, y, _, place, place_file in rows[1:]:
        assert (root / name).is_file()
        folder, _, file_name = name.partition("/")
        assert file_name.startswith(folder.partition(".")[2])
        assert water[folder] is (y == "1")
        assert ("forest" in place_file) is (place == "0")
        text = captions[name]
        assert ("landbird" if y == "1" else "waterbird") not in text
        assert not (place == "0" and any(w in text for w in ("on water", "ocean", "sea", "lake")))
        assert not (
            place == "1" and any(w in text for w in ("on land", "forest", "woods", "grass"))
        )


def test_general_layout(painted: Path) -> None:
    root = painted / "general"
    labels = json.loads((root / "Labels.json").read_text())
    assert set(labels) == set(general.CLASSES)
    assert labels["n01443537"] == "goldfish, Carassius auratus"
    for wnid in labels:
        assert sorted(p.name for p in (root / "train" / wnid).iterdir()) == [
            f"{wnid}_1.JPEG",
            f"{wnid}_2.JPEG",
        ]
        assert [p.name for p in (root / "val" / wnid).iterdir()] == [f"{wnid}_1.JPEG"]
    assert len(_captions(root)) == 99


def test_the_real_layouts_loaders_read_them(painted: Path) -> None:
    tables = {
        "faces": (celeba.read(FolderTree(painted / "faces")), 24),
        "birds": (waterbirds.read(FolderTree(painted / "birds")), 20),
        "general": (imagenet.read(FolderTree(painted / "general")), 99),
    }
    for name, (table, n) in tables.items():
        assert table.height == n
        assert (table["text"] != "").all()
        assert all((painted / name / path).is_file() for path in table["path"])
    test = tables["faces"][0].filter(tables["faces"][0]["split"] == "test")
    assert (2 * test["target"] + test["spurious"]).to_list() == [0, 1, 2, 3] * 3
    assert set(test["class"]) == {"man", "woman"}


def test_pictures_are_rgb_jpegs_of_the_size_asked_for(painted: Path, tmp_path: Path) -> None:
    faces.paint(tmp_path / "small", counts={"train": 1}, size=48, seed=0)
    sizes = {64: _pictures(_bytes(painted)), 48: _pictures(_bytes(tmp_path / "small"))}
    for size, pictures in sizes.items():
        for data in pictures.values():
            image = Image.open(io.BytesIO(data))
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (size, size))
            assert float(np.asarray(image, dtype=np.float64).std()) > 10


@pytest.mark.parametrize("world", [faces, birds])
def test_confound_of_the_training_split(world: object) -> None:
    draw, name = world._draw_group, world.__name__.rpartition(".")[2]  # type: ignore[attr-defined]
    n = 20_000
    drawn = np.bincount([draw(picture_rng(0, name, "train", i)) for i in range(n)], minlength=4)
    if world is faces:
        m, b = faces.MALE_SHARE, faces.BLOND_SHARE
        expected = [(1 - m) * (1 - b[False]), (1 - m) * b[False], m * (1 - b[True]), m * b[True]]
    else:
        w, c = birds.WATERBIRD_SHARE, birds.CONFOUND
        expected = [(1 - w) * c, (1 - w) * (1 - c), w * (1 - c), w * c]
    for found, share in zip(drawn / n, expected, strict=True):
        assert abs(found - share) < 5 * np.sqrt(share * (1 - share) / n)


def test_hair_and_place_show_in_the_pictures() -> None:
    """Blond hair is yellow above the brow; water is bluer than land in the picture's lower part."""

    def mean(world: object, group: int, rows: slice, columns: slice) -> np.ndarray:
        means = []
        for i in range(60):
            rng = picture_rng(1, "look", "test", i)
            data = world.paint_one(rng, group, 64)[0]  # type: ignore[attr-defined]
            pixels = np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64)
            means.append(pixels[rows, columns].mean(axis=(0, 1)))
        return np.asarray(np.mean(means, axis=0))

    hair = [mean(faces, group, slice(13, 18), slice(26, 38)) for group in range(4)]
    yellow = [colour[0] + colour[1] - 2 * colour[2] for colour in hair]
    assert min(yellow[1], yellow[3]) > max(yellow[0], yellow[2]) + 30
    ground = [mean(birds, group, slice(50, 64), slice(0, 64)) for group in range(4)]
    blue = [colour[2] - colour[0] for colour in ground]
    assert min(blue[1], blue[3]) > max(blue[0], blue[2]) + 15


def test_every_class_and_species_is_painted_differently() -> None:
    seen = {
        general.paint_one(picture_rng(2, "g", "train", 0), wnid, 64) for wnid in general.CLASSES
    }
    assert len(seen) == len(general.CLASSES)
    assert len({species.folder for species in birds.SPECIES}) == len(birds.SPECIES) == 20


def test_group_plan_takes_turns_until_a_group_is_used_up() -> None:
    assert group_plan([2, 0, 3, 1], 4, "x") == [0, 2, 3, 0, 2, 2]
    assert group_plan(7, 4, "x") == 7
    assert group_plan([0, 0, 0, 0], 4, "x") == []


def test_progress_counts_pictures(tmp_path: Path) -> None:
    done: list[int] = []
    faces.paint(tmp_path, counts={"train": 3, "test": [1, 0, 0, 1]}, seed=0, progress=done.append)
    assert sum(done) == 5


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"training": 3}, "training"),
        ({"train": [1, 2, 3]}, "list of 4"),
        ({"train": -1}, "-1"),
        ({"validation": 20_000}, "19867"),
    ],
)
def test_bad_counts_are_named(counts: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(ClipsteerError, match=words):
        faces.paint(tmp_path, counts=counts, seed=0)  # type: ignore[arg-type]
    if words != "19867":
        with pytest.raises(ClipsteerError, match=words):
            birds.paint(tmp_path, counts=counts, seed=0)  # type: ignore[arg-type]
    assert not _pictures(_bytes(tmp_path))


def test_general_refuses_a_test_split(tmp_path: Path) -> None:
    with pytest.raises(ClipsteerError, match="test"):
        general.paint(tmp_path, counts={"test": 3}, seed=0)
