"""The section `typographic`: attacks by printed words, and defences against them (Section 7.2)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clipsteer.sections.values import (
    WHOLE,
    Absent,
    Amount,
    Count,
    Fraction,
    Name,
    Null,
    Once,
    Points,
    Positive,
    Rate,
    Section,
    key,
    part,
)

_TUNE = "tune_defences"
_TRAIN, _PROJECT, _FINE_TUNE = "train_prefix", "train_projection", "train_patching"


class Grid(Section):
    """The grid of tau."""

    low: Rate = key("smallest tau", _TUNE, default=1e-4)
    high: Rate = key("largest tau", _TUNE, default=10.0, allowed="above `low`")
    points: Annotated[int, Field(strict=True, ge=2), WHOLE] = key(
        "points of the logarithmic grid", _TUNE, default=14
    )


class Prefix(Section):
    """How Defense-Prefix is trained (Azuma and Matsui 2023): one token before the class name."""

    optimiser: Literal["sgd", "adam"] = key("`sgd` as published", _TRAIN, default="adam")
    lr: Rate = key("peak of a cosine", _TRAIN, default=0.01)
    final_lr: Amount = key("where the cosine ends", _TRAIN, default=0.0)
    epochs: Positive = key("passes over the training pairs", _TRAIN, default=100)
    batch_size: Positive = key("pairs a step", _TRAIN, default=256)
    clean: Amount = key(
        "weight of the loss that keeps clean images where they are; attacked ones have 1",
        _TRAIN,
        default=3.0,
    )


class Projection(Section):
    """How one matrix on image and text embeddings is trained (after Materzynska et al. 2022)."""

    lr: Rate = key("of Adam, the peak of a cosine to 0", _PROJECT, default=1e-3)
    epochs: Positive = key("as `prefix.epochs`", _PROJECT, default=100)
    batch_size: Positive = key("pairs a step", _PROJECT, default=256)
    clean: Amount = key(
        "as `prefix.clean`",
        _PROJECT,
        default=3.0,
    )
    orthogonal: Amount = key(
        "weight of the penalty that keeps the matrix near orthogonal", _PROJECT, default=1.0
    )


class Patching(Section):
    """How the vision tower is fine-tuned, and how far its weights then go (Ilharco et al. 2022)."""

    lr: Rate = key("of AdamW, the peak of a cosine to 0", _FINE_TUNE, default=1e-5)
    weight_decay: Amount = key("of AdamW", _FINE_TUNE, default=0.1)
    epochs: Count = key("as `prefix.epochs`; 0 leaves this defence out", _FINE_TUNE, default=10)
    batch_size: Positive = key("pairs a step", _FINE_TUNE, default=128)
    alphas: Annotated[list[Fraction], Field(min_length=1), Once()] = key(
        "how far weights go from the model's (0) to the fine-tuned ones (1), for validation to choose from",
        "tune_patching",
        default=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    )


class Typographic(Section):
    """What `results/typographic_table.csv` is made from; switched off where `benchmarks` is empty."""

    tuned_on: Name = key(
        "a data set with an `attack`: its training images are D_notT and, with the word, D_T; everything is "
        "chosen on its validation images, and the cost on clean images measured on its test images",
        "everything in the table",
        default=Absent,
        allowed="name of a data set",
    )
    benchmarks: Annotated[list[Name], Once()] = key(
        "whose test split counts: with an `attack`, or of layout `rta100`, `materzynska` or `scam`",
        "what a new one needs",
        default=[],
        allowed="list of data sets",
    )
    dictionaries: Annotated[list[Name], Once()] = key(
        "of the model; mean difference and LEACE come with the neuron basis",
        "what a new one needs",
        default=[],
        allowed="list of dictionaries",
    )
    aggregate: Literal["mean", "max", "cls"] = key("as `steering.aggregate`", _TUNE, default="mean")
    tokens: Literal["all", "spatial", "cls"] = key(
        "tokens that are edited", f"{_TUNE}, evaluate_defences", default="all"
    )
    thresholds: Grid = part({})
    lambdas: Annotated[list[Annotated[Fraction | None, Null]], Field(min_length=1), Once()] = key(
        "cosines from which on features of directions like a chosen one's are added; null adds none. What a "
        "cosine means depends on d",
        _TUNE,
        default=[None, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3],
        allowed="list of null and numbers above 0, at most 1",
    )
    scales: Annotated[list[Rate], Field(min_length=1), Once()] = key(
        "of mean difference, for validation to choose from",
        _TUNE,
        default=[0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0],
    )
    clean_drop: Points = key(
        "points that accuracy on clean validation images may fall",
        f"{_TUNE}, tune_patching",
        default=2.0,
    )
    random_seeds: Positive = key("random sets beside each chosen one", _TUNE, default=5)
    prefix: Prefix = part({})
    projection: Projection = part({})
    patching: Patching = part({})
