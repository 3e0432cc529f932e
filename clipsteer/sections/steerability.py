"""The sections `vocabulary` and `steerability`: how precisely features steer the model's output (Section 6)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from clipsteer.sections.values import (
    OTHER,
    WHOLE,
    Amount,
    Count,
    Once,
    Positive,
    Rate,
    Section,
    Signed,
    SomeText,
    Template,
    Truth,
    is_number,
    key,
    spelt,
)

_EMBED = "embed_vocabulary"
_MEASURE = "measure_steerability, measure_random"
_TABLE = "steerability_table"


def _by_kind(value: Any) -> str:
    return "number" if is_number(spelt(value) if isinstance(value, str) else value) else "other"


# All of them, a share below 1, or so many: what a number may be, clipsteer/config/check.py says.
Sample = Annotated[
    Annotated[Literal["all"], OTHER] | Annotated[Rate, Tag("number")], Discriminator(_by_kind)
]


class Vocabulary(Section):
    """The words whose probabilities are measured, V in Section 6.1."""

    source: SomeText = key(
        "`model`: [words it knows](steerability.md#what-is-measured)",
        _EMBED,
        default="model",
        allowed="`model`, or a file",
    )
    size: Annotated[int, Field(strict=True, ge=2), WHOLE] = key(
        "first entries kept", _EMBED, default=5000
    )
    template: Template = key("prompt", _EMBED, default="a photo of a {}.")


class Steerability(Section):
    """What `results/<dataset>_steerability.csv` and its figures are measured on."""

    split: Literal["validation", "train"] = key(
        "of the images steered",
        _MEASURE,
        default="validation",
    )
    images: Positive = key("drawn; all, if there are fewer", _MEASURE, default=192)
    features: Sample = key(
        "drawn per dictionary and layer",
        "measure_steerability",
        default="all",
        allowed="`all`, a share below 1, or a number from 2",
    )
    random: Positive = key(
        "random directions per hook point and layer",
        "measure_random",
        default=1000,
    )
    strengths: Annotated[list[Signed], Field(min_length=2), Once()] = key(
        "on all tokens; the [asymptote](steerability.md#what-is-measured) is one above 0",
        _MEASURE,
        default=[-20.0, -10.0, 0.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0, 125.0, 150.0],
        allowed="list of numbers within a million, at least one above 0",
    )
    curves: Positive = key(
        "features whose mean S_f finds the asymptote",
        _MEASURE,
        default=64,
    )
    show: Annotated[list[Count], Field(max_length=3), Once()] = key(
        "drawn besides the most, median and least steerable",
        "measure_steerability",
        default=[],
        allowed="list of at most three feature numbers",
    )
    gamma: Amount = key(
        "steerable: S_f above it (Eq. 7)",
        f"{_TABLE}; with `early_stop` what that reaches",
        default=0.1,
    )
    beta: Amount = key(
        "threshold of Eq. 8 ([ours](steerability.md#what-is-measured))",
        _TABLE,
        default=0.5,
    )
    early_stop: Truth = key(
        "skip a feature's other images once S_f is surely (99.9 %) below gamma",
        _MEASURE,
        default=False,
    )
