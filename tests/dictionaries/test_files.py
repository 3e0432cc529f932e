"""Saving, loading, and every way in which a folder can be wrong."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.files import describe, load, save
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.errors import ClipsteerError
from tests.dictionaries import helpers

METADATA = {"hook_point": "resid_post", "layer": 3, "trained_on": "faces", "config": {"lr": 1e-4}}


def saved(folder: Path, kind: str = "topk") -> Dictionary:
    """A float32 dictionary, and its folder written."""
    dictionary = helpers.make(kind, dtype=torch.float32)
    save(dictionary, folder, METADATA)
    return dictionary


@pytest.mark.parametrize("kind", ["vanilla", "topk"])
def test_round_trip(tmp_path: Path, kind: str) -> None:
    before = saved(tmp_path / "a", kind)
    after = load(tmp_path / "a")
    assert type(after) is type(before)
    assert after.options() == before.options()
    for name, tensor in before.tensors().items():
        assert torch.equal(tensor, after.tensors()[name])
    assert describe(tmp_path / "a")["metadata"] == METADATA
    saved(tmp_path / "b", kind)
    for name in ("dictionary.json", "dictionary.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_neuron_basis_round_trip(tmp_path: Path) -> None:
    save(NeuronBasis(9), tmp_path, {})
    after = load(tmp_path)
    assert isinstance(after, NeuronBasis)
    assert (after.d, after.m) == (9, 9)


def test_the_file_is_what_safetensors_writes(tmp_path: Path) -> None:
    tensors = saved(tmp_path / "ours").tensors()
    save_file(tensors, tmp_path / "theirs")
    written = tmp_path / "ours" / "dictionary.safetensors"
    assert written.read_bytes() == (tmp_path / "theirs").read_bytes()


_NO_ROOM = """
import resource, signal, sys
from pathlib import Path
from tests.dictionaries.test_files import saved
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
try:
    saved(Path(sys.argv[1]))
except OSError as error:
    print(error.errno, error.filename)
"""


def test_a_system_that_refuses_to_write_is_an_error_of_the_systems(tmp_path: Path) -> None:
    """As on a full disk, which a test cannot have: a file may not grow past half of what is written."""
    done = subprocess.run(
        [sys.executable, "-c", _NO_ROOM, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(errno.EFBIG), str(tmp_path / "dictionary.safetensors")]


def change_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """An edit of the safetensors file."""

    def edit(folder: Path) -> None:
        path = folder / "dictionary.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return edit


def change_json(**changes: object) -> Callable[[Path], None]:
    """An edit of dictionary.json; a value of None removes the key."""

    def edit(folder: Path) -> None:
        path = folder / "dictionary.json"
        found = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in found.items() if v is not None}))

    return edit


def truncate(folder: Path) -> None:
    """Half a safetensors file."""
    path = folder / "dictionary.safetensors"
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change_tensors(lambda t: t.pop("b_enc")), r"safetensors: tensors missing: \['b_enc'\]"),
        (change_tensors(lambda t: t.update(extra=torch.ones(1))), r"unexpected: \['extra'\]"),
        (change_tensors(lambda t: t.update(b_dec=torch.ones(8))), r"b_dec has shape \(8,\)"),
        (change_tensors(lambda t: t["W_enc"].fill_(float("nan"))), "W_enc: found NaN"),
        (change_tensors(lambda t: t["W_dec"][3].mul_(1.01)), "W_dec: found a row whose norm"),
        (change_tensors(lambda t: t.update(b_enc=t["b_enc"].half())), "b_enc: found torch.float16"),
        (truncate, "dictionary.safetensors: found a file that safetensors cannot read"),
        (lambda f: (f / "dictionary.safetensors").unlink(), "dictionary.safetensors: not found"),
        (lambda f: (f / "dictionary.json").unlink(), "dictionary.json: not found"),
        (lambda f: (f / "dictionary.json").write_text("{"), "dictionary.json: found text"),
        (
            lambda f: (f / "dictionary.json").write_text("[]"),
            "dictionary.json: format: found 'list'",
        ),
        (change_json(format="other/1"), "format: found 'other/1'"),
        (change_json(m=None), r"missing keys \['m'\]"),
        (change_json(colour=1), r"unknown keys \['colour'\]"),
        (change_json(d="7"), "d: found '7'"),
        (change_json(m=21), r"W_enc has shape \(7, 20\), expected \(7, 21\)"),
        (change_json(architecture="../topk"), "dictionary.json: architecture: found '../topk'"),
        (
            change_json(architecture="neurons"),
            "dictionary.safetensors: tensors missing: none, unexp",
        ),
        (change_json(options={"k": 99}), "options: found .* k: found 99"),
        (change_json(options={"q": 1}), "options: found {'q': 1}"),
        (change_json(options=[]), "options: found .*expected a mapping"),
    ],
)
def test_damage_is_named(tmp_path: Path, edit: Callable[[Path], None], message: str) -> None:
    saved(tmp_path)
    edit(tmp_path)
    with pytest.raises(ClipsteerError, match=message):
        load(tmp_path)
