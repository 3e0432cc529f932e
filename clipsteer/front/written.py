"""Write docs/api.md from the docstrings: `python -m clipsteer.front.written`."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clipsteer
from clipsteer.backbones.base import Backbone
from clipsteer.front.placed import Edit, Placed, Vocabulary
from clipsteer.front.runs import Activations, Run
from clipsteer.steering.feature_set import FeatureSet

PAGE = Path(__file__).parents[2] / "docs/api.md"
CLASSES: tuple[type, ...] = (Run, Activations, FeatureSet, Placed, Edit, Vocabulary, Backbone)
_WIDTH = 118
_SECTIONS = ("Args:", "Returns:", "Raises:")
_HEAD = """# Functions and classes

What `import clipsteer` gives, and what its functions return ([at work](python.md)), from the docstrings by
`python -m clipsteer.front.written`. An argument that is explained above in the same words is left out.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    told: set[str] = set()
    for name in clipsteer.__all__:
        function = getattr(clipsteer, name)
        parts += [f"## clipsteer.{name}", _signature(name, function), *_text(function, told)]
    for kind in CLASSES:
        parts += [f"## {kind.__name__}", f"`{kind.__module__}.{kind.__name__}`", *_text(kind, told)]
        parts += [line for name, member in _public(kind) for line in _member(name, member, told)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _public(kind: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties of a class itself, in the order of the source."""
    for name, member in vars(kind).items():
        if not name.startswith("_") and _function(member) is not None:
            yield name, member


def _function(member: Any) -> Callable[..., Any] | None:
    """What a method or property runs; None of anything else."""
    found: Callable[..., Any] | None = getattr(member, "fget", None) or getattr(
        member, "func", None
    )
    return found or (member if inspect.isfunction(member) else None)


def _member(name: str, member: Any, told: set[str]) -> list[str]:
    function = _function(member)
    assert function is not None  # `_public` gives no others
    if function is member:
        return [_signature(name, function, "### "), *_text(function, told)]
    kind = inspect.signature(function).return_annotation
    return [f"### `{name}: {kind}`", *_text(function, told)]


def _signature(name: str, function: Callable[..., Any], level: str = "") -> str:
    """Name, parameters and what comes back, as they are written."""
    found = inspect.signature(function)
    parts: list[str] = []
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        if parameter.name != "self":
            parts.append(f"{parameter.name}: {parameter.annotation}{default}")
    line = f"{name}({', '.join(parts)}) -> {found.return_annotation}"
    if level and len(line) < _WIDTH - len(level):
        return f"{level}`{line}`"
    code = _code(name, parts, found.return_annotation)
    return f"{level}`{name}`\n\n{code}" if level else code


def _code(name: str, parts: list[str], returned: str) -> str:
    """A signature on one line, or one parameter a line where it is too long."""
    line = f"{name}({', '.join(parts)}) -> {returned}"
    if len(line) > _WIDTH:
        listed = "".join(f"    {part},\n" for part in parts)
        line = f"{name}(\n{listed}) -> {returned}"
    return f"```\n{line}\n```"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _text(thing: Any, told: set[str]) -> list[str]:
    """A docstring's paragraphs, and what of its arguments and errors is not in `told` yet; adds them to it."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    starts = [n for n, line in enumerate(lines) if line in _SECTIONS]
    paragraphs = ["\n".join(lines[: starts[0] if starts else len(lines)]).strip()]
    for start, stop in zip(starts, [*starts, len(lines)][1:], strict=True):
        body = textwrap.dedent("\n".join(lines[start + 1 : stop])).strip()
        entries = re.split(r"\n(?=\S)", body)
        listed = [" ".join(entry.split()) for entry in entries if entry.strip()]
        if lines[start] == "Returns:":
            paragraphs.append(_wrapped(f"*Returns* {' '.join(listed)}"))
        else:
            pairs = [re.sub(r"^([\w, ]+):", r"`\1`:", entry) for entry in listed]
            entries = [_wrapped(f"- {pair}", "  ") for pair in pairs if pair not in told]
            told |= set(pairs)
            if lines[start] == "Raises:":
                paragraphs.append(_wrapped(f"*Raises* {' '.join(pairs)}"))
            elif entries:
                paragraphs.append("\n".join(entries))
    return paragraphs


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
