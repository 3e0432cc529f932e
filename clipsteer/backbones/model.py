"""Load a CLIP from a `transformers` directory.

transformers is imported inside `load_clip`: its import costs several seconds, and a module that
only needs the device or the dtype must not pay it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clipsteer.backbones.device import resolve_device, resolve_dtype
from clipsteer.backbones.pixels import load_processor
from clipsteer.backbones.weights import (
    SAFETENSORS,
    first_line,
    relevant_files,
    unreadable,
    weight_files,
)
from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Clip:
    """A CLIP ready to run: model in evaluation mode, its image processor and its tokenizer."""

    folder: Path
    """The directory it came from; errors name it."""
    model: Any
    """transformers.CLIPModel (whose annotations are too loose to check against)."""
    processor: Any
    """The model's own image processor, always the PIL backend."""
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype

    @property
    def n_layers(self) -> int:
        """Number of vision encoder layers."""
        return int(self.model.config.vision_config.num_hidden_layers)

    @property
    def width(self) -> int:
        """d, the width of the vision tower's residual stream."""
        return int(self.model.config.vision_config.hidden_size)

    @property
    def n_tokens(self) -> int:
        """T, tokens per image: CLS first, then the patches row by row."""
        return int(self.model.vision_model.embeddings.num_positions)

    @property
    def projection_dim(self) -> int:
        """p, the width of the space shared by images and texts."""
        return int(self.model.config.projection_dim)

    @property
    def logit_scale(self) -> float:
        """exp of the stored logarithm: what cosines are multiplied by (100 in released CLIPs)."""
        return math.exp(float(self.model.logit_scale))

    def pixels(self, images: Sequence[Image]) -> Tensor:
        """Prepare images as the model's own processor does (resize, crop, rescale, normalise).

        Args:
            images: n PIL images of any size.

        Returns:
            (n, 3, H, W) in the model's dtype, on its device.

        Raises:
            ClipsteerError: the processor's output size is not the model's.
        """
        values = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        size = int(self.model.config.vision_config.image_size)
        if tuple(values.shape[1:]) != (3, size, size):
            raise ClipsteerError(
                f"{self.folder}: the image processor makes images of shape "
                f"{tuple(values.shape[1:])}, the model expects (3, {size}, {size}). Use the "
                "preprocessor_config.json that belongs to these weights."
            )
        return torch.as_tensor(values).to(self.device, self.dtype)


def load_clip(folder: Path, *, device: str = "auto", dtype: str = "float32") -> Clip:
    """Load a full CLIP (both towers) from a directory; the network is never asked.

    Weights come from safetensors or, failing that, from a torch archive read with
    `weights_only=True`, so nothing in the file can run. Attention is PyTorch's SDPA: on a CPU its
    results do not depend on the number of threads.

    Args:
        folder: a directory in `transformers` layout; the activation (quick_gelu, gelu, ...) is
            whatever its config names.
        device: `auto` (cuda, else cpu) or a device's name.
        dtype: `float32`, `bfloat16` or `float16`; weights stored in another are converted.

    Raises:
        ClipsteerError: files are missing or damaged, tensors are missing or of the wrong shape, the
            model has no vision tower, or the device or dtype is not available.
    """
    relevant_files(folder)
    place, kind = resolve_device(device), resolve_dtype(dtype)

    import transformers

    hf: Any = transformers  # its annotations are partial
    hf.logging.disable_progress_bar()  # a bar per load is noise in a job's log
    files = weight_files(folder)
    try:
        model, report = hf.CLIPModel.from_pretrained(
            folder,
            dtype=kind,
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
            f"{folder}: cannot read a CLIP from config.json and {files[0]} "
            f"({first_line(error)}). Download the model again."
        ) from error
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
            "full CLIPModel, with vision and text tower."
        )
    processor = load_processor(folder)
    try:
        tokenizer = hf.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise ClipsteerError(
            f"{folder}: cannot load the tokenizer ({first_line(error)}). Download the model again."
        ) from error
    if len(tokenizer) > model.config.text_config.vocab_size:
        raise ClipsteerError(
            f"{folder}: the tokenizer has {len(tokenizer)} entries, the text tower only "
            f"{model.config.text_config.vocab_size}. Use the tokenizer that belongs to the weights."
        )
    model = model.eval().requires_grad_(False).to(place)
    return Clip(folder, model, processor, tokenizer, place, kind)
