"""`results/<dataset>_features/index.html`: a page of features and the images that they answer to.

One file that needs no server and no network: a browser opens it from the disk. It holds data as JSON blocks that
the browser does not look at before they are asked for, each picture once, and heat maps as a byte a patch. The
same content gives the same bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from clipsteer.errors import ClipsteerError
from clipsteer.report.drawing import painted_label
from clipsteer.report.page_files import texts
from clipsteer.report.page_head import head
from clipsteer.report.views import Viewed, data_blocks, encoded, place_block, short, viewed_block
from clipsteer.steering.top_images import EDGES, Numbers

SETS = ("strict", "relaxed", "control", "end")
"""Why a feature is looked at, by bit of a number that says it."""

_MB = 1e6


class Place(NamedTuple):
    """A dictionary at a layer, with what `clipsteer.steering.top_images` says of its features.

    `digest`: the dictionary's in the store, or what stands for it. `features`: `looked_at`, `by_group`, `nearest`
    and `Answers.features` side by side. `examples`: `Answers.examples`. `views`: `View.as_dict()` of each image that
    has a view of its own, in the order of `Images.viewed`. `beside`: of each feature, by `other` dictionary of the
    layer, the `nearest` directions there and their `cosine`.
    """

    dictionary: str
    hook_point: str
    layer: int
    m: int
    digest: str
    features: pl.DataFrame
    examples: pl.DataFrame
    views: Sequence[Mapping[str, Any]] = ()
    beside: pl.DataFrame | None = None


class Images(NamedTuple):
    """The images of the split, by their number in it.

    `painted`: whether clipsteer painted them, whatever the model. `pictures`: of those that the places show, as WebP;
    none where they are not to be handed on. `viewed`: those that have a view of their own. `pairs`: the pictures of
    their pairs.
    """

    split: str
    painted: bool
    files: Sequence[str]
    groups: Sequence[int]
    pictures: Mapping[int, bytes]
    targets: Sequence[int] = ()
    viewed: Sequence[int] = ()
    pairs: Mapping[int, bytes] = MappingProxyType({})


class About(NamedTuple):
    """What the page says of itself. `grid`: rows and columns of patches; `cls`: whether there is a CLS token."""

    dataset: str
    source: str
    model: str
    aggregate: str
    group_names: Sequence[str]
    grid: tuple[int, int]
    cls: bool
    numbers: Numbers
    class_names: Sequence[str] = ()


def feature_page(places: Sequence[Place], images: Images, about: About, max_mb: int) -> str:
    """The page's text. Raises ClipsteerError where it would be larger than `max_mb` (million bytes)."""
    _check_grid(places, about.grid)
    shown = {int(i) for place in places for i in place.examples["image"].unique()}
    used = sorted(shown.union(images.viewed))
    number = {image: at for at, image in enumerate(used)}
    blocks: dict[str, Any] = {"index": _index(places, images, about, used)}
    for at, place in enumerate(places):
        blocks[f"place-{at}"] = _details(place, number)
    if images.viewed:
        viewed = _viewed(images, about, number)
        blocks["views"] = viewed_block(about.class_names, viewed, places[0].views)
        for at, place in enumerate(places):
            blocks[f"images-{at}"] = place_block(place.views)
    if images.pictures:
        pictures = [*(images.pictures[i] for i in used), *images.pairs.values()]
        blocks["pictures"] = [base64.b64encode(picture).decode() for picture in pictures]
    template, style, program = texts()
    title = f"{about.dataset}: what features answer to"
    page = Template(template).substitute(
        head=head(title, style, scripts=True),
        title=escape(title),
        program=program,
        source=escape(_capital(painted_label(about.source))),
        about=escape(
            f"Images of the {images.split} split of {about.dataset}, model {about.model}. Heat maps are the "
            "dictionary's own activations, its bias and rectifier included; negative ones (of neurons) are drawn as 0."
        ),
        plain=_plain(places) + _plain_images(images, about, places),
        licence=_licence(images.painted, with_pictures=bool(images.pictures)),
        provenance=f"Where this page comes from: <code>{escape(_why(about.dataset))}</code>",
        data=data_blocks(blocks),
    )
    size = len(page.encode())
    if size > max_mb * _MB:
        share = sum(map(len, blocks.get("pictures", ())))
        n_features = sum(place.features.height for place in places)
        raise ClipsteerError(
            f"results/{about.dataset}_features/index.html: found {size / _MB:.1f} MB ({share / _MB:.1f} "
            f"of it pictures, the rest activations of {n_features:,} features), expected at most "
            f"explorer.max_mb = {max_mb}. Lower explorer.selected, explorer.ends, explorer.examples, explorer.views or "
            "explorer.thumbnail, or raise explorer.max_mb."
        )
    return page


