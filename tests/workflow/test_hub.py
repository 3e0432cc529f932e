"""A model by its name on the hub, from a cache on disk: no network is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflow.real_trees import make_model
from tests.workflow.runs import Outcome, WorkingCopy

HEAD = "artifacts/refs/celeba/head.json"
COMMIT, OTHER = "0123456789" * 4, "abcdef0123" * 4


def publish(cache: Path, revision: str, commit: str, files: Path) -> None:
    """As a download leaves it: what a revision of who/clip is, and the files of that commit."""
    model = cache / "hub/models--who--clip"
    (model / "refs").mkdir(parents=True, exist_ok=True)
    (model / "refs" / revision).write_text(commit)
    (model / "snapshots").mkdir(exist_ok=True)
    (model / "snapshots" / commit).symlink_to(files)


def test_a_hub_model_is_taken_once_and_stays_while_its_name_does(
    fresh: WorkingCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commit is known only after the first run: that makes nothing stale. Another revision does."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    publish(tmp_path / "hub", "main", COMMIT, make_model(tmp_path / "clip"))

    def run(revision: str | None) -> Outcome:
        model = {"source": "who/clip", "revision": revision, "name": "clip-of-who"}
        return fresh.run(HEAD, config={"model": model})

    def commit() -> object:
        return fresh.members("model/model.json")["all"]["facts"]["commit"]

    assert run(None).ok().counts == (2, 0)
    assert commit() == COMMIT
    assert run(None).ok().idle
    for _ in range(2):  # it is in no cache, and no more the second time
        run("v2").refused("model.source", "who/clip", "v2")
    publish(tmp_path / "hub", "v2", OTHER, tmp_path / "clip")
    assert run("v2").ok().counts == (1, 1)  # the same files: its head is restored
    assert commit() == OTHER
    assert run(None).ok().counts == (0, 2)
    assert commit() == COMMIT
