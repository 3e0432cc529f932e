"""Which of a data set's files the scan must count because the user names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clipsteer.data.forms import label_files
from clipsteer.errors import ClipsteerError


def named_files(dataset: Mapping[str, Any]) -> Callable[[bool], list[str]]:
    """What `clipsteer.runner.scan.Folder` takes as `named`, for a data set of the config."""

    def named(beside: bool) -> list[str]:
        files = label_files(dataset)
        if beside and dataset["layout"] == "folder":
            from clipsteer.data.layouts.folder import hidden_images  # heavy, and seldom needed

            # a manifest that cannot be read is the next step's to report
            with suppress(ClipsteerError):
                root = Path(dataset["root"]).expanduser()
                files += hidden_images(root, dataset.get("options", {}).get("manifest"))
        return files

    return named
