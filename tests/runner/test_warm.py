"""The warm worker: a job's fork is the job in all that can be seen, and ends where the job does."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsteer.runner import warm

BASE = Path(__file__).parents[2]
# Hands itself over, as a step does; what comes after is what a process without a worker does.
SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
from clipsteer.runner.warm import VARIABLE, hand_over

alone = VARIABLE not in os.environ
if not alone:
    status = hand_over(Path(__file__).resolve(), ["scipy.stats"], 3)
    if status is not None:
        sys.exit(status)
    print("no worker", flush=True)

def seen():
    torch = sys.modules.get("torch")
    return {
        "arguments": sys.argv[1:], "folder": os.getcwd(), "mine": os.environ.get("MINE"),
        "path": sys.path[0], "name": __name__, "input": sys.stdin.read(),
        "threads": torch and torch.get_num_threads(), "stats": "scipy.stats" in sys.modules,
        "library": [m for m in sys.modules if m.startswith("clipsteer") and m != "clipsteer"],
        "parent": os.getppid(), "process": os.getpid(),
    }

def never():
    import torch

word = sys.argv[1]
if word == "see":
    print(json.dumps(seen()))
    print("to the other stream", file=sys.stderr)
elif word == "exit":
    sys.exit(int(sys.argv[2]))
elif word == "words":
    sys.exit("in words")
elif word == "raise":
    raise ValueError("of ours")
elif word == "wait":
    def told(number, frame):
        Path("told").write_text(str(number))
        sys.exit(7)
    signal.signal(signal.SIGTERM, told)
    Path("here").write_text(str(os.getpid()))
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working copy in which a run has started its worker."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/job.py").write_text(SCRIPT)
    (tmp_path / ".snakemake/clipsteer").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(warm.VARIABLE, "")
    warm.start()
    yield tmp_path
    end_of_run()


def end_of_run() -> None:
    """What happens where the run's process ends."""
    worker = warm._kept.pop()
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(timeout=10) is not None


def job(folder: Path, *words: str, python: str = sys.executable) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "scripts/job.py", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(BASE), "MINE": "set"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(path: Path) -> str:
    for _ in range(2000):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.01)
    raise AssertionError(f"{path} never came")


def gone(process: int) -> bool:
    for _ in range(500):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_fork_is_the_job(folder: Path) -> None:
    started = job(folder, "see", "an argument")
    out, err = started.communicate("some input", timeout=120)
    seen = json.loads(out)
    assert (started.returncode, err) == (0, "to the other stream\n")
    assert seen["arguments"] == ["see", "an argument"]
    assert (seen["folder"], seen["mine"], seen["input"]) == (str(folder), "set", "some input")
    assert (seen["name"], seen["path"]) == ("__main__", str(folder / "scripts"))
    assert seen["process"] != started.pid
    assert seen["parent"] == warm._kept[-1].pid
    # imported before it began: the packages; and the project only by itself
    assert (seen["threads"], seen["stats"]) == (3, True)
    # a fork copies one thread only: what another one holds would be held for ever
    assert len(list(Path(f"/proc/{warm._kept[-1].pid}/task").iterdir())) == 1
    assert set(seen["library"]) <= {
        *("clipsteer.errors", "clipsteer.store", "clipsteer.runner"),
        *(f"clipsteer.store.{m}" for m in ("digest", "durable", "state")),
        *(f"clipsteer.runner.{m}" for m in ("code", "fingerprint", "lookup", "packages", "warm")),
    }


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["exit", "0"], 0, ""),
        (["exit", "5"], 5, ""),
        (["words"], 1, "in words\n"),
        (["raise"], 1, "ValueError: of ours\n"),
    ],
    ids=lambda value: str(value),
)
def test_how_it_ends(folder: Path, words: list[str], status: int, said: str) -> None:
    started = job(folder, *words)
    _, err = started.communicate("", timeout=120)
    assert started.returncode == status
    assert err.endswith(said)
    assert bool(err) == bool(said)


def test_a_job_that_is_asked_to_stop_hands_it_on(folder: Path) -> None:
    started = job(folder, "wait")
    until(folder / "here")
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=30) == 7
    assert until(folder / "told") == str(int(signal.SIGTERM))


