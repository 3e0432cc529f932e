"""What a run prints: about a line a job, warnings, its closing lines, and why it failed, once and last."""

from __future__ import annotations

import io
import logging
import os
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from clipsteer.runner.progress import BRIEF, Log, Progress
from clipsteer.workflow.terminal import duration, install, jobs_tell_all
from clipsteer.workflow.watch import Watch, said, stamp
from tests.workflow.real_trees import celeba_tree, waterbirds_tree
from tests.workflow.runs import WorkingCopy, nested

WORLD = "artifacts/refs/celeba/world.json"
SENTENCE = "clipsteer: toy: number: found 13, expected luck. Choose another."


# ------------------------------------------------------------------------------------- a run of records


class Stage:
    """Snakemake's logger with a terminal of ours, and the records of a run that never was."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.terminal = folder, io.StringIO()
        given = {"quiet": None, "verbose": False, "dryrun": False, **settings}
        self.logger = logging.Logger("toy", logging.INFO)
        quiet = given["quiet"]
        handler = ColorizingTextHandler(
            stream=self.terminal,
            filter=DefaultFilter(quiet, False, given["verbose"], given["dryrun"], False),  # type: ignore[arg-type]
            formatter=DefaultFormatter(quiet, True),
        )
        handler.name = "DefaultStreamHandler"
        self.logger.addHandler(handler)
        self.watch = Watch(folder)
        manager = SimpleNamespace(logger=self.logger)
        self.brief = install(manager, SimpleNamespace(**given), self.watch)

    @property
    def lines(self) -> list[str]:
        return self.terminal.getvalue().splitlines()

    def stats(self, **rules: int) -> None:
        stats = {**rules, "total": sum(rules.values())}
        self.logger.info("Job stats:\n...", extra={"event": LogEvent.RUN_INFO, "stats": stats})

    def start(self, number: int, rule: str = "toy", *, group: bool = False, **more: Any) -> None:
        extra: dict[str, Any] = {
            "jobid": number, "rule_name": rule, "rule_msg": None, "local": True, "input": [],
            "output": [f"{rule}.json"], "log": [f"logs/{rule}/{number}.log"], "benchmark": None,
            "wildcards": {"dataset": "celeba", "part": number}, "reason": "Missing", "resources": {},
            "priority": 0, "threads": 1, "indent": group, "is_checkpoint": False, **more,
        }  # fmt: skip
        self.logger.info("Rule", extra={"event": LogEvent.JOB_INFO, **extra})

    def write(self, number: int, text: str, rule: str = "toy") -> None:
        log = self.folder / f"logs/{rule}/{number}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text)

    def finish(self, number: int) -> None:
        extra = {"event": LogEvent.JOB_FINISHED, "job_id": number}
        self.logger.info(f"Finished jobid: {number}", extra=extra)

    def fail(
        self, number: int, rule: str = "toy", how: str = "", group: bool = False, **more: Any
    ) -> None:
        log = f"logs/{rule}/{number}.log"
        if how:
            text = (
                f"RuleException:\nCalledProcessError\nCommand 'python --log {log} --name x' {how}"
            )
            self.logger.error(text, extra={"event": LogEvent.ERROR, "exception": "RuleException"})
        extra = {
            "jobid": number,
            "rule_name": rule,
            "rule_msg": None,
            "log": [log],
            "indent": group,
        }
        self.logger.error("Error", extra={"event": LogEvent.JOB_ERROR, **extra, **more})

    def fail_group(self, *numbers: int) -> None:
        info = [
            {"jobid": number, "rule_name": "toy", "output": [], "log": []} for number in numbers
        ]
        extra = {"event": LogEvent.GROUP_ERROR, "aux_logs": ["slurm.log"], "job_error_info": info}
        self.logger.error("Error in group", extra=extra)
        for number in numbers:
            self.fail(number, group=True)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BRIEF, "")  # so that it is restored whatever a test does
    monkeypatch.delenv(BRIEF)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_line_a_job(stage: Stage) -> None:
    stage.logger.info("Building DAG of jobs...")
    stage.logger.info("Provided cores: 2", extra={"event": LogEvent.RESOURCES_INFO})
    stage.stats(toy=2, all=1)
    stage.watch.expect({0: ("toy", 10.0), 1: ("toy", 30.0)})
    stage.logger.info("Execute 1 jobs...", extra={"event": LogEvent.JOB_STARTED, "jobs": [0]})
    stage.start(0)
    stage.write(0, "toy: 3 of 3\ntoy celeba: computed=2 restored=1 in 20.0 s\n")
    stage.finish(0)
    stage.logger.info(None, extra={"event": LogEvent.PROGRESS, "done": 1, "total": 3})
    stage.start(1)
    stage.write(1, "toy celeba: computed=0 restored=1 in 0.1 s\n")
    stage.finish(1)
    stage.start(2, "all", log=[], wildcards={})
    stage.finish(2)
    stage.logger.info("Elapsed time: 0:00:01")
    first, second, third = stage.lines
    assert first == "2 jobs: toy 2"
    # twice as slow as thought of; no time has passed here, so no two jobs ran at a time
    assert second.startswith("[1/2] toy celeba 0: computed=2 restored=1 in 20.0 s, ETA ")
    assert third == "[2/2] toy celeba 1: computed=0 restored=1 in 0.1 s"


def test_a_run_of_no_job_has_begun(stage: Stage) -> None:
    """As --until leaves it, where all before that is up to date: the closing lines follow."""
    stage.stats()
    assert not stage.watch.began
    stage.watch.expect({})
    assert stage.watch.began
    assert stage.lines == ["0 jobs"]


def test_what_is_not_usual_is_shown(stage: Stage) -> None:
    words = ["Job 3 has been submitted with SLURM jobid 77 (log: x).", "Reason unknown: sorry"]
    for text in words:
        stage.logger.info(text)
    stage.logger.warning("Select jobs by hand? A warning.")
    stage.logger.error("MissingOutputException: no such file", extra={"event": LogEvent.ERROR})
    assert stage.lines[:2] == words
    assert len(stage.lines) == 4


def test_an_error_of_ours_is_its_sentences(stage: Stage) -> None:
    read = 'WorkflowError in file "/x/rules/common.smk", line 59:\n{}\n  File "/x", line 9, in <module>'
    compared = 'WorkflowError:\n{}\n  File "/x/clipsteer/workflow/chains.py", line 9, in prepared'
    for text in (read, compared):
        for sentence in ("seed: found x, expected y.", "two\n  - faults"):
            stage.logger.error(text.format(sentence), extra={"event": LogEvent.ERROR})
    ours = ["clipsteer: seed: found x, expected y.", "clipsteer: two", "  - faults"]
    assert stage.lines == ours * 2


def test_an_error_of_snakemakes_stays_as_it_is(stage: Stage) -> None:
    for text in (
        "WorkflowError:\nno mtime",
        'WorkflowError:\nx\n  File "/lib/snakemake/dag.py", line 2',
    ):
        stage.logger.error(text, extra={"event": LogEvent.ERROR})
    assert stage.lines[:2] == ["WorkflowError:", "no mtime"]
    assert stage.lines[2] == "WorkflowError:"


def test_a_job_that_failed_is_named_and_its_sentence_kept_for_the_end(stage: Stage) -> None:
    stage.stats(toy=1)
    stage.start(0)
    stage.write(0, f"toy: begins\n{SENTENCE}\nmore of it\n")
    stage.fail(0, how="returned non-zero exit status 1.")
    stage.logger.error("Exiting because a job execution failed. Look above for error messages")
    stage.logger.error(
        "WorkflowError:\nAt least one job did not complete successfully.",
        extra={"event": LogEvent.ERROR},
    )
    assert stage.lines == [
        "1 job: toy 1",
        "[0/1] toy celeba 0: failed (exit status 1), see logs/toy/0.log",
    ]
    assert stage.watch.failures() == {
        SENTENCE.removeprefix("clipsteer: ") + "\nmore of it": ["logs/toy/0.log"]
    }


def test_several_that_say_the_same_say_it_once(stage: Stage) -> None:
    for number in range(3):
        stage.start(number)
        stage.write(number, SENTENCE if number else "Traceback (most recent call last):\nE: bug\n")
        stage.fail(number, how="returned non-zero exit status 1.")
    found = stage.watch.failures()
    assert found.pop("E: bug (a bug of ours: all of it is in the log)") == ["logs/toy/0.log"]
    assert list(found.values()) == [["logs/toy/1.log", "logs/toy/2.log"]]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("died with <Signals.SIGKILL: 9>.", "killed by SIGKILL"),
        ("returned non-zero exit status 137.", "killed by SIGKILL"),
        ("returned non-zero exit status 143.", "killed by SIGTERM"),
        ("returned non-zero exit status 2.", "exit status 2"),
        ("", "it failed"),
    ],
)
def test_a_job_without_a_word_of_its_own(stage: Stage, how: str, says: str) -> None:
    """The log is an earlier job's, say, because memory ran out before this one could open it."""
    stage.write(0, SENTENCE)
    stage.start(0)
    stage.fail(0, how=how)
    [(sentence, logs)] = stage.watch.failures().items()
    assert sentence.startswith(f"Error in rule toy celeba 0: {says}")
    assert logs == ["logs/toy/0.log"]


