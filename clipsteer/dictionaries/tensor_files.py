"""Reads the tensors of files that others wrote. Nothing in a file is ever executed.

A `.pt` is a pickle, which may ask for any code: it is read with `weights_only`, and of the classes that releases of
dictionaries are known to hold, a stub of ours stands for each. Whatever else a file asks for is named and refused.
Large tensors stay in the file (mapped), so that memory holds what is read of them.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from clipsteer.backbones.weights import first_line
from clipsteer.errors import ClipsteerError
from clipsteer.lookalikes import check_content

#: Configuration classes in released files: ViT-Prisma's.
KNOWN_CLASSES = ("vit_prisma.sae.config.VisionModelSAERunnerConfig",)


class Stub:
    """Stands for a class of another program: holds its fields, does nothing."""


class Content(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Tensor]
    """By name; more than one dimension or not."""

    config: dict[str, Any]
    """Configuration that the file itself has: the fields of a known class, or a first line of JSON."""


def read_tensors(path: Path, scratch: Path) -> Content:
    """The tensors of a `.pt`, `.safetensors` or `.npz` file, and what configuration is in it.

    Args:
        path: the file.
        scratch: an existing folder, for what must lie in a file of its own to be mapped.

    Raises:
        ClipsteerError: a file that cannot be read, holds no tensors, or asks for code.
    """
    check_content(_head(path), str(path))
    reader = {".safetensors": _safetensors, ".npz": _npz, ".pt": _torch}[path.suffix]
    found = reader(path, scratch)
    if not found.tensors:
        raise ClipsteerError(
            f"{path}: found no tensors, expected those of a dictionary. Name the file that has its weights."
        )
    return found


def _safetensors(path: Path, scratch: Path) -> Content:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return Content(load_file(path), {})
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _npz(path: Path, scratch: Path) -> Content:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Content({name: torch.from_numpy(arrays[name]) for name in arrays.files}, {})
    except (ValueError, OSError, TypeError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def _torch(path: Path, scratch: Path) -> Content:
    with path.open("rb") as file:
        header = _first_line(file)
        if header is not None:  # saev: a line of JSON, then the archive
            archive = scratch / "archive.pt"
            with archive.open("wb") as copy:
                shutil.copyfileobj(file, copy)
    if header is not None:
        held = _archive(archive, path)
        return Content(_state(held, path), header)
    held = _archive(path, path)
    return Content(_state(held, path), _config(held))


def _archive(archive: Path, path: Path) -> Any:
    """What a torch archive holds; `path` is what people know it by."""
    if not zipfile.is_zipfile(archive):
        raise ClipsteerError(
            f"{path}: found no archive as torch writes them since 1.6, expected one. Load it where you trust it and "
            "save its state dict again (torch.save), or as safetensors."
        )
    try:
        asked = set(torch.serialization.get_unsafe_globals_in_checkpoint(archive)) - set(
            KNOWN_CLASSES
        )
        if asked:
            raise ClipsteerError(
                f"{path}: this file wants to run {', '.join(sorted(asked))}, which is refused, as a pickle can run any "
                "code. Load it where you trust it, and save its state dict as safetensors, with the configuration "
                "beside it."
            )
        stubs: list[Any] = [(Stub, name) for name in KNOWN_CLASSES]
        with torch.serialization.safe_globals(stubs):
            return torch.load(archive, map_location="cpu", weights_only=True, mmap=True)
    except ClipsteerError:
        raise
    except Exception as error:  # torch has many classes for an archive that is none
        raise _unreadable(path, error) from error


def _state(held: Any, path: Path) -> dict[str, Tensor]:
    """The state dict that an archive is, or holds."""
    state = held.get("state_dict", held) if isinstance(held, Mapping) else held
    if not isinstance(state, Mapping):
        raise ClipsteerError(
            f"{path}: found a {type(state).__name__}, expected a state dict: names and tensors. Save that."
        )
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def _config(held: Any) -> dict[str, Any]:
    """What an archive holds beside tensors: the fields of its configuration, and what stands in its state dict."""
    if not isinstance(held, Mapping):
        return {}
    beside = held.get("cfg", {})
    fields = (
        vars(beside) if isinstance(beside, Stub) else beside if isinstance(beside, Mapping) else {}
    )
    state = {str(name): value for name, value in held.items() if not isinstance(value, Tensor)}
    return {
        name: value for name, value in state.items() if name not in ("cfg", "state_dict")
    } | dict(fields)


def _first_line(file: BinaryIO) -> dict[str, Any] | None:
    """The JSON that a file begins with, read up to its end; None, and nothing read, where there is none."""
    if file.read(1) != b"{":
        file.seek(0)
        return None
    file.seek(0)
    try:
        found = json.loads(file.readline(2**20))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ClipsteerError(
            f"{file.name}: begins with a brace but not with a line of JSON, expected a torch archive or saev's form. "
            "Download it again."
        )
    return found


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1024)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ClipsteerError:
    return ClipsteerError(
        f"{path}: cannot be read as {path.suffix} ({first_line(error)}), expected the weights of a dictionary. "
        "Download it again."
    )
