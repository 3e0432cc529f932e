"""Made-up top images of a few features at two places."""

from __future__ import annotations

import numpy as np
import polars as pl

from clipsteer.report.explorer import About, Images, Place
from clipsteer.report.thumbnails import thumbnail
from clipsteer.steering.top_images import EDGES, Numbers

GROUPS = ("dark woman", "blond woman", "dark man", "blond man")
GRID = (2, 3)
N_IMAGES = 30
NUMBERS = Numbers(top=3, quantiles=2, per_quantile=1, random=2)


def pictures(count: int) -> dict[int, bytes]:
    """Different plain pictures."""
    return {i: thumbnail(np.full((24, 36, 3), (7 * i) % 256, np.uint8), 36) for i in range(count)}


def place(dictionary: str, layer: int, features: list[int], seed: int = 0) -> Place:
    """Features with examples, the last of which never fires."""
    rng = np.random.default_rng([seed, layer])
    n, patches = len(features), GRID[0] * GRID[1]
    histogram = np.zeros((n, len(EDGES) + 1), np.int64)
    histogram[:-1, 30:34] = rng.integers(0, 9, (n - 1, 4))
    kinds = [*[("top", None)] * 3, ("quantile", 0), ("quantile", 1), *[("random", None)] * 2]
    rows = []
    for feature in features[:-1]:
        for at, (kind, part) in enumerate(kinds):
            codes = rng.exponential(2.0, patches).astype(np.float32)
            cls = np.float32(rng.exponential(2.0))
            value = float(max(codes.max(), cls))
            image = int(rng.integers(N_IMAGES))
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