def test_a_killed_job_takes_its_fork_along(folder: Path) -> None:
    started = job(folder, "wait")
    fork = int(until(folder / "here"))
    started.kill()
    assert gone(fork)
    assert not (folder / "told").exists()


def test_a_killed_fork_fails_its_job(folder: Path) -> None:
    started = job(folder, "wait")
    os.kill(int(until(folder / "here")), signal.SIGKILL)
    assert started.wait(timeout=30) == 137


def test_a_fork_outlives_the_worker(folder: Path) -> None:
    """As a job outlives its run: whether it may still write is not the worker's to say."""
    started = job(folder, "wait")
    fork = int(until(folder / "here"))
    end_of_run()
    assert not list((folder / ".snakemake/clipsteer").glob("warm-*"))
    assert started.poll() is None
    os.kill(fork, signal.SIGTERM)
    assert started.wait(timeout=30) == 7
    warm.start()  # for the fixture to end


def test_a_worker_that_is_told_to_end_leaves_nothing(folder: Path) -> None:
    """A run that is stopped tells all its processes."""
    job(folder, "exit", "0").communicate("", timeout=120)
    warm._kept[-1].terminate()
    assert warm._kept[-1].wait(timeout=10) == 128 + signal.SIGTERM
    assert not list((folder / ".snakemake/clipsteer").glob("warm-*"))


def test_the_next_run_clears_what_a_killed_one_left(folder: Path) -> None:
    """Also before the killed run's worker has seen that it is to end, which says nothing then."""
    (first,) = (folder / ".snakemake/clipsteer").glob("warm-*")
    before = warm._kept.pop()
    warm.start()
    assert not first.exists()
    assert before.stdin is not None
    before.stdin.close()
    assert before.wait(timeout=10) == 0


def test_without_a_worker_a_job_works_by_itself(folder: Path) -> None:
    warm._kept[-1].kill()
    warm._kept[-1].wait()
    started = job(folder, "see")
    out, _ = started.communicate("", timeout=120)
    first, second = out.splitlines()
    assert first == "no worker"
    assert json.loads(second)["process"] == started.pid


def test_another_environment_is_not_served(folder: Path) -> None:
    here = Path(sys.executable)
    names = [here.with_name(name) for name in ("python", "python3", "python3.11")]
    other = next(path for path in names if path.exists() and path != here)
    started = job(folder, "exit", "3", python=str(other))
    out, _ = started.communicate("", timeout=120)
    assert (out, started.returncode) == ("no worker\n", 3)


def test_nonsense_does_not_end_the_worker(folder: Path) -> None:
    import socket

    for data in (b"", b"12345678", (2).to_bytes(8, "big") + b"[]", (9**9).to_bytes(8, "big")):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(os.environ[warm.VARIABLE])
            line.sendall(data)
    started = job(folder, "exit", "4")
    started.communicate("", timeout=120)
    assert started.returncode == 4


def test_a_broken_file_does_not_end_the_worker(folder: Path) -> None:
    """One may be saved half-written while a run goes on; the job whose code it is says so."""
    (folder / "scripts/broken.py").write_text("def half(")
    kept = os.environ[warm.VARIABLE]
    assert warm.hand_over(folder / "scripts/broken.py", [], 1) is None
    os.environ[warm.VARIABLE] = kept
    started = job(folder, "exit", "4")
    out, _ = started.communicate("", timeout=120)
    assert (out, started.returncode) == ("", 4)


def test_the_users_environment_counts_as_it_does_without_a_worker(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_of_run()
    monkeypatch.setenv("MKL_CBWR", "AVX2,STRICT")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    warm.start()
    job(folder, "exit", "0").communicate("", timeout=120)  # the worker is there
    given = Path(f"/proc/{warm._kept[-1].pid}/environ").read_text().split("\0")
    assert {"MKL_CBWR=AVX2,STRICT", f"GOMP_SPINCOUNT={warm.BEFORE_TORCH['GOMP_SPINCOUNT']}"} <= {
        *given
    }


def test_nobody_else_may_ask_the_worker(folder: Path) -> None:
    """It does what it is asked in this user's name, and groups often share a folder."""
    assert stat.S_IMODE(Path(os.environ[warm.VARIABLE]).stat().st_mode) == 0o600
