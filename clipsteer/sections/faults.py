"""The faults of a configuration in words: what pydantic found, as sentences of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clipsteer.errors import close_match
from clipsteer.sections.schema import Part, keys, resolved, schema
from clipsteer.sections.values import PATTERNS

_NULL = {"type": "null"}
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
# Of a value that is the list among alternatives.
_OF_LISTS = ("too_short", "too_long", "each_once")
# pydantic's types of errors -> what was expected; a text in braces is from its context.
_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_unicode": "text in Unicode",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "greater_than": "more than {gt}",
    "string_too_short": "text that is not empty",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "each_once": "each once",
}


def in_words(errors: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each fault of a whole configuration, in the order of the keys."""
    faults: dict[tuple[Any, ...], _Fault] = {}
    for error in errors:
        fault = _fault(error)
        # each alternative of a value has its say: the first one is enough
        faults.setdefault((*fault.path, fault.of_name), fault)
    ordered = sorted(faults.values(), key=lambda fault: [str(step) for step in fault.path])
    return [_sentence(fault) for fault in ordered]


class _Fault(NamedTuple):
    """One of pydantic's errors, with where it is in the configuration and in the schema."""

    error: Mapping[str, Any]
    path: list[Any]
    part: Part
    """The part of the schema that is not met; of an unknown key, the one that lacks it."""
    several: bool
    """Whether there are alternatives to it, which are all meant."""
    of_name: bool
    """Whether it is a name that is wrong, not what stands under it."""


def _fault(error: Mapping[str, Any]) -> _Fault:
    """The fault that an error is; pydantic names the alternative that it was at as a step of its own."""
    part: Part = schema()
    path: list[Any] = []
    several = False
    *_, last = loc = error["loc"]
    for step in loc[:-1] if last == "[key]" else loc:
        part = resolved(part)
        several = "oneOf" in part or ("anyOf" in part and _NULL not in part["anyOf"])
        if several:
            if step == "list":
                part = next(option for option in part["oneOf"] if option["type"] == "array")
                several = False
            continue
        path.append(step)
        part = next((option for option in part.get("anyOf", ()) if option != _NULL), part)
        if isinstance(step, int) and "items" in part:
            part = part["items"]
        else:
            below = part.get("properties", {}).get(step)
            part = below or part.get("additionalProperties") or part
    part = resolved(part)
    return _Fault(error, path, part, several or "anyOf" in part, last == "[key]")


# ---------------------------------------------------------------------------------------------- words


def _sentence(fault: _Fault) -> str:
    error, part = fault.error, fault.part
    key, found, kind = ".".join(map(str, fault.path)), error["input"], error["type"]
    if fault.of_name:
        return f"{key}: found the name {_shown(found)}, expected {_expected(error)}."
    if kind == "missing":
        return f"{key}: missing; add it (config.yaml shows every key with a comment)."
    if kind in ("extra_forbidden", "invalid_key"):
        allowed = list(part["properties"])
        meant = _meant_key(str(fault.path[-1]), allowed)
        return f"{key}: unknown key; allowed here: {', '.join(allowed)}.{meant}"
    if fault.several and kind not in _OF_LISTS:
        return f"{key}: found {_shown(found)}, expected {_alternatives(part)}.{_hint(found, kind)}"
    if kind == "literal_error":
        words = list(dict.fromkeys("off" if word is False else str(word) for word in part["enum"]))
        found_text = f"found {_shown(found)}, expected one of {', '.join(words)}."
        return f"{key}: {found_text}{close_match(str(found), words)}"
    return f"{key}: found {_shown(found)}, expected {_expected(error)}.{_hint(found, kind)}"


def _expected(error: Mapping[str, Any]) -> str:
    if error["type"] == "string_pattern_mismatch":
        return PATTERNS[error["ctx"]["pattern"]]
    bounds = {k: f"{v:g}" if isinstance(v, float) else v for k, v in error.get("ctx", {}).items()}
    known = _EXPECTED.get(error["type"])
    return known.format(**bounds) if known else str(error["msg"])  # a kind that we do not know of


def _alternatives(part: Part) -> str:
    return " or ".join(map(_alternative, part.get("anyOf") or part["oneOf"]))


def _alternative(option: Part) -> str:
    if "const" in option:
        return repr(option["const"])
    if option.get("exclusiveMinimum") == 0:
        return "a number above 0"
    least = option.get("minimum")
    return _KINDS[option["type"]] + (f" from {least}" if least is not None else "")


def _hint(found: object, kind: str) -> str:
    """What to do about a value of the wrong kind, where that is plain."""
    if kind in ("model_type", "dict_type"):
        hint = "" if found is not None else " An empty key takes its whole block away: "
        return hint and hint + "indent what belongs below it, or remove the line."
    if kind == "string_type" and isinstance(found, bool):
        return " YAML reads yes, on and true, no, off and false alike; in quotes each is text."
    if kind == "string_type" and not isinstance(found, str | list | dict | type(None)):
        return f' In quotes it is text: "{_shown(found)}".'
    return ""


def _meant_key(extra: str, allowed: list[str]) -> str:
    """What an unknown key may be meant for."""
    name, mark, _ = extra.partition(":") if ":" in extra else extra.partition("=")
    if mark:
        return f" Write a colon and a space after it: {{{name}: VALUE}}."
    if "." in extra:
        return (
            " Dots do not work: write each key on a line of its own, indented below the one before."
        )
    homes = [home for home, _, _ in keys(schema()) if home.rpartition(".")[2] == extra]
    if close := close_match(extra, allowed):
        return close
    return f" Did you mean {' or '.join(homes)}?" if homes else ""


def _shown(value: object) -> str:
    """A value as YAML would have it, cut where it is long."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    text = str(value) if not isinstance(value, str | list | dict) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
