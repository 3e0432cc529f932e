"""The files of a configuration as text, before any value counts: readable, keys with values, no key twice.

YAML itself keeps the last of two equal keys and drops the first without a word, and reads 010 as 8. What
the values mean is checked in `clipsteer.config.check`.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from clipsteer.errors import ClipsteerError

# libyaml's where it is there: a tenth of the time.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT, _MERGE = "tag:yaml.org,2002:int", "tag:yaml.org,2002:merge"
# What YAML 1.1 takes for an octal number, or for one to the base of 60.
_OTHER_BASE = re.compile(r"[-+]?0[0-9_]+|.*:.*")


def check_files(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Raises one ClipsteerError that lists the faults of all these YAML or JSON files, each with its line."""
    faults = [fault for path in paths for fault in _faults(Path(path))]
    if faults:
        raise ClipsteerError("\n".join(faults))


def _faults(path: Path) -> list[str]:
    name = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return [
            f"{name}: found no such file, seen from {Path.cwd()}; check the path. --configfile takes all "
            "words up to the next option: put --cores N, say, between it and the target."
        ]
    except OSError as error:
        return [
            f"{name}: cannot be read as a config file ({error.strerror}); expected YAML or JSON."
        ]
    except UnicodeDecodeError as error:
        line = path.read_bytes().count(b"\n", 0, error.start) + 1
        return [
            f"{name}, line {line}: found bytes that are not UTF-8; save the file as UTF-8 text."
        ]
    try:
        root = yaml.compose(_without_tabs(text), Loader=_LOADER)
    except yaml.YAMLError as error:
        return [f"{name}{_syntax(text, error)}"]
    if root is None:
        return [f"{name}: is empty; expected keys with values. Write {{}} or leave the file out."]
    if not isinstance(root, yaml.MappingNode):
        found = (
            "a list"
            if isinstance(root, yaml.SequenceNode)
            else f"`{' '.join(root.value.split())[:40]}`"
        )
        return [
            f"{name}, line {root.start_mark.line + 1}: found {found}, expected keys with values at the top, such as "
            "`seed: 1` (with a space after the colon)."
        ]
    return [f"{name}: {fault}" for _, fault in sorted(_in_mappings(root))]


def _without_tabs(text: str) -> str:
    """JSON may be indented by tabs, which PyYAML refuses; inside its texts there are none."""
    if "\t" in text:
        try:
            json.loads(text)
        except ValueError:
            return text
    return text.replace("\t", " ")


def _syntax(text: str, error: yaml.YAMLError) -> str:
    """Where the text is no YAML, and why."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:  # a character that no text has
        return f": cannot be read as YAML or JSON ({' '.join(str(error).split())}). Correct it."
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f", line {mark.line + 1}: found a tab in the indentation; YAML takes spaces only."
    begun = getattr(error, "context_mark", None)
    since = f", in what begins in line {begun.line + 1}" if begun and begun.line < mark.line else ""
    return (
        f", line {mark.line + 1}: cannot be read as YAML or JSON ({getattr(error, 'problem', error)}{since}). See that "
        "keys are indented alike, by spaces, brackets and quotes are closed, and a space follows each colon."
    )


def _in_mappings(root: yaml.Node) -> Iterator[tuple[int, str]]:
    """(line, fault) of keys that stand twice in one mapping, and of numbers to another base than ten."""
    seen: set[int] = set()  # a node with an anchor counts once, where it stands
    todo: list[tuple[str, yaml.Node]] = [("", root)]
    while todo:
        key, node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        below: list[tuple[str, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            lines: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
            for name, value in node.value:
                below.append((f"{key}.{name.value}" if key else str(name.value), value))
                if name.tag != _MERGE and isinstance(name, yaml.ScalarNode):
                    lines[name.tag, below[-1][0]].append(name.start_mark.line + 1)
            for (_, dotted), found in lines.items():
                if len(found) > 1:
                    yield found[0], _twice(dotted, found)
        elif isinstance(node, yaml.SequenceNode):
            below = [(f"{key}.{i}", value) for i, value in enumerate(node.value)]
        elif isinstance(node, yaml.ScalarNode) and _in_another_base(node):
            line, number = node.start_mark.line + 1, yaml.safe_load(node.value)
            yield (
                line,
                f"{key} in line {line}: YAML reads {node.value} as {number}; write it in base ten.",
            )
        todo += reversed(below)  # in the order of the file: an anchor stands before its aliases


def _in_another_base(node: yaml.ScalarNode) -> bool:
    plain = not node.style  # None, or "" of libyaml
    return plain and node.tag == _INT and _OTHER_BASE.fullmatch(node.value) is not None


def _twice(key: str, lines: list[int]) -> str:
    often = "twice" if len(lines) == 2 else f"{len(lines)} times"
    if len(set(lines)) == 1:
        where = f"in line {lines[0]}"
    else:
        where = f"in lines {', '.join(map(str, lines[:-1]))} and {lines[-1]}"
    return (
        f"{key} stands {often}, {where}, and only the last would count: join them, or remove one."
    )
