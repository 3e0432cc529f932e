"""The section `datasets`: where images are from, what their labels mean, what is painted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clipsteer.sections.values import (
    EITHER,
    LIST,
    OTHER,
    WHOLE,
    Absent,
    Count,
    Name,
    Null,
    Once,
    Option,
    Positive,
    Section,
    Share,
    SomeText,
    Template,
    Text,
    key,
    part,
)

# In the world's own shares, or as many of each group.
Images = Annotated[
    Annotated[Positive, OTHER] | Annotated[list[Count], Field(min_length=4, max_length=4), LIST],
    EITHER,
]
Prompts = Annotated[list[SomeText], Field(min_length=2, max_length=2), Once()]
Layout = Literal[
    "celeba",
    "waterbirds",
    "imagenet",
    "folder",
    "rta100",
    "materzynska",
    "scam",
]
Look = Literal["published", "ends", "rows", "bright"]
PerGroup = Annotated[Positive | None, Null]


_PAINTS = "paint_world, paint_pairs"
_PRINTS = "list_attacked"


class Counts(Section):
    """Images of a painted data set's splits."""

    train: Images = key(
        "images: in all, with the real correlation, or of each group",
        _PAINTS,
        default=Absent,
        allowed="a number; for `faces` and `birds` also four",
    )
    validation: Images = key("images", _PAINTS, default=Absent, allowed="as above; not for `web`")
    test: Images = key(
        "images", _PAINTS, default=Absent, allowed="as above; not for `general`, `web`"
    )


class Painted(Section):
    """A world that is painted, read only where `root` is `painted`."""

    world: Literal["faces", "birds", "general", "signs", "web"] = key(
        "of layout `celeba`, `waterbirds`, `imagenet`, `folder`, `folder`, in this order",
        _PAINTS,
    )
    size: Annotated[int, Field(strict=True, ge=16, le=512), WHOLE] = key("pixels per side", _PAINTS)
    counts: Counts
    worded: Share = key(
        "share of training images with a word; `signs` only",
        "paint_world",
        default=Absent,
    )
    series: Count = key(
        "another number gives other images; `signs` only",
        "paint_world",
        default=Absent,
    )


class Attack(Section):
    """A word of another class, printed on each image when it is read: [typographic attacks](typographic.md)."""

    look: Look = key(
        "`published`: anywhere, one of eight colours on another; others: as in the world "
        "[`signs`](typographic.md#the-data)",
        _PRINTS,
    )
    fonts: Annotated[list[SomeText], Field(min_length=1), Once()] = key(
        "drawn from",
        _PRINTS,
        default=["pillow"],
        allowed="list of `pillow`, matplotlib's fonts such as `DejaVuSans`, and paths",
    )


class Evaluation(Section):
    """How many images of each group are evaluated."""

    validation: PerGroup = key(
        "images per group, drawn; null (needed without groups): the whole split",
        "build_manifest",
        default=None,
    )
    test: PerGroup = key("as above", "build_manifest", default=None)


class Dataset(Section):
    """One data set."""

    layout: Layout = key("of the [folder](#real-data)", "build_manifest")
    model: Name = key(
        "that [sees](#two-models-in-one-run) the images",
        "build_head, extract_activations",
        default="model",
        allowed="`model` (that section), or a name in `models`",
    )
    root: SomeText = key(
        "moving the folder recomputes nothing",
        "build_manifest",
        allowed="`painted`, or a folder",
    )
    options: dict[Text, Option] = key(
        "of the [layout](#real-data)",
        "build_manifest",
        default={},
        allowed="words by name",
    )
    class_names: Annotated[list[SomeText], Field(min_length=2), Once()] = key(
        "of [targets](#other-attributes) 0, 1, ... in prompts; not for `imagenet`",
        "build_manifest, build_head",
        default=Absent,
        allowed="two, different; more for layout `folder`",
    )
    group_names: Annotated[list[Text], Field(min_length=4), Once()] = key(
        "of target 0 with each spurious value, then of 1, ...",
        "make_table",
        default=Absent,
        allowed="four, different; for layout `folder` one per class and spurious value",
    )
    attribute_value: Count = key(
        "as `steering.attribute_value`, for this data set's table alone",
        "build_manifest, select_features, fit_directions",
        default=Absent,
        allowed="whole, from 0; without it `steering.attribute_value`",
    )
    class_words: Literal["files", "open_clip"] = key(
        "class names of `imagenet`: of `Labels.json` or `LOC_synset_mapping.txt`, else folders; "
        "or open_clip's of ImageNet-1k",
        "name_classes",
        default="files",
    )
    templates: Annotated[list[Template], Field(min_length=1)] = key(
        'prompts, averaged; `["{}"]`: bare names',
        "build_head, name_classes, train_prefix, build_class_heads",
        default=Absent,
        allowed="list of texts, each with `{}`",
    )
    unconcerned: dict[SomeText, Annotated[Prompts | None, Null]] = key(
        "prompts for values 0 and 1 of other attributes (CelebA's or the manifest's), for "
        "[collateral](method.md#14-controls-and-baselines); null: off",
        "unconcerned_attributes",
        default={},
        allowed="two texts, or null, by name",
    )
    evaluation: Evaluation = part({})
    augment: Count = key(
        "[augmented copies](method.md#4-sparse-autoencoders-sections-22-4-and-10) of each "
        "training image, for dictionaries alone",
        "extract_activations of the copies",
        default=0,
    )
    attack: Attack = part(Absent)
    painted: Painted = part(Absent)
