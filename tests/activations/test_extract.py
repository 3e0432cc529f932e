"""Extraction: values do not depend on shards, threads or what is appended; faults are named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from PIL import Image

from clipsteer.activations import extract
from clipsteer.activations.reader import ActivationReader
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FolderTree
from tests.activations.helpers import FakeClip, picture
from tests.folders import contents

HOOKS = ("resid_post", "mlp_out")


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(folder: Path, start: int, stop: int, clip: Any = None, **changes: Any) -> list[str]:
    kept = {"hook_points": ("resid_post",), "layers": range(3), "dtype": "float16", "codec": "none"}
    kept |= {name: changes.pop(name) for name in [*kept] if name in changes}
    how = {name: changes.pop(name) for name in ("load", "describe") if name in changes}
    images = extract.Images(start=start, stop=stop, **({"load": picture} | how))
    return extract.extract_shard(
        clip or FakeClip(), images, extract.Kept(**kept), folder, **({"batch_size": 8} | changes)
    )


def test_arrays_are_the_models_own(tmp_path: Path) -> None:
    clip = FakeClip()
    done: list[int] = []
    names = run(
        tmp_path / "a", 3, 26, clip, hook_points=HOOKS, layers=[2, 0], dtype="float32",
        attributes={"model": "blake3:0", "dataset": "faces", "split": "train"},
        progress=done.append,
    )  # fmt: skip
    assert names == ["embedding", "mlp_out/00", "mlp_out/02", "resid_post/00", "resid_post/02"]
    assert sum(done) == 23
    # Batches of one shape, aligned to the data set; rows outside repeat the nearest image inside.
    rows = clip.pixels([picture(min(max(i, 3), 25)) for i in range(32)])
    assert [len(batch) for batch in clip.seen] == [8] * 4
    assert torch.equal(torch.cat(clip.seen), rows)
    group = zarr.open_group(tmp_path / "a", mode="r")
    assert dict(group.attrs) == {
        "format": "clipsteer-activations/1", "model": "blake3:0", "dataset": "faces",
        "split": "train", "start": 3, "stop": 26,
    }  # fmt: skip
    expected: dict[str, list[Any]] = {name: [] for name in names}
    for low in range(0, 32, 8):
        embedding, taps = clip.run(clip.pixels([picture(i) for i in range(low, low + 8)]), HOOKS)
        expected["embedding"].append(embedding)
        for name in names[1:]:
            hook, layer = name.split("/")
            expected[name].append(taps[hook][int(layer)])
    for name in names:
        reader = ActivationReader([(3, 26, FolderTree(tmp_path / "a" / name))])
        np.testing.assert_array_equal(reader.read(3, 26), torch.cat(expected[name])[3:26].numpy())


@pytest.mark.parametrize("size", [3, 10, 16])
def test_shard_size_does_not_change_values(tmp_path: Path, size: int) -> None:
    run(tmp_path / "whole", 0, 50)
    shards: dict[str, list[tuple[int, int, FolderTree]]] = {"resid_post/01": [], "embedding": []}
    for low in range(0, 50, size):
        high = min(50, low + size)
        run(tmp_path / f"{low}", low, high)
        for name, parts in shards.items():
            parts.append((low, high, FolderTree(tmp_path / f"{low}" / name)))
    for name, parts in shards.items():
        whole = ActivationReader([(0, 50, FolderTree(tmp_path / "whole" / name))])
        np.testing.assert_array_equal(ActivationReader(parts).read(0, 50), whole.read(0, 50))


@pytest.mark.parametrize("images", [5, 8, 21])
def test_embeddings_alone_are_those_of_a_shard(tmp_path: Path, images: int) -> None:
    done: list[int] = []
    found = extract.embed(
        FakeClip(), extract.Images(picture, 0, images), batch_size=8, progress=done.append
    )
    run(tmp_path / "a", 0, images)
    reader = ActivationReader([(0, images, FolderTree(tmp_path / "a" / "embedding"))])
    np.testing.assert_array_equal(found, reader.read(0, images))
    assert sum(done) == images


def test_only_the_shards_own_images_are_touched(tmp_path: Path) -> None:
    seen: list[int] = []

    def load(index: int) -> Image.Image:
        seen.append(index)
        return picture(index)

    run(tmp_path / "a", 10, 21, load=load)
    assert sorted(seen) == list(range(10, 21))


def test_same_bytes_for_any_threads(tmp_path: Path, threads: None) -> None:
    folders = []
    for torch_threads, decode_threads in ((1, 1), (2, 4), (1, 1)):
        torch.set_num_threads(torch_threads)
        folders.append(tmp_path / str(len(folders)))
        run(folders[-1], 5, 47, decode_threads=decode_threads, codec="blosc-zstd")
    first, *others = (contents(folder) for folder in folders)
    assert all(other == first for other in others)


class Poisoned(FakeClip):
    """Puts a value into one image's activations of one layer."""

    def __init__(self, value: float, image: int, layer: int) -> None:
        super().__init__()
        self.value, self.image, self.layer = value, image, layer

    def run(self, pixels: torch.Tensor, hook_points: Any) -> Any:
        embedding, taps = super().run(pixels, hook_points)
        hit = (pixels == self.pixels([picture(self.image)])).flatten(1).all(dim=1)
        if self.layer < 0:
            embedding[hit, 2] = self.value
        else:
            taps["resid_post"][self.layer][hit, 1, 3] = self.value
        return embedding, taps


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_not_finite_is_named(tmp_path: Path, dtype: str, value: float, word: str) -> None:
    for layer, place in ((1, "resid_post of layer 1"), (-1, "the image embedding")):
        with pytest.raises(ClipsteerError, match=rf"image 19 \(19.jpg\): found {word} in {place}"):
            run(
                tmp_path / "a", 3, 30, Poisoned(value, 19, layer), dtype=dtype,
                describe=lambda i: f"{i}.jpg",
            )  # fmt: skip
        assert not list(tmp_path.iterdir())


