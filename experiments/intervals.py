"""How often do the intervals of docs/method.md, section 10, hold what they promise? Writes docs/intervals.md.

Images are drawn from groups whose accuracies are known, before and after an edit, and every interval is taken
as the tables take it. About five minutes; no model and no data.
python experiments/intervals.py [--draws 2000] [--seed 0]; exits with 1 if an interval that is called 95 % covers less.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy.stats import binom

from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.significance import gain, minimum_interval, wilson

DOCUMENT = Path(__file__).parents[1] / "docs/intervals.md"
LEVEL = 0.95
IMAGES = (50, 180, 500)
"""A group's images: few, as in the paper's CelebA, as in the embedded default."""


@dataclass(frozen=True)
class Setting:
    """True accuracies of the groups, in per cent, before and after an edit."""

    name: str
    before: tuple[float, ...]
    after: tuple[float, ...]


SETTINGS = (
    Setting("the embedded default's CelebA", (94.0, 96.4, 94.2, 60.8), (93.0, 90.0, 95.0, 81.0)),
    Setting("the paper's CelebA", (98.0, 97.5, 97.8, 77.8), (98.0, 97.5, 97.0, 81.1)),
    Setting("the paper's Waterbirds", (99.0, 66.0, 50.0, 22.4), (99.0, 66.0, 50.0, 24.6)),
    Setting("nothing changes", (95.0, 90.0, 90.0, 60.0), (95.0, 90.0, 90.0, 60.0)),
    Setting("a gain here, the same loss there", (95.0, 90.0, 90.0, 60.0), (95.0, 90.0, 60.0, 90.0)),
    Setting("all groups equal", (90.0,) * 4, (90.0,) * 4),
    Setting("all groups equal, at one half", (50.0,) * 4, (50.0,) * 4),
    Setting("all groups equal, near 1", (99.0,) * 4, (99.0,) * 4),
    Setting("nine groups", (90.0,) * 8 + (60.0,), (85.0,) * 8 + (80.0,)),
)
HEAD = """# Do the intervals hold what they promise?

`python experiments/intervals.py`, {date}, wrote this page (seed {seed}, {draws:,} drawn test sets a cell: a coverage of
95 % has a standard error of {error:.1f} points). Images are drawn from groups of given accuracies, an edit draws the
answers of half of them anew (and more where the accuracies differ more), and each interval is taken as the tables take
it ([method.md](method.md), section 10).

## The minimum over groups and its gain

In per cent, with {images} images a group. *Minimum*: how often the interval of the smallest group
accuracy after the edit holds the true one. *Gain*: the same of that minimum minus the accuracy before of the group that
was the worst. *Above*: how often the gain's lower bound, which decides whether a gain is claimed, lies above the true
gain; 2.5 % is promised, by approximate formulas.

{table}

Finding: the smallest coverage is {minimum:.1f} % for the minimum and {gains:.1f} % for the gain; at most {above:.1f} %
of lower bounds lie above the truth.

## One accuracy: Wilson's interval

Its coverage, exact over all accuracies from 50 to 100 % in steps of 0.1, is right on average, but close to 100 % it can
cover less than it says.

{single}
"""


def joint(before: float, after: float) -> tuple[float, float]:
    """Probabilities that an image is won and lost: as if the edit drew its answer anew for half the images."""
    won, lost = 0.5 * (1 - before) * after, 0.5 * before * (1 - after)
    surplus = (after - before) - (won - lost)  # the rest of the change goes one way
    return won + max(0.0, surplus), lost + max(0.0, -surplus)


def test_set(
    setting: Setting, images: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Correctness before and after, (groups * images,), group by group."""
    before, after = [], []
    for b, a in zip(setting.before, setting.after, strict=True):
        won, lost = joint(b / 100, a / 100)
        kind = rng.choice(4, size=images, p=[won, lost, b / 100 - lost, 1 - b / 100 - won])
        before.append((kind == 1) | (kind == 2))
        after.append((kind == 0) | (kind == 2))
    return np.concatenate(before), np.concatenate(after)


