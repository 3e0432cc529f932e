"""Where and in which precision torch computes; checks of the words that a config has for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from clipsteer.errors import ClipsteerError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """`auto` is cuda where it is there, else cpu; other names are checked.

    MPS is not among them: it has neither float64 nor sparse products, which training and sums need.

    Raises:
        ClipsteerError: an unknown name, or a device that this machine or this torch lacks.
    """
    available = ["cuda"] if torch.cuda.is_available() else []
    if name == "auto":
        return torch.device(*available or ["cpu"])
    usable = ["auto", "cpu", *available]
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    known = device is not None and device.type in usable
    if device is not None and device.type == "cuda" and known:
        known = (device.index or 0) < torch.cuda.device_count()
    if device is None or not known:
        raise ClipsteerError(
            f"device: found {name!r}; here these can be used: {', '.join(usable)}. Choose one."
        )
    return device


def resolve_dtype(name: str) -> torch.dtype:
    """The torch dtype of a config's `float32`, `bfloat16` or `float16`.

    Raises:
        ClipsteerError: any other name.
    """
    if name not in DTYPES:
        raise ClipsteerError(f"dtype: found {name!r}, expected one of {', '.join(DTYPES)}.")
    return DTYPES[name]


def check_layer(layer: int, n_layers: int, key: str = "layer") -> None:
    """Refuse a layer that the model does not have.

    Raises:
        ClipsteerError: naming `key`, the config key the number came from, and what is allowed.
    """
    if not 0 <= layer < n_layers:
        raise ClipsteerError(
            f"{key}: found layer {layer}; this model has {n_layers} vision layers, so 0 to "
            f"{n_layers - 1} are allowed. Correct {key} or choose another model."
        )


@contextmanager
def exact_inference() -> Iterator[None]:
    """No autograd, and no TF32 in the patch convolution (cuDNN's default rounds to 10 bits)."""
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
    ):
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, for sums and factorisations whose last bits would else hang on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