def test_overflow_advises_a_wider_format(tmp_path: Path) -> None:
    clip = Poisoned(-70000.0, 19, 2)
    with pytest.raises(
        ClipsteerError, match=r"image 19 .*layer 2 reaches 70000.*65504.*bfloat16 or float32"
    ):
        run(tmp_path / "a", 0, 30, clip)
    assert not list(tmp_path.iterdir())
    for dtype in ("bfloat16", "float32"):
        run(tmp_path / dtype, 0, 30, clip, dtype=dtype)
    # The largest float16 itself is fine.
    run(tmp_path / "a", 0, 30, Poisoned(65504.0, 19, 2))


def test_unreadable_image_stops_it(tmp_path: Path) -> None:
    def load(index: int) -> Image.Image:
        if index == 23:
            raise ClipsteerError("23.jpg: truncated")
        return picture(index)

    with pytest.raises(ClipsteerError, match=r"23\.jpg: truncated"):
        run(tmp_path / "a", 0, 50, load=load)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": [0, 3]}, r"activations\.layers: found layer 3.*0 to 2"),
        ({"layers": []}, "no layer"),
        ({"hook_points": ["resid_mid"]}, r"activations\.hook_points: found 'resid_mid'"),
        ({"stop": 0}, "images 0 to 0"),
        ({"batch_size": 0}, r"activations\.batch_size: found 0"),
        ({"dtype": "int4"}, r"activations\.dtype"),
        ({"codec": "rar"}, r"activations\.codec"),
    ],
)
def test_bad_requests(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClipsteerError, match=message):
        run(tmp_path / "a", **{"start": 0, "stop": 30, **changes})
    assert not list(tmp_path.iterdir())


def test_decoding_stays_a_few_batches_ahead(tmp_path: Path) -> None:
    clip = FakeClip()
    ahead: list[int] = []

    def load(index: int) -> Image.Image:
        ahead.append(index - 4 * len(clip.seen))
        return picture(index)

    run(tmp_path / "a", 0, 400, clip, load=load, batch_size=4)
    assert max(ahead) < 4 * (extract.AHEAD + 2)
