"""Measure a checkpoint of an SAE's training: its size, what saving and resuming take.

    python -m benchmarks.checkpoints [--features 49152] [--width 768] [--folder DIR]

The state is that of a first step, which is as large as any other. CPU seconds of this process, in which
other users of the machine do not show, and wall seconds, in which they and the disk do. Memory is the peak
above the state's own.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from clipsteer.dictionaries.state import TrainState
from clipsteer.runner.checkpoints import Checkpoints


@contextmanager
def timed(what: str) -> Iterator[None]:
    cpu, wall = time.process_time(), time.monotonic()
    yield
    print(f"{what}: {time.process_time() - cpu:.2f} CPU s, {time.monotonic() - wall:.2f} s")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--features", type=int, default=49_152)
    words.add_argument("--width", type=int, default=768)
    words.add_argument("--folder", type=Path, help="on the disk to measure; default: the system's")
    arguments = words.parse_args()
    state = TrainState.initial(
        arguments.features, np.zeros((1, arguments.width), np.float32), seed=0
    )
    before = peak_mb()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        checkpoints = Checkpoints(Path(folder), every=1)
        with timed("state to bytes"):
            data = state.to_bytes()
        print(f"checkpoint: {len(data):,} bytes")
        with timed("digest, write and flush"):
            checkpoints.save(1, data)
        print(f"memory to save: {peak_mb() - before:,.0f} MB")
        del data, state
        with timed("read and check"):
            found = checkpoints.latest()
        assert found is not None
        with timed("bytes to state"):
            TrainState.from_bytes(found[1])
    print(f"memory in all: {peak_mb() - before:,.0f} MB")


if __name__ == "__main__":
    main()
