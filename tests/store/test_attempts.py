"""Private folders of attempts: each has its own, dead ones go, nobody stumbles over another's end."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clipsteer.store.attempts import action_folder, attempt

KEY = "blake3:" + "0" * 64


def test_attempts_that_come_and_go_at_once(tmp_path: Path) -> None:
    """The last to go takes the action's folder with it, at any moment."""

    def work(number: int) -> bool:
        with attempt(tmp_path, KEY) as folder:
            (folder / "file").write_text(str(number))
            return [file.name for file in folder.iterdir()] == ["file"]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(2000)))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_dead_attempt_goes_and_a_live_one_stays(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from clipsteer.store.attempts import attempt\n"
        "with attempt(Path(sys.argv[1]), sys.argv[2]) as folder:\n"
        "    (folder / 'half').write_text('x'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path, KEY], check=False, cwd=Path.cwd())
    [dead] = action_folder(tmp_path, KEY).iterdir()
    with attempt(tmp_path, KEY) as first:
        assert not dead.exists()
        with attempt(tmp_path, KEY) as second:
            assert first.is_dir()
            assert second != first
    assert not action_folder(tmp_path, KEY).exists()
