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
        "`model`: the most frequent whole words of its tokenizer, of the tiny CLIP the words and phrases of "
        "its captions; or your own file",
        _EMBED,
        default="model",
        allowed="`model`, or a file",
    )
    size: Annotated[int, Field(strict=True, ge=2), WHOLE] = key(
        "entries at most, the first ones", _EMBED, default=5000
    )
    template: Template = key("prompt of each entry", _EMBED, default="a photo of a {}.")


class Steerability(Section):
    """What `results/<dataset>_steerability.csv` and its figures are measured on."""

    split: Literal["validation", "train"] = key(
        "whose images are steered; never test's, as looking is choosing",
        _MEASURE,
        default="validation",
    )
    images: Positive = key("drawn; all, where the split has fewer", _MEASURE, default=192)
    features: Sample = key(
        "of each dictionary and layer, drawn: all, a share below 1, or a number from 2",
        "measure_steerability",
        default="all",
        allowed="`all`, or above 0",
    )
    random: Positive = key(
        "random unit directions at each hook point and layer, the control",
        "measure_random",
        default=1000,
    )
    strengths: Annotated[list[Signed], Field(min_length=2), Once()] = key(
        "of the curves, on all tokens; the asymptote is one of those above 0",
        _MEASURE,
        default=[-20.0, -10.0, 0.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0, 125.0, 150.0],
        allowed="list of different numbers, one above 0 at least, within a million",
    )
    curves: Positive = key(
        "features of the sample whose mean S_f finds the asymptote: the smallest strength after which it "
        "changes by less than 1 %",
        _MEASURE,
        default=64,
    )
    show: Annotated[list[Count], Field(max_length=3), Once()] = key(
        "features whose curves are drawn, besides the most, the median and the least steerable",
        "measure_steerability",
        default=[],
        allowed="list of at most three numbers of features",
    )
    gamma: Amount = key(
        "a feature is steerable where S_f is above it (Eq. 7)",
        f"{_TABLE}; with `early_stop` what that reaches",
        default=0.1,
    )
    beta: Amount = key(
        "higher threshold of Eq. 8, not in the paper: above 0.5 a feature moves less than two words",
        _TABLE,
        default=0.5,
    )
    early_stop: Truth = key(
        "skip a feature's other images once the upper bound of its S_f (99.9 %) is below gamma",
        _MEASURE,
        default=False,
    )
