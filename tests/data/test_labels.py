from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsteer.data import files, labels
from clipsteer.errors import ClipsteerError


@given(st.text(alphabet="ab-1 \t\r\n"))
def test_squeeze_blanks_splits_on_any_white_space(text: str) -> None:
    lines = (" ".join(line.split()) for line in text.split("\n"))
    want = "\n".join(line for line in lines if line)
    assert labels.squeeze_blanks(text.encode()).decode() == want


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b c", "..x", "x.."]), min_size=1, max_size=4))
def test_check_paths_agrees_with_the_parts(parts: list[str]) -> None:
    path = "/".join(parts)
    fine = not {"", ".", ".."} & set(parts)
    if fine:
        files.check_paths(pl.Series([path]), "here")
    else:
        with pytest.raises(ClipsteerError, match="here: row 1"):
            files.check_paths(pl.Series([path]), "here")


def test_find_file_takes_the_shallowest_then_the_first_name() -> None:
    listing = ["a/b/t.csv", "a/t.csv", "a/t.txt", "t.csv.bak", "xt.csv"]
    assert files.find_file(listing, ("t.txt", "t.csv")) == "a/t.txt"
    assert files.find_file([*listing, "t.csv"], ("t.txt", "t.csv")) == "t.csv"
    assert files.find_file(listing, ("u.csv",)) is None


def test_read_table_strips_and_refuses_ragged_rows() -> None:
    table = labels.read_table(b" a ,b\r\n x , \r\n,\n \n1,2\n", "f.csv")
    assert table.to_dict(as_series=False) == {"a": ["x", "1"], "b": [None, "2"]}
    for broken in (b"a,b\n1,2,3\n", b"a, a\n1,2\n", b"", b" \n"):
        with pytest.raises(ClipsteerError, match=r"f\.csv"):
            labels.read_table(broken, "f.csv")


def test_few() -> None:
    assert labels.few(["a", "b"]) == "'a', 'b'"
    assert labels.few("abcde") == "'a', 'b', 'c' and 2 more"
