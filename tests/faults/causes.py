"""Why steps fail: faults that are put into them, and user's files that are bad and mended again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.data.small_trees import face_name
from tests.faults.injected import KINDS, SAYS
from tests.workflow.runs import DROPPING

# How much of what takes long is tried: nothing, "tenth", "all", or "every" kind of fault beside the chain too.
EFFORT = os.environ.get("CLIPSTEER_TEST_FAULTS", "")
WHOLLY = EFFORT in ("all", "every")
# Every step once, in the order of the chain, with one kind of fault each.
CHAIN = {
    "paint_world": "kill",
    "build_manifest": "input",
    "pretrain_clip": "write",
    "build_head": "error",
    "name_classes": "write",
    "embed_vocabulary": "input",
    "list_shards": "pointer",
    "extract_activations": "kill",
    "train_dictionary": "error",
    "import_dictionary": "write",
    "check_dictionary": "kill",
    "evaluate_dictionary": "input",
    "choose_dictionary": "error",
    "feature_statistics": "write",
    "select_features": "pointer",
    "ablate_features": "error",
    "make_table": "pointer",
    "splice_dictionary": "kill",
    "dictionary_table": "input",
    "sparsity_figure": "error",
    "best_per_layer": "error",
    "shuffle_control": "input",
    "control_table": "kill",
    "fit_directions": "error",
    "unconcerned_attributes": "pointer",
    "evaluate_directions": "write",
    "evaluate_subspaces": "pointer",
    "evaluate_readout": "input",
    "paint_pairs": "write",
    "pair_margins": "error",
    "baseline_table": "kill",
    "pairs_figure": "input",
    "storage_effect": "write",
    "top_images": "input",
    "image_views": "write",
    "nearest_directions": "error",
    "feature_page": "pointer",
    "top_images_figure": "write",
    "edited_images": "pointer",
    "measure_steerability": "kill",
    "measure_random": "write",
    "steerability_table": "pointer",
    "label_attacked": "error",
    "list_attacked": "kill",
    "train_prefix": "write",
    "build_class_heads": "input",
    "train_projection": "input",
    "train_patching": "kill",
    "tune_patching": "write",
    "evaluate_patching": "pointer",
    "tune_defences": "pointer",
    "evaluate_defences": "error",
    "typographic_table": "write",
    "typographic_examples": "input",
    "top_attacked": "error",
    "typographic_top_images": "pointer",
    "sweep_table": "write",
    "compare_dictionaries": "kill",
    "stability_table": "input",
    "drop_activations": "write",
}


@dataclass(frozen=True)
class Cause:
    """Why a step fails, and what is said then: an ordered `fault`, or what `spoilt(the cell's folder)` does.

    `config` is laid over the change's.
    """

    step: str
    kind: str
    says: Sequence[str]
    fault: str = ""
    spoilt: Callable[[Path], AbstractContextManager[None]] = nullcontext
    config: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.step}-{self.kind}"


def ordered(step: str, kind: str) -> Cause:
    """A fault that is put into a step."""
    assert kind in KINDS
    config = DROPPING if step == "drop_activations" else {}
    return Cause(step, kind, (f"see logs/{step}", SAYS[kind]), f"{step} {kind}", config=config)


def users(step: str, kind: str, name: str, change: Callable[[bytes], bytes], *says: str) -> Cause:
    """A file of the user's has other content, as long as the cause is there."""

    @contextmanager
    def spoilt(place: Path) -> Iterator[None]:
        path = place / name
        sound = path.read_bytes()
        path.write_bytes(change(sound))
        yield
        path.write_bytes(sound)

    return Cause(step, kind, says, spoilt=spoilt)


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _short_row(data: bytes) -> bytes:
    """CelebA's attributes, with a column too few in one row."""
    lines = data.splitlines(keepends=True)
    lines[5] = b" ".join(lines[5].split()[:-1]) + b"\n"
    return b"".join(lines)


RELEASED = "import_dictionary"
ATTRIBUTES = "celeba/list_attr_celeba.txt"
IMAGE = f"celeba/img_align_celeba/{face_name(6)}"
# Whoever reads the model first says so, and names its file.
WEIGHTS = users(
    "import_clip", "weights cut short", "clip/model.safetensors", _half, "model.safetensors"
)
USERS = (
    WEIGHTS,
    users(RELEASED, "weights cut short", "theirs/layer_2/weights.pt", _half, "layer_2/weights.pt"),
    users("import_clip", "config cut short", "clip/config.json", _half, "config.json"),
    users("build_manifest", "a short row", ATTRIBUTES, _short_row, "see logs/build_manifest"),
    users("extract_activations", "an image cut short", IMAGE, _half, Path(IMAGE).name),
    users("extract_activations", "an empty image", IMAGE, lambda data: b"", Path(IMAGE).name),
)
