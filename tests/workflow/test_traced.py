"""A real run, traced: every function of the project that ran in a job is in that job's fingerprint."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from clipsteer.runner.fingerprint import inspect_code
from tests.runner.traces import Ran, left_out
from tests.staleness.grounds import PAINTED
from tests.staleness.scene import Scene
from tests.workflow.real_trees import celeba_tree, make_model, real_config
from tests.workflow.released_trees import imported, prisma_layer
from tests.workflow.runs import WorkingCopy, merged

# Python runs this at the start of every job and of the warm worker, as the checkout is on their path.
TRACER = """
import atexit, json, os, runpy, sys, threading

seen = set()


def look(frame, event, argument):
    seen.add(frame.f_code)  # and nothing of its lines


def tell():
    sys.settrace(None)
    recipe = json.loads(sys.argv[sys.argv.index("--recipe") + 1])
    kept = [c for c in list(seen) if c.co_filename.startswith({root!r} + os.sep)]
    outside = ("clipsteer/store/", "clipsteer/runner/", "clipsteer/errors.py", "sitecustomize.py")
    kept = [c for c in kept if not c.co_filename[len({root!r}) + 1 :].startswith(outside)]
    told = [(c.co_filename, c.co_name, c.co_firstlineno, c.co_flags) for c in kept]
    with open(os.path.join({place!r}, f"{{os.getpid()}}.json"), "w") as file:
        json.dump([sys.argv[0], recipe["modules"], recipe["code"], told], file)


def trace():
    threading.settrace(look)
    sys.settrace(look)


def run_path(script, **options):
    # in a fork of the worker, which ends without a word
    trace()
    try:
        return untraced(script, **options)
    finally:
        tell()


if any("workflow_scripts" in word for word in sys.orig_argv):
    atexit.register(tell)
    trace()
elif "clipsteer.runner.warmer" in sys.orig_argv:
    untraced, runpy.run_path = runpy.run_path, run_path
"""
EVERY_STEP = {
    "activations": {"layers": [0], "keep": False},
    "model": {"tiny": {"steps": 6}},
    "steering": {"shuffles": 2},
    "tables": {"celeba": ["topk", "theirs"], "waterbirds": []},
    "typographic": {
        "benchmarks": ["signs_ends"],
        "dictionaries": ["signs_topk", "signs_theirs", "neurons"],
    },
    "dictionaries": {"topk": {"grid": {"k": [2, 4]}, "choose": "rule", "rule": {"max_l0": 1000}}},
    "sweep": {"steer": True},
}
TABLES = (
    "results/celeba_table.csv",
    "results/celeba_negative_control.csv",
    "results/celeba_baselines.csv",
    "results/celeba_pairs.png",
    "results/celeba_storage.csv",
    "results/table1.csv",
    "results/celeba_features/index.html",
    "results/celeba_top_images.png",
    "results/celeba_edited_images.png",
    "results/celeba_steerability.csv",
    "results/typographic_table.csv",
    "results/typographic_examples.png",
    "results/typographic_top_images.png",
    "results/celeba_dictionaries.csv",
    "results/celeba_sparsity.csv",
    "results/general_dictionaries.csv",
    "results/celeba_sweep.csv",
    "results/celeba_stability.csv",
)


def test_every_function_that_ran_counts(tmp_path: Path) -> None:
    scene, place = Scene.new(tmp_path, PAINTED), tmp_path / "traces"
    place.mkdir()
    tracer = TRACER.format(root=str(scene.clone), place=str(place))
    (scene.clone / "sitecustomize.py").write_text(tracer)
    copy = WorkingCopy(scene.clone, scene.store, base=scene.clone)
    released = imported(prisma_layer(tmp_path / "theirs", 0))
    theirs = {"dictionaries": {"theirs": released, "signs_theirs": released}}
    started = 'exec "$@"'  # as a process of its own, whose worker is one too
    copy.run(*TABLES, config=merged(EVERY_STEP, theirs), script=started).ok()
    told = pl.read_csv(scene.clone / "results/typographic_table.csv", infer_schema_length=None)
    assert {*told.filter(defence="sae")["dictionary"]} == {"signs_topk", "signs_theirs"}
    assert "typographic/dropped/attacked_table/signs_tuning/train_attacked.json" in copy.pointers()
    # once more with files of the user's, which take other ways
    files = real_config(make_model(tmp_path / "clip"), celeba_tree(tmp_path / "celeba"))
    pointers = [f"artifacts/refs/{name}.json" for name in ("model/model", "celeba/manifest")]
    copy.run(*pointers, config=files, script=started).ok()

    jobs: dict[tuple[str, tuple[str, ...], str], set[Ran]] = {}
    for path in place.iterdir():
        script, modules, planned, told = json.loads(path.read_text())
        jobs.setdefault((script, tuple(modules), planned), set()).update(Ran.of(*t) for t in told)
    steps = set()
    for (script, modules, planned), ran in jobs.items():
        code = inspect_code(Path(script), scene.clone, modules)
        assert code.fingerprint == planned
        assert left_out(code, ran, scene.clone, Path(script)) == [], script
        steps |= {Path(script).stem for item in ran if item.name in ("compute", "effect")}
    assert steps == {path.stem for path in (scene.clone / "workflow_scripts").glob("*.py")}
