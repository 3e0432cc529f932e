"""Python's cache of compiled modules goes by content once `go_by_content` has seen it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipsteer.runner.bytecode import go_by_content

OLD, NEW = "VALUE = 1\n", "VALUE = 2\n"


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "room/thing.py"
    path.parent.mkdir()
    path.write_text(OLD)
    return path


def value(module: Path, *options: str) -> int:
    """What another process finds in the module; it may write a cache file, as Python does."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    words = [sys.executable, *options, "-c", f"import {module.stem}; print({module.stem}.VALUE)"]
    done = subprocess.run(
        words, cwd=module.parent, env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def change(module: Path) -> None:
    """Another source of the same size under the same time."""
    before = module.stat()
    module.write_text(NEW)
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))


def caches(module: Path) -> list[Path]:
    return list(module.parent.glob("__pycache__/*"))


def test_python_alone_runs_what_the_module_was(module: Path) -> None:
    """The reason for all this; if it fails, Python has learned better."""
    assert value(module) == 1
    change(module)
    assert value(module) == 1


@pytest.mark.parametrize("dont_write", [False, True])
@pytest.mark.parametrize("when", ["before the edit", "after the edit"])
def test_the_source_is_what_runs(
    module: Path, when: str, dont_write: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", dont_write)
    assert value(module) == 1
    if when == "before the edit":
        go_by_content(module.parent)
        assert value(module, *(["-B"] if dont_write else [])) == 1
        change(module)
    else:
        change(module)
        go_by_content(module.parent)
    assert value(module) == 2


def test_python_keeps_the_kind(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it renews the file after an edit; so one look is enough."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    value(module)
    go_by_content(module.parent)
    change(module)
    assert value(module) == 2
    renewed = {path: path.stat().st_mtime_ns for path in caches(module)}
    go_by_content(module.parent)
    assert {path: path.stat().st_mtime_ns for path in caches(module)} == renewed != {}


def test_nothing_is_written_where_python_may_not(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    go_by_content(module.parent)
    assert caches(module) == []


def test_what_is_not_python_and_what_may_not_be_written_is_left(module: Path) -> None:
    module.write_text("no Python (\n")
    (module.parent / "__pycache__").write_text("a file in the way")
    go_by_content(module.parent)
    assert module.read_text() == "no Python (\n"
