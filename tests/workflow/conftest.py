"""Runs that many tests look at: made once, also where several workers of pytest-xdist ask for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workflow.everything import TARGETS, anew, released
from tests.workflow.real_trees import celeba_tree, make_model, real_config
from tests.workflow.runs import DROPPING, Outcome, WorkingCopy, making
from tests.workflow.traced import Traced

LOOKS = (
    *("results/celeba_features/index.html", "results/celeba_top_images.png"),
    *("results/celeba_edited_images.png", "results/celeba_steerability.csv"),
)
_PLACES = 2 * 2  # a trained dictionary and the neurons, two layers
Share = Callable[[str, Callable[[WorkingCopy], Outcome]], WorkingCopy]


@pytest.fixture
def one_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """No code is looked at: what a recipe has of the configuration is at issue."""
    monkeypatch.setattr("clipsteer.workflow.recipes.code_fingerprint", lambda *words: "code")


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A temporary folder that all workers of pytest-xdist share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def share(common: Path) -> Share:
    """`share(name, act)`: a working copy on which `act` has been done, successfully, by someone."""

    def made(name: str, act: Callable[[WorkingCopy], Outcome]) -> WorkingCopy:
        place = common / name
        with making(place) as mine:
            copy = WorkingCopy(place / "copy", place / "store")
            if mine:
                (place / "said").write_text(act(copy).ok().text)
        return copy

    return made


@pytest.fixture(scope="session")
def finished(share: Share) -> WorkingCopy:
    """Both tables of the tiny configuration; not to be changed: take a `twin` of it."""
    return share("finished", lambda copy: copy.run())


@pytest.fixture(scope="session")
def dropping(share: Share) -> WorkingCopy:
    """The same from nothing, but that shards go, and on other numbers of threads."""
    threads = ["pretrain_clip=1", "extract_activations=2", "train_dictionary=2"]
    return share(
        "dropping", lambda copy: copy.run(config=DROPPING, options=["--set-threads", *threads])
    )


@pytest.fixture(scope="session")
def real(share: Share) -> WorkingCopy:
    """A table from a CelebA tree and a random CLIP, both of them files; not to be changed."""

    def act(copy: WorkingCopy) -> Outcome:
        place = copy.folder.parent
        config = real_config(make_model(place / "clip"), celeba_tree(place / "celeba"))
        results = ("results/celeba_table.csv", "results/celeba_dictionaries.csv")
        return copy.run(*results, config=config)

    return share("real", act)


@pytest.fixture(scope="session")
def looked(finished: WorkingCopy, share: Share) -> WorkingCopy:
    """Page, figure and steerability, beside the finished table; not to be changed."""

    def act(copy: WorkingCopy) -> Outcome:
        shutil.copytree(finished.store, copy.store, dirs_exist_ok=True)
        shutil.copytree(finished.folder, copy.folder, dirs_exist_ok=True)
        outcome = copy.run(*LOOKS)
        looked_at = (
            2 * _PLACES + 4
        )  # top images and single ones; painted pairs, the page, two figures
        steered = _PLACES + 4  # and random directions at two layers, the vocabulary and the table
        assert outcome.ok().counts == (looked_at + steered, 0)
        return outcome

    return share("looked", act)


@pytest.fixture(scope="session")
def everything(share: Share) -> WorkingCopy:
    """Every result that there is, from nothing, by jobs that are traced; not to be changed."""

    def act(copy: WorkingCopy) -> Outcome:
        place = copy.folder.parent
        traced = Traced(place)
        traced.check_out()
        released(place, "grace")
        return traced.run(copy, *TARGETS, config=anew(place))

    return share("everything", act)


@pytest.fixture
def twin(finished: WorkingCopy, tmp_path: Path) -> WorkingCopy:
    """A copy of the finished working directory and of its store: to be changed."""
    return finished.twin(tmp_path)


@pytest.fixture
def fresh(tmp_path: Path) -> WorkingCopy:
    """An empty working directory with an empty store."""
    return WorkingCopy(tmp_path / "copy", tmp_path / "store")
