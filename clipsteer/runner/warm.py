"""A warm worker: imports what steps import once per run, then forks a process for each job.

Importing torch and polars costs some 3 s of processor time, more than many a small job computes. So
the run starts one process that waits; a job that has something to compute hands itself over, and gets a
fork in which the installed packages are imported already. Nothing of the project is: a fork reads its
script and the library anew. A job that finds no worker computes in its own process, as it would anyway.

This is the side of the run and of its jobs; the worker itself is `warmer.py`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from clipsteer.store.durable import token
from clipsteer.store.state import CACHES

BEFORE_TORCH = {
    # Waiting threads spin for a moment, then sleep. Asleep at once, two of them pre-train at two thirds of the speed;
    # as long as libgomp would let them, spinning ones slow jobs on a shared core down several times over.
    "GOMP_SPINCOUNT": "10000",
    # On some processors MKL's products round otherwise with another number of threads, unless told not to.
    "MKL_CBWR": "AUTO,STRICT",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What every job has before torch is imported, with a worker or without, where the user's environment says nothing."""

VARIABLE = "CLIPSTEER_WARM"
#: Whole words of the protocol: a fork's process number first, its exit status last.
PROCESS, STATUS = "process", "status"
_LOST = 137  # as a shell says of a process that was killed
_PATIENCE = 60.0  # seconds for the worker to import what the job asks for
_kept: list[subprocess.Popen[bytes]] = []  # until this process ends; the worker ends with it


def start() -> None:
    """Start the run's worker, which ends with this process; its jobs find it by their environment.

    Where the folder's file system has no sockets there is none, and jobs do without.
    """
    path = CACHES / f"warm-{token()[:8]}"
    for old in CACHES.glob("warm-*"):  # of killed runs; there is one run at a time
        with suppress(OSError):
            old.unlink()
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))  # relative, as the length of such names is limited
        path.chmod(0o600)  # whoever may write to it commands this user's processes
        listener.listen(128)
    except OSError:
        return
    finally:
        os.set_inheritable(listener.fileno(), True)
    with listener:
        _kept.append(
            subprocess.Popen(
                [sys.executable, "-m", "clipsteer.runner.warmer", str(listener.fileno())],
                stdin=subprocess.PIPE,  # its end says that this process is gone
                pass_fds=[listener.fileno()],
                # A Ctrl-C is for the jobs, which hand it on; and a group that loses its last parent in the
                # session while one of it is stopped would be hung up by the kernel.
                start_new_session=True,
                env={
                    **BEFORE_TORCH,
                    **os.environ,
                    "PYTHONPATH": str(Path(__file__).parents[2]),
                    "OPENBLAS_NUM_THREADS": "1",  # no threads before a fork
                },
            )
        )
    os.environ[VARIABLE] = str(path)


def hand_over(script: Path, modules: Sequence[str], threads: int) -> int | None:
    """Let the run's worker do this very command; its exit status, or None where there is no worker.

    The fork has this process's arguments, folder, environment and standard streams. SIGTERM and
    SIGINT are handed on to it, and it ends where this process does.
    """
    place = os.environ.pop(VARIABLE, None)
    if place is None:
        return None
    # Here, since the worker imports this file too and must not hold more of the project.
    from clipsteer.runner.checkpoints import handling

    request = {
        "python": sys.executable,
        "script": str(script),
        "modules": list(modules),
        "threads": threads,
        "arguments": sys.argv,
        "path": sys.path,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
    }
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_PATIENCE)
        try:
            line.connect(place)
            data = json.dumps(request).encode()
            socket.send_fds(line, [len(data).to_bytes(8, "big")], [0, 1, 2])
            line.sendall(data)
            answers = line.makefile("r")
            word, _, number = answers.readline().partition(" ")
        except OSError:
            return None
        if word != PROCESS:
            return None
        line.settimeout(None)
        process = int(number)

        def hand_on(signal_number: int, frame: FrameType | None) -> None:
            with suppress(ProcessLookupError):
                os.kill(process, signal_number)

        with handling(hand_on):
            word, _, number = answers.readline().partition(" ")
    return int(number) if word == STATUS else _LOST
