"""`python -m clipsteer plan` says what Snakemake then really does: asked, then run, edit by edit."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsteer.store.actions import ActionStore
from clipsteer.store.entries import load_entries
from clipsteer.store.objects import ObjectStore
from tests.lineage.agreement import Happened, agree, title
from tests.workflow.runs import BASE, TINY, Outcome, WorkingCopy, merged, nested

VANILLA = "artifacts/refs/dictionaries/vanilla/layers_00-02.json"
L1 = "dictionaries.vanilla.training.l1"
Plan = dict[str, Any]


def ask(
    copy: WorkingCopy, *targets: str, config: Mapping[str, Any] | None = None, options: str = ""
) -> Outcome:
    """Ask for the plan of a run with the same words."""
    words = copy.command(*targets, config=config)
    place = words.index("--snakefile")
    overlays = words[words.index("--configfile") :]
    return copy.asked("plan", *targets, *options.split(), *words[place : place + 2], *overlays)


def planned(copy: WorkingCopy, *targets: str, config: Mapping[str, Any] | None = None) -> Plan:
    plan: Plan = json.loads(ask(copy, *targets, config=config, options="--json").ok().text)
    assert plan["faults"] == []
    return plan


def keys(copy: WorkingCopy) -> set[str]:
    return set(ActionStore(copy.store).keys())


def plan_and_run(copy: WorkingCopy, *targets: str, config: Mapping[str, Any] | None = None) -> Plan:
    """Ask, run, and see that the run did what was said."""
    plan, before = planned(copy, *targets, config=config), keys(copy)
    outcome = copy.run(*targets, config=config).ok()
    happened = Happened()
    for job in plan["jobs"]:
        if job["runs"]:
            (log,) = re.findall(r" --log (\S+)", job["command"])
            happened.log(title(job), (copy.folder / log).read_text())
    agree(plan, happened)
    computed = [key for job in happened.computed.values() for key in job.values()]
    assert keys(copy) - before == set(computed)
    remade = happened.remade.total()
    assert outcome.counts == (len(computed) + remade, happened.restored.total())
    return plan


def found(plan: Plan) -> dict[str, Counter[str]]:
    """Verdict -> how many actions of each step."""
    counts: dict[str, Counter[str]] = {}
    for job in plan["jobs"]:
        for action in job["actions"]:
            counts.setdefault(action["verdict"], Counter())[action["step"]] += 1
    return counts


def reasons(plan: Plan, step: str) -> list[tuple[str, Any, Any]]:
    """(name, old, new) of what differs in the computed actions of a step."""
    return [
        (reason["name"], reason["old"], reason["new"])
        for job in plan["jobs"]
        for action in job["actions"]
        if action["step"] == step and action["verdict"] == "computed"
        for reason in action["reasons"]
    ]


def test_nothing_to_do(twin: WorkingCopy) -> None:
    plan = plan_and_run(twin)
    assert not any(job["runs"] for job in plan["jobs"])
    assert plan["counts"]["fresh"] == [len(keys(twin))] * 2
    text = ask(twin).ok().text
    assert text.endswith(
        f"clipsteer: would compute 0, restore 0, remake 0, fresh {len(keys(twin))}\n"
    )


def test_one_key_of_one_dictionary_and_back(twin: WorkingCopy) -> None:
    after = ("evaluate_dictionary", "feature_statistics", "select_features", "ablate_features")
    plan = plan_and_run(twin, config=nested(L1, 0.5))
    assert found(plan)["computed"] == {"train_dictionary": 2}
    assert found(plan)["pending"] == {**dict.fromkeys(after, 2), "make_table": 1}
    assert reasons(plan, "train_dictionary") == [("training.l1", 0.01, 0.5)] * 2
    assert plan["counts"]["computed"] == [2, 11]
    assert 0 < plan["seconds"][0] < plan["seconds"][1]
    back = plan_and_run(twin)
    assert found(back)["restored"] == {
        "train_dictionary": 2,
        **dict.fromkeys(after, 2),
        "make_table": 1,
    }
    assert back["counts"]["computed"] == [0, 0]


def test_a_key_of_the_tables_only(twin: WorkingCopy) -> None:
    plan = plan_and_run(twin, config=nested("model.name", "another name"))
    assert found(plan)["computed"] == {"make_table": 2}
    assert "pending" not in found(plan)
    assert reasons(plan, "make_table") == [("model", "tiny-clip-for-tests", "another name")] * 2


def test_a_changed_evaluation_size(twin: WorkingCopy) -> None:
    target = "artifacts/refs/celeba/neurons/layers_00-02/ablation.json"
    plan = plan_and_run(twin, target, config=nested("datasets.celeba.evaluation.test", 11))
    assert found(plan)["computed"] == {"build_manifest": 1}
    assert reasons(plan, "build_manifest") == [("evaluation.test", 10, 11)]
    assert plan["more"]  # there may be more shards than before


def test_results_and_pointers_deleted(twin: WorkingCopy) -> None:
    (twin.folder / "results/celeba_table.csv").unlink()
    plan = plan_and_run(twin)
    assert found(plan)["restored"] == {"make_table": 1}
    table = twin.members("celeba/table.json")["all"]["outputs"]
    ObjectStore(twin.store).path(table["headline"]["digest"]).unlink()
    shutil.rmtree(twin.folder / "artifacts/refs")
    shutil.rmtree(twin.folder / "results")
    plan = plan_and_run(twin)
    assert set(found(plan)) == {"restored"}
    assert plan["counts"]["restored"] == [len(keys(twin))] * 2
    # it has to be written out once more
    assert plan["counts"]["remade"] == [1, 1]


def test_lost_activations_and_a_changed_key(twin: WorkingCopy) -> None:
    objects = ObjectStore(twin.store)
    members = twin.members("waterbirds/activations/train/part_0.json")
    array = members["train/00000"]["outputs"]["resid_post/00"]["digest"]
    values = next(e for name, e in load_entries(objects, array).items() if name != "zarr.json")
    objects.path(values.digest).unlink()
    plan = plan_and_run(twin, VANILLA, config=nested(L1, 0.7))
    assert found(plan)["computed"] == {"train_dictionary": 2}
    assert [(r["label"], r["certain"]) for r in plan["remade"]] == [
        ("extract_activations waterbirds train/00000", True)
    ]


def test_an_empty_store(fresh: WorkingCopy) -> None:
    plan = planned(fresh)
    assert set(found(plan)) == {"computed"}
    assert plan["more"]  # how many shards there are is not known yet
    assert found(plan)["computed"]["train_dictionary"] == 4
    assert not fresh.store.exists()
    made = {path.name for path in fresh.folder.iterdir() if path.name[0] != "."}
    assert made == {"config.yaml", "overlay.yaml"}
    assert re.search(r"would compute \d+ or more, restore 0, remake 0, fresh 0$", ask(fresh).text)


def test_what_snakemake_refuses_is_passed_on(fresh: WorkingCopy) -> None:
    ask(fresh, "results/no_such_table.csv").refused("No rule to produce results/no_such_table.csv")
    ask(fresh, "results/celebra_table.csv").refused("Did you mean results/celeba_table.csv?")
    ask(fresh, "results/celeba_sweep.csv").refused("The configuration lacks what it is made of.")
    ask(fresh, config={"sede": 1}).refused("sede: unknown key", "Did you mean seed?")
    for target in (
        "celeba_table.csv",
        "celeba_table",
        "result/celeba_table.csv",
        "Celeba_Table.csv",
    ):
        outcome = ask(fresh, target)
        outcome.refused(f"No rule to produce {target}. Did you mean results/celeba_table.csv?")
    # a DAG that is built in part is not described: other targets were resolved first, or not
    outcome = ask(fresh, "nonsense", "results/celeba_table.csv")
    outcome.refused("No rule to produce nonsense.")
    assert "Traceback" not in outcome.text
    outcome = fresh.asked("plan", "--config", "seed", "results/celeba_table.csv")
    outcome.refused("--config: found 'seed', expected NAME=VALUE")


def test_the_same_words_as_for_snakemake(twin: WorkingCopy) -> None:
    words = ["--snakefile", str(BASE / "Snakefile"), "--configfile", str(TINY), "overlay.yaml"]
    assert "seed: 0 -> 1" in twin.asked("plan", *words, "--config", "seed=1").ok().text


def test_an_edited_result(twin: WorkingCopy) -> None:
    with (twin.folder / "results/celeba_table.csv").open("a") as table:
        table.write("my,own,row\n")
    assert "results/celeba_table.csv was edited" in ask(twin).ok().text
    assert found(plan_and_run(twin))["restored"] == {"make_table": 1}


def resources(copy: WorkingCopy, *options: str, config: Mapping[str, Any] | None = None) -> str:
    return ask(copy, options=" ".join(["--resources", *options]), config=config).ok().text


def row(text: str, rule: str) -> list[str]:
    """The cells of a rule: jobs, memory, asked for, CPU time, GPU time, disk."""
    (line,) = [line for line in text.splitlines() if line.startswith(rule + " ")]
    return re.split(r"  +", line)[1:]


def test_resources_before_there_is_a_manifest(fresh: WorkingCopy) -> None:
    jobs = {}
    for parts in (1, 3):
        config = merged(
            nested("jobs.extraction_parts", parts), nested("activations.images_per_shard", 9)
        )
        dag = planned(fresh, config=config)["jobs"]
        jobs[parts] = [job for job in dag if job["rule"] == "extract_activations"]
        assert row(resources(fresh, config=config), "extract_activations")[0] == str(
            len(jobs[parts])
        )
    assert len(jobs[3]) == 3 * len(jobs[1])
    disk = [sum(job["expected"]["disk_mb"] for job in found) for found in jobs.values()]
    assert disk[0] == pytest.approx(disk[1])


def test_resources_are_those_of_the_device_and_the_profile(
    fresh: WorkingCopy, tmp_path: Path
) -> None:
    rules = ("extract_activations", "train_dictionary")
    slurm = f"--workflow-profile {BASE}/profiles/slurm"
    some = yaml.safe_load((BASE / "profiles/slurm/config.yaml").read_text())
    some["set-resources"] = {"train_dictionary": {"gres": "gpu:a100:1"}}
    none = {name: value for name, value in some.items() if name != "set-resources"}
    for name, profile in (("some", some), ("none", none)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(profile))
    on_cpu = nested("runtime.device", "cpu")
    for options, config, on_gpu in (
        ("", None, [True, True]),  # as profiles/slurm
        (slurm, None, [True, True]),
        (f"--workflow-profile {tmp_path}/some", None, [False, True]),
        (f"--workflow-profile {tmp_path}/none", None, [False, False]),
        ("", on_cpu, [False, False]),
        (slurm, on_cpu, [False, False]),
    ):
        text = resources(fresh, *options.split(), config=config)
        assert [row(text, rule)[4] != "-" for rule in rules] == on_gpu
        assert [row(text, rule)[3] == "-" for rule in rules] == on_gpu
        assert ("GPU hours: 0.0." in text) == (not any(on_gpu))


def test_a_target_after_options_is_the_target(fresh: WorkingCopy) -> None:
    target = "artifacts/refs/celeba/world.json"
    for more in (
        ["--configfile", str(TINY), target],
        ["--configfile", str(TINY), "--config", "seed=1", target],
        ["--configfile", str(TINY), "--", target],
    ):
        text = fresh.asked("plan", "--snakefile", str(BASE / "Snakefile"), *more).ok().text
        assert text.endswith("would compute 1, restore 0, remake 0, fresh 0\n")
        assert "time unknown: nothing on record to go by for paint_world celeba" in text
