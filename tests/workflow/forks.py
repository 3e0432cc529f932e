"""The process that forks for `tests.workflow.ready`: a program of its own, which reads orders and writes exit codes.

For each order one fork goes on as `python -m snakemake` or `python -m clipsteer` does; a run's jobs are processes of
their own, as ever. Another stands by, with all that is imported: it becomes the warm worker of a run that starts one,
or has a fork go on as the Snakemake that a command asks.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

WORKER = "clipsteer.runner.warmer"
IMPORTED = (
    *("snakemake.api", "snakemake.cli", "snakemake.workflow"),
    *("torch", "transformers.models.clip.modeling_clip", "safetensors.torch"),
    *("zarr", "numcodecs", "PIL.Image", "matplotlib.pyplot"),
)
# As `clipsteer.runner.warm` has it: no threads before a fork.
QUIET = {
    "OPENBLAS_NUM_THREADS": "1",
    "GOMP_SPINCOUNT": "10000",
    "MKL_CBWR": "AUTO,STRICT",
    "TOKENIZERS_PARALLELISM": "false",
}


def main() -> None:
    """Serve until the standard input ends."""
    os.environ.update(QUIET)
    sys.path.pop(0)  # this file's folder
    for name in IMPORTED:
        import_module(name)
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    packages = [place for place in sys.path if place not in own]
    gc.freeze()  # forks neither look through what is imported nor take it down at their end
    for line in sys.stdin:
        order = json.loads(line)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asked = order["program"] == "clipsteer"
        if not (other := os.fork()):
            ours.close()
            _streams(order["output"])
            (stand_by_as_snakemake if asked else stand_by)(theirs, packages)
        theirs.close()
        if not (run := os.fork()):
            _streams(order["output"])
            (be_clipsteer if asked else be_snakemake)(order, ours, packages)
        ours.close()
        code = os.waitstatus_to_exitcode(os.waitpid(run, 0)[1])
        os.waitpid(other, 0)
        print(code, flush=True)


def be_snakemake(order: Mapping[str, Any], line: socket.socket, packages: Sequence[str]) -> None:
    """Do one run, whose warm worker is whoever is at the other end of the line."""
    words = [os.path.join(os.path.dirname(sys.modules["snakemake"].__file__), "__main__.py")]
    _become(order["environment"], [*words, *order["words"]], order["folder"], packages)

    class Popen(subprocess.Popen[bytes]):
        """As ever, but for the warm worker."""

        def __init__(self, words: Any, **options: Any) -> None:
            if WORKER not in words:
                super().__init__(words, **options)
                return
            end, mine = os.pipe()  # closed when this process ends, as ever
            self.stdin, self.returncode = os.fdopen(mine, "wb"), 0
            told = {"environment": dict(options["env"]), "folder": os.getcwd()}
            socket.send_fds(line, [json.dumps(told).encode()], [int(words[-1]), end])
            os.close(end)

    subprocess.Popen = Popen
    signal.alarm(order["timeout"])
    import_module("snakemake.cli").main()


def be_clipsteer(order: Mapping[str, Any], line: socket.socket, packages: Sequence[str]) -> None:
    """Do one command, for which whoever is at the other end of the line asks Snakemake."""
    _become(order["environment"], ["-m", *order["words"]], order["folder"], packages)
    started = subprocess.run

    def run(words: Any, **options: Any) -> Any:
        """As ever, but for Snakemake, whose output is wanted as one text."""
        if words[1:3] != ["-m", "snakemake"]:
            return started(words, **options)
        with tempfile.NamedTemporaryFile() as output:
            told = {**order, "words": words[3:], "environment": options["env"]}
            told |= {"folder": os.getcwd(), "output": output.name}
            line.send(json.dumps(told).encode())
            code = int(line.recv(16))
            return subprocess.CompletedProcess(words, code, Path(output.name).read_text())

    subprocess.run = run
    signal.alarm(order["timeout"])
    runpy.run_module("clipsteer", run_name="__main__", alter_sys=True)


def stand_by_as_snakemake(line: socket.socket, packages: Sequence[str]) -> NoReturn:
    """Wait for a command to ask Snakemake, and have that done; or for its end."""
    while told := line.recv(2**20):
        order = json.loads(told)
        if not (run := os.fork()):
            _streams(order["output"])
            be_snakemake(order, line, packages)
            sys.exit()
        line.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(run, 0)[1]))
    os._exit(0)


def stand_by(line: socket.socket, packages: Sequence[str]) -> NoReturn:
    """Wait for the run to start its warm worker, and be that; or for its end."""
    told, files, _, _ = socket.recv_fds(line, 2**20, 2)
    if told:
        order = json.loads(told)
        os.setsid()
        os.dup2(files[1], 0)
        words = [WORKER, str(files[0])]
        _become(order["environment"], words, order["folder"], packages)
        if "injected_fault" in sys.modules:  # an interpreter in which faults can be ordered
            sys.modules["injected_fault"].watch()
        runpy.run_module(WORKER, run_name="__main__")
    os._exit(0)


def _become(
    environment: Mapping[str, str], words: Sequence[str], folder: str, packages: Sequence[str]
) -> None:
    """Have the environment, arguments, folder and path of `python -m` there."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    own = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.argv[:] = words
    sys.path[:] = [folder, *filter(None, own), *packages]


def _streams(output: str) -> None:
    """Read nothing, and write to the end of a file."""
    for number, name, mode in (
        (0, os.devnull, os.O_RDONLY),
        (1, output, os.O_WRONLY | os.O_APPEND),
    ):
        os.dup2(os.open(name, mode), number)
    os.dup2(1, 2)


if __name__ == "__main__":
    main()
