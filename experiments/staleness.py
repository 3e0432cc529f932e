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
from pathlib import Path
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
HEAD = """# What an edit makes stale

Every row below is an experiment. The pipeline was run once, from nothing; then, on a copy of that state (checkout,
working folder, store, image files), something was edited and the same command was given again. *Computed* are the
actions that really ran, *restored* those whose jobs ran and found their result in the store; everything else was not
looked at. An action is named by its step and its data set or dictionary; `*` matches any name, and the number of
actions is in parentheses. Unless a row says so, the table came out byte for byte as in the first run.

To repeat it: `python experiments/staleness.py` (this page), `pytest tests/workflow/test_staleness.py` (the same rows as
tests), `python experiments/staleness.py --rows one_dictionary` (a row by its name, in the last column; with `--default
STORE` on the default, whose results STORE has). Computed actions
are observed twice, from the steps' logs (`computed <action> <key>`) and from the records that are new in the store, and
the closing line `clipsteer: computed=N restored=M` must agree with both. Times are seconds from the command to its
end, on a machine with other work to do.
"""
CHECKED = " Where the table changes, it equals that of a run from nothing, byte for byte."
TAIL = """## What each of these rests on

- **A comment, a docstring, a format** do not count because a step's code counts by its syntax tree, without
  docstrings (code fingerprint, `clipsteer/runner/fingerprint.py`). A renamed variable gives another tree. **A
  helper's change** counts for the steps whose names lead to it, function by function, and for no other
  (store-protocol.md, section 5); an architecture, a layout or a painter, imported by a name in the
  configuration, counts as a whole for the steps that name it.
- **What follows is restored, not computed,** where a step's outputs come out with equal bytes: the key of an
  action is the digest of its recipe, its code and the digests of its *inputs*, so equal inputs lead to the
  record that is there (early cutoff, within the same run). That is also why going back to an earlier
  configuration computes nothing.
- **Fewer layers or hook points than before** are restored: they lie within the extraction that is on record
  ([docs/activations.md](activations.md#fewer-layers-or-hook-points)).
- **The store's own code** is in no fingerprint; `STORE_SEMANTICS` is in every key.
- **A change while the run is going** is found because a step takes its fingerprint again before it publishes.
  The run fails, and nothing is published under a key that is not its own.
- **A file of the same size and time with other content** is found twice: image files by a scan that also looks
  at ctime, modules by their bytes; and Python's own cache of compiled modules is made to go by content
  (`clipsteer/runner/bytecode.py`), as it would otherwise run the old module.
- **An appended image** makes another manifest, and lists of the images of each shard; only the last list is
  another.
- **A fresh clone, deleted pointers, results or `.snakemake`** cost look-ups only: keys hold no path, host or
  time.
- **Damage**: a pointer is mended from its copy in the store; one without a copy is restored by the job that makes
  it, when one that reads it has to run. A damaged record or object goes to `quarantine/` and is made again, and the
  bytes must be the same. Deleted objects are made again when, and only when, somebody needs their bytes.
"""


def names_of(patterns: Sequence[str], count: int) -> str:
    """A cell: the patterns of a row and how many actions they stood for."""
    if not count:
        return "nothing"
    some = ["everything" if p == "*" else f"`{p}`" for p in patterns if p[0] != "-"]
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
    lines = [
        f"## {record['ground']}",
        "",
        ABOUT[record["ground"]],
        f"The first run: {first['computed']} actions in {first['seconds']:.0f} s; {record['machine']}."
        + (CHECKED if record["from_nothing"] else ""),
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
    return "\n".join([HEAD, *(section(record) for record in records), TAIL])


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
