"""Debian's Chromium, and pages that it opens from the disk, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipsteer.report.explorer import feature_page
from clipsteer.report.look_page import look_page
from tests.report.pages import (
    ABOUT,
    IMAGES,
    LOOKED,
    VIEWED_ABOUT,
    VIEWED_IMAGES,
    looked_places,
    places,
    viewed_places,
)

# A theme is kept by all pages from a disk: each test has a context, and so a memory, of its own.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium here (make test-browser installs it)")
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="no playwright (make test-browser)"
    )
    with sync_api.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def small(folder: Path) -> str:
    path = folder / "index.html"
    path.write_text(feature_page(places(), IMAGES, ABOUT, 60), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def viewed(folder: Path) -> str:
    """The page with views of single images."""
    path = folder / "viewed.html"
    text = feature_page(viewed_places(), VIEWED_IMAGES, VIEWED_ABOUT, 60)
    path.write_text(text, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def own(folder: Path) -> str:
    """The page of images of one's own."""
    path = folder / "look.html"
    path.write_text(look_page(looked_places(), LOOKED, "Model m."), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """`opened(address, ...)`: a page whose errors and requests are gathered; at the end there are none."""
    contexts, errors, requests = [], [], []

    def go(address: str, **settings: Any) -> Any:
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda asked: requests.append(asked.url))
        page.goto(address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert errors == []
    assert {url.partition("#")[0] for url in requests if not url.startswith("data:")} <= {
        url.partition("#")[0] for url in requests[:1]
    }
