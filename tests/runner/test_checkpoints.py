"""Checkpoints: whole or not at all, the newest sound one, and what a signal does."""

from __future__ import annotations

import errno
import io
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.runner import checkpoints
from clipsteer.runner.checkpoints import Checkpoints, Stopped, StopSignals, stop_signals
from clipsteer.runner.progress import Log, Progress
from clipsteer.store import durable

CONTENT = {step: bytes(f"content of step {step}", "ascii") * 20 for step in range(1, 20)}


class Place:
    """The folder of an action, and what was said about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []

    def checkpoints(self, every: int = 3, stops: StopSignals | None = None) -> Checkpoints:
        return Checkpoints(self.folder, every, stops, self.lines.append)

    def save(self, *steps: int) -> None:
        for step in steps:
            self.checkpoints().save(step, CONTENT[step])

    def latest(self) -> tuple[int, bytes] | None:
        return self.checkpoints().latest()

    def file(self, step: int) -> Path:
        (path,) = self.folder.glob(f"step-{step:012d}-*")
        return path

    def steps(self) -> list[int]:
        return sorted(int(path.name.split("-")[1]) for path in self.folder.glob("step-*"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "scratch" / "key")


@pytest.fixture
def progress() -> Progress:
    return Progress(Log(terminal=io.StringIO()), "toy", 20, "steps")


def test_the_newest_comes_back_and_the_last_two_stay(place: Place) -> None:
    assert place.latest() is None
    place.save(1)
    assert place.latest() == (1, CONTENT[1])
    place.save(2, 10)
    assert place.latest() == (10, CONTENT[10])
    assert place.steps() == [2, 10]
    assert place.lines == []


def test_an_attempt_behind_another_removes_nothing_newer(place: Place) -> None:
    place.save(8, 9)
    place.save(5)
    assert place.steps() == [8, 9]


def test_due_by_number_or_when_asked() -> None:
    stops = StopSignals()
    checkpoints = Checkpoints(Path("nowhere"), 4, stops)
    never = Checkpoints(Path("nowhere"), 0, stops)
    assert [step for step in range(1, 10) if checkpoints.due(step)] == [4, 8]
    assert not any(never.due(step) for step in range(1, 10))
    stops.asked = signal.SIGTERM
    assert checkpoints.due(5)
    assert never.due(5)


def test_nothing_is_made_where_nothing_is_due(place: Place) -> None:
    made: list[int] = []

    def content(step: int) -> bytes:
        made.append(step)
        return CONTENT[step]

    checkpoints = place.checkpoints(every=4)
    for step in range(1, 10):
        checkpoints.offer(step, lambda step=step: content(step))  # type: ignore[misc]
    assert made == place.steps() == [4, 8]


def test_steps_done_several_at_a_time_are_saved_where_one_is_due_or_a_minute_is_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now)
    several, never = place.checkpoints(every=4), place.checkpoints(every=0)
    for before, step in ((0, 3), (3, 6), (6, 7), (7, 9)):
        several.offer_several(before, step, lambda step=step: CONTENT[step])  # type: ignore[misc]
    assert place.steps() == [6, 9]
    now = 61.0
    several.offer_several(9, 10, lambda: CONTENT[10])
    several.offer_several(10, 11, lambda: CONTENT[11])
    never.offer_several(11, 16, lambda: CONTENT[16])
    assert place.steps() == [9, 10]


@pytest.mark.parametrize("at", [0, 1, 100, 339, -1])
def test_a_flipped_byte_is_found_and_the_one_before_used(place: Place, at: int) -> None:
    place.save(3, 6)
    newest = place.file(6)
    data = bytearray(newest.read_bytes())
    data[at] ^= 1
    newest.write_bytes(data)
    assert place.latest() == (3, CONTENT[3])
    assert place.steps() == [3]
    assert f"{newest}: damaged; removed, not used" in place.lines[0]


def test_other_damage_is_found(place: Place) -> None:
    place.save(3, 6)
    newest = place.file(6)
    newest.write_bytes(newest.read_bytes()[:-1])
    assert place.latest() == (3, CONTENT[3])
    # the name belongs to the content: a checkpoint is never taken for one of another step
    place.file(3).rename(Path(str(place.file(3)).replace("3-", "4-", 1)))
    assert place.latest() is None
    assert place.steps() == []
    place.save(9)
    place.file(9).write_bytes(b"")
    assert place.latest() is None


def test_another_format_is_passed_over(place: Place) -> None:
    place.save(3)
    other = Path(str(place.file(3)).replace("step-000000000003", "step-000000000007") + "0")
    other.write_bytes(b"of a later version")
    (place.folder / "attempt").mkdir()
    (place.folder / "step-7").write_bytes(b"")
    assert place.latest() == (3, CONTENT[3])
    assert other.exists()
    place.save(4, 5)
    assert other.exists()


def test_clear_leaves_what_is_not_its_own(place: Place) -> None:
    place.save(3, 6)
    (place.folder / ".step-000000000009-ab.checkpoint-1.1-2.tmp").write_bytes(b"half")
    (place.folder / "attempt").mkdir()
    place.checkpoints().clear()
    assert [path.name for path in place.folder.iterdir()] == ["attempt"]
    (place.folder / "attempt").rmdir()
    place.save(3)
    place.checkpoints().clear()
    assert not place.folder.exists()
    place.checkpoints().clear()


def test_what_a_dead_writer_left_goes_after_an_hour(place: Place) -> None:
    place.save(3)
    old, new = (place.folder / f".step-9-{n}.checkpoint-1.1-{n}.tmp" for n in "ab")
    for path in (old, new):
        path.write_bytes(b"half")
    hour = time.time() - 3700
    os.utime(old, (hour, hour))
    assert place.latest() == (3, CONTENT[3])
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOENT])
def test_a_disk_that_refuses_ends_no_work(
    place: Place, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.save(3)

    def refuse(descriptor: int, data: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable, "write_all", refuse)
    stops = StopSignals()
    place.checkpoints(stops=stops).save(6, CONTENT[6])
    assert len(place.lines) == 1
    assert "Progress at step 6 was not saved" in place.lines[0]
    assert "The work goes on." in place.lines[0]
    stops.asked = signal.SIGTERM
    with pytest.raises(Stopped, match=r"stopped by SIGTERM. Progress at step 7 was not saved"):
        place.checkpoints(stops=stops).save(7, CONTENT[7])
    assert place.latest() == (3, CONTENT[3])
    assert [path.name for path in place.folder.iterdir()] == [place.file(3).name]


def test_changed_code_leaves_no_progress(place: Place) -> None:
    def changed() -> None:
        raise ClipsteerError("the code was changed")

    with pytest.raises(ClipsteerError, match="changed"):
        Checkpoints(place.folder, 1, check=changed).save(3, CONTENT[3])
    assert place.latest() is None


def test_a_newer_one_of_another_attempt_is_found_in_place_of_one_that_went(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.save(3, 6)
    read = Path.read_bytes

    def late(path: Path) -> bytes:
        if path.exists() and "step-000000000006" in path.name:
            place.save(12, 15)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", late)
    assert place.latest() == (15, CONTENT[15])


def test_attempts_at_once_always_leave_a_sound_one(place: Place) -> None:
    place.save(1)
    done = threading.Event()
    found: set[int] = set()

    def look() -> None:
        while not done.is_set():
            latest = place.latest()
            assert latest is not None
            assert latest[1] == CONTENT[latest[0]]
            found.add(latest[0])

    reader = threading.Thread(target=look)
    writers = [threading.Thread(target=place.save, args=range(2, 20)) for _ in range(3)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert found
    assert place.steps() == [18, 19]
    assert place.lines == []


def test_progress_counts_on_from_there(place: Place, progress: Progress) -> None:
    with place.checkpoints().running(progress) as resume:
        assert resume() is None
    place.save(6)
    with place.checkpoints().running(progress) as resume:
        assert resume() == CONTENT[6]
    terminal = io.StringIO()
    counter = Progress(Log(terminal=terminal), "toy", 20, "steps", every=0)
    counter.resume(16)
    counter._start -= 2.5  # for one step
    counter(1)
    assert terminal.getvalue().splitlines() == [
        "toy: resumes at 16 steps",
        "toy: 17/20 steps, 0.4 steps/s, ETA 0:07",
    ]


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_signal_asks_for_a_stop_at_the_next_step(place: Place, progress: Progress) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def compute(checkpoints: Checkpoints) -> None:
        with checkpoints.running(progress):
            checkpoints.offer(4, lambda: CONTENT[4])
            send(signal.SIGTERM)
            checkpoints.offer(5, lambda: CONTENT[5])
            pytest.fail("went on")

    with stop_signals() as stops:
        message = r"^stopped by SIGTERM\. Progress is saved; .* resumes at step 5\.$"
        with pytest.raises(Stopped, match=message):
            compute(place.checkpoints(every=0, stops=stops))
    assert place.latest() == (5, CONTENT[5])
    assert place.steps() == [5]
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_ends_the_process_is_not_cleared_by_c_code() -> None:
    """As compile() does with every exception in what it folds, except a KeyboardInterrupt."""
    with stop_signals(), pytest.raises(KeyboardInterrupt) as raised:
        send(signal.SIGTERM)
    assert isinstance(raised.value, SystemExit)
    assert raised.value.code == 128 + signal.SIGTERM


def test_a_second_signal_ends_the_process(
    place: Place, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stop_signals() as stops, place.checkpoints(stops=stops).running(progress):
        send(signal.SIGTERM)
        send(signal.SIGINT)  # the same wish, heard twice
        monkeypatch.setattr(checkpoints, "SAME_WISH", 0.0)
        with pytest.raises(SystemExit) as raised:
            send(signal.SIGINT)
        stops.asked = 0
    assert raised.value.code == 128 + signal.SIGINT


def test_outside_a_computation_a_signal_ends_the_process(progress: Progress, place: Place) -> None:
    with stop_signals() as stops:
        with place.checkpoints(stops=stops).running(progress):
            pass
        with pytest.raises(SystemExit) as raised:
            send(signal.SIGTERM)
        assert raised.value.code == 143


def test_a_wish_that_came_after_the_last_look_is_not_forgotten(
    place: Place, progress: Progress
) -> None:
    def compute(checkpoints: Checkpoints) -> None:
        with checkpoints.running(progress):
            send(signal.SIGTERM)

    with stop_signals() as stops, pytest.raises(SystemExit) as raised:
        compute(place.checkpoints(stops=stops))
    assert raised.value.code == 143


def test_signals_that_are_ignored_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_signals():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            send(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
