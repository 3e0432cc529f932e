"""BLAKE3 against SHA-256, side by side in one run, on the two sizes that the store knows.

    python benchmarks/digest.py [--rounds 7] [--json]

Large: 256 MiB in memory, fed in 1 MiB pieces (shards, weights). Small: 15,000 blobs of 4 KiB, one
digest each (images). Start-up: importing the hash in a fresh Python (a restored step pays it).
The contenders take turns round by round, so that a busy machine slows both; the median is shown,
and the quickest in brackets. One thread throughout.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from blake3 import blake3

PIECE = 2**20
LARGE = 256 * PIECE
COUNT, SMALL = 15_000, 4096
CONTENDERS: dict[str, Callable[[], Any]] = {"blake3": blake3, "sha256": hashlib.sha256}
IMPORTS = {"blake3": "import blake3", "sha256": "import hashlib", "python alone": "pass"}


def large(make: Callable[[], Any], piece: bytes) -> None:
    """Hash LARGE bytes."""
    hasher = make()
    for _ in range(LARGE // PIECE):
        hasher.update(piece)
    hasher.hexdigest()


def small(make: Callable[[], Any], blob: bytes) -> None:
    """Hash COUNT blobs of SMALL bytes."""
    for _ in range(COUNT):
        hasher = make()
        hasher.update(blob)
        hasher.hexdigest()


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds by trial, contender and round."""
    piece = os.urandom(PIECE)
    times: dict[str, dict[str, list[float]]] = {
        "large": {name: [] for name in CONTENDERS},
        "small": {name: [] for name in CONTENDERS},
        "start": {name: [] for name in IMPORTS},
    }
    for number in range(rounds + 1):
        for name, make in CONTENDERS.items():
            took = seconds(partial(large, make, piece))
            times["large"][name].append(took)
            took = seconds(partial(small, make, piece[:SMALL]))
            times["small"][name].append(took)
        for name, code in IMPORTS.items():
            command = [sys.executable, "-c", code]
            took = seconds(partial(subprocess.run, command, check=True))
            times["start"][name].append(took)
        if number == 0:
            # The first round warms caches and is thrown away.
            for trial in times.values():
                for values in trial.values():
                    values.clear()
    return times


def main() -> None:
    """Print the table, or the raw seconds as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count")
    parser.add_argument("--json", action="store_true", help="raw seconds")
    arguments = parser.parse_args()
    times = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps(times, indent=1))
        return
    print(f"{platform.machine()}, Python {platform.python_version()}, {arguments.rounds} rounds")
    units: dict[str, tuple[str, Callable[[float], float]]] = {
        "large": ("GB/s", lambda s: LARGE / s / 1e9),
        "small": ("us a blob", lambda s: s / COUNT * 1e6),
        "start": ("ms", lambda s: s * 1e3),
    }
    for trial, (unit, scale) in units.items():
        for name, values in times[trial].items():
            middle, best = scale(statistics.median(values)), scale(min(values))
            print(f"{trial:6} {name:13} {middle:8.2f} {unit} (best {best:.2f})")


if __name__ == "__main__":
    main()
