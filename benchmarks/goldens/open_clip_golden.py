"""What open_clip makes of random weights: tests/backbones/goldens/open_clip.safetensors.

    python open_clip_golden.py FILE        # in an environment of its own, see make_goldens.sh

Two small models, one of each activation: their state dicts, and the embeddings of pictures and texts. Of open_clip's
tokenizer the first merges, so that the file stays small, and what its own configs say of the architectures.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

# From PyPI torchvision is made for another build of torch where that is the CPU's, and lacks operators that it names.
_NAMED = torch.library.Library("torchvision", "FRAGMENT")
for _operator in ("nms", "qnms"):
    _NAMED.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import open_clip  # noqa: E402
from open_clip.model import CLIP  # noqa: E402
from open_clip.tokenizer import SimpleTokenizer  # noqa: E402

MERGES = 120
WORDS = ("cat", "a photo of a dog.", "naïve CAFÉ 42!")
ARCHS = (
    *("ViT-B-32", "ViT-B-32-256", "ViT-B-16", "ViT-B-16-plus-240", "ViT-L-14", "ViT-L-14-336"),
    *("ViT-H-14", "ViT-g-14", "ViT-bigG-14"),
)


def small_tokenizer(folder: Path) -> tuple[SimpleTokenizer, str]:
    """open_clip's own with its first merges alone, and their text."""
    from open_clip.tokenizer import default_bpe

    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode("utf-8").split("\n")
    text = "\n".join(lines[: MERGES + 1])
    path = folder / "small.txt.gz"
    path.write_bytes(gzip.compress(text.encode("utf-8")))
    return SimpleTokenizer(str(path), context_length=24), text


def small_model(vocabulary: int, *, quick: bool) -> CLIP:
    torch.manual_seed(int(quick))
    vision = {"image_size": 32, "layers": 2, "width": 16, "patch_size": 16, "head_width": 8}
    words = {"context_length": 24, "vocab_size": vocabulary, "width": 16, "heads": 2, "layers": 2}
    model = CLIP(12, vision, words, quick_gelu=quick).eval()
    with torch.no_grad():  # biases of 0 and gains of 1 would hide a swapped one
        for tensor in model.parameters():
            tensor += 0.2 * torch.randn(tensor.shape)
    return model


def configs() -> dict[str, Any]:
    """Width, patch, side, width of a head in both towers, and whether it has the quick GELU."""
    found = {}
    for plain in ARCHS:
        for name in (plain, f"{plain}-quickgelu"):
            # some plain ones have no such config of their own: open_clip then forces the activation
            config = open_clip.get_model_config(name) or {
                **open_clip.get_model_config(plain),
                "quick_gelu": True,
            }
            vision, words = config["vision_cfg"], config["text_cfg"]
            found[name] = [
                *(vision[key] for key in ("width", "patch_size", "image_size")),
                vision.get("head_width", 64),
                words["width"] // words["heads"],
                bool(config.get("quick_gelu", False)),
            ]
    return found


def main(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, text = small_tokenizer(Path(folder))
    tokens = tokenizer(list(WORDS))
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    found = {
        "pixels": pixels,
        "tokens": tokens,
        "merges": torch.tensor(list(text.encode("utf-8")), dtype=torch.uint8),
        "configs": torch.tensor(list(json.dumps(configs()).encode()), dtype=torch.uint8),
    }
    for activation in ("gelu", "quick_gelu"):
        model = small_model(tokenizer.vocab_size, quick=activation == "quick_gelu")
        with torch.no_grad():
            found[f"{activation}/images"] = model.encode_image(pixels)
            found[f"{activation}/texts"] = model.encode_text(tokens)
        for name, tensor in model.state_dict().items():
            found[f"{activation}/state/{name}"] = tensor.contiguous()
    save_file(found, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
