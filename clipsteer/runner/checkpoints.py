"""Progress of a long action that outlives its process: saved by steps and when asked to stop.

A checkpoint is one file in the action's folder below `scratch/`, named by its step and by a digest of
step and content, so that nothing damaged is ever resumed from. Its bytes are a function of the action and
the step: two attempts at one action may write the same folder at once. The store knows nothing of what
is inside.
"""

from __future__ import annotations

import contextlib
import math
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from clipsteer.errors import ClipsteerError
from clipsteer.runner.progress import Progress
from clipsteer.store import durable
from clipsteer.store.digest import new_hash

# In the file's name: a store of another version passes over our files, and we over its.
VERSION = 1
KEPT = 2
_NAME = re.compile(rf"step-(\d{{12}})-([0-9a-f]{{64}})\.checkpoint-{VERSION}")
# A checkpoint is written in one go, so a temporary file that nobody touched for so long is a dead writer's.
_DEAD_AFTER = 3600.0  # seconds
SAME_WISH = 1.0  # seconds
_PATIENCE = 60.0  # seconds


class Stopped(ClipsteerError):
    """The process was asked to stop, and has saved what it could."""


class Ended(SystemExit, KeyboardInterrupt):
    """The end of the process.

    Python's own C code (`compile`, for instance) clears what is raised inside it, and spares a
    KeyboardInterrupt only.
    """


class StopSignals:
    """What SIGTERM and SIGINT do: end the process at once, or ask a running computation to stop.

    Ended(128 + number) is raised where nobody would look at the wish: outside `running`, or at the
    second signal. Signals that follow within a second are the same wish: a Ctrl-C reaches all
    processes of a terminal, and Snakemake hands its own on.
    """

    def __init__(self) -> None:
        self.asked = 0
        """Number of the signal that asked for a stop, 0 where none did."""
        self._running = False
        self._last = -math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last < SAME_WISH:
            return
        self._last = now
        if not self._running or self.asked:
            raise Ended(128 + number)
        self.asked = number

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inside, a computation looks at `asked` by itself."""
        self._running = True
        try:
            yield
        finally:
            self._running = False
        if self.asked:  # after its last look
            raise Ended(128 + self.asked)


@contextlib.contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Inside, SIGTERM and SIGINT do what `StopSignals` says; main thread only."""
    stops = StopSignals()
    with handling(stops):
        yield stops


@contextlib.contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside, SIGTERM and SIGINT call `handler`; main thread only. What is ignored stays ignored."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    handled = [n for n, was in before.items() if was is not signal.SIG_IGN]
    try:
        for number in handled:
            signal.signal(number, handler)
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number] or signal.SIG_DFL)


class Checkpoints:
    """The checkpoints of one action, in its folder below `scratch/` (not in that of one attempt).

    `every`: steps between two of them; 0 saves at a signal only. `stops`: what asks for a stop; without
    it nothing does. `say` takes a line for the log. `check` is called before each save and raises where
    the code is no longer the action's: its progress must not be left for the action to resume from.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        stops: StopSignals | None = None,
        say: Callable[[str], None] | None = None,
        check: Callable[[], object] | None = None,
    ) -> None:
        self._folder, self._every = folder, every
        self._stops, self._say, self._check = stops or StopSignals(), say, check
        self._saved = time.monotonic()

    @contextlib.contextmanager
    def running(self, progress: Progress) -> Iterator[Callable[[], bytes | None]]:
        """Inside, a signal asks for a stop at the next step; the computation must `offer` each one.

        Gives a way to what an earlier process has saved, None where there is nothing; `progress` then
        counts on from there.
        """

        def resume() -> bytes | None:
            found = self.latest()
            if found is None:
                return None
            progress.resume(found[0])
            return found[1]

        with self._stops.running():
            yield resume

    def latest(self) -> tuple[int, bytes] | None:
        """Step and content of the newest sound checkpoint; damaged ones are removed on the way."""
        self._remove_dead()
        while True:
            vanished = False
            for step, name, path in reversed(self._files()):
                try:
                    data = path.read_bytes()
                except FileNotFoundError:  # another attempt has saved newer ones
                    vanished = True
                    continue
                except OSError as error:
                    self._line(f"checkpoint {path}: cannot be read ({error}); not used")
                    continue
                if name == _digest(step, data):
                    return step, data
                self._line(f"checkpoint {path}: damaged; removed, not used")
                with contextlib.suppress(OSError):
                    path.unlink()
            if not vanished:
                return None

    def due(self, step: int) -> bool:
        """Whether to save after `step` steps: by number, or because a stop has been asked for."""
        return bool(self._stops.asked) or (self._every > 0 and step % self._every == 0)

    def offer(self, step: int, content: Callable[[], bytes]) -> None:
        """To be called after each step: saves `content()` where one is due (see `save`)."""
        if self.due(step):
            self.save(step, content())

    def offer_several(self, before: int, step: int, content: Callable[[], bytes]) -> None:
        """As `offer`, where steps are done several at a time: saves where one after `before` is due.

        And where none was saved for a minute, as such steps may take long; not where checkpoints are switched off.
        """
        late = self._every > 0 and time.monotonic() - self._saved > _PATIENCE
        if late or any(self.due(each) for each in range(before + 1, step + 1)):
            self.save(step, content())
            self._saved = time.monotonic()

    def save(self, step: int, data: bytes) -> None:
        """Make `data` the progress after `step` steps; older ones but the last go.

        A disk that refuses is no reason to end work that may still come to its end: one line tells of it.
        Raises Stopped if a stop has been asked for, and what `check` raises.
        """
        if self._check is not None:
            self._check()
        path = self._folder / f"step-{step:012d}-{_digest(step, data)}.checkpoint-{VERSION}"
        outcome = f"Progress is saved; run the same command again, it resumes at step {step}."
        try:
            durable.write_atomic(path, data)
            for _, _, old in self._files()[:-KEPT]:
                durable.remove(str(old))
        except (ClipsteerError, OSError) as error:
            outcome = f"Progress at step {step} was not saved: {error}"
            if not self._stops.asked:
                self._line(f"{outcome} The work goes on.")
        if self._stops.asked:
            raise Stopped(f"stopped by {signal.Signals(self._stops.asked).name}. {outcome}")

    def clear(self) -> None:
        """Remove everything, once the action's result is published."""
        for path in [*self._temporary(), *(path for _, _, path in self._files())]:
            with contextlib.suppress(OSError):
                path.unlink()
        with contextlib.suppress(OSError):  # another attempt may be in there
            self._folder.rmdir()

    def _files(self) -> list[tuple[int, str, Path]]:
        """(step, digest, path) of each checkpoint, the newest last."""
        if not self._folder.is_dir():
            return []
        named = ((_NAME.fullmatch(path.name), path) for path in self._folder.iterdir())
        return sorted((int(match[1]), match[2], path) for match, path in named if match)

    def _temporary(self) -> list[Path]:
        return list(self._folder.glob(f".step-*.checkpoint-{VERSION}.*.tmp"))

    def _remove_dead(self) -> None:
        for path in self._temporary():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _DEAD_AFTER:
                    path.unlink()

    def _line(self, text: str) -> None:
        if self._say is not None:
            self._say(text)


def _digest(step: int, data: bytes) -> str:
    hasher = new_hash()
    hasher.update(f"{step}\n".encode())
    hasher.update(data)
    return str(hasher.hexdigest())
