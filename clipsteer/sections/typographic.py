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
        "of the logarithmic grid", _TUNE, default=14
    )


class Prefix(Section):
    """How Defense-Prefix is trained (Azuma and Matsui 2023): one token before the class name."""

    optimiser: Literal["sgd", "adam"] = key("`sgd` as published", _TRAIN, default="adam")
    lr: Rate = key("peak of a cosine", _TRAIN, default=0.01)
    final_lr: Amount = key("its end", _TRAIN, default=0.0)
    epochs: Positive = key("passes over the training pairs", _TRAIN, default=100)
    batch_size: Positive = key("pairs per step", _TRAIN, default=256)
    clean: Amount = key(
        "weight of the loss on clean images (attacked: 1)",
        _TRAIN,
        default=3.0,
    )


class Projection(Section):
    """How one matrix on image and text embeddings is trained (after Materzynska et al. 2022)."""

    lr: Rate = key("Adam's, peak of a cosine to 0", _PROJECT, default=1e-3)
    epochs: Positive = key("as `prefix.epochs`", _PROJECT, default=100)
    batch_size: Positive = key("pairs per step", _PROJECT, default=256)
    clean: Amount = key(
        "as `prefix.clean`",
        _PROJECT,
        default=3.0,
    )
    orthogonal: Amount = key("weight of the orthogonality penalty", _PROJECT, default=1.0)


class Patching(Section):
    """How the vision tower is fine-tuned, and how far its weights then go (Ilharco et al. 2022)."""

    lr: Rate = key("AdamW's, peak of a cosine to 0", _FINE_TUNE, default=1e-5)
    weight_decay: Amount = key("AdamW's", _FINE_TUNE, default=0.1)
    epochs: Count = key("as `prefix.epochs`; 0: left out", _FINE_TUNE, default=10)
    batch_size: Positive = key("pairs per step", _FINE_TUNE, default=128)
    alphas: Annotated[list[Fraction], Field(min_length=1), Once()] = key(
        "from the model's weights (0) to the fine-tuned ones (1)",
        "tune_patching",
        default=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    )


class Typographic(Section):
    """What `results/typographic_table.csv` is made from; switched off where `benchmarks` is empty."""

    tuned_on: Name = key(
        "with an `attack`: [D_notT and D_T](typographic.md#the-data); its validation images "
        "choose everything",
        "everything in the table",
        default=Absent,
        allowed="a data set",
    )
    benchmarks: Annotated[list[Name], Once()] = key(
        "their test splits: with an `attack`, or layout `rta100`, `materzynska` or `scam`; "
        "`[]`: no table",
        "what a new one needs",
        default=[],
        allowed="list of data sets",
    )
    dictionaries: Annotated[list[Name], Once()] = key(
        "the neuron basis adds mean difference and LEACE",
        "what a new one needs",
        default=[],
        allowed="list of dictionaries",
    )
    aggregate: Literal["mean", "max", "cls"] = key("as `steering.aggregate`", _TUNE, default="mean")
    tokens: Literal["all", "spatial", "cls"] = key(
        "tokens edited", f"{_TUNE}, evaluate_defences", default="all"
    )
    thresholds: Grid = part({})
    lambdas: Annotated[list[Annotated[Fraction | None, Null]], Field(min_length=1), Once()] = key(
        "cosines above which features [are added](typographic.md#defences); null: none",
        _TUNE,
        default=[None, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3],
        allowed="list of null and numbers above 0, at most 1",
    )
    scales: Annotated[list[Rate], Field(min_length=1), Once()] = key(
        "of mean difference",
        _TUNE,
        default=[0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0],
    )
    clean_drop: Points = key(
        "points clean validation images may lose",
        f"{_TUNE}, tune_patching",
        default=2.0,
    )
    random_seeds: Positive = key("random sets per chosen one", _TUNE, default=5)
    prefix: Prefix = part({})
    projection: Projection = part({})
    patching: Patching = part({})
