"""What an opened page must come to show: a link, a key or a reload is answered in the page's own time."""

from __future__ import annotations

import re
from typing import Any


def lists(page: Any, features: list[str]) -> None:
    """The features in the list are, or become within Playwright's limit, these."""
    _expect(page.locator("#rows a")).to_have_text(features)


def shows(page: Any, title: str | re.Pattern[str]) -> None:
    """The title of what is shown is, or becomes within Playwright's limit, this."""
    _expect(page.locator("#detail-title")).to_have_text(title)


def _expect(locator: Any) -> Any:
    from playwright.sync_api import expect  # `make test-browser` installs it

    return expect(locator)