@dataclass(frozen=True)
class Coverage:
    """Shares of the drawn test sets, in per cent."""

    setting: Setting
    images: int
    minimum: float
    gain: float
    above: float


def coverages(draws: int, seed: int) -> Iterator[Coverage]:
    for setting in SETTINGS:
        n_groups = len(setting.before)
        hardest = int(np.argmin(setting.before))
        lowest = min(setting.after) / 100
        true_gain = lowest - setting.before[hardest] / 100
        for images in IMAGES:
            rng = np.random.default_rng([seed, images, SETTINGS.index(setting)])
            groups = np.repeat(np.arange(n_groups), images)
            hits = np.zeros(3)
            for _ in range(draws):
                before, after = test_set(setting, images, rng)
                right = after.reshape(n_groups, images).sum(axis=1).tolist()
                low, high = minimum_interval(GroupCounts(tuple(right), (images,) * n_groups))
                found = gain(before, after, groups, hardest).gap
                hits += (
                    low <= lowest <= high,
                    found.low <= true_gain <= found.high,
                    found.low > true_gain,
                )
            yield Coverage(setting, images, *(100 * hits / draws).tolist())


def wilson_coverage(images: int) -> tuple[float, float, float]:
    """Mean and smallest exact coverage of Wilson's 95 % interval, and where it is smallest, in per cent."""
    shares = np.arange(500, 1000) / 1000
    bounds = np.array([wilson(k, images) for k in range(images + 1)])
    inside = (bounds[:, 0] <= shares[:, None]) & (shares[:, None] <= bounds[:, 1])
    each = (binom.pmf(np.arange(images + 1), images, shares[:, None]) * inside).sum(axis=1)
    return 100 * each.mean(), 100 * each.min(), 100 * shares[each.argmin()]


def grid(head: Sequence[str], body: Sequence[Sequence[object]]) -> str:
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    found = list(coverages(arguments.draws, arguments.seed))
    error = 100 * math.sqrt(LEVEL * (1 - LEVEL) / arguments.draws)
    heads = ["true accuracies", "before", "after", "minimum", "gain", "above"]

    def accuracies(values: tuple[float, ...]) -> str:
        if len(set(values[:-1])) == 1 and len(values) > 4:
            return f"{values[0]:g} ({len(values) - 1} groups), {values[-1]:g}"
        return ", ".join(f"{value:g}" for value in values)

    table = grid(
        heads,
        [
            (
                setting.name,
                accuracies(setting.before),
                accuracies(setting.after),
                *(
                    ", ".join(f"{getattr(c, name):.1f}" for c in found if c.setting == setting)
                    for name in heads[3:]
                ),
            )
            for setting in SETTINGS
        ],
    )
    single = grid(
        ["images", "mean coverage", "smallest coverage", "at an accuracy of"],
        [
            (n, f"{mean:.1f}", f"{least:.1f}", f"{where:.1f}")
            for n in (*IMAGES, 2000)
            for mean, least, where in [wilson_coverage(n)]
        ],
    )
    minimum, gains = min(c.minimum for c in found), min(c.gain for c in found)
    text = HEAD.format(
        date=datetime.now(UTC).date().isoformat(),
        seed=arguments.seed,
        draws=arguments.draws,
        error=error,
        images=f"{', '.join(map(str, IMAGES[:-1]))} and {IMAGES[-1]}",
        table=table,
        minimum=minimum,
        gains=gains,
        above=max(c.above for c in found),
        single=single,
    )
    DOCUMENT.write_text(text, encoding="utf-8")
    print(text)
    # three standard errors: what chance may take off a coverage that is right
    sys.exit(min(minimum, gains) < 100 * LEVEL - 3 * error)


if __name__ == "__main__":
    main()
