"""The one exception that a user is meant to read."""

from __future__ import annotations


class ClipsteerError(Exception):
    """A fault that the user can mend.

    The message names the file or config key, what was found, what was expected and what to do.
    Scripts print it without a traceback and exit with status 1; anything else is a bug of ours and
    keeps its traceback.
    """
