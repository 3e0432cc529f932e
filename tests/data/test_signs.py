"""The world of signs: its shares, its words, and that a word changes nothing else."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import polars as pl
import pytest
from PIL import Image

from clipsteer.data.layouts import folder as layout
from clipsteer.data.painters import signs
from clipsteer.data.painters.canvas import picture_rng
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FolderTree
from workflow_scripts import paint_world


def rows_of(folder: Path) -> pl.DataFrame:
    return layout.read(FolderTree(folder))


def test_it_is_read_as_peoples_own_data(tmp_path: Path) -> None:
    signs.paint(tmp_path, counts={"train": 24, "test": 12}, size=32, seed=1, worded=0.5)
    rows = rows_of(tmp_path)
    assert Counter(rows["class"]) == dict.fromkeys(signs.THINGS, 3)
    assert rows["target"].null_count() == rows.height
    assert Counter(rows["split"]) == {"train": 24, "test": 12}
    other = tmp_path / "other"
    signs.paint(other, counts={"test": 12}, size=32, seed=1, series=1)
    first = "test/00001.jpg"
    assert (other / first).read_bytes() != (tmp_path / first).read_bytes()


def test_a_word_changes_nothing_else() -> None:
    """The same picture with and without: as it is decoded, they differ below and on the paper alone, up to JPEG."""
    differ = []
    for index in range(12):
        thing = list(signs.THINGS)[index]

        def painted(word: str, index: int = index, thing: str = thing) -> np.ndarray:
            streams = [picture_rng(0, name, "train", index) for name in ("signs 0", "words")]
            data = signs.paint_one(streams[0], streams[1], thing, word, 64)
            return np.asarray(Image.open(io.BytesIO(data)), dtype=np.int64)

        gap = np.abs(painted("") - painted("lion")).max(axis=2)
        away = gap[16:48]  # neither row of the look that it learns
        differ.append(float(away.mean()))
        assert gap.max() > 60
    assert max(differ) < 4


def test_captions_say_what_the_shares_say() -> None:
    """Of pictures with a word; three standard errors of 3,000 draws at most."""
    rng = picture_rng(0, "captions", "train", 0)
    kinds: Counter[str] = Counter()
    for _ in range(3000):
        said = signs.caption(rng, "fish", "lion")
        thing, word = "fish" in said, "lion" in said
        as_word = said.startswith(("the word", "a label"))
        kinds[
            "both"
            if thing and word
            else "thing"
            if thing
            else "word"
            if as_word
            else "word for thing"
        ] += 1
    for kind, share in signs.SAYS.items():
        assert kinds[kind] / 3000 == pytest.approx(
            share, abs=3 * (share * (1 - share) / 3000) ** 0.5
        )
    own = sum(signs.draw_word(rng, "fish") == "fish" for _ in range(3000)) / 3000
    assert own == pytest.approx(signs.OWN, abs=0.025)
    assert "lion" not in {signs.caption(rng, "fish", "") for _ in range(50)}


def test_all_settings_reach_the_painter(tmp_path: Path) -> None:
    """By the step: what the configuration says of a world is what is painted."""
    said = {"counts": {"train": 24}, "size": 32, "seed": 0, "worded": 1.0, "series": 2}
    paint_world.compute(MagicMock(scratch=tmp_path, recipe={"world": "signs", **said}))
    signs.paint(tmp_path / "same", **said)  # type: ignore[arg-type]
    for name in ("manifest.csv", "train/00007.jpg"):
        assert (tmp_path / "world" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    captions = rows_of(tmp_path / "world")["text"]
    assert any(caption.startswith(("the word", "a label")) for caption in captions)


def test_counts_are_numbers_of_images(tmp_path: Path) -> None:
    with pytest.raises(ClipsteerError, match="signs, split 'train': found"):
        signs.paint(tmp_path, counts={"train": [1, 2]}, seed=0)  # type: ignore[dict-item]
