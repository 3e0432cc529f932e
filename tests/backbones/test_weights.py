from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import huggingface_hub
import pytest
import torch

from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import Family
from clipsteer.backbones.weights import faults, relevant_files, resolve, weight_files
from clipsteer.errors import ClipsteerError
from tests.backbones.tiny import make_tiny, to_bin, to_parts
from tests.data.small_trees import write_all

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CLIP_FILES = {
    "config.json": json.dumps({"model_type": "clip"}),
    "preprocessor_config.json": "{}",
    "tokenizer.json": "{}",
    "tokenizer_config.json": "{}",
    "model.safetensors": "weights",
}


class FakeHub:
    """Answers snapshot_download from a dict, as the real one does: only files that match."""

    def __init__(self, cache: Path, files: dict[str, str]) -> None:
        self.folder = cache / "snapshots" / COMMIT
        self.files = files
        self.revisions: list[str | None] = []

    def __call__(self, name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.revisions.append(revision)
        wanted = [
            f for f in self.files if any(fnmatch.fnmatch(f, pattern) for pattern in allow_patterns)
        ]
        write_all(self.folder, {f: self.files[f] for f in wanted})
        return str(self.folder)


def test_a_directory_is_used_as_it_is(tmp_path: Path) -> None:
    assert resolve(str(tmp_path)) == (tmp_path, None)


def test_a_revision_of_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipsteerError, match=r"clip\.source: .*revision 'main' means nothing"):
        resolve(str(tmp_path), "main", key="clip.source")


@pytest.mark.parametrize("source", ["/nowhere/clip", "./clip", "~/no-clip-here", "a/b/c", "a:b"])
def test_what_cannot_be_a_hub_name_never_reaches_the_hub(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_args: object, **_kwargs: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", asked)
    with pytest.raises(ClipsteerError, match="found nothing at"):
        resolve(source)


def test_a_hub_name_becomes_a_commit_and_fetches_no_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {
        "README.md": "",
        "open_clip_pytorch_model.bin": "",
        "open_clip_model.safetensors": "",
        "pytorch_model.bin": "",
        "onnx/model.safetensors": "",
        "flax_model.msgpack": "",
    }
    hub = FakeHub(tmp_path, {**CLIP_FILES, **others})
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    folder, commit = resolve("somebody/clip", "v1")
    assert commit == COMMIT
    assert hub.revisions == ["v1"]
    assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == sorted(CLIP_FILES)


def test_torch_archives_are_fetched_at_the_same_commit_only_without_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {**CLIP_FILES, "pytorch_model.bin": ""}
    del files["model.safetensors"]
    hub = FakeHub(tmp_path, files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    folder, commit = resolve("clip-name")
    assert (commit, hub.revisions) == (COMMIT, [None, COMMIT])
    assert (folder / "pytorch_model.bin").is_file()


def test_an_unreachable_hub_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_args: object, **_kwargs: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ClipsteerError, match=r"m\.s: .*no directory 'a/b'.*no route.*download"):
        resolve("a/b", key="m.s")


def test_a_snapshot_without_a_commit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_args, **_kwargs: str(tmp_path)
    )
    with pytest.raises(ClipsteerError, match="does not end in a commit"):
        resolve("a/b")


def test_only_files_that_determine_results_count(tmp_path: Path) -> None:
    write_all(tmp_path, {**CLIP_FILES, "README.md": "", "pytorch_model.bin": "", "sub/x.json": ""})
    assert relevant_files(tmp_path) == sorted(CLIP_FILES)


def test_the_files_of_each_family_are_all_found(tmp_path: Path, family: Family) -> None:
    folder = make_tiny(tmp_path / "m", family=family)
    assert set(relevant_files(folder)) == {path.name for path in folder.iterdir()}
    assert faults(folder) == []
    own = {"clip": "tokenizer.json", "siglip": "spiece.model"}[family]
    (folder / own).unlink()
    (said,) = faults(folder)
    assert "no tokenizer" in said


def test_an_index_brings_its_parts(tmp_path: Path) -> None:
    files = {**CLIP_FILES}
    del files["model.safetensors"]
    weights = {
        "model.safetensors.index.json": json.dumps(
            {"weight_map": {"b": "part2.safetensors", "a": "part1.safetensors"}}
        ),
        "part1.safetensors": "",
        "part2.safetensors": "",
    }
    write_all(tmp_path, {**files, **weights, "part3.safetensors": ""})
    assert weight_files(tmp_path) == list(weights)
    assert relevant_files(tmp_path) == sorted([*files, *weights])


