"""`clipsteer` and `python -m clipsteer`: one program under two names."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from clipsteer.__main__ import main

BASE = Path(__file__).parents[2]


def installed() -> Callable[[], int]:
    """What the console script calls."""
    scripts = tomllib.loads((BASE / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {"clipsteer"}
    module, _, name = scripts["clipsteer"].partition(":")
    command: Callable[[], int] = getattr(import_module(module), name)
    return command


def as_script(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/clipsteer", *words])
    try:
        status = installed()()
    except SystemExit as end:  # of argparse
        status = int(end.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.parametrize(
    "words",
    ["--help", "store get --help", "store ls", "why nothing", "store get x results", "nonsense"],
)
def test_both_say_the_same(
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(BASE))
    monkeypatch.setenv("COLUMNS", "1000")
    done = subprocess.run(
        [sys.executable, "-m", "clipsteer", *words.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    found = as_script(words.split(), monkeypatch, capsys)
    name = "python -m clipsteer"
    expected = (text.replace(name, "clipsteer") for text in (done.stdout, done.stderr))
    assert found == (done.returncode, *expected)
    usage = f"usage: {name} "
    assert (usage in done.stdout + done.stderr) == ("help" in words or words == "nonsense")


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        ("look p.png --place topk/2 --dataset celeba", "html"),
        ("steer p.png --place topk/2 --feature 1 --strength 2", "png"),
    ],
)
def test_where_nothing_can_be_written_nothing_is_computed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    ending: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"folder.{ending}").mkdir()
    for out, said in (
        (f"nodir/x.{ending}", "found no folder nodir"),
        (f"folder.{ending}", f"expected a file that ends in .{ending}"),
        ("x.pdf", f"found x.pdf, expected a file that ends in .{ending}"),
    ):
        assert main([*words.split(), "--out", out]) == 1
        assert said in capsys.readouterr().err
