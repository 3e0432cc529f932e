"""The page of features: its content as a parser finds it, beside the tables that it was made of."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipsteer.errors import ClipsteerError
from clipsteer.report.explorer import SETS, feature_page
from clipsteer.report.look_page import look_page
from clipsteer.report.page_files import files
from clipsteer.report.thumbnails import thumbnail
from clipsteer.steering.top_images import EDGES
from tests.report.pages import (
    ABOUT,
    CLASSES,
    GROUPS,
    IMAGES,
    LOOKED,
    N_IMAGES,
    VIEWED,
    VIEWED_ABOUT,
    VIEWED_IMAGES,
    compared_places,
    looked_places,
    places,
    viewed_places,
)


class Page(HTMLParser):
    """Element by element: blocks of JSON, texts, and whatever would ask for something elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.blocks: dict[str, Any] = {}
        self.asked: list[str] = []
        self.words: dict[str, list[str]] = {}
        self.plain: list[list[str]] = []
        self._stack: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.asked += [
            f"{tag} {v}"
            for k, v in attrs
            if k in ("src", "href", "action", "srcset") and v != "data:,"
        ]
        if tag == "tr" and any(name == "noscript" for name, _ in self._stack):
            self.plain.append([])
        if tag not in ("meta", "link", "input", "br"):
            self._stack.append((tag, found))

    def handle_endtag(self, tag: str) -> None:
        assert self._stack.pop()[0] == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if not self._stack:
            return
        tag, attributes = self._stack[-1]
        if tag == "script" and attributes.get("type") == "application/json":
            self.blocks[str(attributes["id"])] = json.loads(data)
        elif tag == "td" and self.plain:
            self.plain[-1].append(data)
        else:
            self.words.setdefault(tag, []).append(data)

    @property
    def open(self) -> list[str]:
        return [tag for tag, _ in self._stack]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(feature_page(places(), IMAGES, ABOUT, 60))


def test_it_is_whole_and_asks_for_nothing(page: Page) -> None:
    assert page.open == []
    assert page.asked == []
    text = feature_page(places(), IMAGES, ABOUT, 60)
    for words in ("http:", "https:", "fetch(", "XMLHttpRequest", "import("):
        found = text.replace("http://www.w3.org/2000/svg", "")
        assert words not in found, words
    assert "default-src 'none'" in text


def test_painted_data_are_named_so(page: Page) -> None:
    said = " ".join(" ".join(words) for words in page.words.values())
    assert "Painted data (synthetic)" in said
    assert "none is a photograph" in said


@pytest.mark.parametrize(
    ("pictures", "said"), [(IMAGES.pictures, "licence, which may forbid"), ({}, "no pictures")]
)
def test_photographs_are_not_called_painted(pictures: dict[int, bytes], said: str) -> None:
    """Not under a painted source either, as that of a tiny CLIP is."""
    text = feature_page(places(), IMAGES._replace(painted=False, pictures=pictures), ABOUT, 60)
    assert said in text
    assert "none is a photograph" not in text
    assert "Painted data (synthetic)" in text


def test_the_list_has_every_feature_of_every_place(page: Page) -> None:
    index = page.blocks["index"]
    expected = [
        (at, row["feature"], row["rank"], sum(1 << b for b, name in enumerate(SETS) if row[name]))
        for at, place in enumerate(places())
        for row in place.features.iter_rows(named=True)
    ]
    columns = (index[name] for name in ("place", "feature", "rank", "sets"))
    assert list(zip(*columns, strict=True)) == expected
    differences = [d for place in places() for d in place.features["difference"]]
    assert index["difference"] == pytest.approx(differences, rel=1e-3)
    assert [place["layer"] for place in index["places"]] == [place.layer for place in places()]
    assert index["groups"] == list(GROUPS)
    assert index["group_images"] == [IMAGES.groups.count(g) for g in range(4)]
    assert index["n_images"] == N_IMAGES