@pytest.mark.parametrize("part", ["absent.safetensors", "../secret.safetensors"])
def test_an_index_may_not_name_what_is_not_in_the_folder(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "model"
    write_all(tmp_path, {"secret.safetensors": ""})
    index = {"model.safetensors.index.json": json.dumps({"weight_map": {"a": part}})}
    write_all(folder, {**index, "config.json": CLIP_FILES["config.json"]})
    with pytest.raises(ClipsteerError, match=r"index\.json: .*not in the folder"):
        weight_files(folder)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer"),
        ("preprocessor_config.json", "no image processor"),
        ("model.safetensors", "no weights"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, missing: str, said: str) -> None:
    write_all(tmp_path, {name: text for name, text in CLIP_FILES.items() if name != missing})
    with pytest.raises(ClipsteerError, match=f"{tmp_path}: {said}"):
        relevant_files(tmp_path)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClipsteerError, match="no such directory"):
        relevant_files(tmp_path / "absent")


@pytest.mark.parametrize("kind", ["bert", "clip_text_model", "clip_vision_model", "siglip2", None])
def test_other_models_are_refused_by_kind(tmp_path: Path, kind: str | None) -> None:
    write_all(tmp_path, {**CLIP_FILES, "config.json": json.dumps({"model_type": kind})})
    with pytest.raises(ClipsteerError, match=f"{tmp_path}: .*model_type {kind!r}.*vision tower"):
        relevant_files(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_damaged_config_is_named(tmp_path: Path, text: str) -> None:
    write_all(tmp_path, {**CLIP_FILES, "config.json": text})
    with pytest.raises(ClipsteerError, match=r"config\.json"):
        relevant_files(tmp_path)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 605156676\n" % 0
PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>Sign in</body></html>"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    folder = make_tiny(tmp_path / "clip")
    assert faults(folder) == []
    return folder


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json",
     "preprocessor_config.json"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LFS, "found a Git LFS pointer .*`git lfs pull`"),
        (b"version https://hawser.github.com/spec/v1\n", "found a Git LFS pointer"),
        (b"/annex/objects/SHA256E-s605156676--0.safetensors\n", "git-annex pointer"),
        (PAGE, r"found a web page \(HTML\)"),
        (b"", "an empty file|not readable as JSON"),
        (b'{"a": 1', "header says|no safetensors|no whole JSON|not readable as JSON"),
    ],
    ids=["lfs", "old lfs", "annex", "page", "empty", "cut short"],
)
def test_what_stands_in_a_files_place_is_named(
    whole: Path, name: str, content: bytes, said: str
) -> None:
    (whole / name).write_bytes(content)
    (found,) = faults(whole)
    assert re.match(f"{re.escape(str(whole / name))}: .*({said})", found), found


@pytest.mark.parametrize("change", [to_bin, to_parts])
@pytest.mark.parametrize(("lost", "said"), [(30, "download the weights again"), (10**9, "empty")])
def test_weights_that_were_cut_short(
    whole: Path, change: Callable[[Path], Path], lost: int, said: str
) -> None:
    """In every layout of them; several files are told of at once."""
    assert faults(change(whole)) == []
    files = [p for p in whole.iterdir() if p.suffix in (".bin", ".safetensors")]
    for file in files:
        file.write_bytes(file.read_bytes()[:-lost])
    found = faults(whole)
    assert len(found) == len(files)
    assert all(said in fault for fault in found)


def test_a_part_of_the_weights_that_is_not_there(whole: Path) -> None:
    (to_parts(whole) / "model-00002-of-00002.safetensors").unlink()
    (found,) = faults(whole)
    assert "names the weight file 'model-00002-of-00002.safetensors', which is not in" in found


@pytest.mark.parametrize("named", ["3", "[1]", '{"a": 1}', "null"])
def test_an_index_that_names_no_files(whole: Path, named: str) -> None:
    index = to_parts(whole) / "model.safetensors.index.json"
    index.write_text(f'{{"weight_map": {named}}}')
    (found,) = faults(whole)
    assert found.startswith(f"{index}: found no `weight_map`")


def test_links_that_lead_nowhere(whole: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        (whole / name).unlink()
        (whole / name).symlink_to("../../blobs/0123")
    for name, found in zip(("model.safetensors", "tokenizer.json"), faults(whole), strict=True):
        assert found.startswith(
            f"{whole / name}: found a link to ../../blobs/0123, where nothing is"
        )


def test_a_pickle_of_more_than_tensors_is_not_loaded(whole: Path) -> None:
    path = to_bin(whole) / "pytorch_model.bin"
    torch.save({**torch.load(path), "more": PurePosixPath("a")}, path)
    assert faults(whole) == []  # the form is right
    with pytest.raises(ClipsteerError, match=r"pytorch_model\.bin: .*Convert .* to safetensors"):
        load_backbone(whole, device="cpu")


def test_planning_needs_no_heavy_import() -> None:
    code = (
        "import sys, clipsteer.backbones.shape; print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
