"""What a step says of itself: which settings it uses and how its work is cut into jobs, from its script's text.

Above its first function a script of `workflow_scripts/` may have three tuples of texts:

- `USES`: the settings in the step's recipe (docs/store-protocol.md). An entry is

      steering.balance               a key of the config; the recipe calls it by its last word
      model.dtype as model_dtype     the same by another name
      datasets.painted.*             all keys of a section, by their own names
      not model.tiny.worlds          but this one, of a section that is named as a whole
      copies(datasets.augment)       what a method of `Derived` in clipsteer/workflow/derived.py gives; the
                                     key in brackets is the one that people are told of
      model_shape()                  the same, where no single key says it

  `datasets`, `dictionaries` and `model` are the data set, the dictionary and the model that the job is about.
- `CUT`: what says only which part of the step's work a job does, such as the layers of its block; methods of
  `Derived` too. It stands in the recipe beside the settings, and no action sees it.
- `IMPORTS`: modules that the step imports by a name in its settings: `clipsteer.data.painters.{world}`. Of a
  setting that is a list, one for each value.

The text is read and the script not imported, as every reading of the rules needs it.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from clipsteer.errors import ClipsteerError

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
"""Those of this checkout."""

ALL = "*"
_SAID = re.compile(r"^(USES|CUT|IMPORTS)\b", re.MULTILINE)
_KEY = r"[a-z_]+(?:\.[a-z0-9_]+)*"
_USE = re.compile(
    rf"(?:(?P<function>[a-z_]+)\((?P<said>(?:{_KEY})?)\)|(?P<key>{_KEY}(?:\.\*)?))(?: as (?P<name>[a-z_]+))?"
)


@dataclass(frozen=True)
class Use:
    """One setting of a recipe.

    `name`: what the recipe calls it, `ALL` for all keys of a section by their own names; `key`: the config's
    dotted key, empty where no single one says it; `function`: the method of `Derived` that gives the
    value, empty where it is the key's own.
    """

    name: str
    key: str
    function: str = ""


@dataclass(frozen=True)
class Declaration:
    """What a script declares. `without`: dotted keys that do not count, of sections that do."""

    uses: tuple[Use, ...] = ()
    without: frozenset[str] = frozenset()
    cut: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()


@cache
def declared(script: Path) -> Declaration:
    """What a script declares. Raises ClipsteerError where that is not as this module's docstring has it."""
    found = _tuples(script)
    entries = found.get("USES", ())
    left_out = [entry.removeprefix("not ") for entry in entries if entry.startswith("not ")]
    uses = [_use(script, entry) for entry in entries if not entry.startswith("not ")]
    cut = found.get("CUT", ())
    names = [*(use.name for use in uses), *cut]
    for name in names:
        if names.count(name) > 1:
            raise ClipsteerError(
                f"{script}: two settings of USES and CUT are called {name}, expected each by a name of its "
                "own. Name one with `as`."
            )
    return Declaration(tuple(uses), frozenset(left_out), cut, found.get("IMPORTS", ()))


def _tuples(script: Path) -> dict[str, tuple[str, ...]]:
    """The tuples at the top, by name; a file's first function is where its top ends, so that little is parsed."""
    text = script.read_text(encoding="utf-8")
    try:
        statements = ast.parse(text.partition("\ndef ")[0]).body
    except SyntaxError as error:
        raise ClipsteerError(
            f"{script}, line {error.lineno}: not valid Python ({error.msg}); mend the file and run again."
        ) from None
    found = {}
    for node in statements:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("USES", "CUT", "IMPORTS"):
                found[name] = _texts(script, name, node.value)
    for name in _SAID.findall(text):
        if name not in found:
            raise ClipsteerError(
                f"{script}: {name}: found it below the first function or with a type, expected `{name} = (...)` above. "
                "Move it there."
            )
    return found


def _texts(script: Path, name: str, node: ast.expr) -> tuple[str, ...]:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        value = None
    if not isinstance(value, tuple) or not all(isinstance(entry, str) for entry in value):
        raise ClipsteerError(
            f"{script}: {name}: found {ast.unparse(node)}, expected a tuple of texts as it stands, as it is read "
            "without running the script."
        )
    return value


def _use(script: Path, entry: str) -> Use:
    match = _USE.fullmatch(entry)
    if match is None:
        raise ClipsteerError(
            f"{script}: USES: found {entry!r}, expected a key of the config such as `steering.balance`, or another "
            "form that clipsteer/runner/declared.py names."
        )
    function, key = match["function"] or "", match["key"] or match["said"] or ""
    name = match["name"] or (key or function).rpartition(".")[2]
    return Use(name, key.removesuffix(f".{ALL}"), function)
