"""The tower without transformers is transformers' model, and its pixels are transformers' pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipsteer.backbones.model import load_clip
from clipsteer.backbones.pixels import load_process, load_processor
from clipsteer.backbones.shaped import write_shaped
from clipsteer.backbones.taps import HOOK_POINTS, forward_with_taps
from clipsteer.backbones.tower import load_tower
from clipsteer.errors import ClipsteerError
from tests.backbones.tiny import make_tiny, photos, to_bin, to_parts


def edit(folder: Path, name: str, **changes: object) -> None:
    path = folder / name
    data = json.loads(path.read_text())
    data.update(changes)
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))


def same(folder: Path, dtype: str = "float32", count: int = 5) -> None:
    clip, tower = load_clip(folder, device="cpu", dtype=dtype), load_tower(folder, "cpu", dtype)
    assert (tower.n_layers, tower.n_tokens, tower.width, tower.projection_dim) == (
        clip.n_layers, clip.n_tokens, clip.width, clip.projection_dim,
    )  # fmt: skip
    images = photos(count)
    pixels = tower.pixels(images)
    assert torch.equal(pixels.to(clip.dtype), clip.pixels(images))
    embeddings, taps = tower.run(pixels, HOOK_POINTS)
    expected, theirs = forward_with_taps(clip, clip.pixels(images), HOOK_POINTS)
    assert torch.equal(embeddings, expected)
    for point in HOOK_POINTS:
        assert len(taps[point]) == clip.n_layers
        assert all(torch.equal(a, b) for a, b in zip(taps[point], theirs[point], strict=True))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_layer_equals_the_full_model(folder: Path, dtype: str) -> None:
    same(folder, dtype)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_default_size_equals_the_full_model(tmp_path: Path, threads: int) -> None:
    size = {"hidden_size": 96, "intermediate_size": 384, "num_attention_heads": 4}
    write_shaped(
        tmp_path / "m",
        vision={**size, "num_hidden_layers": 6, "image_size": 64, "patch_size": 16},
        text={"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 1},
        projection_dim=64,
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        same(tmp_path / "m", count=100)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("change", [to_bin, to_parts])
def test_other_weight_layouts(copy: Path, change: Callable[[Path], Path]) -> None:
    same(change(copy))


def test_only_what_is_asked_for_is_kept(folder: Path) -> None:
    tower = load_tower(folder, "cpu")
    assert set(tower.run(tower.pixels(photos(2)), ["mlp_out"])[1]) == {"mlp_out"}


@pytest.mark.parametrize("size", [(40, 36), (36, 40), (32, 32), (33, 97), (500, 375), (1, 7)])
@pytest.mark.parametrize("resample", [2, 3])
def test_pixels_equal_those_of_transformers(
    copy: Path, size: tuple[int, int], resample: int
) -> None:
    edit(
        copy, "preprocessor_config.json", resample=resample, image_mean=[0.5, 0.1, 0.3],
        size={"shortest_edge": 37},
    )  # fmt: skip
    ours, theirs = load_process(copy, 32), load_processor(copy)
    for image in photos(2, size):
        expected = theirs(images=[image], return_tensors="np")["pixel_values"][0]
        np.testing.assert_array_equal(ours(image), expected)


def openai(image: Image.Image, short: int, side: int) -> Image.Image:
    """torchvision's Resize and CenterCrop, as OpenAI's and open_clip's preprocessing call them."""
    (wide, high), long = image.size, int(short * max(image.size) / min(image.size))
    image = image.resize((short, long) if wide <= high else (long, short), Image.Resampling.BICUBIC)
    left, top = (round((n - side) / 2.0) for n in image.size)
    return image.crop((left, top, left + side, top + side))


@pytest.mark.parametrize("other", [{}, {"a_key_of_another_program": 1}], ids=["ours", "theirs"])
@pytest.mark.parametrize("short", [32, 35])  # 35: three pixels go on the shorter side too
@pytest.mark.parametrize("size", [(64, 66), (66, 64), (64, 70), (70, 64), (78, 64), (64, 64)])
def test_the_crop_of_openai(
    copy: Path, size: tuple[int, int], short: int, other: dict[str, object]
) -> None:
    """An odd number of pixels to be cut off in either direction, and an even one."""
    edit(copy, "preprocessor_config.json", size={"shortest_edge": short}, **other)
    process, processor = load_process(copy, 32, "openai"), load_processor(copy)
    (image,) = photos(1, size)
    cut = openai(image, short, 32)
    whole = processor(
        images=[cut], do_resize=False, do_center_crop=False, return_tensors="np"
    )  # fmt: skip
    np.testing.assert_array_equal(process(image), whole["pixel_values"][0])


