"""A job as its words say it: what it makes of pointers that it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.runner.jobs import job_of, parser
from clipsteer.store.pointers import Pointer, write_pointer

WORDS = (
    *("--recipe", '{"config": {}}', "--pointer", "out.json", "--store", "store"),
    *("--input", "a=a.json", "--inputs", "more", "b.json", "c.json", "--after", "d.json", "a.json"),
)


def test_every_pointer_that_is_beyond_mending_is_put_away_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run finds them all, so the next one can make them all."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store/quarantine").mkdir(parents=True)
    for name in "abd":
        write_pointer(f"{name}.json", Pointer("step", chain=f"blake3:{name}"))
    for name in "ad":
        Path(f"{name}.json").write_bytes(Path(f"{name}.json").read_bytes()[:-9])
    with pytest.raises(ClipsteerError) as error:
        job_of(parser("").parse_args(WORDS))
    a, c, d = str(error.value).splitlines()
    assert a.startswith("a.json: found a damaged or edited pointer")
    assert c.startswith("c.json: cannot be read")
    assert d.startswith("d.json: found a damaged or edited pointer")
    assert [path.name for path in tmp_path.glob("*.json")] == ["b.json"]
