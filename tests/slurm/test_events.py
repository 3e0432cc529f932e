"""What happens to jobs on a cluster: cancelled, their node lost, too little memory, their head killed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from clipsteer.slurm import jobs_here
from tests.slurm.cluster import NODES, Cluster
from tests.slurm.runs import (
    MODEL,
    SLOW,
    SMALL,
    ask,
    held,
    jobs,
    on_slurm,
    saved,
    settle,
    start,
    submit,
)
from tests.workflow.processes import Family, until
from tests.workflow.runs import WorkingCopy, merged, nested

pytestmark = on_slurm


@pytest.fixture(scope="module")
def undisturbed(
    manifests: WorkingCopy, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The pointers of the training that nobody disturbs, by a local run."""
    copy = manifests.twin(tmp_path_factory.mktemp("undisturbed"))
    copy.run(MODEL, config=SLOW).ok()
    return copy.pointers()


@pytest.fixture
def away(slurm: Cluster) -> Iterator[Callable[[str, str], None]]:
    """`away(node, state)`: takes a node away; it is back when the test has ended."""
    gone = []

    def take(node: str, state: str) -> None:
        gone.append(node)
        ask("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test")

    yield take
    for node in gone:
        ask("scontrol", "update", f"nodename={node}", "state=resume")


def node_of(job: str) -> str:
    return ask("squeue", "--noheader", "--format=%N", f"--jobs={job}")


def facts(job: str) -> dict[str, str]:
    """What the controller knows of a job, also of one that has ended."""
    words = ask("scontrol", "--oneliner", "show", "job", job).split()
    return dict(word.partition("=")[::2] for word in words)


def resumed(copy: WorkingCopy) -> bool:
    """Whether the training that came to an end had found saved progress."""
    return "resumes at" in (copy.folder / "logs/pretrain_clip/model.log").read_text()


def test_a_cancelled_job_and_a_killed_head(
    twin: WorkingCopy, ours: Family, undisturbed: dict[str, bytes]
) -> None:
    run = start(twin, ours, MODEL, config=SLOW)
    first = held(twin, ours, run)
    [job] = jobs_here(twin.folder)
    ask("scancel", job)
    # Snakemake submits it again, and it goes on
    held(twin, ours, run, after=first)
    [second] = jobs_here(twin.folder)
    assert second != job
    run.process.kill()
    assert run.process.wait(30) == -signal.SIGKILL
    assert jobs_here(twin.folder) == [second]  # it lives on
    again = start(twin, ours, MODEL, config=SLOW)
    outcome = again.outcome().ok()
    assert f"jobs of an earlier run are stopped: {second}" in outcome.text
    assert outcome.counts == (1, 0)
    assert resumed(twin)
    assert twin.pointers() == undisturbed
    assert twin.steps().count("pretrain_clip") == 1
    assert twin.leftovers() == []
    settle()
    assert twin.run(MODEL, config=SLOW).ok().counts == (0, 0)


def test_a_drained_node_and_a_lost_one(
    twin: WorkingCopy,
    ours: Family,
    undisturbed: dict[str, bytes],
    away: Callable[[str, str], None],
) -> None:
    run = start(twin, ours, MODEL, config=SLOW)
    first = held(twin, ours, run)
    [job] = jobs_here(twin.folder)
    drained, done = node_of(job), saved(twin)
    away(drained, "drain")
    ours.signal(first, signal.SIGCONT)
    until(lambda: saved(twin) > done, 300, "a drained node goes on with its jobs")
    ours.signal(first, signal.SIGSTOP)
    ask("scancel", job)
    held(twin, ours, run, after=first)
    [second] = jobs_here(twin.folder)
    lost = node_of(second)
    assert lost != drained
    away(lost, "down")
    assert run.outcome().ok().counts == (1, 0)
    # Slurm itself has started it again, under the same number
    assert facts(second)["Restarts"] == "1"
    assert {drained, lost, facts(second)["NodeList"]} == set(NODES)
    assert resumed(twin)
    assert twin.pointers() == undisturbed


def test_a_preempted_job(twin: WorkingCopy, ours: Family, undisturbed: dict[str, bytes]) -> None:
    run = start(twin, ours, MODEL, config=SLOW)
    held(twin, ours, run)
    [job] = jobs_here(twin.folder)
    nodes = ["--partition=urgent", f"--nodes={len(NODES)}", "--exclusive"]
    ask("sbatch", *nodes, "--chdir=/", "--output=/dev/null", "--wrap=sleep 1")
    assert run.outcome().ok().counts == (1, 0)
    assert facts(job)["Restarts"] == "1"
    assert resumed(twin)
    assert twin.pointers() == undisturbed


def test_a_job_over_its_memory_gets_more(twin: WorkingCopy) -> None:
    memory = "pretrain_clip:mem_mb=100 * 3 ** attempt"  # 300, then 900
    outcome = submit(twin, MODEL, config=SMALL, more=("--set-resources", memory)).ok()
    assert "Trying to restart" in outcome.text
    assert "mem_mb=300" in outcome.text
    assert "mem_mb=900" in outcome.text
    assert outcome.counts == (1, 0)


def test_a_failing_job_says_why_on_the_terminal(twin: WorkingCopy) -> None:
    config = merged(SMALL, nested("model.tiny.batch_size", 5000))
    outcome = submit(twin, MODEL, config=config, more=("--retries", "0"))
    assert outcome.code != 0
    assert "pre-training: found 64 pictures; expected at least one batch of 5000" in outcome.text
    assert "logs/pretrain_clip/model.log" in outcome.text
    assert jobs() == []


def test_a_status_command_that_cannot_answer_is_refused(twin: WorkingCopy) -> None:
    before = ask("squeue", "--noheader", "--states=all", "--format=%i")
    outcome = submit(twin, MODEL, config=SLOW, status="sacct")
    outcome.refused("slurm-status-command", "Slurm accounting storage is disabled", "squeue")
    assert ask("squeue", "--noheader", "--states=all", "--format=%i") == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--default-resources", "slurm_partition=nosuch"), "invalid partition specified: nosuch"),
        (("--set-resources", "pretrain_clip:mem_mb=7000"), "configuration is not available"),
    ],
)
def test_a_request_that_slurm_has_no_nodes_for_is_refused(
    twin: WorkingCopy, asked: tuple[str, ...], said: str
) -> None:
    before = ask("squeue", "--noheader", "--states=all", "--format=%i")
    submit(twin, MODEL, config=SMALL, more=asked).refused(
        "Slurm refuses jobs of pretrain_clip", said
    )
    assert ask("squeue", "--noheader", "--states=all", "--format=%i") == before


def test_stopping_the_head_stops_its_jobs(
    twin: WorkingCopy, ours: Family, undisturbed: dict[str, bytes]
) -> None:
    run = start(twin, ours, MODEL, config=SLOW)
    held(twin, ours, run)
    run.process.terminate()
    assert run.outcome(120).code != 0
    settle()
    assert saved(twin)
    assert twin.run(MODEL, config=SLOW).ok().counts == (1, 0)
    assert twin.pointers() == undisturbed