def test_nine_groups_have_their_names_and_numbers() -> None:
    """Of three classes and three spurious values; one has no image in the split that is shown."""
    names = [f"{who} {where}" for who in ("cow", "ant", "bee") for where in ("air", "land", "sea")]
    there = [g for g in range(9) if g != 4]
    groups = [there[i % 8] for i in range(N_IMAGES)]
    place = places()[0]
    rng = np.random.default_rng(1)
    n = place.features.height
    means, fires = rng.exponential(1.0, (n, 9)), rng.integers(0, 7, (n, 9))
    features = place.features.with_columns(
        images=pl.Series([[40, 10, 30, 5, 7, 90, 2, 11, 3]] * n),
        means=pl.Series(means.tolist()),
        fires=pl.Series(fires.tolist()),
    )
    images, about = IMAGES._replace(groups=groups), ABOUT._replace(group_names=names)
    found = Page(feature_page([place._replace(features=features)], images, about, 60))
    index = found.blocks["index"]
    assert index["groups"] == names
    assert index["train_images"] == [40, 10, 30, 5, 7, 90, 2, 11, 3]
    assert index["group_images"] == [groups.count(g) for g in range(9)]
    assert index["group_images"][4] == 0
    assert index["group_of"] == [groups[IMAGES.files.index(file)] for file in index["files"]]
    for row, feature in enumerate(place.features["feature"]):
        detail = found.blocks["place-0"][str(feature)]
        assert detail["m"] == pytest.approx(means[row].tolist(), rel=1e-2)
        assert detail["f"] == fires[row].tolist()


def test_examples_carry_their_values_and_their_patches(page: Page) -> None:
    index, seen = page.blocks["index"], 0
    kinds = {"top": 0, "random": 1}
    for at, place in enumerate(places()):
        details = page.blocks[f"place-{at}"]
        assert set(details) == {str(feature) for feature in place.features["feature"]}
        for feature, found in details.items():
            rows = place.examples.filter(pl.col("feature") == int(feature))
            assert len(found["e"]) == rows.height
            n_patches = ABOUT.grid[0] * ABOUT.grid[1]
            levels = np.frombuffer(base64.b64decode(found["h"]), np.uint8).reshape(-1, n_patches)
            for one, level, row in zip(found["e"], levels, rows.iter_rows(named=True), strict=True):
                assert one[0] == kinds.get(row["kind"], 2 + (row["part"] or 0))
                assert index["files"][one[1]] == IMAGES.files[row["image"]]
                assert index["group_of"][one[1]] == IMAGES.groups[row["image"]]
                assert one[2] == pytest.approx(row["value"], rel=1e-3)
                assert one[3] == pytest.approx(row["cls"], rel=1e-3, abs=1e-9)
                shown = level * found["s"] / 255
                wanted = np.maximum(row["patches"], 0)
                assert shown == pytest.approx(wanted, abs=found["s"] / 400)
                seen += 1
            line = place.features.row(by_predicate=pl.col("feature") == int(feature), named=True)
            assert {b: n for b, n in found["b"]} == {
                b: n for b, n in enumerate(line["histogram"]) if n
            }
            assert found["m"] == pytest.approx(line["means"], rel=1e-3)
            assert [feature for feature, _ in found["n"]] == line["nearest"]
    assert seen > 20
    first, step = index["edges"]
    assert [2 ** (first + i * step) for i in range(len(EDGES))] == pytest.approx(EDGES)


def test_each_picture_is_there_once(page: Page) -> None:
    used = {image for place in places() for image in place.examples["image"].to_list()}
    found = page.blocks["pictures"]
    assert len(found) == len(used) == len(page.blocks["index"]["files"])
    by_file = dict(zip(page.blocks["index"]["files"], found, strict=True))
    for image in used:
        assert base64.b64decode(by_file[IMAGES.files[image]]) == IMAGES.pictures[image]


