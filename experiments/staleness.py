"""The staleness matrix with its times: what each edit makes stale. Writes docs/staleness.md.

The rows are those of tests/staleness/rows.py, which the tests run as well. Each works on a copy of the state
after one cold run; what it really computed is read from the logs and from the store, and compared with what
the row says. Results are kept in experiments/staleness/, and the page shows all that are there. Run from the
project's root, with the environment active:
python experiments/staleness.py [--ground files | tiny] [--rows NAME ...] [--from-nothing]
python experiments/staleness.py --default STORE      # the embedded default, with what the store holds of it
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.staleness.grounds import DEFAULT, GROUNDS
from tests.staleness.matrix import Row, Stage
from tests.staleness.rows import ROWS
from tests.staleness.scene import Ground, Scene, Seen

DOCUMENT = Path("docs/staleness.md")
RECORDS = Path(__file__).parent / "staleness"
ABOUT = {
    "files": "A small tree of images in CelebA's own layout and a random CLIP, both of them files; one Top-K "
    "dictionary and the neurons on two layers (`FILES` in tests/staleness/grounds.py).",
    "tiny": "`config/tiny.yaml`: painted worlds, and a CLIP that is trained on them.",
    "default": "The embedded default, `config.yaml`: six layers, three trained dictionaries and the neurons.",
}
HELD = ", from a store that already held its results"
HEAD = """# What an edit makes stale

