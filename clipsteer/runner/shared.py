"""A store that several nodes share: a job on a node that does not see it must not make one of its own there.

Objects in it would be lost to all others, and each node would compute what another has done.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from clipsteer.errors import ClipsteerError

VARIABLE = "CLIPSTEER_STORE_SEEN_BY"


def share(root: Path) -> None:
    """Let the jobs of this process know that the store's folder is there, wherever they run."""
    with suppress(OSError):  # the jobs say what is wrong with it
        root.mkdir(parents=True, exist_ok=True)
    if root.is_dir():
        os.environ[VARIABLE] = socket.gethostname()


def check_shared(root: Path) -> None:
    """Raises ClipsteerError where the run has seen the store's folder, and this job does not."""
    host = os.environ.get(VARIABLE)
    if host and not root.is_dir():
        raise ClipsteerError(
            f"store.root: found no folder {root.resolve()} on {socket.gethostname()}, expected the one that {host} "
            "sees, where the run was started: the store has to be on a file system that all nodes share, under the "
            "same path."
        )
