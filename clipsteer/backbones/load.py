"""Load a backbone from a `transformers` directory; the network is never asked.

transformers is imported inside `load_backbone`: its import costs seconds, and a module that only needs
the device or the dtype must not pay it.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.clip import ClipBackbone
from clipsteer.backbones.device import resolve_device, resolve_dtype
from clipsteer.backbones.pixels import load_process
from clipsteer.backbones.shape import FAMILIES, Shape, read_shape
from clipsteer.backbones.siglip import SiglipBackbone
from clipsteer.backbones.weights import (
    SAFETENSORS,
    first_line,
    relevant_files,
    unreadable,
    weight_files,
)
from clipsteer.errors import ClipsteerError


def load_backbone(
    folder: Path, *, device: str = "auto", dtype: str = "float32", crop: str = "transformers"
) -> Backbone:
    """Load a CLIP or a SigLIP, both towers.

    Weights come from safetensors or, failing that, from a torch archive read with
    `weights_only=True`, so nothing in the file can run. Attention is PyTorch's SDPA: on a CPU its
    results do not depend on the number of threads.

    Args:
        folder: a directory in `transformers` layout.
        device: `auto` (cuda, else cpu) or a device's name.
        dtype: `float32`, `bfloat16` or `float16`; weights stored in another are converted.
        crop: whose centre crop images get, `transformers` or `openai` (clipsteer/backbones/pixels.py).

    Raises:
        ClipsteerError: files are missing or damaged, tensors are missing or of the wrong shape, the
            model has no vision tower, its image processor does not fit, or the device or dtype is
            not available.
    """
    relevant_files(folder)
    shape = read_shape(folder)
    if crop != "transformers" and not FAMILIES[shape.family].crops:
        raise ClipsteerError(
            f"model.crop: found {crop!r}, which has no effect on {folder}: a {shape.family} does not crop "
            "images. Leave it at transformers."
        )
    place, kind = resolve_device(device), resolve_dtype(dtype)
    model = _read_model(folder, shape, kind).eval().requires_grad_(False).to(place)
    process = load_process(folder, shape.image_size, crop)
    backbone = SiglipBackbone if shape.family == SiglipBackbone.FAMILY else ClipBackbone
    return backbone(folder, model, shape, process, place, kind)


def _read_model(folder: Path, shape: Shape, dtype: Any) -> Any:
    """transformers' model of both towers, on the CPU."""
    from transformers import CLIPModel, SiglipModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar per load is noise in a job's log
    kind: Any = SiglipModel if shape.family == SiglipBackbone.FAMILY else CLIPModel
    files, told = weight_files(folder), logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # what does not fit is said below, in a sentence
    try:
        model, report = kind.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation="sdpa",
            local_files_only=True,
            use_safetensors=files[0].startswith(SAFETENSORS),
            weights_only=True,
            ignore_mismatched_sizes=True,  # told of below, with the sizes
            output_loading_info=True,
        )
    except UnpicklingError as error:
        raise unreadable(folder, files[0], error) from error
    except Exception as error:  # safetensors, torch and pickle each have errors of their own
        raise ClipsteerError(
            f"{folder}: cannot read a {kind.__name__} from config.json and {files[0]} "
            f"({first_line(error)}). Download the model again."
        ) from error
    finally:
        logging.set_verbosity(told)
    if other := sorted(report["mismatched_keys"]):
        name, found, expected = other[0]
        raise ClipsteerError(
            f"{folder}: {files[0]} has {len(other)} tensors of other sizes than config.json gives them: {name} is "
            f"{tuple(found)}, expected {tuple(expected)}. Use the config.json that belongs to the weights."
        )
    if missing := sorted(report["missing_keys"]):
        raise ClipsteerError(
            f"{folder}: {files[0]} lacks {len(missing)} tensors that the model needs, {missing[0]} "
            "among them; transformers would fill them with random numbers. Use the weights of a "
            f"full {kind.__name__}, with vision and text tower."
        )
    if not getattr(model.config.vision_config, "vision_use_head", True):  # SigLIP's
        raise ClipsteerError(
            f"{folder}: config.json says vision_use_head false, so that images have no embedding; expected "
            "a model with its pooling head. Use the weights of a full SiglipModel."
        )
    return model
