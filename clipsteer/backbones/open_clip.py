"""A CLIP that open_clip has trained or fine-tuned, as a folder in transformers' layout.

The tensors are the same; names differ, query, key and value lie in one there, and the two projections are turned.
What the tensors do not say, the width of a head and the activation, is the architecture's.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clipsteer.backbones.shaped import check_new, check_tokenizer, clip_processor, write_folder
from clipsteer.backbones.weights import first_line
from clipsteer.errors import ClipsteerError, close_match


class Arch(NamedTuple):
    """What open_clip's `model_configs` say of an architecture."""

    width: int
    patch: int
    side: int
    """Pixels of an image."""
    head_width: int = 64
    """Of the vision tower; in the text tower it is 64 always."""


_PLAIN = {
    "ViT-B-32": Arch(768, 32, 224),
    "ViT-B-32-256": Arch(768, 32, 256),
    "ViT-B-16": Arch(768, 16, 224),
    "ViT-B-16-plus-240": Arch(896, 16, 240),
    "ViT-L-14": Arch(1024, 14, 224),
    "ViT-L-14-336": Arch(1024, 14, 336),
    "ViT-H-14": Arch(1280, 14, 224, 80),
    "ViT-g-14": Arch(1408, 14, 224, 88),
    "ViT-bigG-14": Arch(1664, 14, 224, 104),
}
_QUICK = "-quickgelu"
ARCHS: Mapping[str, Arch] = _PLAIN | {f"{name}{_QUICK}": arch for name, arch in _PLAIN.items()}
"""open_clip 3.3.0's names; those that end so have OpenAI's approximation of GELU."""

_TEXT_HEAD = 64
_TOKENIZER = "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2  # of the file's lines, as open_clip takes them
_NAMES = {
    "logit_scale": "logit_scale",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "text_projection": "text_projection.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.proj": "visual_projection.weight",
    **{f"ln_final.{x}": f"text_model.final_layer_norm.{x}" for x in ("weight", "bias")},
    # the spelling is transformers'
    **{f"visual.ln_pre.{x}": f"vision_model.pre_layrnorm.{x}" for x in ("weight", "bias")},
    **{f"visual.ln_post.{x}": f"vision_model.post_layernorm.{x}" for x in ("weight", "bias")},
}
_TURNED = ("text_projection", "visual.proj")
_LEFT_OUT = ("attn_mask",)
_LAYER = re.compile(r"(?P<visual>visual\.)?transformer\.resblocks\.(?P<n>\d+)\.(?P<rest>.+)")
_IN_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def convert(file: Path, arch: str, out: Path, tokenizer: Path | None = None) -> None:
    """Write a checkpoint of open_clip as a folder that `model.source` may name.

    Args:
        file: `.safetensors`, or a `.pt` or `.bin` with a state dict, also as open_clip's training saves it. Nothing in
            it is executed.
        arch: a name in `ARCHS`.
        out: the folder to make; it must not exist or be empty.
        tokenizer: a folder with CLIP's tokenizer, or open_clip's `bpe_simple_vocab_16e6.txt.gz`; None: that of the
            open_clip that is installed.

    Raises:
        ClipsteerError: the file cannot be read so, or is of another architecture; there is no tokenizer.
    """
    check_new(out)
    if arch not in ARCHS:
        raise ClipsteerError(
            f"--arch: found {arch}, expected one of {', '.join(ARCHS)}.{close_match(arch, ARCHS)}"
        )
    words = _words(tokenizer)
    tensors = _read(file)
    model = _model(tensors, arch, words, file)
    write_folder(out, model, clip_processor(model.config.vision_config.image_size), words)


