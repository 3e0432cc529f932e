"""The recipe of every step: its slice of the configuration, with the digest of its code.

A recipe has all that determines a step's results apart from the contents of its inputs, and nothing that
does not (docs/store-protocol.md). The slice is what the step's script declares (clipsteer/runner/declared.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from clipsteer.config.used import FIRST
from clipsteer.errors import ClipsteerError
from clipsteer.runner.code import FINGERPRINTS
from clipsteer.runner.declared import ALL, declared
from clipsteer.runner.fingerprint import code_fingerprint
from clipsteer.store.actions import STORE_SEMANTICS
from clipsteer.store.digest import canonical_json
from clipsteer.workflow.derived import Derived
from clipsteer.workflow.outline import Outline

# Sections of several parts, and the wildcard that says which of them a job is about.
_NAMED = {"datasets": "dataset", "dictionaries": "dictionary"}


class Recipes:
    """The recipes that one configuration gives, as canonical JSON."""

    def __init__(self, outline: Outline) -> None:
        self._outline, self._derived = outline, Derived(outline)
        self._code = cache(self._fingerprint)  # one look at a step, however many jobs it has

    def of(self, step: str) -> Callable[[Any], str]:
        """The param `recipe` of a step's rule: the recipe of each job by its wildcards."""

        def recipe(wildcards: Any) -> str:
            settings = self._settings(step, wildcards)
            imports = declared(self._script(step)).imports
            modules = sorted(module for text in imports for module in _modules(text, settings))
            return canonical_json(
                {
                    "step": step,
                    "config": settings,
                    "modules": modules,
                    "code": self._code(step, tuple(modules)),
                    "semantics": STORE_SEMANTICS,  # so that Snakemake too sees it rise
                }
            ).decode()

        return recipe

    def _script(self, step: str) -> Path:
        return self._outline.base / "workflow_scripts" / f"{step}.py"

    def _fingerprint(self, step: str, modules: Sequence[str]) -> str:
        return code_fingerprint(self._script(step), self._outline.base, modules, FINGERPRINTS)

    def _settings(self, step: str, wildcards: Any) -> dict[str, Any]:
        """A job's slice of the configuration, and how the job is cut out of the step's work."""
        script = self._script(step)
        declaration = declared(script)
        found: dict[str, Any] = {}
        for use in declaration.uses:
            if use.function:
                value = self._derive(script, use.function, wildcards)
            else:
                value = self._configured(script, use.key, wildcards)
            if isinstance(value, Mapping) and not use.function:
                left_out = declaration.without
                value = {k: v for k, v in value.items() if f"{use.key}.{k}" not in left_out}
            found.update(value if use.name == ALL else {use.name: value})
        return found | {name: self._derive(script, name, wildcards) for name in declaration.cut}

    def _derive(self, script: Path, function: str, wildcards: Any) -> Any:
        if function not in vars(Derived):
            raise ClipsteerError(
                f"{script}: USES or CUT: found {function}, expected a method of Derived in "
                "clipsteer/workflow/derived.py. Correct the name, or add the method."
            )
        return getattr(self._derived, function)(wildcards)

    def _configured(self, script: Path, key: str, wildcards: Any) -> Any:
        """The value of a dotted key, of the job's own data set, dictionary or model where there are several."""
        section, *path = key.split(".")
        if section in _NAMED:
            path.insert(0, getattr(wildcards, _NAMED[section]))
        value = self._outline.config
        if section == FIRST:
            value = {section: self._outline.models[self._outline.model_of(wildcards)]}
        for name in (section, *path):
            if name not in value:
                raise ClipsteerError(
                    f"{script}: USES: found {key}, which the configuration does not have, expected one of its keys. "
                    f"Correct the name, or give {'.'.join((section, *path))} a value."
                )
            value = value[name]
        return value


def _modules(text: str, settings: Mapping[str, Any]) -> list[str]:
    """The modules that an entry of IMPORTS names: one, or one for each value of a setting that is a list."""
    name = text.partition("{")[2].partition("}")[0]
    values = settings[name] if isinstance(settings[name], list) else [settings[name]]
    return [text.format(**{name: value}) for value in values]
