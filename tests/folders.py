"""What lies in a folder, for tests that compare it before and after."""

from __future__ import annotations

from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """Every file, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by its path below `folder`."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files_below(folder)}
