"""How precisely a feature steers the model's output: Equations 4, 5 and 11 of the paper (Sections 6.1 and 11.2).

P_i is the probability of every vocabulary entry given image i, and P~_i the same with a feature set to a strength on
all tokens. Over images i and entries v:

    dP_f(v)   = | mean_i (P~_i(v) - P_i(v)) |                        Eq. 4
    S_f       = sum_v mean_i (P~_i(v) - P_i(v))^2                    Eq. 5 as it is written, `paper`
    S_f       = sum_v (mean_i (P~_i(v) - P_i(v)))^2                  as the authors' code has it, `prisma`
    D_f       = sum_v P(v|f) ||v - mu_V||,  P(v|f) = mean_i P~_i(v)  Eq. 11

The sum over v is not in Eq. 5; the text around it asks for it. `prisma` is never larger than `paper`: what steering
does alike to all images is left of it. mu_V is the mean of the entries' unit embeddings (Eq. 10). The concept of a
feature is the entry of the largest P(v|f).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Reading = Literal["paper", "prisma"]
READINGS: tuple[Reading, Reading] = ("paper", "prisma")

#: Words that are kept of each feature, those of the largest P(v|f).
TOP = 10
# One-sided, of the mean over the images so far.
_STOP_TAIL = 0.001

Floats = NDArray[np.float64]


def probabilities(embeddings: Tensor, vocabulary: Tensor, logit_scale: float) -> Tensor:
    """P of images: the softmax of logit_scale times cosines, (n, p) and unit rows (V, p) -> (n, V) float32."""
    units = torch.nn.functional.normalize(embeddings.float(), dim=-1)
    return (units @ vocabulary.T).mul_(logit_scale).softmax(dim=-1)


def distances(vocabulary: Tensor) -> tuple[Floats, float]:
    """||v - mu_V|| of every entry (V,), and ||mu_V||, from unit rows (V, p)."""
    rows = vocabulary.double().cpu().numpy()
    mean = rows.mean(axis=0)
    return np.linalg.norm(rows - mean, axis=1), float(np.linalg.norm(mean))


def total(rows: Tensor) -> Floats:
    """The sum of rows (n, V) in float64."""
    return np.asarray(rows.sum(dim=0, dtype=torch.float64).cpu().numpy())


class Scores(NamedTuple):
    """What is known of some features at one strength each, a row a feature (n,); words by their place in V."""

    feature: NDArray[np.int64]
    strength: Floats
    images: NDArray[np.int64]
    """Images that were looked at."""
    s_paper: Floats
    s_prisma: Floats
    entropy: Floats
    """Of P(v|f), in nats."""
    d: Floats
    """D_f."""
    delta: Floats
    """dP_f of the concept."""
    delta_max: Floats
    """The largest dP_f of any word."""
    delta_word: NDArray[np.int64]
    """That word."""
    top_words: NDArray[np.int64]
    """(n, TOP): the words of the largest P(v|f), the concept first."""
    top_probabilities: Floats
    """(n, TOP): their P(v|f)."""

    def rows(self, start: int, stop: int) -> Scores:
        """Some of the rows."""
        columns: Any = (column[start:stop] for column in self)
        return Scores(*columns)


def joined(parts: Sequence[Scores]) -> Scores:
    """Rows of one after the other."""
    return Scores(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class Sums:
    """What is summed over images for a few features: V numbers a feature and some, however many images.

    Sums over images are taken in float64, in the order of the images.
    """

    def __init__(self, features: NDArray[np.int64], entries: int) -> None:
        self.features = features
        self.before = np.zeros((len(features), entries))
        self.after = np.zeros((len(features), entries))
        self.squares = np.zeros(len(features))
        self.fourths = np.zeros(len(features))
        self.images = np.zeros(len(features), np.int64)

    def add(self, place: int, before: Tensor, total_before: Floats, after: Tensor) -> None:
        """P_i and P~_i (n, V) of some images, for the feature at `place`; `total_before`: the sum of P_i over them."""
        change = after - before
        squares = torch.linalg.vecdot(change, change).cpu().double().numpy()
        self.before[place] += total_before
        self.after[place] += total(after)
        self.squares[place] += squares.sum()
        self.fourths[place] += np.square(squares).sum()
        self.images[place] += len(squares)

    def surely_below(self, gamma: float) -> NDArray[np.bool_]:
        """Of each feature whether the upper bound of S_f is below gamma, in both readings.

        `paper` is a mean over images, whose bound is Student's; `prisma` is never above it.
        """
        from scipy.special import stdtrit

        n = np.maximum(self.images, 2)
        mean = self.squares / n
        variance = np.maximum(self.fourths / n - mean**2, 0) * n / (n - 1)
        bound = mean + stdtrit(n - 1, 1 - _STOP_TAIL) * np.sqrt(variance / n)
        return np.asarray((bound < gamma) & (self.images > 1))

    def scores(self, strength: float, distance: Floats) -> Scores:
        """The measures of all features; `distance` (V,) from `distances`."""
        n = self.images[:, None]
        after = self.after / n
        delta = np.abs(after - self.before / n)
        top = np.argsort(-after, axis=1, kind="stable")[:, :TOP]
        rows = np.arange(len(after))
        most = delta.argmax(axis=1)
        positive = np.where(after > 0, after, 1.0)
        return Scores(
            feature=self.features,
            strength=np.full(len(rows), float(strength)),
            images=self.images,
            s_paper=self.squares / self.images,
            s_prisma=np.square(delta).sum(axis=1),
            entropy=-(after * np.log(positive)).sum(axis=1),
            d=(after * distance).sum(axis=1),
            delta=delta[rows, top[:, 0]],
            delta_max=delta[rows, most],
            delta_word=most,
            top_words=top,
            top_probabilities=np.take_along_axis(after, top, axis=1),
        )


def asymptote(strengths: Sequence[float], means: Sequence[float]) -> tuple[float, bool]:
    """The strength from which on S_f stays as it is, and whether there is one.

    The smallest above 0 after which the mean S_f changes by less than 1 % at every larger one. Where the last alone
    is such, nothing is known of what comes after it: then it is taken, and there is none.
    """
    curve = sorted((s, mean) for s, mean in zip(strengths, means, strict=True) if s > 0)
    for place, (strength, mean) in enumerate(curve[:-1]):
        later = [other for _, other in curve[place + 1 :]]
        if all(other == mean or abs(other - mean) < 0.01 * mean for other in later):
            return strength, True
    return curve[-1][0], False
