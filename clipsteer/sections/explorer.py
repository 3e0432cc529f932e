"""The section `explorer`: which features the pages of top images show, and with how many images."""

from __future__ import annotations

from typing import Literal

from clipsteer.sections.values import Count, Positive, Section, key, part

_PASS = "top_images"
_VIEWS = "image_views"


class Examples(Section):
    """How many images are shown of each feature."""

    top: Positive = key("images of the largest activation", _PASS, default=12)
    quantiles: Count = key(
        "parts, by activation, of a random draw of images on which the feature fires: 3 for thirds, 0 for "
        "none",
        _PASS,
        default=3,
    )
    per_quantile: Positive = key("images of each part", _PASS, default=4)
    random: Positive = key("images drawn among those on which it fires", _PASS, default=6)


class Views(Section):
    """Which images have a view of their own: their features, patch by patch, and what each one's ablation changes."""

    images: Count = key(
        "images with a view, drawn, as many of each group",
        _VIEWS,
        default=24,
    )
    features: Positive = key(
        "the most active features of an image, and as many selected ones",
        _VIEWS,
        default=8,
    )


class Explorer(Section):
    """What `results/<dataset>_features/index.html` and `results/<dataset>_top_images.png` show."""

    split: Literal["validation", "train"] = key(
        "whose images are shown; never test's, as looking is choosing",
        f"{_PASS}, {_VIEWS}",
        default="validation",
    )
    selected: Positive = key(
        "features of each strict and relaxed set, largest difference by Eq. 9 first, and as many random "
        "controls",
        _PASS,
        default=100,
    )
    ends: Count = key(
        "features besides, of the largest and the smallest differences",
        _PASS,
        default=10,
    )
    examples: Examples = part({})
    views: Views = part({})
    thumbnail: Count = key(
        "pixels of a picture's longer side; 0: heat maps and file names only, for images that may not be "
        "handed on",
        "feature_page",
        default=112,
    )
    max_mb: Positive = key("a larger page is refused", "feature_page", default=60)
