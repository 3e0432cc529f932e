"""Takes a transformers CLIP or SigLIP (a folder or a hub name) into the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clipsteer.runner.step import CACHES, Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = ("hub_name(model) as hub",)


def plan(job: Job) -> dict[str, Action]:
    if job.recipe["hub"] is None:
        return {"all": Action({**job.recipe, "token": job.facts("token")})}
    return {"all": Action(job.recipe)}


def compute(run: Run) -> None:
    from clipsteer.backbones.weights import faults, relevant_files, resolve
    from clipsteer.errors import ClipsteerError
    from clipsteer.runner.scan import cached_digests
    from clipsteer.store.trees import Entry, put_tree_entries

    hub = run.recipe["hub"]
    if hub is None:
        folder, commit = resolve(str(run.runtime.roots[run.runtime.name]), None)
    else:
        folder, commit = resolve(hub["source"], hub["revision"])
    if found := faults(folder):  # a hub's files, or ones that changed since the run began
        raise ClipsteerError("\n".join(found))
    scanned = cached_digests(CACHES / f"scan-{run.runtime.name}") if hub is None else {}
    entries = {}
    for name in relevant_files(folder):
        path = Path(folder) / name
        entries[name] = Entry(run.store.put_file(path), path.stat().st_size, "blob")
        if scanned.get(name, entries[name].digest) != entries[name].digest:
            raise ClipsteerError(
                f"{path}: was changed since the run began; run the same command again."
            )
        run.say(f"{name} {entries[name].size:,} bytes")
    run.put_tree_digest("model", put_tree_entries(run.store, entries))
    if commit:
        run.fact("commit", commit)


def cost(job: Sizes) -> Cost:
    """Fetched from the hub: some two minutes."""
    return job.python(120, 3 * job.weights_mb, 2 * job.weights_mb)


if __name__ == "__main__":
    main(plan, compute, __doc__, identity=["commit"])
