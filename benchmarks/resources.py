"""What jobs took, beside the model that `plan --resources` and the rules go by: the table of docs/performance.md.

    python benchmarks/resources.py [WORKING_COPY]          one with results of config.yaml, computed in it

Seconds are a mean job's, megabytes the largest action's, as the store's records say. The model's are for the
training split of `celeba` and the dictionary `celeba_topk`: the largest jobs. Fails where something took more
than is asked for.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import yaml

from clipsteer.lineage.resources import Model, known_images
from clipsteer.store.actions import ActionStore
from clipsteer.store.pointers import read_pointer
from clipsteer.store.roots import REFS, pointers_of

BASE = Path(__file__).parents[1]
LARGEST = {
    "dataset": "celeba",
    "split": "train",
    "part": "0",
    "dictionary": "celeba_topk",
    "block": "layers_00-02",
}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("copy", type=Path, nargs="?", default=Path.cwd())
    words.add_argument("--store", type=Path, help="default: artifacts in the working copy")
    arguments = words.parse_args()
    copy = arguments.copy
    config = yaml.safe_load((BASE / "config.yaml").read_text(encoding="utf-8"))
    model = Model(config, BASE, known_images(config, copy / REFS))

    jobs = Counter(read_pointer(pointer).step for pointer in pointers_of(copy))
    seconds: dict[str, float] = defaultdict(float)
    memory: dict[str, float] = defaultdict(float)
    actions = ActionStore(arguments.store or copy / "artifacts")
    for key in list(actions.keys()):
        record = actions.get(key) or {}
        step, run = record["step"], record["run"]
        seconds[step] += run["seconds"]
        memory[step] = max(memory[step], run["peak_rss_mb"])

    print("| step | jobs | measured, s | model, s | measured, MB | model, MB | asked for, MB |")
    print("|---|---|---|---|---|---|---|")
    beyond = []
    for step in seconds:
        mean, found = seconds[step] / max(1, jobs[step]), model.cost(step, LARGEST)
        asked, minutes = found.request(1)
        if memory[step] > asked or mean > 60 * minutes:
            beyond.append(step)
        print(
            f"| {step} | {jobs[step]} | {mean:.1f} | {found.seconds:.0f} "
            f"| {memory[step]:.0f} | {found.memory_mb:.0f} | {asked} |"
        )
    if beyond:
        raise SystemExit(f"more than is asked for: {', '.join(beyond)}")


if __name__ == "__main__":
    main()
