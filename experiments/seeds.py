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
SEEN = range(5)  # run before the default's dictionaries and the quoted reading were fixed
READINGS = {
    "chosen": "the dictionary of the chosen place, at every layer (the one to quote, docs/method.md section 10)",
    "per_layer": "each layer's dictionary chosen on validation, as the paper's Table 1 picks one for each layer",
    "all": "mean over all dictionaries",
}
HEAD = """# The finding under several seeds

Source: painted (synthetic). Each row is the whole pipeline with another `seed`: other worlds, another tiny CLIP,
other dictionaries, other random controls (`make seeds` runs seeds 0 to 9 and writes this page). Worst-group accuracies
on {n_images} test images, in per cent; the place was chosen on validation. *Gain*: targeted strict ablation there
against the unmodified model, with a bootstrap 95 % interval and the exact McNemar p-value on the images of the
baseline's worst group.

*SAE - neurons* and *SAE - random*: on average over layers, targeted SAE minus targeted neurons, and minus random
features of the same SAE, in points of worst-group accuracy with paired bootstrap 95 % intervals over images. "The SAE"
of a layer can be read in three ways:

{readings}

A seed *holds* if the baseline's worst group is blond men, at least 10 points below the next, if the gain is at least
5 points with p < 0.01, and if both intervals of the reading lie above 0.

Seeds were run twice: the second time after training took its sums over what fired alone
(docs/performance/training.md), the same method with other rounding. Rows of seeds 0 and 5 to 9 are of the second run,
those of 1 to 4 of the first. In the first, all five fresh seeds held under each reading. In the second, seed 5 no more
does under `chosen`: rounding was enough for validation to choose another dictionary (celeba_topk; first vanilla, gain
+48.8, SAE - neurons +4.1, +2.0 to +6.6), and with that one the neurons, on average over layers, do as well.

## Fresh seeds

The default setting, the criterion above and the reading to quote (`chosen`) were fixed and written down before any of
these seeds was run, and nothing but that rounding was changed after.

{fresh}

## Seeds that were seen while the default was chosen

The first setting of the default's dictionaries (2 epochs, l1 1.0e-2 for vanilla) held in 3 of these 5 seeds under each
reading. After that was seen, the setting was changed once, by explained variance and L0 alone (docs/method.md,
section 4), and `chosen` took the place of `all` as the reading to quote. These rows are the present setting's.

{seen}
"""
SECTION = """| seed | baseline by group | chosen on validation | features | ablated | gain | p |
|---|---|---|---|---|---|---|
{places}

| seed | reading | SAE - neurons | SAE - random | holds |
|---|---|---|---|---|
{averages}

{counts}
"""


def gap(found: dict[str, float]) -> str:
    return f"{found['points']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})"


def holds(found: dict[str, Any], reading: str) -> bool:
    groups = sorted(found["baseline_groups"].values())
    if found["baseline_worst_group_name"] != "blond man" or groups[1] - groups[0] < 10:
        return False
    over = [found[f"sae_over_{control}"][reading]["low"] > 0 for control in ("neurons", "random")]
    return found["gain"]["points"] >= 5 and found["p_value"] < 0.01 and all(over)


def line(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def place(seed: int, found: dict[str, Any]) -> str:
    return line(
        seed,
        ", ".join(f"{name} {share:.1f}" for name, share in found["baseline_groups"].items()),
        f"layer {found['layer']}, {found['dictionary']}",
        found["n_features"],
        f"{found['worst']:.1f}",
        gap(found["gain"]),
        f"{found['p_value']:.1e}",
    )


def average(seed: int, found: dict[str, Any], reading: str) -> str:
    over = [gap(found[f"sae_over_{control}"][reading]) for control in ("neurons", "random")]
    return line(seed, reading, *over, "yes" if holds(found, reading) else "no")


def section(found: Mapping[int, dict[str, Any]]) -> str:
    """The tables of some seeds; `found` is each seed's headline."""
    if not found:
        return "None has been run yet.\n"
    held = {r: sum(holds(f, r) for f in found.values()) for r in READINGS}
    return SECTION.format(
        places="\n".join(place(s, f) for s, f in found.items()),
        averages="\n".join(average(s, f, r) for r in READINGS for s, f in found.items()),
        counts="\n".join(f"- `{r}`: holds in {held[r]} of {len(found)} seeds." for r in READINGS),
    )


def document() -> str:
    """The page, from the headlines on record."""
    names = sorted(int(path.stem) for path in RECORDS.glob("*.json"))
    found = {s: json.loads((RECORDS / f"{s}.json").read_text(encoding="utf-8")) for s in names}
    return HEAD.format(
        n_images=next(iter(found.values()))["n_images"],
        readings="\n".join(f"- `{name}`: {meaning}" for name, meaning in READINGS.items()),
        fresh=section({s: f for s, f in found.items() if s not in SEEN}).rstrip(),
        seen=section({s: f for s, f in found.items() if s in SEEN}).rstrip(),
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