`python experiments/staleness.py` writes this page. The pipeline ran once, from nothing unless a section
says otherwise. For each row, on a copy of that state, something was edited and the same command given again. *Computed*
are the actions that ran, *restored* those found in the store; nothing else was looked at. `*` matches any name, "`a` to
`b`" are these steps and those between them, and the number of actions is in parentheses. Unless a row says so, the
table came out byte for byte the same. Seconds are beside other work. `tests/workflow/test_staleness.py` has the same
rows, by the last column. [Why it comes out so](how-it-runs.md#2-what-is-up-to-date).
"""
CHECKED = "Where the table changes, it equals that of a run from nothing, byte for byte."
CHAIN = (
    *("list_shards", "extract_activations", "train_dictionary", "evaluate_dictionary"),
    *("feature_statistics", "select_features", "ablate_features", "make_table"),
)
"""Steps in the order in which they follow each other, for runs of them in a cell."""


def runs_of(patterns: Sequence[str]) -> list[str]:
    """Patterns in backticks; three or more steps of the chain in a row, of equal names, by the first and the last."""
    runs: list[list[str]] = []
    for pattern in patterns:
        step, _, names = pattern.partition(" ")
        last, _, before = runs[-1][-1].partition(" ") if runs else ("", "", "")
        next_to = step in CHAIN[1:] and CHAIN[CHAIN.index(step) - 1] == last
        if next_to and (names == before or (step == "make_table" and before == "*")):
            runs[-1].append(pattern)
        else:
            runs.append([pattern])
    return [
        word
        for run in runs
        for word in ([f"`{run[0]}` to `{run[-1]}`"] if len(run) > 2 else [f"`{p}`" for p in run])
    ]


def names_of(patterns: Sequence[str], count: int) -> str:
    """A cell: the patterns of a row and how many actions they stood for."""
    if not count:
        return "nothing"
    named = [p for p in patterns if p[0] not in "-*"]
    some = (["everything"] if "*" in patterns else []) + runs_of(named)
    less = [f"`{p[1:]}`" for p in patterns if p[0] == "-"]
    return ", ".join(some) + (" but " + ", ".join(less) if less else "") + f" ({count})"


def shown(patterns: Sequence[str], ground: Ground) -> list[str]:
    """Patterns with a ground's own layers."""
    new = f"layer_{ground.new_layer or 0:02d}"
    return [pattern.format(layer="*", new=new) for pattern in patterns]


def line(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def section(record: dict[str, Any]) -> str:
    """The table of one ground."""
    first, rows = record["first"], record["rows"]
    about = [
        ABOUT[record["ground"]],
        f"The first run ({record['date']}{'' if first['computed'] else HELD}): {first['computed']} actions in",
        f"{first['seconds']:.0f} s; {record['machine']}.",
        CHECKED if record["from_nothing"] else "",
    ]
    lines = [
        f"## {record['ground']}",
        "",
        fill(" ".join(about), 120, break_on_hyphens=False),
        "",
        line("edit", "computed", "restored", "seconds", "row"),
        line("---", "---", "---", "---:", "---"),
    ]
    for row in rows:
        what = row["what"] + (f". The run fails: *{row['says']}*" if row["says"] else "")
        what += ". The table changes" if row["table"] == "other" else ""
        what += f". **WRONG: {'; '.join(row['faults'])}**" if row["faults"] else ""
        lines.append(
            line(
                what,
                names_of(row["computed"], row["n_computed"]),
                names_of(row["restored"], row["n_restored"]),
                f"{row['seconds']:.1f}",
                row["row"],
            )
        )
    return "\n".join(lines) + "\n"


def document() -> str:
    """The page, from the results on record."""
    found = [RECORDS / f"{name}.json" for name in ABOUT]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in found if path.exists()]
    return "\n".join([HEAD, *(section(record) for record in records)])


def told(
    row: Row, stage: Stage, ground: Ground, seen: Seen, faults: Sequence[str]
) -> dict[str, Any]:
    """A stage's result as it is kept."""
    return {
        "row": row.name,
        **{name: getattr(stage, name) for name in ("what", "says", "table")},
        **{w: shown(stage.patterns(w, ground), ground) for w in ("computed", "restored")},
        "n_computed": len(seen.computed),
        "n_restored": len(seen.restored),
        "seconds": round(seen.seconds, 2),
        "faults": list(faults),
    }


def run_row(row: Row, first: Scene, home: Path, from_nothing: bool) -> list[dict[str, Any]]:
    """Run a row on a copy of the first state; prints a line for each of its stages."""
    scene, found = first.copy(home / row.name), []
    for number, stage in enumerate(row.stages):
        seen = stage.run(scene)
        faults = stage.faults(seen, first)
        if from_nothing and stage.table == "other":
            again = scene.run_from_nothing(
                home / f"{row.name}-{number}", stage.settings(scene.ground)
            )
            if again.table != seen.table:
                faults.append("a run from nothing gives another table")
        print(
            f"{row.name}: {stage.what}: computed={len(seen.computed)} restored={len(seen.restored)} "
            f"in {seen.seconds:.1f} s {'; '.join(faults)}",
            flush=True,
        )
        found.append(told(row, stage, scene.ground, seen, faults))
    for path in home.glob(f"{row.name}*"):
        shutil.rmtree(path)
    return found


def run(
    ground: Ground, rows: Sequence[Row], home: Path, store: Path | None, from_nothing: bool
) -> dict[str, Any]:
    """The first run and all rows."""
    first = Scene.new(home / "first", ground)
    if store is not None:
        first.adopt(store)
    seen = first.run()
    seen.outcome.ok()
    print(f"first run: computed={len(seen.computed)} in {seen.seconds:.1f} s", flush=True)
    results = [result for row in rows for result in run_row(row, first, home, from_nothing)]
    return {
        "ground": ground.name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "from_nothing": from_nothing,
        "first": {"computed": len(seen.computed), "seconds": round(seen.seconds, 2)},
        "rows": results,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ground", choices=[*ABOUT], default="files")
    parser.add_argument(
        "--default",
        type=Path,
        metavar="STORE",
        help="run on the default, with this store's content",
    )
    parser.add_argument(
        "--rows", nargs="*", metavar="NAME", help="these rows only; keeps no result"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the result although it is of some rows only"
    )
    parser.add_argument("--short", action="store_true", help="without rows that compute everything")
    parser.add_argument(
        "--from-nothing",
        action="store_true",
        help="compare every table that a row changes with that of a run from nothing",
    )
    parser.add_argument("--page", action="store_true", help="only write the page again")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.rows or ()) - {row.name for row in ROWS}):
        parser.error(f"--rows: found no row {unknown[0]!r}; their names are in docs/staleness.md")
    if not arguments.page:
        ground = DEFAULT if arguments.default else GROUNDS[arguments.ground]
        rows = [row for row in ROWS if row.fits(ground) and not (arguments.short and row.long)]
        if arguments.rows is not None:
            rows = [row for row in rows if row.name in arguments.rows]
        with tempfile.TemporaryDirectory(prefix="staleness-") as home:
            found = run(ground, rows, Path(home), arguments.default, arguments.from_nothing)
        if arguments.rows is None or arguments.keep:
            RECORDS.mkdir(exist_ok=True)
            path = RECORDS / f"{ground.name}.json"
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    DOCUMENT.write_text(document(), encoding="utf-8")
    if not arguments.page and any(result["faults"] for result in found["rows"]):
        sys.exit("some rows did not do what they say")


if __name__ == "__main__":
    main()
