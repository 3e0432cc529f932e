"""The whole configuration: its sections."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from clipsteer.sections.data import Dataset
from clipsteer.sections.dictionaries import Dictionary, Sweep
from clipsteer.sections.explorer import Explorer
from clipsteer.sections.general import Activations, Head, Jobs, Raw, Runtime, Steering, Store
from clipsteer.sections.model import Model, OtherModel
from clipsteer.sections.steerability import Steerability, Vocabulary
from clipsteer.sections.typographic import Typographic
from clipsteer.sections.values import Name, Once, Section, Seed, key, part


class Configuration(Section):
    """What config.yaml may hold."""

    model_config = ConfigDict(defer_build=False)

    seed: Seed = key(
        "for everything random",
        "paint_world, paint_pairs, build_manifest, pretrain_clip, train_dictionary, ablate_features, shuffle_control, "
        "make_table, fit_directions, evaluate_subspaces, evaluate_readout, top_images, image_views, "
        "measure_steerability, measure_random, steerability_table, label_attacked, list_attacked, train_prefix, "
        "train_projection, train_patching, tune_defences; extract_activations for augmented copies",
    )
    store: Store
    runtime: Runtime
    raw: Raw
    datasets: Annotated[dict[Name, Dataset], Field(min_length=1)]
    model: Model
    models: dict[Name, OtherModel] = Field(default={})
    activations: Activations
    dictionaries: Annotated[dict[Name, Dictionary], Field(min_length=1)]
    sweep: Sweep = part({})
    head: Head = part({})
    steering: Steering
    explorer: Explorer = part({})
    vocabulary: Vocabulary = part({})
    steerability: Steerability = part({})
    typographic: Typographic = part({})
    tables: dict[Name, Annotated[list[Name], Once()]] = key(
        "in the table of data set `<name>`, at least one an SAE; `[]`: no table",
        "make_table, and what a new dictionary needs; build_manifest with a first table",
        allowed="list of dictionaries",
    )
    dictionary_tables: dict[Name, Annotated[list[Name], Once()]] = key(
        "for `results/<name>_dictionaries.csv` [without a table](#what-is-written-to-results)",
        "dictionary_table, and what a new dictionary needs",
        default={},
        allowed="list of dictionaries",
    )
    jobs: Jobs
