"""Takes the activations of a split out of the store, once nothing in this run still reads them.

No result becomes stale by that: what is missed later is made again from its record.
"""

from __future__ import annotations

from pathlib import Path

from clipsteer.runner.progress import Log
from clipsteer.runner.run import Json
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.store.drop import DROPPED, awaited, drop, holders
from clipsteer.store.entries import load_entries
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore
from clipsteer.store.roots import root_id
from clipsteer.store.usage import note_peak

# Small, and the same in many arrays: it is not worth dropping.
_METADATA = "zarr.json"


def plan(job: Job) -> dict[str, Action]:
    return {}  # an effect has no result that could be looked up


def compute(run: Run) -> None:
    raise AssertionError(f"{run.label}: there is no action to compute")


def effect(job: Job, objects: ObjectStore, log: Log) -> dict[str, Json]:
    """Drops the values of every array of the split, and lists the arrays for the marker."""
    members = job.inputs["activations"].members.values()
    arrays = {o.digest for m in members for name, o in m.outputs.items() if name != "shard"}
    others = holders(objects.root)
    mine = others.pop(root_id(Path.cwd()), None)
    readers, before = awaited(), note_peak(objects)
    # what was dropped before may have been made again since, for something that was lost
    earlier = mine.dropped if mine else {}
    splits = {name: found for name, found in earlier.items() if readers.get(name) == []}
    splits[job.name] = arrays
    if left := readers.get(job.name):
        log.detail(
            f"{job.name}: stays for now, as this run still reads it for {', '.join(left[:3])}"
        )
        del splits[job.name]
    for name, found in sorted(splits.items()):
        keepers = [other for other in others.values() if other.needed & found]
        spared = set().union(*(other.needed for other in keepers))
        files, size = drop(objects, _values(objects, found - spared))
        if files or name == job.name:
            log.detail(
                f"{name}: dropped {files} files, {size / 1e6:,.2f} MB of {before / 1e6:,.2f} MB in the store"
            )
        for other in keepers:
            log.line(f"{name}: what {other.path} keeps stays (is it no more? store gc --forget)")
    return {DROPPED: {job.name: sorted(arrays)}}


def _values(objects: ObjectStore, arrays: set[str]) -> set[str]:
    """The digests of the arrays' own files. A tree that is not here has none."""
    found = set()
    for array in arrays:
        try:
            entries = load_entries(objects, array)
        except (MissingObjectError, DamagedObjectError):
            continue
        found |= {entry.digest for name, entry in entries.items() if name != _METADATA}
    return found


if __name__ == "__main__":
    main(plan, compute, __doc__, effect=effect)
