from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest

from clipsteer.cli import plan
from clipsteer.cli.plan_words import closing, lines, show, snakemake_words
from clipsteer.errors import ClipsteerError
from clipsteer.lineage.foreseen import DagJob, Forecast, PlannedAction, PlannedJob, Remade
from clipsteer.lineage.guess import MORE, unknown_member
from clipsteer.lineage.reasons import Reason
from clipsteer.store.digest import digest_bytes

KEY = digest_bytes(b"key")
NO_REASON: dict[str, Any] = {
    "forced": False,
    "inputs_changed": False,
    "missing": [],
    "params_changed": False,
    "stale": "",
    "updated": [],
    "updated_by_jobs": [],
}


def job(rule: str, reason: dict[str, Any] | None = None, **wildcards: str) -> DagJob:
    return DagJob(rule, wildcards, "python x.py", True, NO_REASON | (reason or {}))


def action(step: str, member: str, verdict: Any, **more: Any) -> PlannedAction:
    return PlannedAction(step, "topk", member, verdict, **more)


def example() -> Forecast:
    train = job("train", dictionary="topk", block="layers_00-03")
    table = job("table", dataset="celeba")
    extract = job("extract", {"missing": ["artifacts/refs/x.json"]}, dataset="celeba", part="0")
    change = {"reasons": (Reason("config", "k", 8, 16),), "before": KEY, "seconds": 2.0}
    member = unknown_member(KEY, None)
    stand_in = member.outputs["dictionary"].digest
    inputs = (Reason("input", "topk", KEY, stand_in), Reason("input", "old", KEY, KEY[:-1] + "0"))
    read = {"before": KEY, "reasons": inputs, "seconds": 1.5}
    found = Forecast(
        [
            PlannedJob(job("paint"), [action("paint", "all", "fresh")]),
            PlannedJob(extract, [action("extract", f"train/0000{i}", "restored") for i in (0, 1)]),
            PlannedJob(
                train,
                [action("train", f"topk/layer_0{i}", "computed", **change) for i in (0, 1, 3)],
                ["topk/layer_04"],
            ),
            PlannedJob(
                table,
                [action("table", "all", "pending", waits=(KEY,), **read)],
            ),
        ]
    )
    found.origins |= {KEY: train.title, stand_in: train.title, KEY[:-1] + "0": extract.title}
    return found


def text(found: Forecast) -> str:
    return "\n".join("".join(piece for piece, _ in line) for line in lines(found))


def test_steps_in_the_order_of_the_dag() -> None:
    old, new = KEY.partition(":")[2][:12], (KEY[:-1] + "0").partition(":")[2][:12]
    assert (
        text(example())
        == f"""\
extract
  restored  celeba train: shards 00000-00001
            its pointer is missing

train
  computed  topk: layers 00-01, 03
            k (of train): 8 -> 16
  gone      topk: layer 04

table
  pending   celeba
            input old of extract celeba 0: {old} -> {new}
            depends on what comes out of train

fresh: paint 1
about 6.0 s of computing by earlier runs, at most 7.5 s; those had other settings or data
clipsteer: would compute between 3 and 4, restore between 2 and 3, remake 0, fresh 1"""
    )


def test_time_without_precedent_is_unknown() -> None:
    found = example()
    timed = found.jobs[2]
    new = PlannedJob(job("train", dictionary="second"), [action("train", "second", "computed")])
    found.jobs.append(new)
    rest = text(found).splitlines()[-3:-1]
    assert rest == [
        "time unknown: nothing on record to go by for train second",
        "all else took 6.0 s, at most 7.5 s in earlier runs",
    ]
    assert "about" not in text(found)
    assert found.as_json()["seconds"] == [6.0, None]
    found.jobs = [timed]
    assert found.as_json()["seconds"] == [6.0, 6.0]
    found.jobs = [
        PlannedJob(job(f"step{i}", dataset=name), new.actions) for i in (1, 2) for name in "abcd"
    ]
    assert "go by for step1; step2" in text(found)
    found.jobs = [PlannedJob(job("extract"), [action("extract", f"train/{MORE}", "pending")])]
    assert "time unknown" in text(found)
    found.jobs = [PlannedJob(job("extract"), [action("extract", "a", "fresh")])]
    assert "time" not in text(found)


