# What a dry run has found, as JSON, for `python -m clipsteer plan`: every job of the DAG in an order in
# which it could run, the words that it would run, whether Snakemake would run it, and why.

import atexit
import json
import os

DESCRIPTION = os.environ.get("CLIPSTEER_DESCRIBE")  # the file to write


def reasons(job):
    """Snakemake's reasons for running a job."""
    reason = workflow.dag.reason(job)
    return {
        "forced": reason.forced and not set(job.output) & set(CHAINS.found),
        "stale": next(
            (CHAINS.found[file] for file in job.output if file in CHAINS.found), ""
        ),
        "inputs_changed": bool(reason.input_changed),
        "missing": sorted(map(str, reason.missing_output)),
        "params_changed": bool(reason.params_changed),
        "updated": sorted(map(str, reason.updated_input - reason.updated_input_run)),
        "updated_by_jobs": sorted(map(str, reason.updated_input_run)),
    }


def described(job):
    return {
        "rule": job.rule.name,
        "wildcards": dict(job.wildcards_dict),
        "command": job.shellcmd,
        "runs": workflow.dag.needrun(job),
        "reason": reasons(job),
        "expected": expected(job) if job.shellcmd else {},
    }


def describe():
    """Writes the file, unless Snakemake has failed before there was a DAG."""
    if workflow.dag is not None and workflow.dryrun:
        levels = (
            [described(job) for job in level] for level in workflow.dag.toposorted()
        )
        jobs = [job for level in levels for job in sorted(level, key=json.dumps)]
        Path(DESCRIPTION).write_text(json.dumps({"jobs": jobs}), encoding="utf-8")


if DESCRIPTION and workflow.is_main_process:
    atexit.register(describe)