def _check_grid(places: Sequence[Place], grid: tuple[int, int]) -> None:
    """Raises ValueError where patches do not fill the grid: heat maps would lie askew."""
    found = {int(n) for place in places for n in place.examples["patches"].list.len().unique()}
    if found - {grid[0] * grid[1]}:
        raise ValueError(f"found {min(found)} patches an image, expected {grid[0]} x {grid[1]}")


def _index(
    places: Sequence[Place], images: Images, about: About, used: Sequence[int]
) -> dict[str, Any]:
    """What the list needs of all features, and what all details share."""
    table = pl.concat(
        place.features.with_columns(pl.lit(at).alias("place")) for at, place in enumerate(places)
    )
    largest = {
        (at, feature): value
        for at, place in enumerate(places)
        for feature, value in place.examples.group_by("feature").agg(pl.col("value").max()).rows()
    }
    selected = [
        int((place.features["strict"] | place.features["relaxed"]).sum()) for place in places
    ]
    bits = [pl.col(name).cast(pl.Int64) * (1 << bit) for bit, name in enumerate(SETS)]
    n_groups = len(about.group_names)
    return {
        **{name: table[name].to_list() for name in ("place", "feature", "rank")},
        **{name: _short(table[name]) for name in ("difference", "frequency")},
        "sets": table.select(pl.sum_horizontal(bits)).to_series().to_list(),
        "largest": [short(largest.get(key)) for key in table.select("place", "feature").rows()],
        "places": [
            {
                name: getattr(place, name)
                for name in ("dictionary", "hook_point", "layer", "m", "digest")
            }
            for place in places
        ],
        "first": next((at for at, count in enumerate(selected) if count), 0),
        "set_names": SETS,
        "groups": about.group_names,
        "train_images": _train_images(table, n_groups),
        "group_images": np.bincount(np.asarray(images.groups), minlength=n_groups).tolist(),
        "n_images": len(images.groups),
        "split": images.split,
        "aggregate": about.aggregate,
        "quantiles": about.numbers.quantiles,
        "edges": [float(np.log2(EDGES[0])), float(np.log2(EDGES[1] / EDGES[0]))],
        "grid": about.grid,
        "cls": about.cls,
        "pictures": bool(images.pictures),
        "views": bool(images.viewed),
        "files": [images.files[i] for i in used],
        "group_of": [int(images.groups[i]) for i in used],
        "why": _why(about.dataset),
    }


def _viewed(images: Images, about: About, number: Mapping[int, int]) -> list[Viewed]:
    """The images that have a view of their own; pictures of pairs come after all others."""
    second = {image: len(number) + at for at, image in enumerate(images.pairs)}
    return [
        Viewed(
            images.files[image],
            about.group_names[images.groups[image]],
            images.targets[image],
            number[image],
            second.get(image),
        )
        for image in images.viewed
    ]


def _train_images(table: pl.DataFrame, n_groups: int) -> list[int]:
    """Training images of each group: the same for every feature."""
    found: list[int] = table["images"][0].to_list() if table.height else []
    return found + [0] * (n_groups - len(found))


