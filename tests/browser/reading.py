"""What stands on an opened page."""

from __future__ import annotations

from typing import Any


def listed(page: Any) -> list[str]:
    """The features in the list."""
    return list(page.locator("#rows a").all_inner_texts())


def title(page: Any) -> str:
    return str(page.locator("#detail-title").inner_text())