def test_the_crops_differ_by_one_pixel_where_the_odd_half_rounds_up(tmp_path: Path) -> None:
    """An image of 524 x 316 at 224 pixels: 371 columns, of which 147 go, 73 or 74 of them first."""
    folder = make_tiny(tmp_path / "m", image_size=224)
    (image,) = photos(1, (524, 316))
    theirs, ours = load_process(folder, 224)(image), load_process(folder, 224, "openai")(image)
    np.testing.assert_array_equal(theirs[:, :, 1:], ours[:, :, :-1])
    assert (theirs != ours).any()
    # 145 of 369 columns: 72 first by both
    (even,) = photos(1, (369, 224))
    np.testing.assert_array_equal(
        load_process(folder, 224)(even), load_process(folder, 224, "openai")(even)
    )


def test_what_is_smaller_than_the_crop_is_padded_as_by_torchvision(copy: Path) -> None:
    edit(copy, "preprocessor_config.json", size={"shortest_edge": 21}, do_normalize=False)
    found = load_process(copy, 32, "openai")(Image.new("RGB", (40, 36), "white"))  # becomes 23 x 21
    expected = np.zeros((3, 32, 32), np.float32)
    expected[:, 5 : 5 + 21, 4 : 4 + 23] = 1
    np.testing.assert_array_equal(found, expected)


def test_an_unknown_crop_is_refused(copy: Path) -> None:
    with pytest.raises(ClipsteerError, match=r"model\.crop: found 'left', expected one of trans"):
        load_process(copy, 32, "left")


@pytest.mark.parametrize(
    "changes",
    [
        {"do_normalize": False},
        {"do_resize": False, "size": None},
        {"size": {"height": 32, "width": 48}},
        {"size": {"shortest_edge": 20}},  # smaller than the crop: padded with zeros
        {"size": 32, "crop_size": 32, "feature_extractor_type": "CLIPFeatureExtractor"},
        {"image_mean": 0.5, "image_std": 0.25},
        {"image_mean": None, "image_std": None, "rescale_factor": None},
        {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_other_processors_give_what_transformers_gives(
    copy: Path, changes: dict[str, object]
) -> None:
    edit(copy, "preprocessor_config.json", **changes)
    image = Image.new("RGB", (48, 32), (10, 200, 90)) if "do_resize" in changes else photos(1)[0]
    expected = load_processor(copy)(images=[image], return_tensors="np")["pixel_values"][0]
    if expected.shape != (3, 32, 32):
        with pytest.raises(ClipsteerError, match="makes images of shape"):
            load_process(copy, 32)
    else:
        np.testing.assert_array_equal(load_process(copy, 32)(image), expected)


def test_a_processor_that_does_not_fit_is_refused(copy: Path) -> None:
    edit(copy, "preprocessor_config.json", crop_size={"height": 24, "width": 24})
    with pytest.raises(ClipsteerError, match=r"shape \(3, 24, 24\), the model expects \(3, 32"):
        load_tower(copy, "cpu")


@pytest.mark.parametrize(
    "changes", [{"resample": 99}, {"size": {"shortest_edge": "x"}}, {"image_mean": ["a", "b", "c"]}],
    ids=lambda changes: ",".join(changes),
)  # fmt: skip
def test_a_processor_that_cannot_work_is_refused(copy: Path, changes: dict[str, object]) -> None:
    edit(copy, "preprocessor_config.json", **changes)
    with pytest.raises(ClipsteerError, match=f"{copy}: .* cannot process an image"):
        load_process(copy, 32)


def test_weights_for_another_image_size_are_refused(copy: Path) -> None:
    """Those for 224 pixels beside the configs for 336, say."""
    vision = json.loads((copy / "config.json").read_text())["vision_config"]
    edit(copy, "config.json", vision_config={**vision, "image_size": 48})
    crop = {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}}
    edit(copy, "preprocessor_config.json", **crop)
    with pytest.raises(
        ClipsteerError, match=r"position_embedding.* \(5, 16\), expected \(10, 16\)"
    ):
        load_tower(copy, "cpu")


def test_the_tower_never_imports_transformers(folder: Path) -> None:
    code = (
        "import sys, pathlib, clipsteer.backbones.tower as t; from PIL import Image; "
        "tower = t.load_tower(pathlib.Path(sys.argv[1]), 'cpu'); "
        "tower.run(tower.pixels([Image.new('RGB', (50, 40))]), ['resid_post']); "
        "print('transformers' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"
