"""The words that the sections' classes allow are those that the code knows."""

from __future__ import annotations

from typing import get_args

from clipsteer.activations.extract import HOOK_POINTS
from clipsteer.activations.writer import CODECS
from clipsteer.backbones.device import DTYPES as MODEL_DTYPES
from clipsteer.backbones.pixels import CROPS
from clipsteer.data.forms import FORMS
from clipsteer.dictionaries.loss import MSE_VARIANTS
from clipsteer.dictionaries.registry import TRAINED
from clipsteer.number_formats import DTYPES
from clipsteer.sections.data import Dataset
from clipsteer.sections.dictionaries import Dictionary, Training
from clipsteer.sections.general import Activations
from clipsteer.sections.model import Model
from clipsteer.sections.values import HookPoint, Section


def words(section: type[Section], key: str) -> set[str]:
    return set(get_args(section.model_fields[key].annotation))


def test_words_are_those_of_the_code() -> None:
    assert words(Activations, "dtype") == set(DTYPES)
    assert words(Activations, "codec") == set(CODECS)
    assert words(Model, "dtype") == set(MODEL_DTYPES)
    assert words(Model, "crop") == set(CROPS)
    assert words(Dataset, "layout") == set(FORMS)
    assert words(Dictionary, "architecture") == {*TRAINED, "neurons", "imported"}
    assert words(Training, "mse") == set(MSE_VARIANTS)
    assert set(get_args(HookPoint)) == set(HOOK_POINTS)
