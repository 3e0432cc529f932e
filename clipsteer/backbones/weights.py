"""Where a model's files come from, and which of them determine its results.

Nothing here imports torch or transformers: a workflow's planning phase calls these functions.
"""

from __future__ import annotations

import json
import re
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any, BinaryIO

from clipsteer.errors import ClipsteerError
from clipsteer.lookalikes import HEAD, check_content, lookalike

CONFIG = "config.json"
KINDS = {"clip": "CLIPModel", "siglip": "SiglipModel"}
"""By `model_type`, what transformers calls the models of both towers that can be steered."""
SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"
TORCH_BIN = "pytorch_model.bin"
TORCH_BIN_INDEX = "pytorch_model.bin.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
)
# Each of these makes a tokenizer.
_TOKENIZERS = ({"tokenizer.json"}, {"vocab.json", "merges.txt"}, {"spiece.model"})
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")

# Names are given in full: a repository often holds the same weights again for other programs
# (open_clip_*.safetensors, flax, tf, onnx/), which nobody should download or digest.
_SMALL = [CONFIG, *TOKENIZER_FILES, *PROCESSOR_FILES]
_SAFE = [SAFETENSORS, SAFETENSORS_INDEX, "model-?????-of-?????.safetensors"]
_PICKLED = [TORCH_BIN, TORCH_BIN_INDEX, "pytorch_model-?????-of-?????.bin"]
PATTERNS: tuple[str, ...] = (*_SMALL, *_SAFE, *_PICKLED)
"""Globs of the files in a model's directory whose content can matter."""

_LARGEST_HEADER = 100_000_000  # bytes that safetensors allows a header

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve(
    source: str, revision: str | None = None, *, key: str = "model.source"
) -> tuple[Path, str | None]:
    """Turn a directory or a Hugging Face hub name into a local folder.

    Args:
        source: a directory in `transformers` layout, used as it is, or a hub name such as
            `openai/clip-vit-base-patch32`, downloaded once into the hub's own cache. A directory of
            that name comes first.
        revision: branch, tag or commit of a hub name; None is the hub's `main`.
        key: the config key to name in errors.

    Returns:
        The folder and, for a hub name, the 40-digit commit it stands for (None for a directory).

    Raises:
        ClipsteerError: no such directory; a name the hub does not know; the hub cannot be reached
            and its cache lacks the files; a revision given with a directory.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ClipsteerError(
                f"{key}: {source!r} is a directory, for which the revision {revision!r} means "
                "nothing. Remove the revision, or give a hub name."
            )
        return folder, None
    if not _HUB_NAME.fullmatch(source):
        found = "a file" if folder.exists() else "nothing"
        raise ClipsteerError(
            f"{key}: found {found} at {source!r}; expected a directory with a transformers CLIP or SigLIP "
            "(config.json, model.safetensors, tokenizer and image processor files) or a hub name "
            "such as 'openai/clip-vit-base-patch32'. Correct the path or put the files there."
        )
    path, commit = _download(source, revision, [*_SMALL, *_SAFE], key)
    if not any((path / name).exists() for name in (SAFETENSORS, SAFETENSORS_INDEX)):
        # Some repositories (OpenAI's among them) keep only a torch archive; it is read with
        # weights_only=True. The commit pins both calls to one state of the repository.
        path, commit = _download(source, commit, [*_SMALL, *_PICKLED], key)
    return path, commit


def _download(name: str, revision: str | None, patterns: list[str], key: str) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    try:
        path = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub's client and its transport have many unrelated classes
        at = "" if revision is None else f" at revision {revision!r}"
        raise ClipsteerError(
            f"{key}: there is no directory {name!r}, and the hub's model of that name{at} could "
            f"not be fetched ({first_line(error)}). Where there is no network, "
            f"download it elsewhere (`hf download {name} --local-dir DIR`), copy the folder here "
            f"and set {key} to its path."
        ) from error
    # The hub's cache keeps each snapshot in a folder named by its commit.
    if not _COMMIT.fullmatch(path.name):
        raise ClipsteerError(
            f"{key}: the hub's cache answered {name!r} with {path}, which does not end in a "
            f"commit. Set {key} to a directory instead."
        )
    return path, path.name


def relevant_files(folder: Path) -> list[str]:
    """The files that determine a model's results, so that its digest ignores a README or a copy.

    Args:
        folder: a directory in `transformers` layout.

    Returns:
        Names relative to `folder`, sorted: config, weights (with the index and its parts where they
        are split; safetensors rather than a torch archive where both are there), tokenizer and
        image processor files.

    Raises:
        ClipsteerError: a file that no model can do without is missing, or the model has no vision
            tower.
    """
    read_config(folder)
    present = [name for name in _SMALL if (folder / name).is_file()]
    if not any(files <= set(present) for files in _TOKENIZERS):
        raise ClipsteerError(
            f"{folder}: no tokenizer; expected tokenizer.json, or vocab.json and merges.txt (CLIP), or "
            "spiece.model (SigLIP). Copy the model's own tokenizer files there."
        )
    if not set(PROCESSOR_FILES) & set(present):
        raise ClipsteerError(
            f"{folder}: no image processor; expected preprocessor_config.json (or "
            "processor_config.json). Copy the model's own there."
        )
    return sorted([*present, *weight_files(folder)])


def faults(folder: Path) -> list[str]:
    """What a short look at the files of a model's directory shows to be wrong, before anything runs.

    A file that is missing; a pointer of Git LFS, a web page or nothing in a file's place; a file that
    was cut short. Reads no more than the beginnings and ends of files: that weights fit the config is
    seen when they are loaded.

    Returns:
        One sentence or two for each file, which is named with `folder`; empty where nothing is wrong.
    """
    links = [link for link in _matching(folder) if not link.exists()]
    if links:  # what is left of a hub's cache that was copied without its blobs
        return [
            f"{link}: found a link to {link.readlink()}, where nothing is; copy the file that it stood for."
            for link in links
        ]
    try:
        names = relevant_files(folder)
    except ClipsteerError as error:
        return [str(error)]
    return [f"{folder / name}: found {what}." for name in names if (what := _fault(folder / name))]


def _matching(folder: Path) -> list[Path]:
    """What is in a folder under the names of a model's files, links that lead nowhere included."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [folder / n for n in names if any(fnmatchcase(n, pattern) for pattern in PATTERNS)]


