"""What a dry run has found, as JSON, for `python -m clipsteer plan`.

Every job of the DAG in an order in which it could run, the words that it would run, whether Snakemake
would run it, and why.
"""

from __future__ import annotations

import atexit
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsteer.workflow.needs import Needs

if TYPE_CHECKING:  # it imports Snakemake
    from clipsteer.workflow.chains import Chains

VARIABLE = "CLIPSTEER_DESCRIBE"
"""The environment variable that names the file to write."""


class Description:
    """The description of the run of Snakemake's `workflow`."""

    def __init__(self, workflow: Any, chains: Chains, needs: Needs) -> None:
        self._workflow, self._chains, self._needs = workflow, chains, needs

    def at_exit(self) -> None:
        """Write it when this process ends, where the environment asks for it."""
        if place := os.environ.get(VARIABLE):
            atexit.register(self.write, Path(place))

    def write(self, place: Path) -> None:
        """Write it, unless Snakemake has failed before there was a DAG."""
        from snakemake.exceptions import RuleException

        dag = self._workflow.dag
        if dag is not None and self._workflow.dryrun:
            # of a run that was refused there is a part of a DAG, in which wildcards have no values yet
            with suppress(RuleException):
                levels = ([self._job(job) for job in level] for level in dag.toposorted())
                jobs = [job for level in levels for job in sorted(level, key=json.dumps)]
                place.write_text(json.dumps({"jobs": jobs}), encoding="utf-8")

    def _job(self, job: Any) -> dict[str, Any]:
        return {
            "rule": job.rule.name,
            "wildcards": dict(job.wildcards_dict),
            "command": job.shellcmd,
            "runs": self._workflow.dag.needrun(job),
            "reason": self._reasons(job),
            "expected": self._needs.expected(job) if job.shellcmd else {},
        }

    def _reasons(self, job: Any) -> dict[str, Any]:
        """Snakemake's reasons for running a job."""
        reason, found = self._workflow.dag.reason(job), self._chains.found
        return {
            "forced": reason.forced and not set(job.output) & set(found),
            "stale": next((found[file] for file in job.output if file in found), ""),
            "inputs_changed": bool(reason.input_changed),
            "missing": sorted(map(str, reason.missing_output)),
            "params_changed": bool(reason.params_changed),
            "updated": sorted(map(str, reason.updated_input - reason.updated_input_run)),
            "updated_by_jobs": sorted(map(str, reason.updated_input_run)),
        }
