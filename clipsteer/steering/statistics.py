"""Per-feature statistics of a split, in one pass over its activations (Eq. 9, Section 7.1).

Everything is accumulated in float64 over blocks of images that are aligned to the split and whose
size follows from the shapes alone, so the result does not depend on how the caller cuts its
batches, nor on the number of threads, and memory does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
import torch

from clipsteer.dictionaries.base import Dictionary
from clipsteer.errors import ClipsteerError
from clipsteer.steering.counts import BINARY, Grouping

Aggregate = Literal["mean", "max", "cls"]
Balance = Literal["none", "group"]

# One block's codes (images, tokens, m) in float32 stay below this.
_BLOCK_BYTES = 128 * 2**20
_MAX_BLOCK_IMAGES = 64


class LabelSums(NamedTuple):
    """Sums for other labellings of the same images, kept per target class.

    `sums` (S, K, m) float64: sum of the aggregated activation over the images that labelling s
    calls A and whose target is t. `counts` (S, K) int64: how many images these are.
    """

    sums: np.ndarray
    counts: np.ndarray


class Statistics(NamedTuple):
    """What one pass yields: `table`, as `feature_statistics` describes it, of which groups, and `labels`."""

    table: pl.DataFrame
    grouping: Grouping
    labels: LabelSums | None


def feature_statistics(
    dictionary: Dictionary,
    batches: Iterable[tuple[int, np.ndarray]],
    groups: np.ndarray,
    grouping: Grouping = BINARY,
    *,
    aggregate: Aggregate = "mean",
    device: torch.device | str = "cpu",
    extra_labels: np.ndarray | None = None,
    progress: Callable[[int], None] | None = None,
) -> Statistics:
    """Streams a split's activations through a dictionary.

    - `batches`: (start, activations (n, T, d) of any float type), in order and without gaps; the
      first `start` may be any number (a split's place in its data set).
    - `groups` (N,): the group of each of these images, numbered as `grouping` has it.
    - `aggregate`: how an image's T token activations become one number (mean, max, or CLS alone).
    - `extra_labels` (S, N) bool: further labellings (the shuffled labels of the negative
      control), summed in the same pass.
    - `progress` is called with the number of images done since its last call.

    Returns the long table, group by group, with one row per group and feature:

    | column | meaning |
    |---|---|
    | `feature` Int32, `group` Int8 | |
    | `n_images` Int64 | images of the group |
    | `mean`, `variance` | of the aggregated activation over the group's images (population) |
    | `frequency` | share of images whose aggregated activation is above 0 |
    | `token_frequency` | share of all tokens on which the feature is above 0 |
    | `max` | largest activation on a single token |

    The last five are null for a group without images. The mean over tokens is taken in float32,
    everything over images in float64.

    Raises ClipsteerError for activations or codes that are not finite, ValueError where batches
    and groups do not fit together.
    """
    groups = np.asarray(groups)
    n_groups = grouping.n_groups
    if groups.ndim != 1 or (groups.size and (groups.min() < 0 or groups.max() >= n_groups)):
        raise ValueError(f"groups must be one-dimensional with values 0..{n_groups - 1}")
    labels = _label_matrix(groups, grouping, extra_labels)
    dictionary = dictionary.to(device)
    sums = _Sums(dictionary.m, n_groups, len(labels), torch.device(device))
    images = tokens = 0
    for start, block in _aligned_blocks(batches, dictionary.m):
        stop = start + len(block)
        if stop > len(groups):
            raise ValueError(f"activations of at least {stop} images, groups of {len(groups)}")
        x = torch.from_numpy(np.asarray(block, dtype=np.float32)).to(device)
        _refuse_non_finite(x, start)
        sums.add(dictionary, x, labels[:, start:stop], aggregate)
        images, tokens = stop, x.shape[1]
        if progress is not None:
            progress(len(block))
    if images != len(groups):
        raise ValueError(f"activations of {images} images, groups of {len(groups)}")
    counts = np.bincount(groups, minlength=n_groups)
    table = sums.table(counts, tokens)
    if not np.isfinite(table["mean"].drop_nulls().to_numpy()).all():
        raise ClipsteerError(
            "feature statistics: a dictionary's code is not finite although the activations are; "
            "expected finite codes. Retrain or replace the dictionary."
        )
    if extra_labels is None:
        return Statistics(table, grouping, None)
    shape = len(extra_labels), grouping.n_targets
    label_sums = sums.total[n_groups:].cpu().numpy().reshape(*shape, dictionary.m)
    label_counts = labels[n_groups:].sum(axis=1).astype(np.int64).reshape(shape)
    return Statistics(table, grouping, LabelSums(label_sums, label_counts))


def difference(
    table: pl.DataFrame,
    grouping: Grouping = BINARY,
    *,
    value: int = 1,
    balance: Balance = "none",
) -> np.ndarray:
    """E_{D_A} f_j - E_{D_notA} f_j of every feature, (m,) float64 (Eq. 9), from the true groups.

    D_A are the images with the spurious `value`, D_notA those with any other.

    `balance="none"`: expectations over the whole split, as in the paper. `"group"`: the mean over
    target classes of the difference within the class, which removes the confound.
    Raises ClipsteerError where one side has no image or a mean is not finite.
    """
    means, counts = group_means(table, grouping)
    sums = means * counts[:, None]  # an empty group has mean 0 here
    by_value = [
        (sums[v :: grouping.n_spurious], counts[v :: grouping.n_spurious])
        for v in range(grouping.n_spurious)
    ]
    if not 0 <= value < len(by_value):
        refuse_one_sided(0, int(counts.sum()), "the split")
    in_a = by_value.pop(value)
    outside = reduce(lambda one, other: (one[0] + other[0], one[1] + other[1]), by_value)
    return _contrast(*in_a, *outside, balance)


def label_differences(statistics: Statistics, *, balance: Balance = "none") -> np.ndarray:
    """The same difference under each of the extra labellings, (S, m) float64. ValueError where there are none."""
    if statistics.labels is None:
        raise ValueError("these statistics were taken without extra_labels")
    n_spurious = statistics.grouping.n_spurious
    means, counts = group_means(statistics.table, statistics.grouping)
    per_group = means * counts[:, None]
    per_target = reduce(np.add, [per_group[v::n_spurious] for v in range(n_spurious)])
    target_counts = counts.reshape(-1, n_spurious).sum(axis=1)
    rows = [
        _contrast(in_a, n_a, per_target - in_a, target_counts - n_a, balance)
        for in_a, n_a in zip(statistics.labels.sums, statistics.labels.counts, strict=True)
    ]
    return np.stack(rows) if rows else np.zeros((0, means.shape[1]))


def firing_frequency(table: pl.DataFrame) -> np.ndarray:
    """Share of the whole split's images on which each feature fires, (m,) float64."""
    n_groups = table["group"].n_unique()
    counts = table["n_images"].to_numpy().reshape(n_groups, -1)[:, 0]
    frequency = table["frequency"].fill_null(0.0).to_numpy().reshape(n_groups, -1)
    fired = (frequency * counts[:, None]).sum(axis=0)
    return np.asarray(fired / max(int(counts.sum()), 1), dtype=np.float64)


def group_means(table: pl.DataFrame, grouping: Grouping = BINARY) -> tuple[np.ndarray, np.ndarray]:
    """The table's means as (G, m) float64, 0 for an empty group, and its image counts (G,).

    Raises ValueError where a group lacks rows, ClipsteerError for a mean that is not finite.
    """
    table, n_groups = table.sort("group", "feature"), grouping.n_groups
    if table.height == 0 or table["group"].unique().to_list() != list(range(n_groups)):
        raise ValueError(f"expected {n_groups} rows per feature, found {table.height} rows")
    means = table["mean"].fill_null(0.0).to_numpy().reshape(n_groups, -1)
    counts = table["n_images"].to_numpy().reshape(n_groups, -1)[:, 0]
    if not np.isfinite(means).all():
        bad = int(np.flatnonzero(~np.isfinite(means).all(axis=0))[0])
        raise ClipsteerError(
            f"feature statistics: the mean of feature {bad} is not finite; expected finite means. "
            "Look for NaN in the activations or in the dictionary."
        )
    return means, counts


def cell_counts(table: pl.DataFrame, grouping: Grouping, value: int) -> np.ndarray:
    """Images of each target class without the spurious `value` and with it, (2 K,): cells as in `moments`."""
    counts = group_means(table, grouping)[1].reshape(grouping.n_targets, grouping.n_spurious)
    inside = counts[:, value] if value < grouping.n_spurious else np.zeros_like(counts[:, 0])
    return np.stack([counts.sum(axis=1) - inside, inside], axis=1).reshape(-1)


def _contrast(
    sum_a: np.ndarray, n_a: np.ndarray, sum_b: np.ndarray, n_b: np.ndarray, balance: Balance
) -> np.ndarray:
    """Mean over A less mean over notA; sums (K, m) and counts (K,) are per target class."""
    if balance == "none":
        refuse_one_sided(int(n_a.sum()), int(n_b.sum()), "the split")
        mean_a = reduce(np.add, sum_a) / n_a.sum()
        return np.asarray(mean_a - reduce(np.add, sum_b) / n_b.sum())
    if balance != "group":
        raise ValueError(f"balance must be 'none' or 'group', not {balance!r}")
    present = [target for target in range(len(n_a)) if n_a[target] + n_b[target] > 0]
    for target in present or [0]:
        refuse_one_sided(int(n_a[target]), int(n_b[target]), f"target class {target}")
    parts = [sum_a[t] / n_a[t] - sum_b[t] / n_b[t] for t in present]
    return np.asarray(sum(parts[1:], start=parts[0]) / len(parts))


def refuse_one_sided(n_a: int, n_b: int, where: str) -> None:
    """Raises ClipsteerError where there is nothing to compare."""
    if n_a == 0 or n_b == 0:
        raise ClipsteerError(
            f"feature selection: {where} has {n_a} images with the spurious attribute and {n_b} "
            "without; expected both, since Eq. 9 compares them. Check the training split's labels and "
            "attribute_value (of the data set, or else of steering), or set steering.balance to none."
        )


class _Sums:
    """The running float64 sums of one pass."""

    def __init__(self, m: int, n_groups: int, n_rows: int, device: torch.device) -> None:
        self.n_groups = n_groups
        self.device = device
        self.total = torch.zeros(n_rows, m, dtype=torch.float64, device=self.device)
        self.squares, self.images_fired, self.tokens_fired, self.largest = torch.zeros(
            4, n_groups, m, dtype=torch.float64, device=self.device
        )
        self.largest.fill_(-torch.inf)
        # One for all blocks: a second block as large as the code, made anew each time, is given back
        # to the system each time, and its pages cost more than the sums.
        self.above = torch.empty(0)

    def add(
        self, dictionary: Dictionary, x: torch.Tensor, labels: np.ndarray, aggregate: Aggregate
    ) -> None:
        """Adds a block x (n, T, d); labels (rows, n) says which sums each image belongs to."""
        n, tokens, d = x.shape
        with torch.inference_mode():
            code = dictionary.encode(x.reshape(-1, d)).reshape(n, tokens, dictionary.m)
            per_image = _aggregated(code, aggregate).to(self.device, torch.float64)
            largest = code.amax(dim=1).to(self.device, torch.float64)
            # Counted in float32 (exact): integers would take a pass over 8 bytes an entry.
            if self.above.shape != code.shape:
                self.above = torch.empty_like(code)
            torch.gt(code, 0, out=self.above)
            fired = self.above.sum(dim=1).to(self.device, torch.float64)
            weights = torch.from_numpy(labels.astype(np.float64)).to(self.device)
            by_group = weights[: self.n_groups]
            self.total += weights @ per_image
            self.squares += by_group @ per_image.square()
            self.images_fired += by_group @ per_image.gt(0).to(torch.float64)
            self.tokens_fired += by_group @ fired
            for group in range(self.n_groups):
                rows = np.flatnonzero(labels[group])
                if len(rows):
                    index = torch.from_numpy(rows).to(self.device)
                    here = largest[index].amax(dim=0)
                    self.largest[group] = torch.maximum(self.largest[group], here)

    def table(self, counts: np.ndarray, tokens: int) -> pl.DataFrame:
        m = self.total.shape[1]
        frames = []
        for group, n in enumerate(counts.tolist()):
            divisor = max(n, 1)
            mean = self.total[group].cpu().numpy() / divisor
            variance = self.squares[group].cpu().numpy() / divisor - mean**2
            columns = {
                "mean": mean,
                "variance": np.maximum(variance, 0.0),  # rounding may leave -1e-18
                "frequency": self.images_fired[group].cpu().numpy() / divisor,
                "token_frequency": self.tokens_fired[group].cpu().numpy()
                / (divisor * max(tokens, 1)),
                "max": self.largest[group].cpu().numpy(),
            }
            frame = pl.DataFrame(
                {
                    "feature": np.arange(m, dtype=np.int32),
                    "group": np.full(m, group, dtype=np.int8 if len(counts) < 128 else np.int32),
                    "n_images": np.full(m, n, dtype=np.int64),
                    **columns,
                }
            )
            if n == 0:
                nothing = [pl.lit(None, dtype=pl.Float64).alias(name) for name in columns]
                frame = frame.with_columns(nothing)
            frames.append(frame)
        return pl.concat(frames)


def _aggregated(code: torch.Tensor, aggregate: Aggregate) -> torch.Tensor:
    """(n, T, m) -> (n, m)."""
    if aggregate == "mean":
        return code.mean(dim=1)
    if aggregate == "max":
        return code.amax(dim=1)
    if aggregate == "cls":
        return code[:, 0]
    raise ValueError(f"aggregate must be 'mean', 'max' or 'cls', not {aggregate!r}")


def _label_matrix(
    groups: np.ndarray, grouping: Grouping, extra_labels: np.ndarray | None
) -> np.ndarray:
    """(G + K S, N) bool: the groups, then each of S extra labellings split by target class."""
    rows = [groups == group for group in range(grouping.n_groups)]
    if extra_labels is not None:
        extra = np.asarray(extra_labels)
        if extra.dtype != np.bool_ or extra.ndim != 2 or extra.shape[1] != len(groups):
            raise ValueError(f"extra_labels must be bool of shape (S, {len(groups)})")
        target = grouping.targets(groups)
        rows += [labels & (target == t) for labels in extra for t in range(grouping.n_targets)]
    return np.stack(rows)


def images_per_block(n_tokens: int, m: int) -> int:
    """How many images are encoded at a time, so that codes (images, `n_tokens`, `m`) in float32 take bounded memory."""
    return max(1, min(_MAX_BLOCK_IMAGES, _BLOCK_BYTES // max(1, n_tokens * m * 4)))


def _aligned_blocks(
    batches: Iterable[tuple[int, np.ndarray]], m: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Cuts the batches anew into blocks of a fixed number of images; starts count from 0."""
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        return
    size = images_per_block(first[1].shape[1], m)
    held: list[np.ndarray] = []
    start = n_held = 0
    for begin, batch in chain([first], batches):
        if begin - first[0] != start + n_held:
            raise ValueError(
                f"a batch starts at image {begin}, expected {first[0] + start + n_held}"
            )
        held.append(batch)
        n_held += len(batch)
        if n_held < size:
            continue
        joined = np.concatenate(held) if len(held) > 1 else batch
        whole = n_held - n_held % size
        for offset in range(0, whole, size):
            yield start + offset, joined[offset : offset + size]
        held = [joined[whole:]]
        start, n_held = start + whole, n_held - whole
    if n_held:
        yield start, np.concatenate(held)


def _refuse_non_finite(x: torch.Tensor, start: int) -> None:
    finite = torch.isfinite(x).flatten(1).all(dim=1)
    if not bool(finite.all()):
        image = start + int((~finite).nonzero()[0])
        raise ClipsteerError(
            f"activations: image {image} of the split has NaN or infinite values; expected finite "
            "numbers. Check the model's weights and the activations' dtype (float16 overflows "
            "above 65504: use float32 or bfloat16), then extract again."
        )
