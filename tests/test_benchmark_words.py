"""Wrong words on a benchmark's command line: one message, before anything is measured."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from benchmarks.lines import device, existing_folder, new_file, positive


@pytest.mark.parametrize(
    ("module", "words", "said"),
    [
        ("loading", ["--images", "0"], "--images: found 0, expected a whole number from 1"),
        ("extraction", ["--threads", "-1"], "--threads: found -1, expected a whole number from 1"),
        ("growth", ["--repeats", "two"], "--repeats: invalid positive value: 'two'"),
        ("training", ["--device", "nosuch"], "--device: torch has no 'nosuch' here"),
        ("training", ["--json", "/nonexistent/a.json"], "--json: found no folder at /nonexistent"),
        ("dags", ["--json", "/"], "--json: found a place where no file can be written: /"),
        ("codecs", ["--shard", "/nonexistent"], "--shard: found no folder at /nonexistent"),
        ("codecs", ["--shard", "."], "--shard: found no array resid_post/03 in ."),
        ("sweep", ["--every", "0"], "--every: found 0, expected a whole number from 1"),
        ("steerability", ["--images", "0"], "--images: found 0, expected a whole number from 1"),
        ("spliced", ["--images", "0"], "--images: found 0, expected a whole number from 1"),
        ("dags", ["--rounds", "0"], "--rounds: found 0, expected a whole number from 1"),
    ],
)
def test_wrong_words_are_refused_by_name(
    module: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{module}").main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_right_words(tmp_path: Path) -> None:
    assert positive("3") == 3
    assert existing_folder(str(tmp_path)) == tmp_path
    assert new_file(str(tmp_path / "new.json")) == tmp_path / "new.json"
    assert new_file("new.json") == Path("new.json")
    assert device("cpu") == "cpu"
