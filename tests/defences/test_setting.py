"""The images of a view, from the lists of its shards."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from clipsteer.data.fonts import fonts_known
from clipsteer.data.words import attacked
from clipsteer.defences import setting
from clipsteer.defences.setting import view_images
from clipsteer.errors import ClipsteerError
from clipsteer.runner.step import Run
from clipsteer.store.digest import digest_bytes
from clipsteer.store.objects import ObjectStore


def png(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (48, 48, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_tokens_that_the_model_has_not_are_told_by_their_own_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(setting, "open_reader", lambda run, name: None)
    backbone = SimpleNamespace(cls=None, tokens_read=lambda layer: slice(None), resume=id)
    run = SimpleNamespace(
        inputs={}, recipe={"hook_point": "resid_post", "layer": 1, "tokens": "cls"}
    )
    place = setting.Place(cast(Run, run), cast(Any, backbone), cast(Any, None))
    with pytest.raises(ClipsteerError, match=r"^typographic\.tokens: found cls, .* no CLS token"):
        place.evaluator("train", cast(Any, None))


def test_images_of_a_view_have_their_own_words(tmp_path: Path) -> None:
    """Whatever shard they are in; of a view without words, and of one whose name begins alike, none is taken."""
    files = [png(number) for number in range(5)]
    for number, data in enumerate(files):
        (tmp_path / f"{number}.png").write_bytes(data)
    names = [[digest_bytes(data), f"{n}.png", 0] for n, data in enumerate(files)]
    how: dict[str, Any] = {"look": "rows", "fonts": fonts_known(["pillow"], tmp_path), "seed": 3}
    words = ["cat", "bus", "lion", "fish", "boat"]
    listings: dict[str, dict[str, Any]] = {}
    for shard, (start, stop) in enumerate([(0, 3), (3, 5)]):
        listed = {"images": names[start:stop], "start": start}
        listings[f"test/{shard:05d}"] = listed
        printed = {"words": words[start:stop], "attack": how}
        listings[f"test_attacked/{shard:05d}"] = {**listed, **printed}
    run = SimpleNamespace(
        **{"inputs": listings, "json": listings.__getitem__, "files": lambda name: tmp_path},
        **{"store": ObjectStore(tmp_path / "store"), "runtime": SimpleNamespace(name="signs")},
    )
    for view in ("test", "test_attacked"):
        found = view_images(cast(Run, run), view)
        assert found.count == 5
        for row in (4, 0, 3, 2, 1):
            expected = Image.open(tmp_path / f"{row}.png")
            if view == "test_attacked":
                expected = attacked(expected, words[row], digest=names[row][0], **how)
            assert np.array_equal(np.asarray(found.load(row)), np.asarray(expected))
