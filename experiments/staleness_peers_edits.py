"""The edits of staleness_peers.py, and what the right answer to each of them is."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from staleness_peers_tools import STEPS, TOYS, Place, install

Change = Callable[[Place], None]
ALL = frozenset(STEPS)
TRANSFORMS = frozenset({"transform_a", "transform_b"})
SUMMARIES = frozenset({"summary_a", "summary_b"})
OF_A = frozenset({"transform_a", "summary_a", "report"})
REST_OF_A = frozenset({"summary_a", "report"})
TAKE = frozenset({"numbers"})


class NotThereError(Exception):
    """The tool has no such file: the edit says nothing about it."""


@dataclass(frozen=True)
class Edit:
    """What is done to a finished state, and which steps then have to run.

    A run follows each of `changes`; the last one counts. `must` are the steps without which the result
    cannot be known. `may` are those that a tool without a store has to run besides, because a file that
    only it had is gone or damaged. `clone`: the run is in a fresh clone.
    """

    name: str
    changes: tuple[Change, ...]
    must: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    clone: bool = False


def _replace(role: str, old: str, new: str) -> Change:
    return lambda place: place.replace(role, old, new)


def _there_and_back(role: str, old: str, new: str) -> tuple[Change, Change]:
    return _replace(role, old, new), _replace(role, new, old)


def _nothing(place: Place) -> None:
    del place


def _touch_every(place: Place, outputs: bool) -> None:
    """One new time stamp for all files that a person sees."""
    made = {"work", "results", "artifacts", "logs", "dvc.lock"}
    now = time.time_ns()
    for path in place.project.rglob("*"):
        top = path.relative_to(place.project).parts[0]
        if path.is_file() and not top.startswith(".") and (outputs or top not in made):
            os.utime(path, ns=(now, now))


def _touch_sources(place: Place) -> None:
    _touch_every(place, outputs=False)


def _touch_all(place: Place) -> None:
    _touch_every(place, outputs=True)


def _touch_raw(place: Place) -> None:
    os.utime(place.path("raw"))


def _raw_unseen(place: Place) -> None:
    """Other content of the same size under the old time stamp, as some copying tools leave it."""
    path = place.path("raw")
    _write_unseen(path, path.read_bytes().replace(b"47", b"48"))


def _write_unseen(path: Path, content: bytes) -> None:
    """In place, whatever the permissions, and the time stamp is put back."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _raw_longer(place: Place) -> None:
    """A number that is not below the limit."""
    path = place.path("raw")
    path.write_text(path.read_text() + "400\n")


def _reorder(place: Place) -> None:
    place.path("config").write_text(
        "branches:\n"
        "  b: {rate: 0.5, factor: 4, offset: 3}\n"
        "  a: {factor: 2, rate: 0.25, offset: 1}  # the first branch\n"
        "limit: 100\n"
    )


def _import_units(place: Place) -> None:
    """The helper gets a helper, in a new module; no value changes."""
    place.path("helper").with_name("units.py").write_text("UNIT = 1\n")
    place.replace("helper", _HELPER_TITLE, _HELPER_TITLE + "\n\nfrom units import UNIT")
    place.replace("helper", "factor * value", "factor * value * UNIT")


def _change_units(place: Place) -> None:
    place.path("helper").with_name("units.py").write_text("UNIT = 2\n")


def _upgrade(place: Place) -> None:
    """toydep 2.0 rounds to fewer digits; whoever installs it also says so in requirements.txt."""
    source = (TOYS / "site/toydep.py").read_text()
    install(place.site, "toydep", "2.0", source.replace("value, 2", "value, 1"))
    place.replace("requirements", "toydep==1.0", "toydep==2.0")


def _delete_output(place: Place) -> None:
    if place.tool.working is None:
        raise NotThereError
    (place.project / place.tool.working).unlink()


def _delete_report(place: Place) -> None:
    (place.project / "results/report.json").unlink()


def _flip(content: bytes) -> bytes:
    """The last digit is another one."""
    at = max(content.rfind(digit) for digit in b"0123456789")
    return content[:at] + (b"1" if content[at : at + 1] != b"1" else b"2") + content[at + 1 :]


def _edit_output(place: Place) -> None:
    if place.tool.working is None:
        raise NotThereError
    path = place.project / place.tool.working
    path.write_bytes(_flip(path.read_bytes()))


def _edit_report(place: Place) -> None:
    path = place.project / "results/report.json"
    path.write_bytes(_flip(path.read_bytes()))


_RATE = ("config", "rate: 0.25", "rate: 0.125")


def _decay_and_rate(place: Place) -> None:
    """A byte of an output changes on the disk and no time stamp says so; then the output is needed."""
    if place.tool.bytes_of is None:
        raise NotThereError
    path = place.tool.bytes_of(place)
    _write_unseen(path, _flip(path.read_bytes()))
    place.replace(*_RATE)


