"""The last words of a run: what it computed and restored, where its results are, and why it failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError
from clipsteer.store.roots import sync
from clipsteer.workflow.watch import Watch, said

_RESULTS = Path("results")


def close(workflow: Any, watch: Watch, store: Path) -> str:
    """Bring the store's copies of pointers up to date, and give the closing lines of a run.

    There are none where no run began: a dry run, a lint, a target or a config that is refused.
    `workflow` is Snakemake's. Why jobs failed comes last.
    """
    if not watch.began or workflow.executor_plugin is None or workflow.dryrun or workflow.touch:
        return ""
    with suppress(ClipsteerError, OSError):  # a store that cannot be written
        sync(watch.folder / store, watch.folder)  # a clone that was copied or moved here, say
    finished = list(workflow.dag.finished_jobs)
    told = [said(watch.folder / str(job.log[0])) for job in finished if job.log]
    lines = [f"computed={sum(s.computed for s in told)} restored={sum(s.restored for s in told)}"]
    if watch.folder != Path.cwd():
        lines.append(
            f"the working directory is {watch.folder} (--directory): results/, artifacts/ and logs/ are there"
        )
    lines += results(workflow.dag, watch.folder)
    failures = watch.failures({job.jobid for job in finished})
    lines += [f"{sentence} (log: {', '.join(logs)})" for sentence, logs in failures.items()]
    return "\n".join(f"clipsteer: {line}" for line in lines)


def results(dag: Any, folder: Path) -> Iterator[str]:
    """The result files that were asked for and are there, made by this run or sound before.

    As seen from the current folder: Snakemake has left the working directory `folder` by the end.
    """
    sound = {str(f) for job in dag.jobs if dag.noneedrun_finished(job) for f in job.output}
    for name in sorted(set(map(str, dag.derived_targetfiles)) & sound):
        if Path(name).is_relative_to(_RESULTS) and (folder / name).is_file():
            yield name if folder == Path.cwd() else str(folder / name)
