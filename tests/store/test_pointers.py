from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.pointers import (
    DamagedPointerError,
    Member,
    Output,
    Pointer,
    chain_key,
    pointer_bytes,
    read_chain,
    read_pointer,
    write_pointer,
)
from tests.store.places import quick_folder

DIGEST = digest_bytes(b"manifest")
POINTER = Pointer(
    "manifest",
    {
        "test": Member({"table": Output(DIGEST, 8)}, {"images": 500, "groups": [1, 2]}),
        "all": Member({"tree": Output(DIGEST, 8, "tree"), "blob": Output(DIGEST, 8)}),
    },
)

DIGESTS = st.binary(max_size=4).map(digest_bytes)
OUTPUTS = st.builds(Output, DIGESTS, st.integers(0, 2**60), st.sampled_from(["blob", "tree"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
MEMBERS = st.builds(
    Member,
    st.dictionaries(st.text(max_size=4), OUTPUTS, max_size=3),
    st.dictionaries(st.text(max_size=4), JSON, max_size=3),
)
POINTERS = st.builds(
    Pointer, st.text(max_size=5), st.dictionaries(st.text(max_size=4), MEMBERS, max_size=3), DIGESTS
)


def test_the_bytes_of_a_pointer() -> None:
    small = Pointer("s", {"all": Member({"o": Output(DIGEST, 8)}, {"n": 1})})
    body = {
        "chain": "",
        "format": "clipsteer-pointer/2",
        "members": {
            "all": {
                "facts": {"n": 1},
                "outputs": {"o": {"digest": DIGEST, "kind": "blob", "size": 8}},
            }
        },
        "step": "s",
    }
    assert pointer_bytes(small).decode() == (
        "{\n"
        ' "chain": "",\n'
        f' "check": "{digest_bytes(canonical_json(body))}",\n'
        ' "format": "clipsteer-pointer/2",\n'
        ' "members": {\n'
        '  "all": {\n'
        '   "facts": {\n'
        '    "n": 1\n'
        "   },\n"
        '   "outputs": {\n'
        '    "o": {\n'
        f'     "digest": "{DIGEST}",\n'
        '     "kind": "blob",\n'
        '     "size": 8\n'
        "    }\n"
        "   }\n"
        "  }\n"
        " },\n"
        ' "step": "s"\n'
        "}\n"
    )


@given(POINTERS)
def test_round_trip(pointer: Pointer) -> None:
    with quick_folder() as folder:
        path = Path(folder, "refs", "a.json")
        write_pointer(path, pointer)
        assert read_pointer(path) == pointer
        assert read_chain(path) == pointer.chain
        assert os.listdir(path.parent) == ["a.json"]


@given(POINTERS, st.randoms())
def test_equal_content_gives_equal_bytes(pointer: Pointer, random: Any) -> None:
    def turned(mapping: dict[str, Any]) -> dict[str, Any]:
        items = list(mapping.items())
        random.shuffle(items)
        return dict(items)

    other = Pointer(
        pointer.step,
        chain=pointer.chain,
        members=turned(
            {
                name: Member(turned(member.outputs), turned(member.facts))
                for name, member in pointer.members.items()
            }
        ),
    )
    assert pointer_bytes(other) == pointer_bytes(pointer)


def test_no_place_or_time_gets_in(tmp_path: Path) -> None:
    for name in ("a.json", "deep/er/b.json"):
        write_pointer(tmp_path / name, POINTER)
    written = [(tmp_path / name).read_bytes() for name in ("a.json", "deep/er/b.json")]
    assert written[0] == written[1] == pointer_bytes(POINTER)
    assert str(tmp_path).encode() not in written[0]


@settings(max_examples=150)
@given(st.integers(0), st.integers(1, 255))
def test_any_changed_byte_is_found(where: int, flip: int) -> None:
    bad = bytearray(pointer_bytes(POINTER))
    bad[where % len(bad)] ^= flip
    with quick_folder() as folder:
        path = Path(folder, "a.json")
        path.write_bytes(bad)
        try:
            found = read_pointer(path)
        except DamagedPointerError:
            return
    # Only white space between the parts of the JSON changed.
    assert found == POINTER


def test_every_cut_is_found(tmp_path: Path) -> None:
    whole = pointer_bytes(POINTER)
    for length in range(len(whole) - 1):
        (tmp_path / "a.json").write_bytes(whole[:length])
        with pytest.raises(DamagedPointerError, match=f"{tmp_path}.*Run the same command again"):
            read_pointer(tmp_path / "a.json")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "clipsteer-pointer/3"},
        {"members": {"a": {"facts": {}, "outputs": {"o": {"digest": DIGEST, "size": 1}}}}},
        {"members": {"a": {"facts": {}}}},
        {"members": []},
        {"step": None, "members": None},
    ],
)
def test_a_sound_check_does_not_excuse_another_schema(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    body = json.loads(pointer_bytes(POINTER))
    del body["check"]
    body |= change
    body["check"] = digest_bytes(canonical_json(body))
    (tmp_path / "a.json").write_text(json.dumps(body))
    with pytest.raises(DamagedPointerError):
        read_pointer(tmp_path / "a.json")


@pytest.mark.parametrize(
    "bad",
    [
        Member({}, {"loss": float("nan")}),
        Member({"o": Output("blake3:0", 1)}),
        Member({"o": Output(DIGEST, -1)}),
        Member({"o": Output(DIGEST, 1, "external")}),
    ],
)
def test_what_cannot_be_a_pointer(tmp_path: Path, bad: Member) -> None:
    with pytest.raises(ValueError):
        write_pointer(tmp_path / "a.json", Pointer("s", {"all": bad}))
    assert not list(tmp_path.iterdir())


def test_a_pointer_of_an_earlier_version_is_read_and_has_no_chain(tmp_path: Path) -> None:
    body = {"format": "clipsteer-pointer/1", "members": {}, "step": "s"}
    text = json.dumps({**body, "check": digest_bytes(canonical_json(body))}, indent=1)
    (tmp_path / "a.json").write_text(text)
    assert read_pointer(tmp_path / "a.json") == Pointer("s")
    assert read_chain(tmp_path / "a.json") == ""


@pytest.mark.parametrize("text", ["", "{", "null", '{\n "chain": 1,\n', "\xff" * 300])
def test_what_has_no_chain(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert read_chain(tmp_path / "a.json") == ""
    assert read_chain(tmp_path / "gone.json") is None
    assert read_chain(tmp_path) == ""  # a folder


def test_a_chain_key_hangs_on_the_recipe_and_on_the_set_of_sources() -> None:
    key = chain_key("r", ["a", "b"])
    assert key == chain_key("r", ["b", "a", "b"])
    others = [chain_key("s", ["a", "b"]), chain_key("r", ["a"]), chain_key("r", ["ab"])]
    assert len({key, *others}) == 4


def test_a_missing_pointer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClipsteerError, match=str(tmp_path / "a.json")):
        read_pointer(tmp_path / "a.json")


def test_a_full_disk_keeps_the_old_pointer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_pointer(path, POINTER)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ClipsteerError, match="the disk is full"):
            write_pointer(path, Pointer("other"))
    assert read_pointer(path) == POINTER
    assert os.listdir(tmp_path) == ["a.json"]
