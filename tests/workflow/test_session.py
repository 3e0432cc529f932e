"""What happens around one run, on a Snakemake made by hand; whole runs are in the other files of this folder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.workflow import session
from clipsteer.workflow.readers import Readers
from clipsteer.workflow.session import Session
from tests.workflow.outlines import outline

# What a session calls of others, in its own module.
CALLED = (
    *(
        "check_commands",
        "check_status_command",
        "check_requests",
        "share",
        "check_writable",
        "begin",
    ),
    *("note_store", "note_run", "claim_pointers", "cancel_orphans", "start", "expect"),
    *("jobs_tell_all", "hand_on_signals", "check_places", "look", "go_by_content"),
)


def job(number: int, rule: str = "build_head", *, local: bool = False, **resources: Any) -> Any:
    return SimpleNamespace(
        jobid=number,
        rule=SimpleNamespace(name=rule),
        is_local=local,
        threads=2,
        resources=resources,
        input=[],
        output=[f"results/{number}"],
    )


class Scene:
    """A session in an empty folder; `calls` are what it did, in order."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *jobs: Any, slurm: bool = False, **overlay: Any
    ) -> None:
        self.calls: list[str] = []
        self.fault = ""
        for name in CALLED:
            monkeypatch.setattr(session, name, self.called(name))
        monkeypatch.setattr(session.atexit, "register", self.called("register"))
        self.watched: dict[int, tuple[str, float]] = {}
        self.edited: list[tuple[Path, Path]] = []
        self.made: set[str] = set()
        self.workflow = SimpleNamespace(
            touch=False,
            local_exec=not slurm,
            executor_plugin=SimpleNamespace(name="slurm") if slurm else None,
            executor_settings=SimpleNamespace(status_command="sacct"),
            output_settings=SimpleNamespace(dryrun=False),
            dag=SimpleNamespace(needrun_jobs=lambda: iter(jobs)),
        )
        made = outline(overlay, Path.cwd())
        chains: Any = SimpleNamespace(
            put_edited_aside=self.put_aside, compare_first=self.called("compare_first")
        )
        sources: Any = SimpleNamespace(note=self.called("note"))
        watch: Any = SimpleNamespace(expect=self.watched.update)
        self.session = Session(self.workflow, made, Readers(made), sources, chains, watch)

    def called(self, name: str) -> Any:
        def call(*words: Any, **options: Any) -> None:
            self.calls.append(name)
            if name == self.fault:
                raise ClipsteerError(name)

        return call

    def put_aside(self, made: set[str]) -> list[tuple[Path, Path]]:
        self.calls.append("put_edited_aside")
        self.made = made
        return self.edited

    def begin(self) -> None:
        self.session.open()
        self.calls.clear()
        self.session.begin(lambda job: 3.0)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_is_the_only_one_before_it_changes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.begin()
    first, *rest = scene.calls
    assert (first, rest[0]) == ("check_writable", "begin")
    changes = {
        "note_store",
        "note_run",
        "claim_pointers",
        "cancel_orphans",
        "put_edited_aside",
        "note",
        "start",
    }
    assert changes | {"expect", "hand_on_signals"} == set(rest[1:])


def test_what_slurm_cannot_take_is_refused_before_the_run_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch, job(1), slurm=True)
    scene.begin()
    checks = ["check_commands", "check_status_command", "check_requests"]
    assert scene.calls[:3] == checks
    assert scene.calls.index("share") < scene.calls.index("begin")
    assert "start" not in scene.calls  # the warm worker is of this machine
    assert "jobs_tell_all" in scene.calls
    scene.fault = "check_requests"
    with pytest.raises(ClipsteerError):
        scene.begin()
    assert scene.calls == checks


def test_no_job_runs_with_touch(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.workflow.touch = True
    scene.begin()
    assert scene.calls == []


def test_the_warm_worker_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, runtime={"warm_worker": False})
    scene.begin()
    assert "start" not in scene.calls


def test_a_folder_that_cannot_be_is_said_before_anything_is_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch)
    scene.fault = "check_places"
    with pytest.raises(ClipsteerError):
        scene.session.open()
    assert scene.calls == ["check_places"]


def test_other_runs_are_looked_for_before_what_is_up_to_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch)
    scene.session.open()
    assert scene.calls.index("look") < scene.calls.index("compare_first")
    assert scene.calls.count("register") == 1
    assert list(Path.cwd().iterdir()) == []


def test_each_job_of_the_run_is_expected_to_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, job(1), job(2, "make_table"), job(3, "all"))
    scene.begin()
    assert scene.watched == {1: ("build_head", 3.0), 2: ("make_table", 3.0)}


def test_slurm_is_asked_once_for_each_kind_of_job(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [job(1, mem_mb=500), job(2, mem_mb=500), job(3, mem_mb=900), job(4, local=True)]
    requests = Scene(monkeypatch, *jobs, slurm=True).session.requests()
    assert set(requests.values()) == {"build_head"}
    assert sorted(word for words in requests for word in words if "mem" in word) == [
        "--mem=500M",
        "--mem=900M",
    ]


def test_edited_results_that_are_made_again_are_kept_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = Scene(monkeypatch, job(1), job(2))
    scene.edited = [(Path("results/1"), Path("results/1.edited"))]
    scene.session.keep_edited()
    assert scene.made == {"results/1", "results/2"}
    said = capsys.readouterr().err
    assert said == (
        "clipsteer: results/1 was edited: it is made again, and yours is now results/1.edited\n"
    )
