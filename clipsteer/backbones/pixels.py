"""Image processing of CLIP and SigLIP without transformers: resize, centre crop, and a table for the rest.

CLIP: the shorter side is resized to `size`, the longer one in proportion, rounded down; then the middle is
cut out. Where the pixels to be cut off are an odd number, transformers cuts the smaller half off first (left
or top: 147 // 2 = 73), torchvision's CenterCrop, which OpenAI's and open_clip's preprocessing use, rounds
the half to the nearest even number (round(73.5) = 74, round(72.5) = 72). `CROPS` has both. SigLIP: both
sides are resized to `size`, whatever the image's proportions, and nothing is cut off.

Rescaling and normalising depend on a byte and its channel alone, so that a table of 3 x 256 numbers stands
for both, at a sixth of the processor time of transformers' own. The same PIL calls come before, and the
pixels equal transformers' bit for bit (tests hold this). A folder whose processor does anything else is
left to transformers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipsteer.backbones.weights import first_line
from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:
    from transformers.image_processing_utils import BaseImageProcessor

CROPS: dict[str, Callable[[int], int]] = {
    "transformers": lambda spare: spare // 2,
    "openai": lambda spare: round(spare / 2),
}
"""From the pixels of a side that are to be cut off to those before the crop, by `model.crop`."""

Process = Callable[[Image.Image], NDArray[np.float32]]
Shaped = Callable[[Image.Image], NDArray[np.uint8]]

_ALIKE: dict[str, Any] = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "resample": int(Image.Resampling.BICUBIC),
    "rescale_factor": 1 / 255,
}
_CLIP: dict[str, Any] = {
    **_ALIKE,
    "do_center_crop": True,
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_SIGLIP: dict[str, Any] = {
    **_ALIKE,
    "size": {"height": 224, "width": 224},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
# What each processor does where its file does not say.
_DEFAULTS = {
    "CLIPImageProcessor": _CLIP,
    "CLIPImageProcessorFast": _CLIP,
    "CLIPFeatureExtractor": _CLIP,
    "SiglipImageProcessor": _SIGLIP,
    "SiglipImageProcessorFast": _SIGLIP,
}
_SIDES = ("height", "width")
# Keys that say nothing about the pixels.
_NAMES = {"image_processor_type", "feature_extractor_type", "processor_class"}


def load_process(folder: Path, side: int, crop: str = "transformers") -> Process:
    """From a model's folder to what makes an RGB image the model's input, (3, side, side) float32.

    `crop`: whose centre crop, a name in `CROPS`; a processor that does not crop does not heed it.

    ClipsteerError: another name, the processor makes images of another size, or cannot be loaded.
    """
    if crop not in CROPS:
        raise ClipsteerError(f"model.crop: found {crop!r}, expected one of {', '.join(CROPS)}.")
    try:
        process = _plain(folder, CROPS[crop])
    except (
        TypeError,
        ValueError,
        AttributeError,
    ):  # nonsense, or what only transformers understands
        process = None
    process = process or _by_transformers(folder, CROPS[crop])
    try:
        seen = process(Image.new("RGB", (side, side))).shape
    except Exception as error:
        raise ClipsteerError(
            f"{folder}: the image processor cannot process an image ({first_line(error)}). Use the "
            "preprocessor_config.json that belongs to these weights."
        ) from error
    if seen != (3, side, side):
        raise ClipsteerError(
            f"{folder}: the image processor makes images of shape {tuple(seen)}, the model expects "
            f"(3, {side}, {side}). Use the preprocessor_config.json that belongs to these weights."
        )
    return process


def _plain(folder: Path, before: Callable[[int], int]) -> Process | None:
    """The processing of the common case, or None where the file asks for anything else."""
    if (folder / "processor_config.json").exists():
        return None
    try:
        found = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        kind = found.get("image_processor_type") or found.get("feature_extractor_type")
    except (OSError, ValueError, AttributeError):
        return None  # transformers knows what to say
    if kind not in _DEFAULTS:
        return None
    defaults = _DEFAULTS[kind]
    settings = {**defaults, **{k: v for k, v in found.items() if k not in _NAMES}}
    # None: as SigLIP 2's files have it; images are RGB in any case
    settings["do_convert_rgb"] = settings["do_convert_rgb"] is not False
    usual = (
        set(settings) == set(defaults)
        and all(settings[key] is True for key in defaults if key.startswith("do_"))
        and len(settings["image_mean"]) == len(settings["image_std"]) == 3
    )
    shaped = _cropped(settings, before) if "crop_size" in defaults else _squashed(settings)
    if not usual or shaped is None:
        return None
    table = _table(settings["rescale_factor"], settings["image_mean"], settings["image_std"])

    def process(image: Image.Image) -> NDArray[np.float32]:
        values = shaped(image)
        out = np.empty((3, *values.shape[:2]), np.float32)
        for channel in range(3):
            np.take(table[channel], values[..., channel], out=out[channel], mode="clip")
        return out

    return process


def _cropped(settings: Mapping[str, Any], before: Callable[[int], int]) -> Shaped | None:
    """CLIP's resize and centre crop."""
    size, crop = settings["size"], settings["crop_size"]
    if isinstance(size, int):
        size = {"shortest_edge": size}
    if isinstance(crop, int):
        crop = dict.fromkeys(_SIDES, crop)
    if set(size) != {"shortest_edge"} or set(crop) != set(_SIDES):
        return None
    if size["shortest_edge"] < max(crop.values()):
        return None
    short, resample = int(size["shortest_edge"]), Image.Resampling(int(settings["resample"]))
    height, width = int(crop["height"]), int(crop["width"])

    def shaped(image: Image.Image) -> NDArray[np.uint8]:
        wide, high = image.size
        long = int(short * max(wide, high) / min(wide, high))
        image = image.resize((short, long) if wide <= high else (long, short), resample)
        left, top = before(image.size[0] - width), before(image.size[1] - height)
        return np.asarray(image)[top : top + height, left : left + width]

    return shaped


