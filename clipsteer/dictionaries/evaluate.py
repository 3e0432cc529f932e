"""How well a dictionary describes activations: the SAE half of the paper's Tables 3 and 4."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipsteer.backbones.tokens import token_span
from clipsteer.dictionaries.base import Dictionary
from clipsteer.errors import ClipsteerError

#: Batches of activations (images, tokens, d), of any float type.
Batches = Callable[[], Iterable[npt.NDArray[np.floating]]]

#: Codes are computed for a block of images at a time: at most so many numbers, so many tokens.
BLOCK_CODES = 2**26
BLOCK_TOKENS = 8192

#: Bin edges of log10 firing frequency; rarer firing than 1e-8 falls into the first bin.
DENSITY_EDGES = tuple(round(-8 + 0.25 * i, 2) for i in range(33))


@torch.no_grad()
def evaluate(
    dictionary: Dictionary,
    batches: Batches,
    *,
    cls: int | None = 0,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Reconstruction and sparsity of a dictionary (docs/method.md, section 5).

    Two passes, the first for the mean activation; all sums in float64 in a fixed order.

    Args:
        dictionary: moved to `device`.
        batches: called once per pass; gives arrays (images, tokens, d) in the same order. Only the tokens that the
            dictionary is for count.
        cls: place of the CLS token; None where the model has none.
        device: where to compute.
        progress: called with the number of images done since the last call, both passes counted.

    Returns:
        JSON values:

        - n_images, n_tokens (all images), tokens_per_image, n_features
        - explained_variance: 1 - sum (x_hat - x)^2 / sum (x - mean)^2 over all tokens and dims
        - explained_variance_prisma: mean over tokens of the per-token ratios, as the authors log,
          against the mean over all tokens (theirs: over the batch)
        - mean_squared_error: over tokens and dims
        - l0, l0_spatial, l0_cls: mean number of f_j > 0 per token; l0_by_token: per position
        - image_l0: mean over images of the sum of L0 over tokens; image_l0_distinct: of the number
          of distinct features that fire on any token
        - cosine_similarity: mean over tokens of cos(x, x_hat); cosine_similarity_prisma: per
          dimension over tokens, then averaged
        - alive_fraction, dead_fraction: share of features that fired at all, or never
        - density: {edges, counts}: histogram of log10 firing frequency of the living features

        l0_spatial is None where only the CLS token counts, l0_cls where it does not, or the model has none.

    Raises:
        ClipsteerError: no activations, another width, or activations that are not finite.
    """
    dictionary = dictionary.to(device)

    def its_own() -> Iterable[npt.NDArray[np.floating]]:
        for batch in batches():
            yield (
                batch[:, token_span(dictionary.tokens, batch.shape[1])]
                if batch.ndim == 3
                else batch
            )

    mean, n_images, n_tokens = _mean(its_own, dictionary.d, progress)
    sums = _Sums(dictionary, n_tokens, torch.from_numpy(mean).to(device))
    step = images_at_once(n_tokens, dictionary.m)
    for batch in its_own():
        for start in range(0, len(batch), step):
            block = np.ascontiguousarray(batch[start : start + step], dtype=np.float32)
            sums.add(torch.from_numpy(block).to(device))
        if progress is not None:
            progress(len(batch))
    return sums.result(n_images, cls)


