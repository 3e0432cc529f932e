"""What a programmer may hand over wrongly is said in a sentence that names it; nothing is guessed or ignored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import clipsteer
from clipsteer.backbones.base import Backbone
from clipsteer.dictionaries.files import save
from clipsteer.dictionaries.topk import TopK
from clipsteer.errors import ClipsteerError
from clipsteer.front.placed import Placed
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.feature_set import FeatureSet
from tests.backbones.tiny import make_tiny, photos

M = 48
# without types: what they would refuse is what is tried here
front: Any = clipsteer
Call = Callable[["Things"], object]


class Things:
    """A model, a head, a dictionary at its place, and a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model: Backbone = front.load_model(make_tiny(folder / "m"), device="cpu")
        self.head = front.zero_shot_head(self.model, ["cat", "a dog"], ["{}"])
        rows = torch.nn.functional.normalize(torch.randn(M, self.model.width), dim=1)
        zeros = torch.zeros(M), rows, torch.zeros(self.model.width)
        self.dictionary = TopK(rows.T.contiguous(), *zeros, k=3)
        self.sae = Placed(self.dictionary, 1)
        self.images = photos(2)


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Things:
    return Things(tmp_path_factory.mktemp("things"))


def classified(images: Any, **more: Any) -> Call:
    return lambda a: front.classify(a.model, images, a.head, **more)


WRONG: list[tuple[Call, str]] = [
    # images
    (lambda a: front.classify(a.model, a.images[0], a.head), r"images: found an Image, expected a list"),
    (classified("p.png"), "images: found a str, expected a list"),
    (classified(Path("p.png")), "images: found a PosixPath, expected a list"),
    (classified(x for x in ()), "images: found a generator, expected a list"),
    (classified([np.zeros((8, 8, 3))]), "images: found an ndarray, expected PIL images or files"),
    (classified([None]), "images: found a NoneType"),
    (classified([]), "images: found none"),
    (classified(["a\0b.png"]), "cannot be read .*; expected an image file"),
    (classified([Image.new("RGB", (0, 4))]), r"images: found one of size \(0, 4\)"),
    # heads, words, codes
    (lambda a: front.classify(a.model, a.images, a.head.numpy()), "head: found an ndarray, expected a tensor"),
    (lambda a: front.classify(a.model, a.images, a.head * torch.nan), "head: found values that are not finite"),
    (lambda a: front.zero_shot_head(a.model, "a man"), "class_names: found a str, expected a list of texts"),
    (lambda a: front.zero_shot_head(a.model, ["a", "b"], "{}"), "templates: found a str"),
    (lambda a: front.zero_shot_head(a.model, ["a", "b" * 200], ["{}"]), r"of 20\d tokens, expected at most 24"),
    (lambda a: front.make_vocabulary(a.model, "cat"), "words: found a str"),
    (lambda a: front.make_vocabulary(a.model, []), "words: found 0, expected at least two"),
    (lambda a: front.make_vocabulary(a.model, ["a", 1], "{}"), "words: found an int, expected texts alone"),
    (lambda a: front.make_vocabulary(a.model, ["a", "b"], "photo"), "template: found 'photo', expected text with"),
    (lambda a: front.top_words(a.model, a.images, ["cat"]), "vocabulary: found a list"),
    (lambda a: front.top_features(torch.zeros(2, 3, 4), 2.5), "k: found 2.5, expected a whole number"),
    (lambda a: front.top_features(torch.zeros(3, 4)), r"codes: found shape \(3, 4\)"),
    (lambda a: front.top_features(np.zeros((2, 3, 4))), "codes: found an ndarray"),
    # places and edits
    (lambda a: front.activations_of(a.model, a.images, "1"), "layer: found '1', expected a whole number from 0 to"),
    (lambda a: front.activations_of(a.model, a.images, True), "layer: found True"),
    (lambda a: front.classify(a.model, a.images, a.head, tokens="spacial"), "'spacial'.*Did you mean spatial"),
    (lambda a: front.classify(a.model, a.images, a.head, "ablate"), "edit: found a str"),
    (lambda a: front.ablate(a.sae, [1], error_term="dorp"), "error_term: found 'dorp'.*Did you mean drop"),
    (lambda a: front.ablate(a.sae, [[1], [2, 3]]), r"features: .*found \[\[1\], \[2, 3\]\]"),
    (lambda a: front.ablate(a.sae, [1.5]), r"features: .*found \[1.5\]"),
    (lambda a: front.ablate(a.dictionary, [1]), "placed: found a TopK"),
    (lambda a: front.set_to(a.sae, [1], None), "strength: found None, expected a finite number"),
    (lambda a: front.set_to(a.sae, [1], "5"), "strength: found '5'"),
    (lambda a: front.set_to(a.sae, [1], 10**400), "strength: found an int, expected a finite number"),
    (lambda a: front.scale(a.sae, [1], None), "by: found None"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "said"), WRONG, ids=[said[:40] for _, said in WRONG])
