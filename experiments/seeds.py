"""The whole pipeline under several seeds: does the finding hold in each? Writes docs/seeds.md.

Every seed paints other worlds, trains another CLIP and other dictionaries, and draws other controls. The
headline of each seed is kept in experiments/seeds/, and the page shows all that were ever run at the present
setting. Run from the project's root, with the environment active:
python experiments/seeds.py [--seeds 0 1 2 3 4] [--cores N]; without seeds (--seeds) it only writes the page.
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
READINGS = {
    "chosen": "the dictionary of the relaxed place, at every layer (the one to quote, docs/method.md section 10)",
    "per_layer": "each layer's dictionary chosen on validation, as the paper's Table 1 picks one for each layer",
    "all": "mean over all dictionaries",
}
HEAD = """# The finding under several seeds

Source: painted (synthetic). Each row is the whole pipeline with another `seed`: other worlds, another tiny CLIP,
other dictionaries, other random controls (`make seeds` runs seeds 0 to 9 and writes this page). Accuracies on
{n_images} test images, in per cent; the strict rule is `{rule}`, and each condition has its own place, chosen on
validation. *Gain*: the smallest accuracy of any group after ablation minus that of the unmodified model's worst group
(on validation) before, with its 95 % interval and one-sided p-value. *Largest fall*: of the group that loses most on
test, in points.

*SAE - neurons* and *SAE - random*: under relaxed, on average over layers, accuracy in that group under the targeted SAE
minus that under targeted neurons, and under random features of the same SAE, in points with 95 % intervals over
images. "The SAE" of a layer can be read in three ways:

{readings}

A seed *holds* if the unmodified model's worst group is blond men, at least 10 points below the next, if the relaxed
gain is at least 5 points with the lower end of its interval above 0, and if both intervals of the reading lie above 0.
What is lost besides stands beside it and is no part of the criterion.

{tables}
"""
SECTION = """| seed | unmodified, by group | condition | chosen on validation | features | gain | p | largest fall |
|---|---|---|---|---|---|---|---|
{places}

| seed | reading | SAE - neurons | SAE - random | holds |
|---|---|---|---|---|
{averages}

{counts}
"""


def gap(found: dict[str, float]) -> str:
    return f"{found['points']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})"


def holds(found: dict[str, Any], reading: str) -> bool:
    groups, relaxed = sorted(found["unmodified"]["groups"].values()), found["relaxed"]
    if found["unmodified"]["worst_group"] != "blond man" or groups[1] - groups[0] < 10:
        return False
    if relaxed["layer"] is None or reading not in relaxed["sae_over_neurons"]:
        return False
    over = [relaxed[f"sae_over_{control}"][reading]["low"] > 0 for control in ("neurons", "random")]
    return relaxed["gain"]["points"] >= 5 and relaxed["gain"]["low"] > 0 and all(over)


def line(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def place(seed: int, found: dict[str, Any], condition: str) -> str:
    groups = found["unmodified"]["groups"]
    shown = ", ".join(f"{name} {share:.1f}" for name, share in groups.items())
    here = found[condition]
    if here["layer"] is None:
        return line(seed, shown, condition, "nothing is ablated", 0, "", "", "")
    fall = here["largest_fall"]
    return line(
        seed,
        shown,
        condition,
        f"layer {here['layer']}, {here['dictionary']}",
        here["n_features"],
        gap(here["gain"]),
        f"{here['p_gain']:.1e}",
        f"{fall['points']:+.1f} {fall['group']}" if fall else "none",
    )


def average(seed: int, found: dict[str, Any], reading: str) -> str:
    relaxed = found["relaxed"]
    gaps = [relaxed[f"sae_over_{control}"].get(reading) for control in ("neurons", "random")]
    over = [gap(found) if found else "" for found in gaps]
    return line(seed, reading, *over, "yes" if holds(found, reading) else "no")


def tables(found: Mapping[int, dict[str, Any]]) -> str:
    """The tables; `found` is each seed's headline."""
    held = {r: sum(holds(f, r) for f in found.values()) for r in READINGS}
    return SECTION.format(
        places="\n".join(place(s, f, c) for s, f in found.items() for c in ("strict", "relaxed")),
        averages="\n".join(average(s, f, r) for r in READINGS for s, f in found.items()),
        counts="\n".join(f"- `{r}`: holds in {held[r]} of {len(found)} seeds." for r in READINGS),
    )


def document() -> str:
    """The page, from the headlines on record; those of the first edition have no conditions and are left out."""
    names = sorted(int(path.stem) for path in RECORDS.glob("*.json"))
    every = {s: json.loads((RECORDS / f"{s}.json").read_text(encoding="utf-8")) for s in names}
    found = {s: f for s, f in every.items() if "relaxed" in f}
    if not found:
        raise SystemExit("experiments/seeds: no headline with both conditions; run some seeds.")
    first = next(iter(found.values()))
    return HEAD.format(
        n_images=first["n_images"],
        rule=first["strict_rule"],
        readings="\n".join(f"- `{name}`: {meaning}" for name, meaning in READINGS.items()),
        tables=tables(found).rstrip(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(10)))
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    target = f"results/{DATASET}_headline.json"
    RECORDS.mkdir(exist_ok=True)
    # the config's own seed comes last, so that results/ ends as a plain run leaves it
    for seed in sorted(arguments.seeds, reverse=True):
        command = ["snakemake", "--cores", str(arguments.cores), target, "--config", f"seed={seed}"]
        subprocess.run(command, check=True)
        text = Path(target).read_text(encoding="utf-8")
        (RECORDS / f"{seed}.json").write_text(text, encoding="utf-8")
    DOCUMENT.write_text(document(), encoding="utf-8")
    print(DOCUMENT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
