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
        "images: a number with the real correlation, four for each group; `general`, `signs` and `web` take "
        "one number",
        _PAINTS,
        default=Absent,
        allowed="a number, or four",
    )
    validation: Images = key("images", _PAINTS, default=Absent, allowed="as above")
    test: Images = key(
        "images", _PAINTS, default=Absent, allowed="as above; not for the worlds general and web"
    )


class Painted(Section):
    """A world that is painted, read only where `root` is `painted`."""

    world: Literal["faces", "birds", "general", "signs", "web"] = key(
        "painter; its layout is `celeba`, `waterbirds`, `imagenet`, `folder`, `folder`, in this order",
        _PAINTS,
    )
    size: Annotated[int, Field(strict=True, ge=16, le=512), WHOLE] = key(
        "pixels of a side", _PAINTS
    )
    counts: Counts
    worded: Share = key(
        "share of training pictures with a word on them; `signs` only",
        "paint_world",
        default=Absent,
    )
    series: Count = key(
        "another number gives other pictures of the kind; `signs` only",
        "paint_world",
        default=Absent,
    )


class Attack(Section):
    """A word of another class, printed on each image when it is read: [typographic attacks](typographic.md)."""

    look: Look = key(
        "`published`: any place, one of eight colours on another (Azuma and Matsui); in the world `signs`, "
        "dark ink in the top or bottom row (`ends`), a note in any row (`rows`), bright ink anywhere along it"
        " (`bright`)",
        _PRINTS,
    )
    fonts: Annotated[list[SomeText], Field(min_length=1), Once()] = key(
        "fonts to draw from",
        _PRINTS,
        default=["pillow"],
        allowed="list of `pillow`, which is Pillow's own, names of fonts that matplotlib ships such as `DejaVuSans`, "
        "and paths of font files",
    )


class Evaluation(Section):
    """How many images of each group are evaluated."""

    validation: PerGroup = key(
        "images of each group, drawn by seed; null (needed without groups): the whole split",
        "build_manifest",
        default=None,
    )
    test: PerGroup = key("the same for test", "build_manifest", default=None)


class Dataset(Section):
    """One data set."""

    layout: Layout = key("form of the folder ([real data](#real-data))", "build_manifest")
    model: Name = key(
        "which model sees the images ([two models](#two-models-in-one-run))",
        "build_head, extract_activations and all that follows",
        default="model",
        allowed="`model`, which is the section of that name, or a name in `models`",
    )
    root: SomeText = key(
        "where the images are; moving the folder recomputes nothing",
        "build_manifest",
        allowed="`painted`, or a folder",
    )
    options: dict[Text, Option] = key(
        "of the layout ([real data](#real-data))",
        "build_manifest",
        default={},
        allowed="words by name",
    )
    class_names: Annotated[list[Text], Field(min_length=2)] = key(
        "of targets 0, 1 and so on, for the prompts ([other attributes](#other-attributes)); not for "
        "`imagenet`",
        "build_manifest, build_head",
        default=Absent,
        allowed="two words; more for layout `folder`",
    )
    group_names: Annotated[list[Text], Field(min_length=4), Once()] = key(
        "for the tables: of target 0 with each spurious value, then of target 1, and so on",
        "make_table",
        default=Absent,
        allowed="four different words; for layout `folder` as many for each class as there are spurious values",
    )
    class_words: Literal["files", "open_clip"] = key(
        "class names of `imagenet` in prompts: of its `Labels.json` or `LOC_synset_mapping.txt`, else its "
        "folders; or open_clip's for ImageNet-1k",
        "name_classes",
        default="files",
    )
    templates: Annotated[list[Template], Field(min_length=1)] = key(
        'prompts, whose unit embeddings are averaged; `["{}"]`: bare names',
        "build_head, name_classes; train_prefix and build_class_heads of typographic attacks",
        default=Absent,
        allowed="list of texts, each with `{}`",
    )
    unconcerned: dict[SomeText, Annotated[Prompts | None, Null]] = key(
        "prompts of values 0 and 1 of other attributes (of CelebA's table, or columns of your manifest), "
        "whose zero-shot accuracy edits should not change "
        "([collateral](method.md#14-controls-and-baselines)); null switches one off",
        "unconcerned_attributes",
        default={},
        allowed="two texts, or null, by name",
    )
    evaluation: Evaluation = part({})
    augment: Count = key(
        "augmented copies of each training image, beside it (Section 10.1), for dictionaries trained on this "
        "data set",
        "extract_activations of the copies",
        default=0,
    )
    attack: Attack = part(Absent)
    painted: Painted = part(Absent)
