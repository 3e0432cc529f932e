"""What a submitted job pays before its step begins: reading the Snakefile."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Sequence

from tests.workflow.runs import WorkingCopy

LIMIT = 1.5  # seconds


def cpu_seconds(words: Sequence[str], copy: WorkingCopy) -> float:
    """Of a process and its children: other work on the machine does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=copy.folder, check=True, capture_output=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_submitted_job_reads_the_snakefile_quickly(finished: WorkingCopy) -> None:
    base = [sys.executable, "-c", "import snakemake.cli"]
    # as a node does it: not the main process, so nothing is scanned
    parse = finished.command("--list-rules", options=("--mode", "remote"))

    def best(take: Callable[[], float]) -> float:
        return min(take() for _ in range(3))

    imports = best(lambda: cpu_seconds(base, finished))
    whole = best(lambda: cpu_seconds(parse, finished))
    assert whole - imports < LIMIT, (
        f"{whole:.2f} s, of which {imports:.2f} s are Snakemake's import"
    )
