"""A brief terminal: about a line a job, warnings, and what goes wrong, instead of Snakemake's twenty.

Snakemake's own words all go into its log file (.snakemake/log) as ever. Nothing is to be installed or set
for it: the handler by which Snakemake writes to the terminal gets another formatter while the Snakefile is
read. `runtime.terminal: full` or `--verbose` leaves it as it is, and so do dry runs and loggers of other
plugins (--logger).
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any

from clipsteer.runner.progress import BRIEF
from clipsteer.workflow.watch import ALL, Job, Watch, event_of

# What Snakemake's logger calls the handler of the terminal.
_TERMINAL = "DefaultStreamHandler"
# Seconds between two reports of a job's progress.
_SOON, _LATE, _NEVER = "10", "30", "inf"
# Events that say nothing which a line of ours does not say.
_DROPPED = {
    "workflow_started",
    "job_started",
    "group_info",
    "resources_info",
    "progress",
    "group_error",
}
# What has no event and is the same in every run, or stands in the closing lines. Anything else is shown.
_USUAL = re.compile(
    r"Building DAG|Using shell|Select jobs|Conda environments: ign|Singularity containers: ign|Group jobs: ina"
    r"|Shutting down|Complete log|Elapsed time|Removing output files of failed"
    r"|Assuming unrestricted shared|Provided remote nodes|SLURM run ID"
)
_RESTART = re.compile(r"Trying to restart job (\d+)\.")
# An error of ours, raised while the Snakefile was read, by a hook, or before the DAG was built: its sentences
# are what counts.
_OURS = re.compile(
    r'WorkflowError(?: in file ".*", line \d+:\n(.*?)(?:\n  File ".*)?|:\n(.*?)\n  File ".*/clipsteer/workflow/.*)',
    re.S,
)
# That some job failed, which the closing lines say better.
_FAILED = re.compile(
    r"Exiting because a job exec|WorkflowError:\nAt least one job did not complete"
)


def install(manager: Any, settings: Any, watch: Watch) -> Brief:
    """Let `watch` see what Snakemake logs, and make its terminal brief.

    `manager` and `settings` are Snakemake's LoggerManager and OutputSettings. Call it once, in the main
    process. Jobs that run on this terminal are told by their environment.
    """
    manager.logger.addFilter(watch)
    handler = next((h for h in manager.logger.handlers if h.name == _TERMINAL), None)
    brief = Brief(watch, handler.formatter if handler else None)
    if handler is None or settings.verbose or settings.dryrun:
        return brief
    handler.addFilter(brief.shows)
    handler.setFormatter(brief)
    silent = {"ALL", "PROGRESS"} & {quietness.name for quietness in settings.quiet or ()}
    os.environ[BRIEF] = _NEVER if silent else _SOON if sys.stderr.isatty() else _LATE
    return brief


def jobs_tell_all() -> None:
    """Let jobs write all that they say to their terminal, which may be another than this, such as a cluster's log."""
    os.environ.pop(BRIEF, None)


class Brief(logging.Formatter):
    """Words for the records that are shown."""

    def __init__(self, watch: Watch, usual: logging.Formatter | None) -> None:
        super().__init__()
        self._watch, self._usual, self._full = watch, usual or logging.Formatter(), False

    def show_all(self) -> None:
        """Be brief no longer, and let jobs be as they like."""
        self._full = True
        jobs_tell_all()

    def shows(self, record: Any) -> bool:
        """Whether a record is shown at all."""
        event = event_of(record)
        if self._full:
            record.brief = self._usual.format(record)
            return True
        if event == "job_info" and self._watch.jobs[record.jobid].attempt == 1:
            return False
        if event not in _DROPPED:
            record.brief = self._line(record)  # once: logs are read for it
        return bool(getattr(record, "brief", ""))

    def format(self, record: Any) -> str:
        """The words for a record that is shown."""
        return str(record.brief)

    def _line(self, record: Any) -> str:
        """The line for a record; empty where it needs none."""
        watch = self._watch
        event = event_of(record)
        if event == "run_info" and "stats" in record.__dict__:
            rules = [
                f"{rule} {n}" for rule, n in record.stats.items() if rule not in (ALL, "total")
            ]
            jobs = f"{watch.total} job{'s' * (watch.total != 1)}"
            return f"{jobs}: {', '.join(rules)}" if rules else jobs  # as --until may leave it
        words = {"job_info": self._again, "job_finished": self._finished, "job_error": self._failed}
        if event in words:
            number = record.job_id if event == "job_finished" else record.jobid
            return words[event](watch.jobs[number])
        text = record.getMessage()
        if found := _RESTART.fullmatch(text):
            return self._restarts(text, int(found[1]))
        if event == "error" and watch.job_of_command(text):
            return ""
        if _FAILED.match(text) or (
            record.levelno == logging.INFO and not event and _USUAL.match(text)
        ):
            return ""
        if ours := _OURS.fullmatch(text):
            return re.sub(r"^(?=\S)", "clipsteer: ", ours[1] or ours[2], flags=re.M)
        return self._usual.format(record)

    def _finished(self, job: Job) -> str:
        if job.rule == ALL:
            return ""
        watch, words = self._watch, self._watch.said(job)
        how = f"computed={words.computed} restored={words.restored} in {job.seconds or 0:.1f} s"
        left = watch.left() if watch.finished < watch.total else None
        eta = "" if left is None else f", ETA {duration(left)}"
        line = f"{watch.place} {job.name}: {how}{eta}"
        return "\n".join([*(() if BRIEF in os.environ else words.warnings), line])

    def _failed(self, job: Job) -> str:
        how = f" ({job.ended})" if job.ended else ""
        return f"{self._watch.place} {job.name}: failed{how}, see {', '.join(job.logs)}"

    def _again(self, job: Job) -> str:
        asks = f", asks for {job.asked}" if job.asked else ""
        return f"{self._watch.place} {job.name}: attempt {job.attempt}{asks}"

    def _restarts(self, text: str, number: int) -> str:
        job = self._watch.jobs.get(number)
        if job is None:
            return text
        asked = f", having asked for {job.asked}" if job.asked else ""
        return f"{text.removesuffix('.')}: {job.name} failed at attempt {job.attempt}{asked}"


def duration(seconds: float) -> str:
    """Such as 0:07, 12:30 or 3:05:00: minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
