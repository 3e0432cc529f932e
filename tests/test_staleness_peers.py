"""The comparison with other tools: its verdicts, its toy chain, and clipsteer's own column in short.

DVC and redun are not needed here; the whole comparison is experiments/staleness_peers.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BASE = Path(__file__).parents[1]
sys.path.append(str(BASE / "experiments"))  # last: its modules are named like some of the library's

from staleness_peers import Bench, from_scratch, judge  # noqa: E402
from staleness_peers_edits import EDITS, Edit, NotThereError  # noqa: E402
from staleness_peers_page import document  # noqa: E402
from staleness_peers_tools import ALONE, STEPS, TOOLS, Place  # noqa: E402

BY_NAME = {edit.name: edit for edit in EDITS}
CUTOFF = "parameter changed, same output bytes"
EDIT = Edit("e", (), must=frozenset({"summary_a", "report"}), may=frozenset({"transform_a"}))


@pytest.mark.parametrize(
    ("ran", "right_result", "status", "verdict"),
    [
        (["summary_a", "report"], True, 0, "right"),
        (["transform_a", "summary_a", "report"], True, 0, "right"),
        (["summary_a", "summary_a", "report"], True, 0, "too much"),
        (["numbers", "summary_a", "report"], True, 0, "too much"),
        (["report"], True, 0, "too little"),
        (["summary_a", "report"], False, 0, "stale"),
        ([], False, 0, "stale"),
        (["summary_a", "report"], True, 1, "fails"),
    ],
)
def test_verdicts(ran: list[str], right_result: bool, status: int, verdict: str) -> None:
    assert judge("tool", EDIT, ran, right_result, status).verdict == verdict


def test_what_was_too_much_and_what_is_missing() -> None:
    cell = judge("tool", EDIT, ["report", "report", "numbers"], True, 0)
    assert cell.too_many == ["numbers", "report"]
    assert cell.missing == ["summary_a"]


@pytest.mark.parametrize("tool", [ALONE, *TOOLS], ids=lambda tool: tool.name)
def test_every_edit_of_the_sources_can_be_made_for_every_tool(tool: object, tmp_path: Path) -> None:
    about_outputs = ("report deleted", "report edited", "an output")
    for number, edit in enumerate(EDITS):
        if not any(words in edit.name for words in about_outputs):
            place = Place(tmp_path / str(number), tool)
            place.lay_out()
            for change in edit.changes:
                change(place)


def test_the_right_answers_hold_from_scratch(tmp_path: Path) -> None:
    """A report changes if and only if the edit says that it must be made again."""
    before = from_scratch(BY_NAME["nothing"], tmp_path / "before")
    seen = {
        edit.name: from_scratch(edit, tmp_path / str(i)) != before for i, edit in enumerate(EDITS)
    }
    assert seen == {edit.name: "report" in edit.must for edit in EDITS}


def test_our_own_column(tmp_path: Path) -> None:
    """Early cutoff, and a comment in what two steps import: one edit, to keep this short."""
    changes = [BY_NAME[n].changes[0] for n in (CUTOFF, "comment in the helper")]
    edit = Edit("both", (lambda place: [change(place) for change in changes],), must={"numbers"})
    tool = next(tool for tool in TOOLS if tool.name == "clipsteer")
    bench = Bench(tool, tmp_path / "place", None)
    right = from_scratch(BY_NAME["nothing"], tmp_path / "nothing")
    assert bench.first == right
    cell = bench.try_edit(edit, right)
    assert cell.verdict == "right", cell


def test_the_page_names_every_edit_and_our_faults() -> None:
    def cell(tool: str, edit: str, verdict: str) -> dict[str, object]:
        made = judge(tool, BY_NAME[edit], STEPS, True, 0)
        return {**vars(made), "verdict": verdict}

    cells = [cell(t.name, e.name, "right") for t in TOOLS for e in EDITS]
    page = document(cells, {"tool": "1.0"})
    assert all(f"| {edit.name} |" in page for edit in EDITS)
    assert "Nowhere in this table." in page
    cells[-1] = cell("clipsteer", EDITS[-1].name, "stale")
    assert f"- {EDITS[-1].name}: **stale**" in document(cells, {"tool": "1.0"})


def test_tools_without_such_a_file_say_so(tmp_path: Path) -> None:
    told = next(tool for tool in TOOLS if tool.name == "redun, told")
    place = Place(tmp_path / "place", told)
    place.lay_out()
    for edit in EDITS:
        if edit.name.startswith("an output"):
            with pytest.raises(NotThereError):
                edit.changes[-1](place)
