"""Every performance target in one table: runs all benchmarks, each in a process of its own.

    python -m benchmarks.suite [--quick] [--only PART ...] [--out FOLDER]

A part that fails, or runs past its time limit, leaves rows that say so; the others go on. The exit
status is 0 when every part was tried, whether targets were met or not. FOLDER gets what each part
printed (PART.log) and measured (PART.json), and the table as Markdown and JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.lines import Line, cpu_of_children, number, row
from benchmarks.targets import TARGETS

BASE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Part:
    """One benchmark, the words it gets, and how long it may take, in the full and the quick run."""

    module: str
    prefixes: tuple[str, ...]
    """Of the keys of the targets that it answers."""
    full: tuple[str, ...]
    limit: int
    """Seconds."""
    quick: tuple[str, ...] | None = None
    """None: it takes too long for the quick run."""
    quick_limit: int = 0

    def answers(self) -> list[str]:
        return [key for key in TARGETS if key.startswith(self.prefixes)]


TINY = ("--configfile", "config/tiny.yaml")
#: By name, in the order in which they run; `{scratch}` is a folder for all parts of a run. The limits are
#: two or three times what a part takes on two quiet cores: they are there for what hangs.
PARTS = {
    "training-6144": Part(
        "benchmarks.training",
        ("topk-6144/", "vanilla-6144/", "topk/", "default/"),
        ("--features", "6144", "--rounds", "5", "--targets-only"),
        limit=600,
        quick=("--quick", "--rounds", "2"),
        quick_limit=300,
    ),
    "training-24576": Part(
        "benchmarks.training",
        ("topk-24576/", "vanilla-24576/", "batchtopk-24576/", "matryoshka-24576/"),
        ("--features", "24576", "--rounds", "2", "--speed-only", "--targets-only"),
        limit=1000,
    ),
    "cuda": Part("benchmarks.training_cuda", ("cuda/",), (), 300, ("--quick",), 120),
    "loading": Part("benchmarks.loading", ("loading/", "one-pass/"), (), 240, ("--quick",), 120),
    "extraction": Part(
        "benchmarks.extraction",
        ("extraction/",),
        ("--images", "128", "--rounds", "2"),
        420,
        ("--quick",),
        150,
    ),
    "sweep": Part("benchmarks.sweep", ("sweep/",), (), 480, ("--quick",), 150),
    "steerability": Part("benchmarks.steerability", ("steer/",), (), 480, ("--quick",), 240),
    "spliced": Part("benchmarks.spliced", ("spliced/",), (), 240, ("--quick",), 120),
    "cold": Part("benchmarks.cold", ("cold/",), ("--folder", "{scratch}/default"), 600),
    "restore": Part(
        "benchmarks.restore",
        ("restore/",),
        ("--directory", "{scratch}/default"),
        limit=800,  # `--only restore` makes the default first
        quick=("--directory", "{scratch}/tiny", *TINY, "--rounds", "1"),
        quick_limit=180,
    ),
    "dags": Part("benchmarks.dags", ("dags/",), ("--rounds", "2"), 900, ("--quick",), 240),
    "bytes": Part("benchmarks.codecs", ("bytes/",), (), 240, ("--quick",), 120),
    "explorer": Part("benchmarks.explorer", ("explorer/",), (), 300, ("--quick",), 200),
    "growth": Part("benchmarks.growth", ("growth/",), (), 480, ("--quick",), 180),
}


@dataclass(frozen=True)
class Found:
    """What a part measured, and why it measured no more."""

    lines: dict[str, Line]
    failures: dict[str, str]
    reason: str
    """Of targets that neither of them has."""
    seconds: float = 0.0
    cpu: float = 0.0
    """Processor seconds of it and of what it started; far fewer than cores allow on a busy machine."""


def run(
    name: str, part: Part, words: Sequence[str], limit: float, out: Path, scratch: str
) -> Found:
    """Run one part, at most `limit` seconds; whatever happens to it is in what is returned."""
    log, measured = out / f"{name}.log", out / f"{name}.json"
    measured.unlink(missing_ok=True)
    command = [sys.executable, "-m", part.module, *words, "--json", str(measured)]
    began, before = time.monotonic(), cpu_of_children()
    with log.open("wb") as stream:
        # A group of its own, so that its peers and runs end with it.
        process = subprocess.Popen(
            command,
            cwd=BASE,
            env={**os.environ, "TMPDIR": scratch},  # what it leaves when killed goes with it
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        try:
            status = process.wait(limit)
            reason = "" if status == 0 else f"ended with status {status}: {last_words(log)}"
        except subprocess.TimeoutExpired:
            reason = f"ran past its limit of {limit:.0f} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    seconds = time.monotonic() - began
    lines, failures = {}, {}
    with suppress(FileNotFoundError):
        found = json.loads(measured.read_text(encoding="utf-8"))
        failures = found["failures"]
        for cells in found["lines"]:
            del cells["passed"]
            if cells["key"]:
                lines[cells["key"]] = Line(**cells)
    cpu = cpu_of_children() - before
    return Found(lines, failures, reason or "not part of this run", seconds, cpu)


def last_words(log: Path) -> str:
    """The last line that a part printed."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def rows(found: Mapping[str, Found], parts: Mapping[str, Part]) -> Iterator[tuple[str, str, str]]:
    """(key, verdict, cells) of every target, in their order."""
    for key, target in TARGETS.items():
        name = next(name for name, part in parts.items() if key.startswith(part.prefixes))
        here = found.get(name, Found({}, {}, "not asked for"))
        if line := here.lines.get(key):
            word = {True: "pass", False: "missed", None: "measured"}[line.passed]
            yield key, word, row(line)
            continue
        limit = ""
        if target.limit is not None:
            limit = ("at most " if target.most else "") + number(target.limit, target.unit)
        reason = here.failures.get(key, here.reason).replace("|", "/")
        yield (
            key,
            "not measured",
            f"| {target.what} | {limit} | | {target.beside} | not measured: {reason} |",
        )


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    import torch

    model = platform.processor()
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        names = [line for line in text.splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_before": os.getloadavg()[0],
    }


