"""The words of jobs' commands, as a shell reads them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsteer.workflow.commands import Commands, python_of, quoted
from clipsteer.workflow.inputs import Inputs
from clipsteer.workflow.outline import Outline
from tests.workflow.outlines import DEFAULT, outline, wildcards


def words(made: Outline, step: str = "build_head") -> list[str]:
    """Without the placeholders, which are Snakemake's to fill in."""
    text, _, placeholders = Commands(made, "py thon").shell_words(step).partition(" --recipe ")
    assert placeholders == (
        "{params.recipe:q} --chain={params.chain:q} --log {log} --threads {threads} "
    )
    return shlex.split(text.format())


def options(found: list[str], name: str) -> list[str]:
    return [found[i + 1] for i, word in enumerate(found) if word == name]


def test_a_job_is_told_the_runtime_settings_and_the_users_folders(tmp_path: Path) -> None:
    (tmp_path / "a clip").mkdir()
    shape = '{"model_type": "clip", "vision_config": {"num_hidden_layers": 6, "hidden_size": 8}}'
    (tmp_path / "a clip/config.json").write_text(shape)
    made = outline(
        {
            "store": {"root": "the store", "verify_below_mb": 2},
            "runtime": {"device": "cpu", "checkpoint_steps": 7},
            "datasets": {"celeba": {"root": "~/faces"}, "waterbirds": {"root": "/data/birds"}},
            "model": {"source": str(tmp_path / "a clip")},
            "vocabulary": {"source": "my words.txt"},
        },
        tmp_path,
    )
    found = words(made)
    script = str(made.base / "workflow_scripts/build_head.py")
    assert found[:3] == [f"PYTHONPATH={made.base}", "py thon", script]
    assert options(found, "--store") == ["the store"]
    assert options(found, "--device") == ["cpu"]
    assert options(found, "--checkpoint-steps") == ["7"]
    assert options(found, "--verify-below") == ["2097152"]
    assert options(found, "--root") == [
        f"celeba={Path.home()}/faces",
        "waterbirds=/data/birds",
        f"model={tmp_path}/a clip",
        "vocabulary=my words.txt",
    ]


def test_nothing_painted_or_pre_trained_here_has_a_folder() -> None:
    assert options(words(outline()), "--root") == []


def test_the_tiny_clip_is_given_its_worlds() -> None:
    worlds = DEFAULT["model"]["tiny"]["worlds"]
    manifests = [f"{w}=artifacts/refs/{w}/manifest.json" for w in worlds]
    painted = [f"world/{w}=artifacts/refs/{w}/world.json" for w in worlds]
    found = Commands(outline(), "python").learnt_from(wildcards(model="model"))
    assert options(found, "--input") == manifests + painted
    mine = outline({"datasets": {worlds[0]: {"root": "/data"}}})
    found = Commands(mine, "python").learnt_from(wildcards(model="model"))
    assert options(found, "--input") == manifests + painted[1:]
    assert Inputs(mine).learnt_from(wildcards(model="model")) == [
        pointer.partition("=")[2] for pointer in manifests + painted[1:]
    ]


@given(st.text(st.characters(blacklist_characters="\0", codec="utf-8")))
def test_any_word_comes_through_snakemake_and_the_shell(word: str) -> None:
    assert shlex.split(quoted(word).format()) == [word]


@pytest.mark.parametrize(("method", "python"), [("CONDA", "python"), ("APPTAINER", sys.executable)])
def test_an_environment_of_snakemakes_has_its_own_python(method: str, python: str) -> None:
    from snakemake.settings.types import DeploymentMethod

    methods: set[Any] = {DeploymentMethod[method]}
    workflow = SimpleNamespace(deployment_settings=SimpleNamespace(deployment_method=methods))
    assert python_of(workflow) == python
