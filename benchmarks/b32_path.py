"""The real path at real shapes: a ViT-B/32-shaped CLIP with random weights, on photographs of yours.

One layer, one Top-K dictionary of expansion 64 (m = 49,152) trained for a few steps, statistics, selection,
ablation, table. The labels are made up, so the table proves the path and nothing else. Needs about 8 GB of memory.
Run from the project's root, with the environment active:

    python benchmarks/b32_path.py --images DIR --tokenizer DIR [--out DIR] [--layer 6] [--cores 2]
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from clipsteer.backbones.shaped import write_shaped
from clipsteer.errors import ClipsteerError

BASE = Path(__file__).resolve().parents[1]
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
SPLITS = ("train", "train", "validation", "test")
SMALLEST = 48  # images: some for each of four groups in each of three splits


def link_images(source: Path, folder: Path, copies: int) -> None:
    """The photographs under names of their own, and a manifest with made-up labels."""
    images = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not images:
        sys.exit(f"{source}: no photographs found; expected files that end in {sorted(SUFFIXES)}")
    copies = max(copies, -(-SMALLEST // len(images)))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "split", "target", "spurious"])
        for i, image in enumerate(images * copies):
            name = f"{i:06d}{image.suffix.lower()}"
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(image.resolve())
            writer.writerow([name, SPLITS[i // 4 % len(SPLITS)], i % 2, i // 2 % 2])


def settings(out: Path, layer: int) -> dict[str, Any]:
    """The default config with one data set, one model, one layer and one dictionary."""
    config: dict[str, Any] = yaml.safe_load((BASE / "config.yaml").read_text(encoding="utf-8"))
    config["datasets"] = {
        "photographs": {
            "layout": "folder",
            "root": str(out / "photographs"),
            "class_names": ["cat", "dog"],
            "group_names": ["cat without", "cat with", "dog without", "dog with"],
            "templates": ["a photo of a {}."],
            "evaluation": {"validation": None, "test": None},
            "augment": 0,
        }
    }
    config["model"] = {
        "name": "random-ViT-B/32",
        "source": str(out / "clip"),
        "revision": None,
        "dtype": "float32",
    }
    config["activations"] |= {"layers": [layer], "batch_size": 32, "images_per_shard": 256}
    training = config["dictionaries"]["topk"]["training"] | {
        "expansion": 64,
        "k": 64,
        "epochs": 1,
        "batch_size": 512,
        "warmup_steps": 1,
        "mse": "prisma",
    }
    config["dictionaries"] = {
        "topk": {
            "architecture": "topk",
            "trained_on": "photographs",
            "hook_point": "resid_post",
            "training": training,
        },
        "neurons": config["dictionaries"]["neurons"],
    }
    config["tables"] = {"photographs": ["topk", "neurons"]}
    return config


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument(
        "--tokenizer", type=Path, help="folder with CLIP's vocab.json and merges.txt"
    )
    parser.add_argument("--out", type=Path, default=Path("b32_path"))
    parser.add_argument("--layer", type=int, default=6)
    parser.add_argument("--copies", type=int, default=1, help="times each photograph is listed")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    link_images(arguments.images, out / "photographs", arguments.copies)
    if not (out / "clip/config.json").exists():
        try:
            write_shaped(out / "clip", tokenizer=arguments.tokenizer)
        except ClipsteerError as error:
            sys.exit(f"b32_path: {error}")
    config = json.loads(json.dumps(settings(out, arguments.layer)))
    (out / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    target = "results/photographs_table.csv"
    command = [
        "snakemake",
        "--snakefile",
        BASE / "Snakefile",
        "--directory",
        out,
        "--workflow-profile",
    ]
    command += [BASE / "profiles/default", "--cores", str(arguments.cores), target]
    if status := subprocess.run(command, check=False, cwd=out).returncode:
        sys.exit(status)
    print(f"{out / target}")


if __name__ == "__main__":
    main()