def _model(tensors: Mapping[str, Tensor], arch: str, words: Any, file: Path) -> Any:
    """transformers' model with these weights."""
    from transformers import CLIPConfig, CLIPModel

    found = dict(_renamed(tensors))
    config = CLIPConfig(**_config(found, ARCHS[arch], arch, words, file))
    # no weights are drawn that would be overwritten
    with torch.device("meta"):
        model: Any = CLIPModel(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        raise ClipsteerError(
            f"{file}: lacks {_few(missing)}, and has no place for {_few(extra)}; expected the tensors of {arch}, and "
            "no others. Another kind of tower (SigLIP, CoCa, a text tower of another make) is not read."
        )
    for name, shape in expected.items():
        if tuple(found[name].shape) != shape:
            raise ClipsteerError(
                f"{file}: {name} has shape {tuple(found[name].shape)}, expected {shape} of {arch}. Name the "
                "architecture that the file was trained with."
            )
    model.load_state_dict(found, assign=True)
    return model


def _config(
    found: Mapping[str, Tensor], arch: Arch, name: str, words: Any, file: Path
) -> dict[str, Any]:
    """The arguments of transformers' CLIPConfig, as the tensors and the architecture say."""
    patches = found.get("vision_model.embeddings.patch_embedding.weight")
    places = found.get("vision_model.embeddings.position_embedding.weight")
    entries = found.get("text_model.embeddings.token_embedding.weight")
    if patches is None or places is None or entries is None:
        raise ClipsteerError(
            f"{file}: found {_few(sorted(found))}, expected a CLIP of open_clip: visual.conv1.weight, "
            "token_embedding.weight and so on. Is it a state dict of both towers?"
        )
    width, patch = int(patches.shape[0]), int(patches.shape[-1])
    side = round((len(places) - 1) ** 0.5) * patch
    if (width, patch, side) != (arch.width, arch.patch, arch.side // patch * patch):
        fitting = [n for n, a in _PLAIN.items() if (a.width, a.patch) == (width, patch)]
        raise ClipsteerError(
            f"{file}: found width {width}, patches of {patch} and images of {side} pixels, expected {arch.width}, "
            f"{arch.patch} and {arch.side} of {name}. It may be {' or '.join(fitting) or 'none that is known here'}: "
            "name the right --arch."
        )
    if len(words) != len(entries):
        raise ClipsteerError(
            f"{file}: the text tower has {len(entries)} entries, the tokenizer {len(words)}, expected as many. Give "
            "the --tokenizer that it was trained with."
        )
    text_width = int(entries.shape[1])
    act = "quick_gelu" if name.endswith(_QUICK) else "gelu"
    ids = {f"{n}_token_id": getattr(words, f"{n}_token_id") for n in ("bos", "eos", "pad")}
    # what is missing is told once all names can be compared
    projection, context = (
        len(found[name]) if name in found else usual
        for name, usual in (
            ("visual_projection.weight", 512),
            ("text_model.embeddings.position_embedding.weight", 77),
        )
    )
    shared = {"projection_dim": projection, "hidden_act": act}
    return {
        "projection_dim": projection,
        "vision_config": {
            **shared,
            **_sizes(found, "vision_model", width, arch.head_width),
            "image_size": arch.side,
            "patch_size": patch,
        },
        "text_config": {
            **shared,
            **_sizes(found, "text_model", text_width, _TEXT_HEAD),
            **ids,
            "vocab_size": len(entries),
            "max_position_embeddings": context,
        },
    }


def _sizes(found: Mapping[str, Tensor], tower: str, width: int, head: int) -> dict[str, int]:
    layers = {
        int(name.split(".")[3]) for name in found if name.startswith(f"{tower}.encoder.layers.")
    }
    inner = found.get(f"{tower}.encoder.layers.0.mlp.fc1.weight")
    return {
        "hidden_size": width,
        "num_hidden_layers": len(layers),
        "num_attention_heads": width // head,
        "intermediate_size": 4 * width if inner is None else len(inner),
    }


def _few(names: list[str]) -> str:
    more = ", ..." if len(names) > 3 else ""
    return ", ".join(names[:3]) + more if names else "nothing"


def _renamed(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The tensors under transformers' names; those without a place there under their own."""
    for name, tensor in tensors.items():
        if name in _LEFT_OUT:
            continue
        layer = _LAYER.fullmatch(name)
        if layer is None:
            turned = tensor.T if name in _TURNED else tensor
            yield _NAMES.get(name, name), turned.float().contiguous()
            continue
        tower = "vision_model" if layer["visual"] else "text_model"
        before = f"{tower}.encoder.layers.{layer['n']}"
        module, _, kind = layer["rest"].rpartition(".")
        if layer["rest"].startswith("attn.in_proj_"):
            kind = layer["rest"].removeprefix("attn.in_proj_")
            for part, third in zip("qkv", tensor.chunk(3), strict=True):
                yield f"{before}.self_attn.{part}_proj.{kind}", third.float().contiguous()
        elif module in _IN_LAYER:
            yield f"{before}.{_IN_LAYER[module]}.{kind}", tensor.float().contiguous()
        else:
            yield name, tensor


def _read(file: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint, without what training has put before its names."""
    from safetensors.torch import load_file

    if not file.is_file():
        raise ClipsteerError(f"{file}: found no such file. Name a checkpoint of open_clip.")
    try:
        if file.suffix == ".safetensors":
            found: Any = load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ClipsteerError(
            f"{file}: cannot be read as tensors alone ({first_line(error)}). A file that holds a program (OpenAI's own "
            ".pt) is not read: save its state_dict(), or take the model from the hub."
        ) from error
    found = found.get("state_dict", found) if isinstance(found, dict) else {}
    tensors = {
        str(name).removeprefix("module."): value
        for name, value in found.items()
        if isinstance(value, Tensor)
    }
    # a text tower that is an object of its own, but built in the same way
    return {name.removeprefix("text."): value for name, value in tensors.items()}


def _words(tokenizer: Path | None) -> Any:
    """CLIP's tokenizer."""
    from transformers import CLIPTokenizer

    if tokenizer is None:
        spec = find_spec("open_clip")
        places = list(spec.submodule_search_locations or ()) if spec else []
        tokenizer = next((Path(p, _TOKENIZER) for p in places), None)
        if tokenizer is None:
            raise ClipsteerError(
                f"--tokenizer: found no open_clip here, expected it to be installed, or its file {_TOKENIZER}, or a "
                "folder with CLIP's vocab.json and merges.txt. Name one of these."
            )
    if tokenizer.is_dir():
        check_tokenizer("clip", tokenizer)
        return CLIPTokenizer.from_pretrained(tokenizer)
    try:
        lines = gzip.decompress(tokenizer.read_bytes()).decode("utf-8").split("\n")
    except (OSError, EOFError, ValueError) as error:
        raise ClipsteerError(
            f"--tokenizer: {tokenizer} cannot be read ({first_line(error)}), expected {_TOKENIZER} of open_clip, or a "
            "folder with CLIP's tokenizer."
        ) from None
    merges = [tuple(line.split()) for line in lines[1 : _MERGES + 1]]
    letters = _letters()
    entries = [*letters, *(f"{x}</w>" for x in letters), *("".join(pair) for pair in merges)]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    made: Any = CLIPTokenizer  # its annotations want texts
    return made(vocab={x: i for i, x in enumerate(entries)}, merges=merges)


def _letters() -> list[str]:
    """The 256 letters that stand for bytes, in the order of GPT-2's and CLIP's vocabularies: printable ones first."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), 256),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]
