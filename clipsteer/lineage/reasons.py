"""Why an action is another one than before: what changed in its recipe, its code and its inputs.

`plan` says so of an action that will be computed, `diff` of the lineages of two results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clipsteer.runner.fingerprint import changes
from clipsteer.runner.scan import FORMAT as TOKEN_FORMAT
from clipsteer.store.actions import STORE_SEMANTICS
from clipsteer.store.digest import canonical_json, digest_bytes

Kind = Literal["semantics", "config", "module", "package", "python", "input"]

# Stands for the old or the new value of what is on one side only; null is a value of its own.
ABSENT = "(absent)"


@dataclass(frozen=True)
class Reason:
    """One difference between two actions.

    kind `config`: `name` is the dotted path in the recipe; entries of a list of named mappings go by
    their names. `module`: a module of the project (`__main__` is the step's script) and what of it
    counts, old and new are digests (`Code`). `package`: a top-level import name, old and new are
    "distribution version". `input`: an input's name and digests; or, where old or new is a token
    (`is_token`), the user's own files and the place of their token in the recipe. `semantics`: the
    integer that stands for the store's own code was raised.
    """

    kind: Kind
    name: str
    old: Any
    new: Any

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "new": self.new, "old": self.old}


def explain_change(
    old_record: Mapping[str, Any],
    new_recipe: Any,
    new_code: Mapping[str, Any],
    new_inputs: Mapping[str, str],
    *,
    new_fingerprint: str | None = None,
    new_semantics: int = STORE_SEMANTICS,
) -> list[Reason]:
    """All differences between a recorded action and another one; empty where their keys are equal.

    `new_code` is the material of the code's fingerprint (`Code.material()`); the fingerprint need
    only be given where the material is not known. Order: semantics, config, code, inputs.
    """
    fingerprint = new_fingerprint or digest_bytes(canonical_json(new_code))
    reasons: list[Reason] = []
    if old_record["semantics"] != new_semantics:
        reasons.append(Reason("semantics", "store", old_record["semantics"], new_semantics))
    reasons += _recipe(old_record["recipe"], new_recipe, "")
    reasons += _code(old_record, new_code, fingerprint)
    old_inputs = old_record["inputs"]
    for name in sorted(old_inputs.keys() | new_inputs.keys()):
        old, new = old_inputs.get(name, ABSENT), new_inputs.get(name, ABSENT)
        if old != new:
            reasons.append(Reason("input", name, old, new))
    return reasons


def code_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The material of a record's code fingerprint, as far as the record has it."""
    run = record.get("run")
    code = run.get("code") if isinstance(run, dict) else None
    return code if isinstance(code, dict) else {}


def is_token(value: Any) -> bool:
    """Whether a value in a recipe stands for the content of a user's folder (runner/scan.py)."""
    return isinstance(value, dict) and value.get("format") == TOKEN_FORMAT


def _code(
    old_record: Mapping[str, Any], new_code: Mapping[str, Any], fingerprint: str
) -> list[Reason]:
    if old_record["code"] == fingerprint:
        return []
    old_code = code_of(old_record)
    parts = changes(old_code, new_code) if old_code and new_code else []
    found = [
        Reason(kind, name, ABSENT if old is None else old, ABSENT if new is None else new)
        for kind, name, old, new in parts
    ]
    # The fingerprint counts; what it was made of is only told by whoever wrote the record.
    return found or [Reason("module", "(not recorded)", old_record["code"], fingerprint)]


def _recipe(old: Any, new: Any, path: str) -> Iterator[Reason]:
    if is_token(old) or is_token(new):
        yield from _token(old, new, path)
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            below = f"{path}.{key}" if path else key
            yield from _recipe(old.get(key, ABSENT), new.get(key, ABSENT), below)
    elif (before := _named(old)) is not None and (after := _named(new)) is not None:
        if list(before) != list(after):
            yield Reason("config", path, list(before), list(after))
        for name in sorted(before.keys() & after.keys()):
            yield from _recipe(before[name], after[name], f"{path}.{name}")
    elif canonical_json(old) != canonical_json(new):  # as in keys: 1 and 1.0 differ
        yield Reason("config", path, old, new)


def _token(old: Any, new: Any, path: str) -> Iterator[Reason]:
    if is_token(old) and is_token(new) and old.get("watch") != new.get("watch"):
        yield Reason("config", f"{path}.watch", old.get("watch"), new.get("watch"))
    if old != new:
        yield Reason("input", path, old, new)


def _named(value: Any) -> dict[str, Any] | None:
    """A list of mappings that each have a name of their own, by name; None for anything else."""
    if not isinstance(value, list) or not all(isinstance(v, dict) and "name" in v for v in value):
        return None
    found = {str(item["name"]): item for item in value}
    return found if value and len(found) == len(value) else None