def _details(place: Place, number: Mapping[int, int]) -> dict[int, dict[str, Any]]:
    """Of each feature what only its own panel shows; letters, as there are thousands.

    `m` means and `f` images on which it fires by group, `b` histogram as (bin, images), `n` neighbours, `c` cosine of
    encoder and direction, `a` mean where active, `t` share of tokens, `e` examples as [kind, image, value, CLS],
    `h` their patches as bytes, and `s` what 255 of these stands for; `x` by other dictionary the neighbours there.
    """
    order = {kind: at for at, kind in enumerate(("top", "random"))}
    examples = {
        key[0]: rows for key, rows in place.examples.group_by("feature", maintain_order=True)
    }
    found, beside = {}, _beside(place)
    for row in place.features.iter_rows(named=True):
        mine = examples.get(row["feature"])
        patches = np.zeros((0, 0)) if mine is None else np.array(mine["patches"].to_list())
        scale = float(patches.max(initial=0.0))
        levels = np.rint(np.maximum(patches, 0) * (255 / scale)) if scale > 0 else patches * 0
        cls = [] if mine is None else mine["cls"].to_list()
        found[row["feature"]] = {
            "m": [short(x) for x in row["means"]],
            "f": row["fires"],
            "b": [[at, n] for at, n in enumerate(row["histogram"]) if n],
            "n": [
                [feature, round(cosine, 3)]
                for feature, cosine in zip(row["nearest"], row["cosine"], strict=True)
            ],
            "c": None if row["encoder_cosine"] is None else round(row["encoder_cosine"], 3),
            "a": short(row["active_mean"]),
            "t": short(row["token_frequency"]),
            "e": [
                [
                    order.get(one["kind"], len(order) + (one["part"] or 0)),
                    number[one["image"]],
                    short(one["value"]),
                    *([] if at is None else [short(at)]),
                ]
                for one, at in zip(
                    () if mine is None else mine.iter_rows(named=True), cls, strict=True
                )
            ],
            "h": encoded(levels.astype(np.uint8)),
            "s": short(scale),
            "x": beside.get(row["feature"], {}),
        }
    return found


def _beside(place: Place) -> dict[int, dict[str, list[list[float]]]]:
    """Feature -> other dictionary -> its neighbours there as [feature, cosine]."""
    found: dict[int, dict[str, list[list[float]]]] = {}
    if place.beside is not None:
        for feature, other, near, cosine in place.beside.rows():
            pairs = zip(near, cosine, strict=True)
            found.setdefault(feature, {})[other] = [[j, round(c, 3)] for j, c in pairs]
    return found


def _plain(places: Sequence[Place]) -> str:
    """The features without JavaScript: a table a place."""
    heads = ("feature", "difference by Eq. 9", "rank", "share of training images", "sets")
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    parts = []
    for place in places:
        lines = []
        for row in place.features.sort("rank").iter_rows(named=True):
            sets = ", ".join(name for name in SETS if row[name])
            cells = (
                row["feature"],
                f"{row['difference']:.4g}",
                row["rank"],
                f"{row['frequency']:.3g}",
                sets,
            )
            lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        name = escape(f"{place.dictionary}, {place.hook_point}, layer {place.layer}")
        parts.append(
            f"<h2>{name}</h2>\n<table><thead><tr>{head}</tr></thead><tbody>\n"
            + "\n".join(lines)
            + "\n</tbody></table>"
        )
    return "\n".join(parts)


def _plain_images(images: Images, about: About, places: Sequence[Place]) -> str:
    """What the model says of the images that have a view, without JavaScript."""
    if not images.viewed:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in about.class_names)
    lines = []
    for image, view in zip(images.viewed, places[0].views, strict=True):
        shares = "".join(f"<td>{100 * share:.1f} %</td>" for share in view["probabilities"])
        group = escape(about.group_names[images.groups[image]])
        lines.append(f"<tr><th>{escape(images.files[image])}</th><th>{group}</th>{shares}</tr>")
    return (
        "\n<h2>Images</h2>\n<table><thead><tr>"
        f'<th scope="col">image</th><th scope="col">group</th>{head}</tr></thead><tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table>"
    )


def _licence(painted: bool, *, with_pictures: bool) -> str:
    if painted:
        return "The images are painted by clipsteer; none is a photograph."
    if not with_pictures:
        return "This page holds no pictures, only file names and activations."
    return (
        "The pictures are the data set's and under its licence, which may forbid handing them on (CelebA's does). "
        "<code>explorer.thumbnail: 0</code> makes a page without pictures."
    )


def _why(dataset: str) -> str:
    return f"python -m clipsteer why results/{dataset}_features/index.html"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _short(column: pl.Series) -> list[float | None]:
    return [short(value) for value in column.to_list()]
