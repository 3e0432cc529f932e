from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    CLIPTextConfig,
    CLIPVisionConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
)

from clipsteer.backbones import shaped
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shaped import Family, main, write_shaped
from clipsteer.errors import ClipsteerError
from tests.backbones.tiny import TEXT, VISION, photos

SMALL = {"vision": VISION, "text": TEXT, "projection_dim": 8}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_shape_is_that_of_the_base_model(family: Family) -> None:
    kinds = {
        "clip": (CLIPVisionConfig(), CLIPTextConfig()),
        "siglip": (SiglipVisionConfig(), SiglipTextConfig()),
    }
    vision, text = kinds[family]
    assert shaped.VISION[family].items() <= vision.to_dict().items()
    assert shaped.TEXT[family].items() <= text.to_dict().items()


def test_a_seed_gives_the_same_bytes_and_leaves_the_global_generator_alone(
    tmp_path: Path, family: Family
) -> None:
    before = torch.random.get_rng_state()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_shaped(tmp_path / name, family=family, seed=seed, **SMALL)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    weights = [contents(tmp_path / name)["model.safetensors"] for name in "ac"]
    assert weights[0] != weights[1]


@pytest.mark.parametrize("activation", shaped.ACTIVATIONS)
def test_the_activation_reaches_both_towers(tmp_path: Path, activation: str) -> None:
    write_shaped(tmp_path, activation=activation, **SMALL)
    config = json.loads((tmp_path / "config.json").read_text())
    assert {config[f"{x}_config"]["hidden_act"] for x in ("vision", "text")} == {activation}


def test_the_byte_tokenizer_tells_texts_apart(tmp_path: Path) -> None:
    write_shaped(tmp_path, **SMALL)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer(["Cat", "cat", "act", "chat \u00e9"])["input_ids"]
    assert len(tokenizer) == 514
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[1]) == 5
    assert {(row[0], row[-1]) for row in ids} == {(512, 513)}
    assert tokenizer.decode(ids[3], skip_special_tokens=True) == "chat \u00e9"


def test_a_tokenizer_of_vocabulary_and_merges_is_taken_over(tmp_path: Path) -> None:
    source = tmp_path / "tokenizer"
    source.mkdir()
    letters = "catdog"
    words = [*letters, *(f"{x}</w>" for x in letters), "ca", "cat</w>"]
    vocabulary = [*words, "<|startoftext|>", "<|endoftext|>"]
    text = json.dumps({word: i for i, word in enumerate(dict.fromkeys(vocabulary))})
    (source / "vocab.json").write_text(text)
    (source / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    write_shaped(tmp_path / "out", tokenizer=source, **SMALL)
    clip = load_backbone(tmp_path / "out", device="cpu")
    found = clip.tokenizer("cat dog")["input_ids"]
    vocab = json.loads(text)
    names = ["<|startoftext|>", "cat</w>", "d", "o", "g</w>", "<|endoftext|>"]
    assert found == [vocab[name] for name in names]
    assert clip.model.config.text_config.vocab_size == len(vocab)
    assert clip.model.config.text_config.eos_token_id == vocab["<|endoftext|>"]


def test_the_folder_is_a_whole_model_to_transformers_itself(tmp_path: Path, family: Family) -> None:
    write_shaped(tmp_path, family=family, **SMALL)
    processor = AutoProcessor.from_pretrained(tmp_path, backend="pil")
    batch = processor(text=["a cat"], images=photos(1), return_tensors="pt")
    backbone = load_backbone(tmp_path, device="cpu")
    assert torch.equal(batch["pixel_values"], backbone.pixels(photos(1)))
    assert processor.tokenizer("a cat")["input_ids"] == backbone.tokenizer("a cat")["input_ids"]


def test_the_letters_of_a_siglip_are_told_apart(tmp_path: Path) -> None:
    """Its tokenizer lowers letters and drops punctuation, as the released ones do."""
    write_shaped(tmp_path, family="siglip", **SMALL)
    tokenizer = load_backbone(tmp_path, device="cpu").tokenizer
    ids = tokenizer(["Cat!", "cat", "act"])["input_ids"]
    assert type(tokenizer).__name__ == "SiglipTokenizer"
    assert ids[0] == ids[1] != ids[2]
    assert ids[0][-1] == tokenizer.eos_token_id
    assert tokenizer.model_input_names == ["input_ids"]


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ClipsteerError, match="exists already"):
        write_shaped(tmp_path, **SMALL)
    assert contents(tmp_path) == {"mine.txt": b"mine"}


def test_a_tokenizer_folder_without_files_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    out = tmp_path / "out"
    assert main(["--out", str(out), "--tokenizer", str(tmp_path)]) == 1
    assert "--tokenizer: found ['vocab.json']" in capsys.readouterr().err
    assert not out.exists()


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    options = ("--out", "--family", "--tokenizer", "--seed", "--activation")
    assert all(option in said for option in options)


def test_the_command_passes_its_options_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Path, dict[str, object]]] = []
    monkeypatch.setattr(shaped, "write_shaped", lambda out, **options: calls.append((out, options)))
    given = ["--out", str(tmp_path), "--seed", "7", "--activation", "gelu", "--tokenizer", "words"]
    assert main(given) == 0
    options = {"family": "clip", "tokenizer": Path("words"), "seed": 7, "activation": "gelu"}
    assert calls == [(tmp_path, options)]
