"""What holds for all tests."""

import os
import signal

# before torch is imported; as jobs have it
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

import hypothesis
import pytest
import torch

# Several processes of tests share the cores, and threads on one core wait for each other. Jobs have their own number.
torch.set_num_threads(1)

# The same examples everywhere and always: what a failure in CI shows can be seen at home. A busy machine is none.
hypothesis.settings.register_profile(
    "same",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("same")

# A shell lets what it starts in the background ignore Ctrl-C, and so would everything that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Half as many again as there are cores: a test that runs the workflow waits for processes and disks, too."""
    return -(-3 * (os.cpu_count() or 1) // 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs of the workflow come first, the longest before all: at the end, they would leave other cores idle."""
    whole = "faults", "workflow"
    items.sort(
        key=lambda item: (item.path.name != "test_mixtures.py", item.path.parent.name not in whole)
    )