def test_another_attempt(stage: Stage) -> None:
    stage.stats(toy=1)
    stage.start(0, resources={"mem_mb": 300, "runtime": 15})
    stage.fail(0, how="died with <Signals.SIGKILL: 9>.")
    stage.logger.info("Trying to restart job 0.")
    stage.start(0, resources={"mem_mb": 900, "runtime": 30})
    lines = [line for line in stage.lines[2:] if line]
    assert lines == [
        "Trying to restart job 0: toy celeba 0 failed at attempt 1, having asked for mem_mb=300, runtime=15",
        "[0/1] toy celeba 0: attempt 2, asks for mem_mb=900, runtime=30",
    ]
    stage.write(0, "toy: computed=1 restored=0 in 2.0 s")
    stage.finish(0)
    assert stage.watch.failures(finished={0}) == {}


def test_a_group_that_failed_blames_the_job_that_says_why(stage: Stage) -> None:
    """On a cluster all jobs of a group fail as one: those that were done, and those that never began."""
    for number in range(3):
        stage.start(number, group=True)
    stage.write(0, "toy: computed=1 restored=0 in 2.0 s\n")
    stage.write(1, SENTENCE)
    stage.fail_group(0, 1, 2)
    assert list(stage.watch.failures().values()) == [["logs/toy/1.log"]]


