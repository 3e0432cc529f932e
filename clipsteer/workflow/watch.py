"""What a run has come to: listens to the records that Snakemake logs, whatever is shown of them.

Records are told apart by the names of their events, so nothing here imports Snakemake.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsteer.runner.progress import WARNING

#: What the one rule without a step of its own is called.
ALL = "all"
_ENDED = re.compile(r"non-zero exit status (\d+)|died with <Signals\.(SIG\w+)")
_SIGNALS = {137: "SIGKILL", 143: "SIGTERM", 130: "SIGINT", 139: "SIGSEGV", 134: "SIGABRT"}
_COUNTS = re.compile(r"computed=(\d+) restored=(\d+) in ([\d.]+) s")
_SENTENCE = re.compile(r"^clipsteer: \w+: ", re.M)
_TRACE = "Traceback (most recent call last):"

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Said:
    """What the log of a job says: nothing where the job has not written one."""

    computed: int = 0
    restored: int = 0
    seconds: float | None = None  # of a job that came to its end
    sentence: str = ""  # why it did not
    warnings: tuple[str, ...] = ()


def said(log: Path, before: Stamp | None = None) -> Said:
    """Read a log; one that still has the stamp `before` is an earlier job's."""
    try:
        if stamp(log) in (None, before):
            return Said()
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Said()
    warnings = tuple(line for line in text.splitlines() if WARNING in line)
    if counts := list(_COUNTS.finditer(text)):
        computed, restored, seconds = counts[-1].groups()
        return Said(int(computed), int(restored), float(seconds), "", warnings)
    sentence = ""
    if found := list(_SENTENCE.finditer(text)):
        sentence = text[found[-1].start() :].strip()
    elif _TRACE in text:
        error = text.strip().splitlines()[-1]
        sentence = f"{error} (a bug of ours: all of it is in the log)"
    return Said(sentence=sentence, warnings=warnings)


