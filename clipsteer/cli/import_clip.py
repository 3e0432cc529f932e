"""`clipsteer import-clip`: a checkpoint of another library as a folder that `model.source` may name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(subparsers: Any) -> None:
    """The command of this file."""
    command = subparsers.add_parser(
        "import-clip",
        help="turn a checkpoint of open_clip into a model folder",
        description="Writes a CLIP that open_clip has trained or fine-tuned in the layout of transformers.",
    )
    command.add_argument("file", type=Path, metavar="FILE", help=".safetensors, .pt or .bin")
    command.add_argument(
        "--from", dest="maker", choices=("open_clip",), required=True, help="whose checkpoint"
    )
    command.add_argument(
        "--arch",
        required=True,
        metavar="NAME",
        help="open_clip's name: ViT-B-32, ViT-B-32-quickgelu",
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    command.add_argument(
        "--tokenizer",
        type=Path,
        metavar="PATH",
        help="a folder with CLIP's tokenizer, or open_clip's bpe_simple_vocab_16e6.txt.gz (default: that of the "
        "open_clip that is installed)",
    )
    command.set_defaults(run=run_import)


def run_import(arguments: argparse.Namespace) -> int:
    """Write the folder and name it."""
    from clipsteer.backbones.open_clip import convert  # loads torch

    convert(arguments.file, arguments.arch, arguments.out, arguments.tokenizer)
    print(f"{arguments.out}: {arguments.arch}, for model.source")
    return 0
