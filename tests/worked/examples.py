"""The worked examples of CONTRIBUTING.md: what has to be added where, as edits to a checkout.

Each is as small as it can be and still runs. A section of CONTRIBUTING.md tells of each, and names the same files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# What stands in a file now, and what is to stand there.
Edit = tuple[str, str]


@dataclass(frozen=True)
class Example:
    """`section`: its heading in CONTRIBUTING.md; `new`: file -> text; `changed`: file -> edits."""

    section: str
    new: Mapping[str, str]
    changed: Mapping[str, tuple[Edit, ...]]

    def apply(self, checkout: Path) -> None:
        """Make the edits; fails where a file does not have what is to be replaced, exactly once."""
        for name, text in self.new.items():
            assert not (checkout / name).exists(), name
            (checkout / name).write_text(text, encoding="utf-8")
        for name, edits in self.changed.items():
            text = (checkout / name).read_text(encoding="utf-8")
            for old, new in edits:
                assert text.count(old) == 1, f"{name}: {text.count(old)} times {old!r}"
                text = text.replace(old, new)
            (checkout / name).write_text(text, encoding="utf-8")


# Whether the decoder's gradient loses its part along the direction becomes a key of a dictionary's training.
CONFIG_KEY = Example(
    "A config key",
    {},
    {
        "clipsteer/sections/dictionaries.py": (
            (
                "    dead_window: Positive = key(\n",
                "    project: Truth = key(\n"
                '        "whether the decoder\'s gradient loses its part along the direction", _AGAIN, default=True\n'
                "    )\n"
                "    dead_window: Positive = key(\n",
            ),
        ),
        "clipsteer/dictionaries/settings.py": (
            (
                "    dead_window: int = 5000\n",
                '    project: bool = True\n    """Whether the gradient of W_dec loses its part along W_dec."""\n\n'
                "    dead_window: int = 5000\n",
            ),
            (
                "        if not isinstance(self.ghost_grads, bool):\n",
                "        if not isinstance(self.project, bool):\n"
                '            self._refuse("project", "true or false")\n'
                "        if not isinstance(self.ghost_grads, bool):\n",
            ),
        ),
        "clipsteer/dictionaries/train.py": (
            (
                "update(state, done, lr=lr, clip_norm=settings.clip_norm)",
                "update(state, done, lr=lr, clip_norm=settings.clip_norm, project=settings.project)",
            ),
            (
                "def update(state: TrainState, done: Pass, *, lr: float, clip_norm: float | None) -> Tensor:",
                "def update(\n    state: TrainState, done: Pass, *, lr: float, clip_norm: float | None, "
                "project: bool = True\n) -> Tensor:",
            ),
            (
                "    remove_parallel_(done",
                "    if project:\n        remove_parallel_(done",
            ),
        ),
    },
)

# A file in results/ that says how many images each group has.
STEP = Example(
    "A step",
    {
        "workflow_scripts/count_groups.py": '''"""How many images each group of each split has, as CSV."""

from __future__ import annotations

from clipsteer.runner.step import Action, Job, Run, main

USES = ("datasets.group_names",)


def plan(job: Job) -> dict[str, Action]:
    return {"all": Action(job.recipe, {"groups": job.output("manifest", "groups")})}


def compute(run: Run) -> None:
    from clipsteer.tables import read_parquet

    names = dict(enumerate(run.recipe["group_names"]))
    table = read_parquet(run.blob("groups"))
    table = table.with_columns(table["group"].replace_strict(names).alias("name"))
    run.put_bytes("csv", table.write_csv().encode())
    run.fact("images", int(table["images"].sum()))


if __name__ == "__main__":
    main(plan, compute, __doc__)
'''
    },
    {
        "rules/report.smk": (
            (
                "rule control_table:",
                """rule count_groups:
    input:
        manifest=f"{REFS}/{{dataset}}/manifest.json",
    output:
        csv="results/{dataset}_groups.csv",
        pointer=f"{REFS}/{{dataset}}/groups.json",
    log:
        "logs/count_groups/{dataset}.log",
    conda:
        "../envs/data.yaml"
    resources:
        **needs("count_groups"),
    params:
        recipe=RECIPES.of("count_groups"),
        chain=expected_chain,
    shell:
        shell_words("count_groups")
        + "--name {wildcards.dataset} --input manifest={input.manifest}"
        " --export all/csv={output.csv} --pointer {output.pointer}"


