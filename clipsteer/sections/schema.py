"""The configuration as JSON Schema, made of the sections' classes: for sentences, pages and editors."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from clipsteer.sections.values import Absent
from clipsteer.sections.whole import Configuration

Part = Mapping[str, Any]


class _Generator(GenerateJsonSchema):
    """JSON Schema in the order of the classes, without titles, and names of mappings as `propertyNames`."""

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        return value

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        return {k: v for k, v in super().model_schema(schema).items() if k != "title"}

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        if schema.get("default") is Absent:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        found = {
            "type": "object",
            "propertyNames": self.generate_inner(schema["keys_schema"]),
            "additionalProperties": self.generate_inner(schema["values_schema"]),
        }
        self.update_with_validations(found, schema, self.ValidationsMapping.object)
        return found


@functools.cache
def schema() -> dict[str, Any]:
    """The configuration's JSON Schema (2020-12)."""
    return {
        "$schema": _Generator.schema_dialect,
        **Configuration.model_json_schema(schema_generator=_Generator),
    }


def resolved(part: Part) -> Part:
    """What a part of the schema refers to; itself where it refers to nothing."""
    while "$ref" in part:
        part = schema()["$defs"][part["$ref"].rpartition("/")[2]]
    return part


def keys(part: Part, key: str = "") -> Iterator[tuple[str, Part, bool]]:
    """(dotted key, its part, whether it must be given) of a part of the schema and of all below it.

    <name> stands where the user gives it.
    """
    part = resolved(part)
    for name, below in part.get("properties", {}).items():
        dotted = f"{key}.{name}" if key else name
        yield dotted, below, name in part.get("required", ())
        yield from keys(below, dotted)
    if others := part.get("additionalProperties"):
        yield from keys(others, f"{key}.<name>")
