"""A stand-in for checkpoints, for tests that kill a training and go on with it."""

from __future__ import annotations

from collections.abc import Callable


class Killed(Exception):
    """In place of a signal that nobody can catch."""


class Keeper:
    """Takes a snapshot every few steps; ends the training at one."""

    def __init__(self, every: int, last: int | None = None, resume: bytes | None = None) -> None:
        self.every, self.last, self.snapshot = every, last, resume
        self.seen: dict[int, bytes] = {}

    def resume(self) -> bytes | None:
        return self.snapshot

    def offer(self, step: int, snapshot: Callable[[], bytes]) -> None:
        if step % self.every == 0:
            self.seen[step] = self.snapshot = snapshot()
        if step == self.last:
            raise Killed