rule control_table:""",
            ),
        ),
        "docs/configuration.md": (
            (
                "| `results/<dataset>_negative_control.csv` |",
                "| `results/<dataset>_groups.csv` | images in each group of each split |\n"
                "| `results/<dataset>_negative_control.csv` |",
            ),
        ),
    },
)

# ReLU with a fixed threshold.
ARCHITECTURE = Example(
    "An architecture",
    {
        "clipsteer/dictionaries/jump.py": '''"""ReLU with a jump: what is not above a fixed threshold counts as 0."""

from __future__ import annotations

from torch import Tensor

from clipsteer.dictionaries.base import Dictionary

THRESHOLD = 0.01


class Jump(Dictionary):
    """f_j = pre_j where pre_j > THRESHOLD, else 0."""

    architecture = "jump"

    def activate(self, pre: Tensor) -> Tensor:
        """(n, m) -> (n, m), in place."""
        return pre.mul_(pre > THRESHOLD)


DICTIONARY = Jump
'''
    },
    {
        "clipsteer/dictionaries/registry.py": (('"matryoshka")', '"matryoshka", "jump")'),),
        "clipsteer/sections/dictionaries.py": (
            (
                '        "topk",\n        "batchtopk",',
                '        "topk",\n        "jump",\n        "batchtopk",',
            ),
            (
                '        "ReLU with L1; Top-K; ',
                '        "ReLU with L1; Top-K; ReLU with a jump; ',
            ),
        ),
        "tests/workflow/test_house.py": (
            ('("vanilla", "topk", "batch', '("vanilla", "topk", "jump", "batch'),
        ),
    },
)

# Images whose names say it all: train_1_0_photo.jpg is a training image of target 1 and spurious value 0.
LAYOUT = Example(
    "A layout",
    {
        "clipsteer/data/layouts/coded.py": '''"""Images called <split>_<target>_<spurious>_<anything>, in one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clipsteer.data import files, labels
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FileTree


def read(tree: FileTree, *, class_names: Sequence[str] = ("0", "1")) -> pl.DataFrame:
    """Rows (path, split, target, spurious, class, text) in the order of the names.

    Raises:
        ClipsteerError: a name has no split and two labels, or a label is not 0 or 1.
    """
    listing = sorted(files.listing_of(tree))
    names = labels.class_list(class_names)
    parts = [path.rpartition("/")[2].split("_") for path in listing]
    for path, part in zip(listing, parts, strict=True):
        if len(part) < 4:
            raise ClipsteerError(
                f"{path}: found no split and two labels in its name, expected a name such as "
                "train_1_0_photo.jpg. Rename it or take it out of the folder."
            )
    images = pl.Series(listing, dtype=pl.String())
    columns = [pl.Series([part[i] for part in parts], dtype=pl.String()) for i in range(3)]
    target = labels.binary(columns[1], "names of images", images)
    rows = pl.DataFrame(
        {
            "path": images,
            "split": labels.splits(columns[0], "names of images", images),
            "target": target,
            "spurious": labels.binary(columns[2], "names of images", images),
            "class": target.replace_strict(dict(enumerate(names)), return_dtype=pl.String()),
            "text": pl.repeat("", len(images), eager=True),
        },
        schema=labels.ROW_SCHEMA,
    )
    return files.fill_text(rows, tree, listing)


def canonical(paths: pl.Series, listing: Sequence[str], options: Mapping[str, Any]) -> pl.Series:
    """The names, wherever the folder lies."""
    return paths.str.split("/").list.last()
'''
    },
    {
        "clipsteer/data/forms.py": (
            (
                '    "folder": Form(\n',
                '    "coded": Form("images called train_1_0_photo.jpg ...", (f"**/{CAPTIONS}",), {}),\n'
                '    "folder": Form(\n',
            ),
        ),
        "clipsteer/sections/data.py": (
            (
                '    "imagenet",\n    "folder",\n',
                '    "imagenet",\n    "coded",\n    "folder",\n',
            ),
        ),
        "docs/configuration.md": (
            (
                "| `folder` | a manifest and images,",
                "| `coded` | images called `<split>_<target>_<spurious>_<anything>` | |\n"
                "| `folder` | a manifest and images,",
            ),
        ),
        "tests/workflow/test_house.py": (
            ('"imagenet", "folder")', '"imagenet", "coded", "folder")'),
        ),
    },
)

# The residual stream before a layer: its output is resid_post of the layer below.
HOOK_POINT = Example(
    "A hook point",
    {},
    {
        "clipsteer/sections/values.py": (
            (
                'Literal["resid_post", "mlp_out"]',
                'Literal["resid_pre", "resid_post", "mlp_out"]',
            ),
        ),
        "clipsteer/activations/extract.py": (
            ('("resid_post", "mlp_out")', '("resid_pre", "resid_post", "mlp_out")'),
        ),
        "clipsteer/backbones/base.py": (
            (
                "                stream, mlp_out = block(layer, stream)\n",
                "                before = stream\n"
                "                stream, mlp_out = block(layer, stream)\n",
            ),
            (
                '                for point, values in (("resid_post", stream), ("mlp_out", mlp_out)):\n',
                '                passed = {"resid_pre": before, "resid_post": stream, "mlp_out": mlp_out}\n'
                "                for point, values in passed.items():\n",
            ),
            (
                "        check_layer(layer, self.n_layers)\n",
                "        if layer != -1:  # before all layers\n"
                "            check_layer(layer, self.n_layers)\n",
            ),
        ),
        "clipsteer/steering/inputs.py": (
            (
                "    return layer\n",
                '    return layer - (hook_point == "resid_pre")\n',
            ),
        ),
    },
)

EXAMPLES = (CONFIG_KEY, STEP, ARCHITECTURE, LAYOUT, HOOK_POINT)