def _fault(path: Path) -> str:
    """What a file is instead of what it should be, and what to do; or nothing."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - HEAD))
        tail = file.read()
        file.seek(0)
        head = file.read(HEAD)
        if found := lookalike(head):
            return found
        if path.suffix == ".json" and not (
            head.lstrip()[:1] == b"{" and tail.rstrip()[-1:] == b"}"
        ):
            return "no whole JSON object; copy or download the file again"
        if path.suffix == ".bin" and not _is_torch_archive(path, head):
            return f"{size:,} bytes that are no whole torch archive; download the weights again"
        if path.suffix == ".safetensors":
            expected = _safetensors_size(file, size)
            if expected is None:
                return f"{size:,} bytes that are no safetensors file; download the weights again"
            if expected != size:
                return (
                    f"{size:,} bytes, but its header says {expected:,}; download the weights again"
                )
    return ""


def _is_torch_archive(path: Path, head: bytes) -> bool:
    """A ZIP file with its directory at the end, or the older form, which is a pickle."""
    return zipfile.is_zipfile(path) or head[:1] == b"\x80"


def _safetensors_size(file: BinaryIO, size: int) -> int | None:
    """The size that a safetensors file's header gives it; None where it has no header."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= _LARGEST_HEADER:
        return None
    if size < 8 + length:
        return 8 + length
    try:
        header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        return 8 + length + max(ends, default=0)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def weight_files(folder: Path) -> list[str]:
    """Names of the weight files to read, index first; safetensors win over a torch archive.

    Raises:
        ClipsteerError: no weights, a part that the index names is missing, or an index that points
            out of the folder.
    """
    for whole, index in ((SAFETENSORS, SAFETENSORS_INDEX), (TORCH_BIN, TORCH_BIN_INDEX)):
        if (folder / whole).is_file():
            return [whole]
        if (folder / index).is_file():
            named = read_json(folder / index).get("weight_map")
            if not isinstance(named, dict) or not all(isinstance(v, str) for v in named.values()):
                raise ClipsteerError(
                    f"{folder / index}: found no `weight_map` from tensors to file names, expected one. "
                    "Download the file again."
                )
            parts = sorted(set(named.values()))
            for part in parts:
                if PurePosixPath(part).name != part or not (folder / part).is_file():
                    raise ClipsteerError(
                        f"{folder / index}: names the weight file {part!r}, which is not in the "
                        "folder. Download the model again, all parts of it."
                    )
            if parts:
                return [index, *parts]
    raise ClipsteerError(
        f"{folder}: no weights; expected {SAFETENSORS} (or {SAFETENSORS_INDEX} with its parts, or "
        f"{TORCH_BIN}). Download the model's weights into that folder."
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config.json, once it is known to describe a model of images and texts.

    Raises:
        ClipsteerError: no folder, no readable config.json, or another kind of model.
    """
    path = folder / CONFIG
    if not path.is_file():
        found = "no config.json" if folder.is_dir() else "no such directory"
        raise ClipsteerError(
            f"{folder}: {found}; expected the directory of a transformers CLIP or SigLIP. Correct the "
            "path or download the model there."
        )
    config = read_json(path)
    kind = config.get("model_type")
    if kind not in KINDS:
        tower = isinstance(kind, str) and kind.endswith("_text_model")
        what = "only a text tower" if tower else "no model of images and texts that is known here"
        raise ClipsteerError(
            f"{folder}: config.json says model_type {kind!r}, {what}; expected {' or '.join(KINDS)}, "
            "with a vision tower (and a text tower for the zero-shot heads). Use a full "
            f"{' or '.join(KINDS.values())}."
        )
    return config


def own_name(folder: Path) -> str | None:
    """The name on the hub that a CLIP's config.json says it was taken from; None where it says none."""
    name = read_config(folder).get("_name_or_path")
    return name if isinstance(name, str) and "/" in name and _HUB_NAME.fullmatch(name) else None


def first_line(error: Exception) -> str:
    """A library's error in one line, for a message of ours: class and first line of its text."""
    text = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {text}"


def unreadable(folder: Path, name: str, error: Exception) -> ClipsteerError:
    """What to say of a weight file that a library could not read."""
    if name.endswith(".bin") and isinstance(error, UnpicklingError):
        return ClipsteerError(
            f"{folder / name}: holds more than tensors, and a pickle of anything else is not loaded, as it "
            "could run code. Convert the weights to safetensors (save_pretrained of a transformers "
            "model that you trust writes them)."
        )
    return ClipsteerError(
        f"{folder / name}: cannot be read as weights ({first_line(error)}). Download it again."
    )


def read_json(path: Path) -> dict[str, Any]:
    """The object that a model's or a dictionary's JSON file holds. Raises ClipsteerError for anything else."""
    try:
        data = path.read_bytes()
        check_content(data, str(path))
        value = json.loads(data)
    except (OSError, ValueError) as error:
        raise ClipsteerError(
            f"{path}: not readable as JSON ({error}). Download or write the file again."
        ) from error
    if not isinstance(value, dict):
        raise ClipsteerError(
            f"{path}: found a {type(value).__name__}, expected a JSON object. Download it again."
        )
    return value
