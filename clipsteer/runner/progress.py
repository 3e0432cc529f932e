"""Progress of long work: lines with a rate and an estimate, on the terminal and in the log file.

Snakemake runs several jobs on one terminal, so there are no bars that rewrite a line: each report is a
line of its own, at most one in `every` seconds.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

# Set by a run whose terminal is brief (clipsteer/workflow/terminal.py): seconds between two reports of a
# job's progress there. The run itself says how each job ended, from the job's log.
BRIEF = "CLIPSTEER_BRIEF"
# How a line begins, behind its label, that no terminal is too brief for.
WARNING = ": warning: "


class Log:
    """Writes lines to a log file, and to the terminal's stderr as well."""

    def __init__(self, file: TextIO | None = None, terminal: TextIO | None = None) -> None:
        self._file, self._terminal = file, terminal or sys.stderr
        brief = os.environ.get(BRIEF)
        self._brief = brief is not None
        #: Seconds between two reports of progress on the terminal.
        self.patience = float(brief or 0)

    def line(self, text: str) -> None:
        """One line in both places."""
        print(text, file=self._terminal, flush=True)
        self._write(text)

    def detail(self, text: str) -> None:
        """One line that a brief terminal goes without, unless it is a warning or the file cannot take it."""
        if not self._write(text) or not self._brief or WARNING in text:
            print(text, file=self._terminal, flush=True)

    def _write(self, text: str) -> bool:
        if self._file is None:
            return False
        try:
            print(text, file=self._file, flush=True)
        except OSError:  # a full disk must not swallow the very message that says so
            return False
        return True


class Progress:
    """Counts units of work; call it with the number of units done since the last call.

    `total` is None where it is not known beforehand.
    `unit` names what is counted ("steps", "images"); `scale` adds a second rate, for instance
    ("tokens", 4096) where each step reads 4,096 tokens.
    """

    def __init__(
        self,
        log: Log,
        label: str,
        total: int | None,
        unit: str,
        scale: tuple[str, int] | None = None,
        every: float = 5.0,
    ) -> None:
        self._log, self._label, self._total, self._unit = log, label, total, unit
        self._scale, self._every = scale, every
        self._done = self._before = 0
        self._start = self._last = self._shown = time.monotonic()

    def resume(self, before: int) -> None:
        """So many units were done by an earlier process: they count as done, not into the rate."""
        self._before = before
        self._log.line(f"{self._label}: resumes at {before:,} {self._unit}")

    def __call__(self, done: int) -> None:
        self._done += done
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            say = self._log.detail
            if now - self._shown >= self._log.patience:
                self._shown, say = now, self._log.line
            say(self._report(now - self._start))

    def finish(self) -> None:
        """One closing line with the mean rate; nothing where no work was counted."""
        if self._done:
            self._log.detail(self._report(time.monotonic() - self._start, closing=True))

    def _report(self, seconds: float, closing: bool = False) -> str:
        rate = self._done / max(seconds, 1e-9)
        of = "" if self._total is None else f"/{self._total:,}"
        done = self._before + self._done
        parts = [f"{done:,}{of} {self._unit}", f"{rate:,.1f} {self._unit}/s"]
        if self._scale:
            parts.append(f"{rate * self._scale[1]:,.0f} {self._scale[0]}/s")
        if closing:
            parts.append(f"{seconds:.1f} s")
        elif self._total is not None:
            left = max(self._total - done, 0) / max(rate, 1e-9)
            parts.append(f"ETA {int(left) // 60}:{int(left) % 60:02d}")
        return f"{self._label}: " + ", ".join(parts)
