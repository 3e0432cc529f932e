"""What a programmer hands over, looked at before it is used: each check gives it back, or says what was expected."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from PIL import Image

from clipsteer.activations.extract import HOOK_POINTS
from clipsteer.backbones.tokens import Tokens
from clipsteer.data.images import decode
from clipsteer.errors import ClipsteerError, close_match
from clipsteer.steering.intervention import ErrorTerm

Picture = Image.Image | str | Path
Pictures = Sequence[Picture]
T = TypeVar("T")


def _refused(name: str, found: object, expected: str) -> ClipsteerError:
    shown = repr(found)
    return ClipsteerError(
        f"{name}: found {shown if len(shown) < 80 else _kind(found)}, expected {expected}."
    )


def of_type(name: str, found: object, kind: type[T], expected: str) -> T:
    """What is of a type."""
    if not isinstance(found, kind):
        raise ClipsteerError(f"{name}: found {_kind(found)}, expected {expected}.")
    return found


def whole(name: str, found: Any, low: int, high: int | None = None) -> int:
    """A whole number from `low` to `high`, of Python's, numpy's or torch's."""
    expected = f"a whole number {f'of at least {low}' if high is None else f'from {low} to {high}'}"
    try:
        number = operator.index(found)
    except TypeError:
        raise _refused(name, found, expected) from None
    if isinstance(found, bool) or number < low or (high is not None and number > high):
        raise _refused(name, found, expected)
    return number


def finite(name: str, found: Any) -> float:
    """A finite number, of Python's, numpy's or torch's."""
    try:
        one = found.item() if getattr(found, "ndim", None) == 0 else found
        number = float(one) if isinstance(one, Real) and not isinstance(one, bool) else None
    except OverflowError:
        number = None
    if number is None or not math.isfinite(number):
        raise _refused(name, found, "a finite number")
    return number


def word(name: str, found: Any, known: Sequence[str]) -> str:
    """One of a few words."""
    if not isinstance(found, str) or found not in known:
        hint = close_match(found, known) if isinstance(found, str) else ""
        raise ClipsteerError(f"{name}: found {found!r}, expected {' or '.join(known)}.{hint}")
    return found


def tokens_word(found: Tokens) -> Tokens:
    """`all`, `spatial` or `cls`."""
    word("tokens", found, get_args(Tokens))
    return found


def error_term_word(found: ErrorTerm) -> ErrorTerm:
    """`keep` or `drop`."""
    word("error_term", found, get_args(ErrorTerm))
    return found


def hook_point_word(found: str) -> str:
    """`resid_post` or `mlp_out`."""
    return word("hook_point", found, HOOK_POINTS)


def texts(name: str, found: Any) -> list[str]:
    """A list of texts; a text by itself is none, as its letters would be taken for its entries."""
    return [of_type(name, one, str, "texts alone") for one in _listed(name, found, "texts")]


def template(name: str, found: Any) -> str:
    """A prompt with a place for the word."""
    if not isinstance(found, str) or "{}" not in found:
        raise _refused(
            name, found, "text with '{}' where the word goes, such as 'a photo of a {}.'"
        )
    return found


def pictures(found: Any) -> Pictures:
    """A list of images, each of which `picture` can open; at least one."""
    images = _listed("images", found, "PIL images or files")
    if not images:
        raise ClipsteerError("images: found none, expected at least one.")
    return images


def picture(found: Picture) -> Image.Image:
    """An image in RGB, of a file or as it is. Raises ClipsteerError for one of another mode, or none."""
    if isinstance(found, Image.Image):
        if found.mode != "RGB":  # what becomes of transparency, say, is not ours to guess
            raise ClipsteerError(
                f"images: found one in mode {found.mode}, expected RGB; convert it, or give its file."
            )
        if not all(found.size):
            raise ClipsteerError(f"images: found one of size {found.size}, expected pixels.")
        return found
    if not isinstance(found, str | Path):
        raise ClipsteerError(f"images: found {_kind(found)}, expected PIL images or files.")
    path = Path(found)
    try:
        return decode(path.read_bytes(), str(path))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ClipsteerError(f"{path}: cannot be read ({why}); expected an image file.") from error


def text_rows(name: str, found: Any, width: int) -> torch.Tensor:
    """Embeddings of texts in the model's own shared space, (n, `width`), finite."""
    rows = of_type(name, found, torch.Tensor, "a tensor of text embeddings")
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ClipsteerError(
            f"{name}: found rows of shape {tuple(rows.shape)}, expected (n, {width}), as the model's image embeddings "
            "are; make it with the same model."
        )
    if not bool(torch.isfinite(rows).all()):
        raise ClipsteerError(
            f"{name}: found values that are not finite, expected numbers; make it again."
        )
    return rows


def _listed(name: str, found: Any, of: str) -> list[Any]:
    """What has a length and is no text: a list, a tuple, a column of a data frame, the keys of a mapping."""
    alone = isinstance(found, str | bytes) or not isinstance(found, Iterable)
    if alone or not hasattr(found, "__len__"):
        raise ClipsteerError(f"{name}: found {_kind(found)}, expected a list of {of}.")
    return list(found)


def _kind(found: object) -> str:
    name = type(found).__name__
    return f"{'an' if name.lower().startswith(('a', 'e', 'i', 'o', 'u', 'nd')) else 'a'} {name}"
