"""Released dictionaries when the rules are read: which files or commits they are, and what they claim to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipsteer.backbones.weights import own_name
from clipsteer.config.model import model_shape
from clipsteer.dictionaries.claimed import Expected, claims_of, configuration, settle
from clipsteer.dictionaries.published import FAMILIES
from clipsteer.dictionaries.sources import Local, commit_of, relevant_files
from clipsteer.errors import ClipsteerError
from clipsteer.runner.scan import Folder, scan
from clipsteer.workflow.outline import Outline


def expected(outline: Outline, dictionary: str) -> dict[str, Any]:
    """What the configuration expects of a dictionary, whichever the layer: `Expected` but for that."""
    settings, model = outline.dictionaries[dictionary], outline.dictionary_model(dictionary)
    family = FAMILIES.get(settings.get("source", "").removeprefix("prisma:"))
    tokens = family.tokens if family and settings["source"].startswith("prisma:") else None
    return {
        "hook_point": settings["hook_point"],
        "width": model_shape(outline.config, outline.folder, model)[1],
        "model": _called(outline, model),
        "format": settings.get("format", "auto"),
        "tokens": settings.get("tokens", tokens),
        "normalize": settings.get("normalize"),
        "allow_other_model": settings.get("allow_other_model", False),
    }


def released(outline: Outline, dictionary: str, caches: Path) -> dict[str, Any]:
    """What stands for each layer of a dictionary: `files`, names with digests, or `repo`, `inside`, `revision`.

    Raises one ClipsteerError for all layers that are not there, or that say of themselves that they are something else.
    """
    found: dict[str, Any] = {}
    faults: list[str] = []
    for layer in outline.layers(outline.dictionary_model(dictionary)):
        try:
            found[str(layer)] = _layer(outline, dictionary, layer, caches)
        except ClipsteerError as error:
            faults.append(str(error))
    if faults:
        raise ClipsteerError("\n".join(dict.fromkeys(faults)))
    return found


def _layer(outline: Outline, dictionary: str, layer: int, caches: Path) -> dict[str, Any]:
    key = f"dictionaries.{dictionary}"
    source = outline.source(dictionary, layer)
    if not isinstance(source, Local):
        return commit_of(source, f"{key}.source")._asdict()
    folder, names = relevant_files(source.path, f"{key}.source")
    wanted = Expected(layer=layer, **expected(outline, dictionary))
    kind, config, file = configuration(folder, names, wanted.format)
    if kind and file:  # else only the weights say what they are, and the job reads them
        settle(claims_of(kind, config, str(file)), wanted, str(file), key)
    place = Folder(
        folder,
        f"{key}.source",
        layout="a dictionary's weights and its configuration",
        watch="off",
        label_patterns=names,
    )
    looked_at = scan(place, cache=caches / f"scan-{dictionary}-{layer:02d}")
    return {"files": looked_at.digests}


def _called(outline: Outline, model: str) -> str | None:
    """What a CLIP is called: on the hub, or by its folder's own configuration; None of one that is trained here."""
    if model not in outline.taken_models:
        return None
    folder = outline.local_model(model)
    return (
        str(outline.models[model]["source"])
        if folder is None
        else own_name(outline.folder / folder)
    )
