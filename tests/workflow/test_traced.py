"""Real runs, traced: every function of the project that ran in a job is in that job's fingerprint."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from clipsteer.runner.fingerprint import inspect_code
from tests.runner.traces import Ran, left_out
from tests.workflow.everything import STABILITY, SWEEP, TABLE, TYPOGRAPHIC, anew
from tests.workflow.real_trees import celeba_tree, make_model, real_config
from tests.workflow.runs import DROPPING, WorkingCopy, merged
from tests.workflow.traced import Traced


def test_every_function_that_ran_counts(everything: WorkingCopy, tmp_path: Path) -> None:
    place = everything.folder.parent
    traced, copy = Traced(place), everything.twin(tmp_path)
    # what else a configuration may ask for
    more = merged(anew(place), DROPPING)
    more["dictionaries"]["signs_theirs"] = more["dictionaries"]["theirs"]
    more["typographic"]["dictionaries"] = ["signs_topk", "signs_theirs", "neurons"]
    traced.run(copy, TABLE, SWEEP, STABILITY, TYPOGRAPHIC, config=more).ok()
    told = pl.read_csv(copy.folder / TYPOGRAPHIC, infer_schema_length=None)
    assert {*told.filter(defence="sae")["dictionary"]} == {"signs_topk", "signs_theirs"}
    assert "typographic/dropped/attacked_table/signs_tuning/train_attacked.json" in copy.pointers()
    # once more with files of the user's, which take other ways
    files = real_config(make_model(tmp_path / "clip"), celeba_tree(tmp_path / "celeba"))
    pointers = [f"artifacts/refs/{name}.json" for name in ("model/model", "celeba/manifest")]
    traced.run(copy, *pointers, config=files).ok()

    jobs: dict[tuple[Path, tuple[str, ...], str], set[Ran]] = {}
    for script, modules, planned, ran in traced.jobs():
        jobs.setdefault((script, tuple(modules), planned), set()).update(ran)
    steps = set()
    for (script, modules, planned), found in jobs.items():
        code = inspect_code(script, traced.clone, modules)
        assert code.fingerprint == planned
        assert left_out(code, found, traced.clone, script) == [], script
        steps |= {script.stem for item in found if item.name in ("compute", "effect")}
    assert steps == {path.stem for path in (traced.clone / "workflow_scripts").glob("*.py")}
