"""Made-up top images of a few features at two places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from clipsteer.report.explorer import About, Images, Place
from clipsteer.report.look_page import Looked, LookedPlace
from clipsteer.report.thumbnails import thumbnail
from clipsteer.steering.top_images import EDGES, Numbers

GROUPS = ("dark woman", "blond woman", "dark man", "blond man")
GRID = (2, 3)
N_IMAGES = 30
NUMBERS = Numbers(top=3, quantiles=2, per_quantile=1, random=2)


def pictures(count: int) -> dict[int, bytes]:
    """Different plain pictures."""
    return {i: thumbnail(np.full((24, 36, 3), (7 * i) % 256, np.uint8), 36) for i in range(count)}


def place(
    dictionary: str,
    layer: int,
    features: list[int],
    seed: int = 0,
    *,
    numbers: Numbers = NUMBERS,
    grid: tuple[int, int] = GRID,
    n_images: int = N_IMAGES,
) -> Place:
    """Features with examples, the last of which never fires."""
    rng = np.random.default_rng([seed, layer])
    n, patches = len(features), grid[0] * grid[1]
    histogram = np.zeros((n, len(EDGES) + 1), np.int64)
    histogram[:-1, 30:34] = rng.integers(0, 9, (n - 1, 4))
    kinds: list[tuple[str, int | None]] = [("top", None)] * numbers.top
    for part in range(numbers.quantiles):
        kinds += [("quantile", part)] * numbers.per_quantile
    kinds += [("random", None)] * numbers.random
    rows = []
    for feature in features[:-1]:
        for at, (kind, part) in enumerate(kinds):
            codes = rng.exponential(2.0, patches).astype(np.float32)
            cls = np.float32(rng.exponential(2.0))
            value = float(max(codes.max(), cls))
            image = int(rng.integers(n_images))
            rows.append((feature, kind, part, at, image, value, float(cls), codes.tolist()))
    schema = {
        "feature": pl.Int64, "kind": pl.String, "part": pl.Int64, "place": pl.Int64,
        "image": pl.Int64, "value": pl.Float32, "cls": pl.Float32, "patches": pl.List(pl.Float32),
    }  # fmt: skip
    difference = np.sort(rng.normal(size=n))[::-1]
    table = pl.DataFrame(
        {
            "feature": features,
            "difference": difference,
            "rank": np.arange(1, n + 1),
            "strict": [i < 1 for i in range(n)],
            "relaxed": [i < 2 for i in range(n)],
            "control": [i == 2 for i in range(n)],
            "end": [i in (0, n - 1) for i in range(n)],
            "images": [[40, 10, 30, 5]] * n,
            "means": rng.exponential(1.0, (n, 4)).tolist(),
            "frequency": rng.random(n),
            "token_frequency": rng.random(n) / 3,
            "active_mean": rng.exponential(1.0, n),
            "fires": rng.integers(0, 7, (n, 4)).tolist(),
            "histogram": histogram.tolist(),
            "nearest": [[features[0], 999]] * n,
            "cosine": [[0.5, 0.25]] * n,
            "encoder_cosine": rng.random(n),
        }
    )
    examples = pl.DataFrame(rows, schema=schema, orient="row")
    digest = "blake3:" + "ab" * 32
    return Place(dictionary, "resid_post", layer, 64, digest, table, examples)


def places() -> list[Place]:
    """Two dictionaries' layers."""
    return [place("topk", 0, [3, 8, 11, 40]), place("vanilla", 2, [0, 5, 7, 9, 60])]


IMAGES = Images(
    split="validation",
    painted=True,
    files=[f"faces/{i:06d}.jpg" for i in range(N_IMAGES)],
    groups=[i % 4 for i in range(N_IMAGES)],
    pictures=pictures(N_IMAGES),
)
ABOUT = About(
    dataset="celeba",
    source="painted",
    model="tiny-clip",
    aggregate="mean",
    group_names=GROUPS,
    grid=GRID,
    cls=True,
    numbers=NUMBERS,
)