def test_a_groups_job_that_was_killed_is_not_passed_over(stage: Stage) -> None:
    for number in range(2):
        stage.start(number, group=True)
    stage.write(0, "toy: computed=1 restored=0 in 2.0 s\n")
    stage.fail_group(0, 1)
    assert list(stage.watch.failures().values()) == [["logs/toy/1.log", "slurm.log"]]


def test_a_clusters_own_words_for_a_failure_are_kept(stage: Stage) -> None:
    stage.stats(toy=1)
    stage.start(0)
    why = "SLURM-job '12' failed, SLURM status is: 'OUT_OF_MEMORY'."
    stage.fail(0, rule_msg=why, log=["logs/toy/0.log", "slurm/12.log"])
    [(sentence, logs)] = stage.watch.failures().items()
    assert why.strip(".") in sentence
    assert why.strip(".") in stage.lines[-1]
    assert logs == ["logs/toy/0.log", "slurm/12.log"]


@pytest.mark.parametrize("settings", [{}, {"verbose": True}, {"dryrun": True}], ids=str)
def test_everything_where_it_is_asked_for(tmp_path: Path, settings: dict[str, Any]) -> None:
    stage = Stage(tmp_path, **settings)
    if not settings:  # runtime.terminal: full
        stage.brief.show_all()
    stage.logger.info("Building DAG of jobs...")
    stage.start(0)
    assert "Building DAG of jobs..." in stage.lines
    assert "localrule toy:" in stage.lines
    assert BRIEF not in os.environ


def test_another_loggers_terminal_is_left_alone(tmp_path: Path) -> None:
    logger = logging.Logger("toy", logging.INFO)
    handler = logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    settings = SimpleNamespace(quiet=None, verbose=False, dryrun=False)
    install(SimpleNamespace(logger=logger), settings, Watch(tmp_path))
    assert handler.formatter is None
    assert BRIEF not in os.environ


@pytest.mark.parametrize(
    ("quiet", "shown"), [({Quietness.PROGRESS}, []), ({Quietness.RULES}, ["1 job: toy 1"])]
)
def test_a_quiet_run_is_quieter(tmp_path: Path, quiet: set[Quietness], shown: list[str]) -> None:
    stage = Stage(tmp_path, quiet=quiet)
    stage.stats(toy=1)
    stage.start(0)
    assert stage.lines == shown


def test_warnings_of_jobs_on_a_cluster_come_from_their_logs(stage: Stage) -> None:
    text = "toy: warning: 3 rows left out\ntoy: computed=1 restored=0 in 1.0 s\n"
    for number in range(2):
        stage.start(number)
        stage.write(number, text)
        stage.finish(number)
        jobs_tell_all()  # on this terminal, they write them themselves
    assert [line for line in stage.lines if "warning" in line] == ["toy: warning: 3 rows left out"]
    assert "warning" in stage.lines[-2]


