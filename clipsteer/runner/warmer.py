"""The warm worker's own process: `python -m clipsteer.runner.warmer LISTENER`, started by `warm.start`.

It never computes. It imports the installed packages that the scripts handed to it import, and forks; it
has one thread, so a fork is safe. It ends when the run does, its forks when their jobs do.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from clipsteer.runner.code import FINGERPRINTS
from clipsteer.runner.fingerprint import packages_imported
from clipsteer.runner.warm import PROCESS, STATUS

# Start threads when they are imported, which a fork would lack: left to the forks.
_THREADED = ("polars",)
_STREAMS = 3
_PATIENCE = 10.0  # seconds for a job to say what it wants


def main() -> None:
    """Serve until the run's end of the standard input is closed, or SIGTERM."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks report to their jobs, not to us
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    listener = socket.socket(fileno=int(sys.argv[1]))
    try:
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            line, _ = listener.accept()
            with line, suppress(Exception):  # that job does without, and says itself what is wrong
                serve(line, listener)
    finally:
        with suppress(OSError):  # the next run may have cleared it away
            os.unlink(listener.getsockname())


def serve(line: socket.socket, listener: socket.socket) -> None:
    """Fork a process for one job; it never returns from here."""
    line.settimeout(_PATIENCE)
    head, streams, _, _ = socket.recv_fds(line, 8, _STREAMS)
    try:
        request = json.loads(_exactly(line, int.from_bytes(head, "big")))
        if request["python"] != sys.executable:
            return  # another environment, with packages of its own
        warm(request)
        gc.freeze()  # no fork is to look through what is imported whenever it collects its own garbage
        if threads() > 1:
            return  # a package has started some: a fork would lack them, and keep their locks
        line.settimeout(None)
        if os.fork() == 0:
            listener.close()
            _work(line, request, streams)
    finally:
        for stream in streams:
            os.close(stream)


def threads() -> int:
    """How many threads this process has, those of native libraries too where the system tells."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def warm(request: dict[str, Any]) -> None:
    """Import what the script's code imports of installed packages, lazily loaded names too."""
    script = Path(request["script"])
    found = packages_imported(script, script.parents[1], request["modules"], FINGERPRINTS)
    for module, names in found:
        if module.partition(".")[0] in _THREADED:
            continue
        with suppress(Exception):  # the job itself says what is wrong, if it really needs it
            imported = importlib.import_module(module)
            for name in names:
                getattr(imported, name, None)


def _exactly(line: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = line.recv(min(size, 2**20))
        if not part:
            raise ConnectionResetError("the job is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _work(line: socket.socket, request: dict[str, Any], streams: list[int]) -> None:
    """In the fork: become the job, tell it how that ended, and end."""
    status = 1
    try:
        for changed in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(changed, signal.SIG_DFL)
        line.sendall(f"{PROCESS} {os.getpid()}\n".encode())
        threading.Thread(target=_end_with, args=(line,), daemon=True).start()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv, sys.path[:] = request["arguments"], request["path"]
        for name in [name for name in sys.modules if name.partition(".")[0] == "clipsteer"]:
            del sys.modules[name]
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(
                request["threads"]
            )  # it read the environment when it was imported
        status = _run(request["script"])
    finally:
        for file in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                file.flush()
        with suppress(OSError):
            line.sendall(f"{STATUS} {status}\n".encode())
        os._exit(status)


def _run(script: str) -> int:
    """The exit status of a script, as the interpreter would give it."""
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _end_with(line: socket.socket) -> None:
    """Where the job was killed, nobody wants its fork's work any more."""
    with suppress(OSError):
        line.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
