"""What config.json says of a model before any weight is read: family, layers, width, tokens.

Nothing here imports torch or transformers: rules are read with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from clipsteer.backbones.weights import read_config
from clipsteer.errors import ClipsteerError


class Family(NamedTuple):
    """How the families differ in what a config may leave out, and in their tokens."""

    patch_size: int
    """Where the config names none."""
    cls: int | None
    """Place of the CLS token; None where the image's embedding is pooled from all patches."""
    crops: bool
    """Whether images are cropped, so that `model.crop` means something."""


FAMILIES = {
    "clip": Family(patch_size=32, cls=0, crops=True),
    "siglip": Family(patch_size=16, cls=None, crops=False),
}
"""By `model_type` of config.json."""
# The other sizes have one default in transformers' configs of all families.
_SIZES = {"num_hidden_layers": 12, "hidden_size": 768, "image_size": 224}


@dataclass(frozen=True)
class Shape:
    """The shape of a vision transformer."""

    family: str
    n_layers: int
    width: int
    """d, of the residual stream."""
    image_size: int
    """Pixels of a side: images are squares."""
    patch_size: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches; pixels that fill no patch are left out."""
        side = self.image_size // self.patch_size
        return side, side

    @property
    def cls(self) -> int | None:
        """Place of the CLS token among an image's tokens; None where there is none."""
        return FAMILIES[self.family].cls

    @property
    def n_tokens(self) -> int:
        """T, tokens of an image: CLS, if any, then the patches row by row."""
        rows, columns = self.grid
        return rows * columns + (self.cls is not None)


def read_shape(folder: Path) -> Shape:
    """The shape of the vision tower of a model's folder.

    Keys that config.json leaves out have transformers' defaults, and CLIP's older `vision_config_dict`
    overrules `vision_config`, as there.

    Raises:
        ClipsteerError: no model of a known family, or sizes that are not whole numbers from 1 on or do not fit
            each other.
    """
    config = read_config(folder)
    family = str(config["model_type"])
    found: dict[str, Any] = {**_SIZES, "patch_size": FAMILIES[family].patch_size}
    heads: Any = 1  # a default is transformers' own business: it fits the other defaults
    keys = ("vision_config", "vision_config_dict") if family == "clip" else ("vision_config",)
    for key in keys:
        part = config.get(key) or {}
        if not isinstance(part, dict):
            raise ClipsteerError(f"{folder}: config.json's {key} is {part!r}, expected an object.")
        found.update({name: part[name] for name in found if name in part})
        heads = part.get("num_attention_heads", heads)
    for name, size in found.items():
        if type(size) is not int or size < 1:
            square = " (images are squares: their side)" if name == "image_size" else ""
            raise ClipsteerError(
                f"{folder}: config.json's {name} of the vision tower is {size!r}, expected a whole "
                f"number from 1 on{square}. Use the config.json that belongs to these weights."
            )
    if isinstance(heads, int) and heads and found["hidden_size"] % heads:
        raise ClipsteerError(
            f"{folder}: config.json's hidden_size {found['hidden_size']} of the vision tower is not a multiple of its "
            f"num_attention_heads {heads}. Use the config.json that belongs to these weights."
        )
    if found["patch_size"] > found["image_size"]:
        raise ClipsteerError(
            f"{folder}: config.json's patch_size of the vision tower, {found['patch_size']}, is larger than its "
            f"image_size, {found['image_size']}. Use the config.json that belongs to these weights."
        )
    return Shape(
        family,
        found["num_hidden_layers"],
        found["hidden_size"],
        found["image_size"],
        found["patch_size"],
    )
