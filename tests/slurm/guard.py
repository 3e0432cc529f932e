"""Takes the tests' Slurm down where they cannot do so themselves any more: they were killed.

    python -m tests.slurm.guard FOLDER MARK          does so when its standard input is closed

MARK stands in the environment of all that the tests have started on it (tests/workflow/processes.py).
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.workflow.processes import Family
from tests.workflow.runs import BASE


@contextmanager
def guarded(folder: Path) -> Iterator[str]:
    """A guard over the cluster of a folder, until the block has taken it down; yields the mark."""
    mark = secrets.token_hex(16)
    guard = subprocess.Popen(
        [sys.executable, "-m", "tests.slurm.guard", str(folder), mark],
        stdin=subprocess.PIPE,
        cwd=BASE,
        start_new_session=True,  # what ends the tests is not for it
    )
    assert guard.stdin is not None
    try:
        yield mark
    finally:
        guard.stdin.close()
        guard.wait(120)


def main() -> None:
    folder, mark = Path(sys.argv[1]), sys.argv[2]
    sys.stdin.read()
    Family(mark).end()
    if folder.is_dir():
        Cluster(folder).down()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
