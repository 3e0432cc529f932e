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
# Every step once, with one kind of fault each, in the order of the chain. Steps that stand together do not need each
# other. A step whose fault is a bad input stands alone: others that go on would meet the pointers that it has damaged.
WAVES = (
    {"paint_world": "kill", "import_dictionary": "write", "paint_pairs": "error"},
    {"build_manifest": "input"},
    {"label_attacked": "error", "list_shards": "write", "pretrain_clip": "kill"},
    {
        **{"name_classes": "write", "embed_vocabulary": "pointer", "build_head": "kill"},
        **{"unconcerned_attributes": "error"},
    },
    {"list_attacked": "input"},
    {"extract_activations": "kill", "pair_margins": "error"},
    {"train_dictionary": "error", "fit_directions": "pointer", "train_prefix": "write"},
    {"check_dictionary": "input"},
    {
        **{"evaluate_dictionary": "write", "evaluate_directions": "error"},
        **{"evaluate_readout": "pointer", "build_class_heads": "kill"},
    },
    {"tune_defences": "pointer", "train_projection": "write", "train_patching": "kill"},
    {"choose_dictionary": "input"},
    {
        **{"feature_statistics": "write", "splice_dictionary": "kill"},
        **{"shuffle_control": "pointer", "evaluate_defences": "error"},
        **{"measure_steerability": "kill", "measure_random": "write"},
        **{"tune_patching": "write", "top_attacked": "error"},
    },
    {
        **{"select_features": "pointer", "evaluate_subspaces": "kill"},
        **{"typographic_examples": "error", "evaluate_patching": "pointer"},
        **{"typographic_top_images": "pointer", "sparsity_figure": "write"},
        **{"steerability_table": "pointer"},
    },
    {
        **{"ablate_features": "error", "top_images": "kill", "image_views": "write"},
        **{"edited_images": "pointer", "dictionary_table": "error", "measure_recovery": "write"},
        **{"typographic_table": "write", "compare_dictionaries": "write"},
        **{"baseline_table": "error"},
    },
    {
        **{"make_table": "pointer", "storage_effect": "write", "stability_table": "pointer"},
        **{"nearest_directions": "error", "top_images_figure": "kill", "sweep_table": "kill"},
    },
    {
        **{"best_per_layer": "error", "control_table": "kill"},
        **{"feature_page": "pointer", "pairs_figure": "write"},
    },
    {"drop_activations": "write"},
)


@dataclass(frozen=True)
class Cause:
    """Why a step fails, and what is said then: an ordered `fault`, or what `spoilt(the cell's folder)` does.

    `config` is laid over the change's. All of `told` is to stand in one of the sentences that close the run.
    """

    step: str
    kind: str
    says: Sequence[str]
    fault: str = ""
    spoilt: Callable[[Path], AbstractContextManager[None]] = nullcontext
    config: Mapping[str, Any] = field(default_factory=dict)
    told: Sequence[str] = ()

    def __str__(self) -> str:
        return f"{self.step}-{self.kind}"


def ordered(step: str, kind: str) -> Cause:
    """A fault that is put into a step."""
    assert kind in KINDS
    config = DROPPING if step == "drop_activations" else {}
    log = f"logs/{step}"
    return Cause(
        step, kind, (f"see {log}",), f"{step} {kind}", config=config, told=(log, SAYS[kind])
    )


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