def test_it_is_said_what_was_expected(things: Things, call: Call, said: str) -> None:
    with pytest.raises(ClipsteerError, match=said):
        call(things)


def test_numbers_of_numpy_are_numbers(things: Things) -> None:
    edit = front.set_to(things.sae, np.array([1, 2]), np.float32(2))
    assert front.classify(things.model, things.images, things.head, edit).shape == (2, 2)
    assert len(front.activations_of(things.model, tuple(things.images), np.int64(0))) == 2
    codes = front.features_of(things.model, things.sae, things.images).requires_grad_()
    assert front.top_features(codes, 2).height
    assert front.scale(things.sae, [1], codes.max()).by == float(codes.max())


def test_columns_of_data_frames_are_lists(things: Things) -> None:
    for number, image in enumerate(things.images):
        image.save(things.folder / f"{number}.png")
    paths = [str(things.folder / f"{number}.png") for number in range(2)]
    expected = front.classify(things.model, paths, things.head)
    for column in (pl.Series(paths), np.array(paths), tuple(paths), dict.fromkeys(paths).keys()):
        assert torch.equal(front.classify(things.model, column, things.head), expected)
    words = pl.Series(["cat", "a dog"])
    assert torch.equal(front.zero_shot_head(things.model, words, ["{}"]), things.head)


def test_a_dictionary_whose_description_is_wrong(things: Things) -> None:
    folder = things.folder / "d"
    for metadata, said in (
        ({"layer": "1"}, "layer: found '1', expected a whole number"),
        ({"layer": -1}, "layer: found -1"),
        ({"layer": 1, "hook_point": "xx"}, "hook_point: found 'xx'"),
        ({"layer": 1, "tokens": "foo"}, "metadata.tokens: found 'foo'"),
    ):
        save(things.dictionary, folder, metadata)
        with pytest.raises(ClipsteerError, match=f"{folder}.*{said}"):
            front.load_dictionary(folder)
    with pytest.raises(ClipsteerError, match=r"not found; expected a folder with dictionary\.json"):
        front.load_dictionary(folder / "dictionary.json")


def test_a_set_is_read_as_it_was_written(things: Things) -> None:
    there = FeatureSet(np.array([3, 1]), 0.5, GroupCounts((1, 1), (2, 2)), "resid_post", 1)
    again = FeatureSet.from_dict(there.as_dict())
    assert again.as_dict() == there.as_dict()
    assert FeatureSet.from_dict({**there.as_dict(), "features": []}).n_features == 0
    for features in ([1.5], ["1"], [[1]]):
        with pytest.raises(ClipsteerError, match=r"features: found .* expected a list of whole"):
            FeatureSet.from_dict({**there.as_dict(), "features": features})
    with pytest.raises(ClipsteerError, match="found no features"):
        FeatureSet.from_dict({k: v for k, v in there.as_dict().items() if k != "features"})
