"""A checkpoint of open_clip, made by open_clip itself from random weights, gives open_clip's own embeddings.

benchmarks/goldens/open_clip_golden.py writes the golden file.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from clipsteer.__main__ import main
from clipsteer.backbones import open_clip
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.open_clip import ARCHS, Arch, convert
from clipsteer.errors import ClipsteerError

GOLDEN = Path(__file__).parent / "goldens/open_clip.safetensors"
WORDS = ("cat", "a photo of a dog.", "naïve CAFÉ 42!")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The architecture of the golden file, and a tokenizer of as few entries."""
    for name in ("small", "small-quickgelu"):
        monkeypatch.setitem(ARCHS, name, Arch(16, 16, 32, 8))  # type: ignore[index]
    monkeypatch.setattr(open_clip, "_TEXT_HEAD", 8)
    monkeypatch.setattr(open_clip, "_MERGES", 120)


def golden() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN)


def state(activation: str) -> dict[str, torch.Tensor]:
    """The state dict of one of the two models."""
    before = f"{activation}/state/"
    return {
        name.removeprefix(before): tensor
        for name, tensor in golden().items()
        if name.startswith(before)
    }


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """The beginning of open_clip's own file, as the golden file has it."""
    path = tmp_path / "bpe.txt.gz"
    text = bytes(golden()["merges"].tolist()).decode("utf-8")
    path.write_bytes(gzip.compress(text.encode("utf-8")))
    return path


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("form", ["safetensors", "training", "own_text_tower"])
def test_embeddings_are_open_clips(tmp_path: Path, words: Path, activation: str, form: str) -> None:
    tensors = state(activation)
    file = tmp_path / f"epoch_1.{'safetensors' if form == 'safetensors' else 'pt'}"
    if form == "safetensors":
        save_file(tensors, file)
    elif form == "training":
        wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
        torch.save({"epoch": 1, "state_dict": wrapped}, file)
    else:  # as some of its models name it
        text = ("transformer.", "token_embedding", "positional_embedding", "ln_final", "text_proj")
        torch.save({f"text.{n}" if n.startswith(text) else n: t for n, t in tensors.items()}, file)
    arch = "small" if activation == "gelu" else "small-quickgelu"
    command = ["import-clip", "--from", "open_clip", str(file), "--arch", arch]
    command += ["--out", str(tmp_path / "out"), "--tokenizer", str(words)]
    assert main(command) == 0
    backbone = load_backbone(tmp_path / "out", device="cpu")
    expected = golden()
    with torch.inference_mode():
        images, _ = backbone.run(expected["pixels"], [])
    assert torch.allclose(images, expected[f"{activation}/images"], atol=1e-5, rtol=0)
    texts = backbone.text(WORDS)
    assert torch.allclose(texts, expected[f"{activation}/texts"], atol=1e-5, rtol=0)
    assert [list(ids) for ids in backbone.token_ids(WORDS)] == [
        [i for i in row if i] for row in expected["tokens"].tolist()
    ]
    assert backbone.logit_scale == pytest.approx(float(tensors["logit_scale"].exp()))


def refused(tmp_path: Path, tensors: Any, words: Path, arch: str = "small") -> str:
    file = tmp_path / "x.safetensors"
    save_file(tensors, file)
    with pytest.raises(ClipsteerError) as told:
        convert(file, arch, tmp_path / "out", words)
    assert not (tmp_path / "out").exists()
    return str(told.value)


def test_what_does_not_fit_is_named(tmp_path: Path, words: Path) -> None:
    tensors = state("gelu")
    wrong = refused(tmp_path, tensors, words, "ViT-B-32")
    assert (
        "found width 16, patches of 16 and images of 32 pixels, expected 768, 32 and 224" in wrong
    )
    assert "expected one of ViT-B-32, " in refused(tmp_path, tensors, words, "ViT-B32")
    lacking = {name: tensor for name, tensor in tensors.items() if name != "visual.proj"}
    lacking["visual.attn_pool.probe"] = torch.zeros(2)
    assert "lacks visual_projection.weight, and has no place for visual.attn_pool.probe" in refused(
        tmp_path, lacking, words
    )
    bent = tensors | {"ln_final.weight": torch.ones(3)}
    assert "final_layer_norm.weight has shape (3,), expected" in refused(tmp_path, bent, words)
    shorter = tensors | {"token_embedding.weight": tensors["token_embedding.weight"][:-1].clone()}
    assert "entries, the tokenizer" in refused(tmp_path, shorter, words)
    assert "expected a CLIP of open_clip" in refused(tmp_path, {"a": torch.ones(1)}, words)


def test_a_file_that_holds_a_program_is_not_read(tmp_path: Path, words: Path) -> None:
    file = tmp_path / "x.pt"
    torch.save({"state_dict": Path("x")}, file)
    with pytest.raises(ClipsteerError, match="cannot be read as tensors alone"):
        convert(file, "small", tmp_path / "out", words)


def test_a_tokenizer_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip, "find_spec", lambda name: None)
    with pytest.raises(ClipsteerError, match="found no open_clip here"):
        convert(tmp_path / "x.pt", "small", tmp_path / "out")
    (tmp_path / "broken.gz").write_text("no archive")
    with pytest.raises(ClipsteerError, match=r"broken\.gz cannot be read"):
        convert(tmp_path / "x.pt", "small", tmp_path / "out", tmp_path / "broken.gz")


def test_architectures_are_open_clips_own() -> None:
    """What its `model_configs` say, as the golden file has them."""
    configs = json.loads(bytes(golden()["configs"].tolist()))
    known = {name: arch for name, arch in ARCHS.items() if not name.startswith("small")}
    assert configs.keys() == known.keys()
    for name, (width, patch, side, head, text_head, quick) in configs.items():
        assert known[name] == Arch(width, patch, side, head), name
        assert (text_head, quick) == (64, name.endswith("-quickgelu")), name
