"""A released dictionary between its file and ours: what it claims to be, its tensors, and the exact way to our form.

Only what is exact is folded (docs/dictionaries.md): what depends on each token, as layer norm does, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:
    from torch import Tensor

    from clipsteer.dictionaries.base import Dictionary

Architecture = Literal["vanilla", "topk", "jumprelu", "gated"]

#: How far float32 rounding leaves a row from unit norm: such rows are as they should be.
UNIT = 1e-6

#: Features that are folded together: one block of weights, in float64, is all that is copied at a time.
BLOCK = 2048


class Claims(NamedTuple):
    """What a release says of itself; None where it says nothing."""

    layer: int | None = None
    hook_point: str | None = None
    model: str | None = None
    tokens: str | None = None
    width: int | None = None
    normalize: str | float | None = None
    """How its activations were scaled: `none`, a factor, or a word for what cannot be folded."""


@dataclass
class Release:
    """A dictionary as its file has it, by our names and in our orientation.

    Attributes:
        architecture: which code its tensors make.
        tensors: W_enc (d, m), b_enc (m,), W_dec (m, d), b_dec (d,); of `jumprelu` threshold too, of `gated` gain and
            shift (`clipsteer.dictionaries.gated`). Views of the file.
        k: of `topk`.
        subtracts_b_dec: whether the encoder sees x - b_dec.
        by_norm: whether the k largest are those of pre_j ||n_j||.
    """

    architecture: Architecture
    tensors: dict[str, Tensor]
    k: int | None = None
    subtracts_b_dec: bool = True
    by_norm: bool = False


def gated_release(found: dict[str, Tensor]) -> Release:
    """Of our tensors, but `r_mag` and `b_mag` (m,) in place of gain and shift.

    Magnitudes are the gate's without its bias, times exp(r_mag), plus b_mag (`clipsteer.dictionaries.gated`).
    """
    gain = found.pop("r_mag").double().exp()
    shift = found.pop("b_mag").double() - gain * found["b_enc"].double()
    return Release("gated", {**found, "gain": gain.float(), "shift": shift.float()})


def check_shapes(tensors: Mapping[str, Tensor], where: str) -> tuple[int, int]:
    """(d, m) of tensors by our names.

    Raises ClipsteerError for one that is transposed, of another size, or not finite.
    """
    d, m = len(tensors["b_dec"]), len(tensors["b_enc"])
    for name, tensor in tensors.items():
        expected = {"W_enc": (d, m), "W_dec": (m, d), "b_dec": (d,)}.get(name, (m,))
        found = tuple(tensor.shape)
        if found == expected:
            continue
        turned = " It lies there transposed." if found == expected[::-1] else ""
        raise ClipsteerError(
            f"{where}: {name} has shape {found}, expected {expected}, as its biases are of width {d} and {m} features."
            f"{turned} Is it of the format that is asked for?"
        )
    for name, tensor in tensors.items():
        rows = tensor if tensor.ndim == 1 or name == "W_dec" else tensor.t()
        for low in range(0, len(rows), BLOCK):
            if not bool(rows[low : low + BLOCK].isfinite().all()):
                raise ClipsteerError(
                    f"{where}: {name}: found NaN or infinite values, expected finite ones. Download it again."
                )
    return d, m


def canonical(release: Release, normalize: str | float, where: str) -> Dictionary:
    """The same function of an activation in our form: unit decoder rows, x - b_dec encoded, raw activations.

    Args:
        release: its matrices are written over where something has to be folded, so that memory holds them once; a file
            that they are mapped from stays as it is.
        normalize: how its activations were scaled before it saw them: `none`, or the factor that they were multiplied
            with (its reconstructions are divided by it).
        where: the file, for messages.

    Raises:
        ClipsteerError: misshapen or unreadable tensors, a scaling that cannot be folded.
    """
    from clipsteer.dictionaries.registry import architecture as architecture_named

    tensors = {name: tensor.detach().float() for name, tensor in release.tensors.items()}
    d, m = check_shapes(tensors, where)
    encoder, decoder = (tensors[name].untyped_storage() for name in ("W_enc", "W_dec"))
    if encoder.data_ptr() == decoder.data_ptr():  # tied: one is not to change with the other
        tensors["W_enc"] = tensors["W_enc"].clone()
    scale = factor(normalize, where)
    if not release.subtracts_b_dec:  # relu(x W + b) = relu((x - b_dec) W + (b + b_dec W))
        shift = _product(tensors["b_dec"], tensors["W_enc"])
        tensors["b_enc"] = (tensors["b_enc"].double() + shift).float()
    if scale != 1.0:  # act((c x - b_dec) W) and (f W_dec + b_dec) / c
        tensors["W_enc"].mul_(scale)
        for name in ("b_dec", "W_dec"):
            tensors[name].div_(scale)
    name, options = release.architecture, {} if release.k is None else {"k": release.k}
    norms = _norms(tensors["W_dec"])
    if float((norms - 1).abs().max()) > UNIT:
        tensors = _unit_rows(release, tensors, norms)
        name = "scaled_topk" if "gain" in tensors and release.architecture == "topk" else name
    kind = architecture_named(name)
    return kind.build(d, m, tensors, options)


def factor(normalize: str | float, where: str) -> float:
    """What activations are multiplied with before the encoder sees them. Raises ClipsteerError for no factor."""
    if normalize == "none":
        return 1.0
    if isinstance(normalize, int | float) and normalize > 0:
        return float(normalize)
    raise ClipsteerError(
        f"{where}: says that activations were normalised by {normalize!r}, which depends on each token (or on numbers "
        "that it does not have) and cannot be folded into weights, expected none or a factor. An edit would have to be "
        "scaled token by token, which clipsteer does not do; use a dictionary of raw activations."
    )


def _unit_rows(release: Release, tensors: dict[str, Tensor], norms: Tensor) -> dict[str, Tensor]:
    """Decoder rows of unit norm, their norms in the code: f_j n_j is as it was. The matrices are written over."""
    found, rows = dict(tensors), tensors["W_dec"]
    for low in range(0, len(norms), BLOCK):
        some = slice(low, low + BLOCK)
        rows[some] = (rows[some].double() / norms[some].clamp(min=1e-300).unsqueeze(1)).float()
    # A row of zeros has no direction and no effect: any direction does, as its code becomes zero.
    rows[norms == 0, 0] = 1
    gain = norms.float()
    if release.architecture == "topk" and not release.by_norm:
        return {**found, "gain": gain}
    if release.architecture == "gated":
        return {**found, "gain": tensors["gain"] * gain, "shift": tensors["shift"] * gain}
    tensors["W_enc"].mul_(gain)
    for name in {"b_enc", "threshold"} & tensors.keys():
        found[name] = tensors[name] * gain
    return found


def _norms(rows: Tensor) -> Tensor:
    """Of each row (m, d), in float64 (m,), a block at a time."""
    import torch

    # made first: a small result behind each block would keep the block's memory from the next one
    found = torch.empty(len(rows), dtype=torch.float64)
    for low in range(0, len(rows), BLOCK):
        some = slice(low, low + BLOCK)
        found[some] = rows[some].double().norm(dim=1)
    return found


def _product(vector: Tensor, matrix: Tensor) -> Tensor:
    """vector (d,) times matrix (d, m) in float64, a block of columns at a time."""
    import torch

    wide = vector.double()
    found = torch.empty(matrix.shape[1], dtype=torch.float64)
    for low in range(0, matrix.shape[1], BLOCK):
        some = slice(low, low + BLOCK)
        found[some] = wide @ matrix[:, some].double()
    return found