def test_without_javascript_there_is_a_list(page: Page) -> None:
    rows = [cells for cells in page.plain if cells]
    expected = [
        (str(row["feature"]), str(row["rank"]))
        for place in places()
        for row in place.features.sort("rank").iter_rows(named=True)
    ]
    assert [(cells[0], cells[2]) for cells in rows] == expected


def test_no_pictures_where_they_may_not_be_handed_on() -> None:
    without = feature_page(places(), IMAGES._replace(pictures={}), ABOUT, 60)
    found = Page(without)
    assert "pictures" not in found.blocks
    assert found.blocks["index"]["pictures"] is False
    assert "data:image" not in without.replace("`data:image/webp;base64,", "")
    assert found.blocks["index"]["files"]


def test_no_cls_token_and_another_grid() -> None:
    wide = ABOUT._replace(grid=(1, 6), cls=False)
    shown = [
        place._replace(examples=place.examples.with_columns(cls=pl.lit(None, pl.Float32)))
        for place in places()
    ]
    found = Page(feature_page(shown, IMAGES, wide, 60))
    assert found.blocks["index"]["cls"] is False
    assert found.blocks["index"]["grid"] == [1, 6]
    assert {len(one) for d in found.blocks["place-0"].values() for one in d["e"]} == {3}


def test_patches_that_do_not_fill_the_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"6 patches an image, expected 3 x 3"):
        feature_page(places(), IMAGES, ABOUT._replace(grid=(3, 3)), 60)


def test_a_page_that_is_too_large_says_what_to_lower() -> None:
    big = {image: b"x" * 200_000 for image in IMAGES.pictures}
    with pytest.raises(ClipsteerError, match=r"explorer\.max_mb = 1\. Lower explorer\.selected"):
        feature_page(places(), IMAGES._replace(pictures=big), ABOUT, 1)


@given(st.text(max_size=30))
def test_what_people_call_things_stays_text(name: str) -> None:
    groups = [name + "</script><b>", *GROUPS[1:]]
    about = ABOUT._replace(dataset="x", group_names=groups, model="<i>&" + name)
    found = Page(feature_page(places()[:1], IMAGES, about, 60))
    assert found.blocks["index"]["groups"] == groups
    assert "b" not in found.words
    assert "i" not in found.words


def test_the_same_content_gives_the_same_bytes() -> None:
    assert feature_page(places(), IMAGES, ABOUT, 60) == feature_page(places(), IMAGES, ABOUT, 60)


def test_the_files_of_pages_are_all_used() -> None:
    used = {path.name for page in ("page", "look") for path in files(page)}
    assert used == {path.name for path in files()[0].parent.iterdir()}


def compare_views(
    blocks: dict[str, Any], at: int, views: Sequence[dict[str, Any]], scale: float = 400
) -> None:
    """A place's block beside the views that it was made of."""
    for found, image, view in zip(
        blocks[f"images-{at}"], blocks["views"]["images"], views, strict=True
    ):
        if at == 0:
            assert image["p"] == pytest.approx(view["probabilities"], abs=1e-4)
            assert (image["pair"] is None) == (view["pair"] is None)
        levels = np.frombuffer(base64.b64decode(found["h"]), np.uint8).reshape(len(found["f"]), -1)
        for one, level, unit, feature in zip(
            found["f"], levels, found["u"], view["features"], strict=True
        ):
            keys = ("feature", "mean", "largest", "cls", "on_pair")
            for value, key in zip(one, keys, strict=False):
                expected = feature[key]
                assert value == (None if expected is None else pytest.approx(expected, rel=1e-3))
            assert one[5] == pytest.approx(feature["ablated"], abs=1e-4)
            assert level * unit / 255 == pytest.approx(feature["patches"], abs=unit / scale)
        assert found["t"] == [[part for pair in token for part in pair] for token in view["tokens"]]
        assert [one and one[0] for one in found["s"]] == [
            view["sets"].get(name, {}).get("firing") for name in ("strict", "relaxed")
        ]


