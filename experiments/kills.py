"""kill -9 at random moments, and the same command again, until the table is there: is it always the same?

Runs config/tiny.yaml up to one table, undisturbed once and then as often as it takes to deal all the kills
(tests/workflow/kills.py says how), and prints what was killed, what was left behind, and what is wrong: any
byte of results or pointers that differs, any damaged or incomplete thing in the store, any lock, any start
that fails without being disturbed. Exits with 1 if there is anything. Linux only.
python experiments/kills.py [--kills 50] [--seed 0] [--drop] [--folder DIR]; about 25 minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

BASE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BASE))

from tests.workflow.kills import Harness, Kill, Verdict  # noqa: E402
from tests.workflow.processes import LINUX, family  # noqa: E402

TARGET = "results/celeba_table.csv"
# training saves its progress every few steps, so that kills fall between two checkpoints, too
SETTINGS = {"runtime": {"checkpoint_steps": 5}}
DROPPING = {**SETTINGS, "activations": {"keep": False}}


def main() -> None:
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--kills", type=int, default=50)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--drop", action="store_true", help="with activations.keep: false")
    words.add_argument("--folder", type=Path, help="where to run; default: a temporary folder")
    arguments = words.parse_args()
    if arguments.kills < 1:
        words.error(f"--kills: found {arguments.kills}, expected at least 1")
    if not LINUX:
        sys.exit("experiments/kills.py: finds processes through /proc, so it needs Linux")
    with tempfile.TemporaryDirectory(prefix="clipsteer-kills-") as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        began = time.monotonic()

        def say(text: str) -> None:
            print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)

        config = DROPPING if arguments.drop else SETTINGS
        depth = 0 if arguments.drop else None
        harness = Harness(folder, (TARGET,), {"config": config}, arguments.seed, say, depth)
        harness.refer_to_a_new_run()
        while len(harness.kills) < arguments.kills:
            left = arguments.kills - len(harness.kills)
            with family() as members:
                verdict = harness.run(min(left, harness.random.randint(3, 6)), members)
            say(
                f"run {verdict.run}: {verdict.starts} starts, {'; '.join(verdict.faults) or 'sound'}"
            )
        print(report(harness.kills, harness.verdicts))
    sys.exit(any(verdict.faults for verdict in harness.verdicts))


def report(kills: Sequence[Kill], verdicts: Sequence[Verdict]) -> str:
    """Tables of all kills and all logical runs, in Markdown."""
    restarts = sum(verdict.starts - 1 for verdict in verdicts)
    parts = [
        f"{len(kills)} kills in {len(verdicts)} logical runs, {restarts} restarts",
        table("killed", (kill.kind for kill in kills)),
        table("moment", (kill.moment for kill in kills)),
        table("step", (step for kill in kills for step in kill.steps)),
        "| run | kills | starts | s | left behind | verdict |\n|---|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        dealt = sum(kill.run == verdict.run for kill in kills)
        left = ", ".join(f"{n} {what}" for what, n in verdict.left.items() if n) or "nothing"
        faults = "; ".join(fault.splitlines()[0] for fault in verdict.faults) or "identical, sound"
        row = (verdict.run, dealt, verdict.starts, round(verdict.seconds), left, faults)
        parts[-1] += "\n| " + " | ".join(map(str, row)) + " |"
    return "\n\n".join(parts)


def table(head: str, items: Iterable[str]) -> str:
    rows = Counter(items).most_common()
    return "\n".join([f"| {head} | kills |", "|---|---|", *(f"| {n} | {c} |" for n, c in rows)])


if __name__ == "__main__":
    main()
