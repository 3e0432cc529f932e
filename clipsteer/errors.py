"""The one exception that a user is meant to read."""

from __future__ import annotations

from collections.abc import Iterable


class ClipsteerError(Exception):
    """A fault that the user can mend.

    The message names the file or config key, what was found, what was expected and what to do.
    Scripts print it without a traceback and exit with status 1; anything else is a bug of ours and
    keeps its traceback.
    """


def close_match(word: str, allowed: Iterable[str]) -> str:
    """` Did you mean X?` where one of the allowed words is close (case aside), else nothing."""
    import difflib  # needed only where something is wrong

    by_fold: dict[str, str] = {}
    for name in allowed:
        by_fold.setdefault(name.casefold(), name)
    near = difflib.get_close_matches(word.casefold(), by_fold, n=1)
    return f" Did you mean {by_fold[near[0]]}?" if near else ""
