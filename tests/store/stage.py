"""Actors that take turns: threads that stop before file operations until they are told to go on.

Only one runs at a time, and a test decides which, so every interleaving can be had and had again.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

# What reaches the file system by a name. (os.path, pathlib and shutil go through these.)
_CALLS = ["link", "listdir", "lstat", "mkdir", "open", "remove", "rename", "replace", "rmdir"]
_CALLS += ["scandir", "stat", "unlink", "utime"]

# (call, path) -> whether to stop before this operation
Stop = Callable[[str, str], bool]


class Killed(BaseException):
    """The process of this actor is no more: nothing that it meant to do happens."""


class Actor:
    """One process of the play, as a thread. It waits before its first operation."""

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self.name = name
        self.done = False
        self.error: BaseException | None = None
        self.operations: list[str] = []
        self._work = work
        self._killed = False
        self._stop: Stop = lambda call, path: True
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, daemon=True).start()
        self._stopped.acquire()

    def go(self, stop: Stop) -> None:
        """Let it do the operation it stands before, and go on until ``stop`` or to its end."""
        if not self.done:
            self._stop = stop
            self._go.release()
            assert self._stopped.acquire(timeout=60), f"{self.name} hangs: {self.operations[-3:]}"

    def finish(self) -> None:
        """Let it go on to its end."""
        self.go(lambda call, path: False)

    def kill(self) -> None:
        """End it where it stands, as kill -9 does."""
        self._killed = True
        self.finish()

    def before(self, call: str, path: str) -> None:
        """Called by the thread itself before each operation."""
        if not self._killed:
            self.operations.append(f"{call} {path}")
            if self._stop(call, path):
                self._wait()
        if self._killed:
            raise Killed

    def _run(self) -> None:
        try:
            self._wait()
            _LOCAL.actor = self
            if not self._killed:
                self._work()
        except BaseException as error:
            self.error = error
        self.done = True
        self._stopped.release()

    def _wait(self) -> None:
        self._stopped.release()
        self._go.acquire()


_LOCAL = threading.local()


@contextlib.contextmanager
def stage(watch: Callable[[str, str], None] = lambda call, path: None) -> Iterator[None]:
    """Inside, actors stop before file operations; other threads are not touched.

    ``watch(call, path)`` is called just before an actor's operation is really done.
    """

    def stopping(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            actor = getattr(_LOCAL, "actor", None)
            if actor is not None:
                path = str(arguments[0]) if arguments else ""
                actor.before(name, path)
                _LOCAL.actor = None  # the watcher's own operations are no part of the play
                try:
                    watch(name, path)
                finally:
                    _LOCAL.actor = actor
            return real(*arguments, **options)

        return call

    places: list[tuple[Any, str]] = [(os, name) for name in _CALLS]
    places += [(builtins, "open"), (io, "open")]
    real = [getattr(place, name) for place, name in places]
    try:
        for (place, name), function in zip(places, real, strict=True):
            setattr(place, name, stopping(name, function))
        yield
    finally:
        for (place, name), function in zip(places, real, strict=True):
            setattr(place, name, function)