def test_the_time_that_is_left(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("clipsteer.workflow.watch.time.monotonic", lambda: now)
    stage.watch.expect({0: ("a", 10.0), 1: ("a", 20.0), 2: ("b", 40.0), 3: ("b", 40.0)})
    assert stage.watch.left() is None
    for number in (0, 2):
        stage.start(number, "ab"[number // 2])
    stage.write(0, "computed=1 restored=0 in 20.0 s", "a")
    stage.write(2, "computed=0 restored=1 in 4.0 s", "b")
    now = 124.0  # one at a time
    stage.finish(0)
    assert stage.watch.left() == pytest.approx((20 + 40 + 40) * 2)  # twice as slow as thought of
    stage.finish(2)
    # each rule by its own jobs
    assert stage.watch.left() == pytest.approx(20 * 2 + 40 * 0.1)
    now = 112.0  # two at a time
    assert stage.watch.left() == pytest.approx((20 * 2 + 40 * 0.1) / 2)


def test_durations() -> None:
    assert [duration(s) for s in (0.2, 7, 61, 3599.6, 11100)] == [
        "0:00", "0:07", "1:01", "1:00:00", "3:05:00",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------ a job's words


def test_a_brief_terminal_gets_warnings_and_some_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BRIEF, "30")
    now = 0.0
    monkeypatch.setattr("clipsteer.runner.progress.time.monotonic", lambda: now)
    terminal = io.StringIO()
    with (tmp_path / "log").open("w") as file:
        log = Log(file, terminal)
        progress = Progress(log, "toy", 10, "steps")
        for second in range(0, 70, 7):
            now = float(second)
            progress(1)
        progress.finish()
        log.detail("toy: a detail")
        log.detail("toy: warning: mind the gap")
        log.line("toy: resumes at step 3")
    shown = terminal.getvalue().splitlines()
    assert [line.partition(",")[0] for line in shown] == [
        "toy: 6/10 steps",  # at 35 s, and not yet at 63 s, when 30 s have not passed
        "toy: warning: mind the gap",
        "toy: resumes at step 3",
    ]
    written = (tmp_path / "log").read_text().splitlines()
    assert len(written) == 9 + 4  # every 5 s at most, and the rest
    assert set(shown) < set(written)


def test_what_the_log_cannot_take_is_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BRIEF, "30")
    terminal = io.StringIO()
    with suppress(OSError), Path("/dev/full").open("w") as full:  # closing it fails as well
        Log(full, terminal).detail("the disk is full")
    Log(None, terminal).detail("there is no log")
    assert terminal.getvalue().splitlines() == ["the disk is full", "there is no log"]


def test_a_log_of_before_says_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(SENTENCE)
    assert said(log, stamp(log)).sentence == ""
    assert said(log, None).sentence == SENTENCE
    assert said(tmp_path / "none").sentence == ""


# ---------------------------------------------------------------------------------------------- real runs


def test_a_run_that_works(fresh: WorkingCopy) -> None:
    lines = fresh.run(WORLD).ok().text.splitlines()
    assert lines[-3] == "1 job: paint_world 1"
    assert lines[-2].startswith("[1/1] paint_world celeba: computed=1 restored=0 in ")
    assert lines[-1] == "clipsteer: computed=1 restored=0"
    assert len(lines) < 7
    everything = fresh.run(
        WORLD, config=nested("runtime.terminal", "full"), options=["--force"]
    ).ok()
    assert "localrule paint_world:" in everything.text
    assert everything.counts == (0, 1)
    silent = fresh.run(WORLD, options=["--force", "--quiet", "all"]).ok()
    assert silent.text.splitlines()[1:] == ["clipsteer: computed=0 restored=1"]


def test_failures_stand_once_and_last(fresh: WorkingCopy, tmp_path: Path) -> None:
    trees = {"celeba": celeba_tree(tmp_path / "c"), "waterbirds": waterbirds_tree(tmp_path / "w")}
    for tree in trees.values():
        min(tree.rglob("*.jpg")).unlink()
    datasets = {name: {"root": str(tree)} for name, tree in trees.items()}
    manifests = [f"artifacts/refs/{name}/manifest.json" for name in trees]
    outcome = fresh.run(*manifests, config={"datasets": datasets}, options=["--keep-going"])
    assert outcome.code != 0
    lines = outcome.text.splitlines()
    failed = {line.partition(": failed")[0] for line in lines[-5:-3]}
    assert failed == {f"[0/2] build_manifest {name}" for name in trees}
    assert lines[-3] == "clipsteer: computed=0 restored=0"
    for name in trees:
        [line] = [line for line in lines[-2:] if f"(log: logs/build_manifest/{name}.log)" in line]
        assert line.startswith("clipsteer: build_manifest: ")
        assert line.endswith(".log)")
    assert not any("missing" in line for line in lines[:-2])


def test_a_target_that_is_none_names_no_table(fresh: WorkingCopy) -> None:
    results = fresh.folder / "results"
    results.mkdir()
    (results / "celeba_table.csv").touch()
    outcome = fresh.run("results/celebb_table.csv")
    assert outcome.code != 0
    assert "No rule to produce results/celebb_table.csv" in outcome.text.splitlines()[-1]
    assert "clipsteer: results/celeba_table.csv" not in outcome.text
    # nor does a run of something else, one that does nothing, or one that was to stop before
    for targets, options in (
        ([WORLD], []),
        ([WORLD], []),
        (["results/celeba_table.csv"], ["--until", "paint_world"]),
        (["results/celeba_table.csv"], ["--dry-run", "--quiet"]),
    ):
        outcome = fresh.run(*targets, options=options).ok()
        assert "clipsteer: results/" not in outcome.text