def test_views_of_single_images_are_those_that_were_computed() -> None:
    found = Page(feature_page(viewed_places(), VIEWED_IMAGES, VIEWED_ABOUT, 60))
    index, views = found.blocks["index"], found.blocks["views"]
    assert index["views"] is True
    assert views["classes"] == list(CLASSES)
    pictures = [base64.b64decode(text) for text in found.blocks["pictures"]]
    assert len(pictures) == len(index["files"]) + 1  # and the pair
    for image, number in zip(views["images"], VIEWED, strict=True):
        assert image["file"] == VIEWED_IMAGES.files[number] == index["files"][image["picture"]]
        assert image["group"] == GROUPS[VIEWED_IMAGES.groups[number]]
        assert image["target"] == VIEWED_IMAGES.targets[number]
        assert pictures[image["picture"]] == VIEWED_IMAGES.pictures[number]
    paired = [image["pair_picture"] for image in views["images"]]
    assert pictures[paired[0]] == VIEWED_IMAGES.pairs[4]
    assert paired[1:] == [None, None]
    for at, place in enumerate(viewed_places()):
        compare_views(found.blocks, at, place.views)
    assert [cells[0] for cells in found.plain[-3:]] == [
        f"{100 * place_view['probabilities'][0]:.1f} %" for place_view in viewed_places()[0].views
    ]


def test_neighbours_in_other_dictionaries_are_those_that_were_found() -> None:
    found = Page(feature_page(compared_places(), IMAGES, ABOUT, 60))
    for at, place in enumerate(compared_places()):
        details = found.blocks[f"place-{at}"]
        beside = {} if place.beside is None else place.beside.rows_by_key("feature", named=True)
        for feature, one in details.items():
            expected = {
                row["other"]: [
                    [j, pytest.approx(c, abs=1e-3)]
                    for j, c in zip(row["nearest"], row["cosine"], strict=True)
                ]
                for row in beside.get(int(feature), [])
            }
            assert one["x"] == expected


def test_views_without_pictures_hold_none() -> None:
    bare = VIEWED_IMAGES._replace(pictures={}, pairs={})
    found = Page(feature_page(viewed_places(), bare, VIEWED_ABOUT, 60))
    assert "pictures" not in found.blocks
    assert {image["pair_picture"] for image in found.blocks["views"]["images"]} == {None}


def test_a_page_of_ones_own_images_is_whole_and_asks_for_nothing() -> None:
    text = look_page(looked_places(), LOOKED, "Model <i>m</i>.")
    found = Page(text)
    assert found.open == found.asked == []
    assert "http" not in text.replace("http-equiv", "")
    assert "i" not in found.words
    assert "b" not in found.words
    for at, place in enumerate(looked_places()):
        compare_views(found.blocks, at, place.views)
        index = found.blocks["index"]["places"][at]
        assert (index["dictionary"], index["layer"]) == (place.dictionary, place.layer)
        assert index["sets"] == place.sets
    assert [image["file"] for image in found.blocks["views"]["images"]] == LOOKED.names
    assert [base64.b64decode(text) for text in found.blocks["pictures"]] == LOOKED.pictures
    assert text == look_page(looked_places(), LOOKED, "Model <i>m</i>.")


@pytest.mark.parametrize(("size", "expected"), [((200, 100), (112, 56)), ((64, 64), (64, 64))])
def test_thumbnails_are_small_webp(size: tuple[int, int], expected: tuple[int, int]) -> None:
    import io

    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (4, 4, 3), np.uint8)
    pixels = np.asarray(Image.fromarray(small).resize(size))
    data = thumbnail(pixels, 112)
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.size) == ("WEBP", expected)
        mean = np.asarray(picture.convert("RGB")).mean(axis=(0, 1))
    assert mean == pytest.approx(pixels.mean(axis=(0, 1)), abs=6)
    assert thumbnail(pixels, 112) == data
