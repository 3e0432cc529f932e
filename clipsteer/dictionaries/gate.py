"""Does a released dictionary fit the user's own activations? Judged before anything is computed with it.

It is read as its files say, and in the other ways that people have been seen to read such files: whichever describes
the activations best shows what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipsteer.backbones.tokens import token_span
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.numerics import total
from clipsteer.dictionaries.topk import TopK
from clipsteer.dictionaries.vanilla import Vanilla
from clipsteer.errors import ClipsteerError

#: Activations (images, tokens, d), CLS first where there is one.
Blocks = Callable[[], Iterable[npt.NDArray[np.floating]]]

#: Below this explained variance a dictionary does not describe the activations; below the other it does so badly.
REJECT, DOUBT = 0.5, 0.8
#: How many times more or less L0 than published is another dictionary or other activations; or gives to think.
REJECT_L0, DOUBT_L0 = 5.0, 2.0
#: How much better another way of reading must do, or how far off what is published, before it is told.
BETTER = 0.05

_EPS = 1e-5  # of the layer norm that ViT-Prisma and SAELens put before a dictionary


class Measured(NamedTuple):
    """How a dictionary describes some activations."""

    explained_variance: float
    """1 - squared error over variance, over the tokens that it is for."""

    l0: float
    l0_cls: float | None
    """None where it is not for CLS tokens, or the model has none."""

    alive_fraction: float
    """Share of its features that fire on any of the tokens."""


@torch.no_grad()
def measure(
    dictionary: Dictionary, blocks: Blocks, *, cls: int | None, layer_norm: bool = False
) -> Measured:
    """Two passes over activations; sums in float64 in a fixed order.

    Args:
        dictionary: on the device to compute on.
        blocks: activations of a few images each, called once a pass.
        cls: place of the CLS token; None where the model has none.
        layer_norm: whether each token is brought to mean 0 and deviation 1 before it is encoded, and back after.

    Raises:
        ClipsteerError: activations of another width than the dictionary's.
    """
    device = dictionary.W_dec.device

    def tokens() -> Iterable[tuple[int, Tensor]]:
        for block in blocks():
            rows = block[:, token_span(dictionary.tokens, block.shape[1])]
            if rows.shape[2] != dictionary.d:
                raise ClipsteerError(
                    f"found a dictionary of width {dictionary.d} and activations of width {rows.shape[2]}, expected "
                    "the same: it was made for another CLIP. Take a dictionary of this one."
                )
            x = torch.from_numpy(np.ascontiguousarray(rows, np.float32)).to(device)
            yield rows.shape[1], x.reshape(-1, dictionary.d)

    sums, count = np.zeros(dictionary.d), 0
    for _, x in tokens():
        sums += x.cpu().numpy().sum(axis=0, dtype=np.float64)
        count += len(x)
    mean = torch.from_numpy(sums / max(count, 1)).to(device)
    error = variance = fired = fired_cls = 0.0
    alive = torch.zeros(dictionary.m, dtype=torch.bool, device=device)
    images = 0
    first = cls is not None and dictionary.tokens != "spatial"
    for width, x in tokens():
        moved = x
        if layer_norm:
            centre, spread = x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True)
            moved = (x - centre) / (spread + _EPS)
        code = dictionary.encode(moved)
        output = dictionary.decode(code)
        if layer_norm:
            output = output * spread + centre
        error += float(total((output.double() - x.double()).square().sum(dim=1)))
        variance += float(total((x.double() - mean).square().sum(dim=1)))
        active = code > 0
        per_token = active.sum(dim=1)
        fired += float(per_token.sum())
        fired_cls += float(per_token[::width].sum())
        alive |= active.any(dim=0)
        images += len(x) // width
    return Measured(
        explained_variance=1.0 - error / max(variance, 1e-30),
        l0=fired / max(count, 1),
        l0_cls=fired_cls / max(images, 1) if first else None,
        alive_fraction=float(alive.double().mean()),
    )


def other_ways(
    dictionary: Dictionary, *, subtracts_b_dec: bool
) -> dict[str, tuple[Dictionary, bool]]:
    """The same files read otherwise: words on it -> (dictionary, whether with layer norm)."""
    found = {"with layer norm of each token": (dictionary, True)}
    shift = dictionary.b_dec @ dictionary.W_enc
    other = dictionary.tensors()
    other["b_enc"] = other["b_enc"] + (shift if subtracts_b_dec else -shift)
    words = "without subtracting b_dec" if subtracts_b_dec else "with b_dec subtracted"
    found[words] = (_like(dictionary, other), False)
    if isinstance(dictionary, TopK):
        plain = {
            name: tensor for name, tensor in dictionary.tensors().items() if name in Vanilla.NAMES
        }
        relu = Vanilla(**plain)
        relu.tokens = dictionary.tokens
        found["as ReLU instead of Top-K"] = (relu, False)
    return found


def _like(dictionary: Dictionary, tensors: dict[str, Tensor]) -> Dictionary:
    made = type(dictionary).build(dictionary.d, dictionary.m, tensors, dictionary.options())
    made.tokens = dictionary.tokens
    return made


def judge(
    found: Measured,
    few: float,
    others: Mapping[str, float],
    published: Mapping[str, float],
) -> dict[str, Any]:
    """The verdict on a dictionary, in words.

    Args:
        found: what it does as its files say.
        few: its explained variance on the images that the other ways were tried on.
        others: explained variance by other ways of reading it.
        published: `explained_variance`, `l0`, `l0_cls` as its makers say; empty where that is not known.

    Returns:
        JSON values: `verdict` (accept, doubtful, reject), `sentence`, the numbers of `found`, `published`, and
        `alternatives`, the explained variance of each.
    """
    reasons, doubts = [], []
    if not found.explained_variance >= REJECT:
        reasons.append(
            f"it explains {found.explained_variance:.2f} of the variance, expected at least {REJECT}"
        )
    elif found.explained_variance < DOUBT:
        doubts.append(f"it explains only {found.explained_variance:.2f} of the variance")
    if published:
        ratio = max(found.l0, 1e-9) / published["l0"]
        if not 1 / REJECT_L0 <= ratio <= REJECT_L0:
            reasons.append(
                f"{found.l0:.0f} features fire on a token, but {published['l0']:.0f} are published"
            )
        elif not 1 / DOUBT_L0 <= ratio <= DOUBT_L0:
            doubts.append(
                f"{found.l0:.0f} features fire on a token, but {published['l0']:.0f} are published"
            )
        gap = published["explained_variance"] - found.explained_variance
        if gap > 2 * BETTER and not reasons:
            doubts.append(f"{published['explained_variance']:.2f} of the variance are published")
    best = max(others, key=lambda words: others[words], default=None)
    fits = best is not None and others[best] > few + BETTER and others[best] >= REJECT
    if fits:
        doubts.append(f"it fits better {best}")
    verdict = "reject" if reasons else "doubtful" if doubts else "accept"
    cls = "" if found.l0_cls is None else f", L0 of CLS {found.l0_cls:.1f}"
    numbers = (
        f"explained variance {found.explained_variance:.2f}, L0 {found.l0:.1f}{cls}, {found.alive_fraction:.0%} of its "
        "features fire"
    )
    why = "; ".join([*reasons, *doubts])
    better = f" (explained variance {others[best]:.2f})" if fits and best is not None else ""
    return {
        "verdict": verdict,
        "sentence": f"{verdict}: {why}{better} [{numbers}]" if why else f"{verdict}: {numbers}",
        **found._asdict(),
        "published": dict(published),
        "alternatives": dict(others),
    }
