"""Write a CLIP with the shape of ViT-B/32 and random weights, to try the real path without it.

    python -m clipsteer.backbones.shaped --out DIR [--tokenizer DIR]

The folder has everything a released CLIP has: full config, safetensors, a tokenizer and CLIP's own
image processor. What it computes means nothing; what it costs is what the real model costs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError

ACTIVATIONS = ("quick_gelu", "gelu")
VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "patch_size": 32,
    "image_size": 224,
}
TEXT = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
}


def write_shaped(
    out: Path,
    *,
    tokenizer: Path | None = None,
    seed: int = 0,
    activation: str = "quick_gelu",
    vision: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
    projection_dim: int = 512,
) -> None:
    """Write a random CLIP directory in `transformers` layout.

    Args:
        out: the folder to make; it must not exist or be empty.
        tokenizer: folder with CLIP's vocab.json and merges.txt (or a tokenizer.json); without it a
            tokenizer of single bytes is made, 514 entries.
        seed: of the weights; the same seed writes the same bytes.
        activation: `quick_gelu` (OpenAI's) or `gelu` (LAION's).
        vision, text: changes to the towers' configs, for smaller models.
        projection_dim: width of the shared space.

    Raises:
        ClipsteerError: `out` holds files already, or `tokenizer` lacks its files.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ClipsteerError(f"--out: {out} exists already. Give a new or an empty folder.")
    if tokenizer is not None:
        _check_tokenizer(tokenizer)

    import torch
    import transformers

    hf: Any = transformers  # its annotations are partial
    hf.logging.disable_progress_bar()
    words = byte_tokenizer() if tokenizer is None else hf.CLIPTokenizer.from_pretrained(tokenizer)
    ids = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    shared = {"hidden_act": activation, "projection_dim": projection_dim}
    config = hf.CLIPConfig(
        vision_config={**shared, **VISION, **(vision or {})},
        text_config={**shared, **TEXT, "vocab_size": len(words), **ids, **(text or {})},
        projection_dim=projection_dim,
    )
    # transformers draws initial weights from torch's global generator: borrow it and give it back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = hf.CLIPModel(config)
    size = model.config.vision_config.image_size
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    # Saved as "CLIPImageProcessor", which every version of transformers can load.
    processor = hf.CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    )
    processor.save_pretrained(out)
    words.model_max_length = model.config.text_config.max_position_embeddings
    words.save_pretrained(out)


def byte_tokenizer() -> Any:
    """A CLIPTokenizer without merges: 256 bytes, 256 bytes that end a word, and the two marks."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    entries = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={entry: i for i, entry in enumerate(entries)}, merges=[])


def _check_tokenizer(folder: Path) -> None:
    # transformers 5 makes an empty tokenizer where it finds no files.
    names = [n for n in ("tokenizer.json", "vocab.json", "merges.txt") if (folder / n).is_file()]
    if "tokenizer.json" not in names and len(names) < 2:
        raise ClipsteerError(
            f"--tokenizer: found {names or 'no tokenizer files'} in {folder}, expected vocab.json "
            "and merges.txt, or tokenizer.json. Give the folder of a CLIP's tokenizer."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m clipsteer.backbones.shaped",
        description="Write a CLIP ViT-B/32-shaped checkpoint with random weights (about 600 MB).",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="folder with CLIP's vocab.json and merges.txt (default: a tokenizer of single bytes)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: 0)")
    parser.add_argument(
        "--activation",
        choices=ACTIVATIONS,
        default="quick_gelu",
        help="quick_gelu as OpenAI's weights, gelu as LAION's (default: quick_gelu)",
    )
    given = parser.parse_args(arguments)
    try:
        write_shaped(
            given.out, tokenizer=given.tokenizer, seed=given.seed, activation=given.activation
        )
    except ClipsteerError as error:
        print(error, file=sys.stderr)
        return 1
    print(given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
