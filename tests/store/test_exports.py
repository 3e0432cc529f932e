"""Result files that a person has edited: found, and kept under another name."""

from __future__ import annotations

from pathlib import Path

from clipsteer.store.digest import digest_bytes
from clipsteer.store.exports import edited, put_aside
from clipsteer.store.pointers import Member, Output, Pointer


def test_only_other_bytes_count(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.csv" for name in ("same", "other", "gone", "of_the_second")}
    outputs = {name: Output(digest_bytes(b"as written"), 10, "blob") for name in files}
    second = {"of_the_second": Output(digest_bytes(b"also written"), 12, "blob")}
    pointer = Pointer("make_table", {"a": Member(outputs), "b": Member(second)})
    files["same"].write_bytes(b"as written")
    files["other"].write_bytes(b"as edited")
    files["of_the_second"].write_bytes(b"also written")
    files["unknown"] = tmp_path / "unknown.csv"
    files["unknown"].write_bytes(b"no output of that name")
    assert edited(pointer, files) == [files["other"]]


def test_what_was_put_aside_before_stays(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    for words in ("first", "second", "third"):
        file.write_text(words)
        place = put_aside(file)
        assert not file.exists()
        assert place.read_text() == words
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["table.csv.edited", "table.csv.edited2", "table.csv.edited3"]
