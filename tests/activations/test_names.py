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
    model, activations = (SCHEMA["properties"][k]["properties"] for k in ("model", "activations"))
    assert set(activations["dtype"]["enum"]) == set(DTYPES)
    assert set(activations["codec"]["enum"]) == set(CODECS)
    assert set(SCHEMA["$defs"]["hook_point"]["enum"]) == set(HOOK_POINTS)
    assert set(SCHEMA["$defs"]["dtype"]["enum"]) == set(MODEL_DTYPES)
    assert set(model["crop"]["enum"]) == set(CROPS)