def _squashed(settings: Mapping[str, Any]) -> Shaped | None:
    """SigLIP's resize of both sides."""
    size = settings["size"]
    if set(size) != set(_SIDES):
        return None
    sides = int(size["width"]), int(size["height"])
    resample = Image.Resampling(int(settings["resample"]))
    return lambda image: np.asarray(image.resize(sides, resample))


def _table(scale: float, mean: list[float], std: list[float]) -> NDArray[np.float32]:
    """(3, 256): rescaled in float64, rounded, then normalised in float32, as transformers does."""
    values = (np.arange(256).astype(np.float64) * scale).astype(np.float32)
    shift, spread = np.array(mean, np.float32)[:, None], np.array(std, np.float32)[:, None]
    return (values - shift) / spread


def _by_transformers(folder: Path, before: Callable[[int], int]) -> Process:
    processor: Any = load_processor(folder)
    if before is not CROPS["transformers"] and hasattr(processor, "center_crop"):

        def center_crop(image: NDArray[Any], size: Any, **_: object) -> NDArray[Any]:
            """(3, H, W) to (3, height, width); smaller images are padded as torchvision pads them."""
            missing = [
                max(0, size[name] - n) for name, n in zip(_SIDES, image.shape[1:], strict=True)
            ]
            image = np.pad(image, [(0, 0), *((n // 2, (n + 1) // 2) for n in missing)])
            top, left = (
                before(n - size[name]) for name, n in zip(_SIDES, image.shape[1:], strict=True)
            )
            return image[:, top : top + size["height"], left : left + size["width"]]

        processor.center_crop = center_crop

    def process(image: Image.Image) -> NDArray[np.float32]:
        values = processor(images=[image], return_tensors="np")["pixel_values"]
        return np.asarray(values[0], np.float32)

    return process


def load_processor(folder: Path) -> BaseImageProcessor:
    """transformers' image processor of a folder; ClipsteerError where there is none."""
    import transformers

    hf: Any = transformers  # its annotations are partial
    try:
        # Left to itself, transformers uses torchvision wherever that is installed, and its resize
        # gives other pixels than PIL's.
        processor: BaseImageProcessor = hf.AutoImageProcessor.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise ClipsteerError(
            f"{folder}: cannot load the image processor ({first_line(error)}). Download the model "
            "again."
        ) from error
    return processor
