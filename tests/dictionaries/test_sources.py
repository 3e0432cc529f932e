"""Where a released dictionary is from: every form that people type, the exceptions, the hub without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clipsteer.dictionaries.published import FAMILIES
from clipsteer.dictionaries.sources import (
    Hub,
    Local,
    commit_of,
    download,
    published,
    relevant_files,
    source_faults,
    source_of,
)
from clipsteer.errors import ClipsteerError

KEY = "dictionaries.theirs"
NAME = (
    "Prisma-Multimodal/sparse-autoencoder-clip-b-32-sae-vanilla-x64-layer-{}-hook_resid_post-l1-{}"
)
COMMIT = "0123456789" * 4


def parsed(text: str, base: Path, layer: int = 3, **others: Any) -> Hub | Local:
    return source_of({"source": text, **others}, layer, base, KEY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hub:who/sae-{layer}", Hub("who/sae-3")),
        ("who/sae-{layer}", Hub("who/sae-3")),
        ("hub:who/sae/layers.{layer}", Hub("who/sae", "layers.3")),
        ("https://huggingface.co/who/sae-{layer}", Hub("who/sae-3")),
        ("https://huggingface.co/who/sae/tree/main/layers.{layer}", Hub("who/sae", "layers.3", "main")),
        ("https://huggingface.co/who/sae/blob/v2/n_images_5.pt", Hub("who/sae", "n_images_5.pt", "v2")),
        ("prisma:vanilla", Hub(NAME.format(3, "1e-05"))),
        ("prisma:topk-cls", Hub("Prisma-Multimodal/sae-top_k-64-cls_only-layer_3-hook_resid_post")),
    ],
)  # fmt: skip
def test_what_people_type(tmp_path: Path, text: str, expected: Hub) -> None:
    assert parsed(text, tmp_path) == expected


def test_folders_and_files_come_before_names_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "who/sae-3").mkdir(parents=True)
    (tmp_path / "who/a.pt").touch()
    assert parsed("who/sae-{layer}", tmp_path) == Local(tmp_path / "who/sae-3")
    assert parsed("who/a.pt", tmp_path) == Local(tmp_path / "who/a.pt")
    assert parsed(str(tmp_path / "who/a.pt"), Path("elsewhere")) == Local(tmp_path / "who/a.pt")
    assert parsed("hub:who/sae-3", tmp_path) == Hub("who/sae-3")


def test_the_vanilla_family_has_an_exception_and_each_layer_its_published_row(
    tmp_path: Path,
) -> None:
    for layer in range(12):
        source = parsed("prisma:vanilla", tmp_path, layer)
        assert source == Hub(NAME.format(layer, "5e-05" if layer == 2 else "1e-05"))
        assert published(source)["l0"] > 700
    assert published(parsed("prisma:vanilla", tmp_path, 2)) == {
        "explained_variance": 0.906, "l0": 717.8, "l0_cls": 10.1,
    }  # fmt: skip
    # a copy in a folder of the same name, or its file
    copy = tmp_path / NAME.format(5, "1e-05").partition("/")[2]
    copy.mkdir()
    (copy / "weights.pt").touch()
    assert published(Local(copy))["l0"] == published(Local(copy / "weights.pt"))["l0"] == 1953.8
    assert published(Local(tmp_path)) == published(Hub("who/else")) == {}


def test_families_say_their_tokens() -> None:
    assert {name: family.tokens for name, family in FAMILIES.items()} == {
        "vanilla": "all", "vanilla-cls": "cls", "topk-cls": "cls", "vanilla-spatial": "spatial",
    }  # fmt: skip


def test_a_layer_may_be_from_elsewhere(tmp_path: Path) -> None:
    settings = {"source": "hub:who/sae-{layer}", "sources": {"2": "hub:who/else"}, "revision": "v1"}
    assert source_of(settings, 2, tmp_path, KEY) == Hub("who/else", "", "v1")
    assert source_of(settings, 1, tmp_path, KEY) == Hub("who/sae-1", "", "v1")
    with pytest.raises(ClipsteerError, match=r"theirs\.sources: found nothing for layer 1"):
        source_of({"sources": {"2": "hub:who/else"}}, 1, tmp_path, KEY)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere/at/all", "found nothing at .*nowhere/at/all, expected a folder"),
        ("hub:who", "found hub:who, expected hub:ORGANISATION/NAME"),
        ("hub:who/../../etc", "expected hub:ORGANISATION/NAME"),
        ("https://example.org/who/sae", "expected a page of huggingface.co"),
        ("prisma:vanila", r"found prisma:vanila.*Did you mean prisma:vanilla\?"),
        ("notes.txt", "found the file .*notes.txt"),
    ],
)
def test_what_is_none_of_these_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ClipsteerError, match=message):
        parsed(text, tmp_path)


def test_faults_that_no_key_says_alone(tmp_path: Path) -> None:
    def told(**settings: Any) -> str:
        return "\n".join(source_faults(settings, [0, 1], tmp_path, KEY))

    assert told(source="hub:who/sae-{layer}") == told(source="prisma:vanilla") == ""
    assert "for the layers 0, 1, expected one dictionary for each" in told(source="hub:who/sae")
    assert told(source="hub:who/sae", sources={"1": "hub:who/other"}) == ""
    assert "not trained" in told(source="prisma:vanilla", training={})
    (tmp_path / "sae-0").mkdir()
    (tmp_path / "sae-1").mkdir()
    assert "no source is on the hub" in told(source="sae-{layer}", revision="v1")
    assert told(source="hub:who/sae-{layer}", revision="v1") == ""
    assert "has no layer 12" in "\n".join(
        source_faults({"source": "prisma:vanilla"}, [12], tmp_path, KEY)
    )


def test_the_files_that_count(tmp_path: Path) -> None:
    for name in ("README.md", "config.json", "weights.pt", "n_log_feature_sparsity.pt", "x.txt"):
        (tmp_path / name).touch()
    assert relevant_files(tmp_path, KEY) == (tmp_path, ["config.json", "weights.pt"])
    assert relevant_files(tmp_path / "weights.pt", KEY) == (tmp_path, ["config.json", "weights.pt"])


# ------------------------------------------------------------------------------------ the hub, from a cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, which nothing else can be reached from."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "hub").mkdir()
    return tmp_path / "hub"


def publish(cache: Path, repo: str, revision: str = "main") -> Path:
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / revision).write_text(COMMIT)
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    torch.save({"W_enc": torch.ones(1)}, snapshot / "weights.pt")
    return snapshot


def test_a_name_on_the_hub_is_the_commit_that_the_cache_has(cache: Path) -> None:
    snapshot = publish(cache, "who/sae")
    found = commit_of(Hub("who/sae"), KEY)
    assert found == Hub("who/sae", "", COMMIT)
    assert download(found, KEY) == snapshot
    assert download(found._replace(inside="weights.pt"), KEY) == snapshot / "weights.pt"
    with pytest.raises(ClipsteerError, match=f"who/sae has no other.pt at {COMMIT}"):
        download(found._replace(inside="other.pt"), KEY)


def test_a_commit_needs_no_look(cache: Path) -> None:
    assert commit_of(Hub("who/else", "", COMMIT), KEY) == Hub("who/else", "", COMMIT)


def test_a_name_that_ends_in_numbers_is_found(cache: Path) -> None:
    start = "Prisma-Multimodal/imagenet-sweep-vanilla-x64-CLS_3-hook_resid_post-"
    publish(cache, f"{start}411.5-98")
    publish(cache, start.replace("CLS_3", "CLS_4") + "9-98")
    found = commit_of(source_of({"source": "prisma:vanilla-cls"}, 3, cache, KEY), KEY)  # type: ignore[arg-type]
    assert found == Hub(f"{start}411.5-98", "", COMMIT)
    publish(cache, f"{start}5-98")
    with pytest.raises(ClipsteerError, match="found 2 repositories"):
        commit_of(Hub(f"{start}*"), KEY)


@pytest.mark.parametrize("repo", ["who/sae", "who/sae-*"])
def test_offline_and_not_cached_is_one_sentence_with_the_command(cache: Path, repo: str) -> None:
    with pytest.raises(ClipsteerError) as error:
        commit_of(Hub(repo), f"{KEY}.source")
    text = str(error.value)
    assert text.startswith(f"{KEY}.source: {repo} is not in the hub's cache on this machine")
    assert "hf download" in text
    assert "\n" not in text
    with pytest.raises(ClipsteerError, match="is not in the hub's cache"):
        download(Hub("who/sae", "", COMMIT), KEY)
