"""Big DAGs: a dry run and a plan at the paper's full scale, restoring 1,000 finished steps, reading the rules.

    python -m benchmarks.dags [--quick] [--single] [--rounds N] [--json FILE]

Full scale is config/paper.yaml: 12 layers, all of its dictionaries, and the folders of CelebA, Waterbirds and
ImageNet-1k with as many files as they have (1.5 million, empty: `snakemake -n` asks for each file's size and
times, and opens none that it has hashed before). The first dry run, which hashes them all, is shown beside.
Finished steps are real ones of the tiny configuration, with more layers and dictionaries; they are made once,
then `artifacts/refs` and `results` are deleted. How layers are cut into jobs is no part of a key, so the
1,000 actions that few jobs made are restored by as many as the default's cut gives; with `--single` by 1,000 jobs
too, which takes minutes more. What a submitted job pays to read the rules is in processor time, the rest in
wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.lines import Line, answer, cpu_of_children, new_file, positive, show, write_json
from benchmarks.restore import PROJECT, snakemake, timed, work_in

PAPER, TINY = str(PROJECT / "config/paper.yaml"), str(PROJECT / "config/tiny.yaml")
IMAGENET, CELEBA, WATERBIRDS = 1_281_167, 202_599, 11_788
#: Layers and dictionaries of the finished steps: each trains, evaluates, counts, selects, ablates.
LAYERS, SAES, STEPS = 10, 20, 5


def images(share: float) -> Iterator[str]:
    """Paths of the data sets' images, or of a share of them, folder by folder."""
    for number in range(round(share * IMAGENET)):
        yield f"imagenet/train/n{number % 1000:08d}/n{number % 1000:08d}_{number}.JPEG"
    for number in range(round(share * CELEBA)):
        yield f"celeba/img_align_celeba/{number + 1:06d}.jpg"
    for number in range(round(share * WATERBIRDS)):
        yield f"waterbirds/{number % 200:03d}.Bird/Bird_{number:05d}.jpg"


def lay_out(data: Path, share: float) -> int:
    """Empty files where the data sets have images; those that are there stay. Returns how many."""
    made, count = set(), 0
    for name in images(share):
        path = f"{data}/{name}"
        folder = os.path.dirname(path)
        if folder not in made:
            os.makedirs(folder, exist_ok=True)
            made.add(folder)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        count += 1
    for name in ("celeba/list_attr_celeba.txt", "celeba/list_eval_partition.txt"):
        (data / name).touch()
    (data / "waterbirds/metadata.csv").touch()
    return count


def model_folder(folder: Path) -> None:
    """What is looked at of a CLIP before it is loaded."""
    folder.mkdir(parents=True)
    vision = {"num_hidden_layers": 12, "hidden_size": 768, "image_size": 224, "patch_size": 32}
    config = {"model_type": "clip", "vision_config": vision}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # no tensor
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (folder / name).write_text("{}", encoding="utf-8")


def cpu_seconds(words: Sequence[str]) -> float:
    """Processor time of a command: the least of three."""
    taken = []
    for _ in range(3):
        before = cpu_of_children()
        subprocess.run(words, check=True, capture_output=True)
        taken.append(cpu_of_children() - before)
    return min(taken)


def paper(folder: Path, shares: Sequence[float], rounds: int) -> tuple[list[Line], dict[str, Any]]:
    """Dry runs, plans and what reading the rules takes, as the data sets grow."""
    work_in(folder)
    model_folder(Path(yaml.safe_load(Path(PAPER).read_text())["model"]["source"]))
    dry = snakemake("--cores", "2", "-n", "--quiet", "rules", configfiles=[PAPER])
    plan = [sys.executable, "-m", "clipsteer", "plan", "--configfile", PAPER]
    plan += ["--snakefile", str(PROJECT / "Snakefile")]
    parse = snakemake("--list-rules", "--mode", "remote", configfiles=[PAPER])
    os.environ["PYTHONPATH"] = str(PROJECT)
    rows = []
    for share in shares:
        row = {"images": lay_out(Path("data"), share), "parse_cpu_s": cpu_seconds(parse)}
        if share == shares[-1]:
            row["first_dry_run_s"] = timed(dry)
            row["dry_run_s"] = statistics.median(timed(dry) for _ in range(rounds))
            row["plan_s"] = statistics.median(timed(plan) for _ in range(rounds))
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    times = rows[-1]["parse_cpu_s"] / rows[0]["parse_cpu_s"]
    lines = [answer("dags/parse", times, f"{rows[0]['parse_cpu_s']:.2f} s at 1 x")]
    if shares[-1] == 1.0:
        beside = f"{rows[-1]['first_dry_run_s']:.0f} s the first time"
        lines.append(answer("dags/dry-run", rows[-1]["dry_run_s"], beside))
        lines.append(answer("dags/plan", rows[-1]["plan_s"]))
    return lines, {"paper": rows}


