"""What a release says of itself, from its configuration alone, held against what the config of a run expects.

Without torch: for files that are there when the rules are read, this comes before anything is computed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clipsteer.backbones.weights import read_json
from clipsteer.dictionaries.formats.every import FORMATS
from clipsteer.dictionaries.release import Claims, factor
from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:
    from clipsteer.backbones.tokens import Tokens

_HUB_PREFIXES = re.compile(r"^(?:open-clip:|open_clip:|hf-hub:|timm/|https://huggingface\.co/)+")


class Expected(NamedTuple):
    """What the config of a run says of a dictionary and of its model; None where it does not say."""

    layer: int
    hook_point: str
    width: int | None = None
    model: str | None = None
    format: str = "auto"
    tokens: str | None = None
    normalize: str | float | None = None
    allow_other_model: bool = False


class Settled(NamedTuple):
    """What follows from a release and the config together."""

    tokens: Tokens
    normalize: str | float


def configuration(
    folder: Path, names: list[str], said: str
) -> tuple[str, dict[str, Any], Path | None]:
    """The format of a release, its configuration and the file that this stands in, as far as names and JSON say.

    Args:
        folder: where it lies.
        names: the relevant files in it (`relevant_files`).
        said: the format that the config names, or `auto`.

    Returns:
        The format is empty where only the weights can say it. A configuration that stands in the weights' own file is
        empty and has no file.

    Raises:
        ClipsteerError: no configuration where there must be one, or one that is not JSON.
    """
    json_names = [name for name in names if name.endswith(".json")]
    weights = names[-1]
    path = folder / json_names[0] if json_names else None
    config = read_json(path) if path else {}
    if said != "auto":
        return said, config, path
    if path is None:
        if not weights.endswith(".pt"):
            raise ClipsteerError(
                f"{folder / weights}: found no configuration beside it (dictionary.json, cfg.json, config.json), "
                "expected one, as tensors alone do not say how they encode. Put it there."
            )
        with (folder / weights).open("rb") as file:
            return "saev" if file.read(1) == b"{" else "", {}, None
    if path.name == "dictionary.json":
        return "clipsteer", config, path
    if path.name == "cfg.json":
        return "sparsify" if weights == "sae.safetensors" else "saelens", config, path
    return "dictionary_learning" if "trainer" in config else "prisma", config, path


def format_of_content(config: Mapping[str, Any], tensors: Mapping[str, Any], where: str) -> str:
    """The format of a `.pt` that stands alone. Raises ClipsteerError where it is none that is known."""
    if "activation_fn_str" in config:
        return "prisma"
    if "pre_bias" in tensors:
        return "openai"
    raise ClipsteerError(
        f"{where}: found no configuration in it or beside it (cfg.json, config.json), expected one, as tensors "
        "alone do not say how they encode. Put it there, or name the format."
    )


def claims_of(kind: str, config: Mapping[str, Any], where: str) -> Claims:
    """What a configuration of a format says of its dictionary."""
    if kind == "clipsteer":
        about = config.get("metadata", {})
        return Claims(
            layer=about.get("layer"),
            hook_point=about.get("hook_point"),
            model=about.get("model"),
            tokens=about.get("tokens", "all"),
            width=config.get("d"),
            normalize="none",
        )
    return FORMATS[kind].claims(config, where)


def settle(claims: Claims, expected: Expected, where: str, key: str) -> Settled:
    """See that a release is what the config takes it for.

    Args:
        claims: what it says.
        expected: what the config says.
        where: its configuration, for messages.
        key: `dictionaries.<name>`, for messages.

    Raises:
        ClipsteerError: another layer, hook point, width or model; tokens or a normalisation that neither says, or both
            say differently, or that is none of ours.
    """
    if claims.layer is not None and claims.layer != expected.layer:
        raise ClipsteerError(
            f"{where}: is of layer {claims.layer}, but {key} has it for layer {expected.layer}, expected the same. "
            f"Correct {key}.source or {key}.sources."
        )
    if claims.hook_point is not None and claims.hook_point != expected.hook_point:
        raise ClipsteerError(
            f"{where}: is of hook point {claims.hook_point}, but {key}.hook_point is {expected.hook_point}, expected "
            "the same. Correct the key, or take another dictionary."
        )
    if claims.width is not None and expected.width is not None and claims.width != expected.width:
        raise ClipsteerError(
            f"{where}: is of width {claims.width}, but the CLIP is of width {expected.width}: it was made for another "
            "one. Take a dictionary of this CLIP, or the CLIP of this dictionary."
        )
    if not expected.allow_other_model and _differ(claims.model, expected.model):
        raise ClipsteerError(
            f"{where}: says that it was made for {claims.model}, but {key} has it for {expected.model}; another CLIP "
            f"of the same shape gives no error and no sense. Take that one, or set {key}.allow_other_model: true where "
            "they are the same under two names."
        )
    tokens = _agreed("tokens", claims.tokens, expected.tokens, where, key, "all, cls or spatial")
    normalize = _agreed(
        "normalize", claims.normalize, expected.normalize, where, key, "none, or a factor"
    )
    factor(normalize, where)
    return Settled(tokens, normalize)


def _agreed(what: str, theirs: Any, ours: Any, where: str, key: str, allowed: str) -> Any:
    if theirs is None and ours is None:
        raise ClipsteerError(
            f"{where}: does not say {_MEANING[what]}, and a guess would not show. Find out, and set {key}.{what} "
            f"({allowed})."
        )
    if theirs is not None and ours is not None and theirs != ours and not _factor_of(theirs, ours):
        raise ClipsteerError(
            f"{where}: says {theirs} ({_MEANING[what]}), but {key}.{what} says {ours}, expected the same. "
            "Remove the key."
        )
    return ours if theirs is None or _factor_of(theirs, ours) else theirs


_MEANING = {
    "tokens": "which tokens it was trained on",
    "normalize": "how activations were normalised",
}


def _factor_of(theirs: Any, ours: Any) -> bool:
    """Whether ours is the number that theirs wants and does not have."""
    return theirs == "expected_average_only_in" and isinstance(ours, int | float)


def _differ(theirs: str | None, ours: str | None) -> bool:
    if not theirs or not ours:
        return False
    one, other = (_HUB_PREFIXES.sub("", name).rstrip("/").casefold() for name in (theirs, ours))
    return one.rpartition("/")[2] != other.rpartition("/")[2]