def main(argv: Sequence[str] | None = None, parts: Mapping[str, Part] = PARTS) -> int:
    """The command line; returns the exit status."""
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument(
        "--quick",
        action="store_true",
        help="smaller sizes, fewer rounds, without the default from cold",
    )
    words.add_argument("--only", nargs="+", choices=list(parts), metavar="PART", help="these parts")
    words.add_argument("--out", type=Path, default=BASE / "benchmarks/out")
    given = words.parse_args(argv)
    given.out = given.out.resolve()
    given.out.mkdir(parents=True, exist_ok=True)
    about, began = machine(), time.monotonic()
    found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, part in parts.items():
            given_words = part.quick if given.quick else part.full
            if given.only and name not in given.only:
                continue
            if given_words is None:
                found[name] = Found({}, {}, "left out of the quick run")
                continue
            print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
            full = [word.format(scratch=scratch) for word in given_words]
            limit = part.quick_limit if given.quick else part.limit
            found[name] = run(name, part, full, limit, given.out, scratch)
            one = found[name]
            print(f"{one.seconds:.0f} s, {one.cpu:.0f} of processor", file=sys.stderr, flush=True)
    table = list(rows(found, parts))
    verdicts = [verdict for _, verdict, _ in table]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
    seconds = time.monotonic() - began
    smaller = "Smaller sizes and fewer rounds: the full run is what counts.\n"
    text = "\n".join(
        [
            *([smaller] if given.quick else []),
            "| line | target | measured | floor or peer | |\n|---|--:|--:|---|---|",
            *(cells for _, _, cells in table),
            "",
            f"{counts}; {seconds / 60:.1f} minutes on {about['cores']} cores of {about['processor']},"
            f" load {about['load_before']:.1f} before.",
        ]
    )
    print(text)
    stem = "quick" if given.quick else "bench"
    (given.out / f"{stem}.md").write_text(text + "\n", encoding="utf-8")
    result = {
        "machine": about,
        "seconds": {name: [one.seconds, one.cpu] for name, one in found.items()},
        "rows": [{"key": key, "verdict": verdict} for key, verdict, _ in table],
        "lines": [asdict(line) for one in found.values() for line in one.lines.values()],
    }
    (given.out / f"{stem}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
