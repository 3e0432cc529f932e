"""The step runner, through a toy step run as a command: restore, early cutoff, failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipsteer.runner.fingerprint import code_fingerprint
from clipsteer.store.actions import ActionStore
from clipsteer.store.pointers import (
    Member,
    Output,
    Pointer,
    pointer_bytes,
    read_pointer,
    write_pointer,
)
from clipsteer.store.roots import copy_of, keep_pointer
from tests.toy import Toy

BASE = Path(__file__).parents[2]


class Doubles(Toy):
    """The step `double` of the toy workflow, with one input."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.give(3)

    def give(self, number: int) -> None:
        data = json.dumps(number).encode()
        digest = self.objects.put_bytes(data)
        member = Member({"value": Output(digest, len(data))}, {})
        write_pointer(self.root / "number.json", Pointer("number", {"all": member}))

    def run(
        self, members: dict[str, int], code: str | None = None, **export: str
    ) -> subprocess.CompletedProcess[str]:
        recipe = self.recipe("double", {"members": members}, code)
        words = [sys.executable, self.script("double"), "--recipe", recipe, "--store", "store"]
        words += ["--input", "number=number.json", "--pointer", "out.json"]
        words += ["--log", "logs/double.log"]
        if export:
            words += ["--export", *(f"{m}/value={path}" for m, path in export.items())]
        environment = {**os.environ, "PYTHONPATH": str(BASE)}
        return subprocess.run(
            words, cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )

    def value(self, member: str) -> int:
        digest = read_pointer(self.root / "out.json").members[member].outputs["value"].digest
        return int(self.objects.get_bytes(digest))

    @property
    def actions(self) -> int:
        return len(list(ActionStore(self.root / "store").keys()))


@pytest.fixture
def toy(tmp_path: Path) -> Doubles:
    return Doubles(tmp_path)


def test_computes_then_restores(toy: Doubles) -> None:
    first = toy.run({"a": 1, "b": 2})
    assert "computed=2 restored=0" in first.stderr, first.stderr
    assert (toy.value("a"), toy.value("b")) == (3, 6)
    before = (toy.root / "out.json").read_bytes()
    (toy.root / "out.json").unlink()
    assert "computed=0 restored=2" in toy.run({"a": 1, "b": 2}).stderr
    assert (toy.root / "out.json").read_bytes() == before
    assert "computed=1 restored=1" in toy.run({"a": 1, "b": 4}).stderr
    assert not list((toy.root / "store/scratch").iterdir())
    assert "computed=1 restored=1" in (toy.root / "logs/double.log").read_text()


def test_a_comment_is_no_change_and_an_edit_is(toy: Doubles) -> None:
    toy.run({"a": 1})
    toy.edit("double", "number = {", "# said twice\n    number = {")
    assert "computed=0 restored=1" in toy.run({"a": 1}).stderr
    toy.edit("double", "% 2 == 0", "% 2 == 1")
    assert "computed=1 restored=0" in toy.run({"a": 1}).stderr


def test_code_that_changed_since_planning_publishes_nothing(toy: Doubles) -> None:
    code = code_fingerprint(toy.script("double"), toy.root)
    toy.edit("double", "% 2 == 0", "% 2 == 1")
    result = toy.run({"a": 1}, code=code)
    assert result.returncode == 1
    assert "was changed before the step began" in result.stderr
    assert toy.actions == 0
    assert not (toy.root / "out.json").exists()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (13, "clipsteer: double: number: found 13, expected luck. Choose another."),
        (14, "ValueError: a bug"),
        (15, "no space left"),
    ],
)
def test_failures_leave_nothing_and_stand_in_the_log(
    toy: Doubles, number: int, expected: str
) -> None:
    toy.give(number)
    result = toy.run({"a": 1})
    assert result.returncode == 1
    assert expected in result.stderr
    assert expected in (toy.root / "logs/double.log").read_text()
    assert ("Traceback" in result.stderr) == (number == 14)
    assert toy.actions == 0
    assert not (toy.root / "out.json").exists()
    assert not list((toy.root / "store/scratch").iterdir())


def test_exports_are_real_files(toy: Doubles) -> None:
    toy.run({"a": 5}, a="results/a.json")
    toy.give(4)
    toy.run({"a": 5}, a="results/a.json")
    assert json.loads((toy.root / "results/a.json").read_text()) == 20
    assert [p.name for p in (toy.root / "results").iterdir()] == ["a.json"]


def test_a_lost_object_is_remade_when_it_is_needed(toy: Doubles) -> None:
    toy.run({"a": 2})
    digest = read_pointer(toy.root / "out.json").members["a"].outputs["value"].digest
    toy.objects.path(digest).unlink()
    assert "computed=0 restored=1" in toy.run({"a": 2}).stderr
    assert not toy.objects.exists(digest)
    exported = toy.run({"a": 2}, a="results/a.json")
    assert "computed=1 restored=1" in exported.stderr, exported.stderr
    assert "remade double a blake3:" in (toy.root / "logs/double.log").read_text()
    assert toy.value("a") == json.loads((toy.root / "results/a.json").read_text()) == 6


def test_a_damaged_pointer_is_mended_and_a_hopeless_one_put_away(toy: Doubles) -> None:
    toy.run({"a": 2})
    member = read_pointer(toy.root / "out.json").members["a"]
    sound = pointer_bytes(Pointer("number", {"all": member}))
    keep_pointer(toy.root / "store", toy.root, toy.root / "number.json", sound)
    (toy.root / "number.json").write_bytes(sound.replace(b"facts", b"fakts"))
    assert "computed=1" in toy.run({"a": 3}).stderr
    assert toy.value("a") == 18
    assert (toy.root / "number.json").read_bytes() == sound
    copy = copy_of(toy.root / "store", toy.root, toy.root / "number.json")
    for path in (copy, toy.root / "number.json"):
        path.write_bytes(sound[:-9])
    refused = toy.run({"a": 3})
    assert refused.returncode == 1
    assert "number.json: found a damaged or edited pointer" in refused.stderr
    assert not (toy.root / "number.json").exists()


def test_a_job_of_an_older_run_writes_no_pointer(
    toy: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = toy.root / ".snakemake/clipsteer/run"
    current.parent.mkdir(parents=True)
    current.write_text("newer")
    monkeypatch.setenv("CLIPSTEER_RUN", "older")
    late = toy.run({"a": 2}, a="results/a.json")
    assert late.returncode == 1
    assert "a newer run has begun" in late.stderr
    assert not (toy.root / "out.json").exists()
    assert not (toy.root / "results/a.json").exists()
    monkeypatch.setenv("CLIPSTEER_RUN", "newer")
    assert "computed=0 restored=1" in toy.run({"a": 2}).stderr


def test_help_needs_no_arguments(toy: Doubles) -> None:
    environment = {**os.environ, "PYTHONPATH": str(BASE)}
    result = subprocess.run(
        [sys.executable, toy.script("double"), "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "A toy." in result.stdout
