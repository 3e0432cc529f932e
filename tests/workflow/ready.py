"""A process that has imported what runs import, and forks for each: the imports are most of a small run's cost.

Runs that are killed, or that a script starts, do without.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from tests.workflow import forks

MARK = "CLIPSTEER_TEST_FAMILY"
"""The environment variable by which a family of processes is known (`tests.workflow.processes`)."""


def usable() -> bool:
    """Not in a family, whose members are told by what they were *started* with, and end with it."""
    return MARK not in os.environ


def run(
    python: str,
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    timeout: int,
    checkout: Path | None = None,
) -> tuple[int, str]:
    """Exit code and output of `python -m snakemake` with these words; `environment` is all that it has.

    Where there is a `checkout`, of its `python -m clipsteer`.
    """
    server = _server(os.getpid(), python, tuple(sorted(_at_import(environment).items())))
    assert server.stdin
    assert server.stdout
    own = {"PYTHONPATH": str(checkout)} if checkout else {}
    with tempfile.NamedTemporaryFile() as output:
        order = {
            "program": "clipsteer" if checkout else "snakemake",
            "words": words,
            "folder": str(folder),
            "environment": {**environment, **own},
            "output": output.name,
            "timeout": timeout,
        }
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return code, Path(output.name).read_text()


@cache
def _server(
    parent: int, python: str, settings: tuple[tuple[str, str], ...]
) -> subprocess.Popen[str]:
    """One for each process of tests, interpreter, and what Python and the hub's library read at their start."""
    others = {k: v for k, v in os.environ.items() if k not in _at_import(os.environ)}
    return subprocess.Popen(
        [python, forks.__file__],
        env={**others, **dict(settings)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _at_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environment.items() if k.startswith(("PYTHON", "HF_"))}
