"""Real trainings, killed again and again and started again: the bytes of one that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from clipsteer.runner.fingerprint import code_fingerprint
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Member, Output, Pointer, write_pointer
from clipsteer.store.trees import StoreTree, put_tree
from clipsteer.tables import parquet_bytes
from tests.activations.helpers import activations, write_array

BASE = Path(__file__).parents[2]
IMAGES, TOKENS, WIDTH, BATCH, EPOCHS = 1200, 10, 48, 256, 8
LAYER = "resid_post/01"
DICTIONARY: dict[str, Any] = {
    "architecture": "topk",
    "hook_point": "resid_post",
    "layers": [1],
    "training": {
        "expansion": 4,
        "k": 4,
        "lr": 0.003,
        "warmup_steps": 10,
        "dead_window": 4,
        "batch_size": BATCH,
        "epochs": EPOCHS,
        "buffer_mb": 1,
    },
    "seed": 3,
}
CLIP: dict[str, Any] = {
    "image_size": 32,
    "vision_layers": 1,
    "vision_width": 32,
    "vision_heads": 2,
    "text_width": 32,
    "text_heads": 2,
    "text_layers": 1,
    "projection_dim": 16,
    "batch_size": 16,
    "steps": 80,
    "warmup_steps": 5,
    "vocabulary": 600,
    "seed": 3,
}


@dataclass
class Step:
    """A workflow script with its real command line, and a store of its own."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    modules: Sequence[str] = ()
    inputs: dict[str, Pointer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.store = ObjectStore(self.folder / "store")

    def start(self, every: int) -> subprocess.Popen[str]:
        script = BASE / "workflow_scripts" / f"{self.name}.py"
        recipe = {
            "step": self.name,
            "config": self.config,
            "modules": list(self.modules),
            "code": code_fingerprint(script, BASE, self.modules),
        }
        words = [sys.executable, str(script), "--recipe", json.dumps(recipe), "--store", "store"]
        for name, pointer in self.inputs.items():
            write_pointer(self.folder / f"{name}.json", pointer)
            words += ["--input", f"{name}={name}.json"]
        words += ["--pointer", "out.json", "--log", "log.txt", "--device", "cpu"]
        return subprocess.Popen(
            [*words, "--checkpoint-steps", str(every)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(BASE), "HF_HUB_OFFLINE": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, every: int) -> tuple[str, bytes]:
        """What a start that is left alone says, and its pointer, which names all of its results."""
        process = self.start(every)
        said = process.communicate(timeout=300)[1]
        assert process.returncode == 0, said
        return said, (self.folder / "out.json").read_bytes()

    def saved(self) -> list[tuple[int, Path]]:
        """Step and file of each checkpoint, the newest last."""
        found = self.folder.glob("store/scratch/*/step-*")
        return sorted((int(path.name.split("-")[1]), path) for path in found)

    def kill(self, number: int, step: int, every: int) -> tuple[int, str]:
        """Start it and end it once it is past a step; its exit status and what it said."""
        step = max([step, *(done + every for done, _ in self.saved())])
        process = self.start(every)
        while process.poll() is None and not any(done >= step for done, _ in self.saved()):
            time.sleep(0.002)
        process.send_signal(number)
        said = process.communicate(timeout=300)[1]
        return process.returncode, said


def dictionary_step(folder: Path) -> Step:
    step = Step("train_dictionary", folder, DICTIONARY, ["clipsteer.dictionaries.topk"])
    members = {}
    for shard in range(3):
        values = activations(IMAGES // 3, TOKENS, WIDTH, seed=shard)
        digest = put_tree(step.store, write_array(folder / f"shard-{shard}", values, name=LAYER))
        size = StoreTree(step.store, digest).total_size()
        members[f"shard-{shard}"] = Member({LAYER: Output(digest, size, "tree")}, {})
    step.inputs["activations"] = Pointer("extract_activations", members)
    return step


def clip_step(folder: Path) -> Step:
    step = Step("pretrain_clip", folder, CLIP)
    random_bytes = np.random.default_rng(0)
    rows = []
    for i in range(80):
        data = BytesIO()
        pixels = random_bytes.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data, "PNG")
        digest = step.store.put_bytes(data.getvalue())
        rows.append({"digest": digest, "path": f"{i}.png", "text": f"a photo of number {i % 9}"})
    table = parquet_bytes(pl.DataFrame(rows))
    output = Output(step.store.put_bytes(table), len(table))
    step.inputs["world"] = Pointer("build_manifest", {"all": Member({"captions": output}, {})})
    return step


@pytest.mark.parametrize(
    ("make", "steps"),
    [(dictionary_step, IMAGES * TOKENS // BATCH * EPOCHS), (clip_step, CLIP["steps"])],
    ids=["train_dictionary", "pretrain_clip"],
)
def test_killed_again_and_again_it_ends_in_the_same_bytes(
    make: Callable[[Path], Step], steps: int, tmp_path: Path
) -> None:
    _, undisturbed = make(tmp_path / "undisturbed").finish(every=0)
    step = make(tmp_path / "killed")
    draw = random.Random(7)

    status, said = step.kill(signal.SIGTERM, draw.randint(8, steps // 4), every=3)
    assert status == 1
    stopped = re.search(r"stopped by SIGTERM\. .*, it resumes at step (\d+)\.$", said, re.M)
    assert stopped, said
    assert int(stopped[1]) == step.saved()[-1][0]

    status, said = step.kill(signal.SIGKILL, draw.randint(steps // 3, steps * 3 // 5), every=2)
    assert status == -signal.SIGKILL
    assert f"resumes at {stopped[1]} steps" in said
    (before, _), (_, path) = step.saved()[-2:]
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)

    said, pointer = step.finish(every=5)
    assert "damaged; removed, not used" in said
    assert f"resumes at {before} steps" in said
    assert pointer == undisturbed
    assert not list(step.folder.glob("store/scratch/*/*"))
