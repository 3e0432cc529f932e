"""What is written out of the sections' classes: schemas/config.schema.yaml, and the tables of docs/configuration.md.

    python -m clipsteer.sections.written

writes both anew; a test holds them equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from clipsteer.sections.schema import Part, keys, schema
from clipsteer.sections.values import Absent

BASE = Path(__file__).parents[2]
_SCHEMA, _PAGE, _DEFAULT = "schemas/config.schema.yaml", "docs/configuration.md", "config.yaml"
_HEADER = "# Written by `python -m clipsteer.sections.written` from the classes in clipsteer/sections: do not edit.\n"
_TABLE = re.compile(
    r"(<!-- keys of ([a-z_., ]+?)(?: \(.*?\))? -->\n).*?(<!-- end of keys -->)", re.DOTALL
)
_HEAD = "| key | allowed | default | meaning | runs again |\n|---|---|---|---|---|\n"


def files(base: Path = BASE) -> dict[Path, str]:
    """What is to stand in each of the files that are written."""
    page = base / _PAGE
    default = yaml.safe_load((base / _DEFAULT).read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    wanted = [name for found in _TABLE.finditer(text) for name in found[2].split(", ")]
    rows = {name: "" for name in wanted}
    told = ""
    for key, part, needed in keys(schema()):
        # a part that has a row of its own says where its keys are explained
        if "x-docs" in part and not (told and key.startswith(f"{told}.")):
            home = max((n for n in wanted if f"{key}.".startswith(f"{n}.")), key=len)
            rows[home] += _row(key, part, needed, default)
            told = key
    page_text = _TABLE.sub(
        lambda found: found[1] + _HEAD + "".join(rows[n] for n in found[2].split(", ")) + found[3],
        text,
    )
    dumped = yaml.safe_dump(schema(), sort_keys=False, allow_unicode=True, width=110)
    return {base / _SCHEMA: _HEADER + dumped, page: page_text}


def _row(key: str, part: Part, needed: bool, default: Mapping[str, Any]) -> str:
    """One key's row; its default is that of config.yaml, or else that of the class."""
    if "." not in key and "additionalProperties" in part:  # tables
        key, needed = f"{key}.<name>", False
    value: Any = default
    for step in key.split("."):  # nothing stands under <name>
        value = value.get(step, Absent) if isinstance(value, dict) else Absent
    if value is Absent:
        value = part.get("default", Absent)
    shown = f"`{_yaml(value)}`" if value is not Absent else "must be given" if needed else "none"
    cells = (f"`{key}`", _allowed(part), shown, part["description"], part["x-docs"]["again"])
    return f"| {' | '.join(cells)} |\n"


def _yaml(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("...\n").strip()


def _allowed(part: Part) -> str:
    if words := part.get("x-docs", {}).get("allowed"):
        return str(words)
    if "anyOf" in part:
        return f"{_allowed(part['anyOf'][0])}, or null"
    if "enum" in part:  # a bare off is false, which is the same word
        return ", ".join(f"`{word}`" for word in part["enum"] if word is not False)
    kind = "whole, " if part["type"] == "integer" else ""
    match part:
        case {"type": "boolean"}:
            return "`true`, `false`"
        case {"type": "array", "items": items}:
            return f"list of {_allowed(items)}"
        case {"minimum": least, "maximum": most}:
            return f"{kind}{'from ' if kind else ''}{least:g} to {most:.0f}"
        case {"minimum": least}:
            return f"{kind}from {least:g}"
        case {"exclusiveMinimum": least, "maximum": most}:
            return f"above {least:g} to {most:g}"
        case {"exclusiveMinimum": least}:
            return f"above {least:g}"
        case _:
            return "text"


def main() -> None:
    """Write both files."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
