from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import (
    canonical_json,
    digest_bytes,
    digest_file,
    is_digest,
    parse_digest,
)

# The published BLAKE3 test vector for no input, and FIPS 180-4's for SHA-256 of "abc".
EMPTY = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_known_digests() -> None:
    assert digest_bytes(b"") == EMPTY
    assert digest_bytes(b"abc", "sha256") == ABC


@pytest.mark.parametrize("size", [0, 1, 2**18 - 1, 2**18, 2**18 + 1, 3_000_001])
@pytest.mark.parametrize("algorithm", ["blake3", "sha256"])
def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path, size: int, algorithm: str) -> None:
    data = hashlib.shake_128(b"seed").digest(size)
    (tmp_path / "file").write_bytes(data)
    assert digest_file(tmp_path / "file", algorithm) == digest_bytes(data, algorithm)


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY[:-1],
        EMPTY + "0",
        EMPTY.upper(),
        EMPTY.replace("blake3", "md5"),
        EMPTY[7:],
        EMPTY + "\n",
        "blake3:" + "../" * 21 + "x",
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    assert not is_digest(text)
    with pytest.raises(ClipsteerError, match="not a digest"):
        parse_digest(text)


def test_parts_of_a_digest() -> None:
    assert parse_digest(EMPTY) == ("blake3", EMPTY.removeprefix("blake3:"))
    assert is_digest(ABC)
    assert not is_digest(None)


def test_canonical_json_is_sorted_dense_ascii() -> None:
    value = {"b": [1, 1.0, True, None], "a": {"z": "é\u2028", "y": (1e-6, "\ud800")}}
    expected = b'{"a":{"y":[1e-06,"\\ud800"],"z":"\\u00e9\\u2028"},"b":[1,1.0,true,null]}'
    assert canonical_json(value) == expected


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), [{"a": -float("inf")}]])
def test_canonical_json_refuses_what_is_no_number(bad: object) -> None:
    with pytest.raises(ValueError):
        canonical_json(bad)


@pytest.mark.parametrize("bad", [{1: 0}, [[{"a": {None: 0}}]], {"a": {1, 2}}, ({2.5: 0},)])
def test_canonical_json_refuses_other_keys_and_types(bad: object) -> None:
    with pytest.raises(TypeError):
        canonical_json(bad)


@given(st.dictionaries(st.text(), st.integers() | st.text(), max_size=6), st.randoms())
def test_order_of_keys_does_not_count(value: dict[str, int | str], random: object) -> None:
    items = list(value.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert canonical_json(dict(items)) == canonical_json(value)
