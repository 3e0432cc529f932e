"""The images that features answer to: one pass over a split's activations for all features asked for.

Of every feature: the images with the largest activation; some drawn at random among those on which it fires, as the
largest alone make any feature look clearer than it is; and some of each part (third, say) of such a draw. With each
image go the feature's activations on all of its tokens.

What is drawn hangs on one random order of the split's images, the same for all features: of the images on which a
feature fires, the first ones in that order. So one pass is enough, memory does not grow with the images, and
features share pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
import torch

from clipsteer.backbones.tokens import token_span
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.errors import ClipsteerError
from clipsteer.steering.choose import CONDITIONS
from clipsteer.steering.controls import random_orders, random_sets
from clipsteer.steering.directions_beside import closest
from clipsteer.steering.selection import by_difference
from clipsteer.steering.statistics import images_per_block

EDGES = 2.0 ** (np.arange(-32, 33) / 2)
"""Edges of the histogram, two an octave; its first and last bin are open."""

KINDS = ("top", "quantile", "random")

# Images that are drawn for the parts, for each that is shown of them: a part of few images says little.
_DRAWN = 4


class Reader(Protocol):
    """What is read: an `ActivationReader`."""

    n_tokens: int
    cls: int | None
    """Place of the CLS token, None where there is none."""

    def batches(self, size: int) -> Iterable[tuple[int, np.ndarray]]:
        """(first image, activations (<= size, T, d)) in order, without gaps."""
        ...


class Numbers(NamedTuple):
    """How many images are kept of each feature."""

    top: int
    quantiles: int
    """Parts of equal size, by falling activation, of what is drawn; 0 for none."""
    per_quantile: int
    random: int

    @property
    def drawn(self) -> int:
        """Images of a feature that are drawn, of which `random` come first."""
        return self.random + _DRAWN * self.quantiles * self.per_quantile


class Answers(NamedTuple):
    """What one pass yields, both with the features in the order asked for.

    `features`: a row each: `feature`; `fires` List(Int64), the images of each group on which it fires (on some
    token it is above 0); `histogram` List(Int64), these images by their largest activation, bins between `EDGES`.

    `examples`: a row for each image kept: `feature`; `kind`, one of `KINDS`; `part`, of a quantile, from 0, the
    highest; `place` among its like, from 0; `image`, its number in the split; `value`, the largest activation on
    any token, CLS counted; `cls`, that on CLS, null where the model has none; `patches` List(Float32), those on
    the patches, row by row.
    """

    features: pl.DataFrame
    examples: pl.DataFrame


def looked_at(
    difference: np.ndarray,
    frequency: np.ndarray,
    sets: Mapping[str, Sequence[int] | np.ndarray],
    *,
    selected: int,
    ends: int,
    seed: int,
) -> pl.DataFrame:
    """Which features of a place are looked at, and why, ascending.

    Args:
        difference: of Eq. 9 on the training split, (m,).
        frequency: share of its images on which each feature fires, (m,).
        sets: condition -> the features that were selected, the largest difference first.
        selected: how many of each set count, and so how many controls there are: as many, drawn from living
            features of like frequency.
        ends: how many of the largest and of the smallest differences are looked at besides.
        seed: of the draw of controls.

    Returns:
        `feature`, `difference`, `rank` (from 1, by falling difference), and whether it is in the whole set of
        each condition (`strict`, `relaxed`), one of the controls (`control`), or at an end of Eq. 9 (`end`).
    """
    m = len(difference)
    order, rank = by_difference(difference)
    targeted = np.unique([j for name in CONDITIONS for j in list(sets[name])[:selected]])
    targeted = targeted.astype(np.int64)
    (controls,) = random_sets(
        m, len(targeted), [seed * 1000], pool="alive", frequency=frequency, like=targeted
    )
    at_ends = np.union1d(order[:ends], order[m - min(ends, m) :])
    features = np.unique(np.concatenate([targeted, controls, at_ends])).astype(np.int64)
    return pl.DataFrame(
        {
            "feature": features,
            "difference": np.asarray(difference, np.float64)[features],
            "rank": rank[features],
            "strict": np.isin(features, list(sets["strict"])),
            "relaxed": np.isin(features, list(sets["relaxed"])),
            "control": np.isin(features, controls),
            "end": np.isin(features, at_ends),
        }
    )


def top_images(
    dictionary: Dictionary,
    reader: Reader,
    features: np.ndarray,
    groups: np.ndarray,
    n_groups: int,
    *,
    numbers: Numbers,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Answers:
    """Streams a split's activations through a dictionary and keeps the images that its features answer to.

    Args:
        dictionary: what encodes them, on its device; heat maps are its own activations, bias and rectifier included.
        reader: the split's activations; its first image may have any number.
        features: which are looked at, (c,) int64.
        groups: of each image of the split, (N,).
        n_groups: how many groups there are, some perhaps without images.
        numbers: how many images are kept.
        seed: of the order in which images are drawn.
        progress: called with the number of images done since its last call.

    Ties go to the earlier image. Memory is a block of codes and the images kept, however many the split has.
    Raises ClipsteerError where codes are not finite, ValueError where batches and groups do not fit together.
    """
    chosen = torch.tensor(features, dtype=torch.int64, device=dictionary.W_dec.device)
    n_images = len(groups)
    (order,) = random_orders(n_images, [seed])
    drawn_as = np.argsort(order, kind="stable")  # each image's place in the order
    keeper = _Keeper(len(features), reader.n_tokens, numbers, n_groups)
    # Every architecture may compute all m codes on its way to a few.
    size = images_per_block(reader.n_tokens, dictionary.m)
    done = 0
    for start, block in reader.batches(size):
        if done + len(block) > n_images:
            raise ValueError(
                f"activations of at least {done + len(block)} images, groups of {n_images}"
            )
        images = np.arange(done, done + len(block))
        codes = _codes(dictionary, block, chosen, start)
        keeper.add(codes, images, drawn_as[images], groups[images])
        done += len(block)
        if progress is not None:
            progress(len(block))
    if done != n_images:
        raise ValueError(f"activations of {done} images, groups of {n_images}")
    return keeper.answers(features, reader.cls)


def by_group(statistics: pl.DataFrame, features: np.ndarray, *, rectified: bool) -> pl.DataFrame:
    """What Eq. 9 saw of each of these features on the training split, from a table of `feature_statistics`.

    Columns: `feature`; by group `images` List(Int64) and `means` List(Float64), null for a group without images;
    `frequency` and `token_frequency`, the shares of all images and tokens on which it is above 0;
    `active_mean`, the mean over the former images, null where there are none and where activations are not
    `rectified`, as then the others' are no zeros.
    """
    images = pl.col("n_images")

    def total(name: str) -> pl.Expr:
        return (pl.col(name).fill_null(0.0) * images).sum()

    fired = total("frequency")
    return (
        statistics.filter(pl.col("feature").is_in(features.tolist()))
        .sort("feature", "group")
        .group_by("feature", maintain_order=True)
        .agg(
            images.alias("images"),
            pl.col("mean").alias("means"),
            (fired / images.sum()).alias("frequency"),
            (total("token_frequency") / images.sum()).alias("token_frequency"),
            pl.when(pl.lit(rectified) & (fired > 0))
            .then(total("mean") / fired)
            .alias("active_mean"),
        )
        .with_columns(pl.col("feature").cast(pl.Int64))
    )


def nearest(dictionary: Dictionary, features: np.ndarray, count: int) -> pl.DataFrame:
    """Of each of these features the `count` others of most similar direction, and how its encoder points.

    Columns: `feature`; `nearest` List(Int64) and `cosine` List(Float32), falling, ties to the lower feature;
    `encoder_cosine`, between its encoder's column and its own direction. A basis has none of these: lists
    are empty there, the cosine null.
    """
    from clipsteer.backbones.device import one_thread

    near: list[list[int]] = [[] for _ in features]
    cosine: list[list[float]] = [[] for _ in features]
    own: list[float | None] = [None for _ in features]
    if not isinstance(dictionary, NeuronBasis):
        decoder, encoder = dictionary.W_dec.cpu(), dictionary.W_enc.cpu()
        count = min(count, dictionary.m - 1)
        blocks = list(closest(decoder, features, decoder, count))
        near = [numbers for block, _ in blocks for numbers in block]
        cosine = [values for _, block in blocks for values in block]
        index = torch.tensor(features, dtype=torch.int64)
        with torch.inference_mode(), one_thread():
            columns, rows = encoder.index_select(1, index).T, decoder.index_select(0, index)
            own = torch.nn.functional.cosine_similarity(columns, rows).tolist()
    return pl.DataFrame(
        {"feature": features, "nearest": near, "cosine": cosine, "encoder_cosine": own},
        schema={
            "feature": pl.Int64,
            "nearest": pl.List(pl.Int64),
            "cosine": pl.List(pl.Float32),
            "encoder_cosine": pl.Float32,
        },
    )


def _codes(
    dictionary: Dictionary,
    block: np.ndarray,
    chosen: torch.Tensor,
    start: int,
) -> np.ndarray:
    """Codes of the features asked for, (c, n, T) float32; 0 on tokens that the dictionary is not for."""
    n, tokens, d = block.shape
    x = torch.from_numpy(np.asarray(block, dtype=np.float32)).to(chosen.device)
    with torch.inference_mode():
        codes = dictionary.encode_columns(x.reshape(-1, d), chosen)
        codes = codes.reshape(n, tokens, len(chosen)).permute(2, 0, 1).contiguous()
    others = np.ones(tokens, dtype=np.bool_)
    others[token_span(dictionary.tokens, tokens)] = False
    found = codes.cpu().numpy()
    found[..., others] = 0
    if not np.isfinite(found).all():
        raise ClipsteerError(
            f"top images: a code of image {start} to {start + n} of the split is not finite; expected finite "
            "numbers. Look for NaN in the activations or in the dictionary."
        )
    return found


class _Best:
    """Of c features the k images of the highest score each, with their activations; the score falls along k."""

    def __init__(self, c: int, k: int, tokens: int) -> None:
        self.score = np.full((c, k), -np.inf)
        self.image = np.zeros((c, k), np.int64)
        self.codes = np.zeros((c, k, tokens), np.float32)

    def add(self, score: np.ndarray, image: np.ndarray, codes: np.ndarray) -> None:
        """Images that come after all earlier ones: score (c, n), image (n,), codes (c, n, T)."""
        k = self.score.shape[1]
        come = (score > self.score[:, -1:]).any(axis=0)  # the rest are among no feature's k best
        if not come.any():
            return
        scores = np.concatenate([self.score, score[:, come]], axis=1)
        image, codes = image[come], codes[:, come]
        taken = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        rows = np.arange(len(scores))[:, None]
        old, new = np.minimum(taken, k - 1), np.maximum(taken - k, 0)
        fresh = taken >= k
        self.score = scores[rows, taken]
        self.image = np.where(fresh, image[new], self.image[rows, old])
        self.codes = np.where(fresh[..., None], codes[rows, new], self.codes[rows, old])


class _Keeper:
    """What is kept of a pass."""

    def __init__(self, c: int, tokens: int, numbers: Numbers, n_groups: int) -> None:
        self.numbers = numbers
        self.top = _Best(c, numbers.top, tokens)
        self.drawn = _Best(c, numbers.drawn, tokens)
        self.fires = np.zeros((c, n_groups), np.int64)
        self.histogram = np.zeros((c, len(EDGES) + 1), np.int64)

    def add(
        self, codes: np.ndarray, images: np.ndarray, order: np.ndarray, groups: np.ndarray
    ) -> None:
        """A block (c, n, T); `order` (n,): the images' places in the random order."""
        largest = codes.max(axis=2)
        fires = largest > 0
        self.top.add(np.where(fires, largest, -np.inf), images, codes)
        self.drawn.add(np.where(fires, -order[None].astype(np.float64), -np.inf), images, codes)
        for group in range(self.fires.shape[1]):
            self.fires[:, group] += fires[:, groups == group].sum(axis=1)
        bins = np.searchsorted(EDGES, largest, side="right")
        width = self.histogram.shape[1]
        places = (np.arange(len(codes))[:, None] * width + bins)[fires]
        counted = np.bincount(places, minlength=self.histogram.size)
        self.histogram += counted.reshape(self.histogram.shape)

    def answers(self, features: np.ndarray, cls: int | None) -> Answers:
        """All that was kept, as tables."""
        rows: list[dict[str, Any]] = []
        for at, feature in enumerate(features.tolist()):
            for kind, part, best, slots in self._kept(at):
                for place, slot in enumerate(slots):
                    codes = best.codes[at, slot]
                    rows.append(
                        {
                            "feature": feature,
                            "kind": kind,
                            "part": part,
                            "place": place,
                            "image": int(best.image[at, slot]),
                            "value": float(codes.max()),
                            "cls": None if cls is None else float(codes[cls]),
                            "patches": codes if cls is None else np.delete(codes, cls),
                        }
                    )
        schema = pl.Schema(
            {
                "feature": pl.Int64(),
                "kind": pl.String(),
                "part": pl.Int64(),
                "place": pl.Int64(),
                "image": pl.Int64(),
                "value": pl.Float32(),
                "cls": pl.Float32(),
                "patches": pl.List(pl.Float32),
            }
        )
        table = pl.DataFrame(
            {
                "feature": features,
                "fires": self.fires.tolist(),
                "histogram": self.histogram.tolist(),
            },
            schema={
                "feature": pl.Int64,
                "fires": pl.List(pl.Int64),
                "histogram": pl.List(pl.Int64),
            },
        )
        return Answers(table, pl.DataFrame(rows, schema=schema))

    def _kept(self, at: int) -> list[tuple[str, int | None, _Best, list[int]]]:
        """(kind, part, where, slots there) of one feature."""
        numbers = self.numbers
        n_top = int((self.top.score[at] > -np.inf).sum())
        n_drawn = int((self.drawn.score[at] > -np.inf).sum())
        found: list[tuple[str, int | None, _Best, list[int]]] = [
            ("top", None, self.top, list(range(n_top)))
        ]
        rest = np.arange(min(numbers.random, n_drawn), n_drawn)
        largest = self.drawn.codes[at, rest].max(axis=1) if len(rest) else np.zeros(0)
        ranked = rest[np.lexsort((self.drawn.image[at, rest], -largest))]
        parts = np.array_split(ranked, numbers.quantiles) if numbers.quantiles else []
        for part, slots in enumerate(parts):
            # a slot's number is its place in the draw
            shown = np.sort(slots)[: numbers.per_quantile].tolist()
            found.append(("quantile", part, self.drawn, shown))
        found.append(("random", None, self.drawn, list(range(n_drawn - len(rest)))))
        return found