def compared_places() -> list[Place]:
    """Two dictionaries of a layer, whose directions were compared, and one of another layer."""
    near = {3: [40, 5], 8: [60, 0], 11: [999, 7], 40: [5, 9]}
    own = place("topk", 2, list(near))
    there = place("vanilla", 2, [0, 5, 7, 9, 60])
    cosines = [[0.9, 0.1], [0.7, -0.2], [0.5, 0.25], [0.3, 0.2]]
    schema = {"feature": pl.Int64, "other": pl.String, "nearest": pl.List(pl.Int64)}
    beside = pl.DataFrame(
        [(j, "vanilla", found) for j, found in near.items()], schema=schema, orient="row"
    ).with_columns(cosine=pl.Series(cosines, dtype=pl.List(pl.Float32)))
    back = beside.with_columns(feature=pl.Series([0, 5, 7, 9]), other=pl.lit("topk"))
    last = back.head(1).with_columns(feature=pl.lit(60, pl.Int64))
    return [
        own._replace(beside=beside),
        there._replace(beside=pl.concat([back, last])),
        place("topk", 4, [1, 2, 3]),
    ]


VIEWED = (4, 9, 14)
CLASSES = ("woman", "man")


def view(
    seed: int,
    paired: bool,
    sets: bool = True,
    *,
    grid: tuple[int, int] = GRID,
    more: Sequence[int] = (),
) -> dict[str, Any]:
    """What `View.as_dict` gives: two features, of which the first fires on one patch alone, and `more`."""
    rng = np.random.default_rng([7, seed])

    def shares() -> list[float]:
        share = float(rng.random())
        return [share, 1 - share]

    def active(feature: int, patches: list[float]) -> dict[str, Any]:
        cls = float(rng.exponential())
        values = [cls, *patches]
        return {
            **{"feature": feature, "mean": float(np.mean(values)), "largest": max(values)},
            **{"cls": cls, "patches": patches, "ablated": shares()},
            "on_pair": float(rng.exponential()) if paired else None,
        }

    patches = grid[0] * grid[1]
    one_patch = [2.0 if at == seed % patches else 0.0 for at in range(patches)]
    return {
        "probabilities": shares(),
        "pair": shares() if paired else None,
        "features": [
            active(8, one_patch),
            *(active(j, rng.exponential(1.0, patches).tolist()) for j in (999, *more)),
        ],
        "tokens": [[[999, 1.5]], *([[8, 2.0], [999, 0.5]] if x else [] for x in one_patch)],
        "sets": {
            "strict": {"firing": 0, "probabilities": shares()},
            "relaxed": {"firing": 2, "probabilities": shares()},
        }
        if sets
        else {},
    }


def viewed_places() -> list[Place]:
    """The same places, with views of three images, the first of which has a pair."""
    return [
        place._replace(views=[view(10 * at + n, n == 0) for n in range(len(VIEWED))])
        for at, place in enumerate(places())
    ]


VIEWED_IMAGES = IMAGES._replace(
    targets=[i % 2 for i in range(N_IMAGES)], viewed=VIEWED, pairs={4: pictures(40)[39]}
)
VIEWED_ABOUT = ABOUT._replace(class_names=CLASSES)
LOOKED = Looked(
    ["mine.jpg", "<b>yours</b>.png"], list(pictures(2).values()), CLASSES, GRID, cls=True
)


def looked_places() -> list[LookedPlace]:
    """Two places where two images are looked at, with and without selected sets."""
    return [
        LookedPlace("topk", "resid_post", 0, {"strict": [8], "relaxed": [8, 999]}, looked(0, True)),
        LookedPlace("neurons", "resid_post", 2, {}, looked(5, False)),
    ]


def looked(seed: int, sets: bool) -> list[dict[str, Any]]:
    """Their views."""
    return [view(seed + n, paired=False, sets=sets) for n in range(2)]
