"""CLIP's image processing without transformers: resize, centre crop, and a table for the rest.

The shorter side is resized to `size`, the longer one in proportion, rounded down; then the middle is cut
out. Where the pixels to be cut off are an odd number, transformers cuts the smaller half off first (left
or top: 147 // 2 = 73), torchvision's CenterCrop, which OpenAI's and open_clip's preprocessing use, rounds
the half to the nearest even number (round(73.5) = 74, round(72.5) = 72). `CROPS` has both.

Importing transformers' CLIP costs more than 2 s of processor time. Rescaling and normalising depend
on a byte and its channel alone, so that a table of 3 x 256 numbers stands for both; the same PIL
calls come before. The pixels equal transformers' bit for bit (tests hold this). A folder whose
processor does anything else is left to transformers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
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

_KINDS = ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPFeatureExtractor")
# What CLIPImageProcessor does where its file does not say.
_DEFAULTS: dict[str, Any] = {
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "resample": int(Image.Resampling.BICUBIC),
    "rescale_factor": 1 / 255,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
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
    except (TypeError, ValueError):  # nonsense, or what only transformers understands
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
    settings = {**_DEFAULTS, **{k: v for k, v in found.items() if k not in _NAMES}}
    size, crop = settings["size"], settings["crop_size"]
    if isinstance(size, int):
        size = {"shortest_edge": size}
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    common = (
        kind in _KINDS
        and set(settings) == set(_DEFAULTS)
        and all(settings[key] is True for key in _DEFAULTS if key.startswith("do_"))
        and isinstance(size, dict)
        and set(size) == {"shortest_edge"}
        and isinstance(crop, dict)
        and set(crop) == {"height", "width"}
        and size["shortest_edge"] >= max(crop.values())
        and len(settings["image_mean"]) == len(settings["image_std"]) == 3
    )
    if not common:
        return None
    table = _table(settings["rescale_factor"], settings["image_mean"], settings["image_std"])
    short, resample = int(size["shortest_edge"]), Image.Resampling(int(settings["resample"]))
    height, width = int(crop["height"]), int(crop["width"])

    def process(image: Image.Image) -> NDArray[np.float32]:
        wide, high = image.size
        long = int(short * max(wide, high) / min(wide, high))
        image = image.resize((short, long) if wide <= high else (long, short), resample)
        left, top = before(image.size[0] - width), before(image.size[1] - height)
        values = np.asarray(image)[top : top + height, left : left + width]
        out = np.empty((3, height, width), np.float32)
        for channel in range(3):
            np.take(table[channel], values[..., channel], out=out[channel], mode="clip")
        return out

    return process


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
