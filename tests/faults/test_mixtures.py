"""Property: whatever stands in .snakemake, artifacts/refs, results and the store, the command gives the same."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given

from tests.faults.causes import EFFORT, WAVES, WHOLLY, ordered
from tests.faults.injected import KINDS, VARIABLE
from tests.faults.mixtures import DAMAGED, Mixture, State, mixtures, settle, tries
from tests.faults.scene import Cell, Change
from tests.workflow import ready
from tests.workflow.runs import BASE, Outcome

sys.path.append(str(BASE / "experiments"))  # last: its modules are named like some of the library's

from staleness_peers_tools import TOOLS, Place

CLIPSTEER = next(tool for tool in TOOLS if tool.name == "clipsteer")
BRANCHED = ("transform", "summary")
POINTERS = ["numbers.json", "report.json", *(f"{b}/{s}.json" for b in "ab" for s in BRANCHED)]
SOURCES = ("mine", "configuration", "raw", "clone", "older")
FAULTS = [f"{step} {kind}" for step in ("take", *BRANCHED, "report") for kind in KINDS]
FAULTS.remove("take input")  # it reads the user's file alone


class Toy(Place):
    """The toy chain of the comparison with other tools, run by an interpreter in which faults can be ordered."""

    def __init__(self, folder: Path, python: Path) -> None:
        super().__init__(folder, CLIPSTEER)
        self.python, self.fault = python, ""
        self.lay_out()
        self.state = State(self.project, folder / "store")

    def _done(self, words: list[str], environment: Mapping[str, str]) -> tuple[int, str]:
        return ready.run(str(self.python), words[3:], self.project, environment, 900)

    def _environment(self, tally: Path) -> dict[str, str]:
        order = {VARIABLE: self.fault} if self.fault else {}
        return {**super()._environment(tally), **order}

    def outcome(self, fault: str = "") -> Outcome:
        """One command, with a fault ordered or none."""
        self.fault = fault
        _, code, text = self.run()
        return Outcome(code, text)


def sources(toy: Toy, place: Path) -> dict[str, State]:
    """What runs under this and other configurations, here and elsewhere, have left."""
    other = Toy(place / "elsewhere", toy.python)
    other.outcome().ok()
    found = {"clone": other.state}
    config, raw = (toy.path(name).read_text() for name in ("config", "raw"))
    for name, role, text in (
        ("configuration", "config", config.replace("offset: 1", "offset: 5")),
        ("raw", "raw", raw + "7\n"),
        ("mine", "raw", raw),
    ):
        toy.state.clear()
        toy.path(role).write_text(text)
        toy.outcome().ok()
        found[name] = toy.state.keep(place / name)
        toy.path("config").write_text(config)
    found["older"] = found["configuration"].keep(place / "older")
    found["older"].without_chains()
    found["clone"].interrupt()
    assert found["mine"].pointers() == sorted(POINTERS)
    return found


@pytest.mark.skipif(EFFORT == "tenth", reason="make test does it")
def test_the_toy_chain_from_any_state(python: Path, tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", python)
    known = sources(toy, tmp_path)
    report = "results/report.json"
    for name in ("configuration", "raw", "older"):
        assert known[name].says()[report] != known["mine"].says()[report]

    @tries(60 if WHOLLY else 3)
    @given(mixture=mixtures(SOURCES, POINTERS, FAULTS))
    @example(Mixture("mine", "configuration", "configuration", {}, frozenset(["raw"]), "now", ""))
    @example(Mixture("older", "older", "older", {}, frozenset(["mine"]), "kept", "summary kill"))
    @example(
        Mixture("raw", "clone", None, {"a/summary.json": DAMAGED}, frozenset(), "backwards", "")
    )
    @example(Mixture("clone", "mine", "mine", {}, frozenset(), "kept", ""))
    @example(Mixture("configuration", "mine", "mine", {}, frozenset(), "kept", ""))
    def settles(mixture: Mixture) -> None:
        mixture.lay(toy.state, known)
        settle(mixture, toy.outcome, toy.state, known["mine"])

    settles()


@pytest.mark.skipif(not EFFORT, reason="make test-faults")
def test_the_tiny_configuration_from_any_state(
    painted: Change, python: Path, tmp_path: Path
) -> None:
    cell = Cell(tmp_path / "cell", painted, python)
    cell.finishes()
    state = State(cell.copy.folder, cell.copy.store)
    old, new = (State(copy.folder, copy.store) for copy in (painted.old, painted.new))
    known = {"mine": state.keep(tmp_path / "mine"), "configuration": old, "clone": new}
    known["older"] = old.keep(tmp_path / "older")
    known["older"].without_chains()
    faults = [ordered(step, kind).fault for wave in WAVES for step, kind in wave.items()]

    @tries(12 if WHOLLY else 2)
    @given(mixture=mixtures(list(known), new.pointers(), faults))
    def settles(mixture: Mixture) -> None:
        mixture.lay(state, known)
        settle(mixture, lambda fault: cell.run(fault=fault), state, new)

    settles()
