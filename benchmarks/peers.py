"""The peers of the training benchmarks: their own environment, and each peer in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

PINS = (
    "torch==2.13.0",
    "eai-sparsify==1.3.3",
    "sae-lens==6.54.12",
    "overcomplete==0.3.0",
    "dictionary_learning==0.1.0",
)
PEER_FOLDER = Path(__file__).with_name(".venv") / "training"


def environment(folder: Path) -> Path:
    """The peers' Python; installs them where the folder does not have them.

    Raises PeerError where that fails, without a network for instance.
    """
    python = folder / "bin/python"
    # Our own torch serves them too: another copy is gigabytes, and perhaps of another build.
    ours = Path(torch.__file__).parents[1]
    wanted = "\n".join([*PINS, str(ours)])
    stamp = folder / "pins.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {', '.join(PINS)} into {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "ours.pth").write_text(f"{ours}\n")
        # torchvision comes for another build of torch where that is the CPU's: nothing imports then.
        for pip in (
            ["install", "--quiet", "--no-compile", *PINS],
            ["uninstall", "--quiet", "--yes", "torchvision"],
        ):
            if subprocess.run([python, "-m", "pip", *pip], stdout=sys.stderr).returncode:
                raise PeerError("pip could not install the peers")
        stamp.write_text(wanted)
    return python


class PeerError(Exception):
    """A peer cannot be measured; the message says why."""


@contextmanager
def peer(
    name: str,
    data: Path,
    features: int,
    python: Path,
    *,
    k: int,
    device: str,
    threads: int | None = None,
    cpu_time: bool = False,
    steps: int = 1,
) -> Iterator[Callable[[], float]]:
    """A running `training_peers.py`: each call takes so many steps there and gives their seconds."""
    threads = threads or torch.get_num_threads()
    words = [name, data, features, k, threads, "cpu" if cpu_time else "wall", device]
    script = Path(__file__).with_name("training_peers.py")
    process = subprocess.Popen(
        [str(word) for word in (python, script, *words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # No accounts, hubs or trackers are wanted by a few steps on made-up data.
        env=os.environ | {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    source, sink = process.stdout, process.stdin

    def step() -> float:
        print(steps, file=sink, flush=True)
        return float(source.readline())

    if source.readline().strip() != "ready":
        raise PeerError(f"it does not start in {python.parents[1]}; delete that folder")
    try:
        yield step
    finally:
        sink.close()
        process.wait()
