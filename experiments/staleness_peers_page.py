"""The table of staleness_peers.py, and the page around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs/staleness_peers.md"

_TEMPLATE = Path(__file__).resolve().parent / "staleness_peers/page.md"


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """One row an edit, one column a tool, and a last row that counts."""
    tools = list(dict.fromkeys(cell["tool"] for cell in cells))
    edits = list(dict.fromkeys(cell["edit"] for cell in cells))
    at = {(cell["tool"], cell["edit"]): cell for cell in cells}
    rows = [["edit", *tools], ["---"] * (len(tools) + 1)]
    rows += [[edit, *(shown(at[tool, edit]) for tool in tools)] for edit in edits]
    return "\n".join("| " + " | ".join(row) + " |" for row in [*rows, counted(cells, tools)])


def shown(cell: Mapping[str, Any]) -> str:
    """A cell's words."""
    verdict: str = cell["verdict"]
    if verdict == "too much":
        return f"+{len(cell['too_many'])}"
    return f"**{verdict}**" if verdict in ("stale", "fails") else verdict


def counted(cells: Sequence[Mapping[str, Any]], tools: Sequence[str]) -> list[str]:
    """The last row."""
    row = ["right / too much or too little / stale or failed"]
    for tool in tools:
        verdicts = [cell["verdict"] for cell in cells if cell["tool"] == tool]
        groups = (("right",), ("too much", "too little"), ("stale", "fails"))
        row.append(" / ".join(str(sum(v in group for v in verdicts)) for group in groups))
    return row


def document(cells: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> str:
    """The page."""
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    compared = f"{datetime.now(UTC).date().isoformat()}: {named}. No times are compared."
    template = _TEMPLATE.read_text(encoding="utf-8")
    return template.format(versions=fill(compared, 120), table=table(cells), own=_own(cells))


def _own(cells: Sequence[Mapping[str, Any]]) -> str:
    """The cells in which clipsteer is not right, and what it did there."""
    lines = []
    for cell in cells:
        if cell["tool"] == "clipsteer" and cell["verdict"] not in ("right", "-"):
            steps = f"too many {', '.join(cell['too_many']) or 'none'}"
            steps += f"; missing {', '.join(cell['missing'])}" if cell["missing"] else ""
            words = f"- {cell['edit']}: {shown(cell)} ({steps})."
            lines.append(fill(words, 120, subsequent_indent="  "))
    return "\n".join(lines) or "Nowhere in this table."