def many(per_job: int, saes: int) -> dict[str, Any]:
    """The tiny configuration with so many layers and dictionaries, laid over config/tiny.yaml."""
    training = {"expansion": 2, "k": 4, "epochs": 1, "batch_size": 160, "warmup_steps": 1}
    training |= {"lr": 2e-3, "final_lr": 0.0, "clip_norm": 1.0, "mse": "normalised"}
    training |= {"ghost_grads": False, "dead_window": 100, "buffer_mb": 1}
    names = [f"topk_{i}" for i in range(saes)]
    return {
        "model": {"tiny": {"worlds": ["celeba"], "vision_layers": LAYERS, "steps": 2}},
        "activations": {"layers": "all"},
        "dictionaries": {
            name: {
                "architecture": "topk",
                "trained_on": "celeba",
                "hook_point": "resid_post",
                "training": {**training, "lr": 2e-3 + 1e-5 * number},
            }
            for number, name in enumerate(names)
        },
        "steering": {"thresholds": {"low": 0.1, "high": 1.0, "points": 3}, "random_seeds": 1},
        "tables": {"celeba": names, "waterbirds": []},
        "jobs": {"layers_per_job": per_job},
    }


def finished(folder: Path, saes: int, single: bool) -> tuple[list[Line], dict[str, Any]]:
    """What restoring many finished steps takes, in jobs of several actions and, if asked, of one."""
    work_in(folder)
    cores, target = str(os.cpu_count()), "results/celeba_table.csv"
    found: dict[str, Any] = {"wanted": LAYERS * saes * STEPS}
    cuts = {"all": LAYERS, "default": 3} | ({"single": 1} if single else {})
    for name, per_job in cuts.items():
        Path(f"{name}.yaml").write_text(yaml.safe_dump(many(per_job, saes)), encoding="utf-8")
        run = snakemake("--cores", cores, target, configfiles=[TINY, f"{name}.yaml"])
        for place in ("artifacts/refs", "results"):
            shutil.rmtree(place, ignore_errors=True)
        before = cpu_of_children()
        found[f"{name}_s"] = timed(run)
        found[f"{name}_cpu_s"] = cpu_of_children() - before
        logs = [path.read_text(encoding="utf-8") for path in Path("logs").rglob("*.log")]
        counts = re.findall(r"computed=(\d+) restored=(\d+)", "\n".join(logs))
        found[f"{name}_jobs"] = len(counts)
        found[f"{name}_computed"] = sum(int(computed) for computed, _ in counts)
        found[f"{name}_restored"] = sum(int(restored) for _, restored in counts)
        shutil.rmtree("logs")
        print(found, file=sys.stderr, flush=True)
        if name != "all" and found[f"{name}_computed"]:
            raise SystemExit(f"{found[f'{name}_computed']} actions were computed, expected none")
    found["nothing_s"] = timed(run)
    lines = []
    if found["default_restored"] >= 1000:
        for key, name in (("restore", "default"), ("restore-jobs", "single")):
            if name not in cuts:
                continue
            cells = (found[f"{name}_{cell}"] for cell in ("restored", "jobs", "cpu_s"))
            beside = "{} in {} jobs, {:.0f} s of processor".format(*cells)
            lines.append(answer(f"dags/{key}", found[f"{name}_s"], beside))
    lines.append(Line("nothing to do, as many jobs", found["nothing_s"], "", None, "s"))
    return lines, {"finished": found}


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--quick", action="store_true", help="a twentieth of the images, 60 steps")
    words.add_argument("--single", action="store_true", help="restore jobs of one action too")
    words.add_argument("--rounds", type=positive, default=3, help="(%(default)s)")
    words.add_argument("--json", type=new_file, metavar="FILE", help="write the numbers there too")
    given = words.parse_args(argv)
    out = given.json.resolve() if given.json else None
    shares, saes = ((0.0005, 0.05), 1) if given.quick else ((0.01, 1.0), SAES)
    failures = (
        {} if given.single else {"dags/restore-jobs": "takes minutes: benchmarks.dags --single"}
    )
    if given.quick:
        given.rounds = 1
        keys = ("dags/dry-run", "dags/plan", "dags/restore", "dags/restore-jobs")
        failures = dict.fromkeys(keys, "a twentieth of the images and 60 steps in the quick run")
    with tempfile.TemporaryDirectory() as scratch:
        lines, more = finished(Path(scratch, "finished"), saes, given.single)
        again, about = paper(Path(scratch, "paper"), shares, given.rounds)
        os.chdir(scratch)
    lines = [*again, *lines]
    print()
    show(lines)
    write_json(out, lines, failures, **more, **about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
