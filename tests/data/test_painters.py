"""The painted worlds: layouts to the letter, stable bytes, the confound, pictures that show it."""

from __future__ import annotations

import copy
import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsteer.data.layouts import celeba, folder, imagenet, waterbirds
from clipsteer.data.painters import birds, faces, general, plumage, web
from clipsteer.data.painters.canvas import Canvas, group_plan, picture_rng
from clipsteer.data.painters.portrait import draw_face
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


def drawn(world: object, group: int, index: int, *, pair: bool, size: int = 64) -> bytes:
    """A picture or its pair as `paint_one` gives it."""
    name = world.__name__.rpartition(".")[2]  # type: ignore[attr-defined]
    other = picture_rng(3, f"{name}' pairs", "test", index) if pair else None
    rng = picture_rng(3, name, "test", index)
    data: bytes = world.paint_one(rng, group, size, other)[0]  # type: ignore[attr-defined]
    return data


@pytest.fixture
def unfinished(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pictures as they are drawn, before they are lit: raw pixels. What light and grain come from is noted."""
    streams: list[float] = []

    def finish(canvas: Canvas, rng: np.random.Generator, **light: float) -> bytes:
        streams.append(float(rng.random()))
        return canvas.image.tobytes()

    monkeypatch.setattr(Canvas, "finish", finish)
    return streams


def raw(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8).reshape(128, 128, 3)


def test_a_faces_pair_differs_in_its_hair_alone(unfinished: list[float]) -> None:
    """Where the hair's colour shows at all, by painting the same face in two colours that nobody has."""
    beards = 0
    for index in range(24):
        group = index % 4
        image, pair = (raw(drawn(faces, group, index, pair=p)) for p in (False, True))
        rng = picture_rng(3, "faces", "test", index)
        _, face = faces.paint_one(copy.deepcopy(rng), group, 64)
        other = picture_rng(3, "faces' pairs", "test", index)
        _, changed = faces.paint_one(copy.deepcopy(rng), group, 64, other)
        same = {"hair": face.hair, "hair_colour": face.hair_colour}
        assert replace(changed, **same) == face  # type: ignore[arg-type]
        assert (face.hair == "blond", changed.hair == "blond") == (group % 2 == 1, group % 2 == 0)
        masks = []
        for colour in ((0, 255, 0), (255, 0, 255)):
            canvas = Canvas(64, (9, 9, 9))
            draw_face(canvas, np.random.default_rng(0), replace(face, hair_colour=colour))
            masks.append(np.asarray(canvas.image))
        # strands are drawn at random, within the hair
        hair = (masks[0] != masks[1]).any(axis=2)
        differs = (image != pair).any(axis=2)
        assert not (differs & ~_grown(hair, 6)).any()
        assert differs.sum() > 0.5 * hair.sum() > 100
        # the eyes, and the corners of the background
        x, y = (128 * (0.5 + face.x), 128 * (0.48 + face.y))
        assert not differs[int(y - 2) : int(y + 2), int(x - 14) : int(x + 14)].any()
        assert not differs[:6, :10].any()
        beards += bool(face.beard)
    assert beards > 2
    assert unfinished[::4] == unfinished[1::4]  # the same light and grain


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    """The mask and all within so many pixels of it, across and down."""
    wide = np.pad(mask, by)
    shifts = [
        np.roll(wide, (dy, dx), (0, 1)) for dy in range(-by, by + 1) for dx in range(-by, by + 1)
    ]
    grown: np.ndarray = np.any(shifts, axis=0)[by:-by, by:-by]
    return grown


def covered_by_the_bird(index: int, size: int) -> np.ndarray:
    """Where the bird of a test image hides what is behind it: raw pixels, two on each side of one of the picture's.

    A bird covers what it covers on a black ground and on a white one alike.
    """
    group, rng = index % 4, picture_rng(3, "birds", "test", index)
    _, species, _ = birds.paint_one(copy.deepcopy(rng), group, size)
    birds.pick(rng, birds._BY_TYPE[group >= 2])
    birds._background(rng, group % 2 == 1, size)
    shown = []
    for on_water in (False, True):
        for ground in ((0, 0, 0), (255, 255, 255)):
            canvas = Canvas(size, ground)
            posed = group % 2 == 1
            plumage.draw_bird(
                canvas, copy.deepcopy(rng), species, on_water=on_water, posed_on_water=posed
            )
            shown.append(np.asarray(canvas.image))
    land, water = (shown[i] == shown[i + 1] for i in (0, 2))
    bird: np.ndarray = (land & water).all(axis=2) & (shown[0] == shown[2]).all(axis=2)
    return bird


def test_a_birds_pair_is_the_same_bird(
    unfinished: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plumage, "_BLADES", plumage._WAVES)  # before a bird that swims or sits
    for index in range(24):
        group = index % 4
        image, pair = (raw(drawn(birds, group, index, pair=p)) for p in (False, True))
        bird = covered_by_the_bird(index, 64)
        differs = (image != pair).any(axis=2)
        assert bird.mean() > 0.05
        assert not (differs & bird).any()
        # all around it there is another place
        assert differs[~bird].mean() > 0.8
    assert unfinished[::3] == unfinished[1::3]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_pairs_have_their_images_names_and_files_of_the_same_kind(
    tmp_path: Path, split: str
) -> None:
    counts = {"train": 2, split: [2, 1, 2, 2]}
    for world in (faces, birds):
        world.paint(tmp_path / "world", counts=counts, seed=7)  # type: ignore[attr-defined]
        done: list[int] = []
        for name in ("pairs", "again"):
            world.paint_pairs(  # type: ignore[attr-defined]
                tmp_path / name, counts=counts, seed=7, split=split, progress=done.append
            )
        assert sum(done) == 2 * 7
    found, pairs = _pictures(_bytes(tmp_path / "world")), _bytes(tmp_path / "pairs")
    assert pairs == _bytes(tmp_path / "again")
    assert set(pairs) < set(found)
    assert len(pairs) == len(found) - 4 == 14
    for name, data in pairs.items():
        image = Image.open(io.BytesIO(data))
        assert (image.format, image.size) == ("JPEG", (64, 64))
        assert data != found[name]


def differing_blocks(world: object, index: int, size: int) -> np.ndarray:
    """In which blocks of 8 x 8 pixels, those of a JPEG, a picture and its pair differ as files."""
    image, pair = (
        np.asarray(Image.open(io.BytesIO(drawn(world, index % 4, index, pair=p, size=size))))
        for p in (False, True)
    )
    return _by_block((image != pair).any(axis=2), 8)


def _by_block(mask: np.ndarray, width: int) -> np.ndarray:
    """Whether anything of a mask is in each of its blocks."""
    n = len(mask) // width
    found: np.ndarray = mask.reshape(n, width, n, width).any(axis=(1, 3))
    return found


# A picture is drawn at twice its size, and its pixels have some of the raw ones six away (Lanczos).
BLOCK, NEAR = 16, 6


def test_blocks_of_a_jpeg_without_hair_are_its_pairs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As files too. Hair, and brows of its colour, is where the face in two colours that nobody has differs."""
    hair = np.zeros((128, 128), dtype=bool)

    def noted(canvas: Canvas, rng: np.random.Generator, face: faces.Face) -> None:
        shown = []
        for colour in ((0, 255, 0), (255, 0, 255)):
            empty = Canvas(64, (9, 9, 9))
            draw_face(empty, copy.deepcopy(rng), replace(face, hair_colour=colour))
            shown.append(np.asarray(empty.image))
        hair[:] |= (shown[0] != shown[1]).any(axis=2)
        draw_face(canvas, rng, face)

    monkeypatch.setattr(faces, "draw_face", noted)
    compared = 0
    for index in range(8):
        hair[:] = False
        differ = differing_blocks(faces, index, 64)
        caused = _by_block(_grown(hair, NEAR), BLOCK)
        assert not (differ & ~caused).any()
        assert differ.sum() > 10
        compared += int((~caused).sum())
    assert compared > 200


def test_blocks_of_a_jpeg_with_bird_alone_are_its_pairs_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Larger pictures: at 64 pixels hardly any block is filled by a bird."""
    monkeypatch.setattr(plumage, "_BLADES", plumage._WAVES)
    compared = 0
    for index in range(12):
        differ = differing_blocks(birds, index, 128)
        caused = _by_block(_grown(~covered_by_the_bird(index, 128), NEAR), BLOCK)
        assert not (differ & ~caused).any()
        assert differ[caused].mean() > 0.8
        compared += int((~caused).sum())
    assert compared > 100


def test_the_web_sample_is_read_and_has_its_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blond hair goes along with sex less than where it is studied, and place with kind about as much."""
    web.paint(tmp_path / "web", counts={"train": 12}, size=32, seed=4)
    rows = folder.read(FolderTree(tmp_path / "web"))
    assert rows["path"].to_list()[:3] == [
        "faces/000001.jpg",
        "birds/000002.jpg",
        "faces/000003.jpg",
    ]
    assert (rows["text"] != "").all()
    assert rows.select("target", "spurious").null_count().row(0) == (12, 12)
    first = _bytes(tmp_path / "web")
    web.paint(tmp_path / "more", counts={"train": 14}, size=32, seed=4)
    more = _pictures(_bytes(tmp_path / "more"))
    assert {name: more[name] for name in _pictures(first)} == _pictures(first)
    with pytest.raises(ClipsteerError, match="validation"):
        web.paint(tmp_path / "bad", counts={"validation": 1}, seed=4)
    # without drawing: which groups are asked for
    seen: dict[str, list[int]] = {"faces": [], "birds": []}

    def captioned(name: str, rng: object, group: int, size: int) -> tuple[bytes, str]:
        seen[name].append(group)
        return b"", "words"

    monkeypatch.setattr(web, "_captioned", captioned)
    web.paint(tmp_path / "many", counts={"train": 4000}, seed=0)
    assert len(seen["faces"]) / len(seen["birds"]) == pytest.approx(5 / 3, abs=0.01)
    for name, shares in (("faces", web.FACES), ("birds", web.BIRDS)):
        for stretch in (seen[name], seen[name][:400], seen[name][-400:]):
            found = np.bincount(stretch, minlength=4)
            np.testing.assert_allclose(found, len(stretch) * np.array(shares), atol=4)
    men, blond = faces.MALE_SHARE, faces.BLOND_SHARE
    studied = (
        *((1 - men) * (1 - blond[False]), (1 - men) * blond[False]),
        *(men * (1 - blond[True]), men * blond[True]),
    )
    assert _log_odds(studied) < 2 * _log_odds(web.FACES) < 0  # blond hair is women's
    at_home = birds.CONFOUND
    same_ratio = (at_home, 1 - at_home, 1 - at_home, at_home)  # how many are waterbirds cancels
    assert _log_odds(web.BIRDS) == pytest.approx(_log_odds(same_ratio), rel=0.02)
    assert _log_odds(web.BIRDS) > np.log(100)


def _log_odds(shares: tuple[float, ...]) -> float:
    """How far target and spurious attribute go together: 0 where they do not, whatever the share of either."""
    return float(np.log(shares[0] * shares[3] / (shares[1] * shares[2])))
