"""The profiles agree with each other, with the rules and with the pinned plugin."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from clipsteer import slurm
from clipsteer.lineage.resources import GPU_STEPS

BASE = Path(__file__).parents[2]
RULES = {
    name
    for path in (BASE / "rules").glob("*.smk")
    for name in re.findall(r"^\s*rule (\w+):", path.read_text(), re.M)
}


def profile(name: str) -> dict[str, Any]:
    text = (BASE / "profiles" / name / "config.yaml").read_text(encoding="utf-8")
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict)
    return loaded


def test_slurm_keeps_what_the_default_says() -> None:
    default, ours = profile("default"), profile("slurm")
    assert {key: ours[key] for key in default} == default


def test_slurm_names_rules_that_there_are() -> None:
    ours = profile("slurm")
    assert set(ours["set-resources"]) == set(GPU_STEPS) <= RULES
    assert {group.partition("=")[0] for group in ours["groups"]} <= RULES
    assert all(asked["gpu"] == 1 for asked in ours["set-resources"].values())


def test_every_setting_has_a_comment() -> None:
    lines = (BASE / "profiles/slurm/config.yaml").read_text(encoding="utf-8").splitlines()
    bare = [n for n, line in enumerate(lines) if line.strip() and "#" not in line]
    # a heading of a list or a second line of the same kind stands below one that is explained
    assert all("#" in "".join(lines[max(0, n - 3) : n + 2]) for n in bare)


def test_every_rule_asks_for_what_its_step_needs() -> None:
    for path in (BASE / "rules").glob("*.smk"):
        for body in re.split(r"^\s*rule ", path.read_text(), flags=re.M)[1:]:
            step = re.search(r'shell_words\("(\w+)"\)', body)
            assert step is not None
            assert f'**needs("{step[1]}")' in body, body.split(":")[0]


def test_the_plugin_is_the_one_whose_waiting_we_know() -> None:
    """clipsteer/slurm.py's longest wait, and how jobs are named, were read in this version."""
    project = tomllib.loads((BASE / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    assert extras["slurm"] == [
        "snakemake-executor-plugin-slurm==2.8.0",
        "snakemake-executor-plugin-slurm-jobstep==0.6.1",
    ]
    assert "2.8.0" in Path(slurm.__file__).read_text()
    assert "clipsteer[slurm]" in extras["dev"]
