"""Views of single images as pages hold them: JSON of short names, as there are many, with pictures by number."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from clipsteer.steering.choose import CONDITIONS


class Viewed(NamedTuple):
    """An image that has a view of its own, as a page names it.

    `group`, `target`: None where nobody knows them. `picture`, `pair`: numbers among the page's pictures, None where
    there is none.
    """

    name: str
    group: str | None
    target: int | None
    picture: int | None
    pair: int | None


def viewed_block(
    classes: Sequence[str], images: Sequence[Viewed], views: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What all places have in common: the images, and what the model alone says of each and of its pair."""
    return {
        "classes": list(classes),
        "images": [
            {
                "file": image.name,
                "group": image.group,
                "target": image.target,
                "p": shares(view["probabilities"]),
                "pair": None if view["pair"] is None else shares(view["pair"]),
                "picture": image.picture,
                "pair_picture": image.pair,
            }
            for image, view in zip(images, views, strict=True)
        ],
    }


def place_block(views: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each image at one place.

    `s`: of the strict and the relaxed set how many features fire, and the class probabilities without it; null where
    nothing was selected. `f`: its features, [number, mean, largest, CLS, mean on its pair, probabilities without it].
    `h`: their patches as bytes, one feature after the other, and `u` what 255 of each stands for. `t`: of each token
    the strongest features, [number, activation, ...].
    """
    return [_of_place(view) for view in views]


def _of_place(view: Mapping[str, Any]) -> dict[str, Any]:
    patches = np.array([one["patches"] for one in view["features"]], np.float64)
    most = np.maximum(patches, 0).max(axis=1, initial=0.0) if patches.size else np.zeros(0)
    levels = np.maximum(patches, 0) * (255 / np.where(most > 0, most, 1.0))[:, None]
    sets = view["sets"]
    return {
        "s": [
            [sets[name]["firing"], shares(sets[name]["probabilities"])] if name in sets else None
            for name in CONDITIONS
        ],
        "f": [
            [
                one["feature"],
                *(short(one[key]) for key in ("mean", "largest", "cls", "on_pair")),
                shares(one["ablated"]),
            ]
            for one in view["features"]
        ],
        "h": encoded(np.rint(levels).astype(np.uint8)),
        "u": [short(value) for value in most.tolist()],
        "t": [
            [part for feature, value in token for part in (feature, short(value))]
            for token in view["tokens"]
        ],
    }


def encoded(levels: np.ndarray) -> str:
    """Bytes as text."""
    return base64.b64encode(levels.tobytes()).decode()


def short(value: float | None) -> float | None:
    """As many digits as a page needs."""
    return None if value is None else float(f"{value:.4g}")


def shares(values: Sequence[float]) -> list[float]:
    """Probabilities, to a hundredth of a per cent."""
    return [round(value, 4) for value in values]


def data_blocks(blocks: Mapping[str, Any]) -> str:
    """Script elements that hold JSON, by their ids."""
    return "\n".join(
        f'<script type="application/json" id="{name}">{_json(value)}</script>'
        for name, value in blocks.items()
    )


def _json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")
