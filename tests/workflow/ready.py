"""A process that has imported Snakemake and forks for each run: the import is most of a small run's cost.

What is forked goes on as `python -m snakemake` does, and its jobs are processes of their own, as ever. Runs
that are killed, or that a script starts, do without.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

MARK = "CLIPSTEER_TEST_FAMILY"
"""The environment variable by which a family of processes is known (`tests.workflow.processes`)."""

_SERVER = """
import json, os, signal, sys
import snakemake.api, snakemake.cli, snakemake.workflow

main = os.path.join(os.path.dirname(snakemake.cli.__file__), "__main__.py")
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv, sys.path[0] = [main, *order["words"]], order["folder"]
    for number, name, mode in (0, os.devnull, os.O_RDONLY), (1, order["output"], os.O_WRONLY):
        os.dup2(os.open(name, mode | os.O_APPEND), number)
    os.dup2(1, 2)
    signal.alarm(order["timeout"])
    snakemake.cli.main()
"""


def usable() -> bool:
    """Not in a family, whose members are told by what they were *started* with, and end with it."""
    return MARK not in os.environ


def run(
    python: str, words: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: int
) -> tuple[int, str]:
    """Exit code and output of `python -m snakemake` with these words; `environment` is all that it has."""
    server = _server(os.getpid(), python, tuple(sorted(_python(environment).items())))
    assert server.stdin
    assert server.stdout
    with tempfile.NamedTemporaryFile() as output:
        order = {
            "words": words,
            "folder": str(folder),
            "environment": dict(environment),
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
    """One for each process of tests, interpreter, and setting of Python itself, which is read at its start."""
    others = {k: v for k, v in os.environ.items() if k not in _python(os.environ)}
    return subprocess.Popen(
        [python, "-c", _SERVER],
        env={**others, **dict(settings)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _python(environment: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environment.items() if k.startswith("PYTHON")}
