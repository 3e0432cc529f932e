"""The staleness matrix: what is edited, what must be computed, what restored, what the table must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.staleness import edits
from tests.staleness.matrix import Row, Stage, row
from tests.staleness.scene import Ground
from tests.workflow.runs import DROPPING, merged, nested

EVERYTHING = ("*",)
TABLE = "make_table celeba"
# The steps of a dictionary, and all that stand below the manifest.
APPLIED = ("evaluate_dictionary", "feature_statistics", "select_features", "ablate_features")
TOPK = tuple(f"{step} topk/*" for step in ("train_dictionary", *APPLIED))
OF_TOPK = (*TOPK, TABLE)
BELOW_SHARDS = (
    *("extract_activations *", "train_dictionary *"),
    *(f"{step} *" for step in APPLIED),
    TABLE,
)
BELOW_MANIFEST = ("list_shards celeba/*", *BELOW_SHARDS)
SELECTED = ("select_features *", "ablate_features *", TABLE)
LOST = ("build_head celeba", *SELECTED)

VANILLA = {
    **{"architecture": "vanilla", "trained_on": "celeba", "hook_point": "resid_post"},
    "training": {
        **{"expansion": 4, "l1": 3.0e-3, "epochs": 1, "batch_size": 16, "lr": 3.0e-3},
        **{"warmup_steps": 2, "final_lr": 0.0, "clip_norm": 1.0, "mse": "normalised"},
        **{"ghost_grads": True, "dead_window": 3, "buffer_mb": 1},
    },
}
OTHER_RATE = nested("dictionaries.topk.training.lr", 1.0e-3)
MACHINE = {
    "runtime": {"device": "cpu", "threads": 2, "checkpoint_steps": 7, "warm_worker": False},
    "raw": {"threads": 1},
    "store": {"verify_below_mb": 1},
}


def _below_all_manifests(ground: Ground) -> Sequence[str]:
    # the tiny CLIP learns from the painted worlds' captions
    return BELOW_SHARDS if ground.raw else ("pretrain_clip", "build_head *", *BELOW_SHARDS)


def _swapped(ground: Ground) -> dict[str, Any]:
    # as config.yaml and config/tiny.yaml have them, the other way round
    warmup, window = (25, 50) if ground.name == "default" else (3, 2)
    return nested("dictionaries.topk.training", {"warmup_steps": warmup, "dead_window": window})


def _smaller_drop(ground: Ground) -> dict[str, Any]:
    return nested("steering.relaxed_drop", 3.99 if ground.name == "default" else 99.5)


def _one_more_dictionary(ground: Ground) -> dict[str, Any]:
    names = [*ground.dictionaries, "extra"]
    return {"dictionaries": {"extra": VANILLA}, "tables": {"celeba": names}}


def _without_neurons(ground: Ground) -> dict[str, Any]:
    return {"tables": {"celeba": [name for name in ground.dictionaries if name != "neurons"]}}


def _one_more_layer(ground: Ground) -> dict[str, Any]:
    return nested("activations.layers", sorted([*ground.layers, ground.new_layer or 0]))


NOTHING_THAT_COUNTS = (
    row("nothing", "nothing, in a copy of the clone", idle=True),
    row("format", "every module in another format", edits.reformat_everywhere, idle=True),
    row("docstrings", "other words in every docstring", edits.reword_docstrings, idle=True),
    row("comments", "a comment in every script and module", edits.comment_everywhere, idle=True),
    row(
        "store",
        "a real change in the store's own code",
        edits.one_more_name("clipsteer/store/trees.py"),
        idle=True,
    ),
    row(
        "not_reached",
        "one more name in data/manifest.py, to which nothing leads",
        edits.one_more_name("clipsteer/data/manifest.py"),
        idle=True,
    ),
    row(
        "config_order", "comments and order of keys in config.yaml", edits.reorder_config, idle=True
    ),
    row(
        "machine",
        "threads, cores, device, checkpoints, log level",
        config=MACHINE,
        options=["--verbose"],
        cores=1,
        idle=True,
    ),
    row("data_touched", "data files touched", edits.touch_images, idle=True, raw=True),
    row("touch", "every file touched, the newest first", edits.touch_everything),
    row(
        "jobs",
        "work cut into other jobs",
        config={"jobs": {"layers_per_job": 1, "extraction_parts": 2}},
        restored=BELOW_SHARDS,
    ),
)

CODE = (
    row(
        "local_variable",
        "a local variable renamed in report/markdown.py (its tree is another)",
        edits.rename_local,
        computed=[TABLE],
    ),
    Row(
        "selection",
        [
            Stage(
                "a real change in steering/selection.py, and another one while it computes",
                edits.selection(edits.ORIGINAL, edits.ANOTHER_WAY),
                meanwhile=edits.selection(edits.ANOTHER_WAY, edits.ANOTHER_NUMBER),
                # while it ran; or, of a job that came a moment later, before it began
                says="(select_features.py and what it imports) was changed",
            ),
            Stage(
                "... then the first change alone (another way to the same number)",
                edits.selection(edits.ANOTHER_NUMBER, edits.ANOTHER_WAY),
                computed=["select_features *"],
                restored=["ablate_features *", TABLE],
            ),
            Stage(
                "... then the second change (another number)",
                edits.selection(edits.ANOTHER_WAY, edits.ANOTHER_NUMBER),
                computed=SELECTED,
                table="other",
            ),
            Stage(
                "... then the code as it was at first",
                edits.selection(edits.ANOTHER_NUMBER, edits.ORIGINAL),
                restored=SELECTED,
            ),
        ],
    ),
    row(
        "same_size_and_time",
        "a real change in report/table.py that keeps the file's size and time",
        edits.change_stealthily,
        computed=[TABLE],
        table="other",
    ),
    row(
        "helper",
        "a real change in a function of data/manifest.py that two steps reach",
        edits.one_more_line("clipsteer/data/manifest.py", "split_rows"),
        computed=["build_manifest *", "list_shards *"],
        restored=_below_all_manifests,
    ),
    row(
        "one_of_two",
        "a real change in a function of data/manifest.py that one of these steps reaches",
        edits.one_more_line("clipsteer/data/manifest.py", "group_counts"),
        computed=["build_manifest *"],
        restored=lambda ground: ("list_shards *", *_below_all_manifests(ground)),
    ),
    row(
        "architecture",
        "one more name in dictionaries/topk.py, which counts as a whole where it is named",
        edits.one_more_name("clipsteer/dictionaries/topk.py"),
        computed=TOPK,
        restored=[TABLE],
    ),
    row("package", "another version of matplotlib", edits.new_matplotlib, computed=[TABLE]),
    row(
        "semantics", "STORE_SEMANTICS raised", edits.raise_semantics, computed=EVERYTHING, long=True
    ),
)

CONFIG = (
    Row(
        "one_dictionary",
        [
            Stage("a rate of one dictionary", config=OTHER_RATE, computed=OF_TOPK, table="other"),
            Stage("... then the first configuration again", restored=OF_TOPK),
        ],
    ),
    Row(
        "activations_dropped",
        [
            Stage("activations.keep: false", config=DROPPING, restored=[TABLE]),
            Stage(
                "... then a rate of one dictionary (what it reads is extracted again)",
                config=merged(DROPPING, OTHER_RATE),
                computed=["extract_activations *", *OF_TOPK],
                table="other",
            ),
            Stage("... then the first configuration again", restored=OF_TOPK),
        ],
        long=True,
    ),
    row(
        "swap",
        "warmup_steps and dead_window of one dictionary change places",
        config=_swapped,
        computed=OF_TOPK,
        table="other",
    ),
    row(
        "same_selection",
        "relaxed_drop a little smaller; the same features are selected",
        config=_smaller_drop,
        computed=["select_features *", TABLE],
        restored=["ablate_features *"],
    ),
    row(
        "same_images",
        "evaluation.test a number in place of null; all images remain",
        config=nested("datasets.celeba.evaluation.test", 3),
        computed=["build_manifest celeba"],
        restored=BELOW_MANIFEST,
        raw=True,
    ),
    row(
        "add_dictionary",
        "one more dictionary",
        config=_one_more_dictionary,
        computed=[f"{step} extra/{{layer}}" for step in ("train_dictionary", *APPLIED)] + [TABLE],
        table="other",
    ),
    row(
        "remove_dictionary",
        "one dictionary less",
        config=_without_neurons,
        computed=[TABLE],
        table="other",
    ),
    row(
        "add_layer",
        "one more layer",
        config=_one_more_layer,
        computed=[
            *("extract_activations *", "train_dictionary topk/{new}"),
            *(f"{step} {name}/{{new}}" for step in APPLIED for name in ("topk", "neurons")),
            TABLE,
        ],
        restored=["train_dictionary *", *(f"{step} *" for step in APPLIED)],
        table="other",
        layers=True,
    ),
)

FILES = (
    row(
        "append_image",
        "one image appended to the training set",
        edits.append_training_image,
        computed=[
            *("build_manifest celeba", "list_shards celeba/*"),
            *("extract_activations celeba/train/00001", "train_dictionary *"),
            *("evaluate_dictionary topk/*", "feature_statistics *", *SELECTED),
        ],
        restored=[
            *("extract_activations celeba/train/00000", "evaluate_dictionary neurons/*"),
            *("extract_activations celeba/validation/*", "extract_activations celeba/test/*"),
        ],
        table="other",
        raw=True,
    ),
    row(
        "pixels",
        "the pixels of one test image changed, its time put back",
        edits.repaint_test_image,
        computed=[
            *("build_manifest celeba", "list_shards celeba/*"),
            *("extract_activations celeba/test/00001", "ablate_features *", TABLE),
        ],
        restored=[
            *("extract_activations celeba/test/00000", "extract_activations celeba/train/*"),
            *("extract_activations celeba/validation/*", "train_dictionary *"),
            *("evaluate_dictionary *", "feature_statistics *", "select_features *"),
        ],
        table="other",
        raw=True,
    ),
    row(
        "line_ends",
        "Windows line ends in a label file",
        edits.other_line_ends,
        computed=["build_manifest celeba"],
        restored=BELOW_MANIFEST,
        raw=True,
    ),
)

LOSSES = (
    row("fresh_clone", "a fresh clone on the same store", edits.fresh_clone, restored=EVERYTHING),
    Row(
        "snakemake_deleted",
        [
            Stage(".snakemake deleted", edits.delete(".snakemake")),
            Stage(
                "... deleted again, and one dictionary less",
                edits.delete(".snakemake"),
                config=_without_neurons,
                computed=[TABLE],
                table="other",
            ),
        ],
    ),
    Row(
        "refs_deleted",
        [
            Stage(
                "artifacts/refs deleted (the table is still there)",
                edits.delete(edits.REFS),
                restored=EVERYTHING,
            ),
            Stage(
                "... again, and results as well",
                edits.all_of(edits.delete(edits.REFS), edits.delete("results")),
                restored=EVERYTHING,
            ),
        ],
    ),
    row("results_deleted", "results deleted", edits.delete("results"), restored=[TABLE]),
    row("results_edited", "two results edited by hand", edits.edit_results, restored=[TABLE]),
    row(
        "pointer_damaged",
        "a pointer damaged",
        edits.damage_pointer("celeba/head.json", kept=True),
        restored=SELECTED,
    ),
    Row(
        "pointer_lost",
        [
            Stage(
                "a pointer damaged, of which the store has no copy",
                edits.damage_pointer("celeba/head.json", kept=False),
                restored=LOST,
            ),
            Stage("... then the same command again"),
        ],
    ),
    row(
        "record_damaged",
        "an action's record damaged, and results deleted",
        edits.all_of(edits.damage_record(TABLE), edits.delete("results")),
        computed=[TABLE],
    ),
    row(
        "object_damaged",
        "one bit flipped in a result, and a change in report/markdown.py that needs it",
        edits.all_of(
            edits.flip_bit("ablate_features topk/layer_00", "ablation"),
            edits.one_more_line("clipsteer/report/markdown.py", "render"),
        ),
        computed=["ablate_features topk/layer_00", TABLE],
    ),
    Row(
        "objects_deleted",
        [
            Stage("every object deleted", edits.delete_objects),
            Stage(
                "... then results as well",
                edits.delete("results"),
                computed=EVERYTHING,
                restored=[TABLE],
            ),
        ],
    ),
)

ROWS = (*NOTHING_THAT_COUNTS, *CODE, *CONFIG, *FILES, *LOSSES)
