"""What we ask Slurm, with commands that stand in for Slurm's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clipsteer import slurm
from clipsteer.errors import ClipsteerError
from clipsteer.runner.step import hide_others_gpus

RUN = "8baa57ed-6cd0-49eb-a062-905f33462516"
Pretend = Callable[..., None]


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """`pretend(sacct="echo ...")`: commands of these names, and no others of Slurm's."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def made(**scripts: str) -> None:
        for name in ("sacct", "squeue", "scontrol", "scancel", "sbatch"):
            command = tmp_path / name
            command.write_text(f"#!/bin/sh\n{scripts.get(name, 'exit 1')}\n")
            command.chmod(0o755)

    return made


DISABLED = "echo 'Slurm accounting storage is disabled' >&2; exit 1"


def config(age: str) -> str:
    return f"echo 'MinJobAge               = {age}'"


def test_sacct_without_accounting_is_refused(pretend: Pretend) -> None:
    pretend(sacct=DISABLED, scontrol=config("300 sec"))
    with pytest.raises(ClipsteerError, match=r"sacct.*storage is disabled.*squeue"):
        slurm.check_status_command("sacct")
    slurm.check_status_command("squeue")


@pytest.mark.parametrize("age", ["60 sec", "3 m", "180"])
def test_squeue_is_refused_where_jobs_are_soon_forgotten(pretend: Pretend, age: str) -> None:
    pretend(sacct="true", scontrol=config(age))
    with pytest.raises(ClipsteerError, match=r"MinJobAge.*set it to sacct"):
        slurm.check_status_command("squeue")
    pretend(sacct=DISABLED, scontrol=config(age))
    with pytest.raises(ClipsteerError, match=r"MinJobAge.*administrators"):
        slurm.check_status_command("squeue")
    pretend(sacct="true", scontrol=config(age))
    slurm.check_status_command("sacct")


def test_a_controller_that_does_not_answer_is_no_reason_to_refuse(pretend: Pretend) -> None:
    pretend(sacct=DISABLED)
    slurm.check_status_command("squeue")


def test_a_machine_without_slurms_commands_is_refused(
    pretend: Pretend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend()
    slurm.check_commands()
    (tmp_path / "sbatch").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClipsteerError, match=r"found no sbatch on the PATH.*login node"):
        slurm.check_commands()


def test_what_a_job_asks_for() -> None:
    cpu = {"slurm_partition": "cpu", "mem_mb": 1000, "runtime": 15, "disk_mb": 1}
    assert slurm.request(cpu, 2) == (
        "--cpus-per-task=2",
        "--partition=cpu",
        "--mem=1000M",
        "--time=15",
    )
    assert slurm.request({"gpu": 1}, 1) == ("--cpus-per-task=1", "--gpus=1")
    assert slurm.request({"gpu": 1, "gpu_model": "a100"}, 1)[1] == "--gpus=a100:1"


def test_what_slurm_has_no_nodes_for_is_refused(pretend: Pretend, tmp_path: Path) -> None:
    asked = {("--partition=nosuch",): "make_table"}
    said = "echo 'sbatch: error: invalid partition specified: nosuch' >&2; exit 1"
    pretend(sbatch=f"echo $@ > {tmp_path}/asked; {said}")
    with pytest.raises(ClipsteerError, match=r"make_table \(--partition=nosuch\): .*invalid part"):
        slurm.check_requests(asked)
    assert (tmp_path / "asked").read_text() == "--test-only --wrap=true --partition=nosuch\n"
    for later in (
        "Requested nodes are busy",
        "Required node not available (down, drained or reserved)",
    ):
        pretend(sbatch=f"echo 'allocation failure: {later}' >&2; exit 1")
        slurm.check_requests(asked)
    pretend(sbatch="exit 0")
    slurm.check_requests(asked)


def test_a_profile_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for words in (
        [],
        ["--workflow-profile", "mine"],
        ["--workflow-profile=none"],
        ["--cores", "2"],
    ):
        slurm.check_profile(["snakemake", *words])
    for words in (["--workflow-profile", "mien", "x.csv"], ["--workflow-profile=mien"]):
        with pytest.raises(ClipsteerError, match="--workflow-profile mien: found no such folder"):
            slurm.check_profile(["snakemake", *words])


def test_only_jobs_of_runs_in_this_folder_count(pretend: Pretend, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)
    lines = [
        f"1|{RUN}|rule_train_dictionary|{here}",
        f"2|lab_{RUN}|rule_data_wildcards|{tmp_path}/link",
        f"3|{RUN}|rule_train_dictionary|{tmp_path}",  # another working copy
        f"4|snakemake|(null)|{here}",  # the head itself, as a job
        f"5|{RUN}|mine|{here}",
    ]
    pretend(squeue="cat <<'E'\n" + "\n".join(lines) + "\nE")
    assert slurm.jobs_here(here) == ["1", "2"]


def test_a_machine_without_slurm_has_no_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.jobs_here(tmp_path) == []
    slurm.cancel([])
    slurm.cancel(["1"], seconds=5)


def test_cancelling_waits_until_the_jobs_are_gone(pretend: Pretend, tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.write_text("1\n")
    pretend(
        scancel=f"echo $@ > {tmp_path}/cancelled; (sleep 0.7; : > {left}) >/dev/null 2>&1 &",
        squeue=f"cat {left}",
    )
    slurm.cancel(["1", "2"], seconds=30)
    assert (tmp_path / "cancelled").read_text() == "1 2\n"
    assert left.read_text() == ""


def test_a_job_without_a_gpu_sees_none() -> None:
    outside: dict[str, str] = {}
    hide_others_gpus(outside)
    assert outside == {}
    without = {"SLURM_JOB_ID": "7"}
    hide_others_gpus(without)
    assert without["CUDA_VISIBLE_DEVICES"] == ""
    given = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "3"}
    hide_others_gpus(given)
    assert given["CUDA_VISIBLE_DEVICES"] == "3"
