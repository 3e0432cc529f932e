"""How a format reads a configuration: what must be there, what a hook's name says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:
    from torch import Tensor

Config = Mapping[str, Any]

#: Tensors that many releases call as we do, for `taken`.
PLAIN = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}

_LAYER = re.compile(r"(?<![a-z])(?:blocks|layers?|resblocks|h)[._/-]?(\d+)")
_HOOKS = (
    ("hook_resid_post", "resid_post"),
    ("resid_post", "resid_post"),
    ("hook_mlp_out", "mlp_out"),
    ("mlp_out", "mlp_out"),
)


def needed(config: Config, key: str, where: str, why: str) -> Any:
    """A value that must be there: whoever guesses one makes another dictionary of the file without a word.

    Raises ClipsteerError where it is absent.
    """
    if key not in config:
        raise ClipsteerError(
            f"{where}: {key}: missing; expected it, as {why}. Look at how the dictionary was trained, and add the key."
        )
    return config[key]


def refuse(where: str, key: str, found: object, expected: str) -> ClipsteerError:
    """What to say of a kind of dictionary that is none of ours."""
    return ClipsteerError(
        f"{where}: {key}: found {found!r}, expected {expected}. clipsteer has no dictionary of that kind."
    )


def taken(tensors: Mapping[str, Tensor], names: Mapping[str, str], where: str) -> dict[str, Tensor]:
    """The tensors of a file by our names, `names` being theirs by ours.

    Raises ClipsteerError for one that is missing.
    """
    missing = sorted(theirs for theirs in names.values() if theirs not in tensors)
    if missing:
        raise ClipsteerError(
            f"{where}: found the tensors {', '.join(sorted(tensors))}, expected {', '.join(missing)} too. Is it of the "
            "format that is asked for?"
        )
    return {ours: tensors[theirs] for ours, theirs in names.items()}


def layer_of(name: str) -> int | None:
    """The layer that a hook's or a module's name has in it; None where it has none."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def hook_of(name: str) -> str | None:
    """Our hook point of another library's; its own name where it is one that we do not have."""
    for theirs, ours in _HOOKS:
        if theirs in name:
            return ours
    return name or None


def first(config: Config, keys: Sequence[str]) -> Any:
    """The value of the first of several names for one thing that is there; else None."""
    return next((config[key] for key in keys if config.get(key) is not None), None)


def text(value: Any) -> str | None:
    """A value that should be text; None of anything else."""
    return value if isinstance(value, str) and value else None


def whole(value: Any) -> int | None:
    """A value that should be a whole number; None of anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
