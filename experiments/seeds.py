"""The whole pipeline under several seeds: does the finding hold in each? Writes docs/seeds.md.

Every seed paints other worlds, trains another CLIP and other dictionaries, and draws other controls. The
headline of each seed is kept in experiments/seeds/, and the page shows all that are there. Run from the project's
root, with the environment active: python experiments/seeds.py [--seeds 10 11 12] [--cores N]; without seeds
(--seeds) it only writes the page.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DATASET = "celeba"
DOCUMENT = Path("docs/seeds.md")
RECORDS = Path(__file__).parent / "seeds"
FRESH = range(10, 15)  # seeds below were seen while the default and its rules were chosen
LEAST = 5.0
HEAD = f"""# The finding under several seeds

Source: painted (synthetic). Each row is the whole pipeline with another `seed`: other worlds, another tiny CLIP,
other dictionaries, other random controls. `make seeds` runs seeds {FRESH[0]} to {FRESH[-1]} and writes this page;
each takes about as long as the default.

**The criterion**, fixed before any of these seeds was run: a seed *holds* if the relaxed gain on test is at least
{LEAST:.0f} points and the lower end of its 95 % interval is above 0. The gain is that of the summary: the smallest
accuracy of any group under the relaxed set, minus the unmodified model's in the group that is worst on validation,
at the place that validation chose ([method.md](method.md#10-measuring)). It is at most what that group itself
gains. What the strict condition gives, what falls and how neurons and random features do is reported beside it and
is no part of the criterion. Settings are those of `config.yaml`; every seed that was run is shown.

Seeds 0 to 9 do not count: 0 to 4 were seen while the default's dictionaries were chosen, and all ten under the
first edition's rule (`steering.strict: largest_sum`, bootstrap intervals of the minimum that are too narrow,
p-values of another quantity than the gain beside them). Its tables have gone, as they say nothing about today's
rules.

"""
SECTION = """Accuracies on {n_images} test images, in per cent; the strict rule is `{rule}`. *Gain*: with its interval
and one-sided p-value. *Largest fall*: of the group that loses most on test, in points.

| seed | unmodified, by group | worst on validation | condition | chosen there | features | gain | p | largest fall |
|---|---|---|---|---|---|---|---|---|
{places}

Under relaxed, on average over layers, accuracy in the group that is worst on validation under the targeted SAE (the
chosen dictionary at every layer) minus that under targeted neurons, and under random features of the same SAE, in
points:

| seed | SAE - neurons | SAE - random | holds |
|---|---|---|---|
{averages}

It holds in {held} of {number} seeds.
"""
NONE = "No seed has been run under this criterion yet.\n"


def gap(found: Mapping[str, float]) -> str:
    return f"{found['points']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})"


def holds(found: Mapping[str, Any]) -> bool:
    """The criterion of the page."""
    relaxed = found["relaxed"]
    if relaxed["layer"] is None:
        return False
    return bool(relaxed["gain"]["points"] >= LEAST and relaxed["gain"]["low"] > 0)


def line(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def place(seed: int, found: Mapping[str, Any], condition: str) -> str:
    groups = found["unmodified"]["groups"]
    shown = ", ".join(f"{name} {share:.1f}" for name, share in groups.items())
    here, hardest = found[condition], found["worst_group_validation"]
    if here["layer"] is None:
        return line(seed, shown, hardest, condition, "nothing is ablated", 0, "", "", "")
    fall = here["largest_fall"]
    return line(
        seed,
        shown,
        hardest,
        condition,
        f"layer {here['layer']}, {here['dictionary']}",
        here["n_features"],
        gap(here["gain"]),
        f"{here['p_gain']:.1e}",
        f"{fall['points']:+.1f} {fall['group']}" if fall else "none",
    )


def average(seed: int, found: Mapping[str, Any]) -> str:
    gaps = [found["relaxed"][f"sae_over_{c}"].get("chosen") for c in ("neurons", "random")]
    return line(seed, *(gap(g) if g else "" for g in gaps), "yes" if holds(found) else "no")


def document() -> str:
    """The page, from the headlines on record."""
    names = sorted(int(path.stem) for path in RECORDS.glob("*.json"))
    found = {s: json.loads((RECORDS / f"{s}.json").read_text(encoding="utf-8")) for s in names}
    if not found:
        return HEAD + NONE
    first = next(iter(found.values()))
    return HEAD + SECTION.format(
        n_images=first["n_images"],
        rule=first["strict_rule"],
        places="\n".join(place(s, f, c) for s, f in found.items() for c in ("strict", "relaxed")),
        averages="\n".join(average(s, f) for s, f in found.items()),
        held=sum(holds(f) for f in found.values()),
        number=len(found),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=list(FRESH))
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    target = f"results/{DATASET}_headline.json"
    for seed in arguments.seeds:
        command = ["snakemake", "--cores", str(arguments.cores), target, "--config", f"seed={seed}"]
        subprocess.run(command, check=True)
        RECORDS.mkdir(exist_ok=True)
        text = Path(target).read_text(encoding="utf-8")
        (RECORDS / f"{seed}.json").write_text(text, encoding="utf-8")
    DOCUMENT.write_text(document(), encoding="utf-8")
    print(DOCUMENT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
