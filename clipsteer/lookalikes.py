"""Files that bear a name and hold something else: pointers of Git LFS, web pages, nothing at all.

Each is what a clone or a download leaves behind that did not fetch the content. They are told by their
first bytes, so that a look costs next to nothing.
"""

from __future__ import annotations

from clipsteer.errors import ClipsteerError

HEAD = 256
"""Bytes from a file's start that are enough to tell."""

_LFS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_HTML = (b"<!doctype html", b"<html", b"<head")


def lookalike(head: bytes) -> str:
    """What a file is by its first `HEAD` bytes, with what to do; empty where nothing speaks against it."""
    if not head:
        return "an empty file; copy or download it again"
    if head.startswith(_LFS):
        return (
            "a Git LFS pointer in place of the content; run `git lfs pull` in the clone it is from"
        )
    if head.startswith(b"/annex/objects/"):
        return "a git-annex pointer in place of the content; run `git annex get` in the clone it is from"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML):
        return "a web page (HTML), perhaps of a login or an error; download the file itself"
    return ""


def check_content(data: bytes, name: str) -> None:
    """Raise ClipsteerError, with `name`, where a file's content is that of a lookalike; empty is fine."""
    if data and (found := lookalike(data[:HEAD])):
        raise ClipsteerError(f"{name}: found {found}.")
