"""Config files as text: no key stands twice, and what is no YAML is named with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from clipsteer.config import files as config_files
from clipsteer.config.files import check_files
from clipsteer.errors import ClipsteerError

BASE = Path(__file__).parents[2]


@pytest.fixture(autouse=True, params=["CSafeLoader", "SafeLoader"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With libyaml, and as on a machine without it."""
    monkeypatch.setattr(config_files, "_LOADER", getattr(yaml, request.param))


def fault(folder: Path, text: str | bytes, name: str = "mine.yaml") -> str:
    """What is said about one file, without the folder."""
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ClipsteerError) as caught:
        check_files([file])
    return str(caught.value).replace(f"{folder}/", "")


TWICE = [
    ("seed: 1\nraw: {}\nseed: 2\n", "mine.yaml: seed stands twice, in lines 1 and 3,"),
    ("a: 1\n'a': 2\n\"a\": 3\n", "mine.yaml: a stands 3 times, in lines 1, 2 and 3,"),
    (
        "steering:\n  random_seeds: 7\n\nsteering: # again\n  relaxed_drop: 5.0\n",
        "mine.yaml: steering stands twice, in lines 1 and 4,",
    ),
    (
        "dictionaries:\n  topk:\n    training:\n      k: 4\n      lr: 1.0\n      k: 8\n",
        "mine.yaml: dictionaries.topk.training.k stands twice, in lines 4 and 6,",
    ),
    ("a: {b: 1, b: 1}\n", "mine.yaml: a.b stands twice, in line 1,"),
    ("a:\n- b: 1\n  b: 2\n", "mine.yaml: a.0.b stands twice, in lines 2 and 3,"),
    # in what is merged: once, where it stands
    (
        "a: &a {x: 1, x: 2}\nb: *a\nc: {<<: *a}\n",
        "mine.yaml: a.x stands twice, in line 1,",
    ),
    ("b:\n  <<: {x: 1, x: 2}\n", "mine.yaml: b.<<.x stands twice, in line 2,"),
]


@pytest.mark.parametrize(("text", "said"), TWICE)
def test_a_key_that_stands_twice(tmp_path: Path, text: str, said: str) -> None:
    found = fault(tmp_path, text)
    assert found.startswith(said)
    assert len(found.splitlines()) == 1


def test_all_of_them_in_all_files(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("b: {c: 1, c: 2}\na: 1\nd: 1\na: 2\n")
    second.write_text("a: 1\na: 2\n")
    with pytest.raises(ClipsteerError) as caught:
        check_files([first, second])
    found = [line.partition(" stands")[0] for line in str(caught.value).splitlines()]
    assert found == [f"{first}: b.c", f"{first}: a", f"{second}: a"]


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json(tmp_path: Path, indent: str | int | None) -> None:
    text = json.dumps({"a": {"b": "tab: \t", "c": 2}, "d": [1.5, None]}, indent=indent)
    (tmp_path / "mine.json").write_text(text)
    check_files([tmp_path / "mine.json"])
    line = len(text[: text.index('"d"')].splitlines())
    found = fault(tmp_path, text.replace('"d"', '"a"'), "mine.json")
    first = text[: text.index('"a"')].count("\n") + 1
    where = f"in lines {first} and {line}" if indent else "in line 1"
    assert found.startswith(f"mine.json: a stands twice, {where},")


@pytest.mark.parametrize(
    "text",
    [
        "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc:\n  x: 0\n  <<: *a\n",  # merged, then overruled
        "a: &a {x: 1}\nb: &b {y: 1}\nc: {<<: [*a, *b], x: 2}\n",
        "a: {x: 1}\nb: {x: 1}\nc: [{x: 1}, {x: 2}]\n",
        "a: 0\nb: '010'\nc: 0.5\nd: 0x1f\n",
        "\ufeffseed: 1\r\n# seed: 2\r\n",
        "{}\n",
    ],
)
def test_what_is_legal(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text, newline="")
    check_files([tmp_path / "mine.yaml"])


def test_the_projects_own_files() -> None:
    check_files([BASE / "config.yaml", *(BASE / "config").glob("*.yaml")])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("seed: 1\n\traw: 2\n", ("mine.yaml, line 2:", "a tab")),
        ("seed: 1\nraw:\n  \twatch: off\n", ("mine.yaml, line 3:", "a tab")),
        ("seed: 1\n  raw: 2\n", ("mine.yaml, line 2:", "indented alike")),
        ("seed: 1\n\nraw: [1, 2\nstore: 3\n", ("mine.yaml, line 4:", "begins in line 3")),
        ('seed: "1\nraw: 3\n', ("begins in line 1", "quotes are closed")),
        ("seed:1\nraw: 2\n", ("mine.yaml, line 2:", "a space follows each colon")),
        ("seed: *none\n", ("mine.yaml, line 1:", "undefined alias")),
        ("seed: 1\n---\nseed: 2\n", ("mine.yaml, line 2:", "another document")),
        ("seed: \x00\n", ("mine.yaml: cannot be read", "x0000")),
        (b"seed: 1\nraw: \xff\n", ("mine.yaml, line 2:", "UTF-8")),
        ("", ("mine.yaml: is empty",)),
        ("# nothing\n", ("mine.yaml: is empty",)),
        ("# a list\n- seed\n", ("mine.yaml, line 2: found a list", "seed: 1")),
        ("seed:1\n", ("mine.yaml, line 1: found `seed:1`", "space after the colon")),
        ("path,split\na.jpg,train\n", ("mine.yaml, line 1: found `path,split a.jpg,train`",)),
        ("a:\n  seed: 010\n", ("mine.yaml: a.seed in line 2: YAML reads 010 as 8",)),
        ("seed: 1:30\n", ("mine.yaml: seed in line 1: YAML reads 1:30 as 90",)),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str | bytes, parts: tuple[str, ...]) -> None:
    found = fault(tmp_path, text)
    assert len(found.splitlines()) == 1
    for part in parts:
        assert part in found


def test_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.yaml").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClipsteerError) as caught:
        check_files(["none.yaml", tmp_path / "folder.yaml"])
    none, folder = str(caught.value).splitlines()
    assert none.startswith(f"none.yaml: found no such file, seen from {tmp_path};")
    assert folder.startswith("folder.yaml: cannot be read as a config file (Is a directory)")
