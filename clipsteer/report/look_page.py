"""What `clipsteer look` writes: a page of images of one's own, each with its features and what ablating them changes.

One file, as the page of features is (`explorer`), with the same views; the same content gives the same bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Any, NamedTuple

from clipsteer.report.page_files import texts
from clipsteer.report.page_head import head
from clipsteer.report.views import Viewed, data_blocks, place_block, viewed_block

_TITLE = "What features do in these images"


class LookedPlace(NamedTuple):
    """A dictionary at a layer, the sets that were selected there, and `View.as_dict()` of each image."""

    dictionary: str
    hook_point: str
    layer: int
    sets: Mapping[str, Sequence[int]]
    views: Sequence[Mapping[str, Any]]


class Looked(NamedTuple):
    """The images: their names and pictures (WebP); class names; rows and columns of patches; whether there is CLS."""

    names: Sequence[str]
    pictures: Sequence[bytes]
    class_names: Sequence[str]
    grid: tuple[int, int]
    cls: bool


def look_page(places: Sequence[LookedPlace], images: Looked, about: str) -> str:
    """The page's text. `about`: which model and classes these are."""
    viewed = [Viewed(name, None, None, number, None) for number, name in enumerate(images.names)]
    blocks: dict[str, Any] = {
        "index": {
            "places": [
                {
                    **{key: getattr(place, key) for key in ("dictionary", "hook_point", "layer")},
                    "sets": {name: list(features) for name, features in place.sets.items()},
                }
                for place in places
            ],
            "grid": images.grid,
            "cls": images.cls,
        },
        "views": viewed_block(images.class_names, viewed, places[0].views),
        **{f"images-{at}": place_block(place.views) for at, place in enumerate(places)},
        "pictures": [base64.b64encode(picture).decode() for picture in images.pictures],
    }
    template, style, program = texts("look")
    return Template(template).substitute(
        head=head(_TITLE, style, scripts=True),
        title=escape(_TITLE),
        program=program,
        about=escape(about),
        plain=_plain(places, images),
        data=data_blocks(blocks),
    )


def _plain(places: Sequence[LookedPlace], images: Looked) -> str:
    """The images without JavaScript: class probabilities and strongest features at each place."""
    parts = []
    for at, name in enumerate(images.names):
        shares = places[0].views[at]["probabilities"]
        said = [f"{c} {100 * p:.1f} %" for c, p in zip(images.class_names, shares, strict=True)]
        parts.append(f"<h2>{escape(name)}</h2>\n<p>{escape(', '.join(said))}</p>\n<ul>")
        for place in places:
            features = ", ".join(
                f"{one['feature']} ({one['mean']:.3g})" for one in place.views[at]["features"]
            )
            where = escape(f"{place.dictionary}, {place.hook_point}, layer {place.layer}")
            parts.append(f"<li>{where}: {features or 'no feature fires'}</li>")
        parts.append("</ul>")
    return "\n".join(parts)
