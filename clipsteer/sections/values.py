"""What the classes of the configuration's sections are made of: kinds of values, and `key`, a field with its words.

People write 16.0, 4e1 or, in `--config 'steering={random_seeds: 3}'`, text where a number is wanted, and
YAML 1.1 reads 1e-4 as text. All spellings of a number become one value here, so that they share their keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_NUMBER = re.compile(r"[-+]?[0-9._]+([eE][-+]?[0-9]+)?")
# Patterns of texts, with what a user is told of them.
PATTERNS = {
    "^[a-z][a-z0-9_]*$": "a name of lower-case letters, digits and underscores, a letter first",
    r"\{\}": "text with {} in it, where the class name goes",
    "^[0-9]+$": "the number of a layer",
}
_NAME, _TEMPLATE, _LAYER = PATTERNS


class Absent:
    """The default of a key that may be left out and has no value then; never an object."""


class Section(BaseModel):
    """A part of the configuration: keys with values, no others than its fields."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


def key(meaning: str, again: str, *, default: Any = ..., allowed: str = "") -> Any:
    """A field of a section: a key with a value.

    Args:
        meaning: what it says, a sentence for docs/configuration.md.
        again: the step that runs again when it changes.
        default: what counts where it is left out; `Absent` for nothing at all. Without it the key must be given.
        allowed: for docs/configuration.md, where the type does not say it.
    """
    words: dict[str, Any] = {"again": again} | ({"allowed": allowed} if allowed else {})
    return Field(default, description=meaning, json_schema_extra={"x-docs": words})


def part(default: Any) -> Any:
    """A field that is a section of its own and may be left out: `default` is what it holds then, or `Absent`."""
    return Field(default, validate_default=default is not Absent)


# ------------------------------------------------------------------------------ values as they are meant


def is_number(value: object) -> bool:
    """Whether it is a number that a float holds; true, false, infinities and NaN are none."""
    try:
        return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def spelt(text: str) -> int | float | str:
    """The number that a text spells; the text where it spells none, or one that no float holds."""
    if not _NUMBER.fullmatch(text):
        return text
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if is_number(number) else text
    return text


def _whole(value: Any) -> Any:
    value = spelt(value) if isinstance(value, str) else value
    return int(value) if is_number(value) and value == int(value) else value


def _number(value: Any) -> Any:
    value = spelt(value) if isinstance(value, str) else value
    if is_number(value):
        return float(value) + 0.0  # no minus before a zero
    if type(value) is int:  # which pydantic would take
        raise PydanticCustomError("float_type", "no float holds it")
    return value


def _truth(value: Any) -> Any:
    return value == "true" if isinstance(value, str) and value in ("true", "false") else value


def _option(value: Any) -> Any:
    return _whole(value) if isinstance(value, float) else value


def _off(value: Any) -> Any:
    """YAML reads a bare off as false; pydantic would take 0 for it too."""
    if type(value) in (int, float):
        raise PydanticCustomError("literal_error", "a number is none of the words")
    return False if value == "false" else value


class Once:
    """Of a list: each item stands in it once."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_each_once, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "uniqueItems": True}


def _each_once(items: list[Hashable]) -> list[Hashable]:
    if len(set(items)) < len(items):
        raise PydanticCustomError("each_once", "each once")
    return items


# ------------------------------------------------------------------------------------ kinds of values

WHOLE = BeforeValidator(_whole)
"""Beside the bounds of a whole number that has some of its own."""

Text = Annotated[str, Field(strict=True)]
SomeText = Annotated[str, Field(strict=True, min_length=1)]
Name = Annotated[str, Field(strict=True, pattern=_NAME)]
Template = Annotated[str, Field(strict=True, pattern=_TEMPLATE)]
# A layer as a key: numbers in YAML, texts in JSON.
LayerKey = Annotated[str, Field(pattern=_LAYER), BeforeValidator(str)]
Truth = Annotated[bool, Field(strict=True), BeforeValidator(_truth)]
Whole = Annotated[int, Field(strict=True), WHOLE]
Count = Annotated[int, Field(strict=True, ge=0), WHOLE]
Positive = Annotated[int, Field(strict=True, ge=1), WHOLE]
Seed = Annotated[int, Field(strict=True, ge=0, le=2_000_000), WHOLE]
_FLOAT = Field(strict=True, allow_inf_nan=False)
Signed = Annotated[float, _FLOAT, Field(ge=-1e6, le=1e6), BeforeValidator(_number)]
Amount = Annotated[float, _FLOAT, Field(ge=0), BeforeValidator(_number)]
Rate = Annotated[float, _FLOAT, Field(gt=0), BeforeValidator(_number)]
Share = Annotated[float, _FLOAT, Field(ge=0, le=1), BeforeValidator(_number)]
Fraction = Annotated[float, _FLOAT, Field(gt=0, le=1), BeforeValidator(_number)]
Points = Annotated[float, _FLOAT, Field(ge=0, le=100), BeforeValidator(_number)]
# `null` of the command line comes as text.
Null = BeforeValidator(lambda value: None if value == "null" else value)
# A word in a layout's options: what each may be is for the layout to say.
Option = Annotated[
    Text | Annotated[bool, Field(strict=True)] | Annotated[int, Field(strict=True)],
    BeforeValidator(_option),
]
Off = BeforeValidator(_off)
HookPoint = Literal["resid_post", "mlp_out"]


def _by_kind(value: object) -> str:
    return "list" if isinstance(value, list) else "other"


#: Marks of the two alternatives of a value that may be a list or something else, and of both together.
LIST, OTHER, EITHER = Tag("list"), Tag("other"), Discriminator(_by_kind)
