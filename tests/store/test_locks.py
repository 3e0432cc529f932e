"""A lock that is asked for without waiting: free, taken, or on a file system that has none."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from clipsteer.store import locks
from clipsteer.store.locks import advisory_lock


def test_a_free_one_is_held_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "it.lock"
    with advisory_lock(path, wait=False) as mine:
        assert mine
        assert locks.is_locked(path)
    assert not path.exists()


def test_a_taken_one_is_left_to_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "it.lock"
    open_files = len(os.listdir("/proc/self/fd"))
    with advisory_lock(path):
        with advisory_lock(path, wait=False) as mine:
            assert not mine
        assert locks.is_locked(path)
        assert len(os.listdir("/proc/self/fd")) == open_files + 1
    assert not path.exists()


def test_of_many_at_once_one_has_it(tmp_path: Path) -> None:
    path = tmp_path / "it.lock"
    all_asked = threading.Barrier(8)
    answers: list[bool] = []

    def ask() -> None:
        all_asked.wait(60)
        with advisory_lock(path, wait=False) as mine:
            answers.append(mine)
            all_asked.wait(60)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]


def test_where_there_are_none_all_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "no locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with advisory_lock(tmp_path / "it.lock", wait=False) as mine:
        assert mine
