"""What the site needs beside docs/: the pages and files of the checkout that its pages link to.

A page outside docs/ (README.md, CONTRIBUTING.md) becomes a page, any other file a text beside it, and links lead
there. So nothing leads out of the site, and `mkdocs build --strict` sees every link and section.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_BASE = Path(__file__).parents[2]
_DOCS = _BASE / "docs"
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
_BESIDE = "repository"


def _uri(path: Path) -> str | None:
    """Where a file of the checkout stands in the site; None for a folder and for what is not there."""
    if not path.is_file():
        return None
    if path.is_relative_to(_DOCS):
        return path.relative_to(_DOCS).as_posix()
    suffix = "" if path.suffix == ".md" else ".txt"
    return f"{_BESIDE}/{path.relative_to(_BASE).as_posix()}{suffix}"


def _file(uri: str) -> Path:
    """The file of the checkout that a page of the site is made of."""
    inside = uri.startswith(f"{_BESIDE}/")
    return _BASE / uri.removeprefix(f"{_BESIDE}/") if inside else _DOCS / uri


def on_files(files: Files, config: Any) -> Files:
    """Add what is linked to from outside docs/, and what that links to."""
    left = [file.src_uri for file in files if file.src_uri.endswith(".md")]
    while left:
        place = _file(left.pop())
        for target, _ in _LINK.findall(place.read_text(encoding="utf-8")):
            path = (place.parent / target).resolve()
            uri = _uri(path) if path.is_relative_to(_BASE) else None
            if uri and files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, content=path.read_bytes()))
                if uri.endswith(".md"):
                    left.append(uri)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to where files stand in the site."""
    here = page.file.src_uri
    place = _file(here)

    def link(found: re.Match[str]) -> str:
        path = (place.parent / found[1]).resolve()
        uri = _uri(path)
        if uri is None:  # left as it is where there is nothing, so that the build says so
            return "]()" if path.is_dir() else found[0]
        return f"]({os.path.relpath(uri, Path(here).parent)}{found[2] or ''})"

    return _LINK.sub(link, markdown)