def test_the_last_line() -> None:
    found = Forecast([PlannedJob(job("a"), [action("a", "all", "computed")])])
    assert closing(found) == "clipsteer: would compute 1, restore 0, remake 0, fresh 0"
    more = action("b", f"n/{MORE}", "computed")
    found.jobs.append(PlannedJob(job("b"), [more]))
    assert closing(found) == "clipsteer: would compute 1 or more, restore 0, remake 0, fresh 0"
    record = {"key": KEY, "step": "c", "run": {"seconds": 3.0, "label": "c x", "name": "y"}}
    found.remade = [Remade(record, "a", True, False), Remade(record, "b", False, True)]
    assert closing(found).endswith("remake between 1 and 2, fresh 0")
    assert found.seconds() == (3.0, 6.0)
    said = text(found)
    assert "remade    c y x\n            needed by a\n" in said
    assert "needed by b, if that is computed" in said
    assert "fault     c y x\n            its code has changed since" in said


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ({"missing": ["artifacts/refs/a.json", "results/a.csv"]}, "missing: results/a.csv"),
        ({"missing": ["artifacts/refs/a.json"]}, "its pointer is missing"),
        ({"params_changed": True, "updated_by_jobs": ["x"]}, "its recipe changed"),
        ({"inputs_changed": True}, "it has other input files"),
        ({"updated": ["raw.json"]}, "raw.json is newer than it"),
        ({"stale": "a.csv was edited", "params_changed": True}, "a.csv was edited"),
        ({"forced": True}, "its last run was interrupted"),
        ({"updated_by_jobs": ["x"]}, "a job before it runs"),
    ],
)
def test_why_snakemake_runs_a_job(reason: dict[str, Any], words: str) -> None:
    assert snakemake_words(NO_REASON | reason) == words


def test_plain_text_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show(example())
    assert capsys.readouterr().out == text(example()) + "\n"


def test_another_checkout_is_refused() -> None:
    words = f"{sys.executable} /elsewhere/workflow_scripts/x.py --pointer p.json --recipe "
    there = DagJob(
        "x", {}, words + '\'{"step": "x", "modules": [], "code": "c", "config": {}}\'', True
    )
    with pytest.raises(ClipsteerError, match="PYTHONPATH=/elsewhere"):
        plan._same_checkout([there])


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    plan.add(parser.add_subparsers())
    return parser.parse_args(["plan", *words])


@pytest.mark.parametrize(
    ("words", "targets", "files", "values"),
    [
        ("T --configfile a.yaml b.json", "T", "a.yaml b.json", ""),
        ("--configfile a.yaml T", "T", "a.yaml", ""),
        ("--configfile a.yaml odd T U", "T U", "a.yaml odd", ""),
        ("--configfiles a.yaml -C s=1 r={} T", "T", "a.yaml", "s=1 r={}"),
        ("--config s=1 T --configfile a.yaml U", "U T", "a.yaml", "s=1"),
        ("--configfile a.yaml -- b.json T", "b.json T", "a.yaml", ""),
        # what the workflow makes, there or not, is no config file
        ("--configfile a.yaml artifacts/refs/p.json", "artifacts/refs/p.json", "a.yaml", ""),
        ("--configfile a.yaml ./results/h.json", "./results/h.json", "a.yaml", ""),
        ("--configfile a.yaml results/t.csv", "results/t.csv", "a.yaml", ""),
    ],
)
def test_targets_among_the_words_of_options(
    words: str,
    targets: str,
    files: str,
    values: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "artifacts/refs").mkdir(parents=True)
    for name in ("a.yaml", "b.json", "odd", "artifacts/refs/p.json"):
        (tmp_path / name).write_text("{}")
    arguments = parsed(*words.split())
    plan.sort_words(arguments)
    found = (arguments.targets, arguments.configfile, arguments.config)
    assert tuple(map(" ".join, found)) == (targets, files, values)


@pytest.mark.parametrize(
    "words", ["x --configfile here/nowhere.yaml", "--configfile {here} here/nowhere.yaml x"]
)
def test_a_config_file_that_is_not_there(words: str) -> None:
    arguments = parsed(*words.format(here=__file__).split())
    with pytest.raises(ClipsteerError, match=r"here/nowhere\.yaml: found no such file"):
        arguments.run(arguments)


def test_what_snakemake_says_is_cut_to_the_point() -> None:
    said = """Using workflow specific profile x for setting default command line arguments.
Config file config.yaml is extended by additional config specified via the command line.
WorkflowError in file "/x/rules/common.smk", line 42:
the configuration has 1 fault:
  - a: b
  File "/x/rules/common.smk", line 42, in <module>
"""
    assert plan._complaint(said) == "the configuration has 1 fault:\n  - a: b"
    said = "SNAKEMAKE\n  Date: today\nBuilding DAG of jobs...\nMissingRuleException:\nNo rule.\n"
    assert plan._complaint(said) == "MissingRuleException:\nNo rule."
    said = 'SNAKEMAKE\n  Date: today\n\nWorkflowError:\nNo rule.\n  File "/x/a.py", line 4, in b\n'
    assert plan._complaint(said) == "No rule."