def images_at_once(n_tokens: int, m: int) -> int:
    """How many images of so many tokens have their codes of m features computed together."""
    return max(1, min(BLOCK_CODES // (n_tokens * m), BLOCK_TOKENS // n_tokens))


class _Sums:
    """Running sums, by token position, by dimension and by feature."""

    def __init__(self, dictionary: Dictionary, n_tokens: int, mean: Tensor) -> None:
        self.dictionary = dictionary
        self.mean = mean
        names = ("error", "variance", "ratio", "cosine", "l0")
        self.by_token = {name: np.zeros(n_tokens) for name in names}
        self.by_dimension = {name: np.zeros(dictionary.d) for name in ("xy", "xx", "yy")}
        self.fired = np.zeros(dictionary.m, dtype=np.int64)
        self.distinct = 0

    def add(self, block: Tensor) -> None:
        """One block of activations (images, tokens, d), float32."""
        images, tokens, d = block.shape
        flat = block.reshape(-1, d)
        f = self.dictionary.encode(flat)
        x, y = flat.double(), self.dictionary.decode(f).double()
        error = _row_dot(x - y, x - y)
        variance = _row_dot(x - self.mean, x - self.mean)
        norms = (_row_dot(x, x) * _row_dot(y, y)).sqrt()
        # Counted in float32 (exact): integers would take a pass over 8 bytes an entry.
        active = torch.gt(f, 0, out=torch.empty_like(f))
        rows = {
            "error": error,
            "variance": variance,
            "ratio": 1.0 - error / variance.clamp(min=1e-30),
            "cosine": _row_dot(x, y) / norms.clamp(min=1e-30),
            "l0": active.sum(dim=1),
        }
        for name, values in rows.items():
            grid = values.reshape(images, tokens).double().cpu().numpy()
            self.by_token[name] += grid.sum(axis=0)
        for name, product in (("xy", x * y), ("xx", x * x), ("yy", y * y)):
            self.by_dimension[name] += product.sum(dim=0).cpu().numpy()
        self.fired += active.sum(dim=0).long().cpu().numpy()
        per_image = active.reshape(images, tokens, -1).amax(dim=1).sum(dim=1)
        self.distinct += int(per_image.long().cpu().numpy().sum())

    def result(self, n_images: int, cls: int | None) -> dict[str, Any]:
        """The metrics, see `evaluate`."""
        n_tokens = len(self.by_token["l0"])
        n = n_images * n_tokens
        sums = {name: float(values.sum()) for name, values in self.by_token.items()}
        l0 = self.by_token["l0"] / n_images
        first = int(cls is not None and self.dictionary.tokens != "spatial")
        dims = self.by_dimension
        cosines = dims["xy"] / np.maximum(np.sqrt(dims["xx"] * dims["yy"]), 1e-30)
        alive = self.fired[self.fired > 0]
        logs = np.maximum(np.log10(alive / n), DENSITY_EDGES[0])
        return {
            "n_images": n_images,
            "n_tokens": n,
            "tokens_per_image": n_tokens,
            "n_features": self.dictionary.m,
            "explained_variance": 1.0 - sums["error"] / max(sums["variance"], 1e-30),
            "explained_variance_prisma": sums["ratio"] / n,
            "mean_squared_error": sums["error"] / (n * self.dictionary.d),
            "l0": sums["l0"] / n,
            "l0_spatial": float(l0[first:].mean()) if n_tokens > first else None,
            "l0_cls": float(l0[0]) if first else None,
            "l0_by_token": l0.tolist(),
            "image_l0": sums["l0"] / n_images,
            "image_l0_distinct": self.distinct / n_images,
            "cosine_similarity": sums["cosine"] / n,
            "cosine_similarity_prisma": float(cosines.mean()),
            "alive_fraction": len(alive) / self.dictionary.m,
            "dead_fraction": 1.0 - len(alive) / self.dictionary.m,
            "density": {
                "edges": list(DENSITY_EDGES),
                "counts": np.histogram(logs, bins=np.array(DENSITY_EDGES))[0].tolist(),
            },
        }


def _mean(
    batches: Batches, d: int, progress: Callable[[int], None] | None
) -> tuple[npt.NDArray[np.float64], int, int]:
    """Mean over all tokens (d,), number of images, tokens per image."""
    total = np.zeros(d)
    n_images, n_tokens = 0, 0
    for batch in batches():
        if batch.ndim != 3 or batch.shape[2] != d or (n_tokens and batch.shape[1] != n_tokens):
            raise ClipsteerError(
                f"activations to evaluate: found a batch of shape {batch.shape}, expected (images, "
                f"{n_tokens or 'tokens'}, {d}). Is the dictionary for this model and hook point?"
            )
        n_images, n_tokens = n_images + batch.shape[0], batch.shape[1]
        total += batch.sum(axis=(0, 1), dtype=np.float64)
        if progress is not None:
            progress(len(batch))
    if n_images == 0:
        raise ClipsteerError(
            "activations to evaluate: found none, expected at least one image. Check the split."
        )
    if not np.isfinite(total).all():
        raise ClipsteerError(
            "activations to evaluate: found NaN or infinite values, expected finite ones. Extract "
            "them again, in float32 if they overflow float16."
        )
    return total / (n_images * n_tokens), n_images, n_tokens


def _row_dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=1)
