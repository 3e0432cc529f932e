"""A configuration against the sections' classes: filled in, or its faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from clipsteer.sections.values import Absent, Section
from clipsteer.sections.whole import Configuration


def filled(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A copy of `config` with its values as they are meant and all defaults, or else its faults in words."""
    try:
        return _plain(Configuration.model_validate(dict(config))), []
    except ValidationError as error:
        from clipsteer.sections.faults import in_words  # needed only where something is wrong

        return {}, in_words(error.errors(include_url=False))


def _plain(value: Any) -> Any:
    """Sections as mappings, with every key that has a value; the rest as it is."""
    if isinstance(value, Section):
        return {k: _plain(v) for k, v in value.__dict__.items() if v is not Absent}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
