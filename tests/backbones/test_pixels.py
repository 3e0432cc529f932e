"""Pixels are those of transformers' own processors, without transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.pixels import load_process, load_processor
from clipsteer.errors import ClipsteerError
from tests.backbones.tiny import make_tiny, photos


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose processor crops."""
    return make_tiny(tmp_path_factory.mktemp("model") / "clip")


@pytest.fixture
def copy(clip: Path, tmp_path: Path) -> Path:
    """One to change."""
    return shutil.copytree(clip, tmp_path / "copy")


def edit(folder: Path, name: str, **changes: object) -> None:
    path = folder / name
    data = json.loads(path.read_text())
    data.update(changes)
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))


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
        load_backbone(copy, device="cpu")


@pytest.mark.parametrize(
    "changes", [{"resample": 99}, {"size": {"shortest_edge": "x"}}, {"image_mean": ["a", "b", "c"]}],
    ids=lambda changes: ",".join(changes),
)  # fmt: skip
def test_a_processor_that_cannot_work_is_refused(copy: Path, changes: dict[str, object]) -> None:
    edit(copy, "preprocessor_config.json", **changes)
    with pytest.raises(ClipsteerError, match=f"{copy}: .* cannot process an image"):
        load_process(copy, 32)


@pytest.mark.parametrize("size", [(40, 36), (36, 40), (32, 32), (33, 97), (500, 375), (1, 7)])
@pytest.mark.parametrize("changes", [{}, {"resample": 2}, {"do_convert_rgb": None}], ids=str)
def test_siglip_squashes(
    tmp_path: Path,
    size: tuple[int, int],
    changes: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole image, whatever its proportions; black is -1 and white 1."""
    folder = make_tiny(tmp_path / "m", family="siglip")
    edit(folder, "preprocessor_config.json", **changes)
    theirs = load_processor(folder)
    monkeypatch.setattr("clipsteer.backbones.pixels.load_processor", None)  # not asked
    ours = load_process(folder, 32)
    for image in photos(2, size):
        expected = theirs(images=[image], return_tensors="np")["pixel_values"][0]
        np.testing.assert_array_equal(ours(image), expected)
    halves = Image.new("RGB", (64, 20))
    halves.paste((255, 255, 255), (32, 0, 64, 20))
    assert ours(halves)[:, :, [0, -1]].tolist() == [[[-1.0, 1.0]] * 32] * 3


def test_a_crop_without_effect_is_refused(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "m", family="siglip")
    with pytest.raises(ClipsteerError, match=r"model\.crop: found 'openai', .* does not crop"):
        load_backbone(folder, device="cpu", crop="openai")
