"""Write a CLIP or a SigLIP of the usual base shape with random weights, to try the real path without it.

    python -m clipsteer.backbones.shaped --out DIR [--family siglip] [--tokenizer DIR]

The folder has everything a released model has: full config, safetensors, a tokenizer and the family's own
image processor. What it computes means nothing; what it costs is what the real model costs.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from clipsteer.errors import ClipsteerError

Family = Literal["clip", "siglip"]
ACTIVATIONS = ("quick_gelu", "gelu")
_WIDE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
# ViT-B/32 and ViT-B/16.
VISION = {
    "clip": {**_WIDE, "patch_size": 32, "image_size": 224},
    "siglip": {**_WIDE, "patch_size": 16, "image_size": 224},
}
TEXT = {
    "clip": {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "max_position_embeddings": 77,
    },
    "siglip": {**_WIDE, "max_position_embeddings": 64},
}
# As SigLIP's released folders say: texts have no mask.
_NO_MASK: dict[str, Any] = {"model_input_names": ["input_ids"]}
# Files that make a tokenizer, by family: all of one set.
_TOKENIZERS = {
    "clip": ({"tokenizer.json"}, {"vocab.json", "merges.txt"}),
    "siglip": ({"spiece.model"},),
}


def write_shaped(
    out: Path,
    *,
    family: Family = "clip",
    tokenizer: Path | None = None,
    seed: int = 0,
    activation: str | None = None,
    vision: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
    projection_dim: int = 512,
) -> None:
    """Write a random model's directory in `transformers` layout.

    Args:
        out: the folder to make; it must not exist or be empty.
        family: `clip` or `siglip`.
        tokenizer: folder with CLIP's vocab.json and merges.txt (or a tokenizer.json), or with SigLIP's
            spiece.model; without it a tokenizer of single bytes or letters is made.
        seed: of the weights; the same seed writes the same bytes.
        activation: of a CLIP, `quick_gelu` (OpenAI's, and the default) or `gelu` (LAION's); of a SigLIP the
            default is its own, `gelu_pytorch_tanh`.
        vision, text: changes to the towers' configs, for smaller models.
        projection_dim: width of the shared space of a CLIP; a SigLIP's is that of its vision tower.

    Raises:
        ClipsteerError: `out` holds files already, or `tokenizer` lacks its files.
    """
    check_new(out)
    if tokenizer is not None:
        check_tokenizer(family, tokenizer)

    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    towers = {**VISION[family], **(vision or {})}, {**TEXT[family], **(text or {})}
    if activation is not None:
        towers = tuple({"hidden_act": activation, **tower} for tower in towers)  # type: ignore[assignment]
    make = _siglip if family == "siglip" else _clip
    # transformers draws initial weights from torch's global generator: borrow it and give it back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor, words = make(*towers, tokenizer, projection_dim)
    write_folder(out, model, processor, words)


def check_new(out: Path) -> None:
    """Refuse a folder that holds something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ClipsteerError(f"--out: {out} exists already. Give a new or an empty folder.")


def write_folder(out: Path, model: Any, processor: Any, words: Any) -> None:
    """Model, image processor and tokenizer in transformers' layout."""
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    words.model_max_length = model.config.text_config.max_position_embeddings
    words.save_pretrained(out)


def clip_processor(size: int) -> Any:
    """A CLIP's image processor for pictures of `size` pixels: bicubic, the shorter side, a crop from the middle."""
    from transformers import CLIPImageProcessorPil

    # Saved as "CLIPImageProcessor", which every version of transformers can load.
    return CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    )


def _clip(
    vision: dict[str, Any], text: dict[str, Any], tokenizer: Path | None, projection_dim: int
) -> tuple[Any, Any, Any]:
    """Model, image processor and tokenizer."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    words: Any = CLIPTokenizer.from_pretrained(tokenizer) if tokenizer else byte_tokenizer()
    ids = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    shared = {"projection_dim": projection_dim}
    model = CLIPModel(
        CLIPConfig(
            vision_config={**shared, **vision},
            text_config={**shared, "vocab_size": len(words), **ids, **text},
            projection_dim=projection_dim,
        )
    )
    return model, clip_processor(vision["image_size"]), words


def _siglip(
    vision: dict[str, Any], text: dict[str, Any], tokenizer: Path | None, _: int
) -> tuple[Any, Any, Any]:
    """The same of a SigLIP, whose texts end in the width of its images."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipTokenizer

    words: Any = (
        SiglipTokenizer.from_pretrained(tokenizer, **_NO_MASK) if tokenizer else letter_tokenizer()
    )
    ids = {"pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}
    shared = {"vocab_size": len(words), "projection_size": vision["hidden_size"]}
    model = SiglipModel(
        SiglipConfig(
            vision_config=vision, text_config={**shared, **ids, "bos_token_id": None, **text}
        )
    )
    with torch.no_grad():  # as training begins: ln 10 and -10 (Zhai et al. 2023, Algorithm 1)
        model.logit_scale.fill_(2.302585093)
        model.logit_bias.fill_(-10.0)
    size = vision["image_size"]
    return model, SiglipImageProcessorPil(size={"height": size, "width": size}), words


def byte_tokenizer() -> Any:
    """A CLIPTokenizer without merges: 256 bytes, 256 bytes that end a word, and the two marks."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    entries = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={entry: i for i, entry in enumerate(entries)}, merges=[])


def letter_tokenizer() -> Any:
    """A SiglipTokenizer of single letters and digits, from a sentencepiece model made on the spot."""
    import tempfile

    from sentencepiece import SentencePieceTrainer
    from transformers import SiglipTokenizer

    pieces = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["abcdefghijklmnopqrstuvwxyz 0123456789"]),
        model_writer=pieces,
        model_type="char",
        vocab_size=64,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "spiece.model")
        file.write_bytes(pieces.getvalue())
        tokenizer: Any = SiglipTokenizer(str(file), **_NO_MASK)
    return tokenizer


def check_tokenizer(family: Family, folder: Path) -> None:
    """Refuse a folder without a tokenizer of this family."""
    # transformers 5 makes an empty tokenizer where it finds no files.
    wanted = _TOKENIZERS[family]
    names = {name for files in wanted for name in files if (folder / name).is_file()}
    if not any(files <= names for files in wanted):
        raise ClipsteerError(
            f"--tokenizer: found {sorted(names) or 'no tokenizer files'} in {folder}, expected "
            f"{', or '.join(' and '.join(sorted(files)) for files in wanted)}. Give the folder of a "
            f"{family}'s tokenizer."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m clipsteer.backbones.shaped",
        description="Write a checkpoint with random weights and the shape of CLIP ViT-B/32 (about 600 MB) or "
        "SigLIP ViT-B/16 (about 700 MB).",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--family", choices=get_args(Family), default="clip", help="which model (default: clip)"
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="folder with CLIP's vocab.json and merges.txt, or SigLIP's spiece.model (default: a tokenizer of "
        "single bytes or letters)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: 0)")
    parser.add_argument(
        "--activation",
        choices=ACTIVATIONS,
        help="quick_gelu as OpenAI's weights, gelu as LAION's (default: the family's own)",
    )
    given = parser.parse_args(arguments)
    try:
        write_shaped(
            given.out,
            family=given.family,
            tokenizer=given.tokenizer,
            seed=given.seed,
            activation=given.activation,
        )
    except ClipsteerError as error:
        print(error, file=sys.stderr)
        return 1
    print(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