def _lose_and_rate(place: Place) -> None:
    if place.tool.bytes_of is None:
        raise NotThereError
    place.tool.bytes_of(place).unlink()
    place.replace(*_RATE)


_LINE = "[scaled(number, offset, factor) for number in numbers]"
_LINE_OVER_THREE = (
    "[\n            scaled(number, offset, factor)\n            for number in numbers\n        ]"
)
_SAYS = '"""Scales the numbers of one branch."""'
_STRAIGHT = "return offset + factor * value"
_HELPER_TITLE = '"""The helper that the steps transform and summary import."""'
_HELPER_SAYS = '"""A value on another scale."""'
_SHIFTED = ("transform", _LINE, _LINE.replace("number,", "number + 1,"))

EDITS = (
    Edit("nothing", (_nothing,)),
    Edit("every source file touched", (_touch_sources,)),
    Edit("every file touched, outputs too", (_touch_all,)),
    Edit("raw file touched", (_touch_raw,)),
    Edit("comment in a script", (_replace("transform", _LINE, _LINE + "  # one by one"),)),
    Edit(
        "docstring in a script",
        (_replace("transform", _SAYS, '"""Puts the numbers of a branch on its scale."""'),),
    ),
    Edit("formatting of a script", (_replace("transform", _LINE, _LINE_OVER_THREE),)),
    Edit("comment in the helper", (_replace("helper", _STRAIGHT, _STRAIGHT + "  # a line"),)),
    Edit(
        "docstring in the helper",
        (_replace("helper", _HELPER_SAYS, '"""A value on the scale of a branch."""'),),
    ),
    Edit(
        "formatting of the helper",
        (
            _replace(
                "helper", _STRAIGHT, "return (\n        offset\n        + factor * value\n    )"
            ),
        ),
    ),
    Edit(
        "a local variable renamed in a script",
        (_replace("transform", _LINE, "[scaled(n, offset, factor) for n in numbers]"),),
    ),
    Edit(
        "a function that no step calls, added to the helper",
        (_replace("helper", _STRAIGHT, _STRAIGHT + "\n\n\ndef unused() -> int:\n    return 1"),),
    ),
    Edit("config: keys in another order, other comments", (_reorder,)),
    Edit(
        "real change in a script",
        (_replace(*_SHIFTED),),
        must=TRANSFORMS | SUMMARIES | {"report"},
    ),
    Edit(
        "real change in the helper that two steps import",
        (_replace("helper", "factor * value", "factor * (value + 1)"),),
        must=TRANSFORMS | SUMMARIES | {"report"},
    ),
    Edit(
        "real change in a module that the helper has come to import",
        (_import_units, _change_units),
        must=TRANSFORMS | SUMMARIES | {"report"},
    ),
    Edit(
        "real change in a script, same output bytes",
        (_replace("take", "if number < limit]", "if not number >= limit]"),),
        must=TAKE,
    ),
    Edit("parameter changed, same output bytes", (_replace("config", "100", "90"),), must=TAKE),
    Edit("parameter of one branch changed", (_replace(*_RATE),), must=REST_OF_A),
    Edit(
        "two parameters of one branch swap values",
        (_replace("config", "offset: 1\n    factor: 2", "offset: 2\n    factor: 1"),),
        must=OF_A,
    ),
    Edit("parameter A -> B -> A, the second A", _there_and_back(*_RATE)),
    Edit("code A -> B -> A, the second A", _there_and_back(*_SHIFTED)),
    Edit("raw file changed", (_replace("raw", "47", "48"),), must=ALL),
    Edit("raw file changed, same output bytes", (_raw_longer,), must=TAKE),
    Edit("raw file changed, same size and time stamp", (_raw_unseen,), must=ALL),
    Edit("a dependency's version changed", (_upgrade,), must=SUMMARIES | {"report"}),
    Edit("fresh clone, shared store or cache", (_nothing,), clone=True),
    Edit(
        "an output deleted",
        (_delete_output,),
        may=frozenset({"transform_a"}),
    ),
    Edit("the report deleted", (_delete_report,), may=frozenset({"report"})),
    Edit(
        "an output edited by hand",
        (_edit_output,),
        may=frozenset({"transform_a"}),
    ),
    Edit("the report edited by hand", (_edit_report,), may=frozenset({"report"})),
    Edit(
        "an output's bytes lost, then a parameter below it changed",
        (_lose_and_rate,),
        must=REST_OF_A,
        may=frozenset({"transform_a"}),
    ),
    Edit(
        "a byte of an output flipped unseen, then a parameter below it changed",
        (_decay_and_rate,),
        must=REST_OF_A,
        may=frozenset({"transform_a"}),
    ),
)
