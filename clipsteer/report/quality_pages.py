"""The pages of vanilla and of Top-K dictionaries, in the layout of the paper's Tables 3 and 4."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from clipsteer.report.markdown import MISSING, grid, source_label
from clipsteer.report.paper import quality_rows
from clipsteer.report.quality import Place

#: On which page a dictionary stands. Of one that others have trained nobody says here what it is.
_ARCHITECTURES = {
    "vanilla": ("vanilla", "imported"),
    "topk": ("topk", "batchtopk", "matryoshka"),
}
PAGES = tuple(_ARCHITECTURES)
_TITLES = {"vanilla": "vanilla and released dictionaries", "topk": "Top-K dictionaries"}

# The paper's setting, as far as it is known; only there its numbers stand beside ours.
_IMAGES, _TOKENS, _LAYERS_AND_WIDTH, _EXPANSION = 50_000, 50, (12, 768), 64
_K = 64


class Setting(NamedTuple):
    """What a page says of the data set, the model and the head."""

    dataset: str
    source: str
    model: str
    layout: str
    model_shape: tuple[int | None, ...]
    """Layers and width."""
    templates: Sequence[str]
    logit_scale: str
    """As `head.logit_scale` has it."""
    class_words: str | None
    """As `datasets.<name>.class_words` has it, of classes in folders."""


def page(kind: str, places: Sequence[Place], setting: Setting) -> str:
    """One of `PAGES` in Markdown: a row for each of its places by layer, the paper's own below where it compares."""
    here = [place for place in places if place.settings["architecture"] in _ARCHITECTURES[kind]]
    parts = [
        f"# {setting.dataset}: {_TITLES[kind]}, by layer",
        f"{source_label(setting.source)}, model: {setting.model}.",
    ]
    if not here:
        return "\n\n".join([*parts, "There is no such dictionary in this table."]) + "\n"
    first = here[0]
    parts[1] += (
        f" {first.evaluation['n_images']:,} validation images, {first.spliced['n_classes']:,} classes."
    )
    columns = _COLUMNS[kind]
    body, compared = [], False
    for place in sorted(here, key=lambda place: place.layer):
        body.append([place.shown, *(column.ours(place) for column in columns)])
        row = _papers(kind, place, setting)
        if row is not None:
            compared = True
            body.append(["*paper*", *(row.get(column.paper, MISSING) for column in columns)])
    parts += [grid(["dictionary", *(column.head for column in columns)], body)]
    reading = _reading(setting, kind, compared=compared)
    reading += [_unspliced(place) for place in here if "spliced_says" in place.spliced]
    parts += ["## How to read this", "\n".join(f"- {line}" for line in reading)]
    return "\n\n".join(parts) + "\n"


class _Column(NamedTuple):
    head: str
    ours: Callable[[Place], str]
    paper: str
    """The column of the paper's table."""


def _number(part: str, key: str, digits: str) -> Callable[[Place], str]:
    def text(place: Place) -> str:
        value = getattr(place, part).get(key)
        return MISSING if value is None else format(value, digits)

    return text


_SHARED = (
    _Column("exp. var.", _number("evaluation", "explained_variance", ".3f"), "explained_variance"),
    _Column("L0", _number("evaluation", "l0", ".2f"), "l0"),
    _Column("layer", lambda place: str(place.layer), "layer"),
    _Column("sublayer", lambda place: str(place.settings["hook_point"]), "sublayer"),
)
_CODES = (
    _Column("avg img L0", _number("evaluation", "image_l0", ".2f"), "avg_img_l0"),
    _Column("avg CLS L0", _number("evaluation", "l0_cls", ".2f"), "avg_cls_l0"),
)
_OUTPUT = (
    _Column("cos sim", _number("evaluation", "cosine_similarity", ".3f"), "cos_sim"),
    _Column("recon cos sim", _number("spliced", "embedding_cosine", ".3f"), "recon_cos_sim"),
    _Column("CE", _number("spliced", "ce", ".3f"), "ce"),
    _Column("recon CE", _number("spliced", "ce_reconstruction", ".3f"), "recon_ce"),
    _Column("zero abl CE", _number("spliced", "ce_zero", ".3f"), "zero_abl_ce"),
    _Column("CE rec", _number("spliced", "ce_recovered", ".2f"), "ce_recovered"),
)
_L1 = _Column("L1 coef.", _number("settings", "l1", "g"), "l1_coefficient")
_COLUMNS: Mapping[str, tuple[_Column, ...]] = {
    "vanilla": (_L1, *_SHARED, *_CODES, *_OUTPUT),
    "topk": (*_SHARED, *_OUTPUT),
}


def _papers(kind: str, place: Place, setting: Setting) -> Mapping[str, str] | None:
    """The paper's row of a place whose setting is the paper's."""
    settings = place.settings
    same = (
        setting.source == "real"
        and setting.layout == "imagenet"
        and tuple(setting.model_shape) == _LAYERS_AND_WIDTH
        and place.evaluation["n_images"] == _IMAGES
        and place.evaluation["tokens_per_image"] == _TOKENS
        and settings["trained_on"] == setting.dataset
        and settings["expansion"] == _EXPANSION
        and settings["architecture"] == kind
    )
    if not same:
        return None
    if kind == "vanilla":  # L1 weights mean the same under one reading of the loss alone
        comparable = settings["mse"] == "prisma" and setting.logit_scale == "model"
        wanted: dict[str, Any] = {"l1_coefficient": settings["l1"]}
    else:
        bare = setting.logit_scale == "none" and list(setting.templates) == ["{}"]
        comparable, wanted = bare and settings["k"] == _K, {}
    wanted |= {"layer": place.layer, "sublayer": settings["hook_point"]}
    for row in quality_rows(kind) if comparable else ():
        if all(_equal(row[key], value) for key, value in wanted.items()):
            return row
    return None


def _unspliced(place: Place) -> str:
    why = place.spliced["spliced_says"]
    return f"{place.shown}, layer {place.layer}: no numbers with its reconstructions, as {why}."


def _equal(text: str, value: Any) -> bool:
    return text == value if isinstance(value, str) else float(text) == value


def _reading(setting: Setting, kind: str, *, compared: bool) -> list[str]:
    scale = "the model's own scale" if setting.logit_scale == "model" else "no scale"
    names = {
        "files": "the first names in the data set's own file",
        "open_clip": "the names that open_clip has curated for ImageNet-1k",
    }
    called = f"; classes go by {names[setting.class_words]}" if setting.class_words else ""
    lines = [
        "Measured on the validation split. Columns are defined in docs/method.md, section 5; the CSV has more of them.",
        f"CE: cross-entropy of the zero-shot classes, at {scale}, in the prompts "
        f"{', '.join(f'`{text}`' for text in setting.templates)}{called}. CE rec: 100 (zero abl CE - recon CE) / "
        f"(zero abl CE - CE), {MISSING} where zero ablation does no harm.",
    ]
    if compared and kind == "vanilla":
        lines.append(
            "*paper*: Table 3, of the same L1 weight and layer. With which class names and scale its CE was taken is "
            "not public: compare how much is recovered, not CE itself."
        )
    elif compared:
        lines.append("*paper*: Table 4, of the same layer.")
    else:
        lines.append(
            "The paper's numbers are not beside these, as the setting is another one: they stand for its CLIP on "
            "ImageNet-1k (`config/paper_table3.yaml`, `config/paper_table4.yaml`)."
        )
    return lines
