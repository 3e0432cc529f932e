"""The configuration beside its schema: values as the schema means them, and its faults in words.

People write 16.0, 4e1 or, in `--config 'steering={random_seeds: 3}'`, text where a number is wanted, and
YAML 1.1 reads 1e-4 as text. All spellings of a number are one value here, so that they share their keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from clipsteer.errors import close_match

Schema = Mapping[str, Any]

_NUMBER = re.compile(r"[-+]?[0-9._]+([eE][-+]?[0-9]+)?")
# JSON Schema's types, in words.
_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "object": "keys with values",
    "null": "null",
}


def _finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


# JSON Schema takes 1.0 for a whole number, and YAML's .nan and .inf for numbers.
_Validator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
            "number": lambda _, value: _finite(value) and not isinstance(value, bool),
        }
    ),
)


# ------------------------------------------------------------------------------ values as they are meant


def as_meant(value: Any, part: Schema, schema: Schema) -> Any:
    """`value` in the types that `part` of `schema` wants, where it is only written otherwise; a copy.

    Where a whole number is wanted, 16.0 becomes 16; where a number, 1 becomes 1.0; text becomes the number,
    `true`, `false` or `null` that it spells where no text is allowed. What fits nothing stays as it is.
    """
    part = _resolved(part, schema)
    if "anyOf" in part:
        meant = [as_meant(value, option, schema) for option in part["anyOf"]]
        pairs = zip(meant, part["anyOf"], strict=True)
        fitting = (m for m, option in pairs if _fits(m, option, schema))
        return next(fitting, meant[_nearest(value, part["anyOf"])])
    if isinstance(value, Mapping):
        named, others = part.get("properties", {}), part.get("additionalProperties", {})
        return {k: as_meant(v, named.get(k, others or {}), schema) for k, v in value.items()}
    if isinstance(value, list):
        return [as_meant(item, part.get("items", {}), schema) for item in value]
    return _scalar(value, part)


def _scalar(value: Any, part: Schema) -> Any:
    wanted = part.get("type", ())
    kinds = {wanted} if isinstance(wanted, str) else set(wanted)
    words = part.get("enum", [part["const"]] if "const" in part else [])
    if isinstance(value, str):
        if value == "null" and "null" in kinds:
            return None
        if value in words or "string" in kinds:
            return value
        if value in ("true", "false") and ("boolean" in kinds or False in words):
            return value == "true"
        value = _number(value) if kinds & {"integer", "number"} else value
    if isinstance(value, bool) or not _finite(value):
        return value
    if "number" in kinds:
        return float(value) + 0.0  # no minus before a zero
    return int(value) if "integer" in kinds and value == int(value) else value


def _number(text: str) -> int | float | str:
    """The number that a text spells; the text where it spells none, or one that no float holds."""
    if not _NUMBER.fullmatch(text):
        return text
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if _finite(number) else text
    return text


def _resolved(part: Schema, schema: Schema) -> Schema:
    while "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    return part


def _fits(value: Any, part: Schema, schema: Schema) -> bool:
    return bool(_Validator({"$defs": schema["$defs"], **part}).is_valid(value))


def _nearest(value: object, options: list[Schema]) -> int:
    """Which of the alternatives a value that fits none of them is meant for."""
    lists = [option.get("type") == "array" for option in options]
    return lists.index(isinstance(value, list)) if isinstance(value, list) in lists else 0


# ---------------------------------------------------------------------------------------- faults in words


def shape_faults(config: Mapping[str, Any], schema: Schema) -> Iterator[str]:
    """What of `config`, its values as they are meant, the schema does not allow; in the order of the keys."""
    errors = _Validator(schema).iter_errors(config)
    for error in sorted(errors, key=lambda e: [str(part) for part in e.absolute_path]):
        yield from _describe(error, schema)


def _describe(error: ValidationError, schema: Schema) -> Iterator[str]:
    key = ".".join(str(part) for part in error.absolute_path)
    found: Any = error.instance
    value: Any = error.validator_value
    part: Any = error.schema
    rule = error.validator
    if "propertyNames" in error.absolute_schema_path:
        yield f"{_join(key, found)}: found the name {_shown(found)}, expected {_expected(error)}."
    elif rule == "additionalProperties" and isinstance(found, dict):
        allowed = list(part.get("properties", {}))
        for extra in sorted(map(str, set(found) - set(allowed))):
            yield (
                f"{_join(key, extra)}: unknown key; allowed here: {', '.join(allowed)}."
                + _meant_key(extra, allowed, schema)
            )
    elif rule == "required":
        missing = sorted(set(value) - set(found))
        # one error per missing key reaches us; name only the one that this error is about
        name = next((m for m in missing if f"'{m}'" in error.message), missing[0])
        yield f"{_join(key, name)}: missing; add it (config.yaml shows every key with a comment)."
    elif rule == "enum":
        allowed = ["off" if choice is False else str(choice) for choice in value]
        yield (
            f"{key}: found {_shown(found)}, expected one of {', '.join(dict.fromkeys(allowed))}."
            + (close_match(str(found), allowed))
        )
    elif rule == "anyOf" and isinstance(found, list):
        below = [e for e in error.context or () if e.schema_path[0] == _nearest(found, value)]
        for deeper in below:
            yield from _describe(deeper, schema)
    else:
        yield f"{key}: found {_shown(found)}, expected {_expected(error)}.{_hint(found, error)}"


def _expected(error: ValidationError) -> str:
    value: Any = error.validator_value
    part: Any = error.schema
    match error.validator:
        case "type":
            kinds = [value] if isinstance(value, str) else value
            return " or ".join(_KINDS[kind] for kind in kinds)
        case "minimum":
            return f"at least {value}"
        case "maximum":
            return f"at most {value}"
        case "exclusiveMinimum":
            return f"more than {value}"
        case "minLength":
            return "text that is not empty"
        case "minItems" | "minProperties":
            return f"at least {value} of them"
        case "maxItems":
            return f"at most {value} of them"
        case "uniqueItems":
            return "each once"
        case "pattern":
            return str(part.get("description", f"text that matches {value}"))
        case "anyOf":
            return " or ".join(_alternative(option) for option in value)
        case _:
            return str(error.message)


def _alternative(option: Schema) -> str:
    if "const" in option:
        return repr(option["const"])
    if option.get("type") in ("array", "null"):
        return _KINDS[option["type"]]
    return "a number above 0" if option["$ref"].endswith("/rate") else "a whole number from 1"


def _hint(found: object, error: ValidationError) -> str:
    """What to do about a value of the wrong kind, where that is plain."""
    wanted: Any = error.validator_value
    if error.validator != "type":
        return ""
    if wanted == "object":
        hint = "" if found is not None else " An empty key takes its whole block away: "
        return hint and hint + "indent what belongs below it, or remove the line."
    if "string" in wanted and isinstance(found, bool):
        return " YAML reads yes, on and true, no, off and false alike; in quotes each is text."
    if "string" in wanted and not isinstance(found, str | list | dict | type(None)):
        return f' In quotes it is text: "{_shown(found)}".'
    return ""


def _meant_key(extra: str, allowed: list[str], schema: Schema) -> str:
    """What an unknown key may be meant for."""
    name, mark, _ = extra.partition(":") if ":" in extra else extra.partition("=")
    if mark:
        return f" Write a colon and a space after it: {{{name}: VALUE}}."
    if "." in extra:
        return (
            " Dots do not work: write each key on a line of its own, indented below the one before."
        )
    homes = [home for home in _homes(schema, schema) if home.rpartition(".")[2] == extra]
    if close := close_match(extra, allowed):
        return close
    return f" Did you mean {' or '.join(homes)}?" if homes else ""


def _homes(part: Schema, schema: Schema, key: str = "") -> Iterator[str]:
    """The dotted keys of a part of the schema and of all below it; <name> where the user gives it."""
    part = _resolved(part, schema)
    for name, below in part.get("properties", {}).items():
        yield _join(key, name)
        yield from _homes(below, schema, _join(key, name))
    if others := part.get("additionalProperties"):
        yield from _homes(others, schema, _join(key, "<name>"))


def _shown(value: object) -> str:
    """A value as YAML would have it, cut where it is long."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    text = str(value) if not isinstance(value, str | list | dict) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _join(key: str, part: object) -> str:
    return f"{key}.{part}" if key else str(part)
