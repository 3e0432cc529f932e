"""The section `explorer`: which features the pages of top images show, and with how many images."""

from __future__ import annotations

from typing import Literal

from clipsteer.sections.values import Count, Positive, Section, key, part

_PASS = "top_images"
_VIEWS = "image_views"


class Examples(Section):
    """How many images are shown of each feature."""

    top: Positive = key("images of largest activation", _PASS, default=12)
    quantiles: Count = key(
        "parts, by activation, of a random draw where it fires; 0: none",
        _PASS,
        default=3,
    )
    per_quantile: Positive = key("images per part", _PASS, default=4)
    random: Positive = key("random images where it fires", _PASS, default=6)


class Views(Section):
    """Which images have a view of their own: their features, patch by patch, and what each one's ablation changes."""

    images: Count = key(
        "single images, drawn, as many of each group",
        _VIEWS,
        default=24,
    )
    features: Positive = key(
        "most active features, and as many selected ones",
        _VIEWS,
        default=8,
    )


class Explorer(Section):
    """What `results/<dataset>_features/index.html` and `results/<dataset>_top_images.png` show."""

    split: Literal["validation", "train"] = key(
        "of the images shown",
        f"{_PASS}, {_VIEWS}",
        default="validation",
    )
    selected: Positive = key(
        "features per set, largest difference first, and as many controls",
        _PASS,
        default=100,
    )
    ends: Count = key(
        "more features at either end of Eq. 9",
        _PASS,
        default=10,
    )
    examples: Examples = part({})
    views: Views = part({})
    thumbnail: Count = key(
        "pixels of the longer side; 0: [no pictures](explorer.md#the-page)",
        "feature_page",
        default=112,
    )
    max_mb: Positive = key("a larger page is refused", "feature_page", default=60)
