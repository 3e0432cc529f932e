"""The hint that a misspelt word gets, everywhere the same."""

from __future__ import annotations

from pathlib import Path

from clipsteer.errors import close_match

BASE = Path(__file__).parents[1] / "clipsteer"
NAMES = ["Male", "Blond_Hair"]


def test_the_closest_word_is_named_case_aside() -> None:
    assert close_match("blond hair", NAMES) == " Did you mean Blond_Hair?"
    assert close_match("MALE", iter(NAMES)) == " Did you mean Male?"
    assert close_match("topk", ["topk64", "vanilla", "topk_"]) == " Did you mean topk_?"


def test_nothing_is_said_where_no_word_is_close() -> None:
    assert close_match("zzz", NAMES) == ""
    assert close_match("Male", []) == ""


def test_nobody_has_a_copy() -> None:
    for path in BASE.rglob("*.py"):
        if path != BASE / "errors.py":
            assert "get_close_matches" not in path.read_text(encoding="utf-8"), path
