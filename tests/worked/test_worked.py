"""CONTRIBUTING.md's worked examples work: all of them at once in a copy of the checkout, dry and in part for real."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from clipsteer.runner.fingerprint import code_fingerprint
from tests.staleness.scene import SOURCES, check_out
from tests.worked.examples import CONFIG_KEY, EXAMPLES, Example
from tests.workflow.real_trees import photo
from tests.workflow.runs import BASE, WorkingCopy
from tests.workflow.test_house import BY_NAME

CONTRIBUTING = (BASE / "CONTRIBUTING.md").read_text(encoding="utf-8")
# What of a checkout the examples change, and tests of theirs import, beside what runs.
BESIDE = ("docs/configuration.md", "tests/workflow/test_house.py", "tests/backbones")

OVERLAY = """
datasets:
  mine:
    layout: coded
    root: pictures
    class_names: [cat, dog]
    group_names: [cat inside, cat outside, dog inside, dog outside]
    templates: ["a photo of a {}."]
activations: {hook_points: [resid_pre, resid_post]}
dictionaries:
  jumping:
    architecture: jump
    trained_on: mine
    hook_point: resid_pre
    training: {expansion: 4, batch_size: 16, warmup_steps: 1, ghost_grads: false, project: false}
tables: {mine: [jumping]}
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """A clone with all examples, whose user has pictures in the new layout."""
    folder = tmp_path_factory.mktemp("worked") / "clone"
    check_out(folder, (*SOURCES, *BESIDE))
    for example in EXAMPLES:
        example.apply(folder)
    python("-m", "clipsteer.sections.written", cwd=folder, checkout=folder)
    names = [
        f"{split}_{group // 2}_{group % 2}_{number}.png"
        for split in ("train", "val", "test")
        for group in range(4)
        for number in range(1 + (split == "train"))
    ]
    (folder / "pictures").mkdir()
    for seed, name in enumerate(names):
        (folder / "pictures" / name).write_bytes(photo("plain", seed))
    return WorkingCopy(folder, folder.parent / "store", base=folder)


def python(*words: str, cwd: Path, checkout: Path) -> None:
    """Run Python with the library of a checkout."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def config() -> dict[str, Any]:
    parsed = yaml.safe_load(OVERLAY)
    assert isinstance(parsed, dict)
    return parsed


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.section)
def test_the_page_names_the_files_that_it_takes(example: Example) -> None:
    section = CONTRIBUTING.partition(f"\n### {example.section}\n")[2]
    table = section.partition("| file | what |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    new = [re.sub(r"<\w+>", "*", row) for row in rows if "<" in row]
    assert sorted(row for row in rows if "<" not in row) == sorted(example.changed)
    assert len(new) == len(example.new)
    for pattern in new:
        assert fnmatch.filter(example.new, pattern)


def test_what_is_written_names_the_new_words(checkout: WorkingCopy) -> None:
    text = (checkout.folder / "docs/configuration.md").read_text(encoding="utf-8")
    for row in (
        "| `dictionaries.<name>.training.project` | `true`, `false` | `true` | whether ",
        "| `dictionaries.<name>.architecture` | `vanilla`, `topk`, `jump`, `batchtopk`, ",
        "| `dictionaries.<name>.hook_point` | `resid_pre`, `resid_post`, `mlp_out` | ",
        "| `datasets.<name>.layout` | `celeba`, `waterbirds`, `imagenet`, `coded`, `folder`, ",
    ):
        assert f"\n{row}" in text
    schema = yaml.safe_load((checkout.folder / "schemas/config.schema.yaml").read_text())
    assert schema["$defs"]["Training"]["properties"]["project"]["type"] == "boolean"


def test_all_examples_pass_a_dry_run(checkout: WorkingCopy) -> None:
    outcome = checkout.run(
        "results/mine_table.csv", config=config(), options=["--dry-run", "--printshellcmds"]
    )
    text = outcome.ok().text
    assert '"project":false' in text.replace("\\", "")
    assert '"architecture":"jump"' in text.replace("\\", "")
    assert '"hook_points":["resid_post","resid_pre"]' in text.replace("\\", "")


def test_a_new_layout_and_a_new_step_make_a_result(checkout: WorkingCopy) -> None:
    checkout.run("results/mine_groups.csv", config=config()).ok()
    table = pl.read_csv(checkout.folder / "results/mine_groups.csv")
    assert table.filter(split="train")["images"].to_list() == [2, 2, 2, 2]
    assert table["name"].unique(maintain_order=True).to_list() == [
        *("cat inside", "cat outside", "dog inside", "dog outside")
    ]
    assert table.filter(split="test")["images"].to_list() == [1, 1, 1, 1]
    # an image with a name that does not say it
    (checkout.folder / "pictures/holiday.png").write_bytes(photo("plain", 99))
    checkout.run("results/mine_groups.csv", config=config()).refused("holiday.png", "train_1_0_")
    (checkout.folder / "pictures/holiday.png").unlink()


def test_a_key_makes_the_steps_stale_that_use_it_and_no_other(tmp_path: Path) -> None:
    scripts = sorted((BASE / "workflow_scripts").glob("*.py"))
    modules = [f"{package}.{names[0]}" for package, names in BY_NAME.items()]
    found = []
    for folder in (tmp_path / "before", tmp_path / "after"):
        check_out(folder)
        if folder.name == "after":
            CONFIG_KEY.apply(folder)
        places = [folder / "workflow_scripts" / script.name for script in scripts]
        found.append({path.stem: code_fingerprint(path, folder, modules) for path in places})
    before, after = found
    assert {step for step in before if before[step] != after[step]} == {"train_dictionary"}


TRAINS = """
import numpy as np
import torch
from pathlib import Path
from clipsteer.dictionaries.files import load, save
from clipsteer.dictionaries.train import Data, train

x = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
settings = {"expansion": 4, "lr": 1e-3, "warmup_steps": 1, "ghost_grads": False}
found = []
for project in (True, False):
    dictionary, log = train(
        Data(lambda done: (x for _ in range(4)), lambda: x),
        {"architecture": "jump", **settings, "project": project}, steps=4, seed=0,
    )
    save(dictionary, Path(f"jump_{project}"), {})
    again = load(Path(f"jump_{project}"))
    code = again.encode(torch.from_numpy(x))
    assert type(again).__name__ == "Jump" and code[code != 0].min() > 0.01
    found.append(again.W_dec)
assert not found[0].equal(found[1])
"""


HOOKS = """
import torch
from pathlib import Path
from clipsteer.backbones.load import load_backbone
from tests.backbones.tiny import make_tiny, photos

tower = load_backbone(make_tiny(Path("clip")), device="cpu")
embeddings, kept = tower.run(tower.pixels(photos(2)), ["resid_pre", "resid_post"])
assert len(kept["resid_pre"]) == tower.n_layers
for layer, stream in enumerate(kept["resid_pre"]):
    assert layer == 0 or stream.equal(kept["resid_post"][layer - 1])
    torch.testing.assert_close(tower.resume(layer - 1, stream), embeddings)
"""


@pytest.mark.parametrize("code", [TRAINS, HOOKS], ids=["trains", "hooks"])
def test_a_new_architecture_key_and_hook_point_work(
    checkout: WorkingCopy, tmp_path: Path, code: str
) -> None:
    python("-c", code, cwd=tmp_path, checkout=checkout.folder)
