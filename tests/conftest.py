"""What holds for all tests."""

import signal

import pytest

# A shell lets what it starts in the background ignore Ctrl-C, and so would everything that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs of the workflow come first: at the end, a long test would leave the other cores idle."""
    items.sort(key=lambda item: item.path.parent.name not in ("faults", "workflow"))
