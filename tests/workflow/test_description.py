"""What a dry run writes for `clipsteer plan`, on a DAG made by hand; tests/workflow/test_plan.py reads real ones."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipsteer.workflow import description
from clipsteer.workflow.description import VARIABLE, Description


def job(rule: str, *output: str, command: str | None = "python it") -> Any:
    return SimpleNamespace(
        rule=SimpleNamespace(name=rule), output=output, wildcards_dict={}, shellcmd=command
    )


def reason(**said: Any) -> Any:
    sets = ("missing_output", "updated_input", "updated_input_run")
    flags = ("forced", "input_changed", "params_changed")
    nothing = {**dict.fromkeys(flags, False), **{name: set() for name in sets}}
    return SimpleNamespace(**{**nothing, **said})


def written(place: Path, levels: list[list[Any]], reasons: dict[str, Any], **found: str) -> Any:
    dag = SimpleNamespace(
        toposorted=lambda: levels,
        needrun=lambda job: job.rule.name in reasons,
        reason=lambda job: reasons.get(job.rule.name, reason()),
    )
    chains: Any = SimpleNamespace(found=found)
    needs: Any = SimpleNamespace(expected=lambda job: {"seconds": 1.0})
    workflow = SimpleNamespace(dag=dag, dryrun=True)
    Description(workflow, chains, needs).write(place)
    return json.loads(place.read_text())["jobs"]


def test_jobs_stand_in_an_order_in_which_they_could_run(tmp_path: Path) -> None:
    levels = [[job("b", "b"), job("a", "a")], [job("all", command=None)]]
    found = written(tmp_path / "plan", levels, {"a": reason(missing_output={"a"})})
    assert [one["rule"] for one in found] == ["a", "b", "all"]
    assert [one["runs"] for one in found] == [True, False, False]
    assert [one["expected"] for one in found] == [{"seconds": 1.0}, {"seconds": 1.0}, {}]
    assert found[0]["reason"]["missing"] == ["a"]


def test_what_is_stale_by_its_key_is_not_called_forced(tmp_path: Path) -> None:
    forced = reason(forced=True)
    levels = [[job("by_key", "stale"), job("by_hand", "fresh")]]
    found = written(
        tmp_path / "plan", levels, {"by_key": forced, "by_hand": forced}, stale="another code"
    )
    said = {one["rule"]: one["reason"] for one in found}
    assert (said["by_key"]["forced"], said["by_key"]["stale"]) == (False, "another code")
    assert (said["by_hand"]["forced"], said["by_hand"]["stale"]) == (True, "")


def test_inputs_that_the_run_makes_are_told_from_newer_ones(tmp_path: Path) -> None:
    newer = reason(updated_input={"x", "y"}, updated_input_run={"y"})
    (found,) = written(tmp_path / "plan", [[job("a", "a")]], {"a": newer})
    assert found["reason"]["updated"] == ["x"]
    assert found["reason"]["updated_by_jobs"] == ["y"]


@pytest.mark.parametrize(
    "workflow", [{"dag": None, "dryrun": True}, {"dag": object(), "dryrun": False}]
)
def test_nothing_is_written_of_a_failure_or_a_real_run(
    tmp_path: Path, workflow: dict[str, Any]
) -> None:
    nothing: Any = None
    Description(SimpleNamespace(**workflow), nothing, nothing).write(tmp_path / "plan")
    assert list(tmp_path.iterdir()) == []


def test_it_is_written_where_the_environment_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(description.atexit, "register", lambda *words: asked.append(words[1:]))
    nothing: Any = None
    monkeypatch.delenv(VARIABLE, raising=False)
    Description(nothing, nothing, nothing).at_exit()
    assert asked == []
    monkeypatch.setenv(VARIABLE, "plan.json")
    Description(nothing, nothing, nothing).at_exit()
    assert asked == [(Path("plan.json"),)]
