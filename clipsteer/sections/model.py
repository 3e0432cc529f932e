"""The section `model`: the CLIP or SigLIP, and the tiny CLIP that is trained here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clipsteer.sections.general import Layers
from clipsteer.sections.values import (
    WHOLE,
    Absent,
    Amount,
    Count,
    Name,
    Null,
    Once,
    Positive,
    Rate,
    Section,
    SomeText,
    Text,
    key,
    part,
)

_AGAIN = "pretrain_clip"
_TAKEN = "pretrain_clip or import_clip"


class Tiny(Section):
    """The CLIP that learns the painted worlds; read only where `source` is `tiny`."""

    worlds: Annotated[list[Name], Field(min_length=1), Once()] = key(
        "it learns from their captioned training images",
        _AGAIN,
        allowed="names of painted data sets",
    )
    image_size: Positive = key("pixels; other images are scaled", _AGAIN)
    patch_size: Positive = key("pixels", _AGAIN, allowed="divides image_size")
    vision_width: Positive = key("d, width of the residual stream", _AGAIN)
    vision_layers: Positive = key("encoder layers", _AGAIN)
    vision_heads: Positive = key("attention heads", _AGAIN, allowed="divides vision_width")
    text_width: Positive = key("of the text tower", _AGAIN)
    text_layers: Positive = key("its layers", _AGAIN)
    text_heads: Positive = key("its attention heads", _AGAIN, allowed="divides text_width")
    projection_dim: Positive = key("of the shared embedding", _AGAIN)
    context_length: Annotated[int, Field(strict=True, ge=8), WHOLE] = key(
        "tokens; longer captions are cut", _AGAIN
    )
    vocabulary: Annotated[int, Field(strict=True, ge=520), WHOLE] = key(
        "tokenizer entries, learned from captions", _AGAIN
    )
    hidden_act: Literal["quick_gelu", "gelu"] = key("in both towers", _AGAIN)
    steps: Positive = key("training steps", _AGAIN)
    batch_size: Positive = key("captioned images per step", _AGAIN)
    lr: Rate = key("AdamW's peak", _AGAIN)
    warmup_steps: Count = key("linear, then a cosine to 0", _AGAIN)
    weight_decay: Amount = key("of matrices, not biases and norms", _AGAIN)
    clip_norm: Rate = key("largest joint gradient norm", _AGAIN)
    shift: Count = key("augmentation: pixels moved at most, each way", _AGAIN)
    max_logit_scale: Rate = key("upper bound", _AGAIN)


_VISION = (
    "extract_activations, splice_dictionary, select_features, ablate_features, shuffle_control, evaluate_directions, "
    "evaluate_subspaces, pair_margins, measure_recovery, storage_effect, image_views, edited_images, "
    "measure_steerability, measure_random"
)
_EXTRACT = "extract_activations"
Dtype = Literal["float32", "bfloat16", "float16"]
Crop = Literal["transformers", "openai"]


class Model(Section):
    """The CLIP or SigLIP whose vision tower is steered."""

    name: SomeText = key("shown in tables", "make_table")
    source: SomeText = key(
        "`tiny` is trained here; [others](#real-weights)",
        _TAKEN,
        allowed="`tiny`, a folder, or a hub name",
    )
    revision: Annotated[Text | None, Null] = key(
        "branch, tag or commit; null: the main branch",
        "import_clip",
    )
    dtype: Dtype = key(
        "of the vision tower; text embeddings are float32. If `typographic.tuned_on` is of this "
        "model, also seen by tune_patching, evaluate_patching, tune_defences, evaluate_defences",
        _VISION,
    )
    crop: Crop = key(
        "[centre crop](#how-an-image-becomes-the-models-input)",
        _EXTRACT,
    )
    tiny: Tiny = part(Absent)


class OtherModel(Section):
    """A model beside the one of the section `model`."""

    label: SomeText = key("as `model.name`", "make_table, typographic_table")
    source: SomeText = key("as `model.source`", _TAKEN, allowed="as there")
    revision: Annotated[Text | None, Null] = key("as `model.revision`", "import_clip", default=None)
    dtype: Dtype = key(
        "as `model.dtype`",
        "as `model.dtype`",
        default="float32",
    )
    crop: Crop = key("as `model.crop`", _EXTRACT, default="transformers")
    layers: Layers = key(
        "instead of `activations.layers`",
        "as `activations.layers`",
        default=Absent,
        allowed="as there",
    )
    tiny: Tiny = key(
        "all must be given",
        _AGAIN,
        default=Absent,
        allowed="keys of `model.tiny`",
    )
