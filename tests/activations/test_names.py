"""The words that the schema allows are those that the code knows."""

from __future__ import annotations

from pathlib import Path

import yaml

from clipsteer.activations.compressors import CODECS
from clipsteer.activations.extract import HOOK_POINTS
from clipsteer.clip.device import DTYPES as MODEL_DTYPES
from clipsteer.clip.pixels import CROPS
from clipsteer.number_formats import DTYPES

SCHEMA = yaml.safe_load((Path(__file__).parents[2] / "schemas/config.schema.yaml").read_text())


def test_words_of_the_schema() -> None:
    model, activations, dictionary = (
        SCHEMA["$defs"][name]["properties"] for name in ("Model", "Activations", "Dictionary")
    )
    assert set(activations["dtype"]["enum"]) == set(DTYPES)
    assert set(activations["codec"]["enum"]) == set(CODECS)
    for points in (activations["hook_points"]["items"], dictionary["hook_point"]):
        assert set(points["enum"]) == set(HOOK_POINTS)
    assert set(model["dtype"]["enum"]) == set(MODEL_DTYPES)
    assert set(model["crop"]["enum"]) == set(CROPS)