def stamp(path: Path) -> Stamp | None:
    """What differs once a file is written anew; None where there is none."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_ino, info.st_size, info.st_mtime_ns


@dataclass
class Job:
    """A job that has begun."""

    rule: str
    about: str  # its wildcards' values
    logs: list[str]
    resources: Mapping[str, Any]
    group: bool
    before: Stamp | None  # its log's, when it began
    began: float
    attempt: int = 1
    ended: str = ""  # how its command ended, where that is known
    seconds: float | None = None  # how long it took, once it has come to its end

    @property
    def name(self) -> str:
        return f"{self.rule} {self.about}".strip()

    @property
    def asked(self) -> str:
        """What it asks a cluster for and gets more of on each attempt."""
        names = ("mem_mb", "runtime")
        return ", ".join(f"{n}={self.resources[n]}" for n in names if n in self.resources)


class Watch(logging.Filter):
    """Put on Snakemake's logger, lets every record pass and learns from it what becomes of the jobs."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the working directory, which Snakemake may have left by the end."""
        super().__init__()
        self.folder = folder
        self.jobs: dict[int, Job] = {}
        self.failed: dict[int, Job] = {}
        self.total = 0  # jobs of the run
        self.finished = 0
        self.began = False  # so far that jobs run, or that none has to
        self._groups_logs: dict[int, list[str]] = {}
        self._expected: Mapping[int, tuple[str, float]] = {}  # rule and seconds, by job
        self._open: dict[
            str, float
        ] = {}  # by rule, the seconds thought of for jobs that are not done
        self._sums: dict[
            str, tuple[float, float]
        ] = {}  # by rule: what jobs took, and what was thought of
        self._first: float | None = None  # when the first job began
        self._notes: Mapping[str, Callable[[Any], None]] = {
            "run_info": self._run_info,
            "job_started": self._job_started,
            "job_info": self._job_info,
            "job_finished": self._job_finished,
            "group_error": self._group_error,
            "job_error": self._job_error,
            "error": self._error,
        }

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True."""
        if note := self._notes.get(event_of(record)):
            note(record)
        elif record.getMessage().startswith("Nothing to be done"):
            self.began = True
        return True

    @property
    def place(self) -> str:
        """How many of the run's jobs have come to their end: [ 7/55]."""
        return f"[{self.finished:{len(str(self.total))}}/{self.total}]"

    def job_of_command(self, text: str) -> Job | None:
        """The job whose command an error of Snakemake's repeats."""
        if _ENDED.search(text):
            for job in self.jobs.values():
                if job.logs and f"--log {job.logs[0]} " in text:
                    return job
        return None

    def said(self, job: Job) -> Said:
        """What a job's log says."""
        return said(self.folder / job.logs[0], job.before) if job.logs else Said()

    def expect(self, jobs: Mapping[int, tuple[str, float]]) -> None:
        """Learn that the run begins, the rule of each of its jobs and how many seconds it is thought to take."""
        self.began = True
        self._expected = jobs
        for rule, seconds in jobs.values():
            self._open[rule] = self._open.get(rule, 0.0) + seconds

    def left(self) -> float | None:
        """Seconds until all jobs are done, by those that are; None where nothing can be said.

        A rule's jobs are expected to go on being so much faster or slower than thought of (restored,
        say) as its first ones; those of other rules, as all so far. As many jobs run at a time as did so
        far.
        """
        busy, thought = self._sums.get(ALL, (0.0, 0.0))
        if not thought or self._first is None:
            return None
        work = 0.0
        for rule, seconds in self._open.items():
            real, expected = self._sums.get(rule, (busy, thought))
            work += seconds * (real / expected if expected else 1.0)
        return max(work, 0.0) / max(busy / max(time.monotonic() - self._first, 1e-3), 1.0)

    def failures(self, finished: Container[int] = ()) -> dict[str, list[str]]:
        """Each sentence by which jobs failed, once, with the logs of those jobs.

        Those that are `finished` by now failed at an earlier attempt.
        Of a group of jobs on a cluster that failed as one, only those count that say why, if any does.
        """
        told = {n: self.said(job) for n, job in self.failed.items() if n not in finished}
        spoken = any(words.sentence for words in told.values())
        sentences: dict[str, list[str]] = {}
        for number, words in told.items():
            job = self.failed[number]
            if job.group and (words.seconds is not None or (spoken and not words.sentence)):
                continue
            sentence = words.sentence.removeprefix("clipsteer: ") or _speechless(job)
            logs = job.logs[:1] if words.sentence else job.logs
            sentences.setdefault(sentence, []).extend(logs)
        return sentences

    # ---- one for each kind of record

    def _run_info(self, record: Any) -> None:
        self.total = record.stats["total"] - record.stats.get(ALL, 0)

    def _job_started(self, record: Any) -> None:
        self.began = True

    def _job_info(self, record: Any) -> None:
        old, began = self.jobs.get(record.jobid), time.monotonic()
        self._first = began if self._first is None else self._first
        logs = [str(log) for log in record.log]
        self.jobs[record.jobid] = Job(
            record.rule_name,
            " ".join(filter(None, map(str, record.wildcards.values()))),
            logs,
            dict(record.resources.items()),
            bool(record.indent),
            stamp(self.folder / logs[0]) if logs else None,
            began,
            attempt=old.attempt + 1 if old else 1,
        )

    def _job_finished(self, record: Any) -> None:
        job = self.jobs.get(record.job_id)
        if job is not None and job.rule != ALL:
            self.finished += 1
            words = self.said(job)
            taken = time.monotonic() - job.began
            job.seconds = words.seconds if words.seconds is not None else taken
            self._learn(job.seconds, *self._expected.get(record.job_id, (job.rule, 0.0)))

    def _learn(self, taken: float, rule: str, expected: float) -> None:
        self._open[rule] = self._open.get(rule, 0.0) - expected
        for name in (ALL, rule):
            real, thought = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = (real + taken, thought + expected)

    def _group_error(self, record: Any) -> None:
        """Comes before its jobs' own errors, which do not name the cluster's log."""
        for info in record.job_error_info:
            self._groups_logs[info["jobid"]] = record.aux_logs

    def _job_error(self, record: Any) -> None:
        job = self.jobs.get(record.jobid)
        if job is not None:
            job.ended = str(record.rule_msg or job.ended).strip(
                " .\n"
            )  # in a cluster's words, if any
            job.logs = [str(log) for log in [*record.log, *self._groups_logs.get(record.jobid, ())]]
            self.failed[record.jobid] = job

    def _error(self, record: Any) -> None:
        """Snakemake says by what a job's command ended, before it says that the job failed."""
        text = record.getMessage()
        job, ended = self.job_of_command(text), _ENDED.search(text)
        if job is not None and ended is not None:
            signal = ended[2] or _SIGNALS.get(int(ended[1]))
            job.ended = f"killed by {signal}" if signal else f"exit status {ended[1]}"
            if signal == "SIGKILL":
                job.ended += " (by somebody, or because memory ran out)"


def _speechless(job: Job) -> str:
    """Of a job that has failed without a word in its log."""
    rest = "and its log does not say why: look above, too"
    if job.ended.startswith("killed"):
        rest = "the same command, given again, goes on from what is saved"
    return f"Error in rule {job.name}: {job.ended or 'it failed'}; {rest}"


def event_of(record: logging.LogRecord) -> str:
    """The name of a record's event, such as job_finished; empty where it has none."""
    return str(getattr(record, "event", None) or "")
