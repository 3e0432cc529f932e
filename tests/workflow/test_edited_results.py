"""A result that a person has edited is made again, and theirs is kept."""

from __future__ import annotations

import pytest

from clipsteer.store.objects import ObjectStore
from tests.workflow.runs import WorkingCopy

CELEBA, WATERBIRDS = "results/celeba_table.csv", "results/waterbirds_table.csv"


def test_theirs_is_kept(twin: WorkingCopy) -> None:
    table = twin.folder / CELEBA
    written, mine = table.read_bytes(), table.read_bytes() + b"my,own,row\n"
    table.write_bytes(mine)
    before = twin.results()
    # neither a dry run nor one of something else touches it
    assert "make_table" in twin.run(CELEBA, options=["--dry-run"]).ok().text
    assert twin.run(WATERBIRDS).ok().idle
    assert (table.read_bytes(), twin.results()) == (mine, before)

    outcome = twin.run(CELEBA).ok()
    assert outcome.counts == (0, 1)
    assert (
        f"{CELEBA} was edited: it is made again, and yours is now {CELEBA}.edited" in outcome.text
    )
    assert table.read_bytes() == written
    assert (twin.folder / f"{CELEBA}.edited").read_bytes() == mine
    assert twin.run(CELEBA).ok().idle


def test_what_a_killed_job_left_is_not_theirs(twin: WorkingCopy) -> None:
    table = twin.folder / CELEBA
    written = table.read_bytes()
    newer = b"from a newer configuration"  # exported, and killed before its pointer
    ObjectStore(twin.store).put_bytes(newer)
    table.write_bytes(newer)
    before = twin.results()
    assert twin.run(CELEBA).ok().counts == (0, 1)
    assert table.read_bytes() == written
    assert twin.results() == before


@pytest.mark.parametrize("name", ["celeba_layers.png", "celeba_table.md", "celeba_headline.json"])
def test_a_result_beside_the_table_comes_back(twin: WorkingCopy, name: str) -> None:
    """Where it is deleted or emptied; an empty file is nobody's."""
    path = twin.folder / "results" / name
    written, before = path.read_bytes(), twin.results()
    path.unlink()
    assert twin.run(CELEBA).ok().counts == (0, 1)
    path.write_bytes(b"")
    assert twin.run(CELEBA).ok().counts == (0, 1)
    assert path.read_bytes() == written
    assert twin.results() == before


def test_a_result_without_its_pointer(twin: WorkingCopy) -> None:
    (twin.folder / "artifacts/refs/celeba/table.json").unlink()
    table = twin.folder / CELEBA
    written = table.read_bytes()
    table.write_bytes(b"from elsewhere")
    assert twin.run(CELEBA).ok().counts == (0, 1)
    assert table.read_bytes() == written
    assert (twin.folder / f"{CELEBA}.edited").read_bytes() == b"from elsewhere"


def test_touching_is_no_run(twin: WorkingCopy) -> None:
    """--touch: theirs stays where it is, and is not up to date for having been touched."""
    table = twin.folder / CELEBA
    table.write_bytes(b"mine")
    before = twin.results()
    assert "was edited" not in twin.run(CELEBA, options=["--touch"]).ok().text
    assert (table.read_bytes(), twin.results()) == (b"mine", before)
    assert twin.run(CELEBA).ok().counts == (0, 1)
    assert (twin.folder / f"{CELEBA}.edited").read_bytes() == b"mine"
