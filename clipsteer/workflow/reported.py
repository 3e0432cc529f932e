"""What Snakemake's report (`snakemake --report`) says of results: where each is listed, and of which images it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipsteer.store.pointers import DamagedPointerError, read_pointer
from clipsteer.store.roots import REFS
from clipsteer.workflow.derived import Derived
from clipsteer.workflow.outline import Outline


def in_report(category: str, what: str, caption: str, dataset: str = "{dataset}") -> dict[str, Any]:
    """The arguments of `report(...)` for one result. `caption`: the name of a file in `rules/captions`."""
    labels = {"data set": dataset, "what": what}
    return {"category": category, "labels": labels, "caption": f"captions/{caption}.rst"}


def about(outline: Outline, split: str = "test") -> Callable[[Any], str]:
    """The param `about` of a rule: source, model, and how many images of a split the result is of.

    Only captions read it. Their number is known once there is a manifest, so in every report.
    """
    derived = Derived(outline)

    def said(wildcards: Any) -> str:
        dataset = str(wildcards.dataset)
        painted = derived.images_from(wildcards) == "painted"
        source = "painted (synthetic)" if painted else "real"
        model = outline.models[outline.model_of(wildcards)]["name"]
        return f"Source: {source}; model: {model}; {_images(outline.folder, dataset, split)}."

    return said


def _images(folder: Path, dataset: str, split: str) -> str:
    pointer = folder / REFS / dataset / "manifest.json"
    if not pointer.is_file():
        return f"{split} images of {dataset}"
    try:
        number = read_pointer(pointer).members["all"].facts.get(f"images_{split}")
    except DamagedPointerError:  # this very run restores it
        number = None
    return (
        f"{split} images of {dataset}"
        if number is None
        else f"{number:,} {split} images of {dataset}"
    )
