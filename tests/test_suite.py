"""The benchmarks' one table: every target has a row, whatever becomes of the part that measures it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from benchmarks import training_cuda
from benchmarks.lines import Line, answer, number, row
from benchmarks.suite import PARTS, Part, main
from benchmarks.targets import TARGETS

BASE = Path(__file__).parents[1]


def test_every_target_belongs_to_one_part() -> None:
    for key in TARGETS:
        assert [name for name, part in PARTS.items() if key.startswith(part.prefixes)], key
        assert len([name for name, part in PARTS.items() if key in part.answers()]) == 1, key


def test_every_part_is_there_and_answers_something() -> None:
    for part in PARTS.values():
        assert (BASE / part.module.replace(".", "/")).with_suffix(".py").exists(), part.module
        assert part.answers()
        assert part.limit > 0
        assert part.quick is None or part.quick_limit > 0


@pytest.mark.parametrize(
    ("measured", "most", "passed"),
    [(2.0, False, True), (1.9, False, False), (2.0, True, True), (2.1, True, False)],
)
def test_verdicts(measured: float, most: bool, passed: bool) -> None:
    assert Line("x", measured, "y", 2.0, most=most).passed is passed
    assert Line("x", measured, "y", None, most=most).passed is None


def test_a_row_says_all() -> None:
    assert row(answer("loading/memmap", 0.65)).endswith("| **missed** |")
    cells = row(answer("cold/seconds", 170.25)).split(" | ")
    assert cells[1:3] == ["at most 180 s", "170 s"]
    assert [number(x, "s") for x in (0.25, 12.34, 1234.5)] == ["0.25 s", "12.3 s", "1,234 s"]


GOOD = """
import sys
from pathlib import Path
from benchmarks.lines import answer, write_json
lines = [answer("cold/seconds", 12.0)]
write_json(Path(sys.argv[-1]), lines, {"cold/outside": "no clock"})
"""
SLOW = """
import os, subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path(os.environ["TMPDIR"], "left").touch()
Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""


def test_a_part_that_fails_or_hangs_leaves_rows_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("good", GOOD), ("slow", SLOW), ("bad", 'raise SystemExit("no network")')):
        (tmp_path / f"fake_{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{BASE}")
    others = tuple(
        {f"{k.partition('/')[0]}/" for k in TARGETS} - {"cold/", "dags/", "bytes/", "sweep/"}
    )
    pid = tmp_path / "pid"
    parts = {
        "slow": Part("fake_slow", ("dags/",), (str(pid),), 2, (str(pid),), 2),
        "bad": Part("fake_bad", ("bytes/",), (), 60, (), 60),
        "good": Part("fake_good", ("cold/",), (), 60, (), 60),
        "long": Part("fake_good", ("sweep/",), (), 60),
        "other": Part("fake_good", others, (), 60, (), 60),
    }
    out = tmp_path / "out"
    words = ["--quick", "--only", "slow", "bad", "good", "long", "--out", str(out)]
    assert main(words, parts) == 0
    printed = capsys.readouterr().out
    table = [line for line in printed.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(TARGETS)

    def reason(key: str) -> str:
        place = list(TARGETS).index(key) + 1
        assert table[place].startswith(f"| {TARGETS[key].what} |")
        return table[place].split(" | ")[-1].removesuffix(" |")

    assert reason("cold/seconds") == "pass"
    assert reason("cold/outside") == "not measured: no clock"
    assert reason("dags/plan") == "not measured: ran past its limit of 2 s"
    assert reason("bytes/int8") == "not measured: ended with status 1: no network"
    assert reason("sweep/usual") == "not measured: left out of the quick run"
    assert reason("loading/saev") == "not measured: not asked for"
    left = int(pid.read_text())
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
    rows = json.loads((out / "quick.json").read_text())["rows"]
    assert [one["key"] for one in rows] == list(TARGETS)
    assert (out / "quick.md").read_text() == printed


def test_cuda_is_said_to_be_missing_and_its_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    out = tmp_path / "out.json"
    assert training_cuda.main(["--json", str(out)]) == 0
    keys = [key for key in TARGETS if key.startswith("cuda/")]
    assert json.loads(out.read_text())["failures"] == dict.fromkeys(keys, "no CUDA device")
    small = ["--features", "256", "--tokens", "64", "--width", "32", "--k", "4", "--steps", "2"]
    words = ["--device", "cpu", "--no-peers", *small, "--rounds", "1", "--json", str(out)]
    assert training_cuda.main(words) == 0
    found = json.loads(out.read_text())
    assert set(found["failures"]) == set(keys)
    assert found["tokens_per_second"].keys() == {"ours", "product"}
    assert not any(line["key"] for line in found["lines"])
    assert "tokens/s" in capsys.readouterr().out
