"""What restoring costs: a step whose actions are all on record, and Snakemake around it.

Run in a working folder in which the target has been made, or will be (so that everything is restored):
python -m benchmarks.restore [TARGET] [--directory DIR] [--configfile FILE ...] [--rounds N] [--json FILE]

Three things are measured side by side: every job's own command when all its actions are restored, against
a bare `python -c pass` (the process itself); a whole run with artifacts/refs and results deleted, against the same
number of jobs in a DAG whose commands only touch their outputs (Snakemake itself); and a run that has
nothing to do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.lines import answer, new_file, positive, show, write_json

PROJECT = Path(__file__).resolve().parents[1]
# As many jobs in a row as the target's DAG has levels, each touching its output.
BARE = """
COUNT, DEPTH = {count}, {depth}


rule all:
    input:
        [f"out/{{i}}" for i in range(COUNT)],
    localrule: True


rule touch:
    input:
        lambda w: [] if int(w.i) < COUNT // DEPTH + 1 else f"out/{{int(w.i) - COUNT // DEPTH - 1}}",
    output:
        "out/{{i}}",
    shell:
        "touch {{output}}"
"""


def work_in(folder: Path) -> None:
    """Go to a working folder beside the checkout, which gets the checkout's configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROJECT / "config.yaml", folder)
    os.chdir(folder)


def timed(command: Sequence[str]) -> float:
    """Seconds that a command took. Raises SystemExit with the end of what it said if it failed."""
    began = time.monotonic()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout[-2000:]}\n{command[:4]} ended with {done.returncode}")
    return time.monotonic() - began


def snakemake(*words: str, configfiles: Sequence[str] = ()) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    command += ["--workflow-profile", str(PROJECT / "profiles/default"), *words]
    return [*command, "--configfile", *configfiles] if configfiles else command


def jobs(target: str, configfiles: Sequence[str]) -> list[dict[str, Any]]:
    """Every job of the target's DAG, as the dry run describes it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "dag.json")
        subprocess.run(
            snakemake(target, "--cores", "1", "-n", "--quiet", "all", configfiles=configfiles),
            check=True,
            env={**os.environ, "CLIPSTEER_DESCRIBE": str(place)},
        )
        found: list[dict[str, Any]] = json.loads(place.read_text(encoding="utf-8"))["jobs"]
    return [job for job in found if job["command"]]


def bare_run(count: int, depth: int, cores: int) -> float:
    """A run of `count` jobs that only touch a file."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Snakefile").write_text(BARE.format(count=count, depth=depth))
        words = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--scheduler", "greedy"]
        return timed(["env", "-C", folder, *words])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", nargs="?", default="results/celeba_table.csv")
    parser.add_argument("--configfile", nargs="+", default=[])
    parser.add_argument("--directory", type=Path, help="the working folder, if not this one")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--cores", type=positive, default=os.cpu_count())
    parser.add_argument("--json", type=new_file)
    arguments = parser.parse_args()
    configfiles = [str(Path(file).resolve()) for file in arguments.configfile]
    out = arguments.json.resolve() if arguments.json else None
    if arguments.directory:
        work_in(arguments.directory)
    run = snakemake("--cores", str(arguments.cores), arguments.target, configfiles=configfiles)
    subprocess.run(run, check=True)
    found = jobs(arguments.target, configfiles)

    starts, steps = [], []
    for _ in range(arguments.rounds):
        for job in found:
            starts.append(timed([sys.executable, "-c", "pass"]))
            steps.append(timed(["bash", "-c", job["command"]]))
    idle, restored, bare = [], [], []
    for _ in range(arguments.rounds):
        idle.append(timed(run))
        for name in ("artifacts/refs", "results"):
            shutil.rmtree(name)
        restored.append(timed(run))
        bare.append(bare_run(len(found), depth=10, cores=arguments.cores))
    each = (statistics.median(restored) - statistics.median(bare)) / len(found)
    result = {
        "jobs": len(found),
        "python_start_ms": 1000 * statistics.median(starts),
        "restored_step_ms": 1000 * statistics.median(steps),
        "slowest_restored_step_ms": 1000 * max(steps),
        "nothing_to_do_s": statistics.median(idle),
        "restore_everything_s": statistics.median(restored),
        "bare_snakemake_s": statistics.median(bare),
        "restored_step_beyond_snakemake_ms": 1000 * each,
    }
    print(f"| median of {arguments.rounds} rounds, {len(found)} jobs | |\n|---|---|")
    for name, value in result.items():
        print(f"| {name.replace('_', ' ')} | {value:.4g} |")
    lines = [
        answer("restore/step", result["restored_step_beyond_snakemake_ms"]),
        answer("restore/idle", result["nothing_to_do_s"]),
    ]
    print()
    show(lines)
    write_json(out, lines, **result)


if __name__ == "__main__":
    main()
