"""How lineages and their differences are put into words for people."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from clipsteer.cli.config_keys import config_key
from clipsteer.lineage.reasons import ABSENT, Reason, is_token
from clipsteer.store.digest import is_digest

_SHOWN_DIGITS = 12
_LONGEST = 60
# topk/layer_03 is layer 03 of topk/; train/00004 is shard 00004 of train/
_NUMBERED = re.compile(r"(.*/)(layer_)?(\d+)")
_WATCH = {
    "files": "every file's content counts",
    "labels": "label files by content, all others by name",
    "off": "label files only",
}


def short(digest: str) -> str:
    """The first digits of a digest or key, as the commands accept them."""
    return digest.rpartition(":")[2][:_SHOWN_DIGITS]


def count(number: int, word: str) -> str:
    """`1 action`, `1,200 actions`."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """`0.3 s`, `42 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def numbered(member: str) -> tuple[str, str, str]:
    """(what stands before, `layer` or `shard`, number) of a member; no number: ("...", "", "")."""
    match = _NUMBERED.fullmatch(member)
    if match is None:
        return member, "", ""
    return match[1], "layer" if match[2] else "shard", match[3]


def ranges(kind: str, numbers: Iterable[str]) -> str:
    """`layers 00-02, 05` for 00, 01, 02 and 05; `layer 03`."""
    runs: list[list[str]] = []
    found = sorted(set(numbers), key=int)
    for number in found:
        if runs and int(number) == int(runs[-1][-1]) + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = ", ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"{kind}{'' if len(found) == 1 else 's'} {words}"


def fold(labels: Iterable[str]) -> list[str]:
    """Labels that differ only in the number at their end as one: `train_dictionary topk: layers 00-02`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for label in dict.fromkeys(labels):
        before, kind, number = numbered(label)
        groups.setdefault((before.rstrip("/ ") if kind else label, kind), []).append(number)
    return [
        f"{before}: {ranges(kind, numbers)}" if kind else before
        for (before, kind), numbers in groups.items()
    ]


def value_words(value: Any) -> str:
    """A config value in few words, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} {value_words(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        if value and all(is_digest(item) for item in value):
            return count(len(value), "file")
        names = [
            item["name"] if isinstance(item, dict) and "name" in item else item for item in value
        ]
        return "[" + ", ".join(value_words(name) for name in names) + "]"
    if isinstance(value, str):
        text = short(value) if is_digest(value) else " ".join(value.split())
        return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return json.dumps(value)


def config_words(record: Mapping[str, Any], name: str, without: Collection[str] = ()) -> str:
    """What of the config an action used, by section: `dictionaries.topk: k 16, lr 0.002; seed 0`."""
    recipe, sections = record["recipe"], dict[str, list[str]]()
    if not isinstance(recipe, dict):
        return value_words(recipe)
    for key, value in recipe.items():
        if is_token(value) or key in without:
            continue
        section, _, last = config_key(record["step"], name, key).rpartition(".")
        sections.setdefault(section, []).append(f"{last or key} {value_words(value)}")
    parts = [
        f"{section}: {', '.join(items)}" if section else ", ".join(items)
        for section, items in sorted(sections.items(), reverse=True)
    ]
    return "; ".join(parts)


def raw_words(found: Mapping[str, Any]) -> str:
    """One entry of `Lineage.raw` in words."""
    token = found["token"]
    files = count(token["files"], "file")
    names = f" and the names of {token['names']:,} more" if token.get("names") else ""
    place = f" in {found['folder']}" if found["folder"] else ""
    watch = _WATCH.get(token["watch"], token["watch"])
    return f"{found['name']}: {files}{names}{place} ({watch}), digest {short(token['digest'])}"


def reason_words(reason: Reason, step: str, name: str, script: str = "") -> str:
    """One difference in words; `name` and `script` as in the action's record."""
    old, new = reason.old, reason.new
    if reason.kind == "config":
        key = config_key(step, name, reason.name) or f"{reason.name} (of {step})"
        return f"{key}: {value_words(old)} -> {value_words(new)}"
    if reason.kind == "module":
        module, script_itself, name = reason.name.partition("__main__")
        if script_itself:
            module = (script or f"{step}'s script") + name.replace(".", ", ")
        return f"code of {module}: {_side(old)} -> {_side(new)}"
    if reason.kind == "package":
        return f"package {reason.name}: {old} -> {new}"
    if reason.kind == "python":
        return f"Python: {old} -> {new}"
    if reason.kind == "semantics":
        return f"the store's semantics: {old} -> {new}"
    if is_token(old) or is_token(new):
        return f"files of {name or 'yours'}: {_token(old)} -> {_token(new)}"
    return f"input {reason.name}: {_side(old)} -> {_side(new)}"


def _side(value: Any) -> str:
    return str(value) if value == ABSENT else short(str(value))


def _token(value: Any) -> str:
    if not is_token(value):
        return ABSENT
    return f"{count(value['files'] + value['names'], 'file')} ({short(value['digest'])})"
