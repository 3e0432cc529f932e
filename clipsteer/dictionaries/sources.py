"""Where a released dictionary comes from: a shorthand, a name or page of the hub, a folder, a file.

Nothing here imports torch, and of the hub only the client: reading the rules calls these functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from clipsteer.backbones.weights import first_line
from clipsteer.dictionaries.published import FAMILIES
from clipsteer.errors import ClipsteerError, close_match

CONFIGS = ("dictionary.json", "cfg.json", "config.json")
WEIGHTS = (".safetensors", ".pt", ".npz")
#: Beside the weights in some releases, and no dictionaries.
_NO_WEIGHTS = (
    "*log_feature_sparsity*",
    "sparsity.safetensors",
    "*optimizer*",
    "activations_store*",
)

LAYER = "{layer}"
#: Keys of a dictionary of the config that only a released one has.
KEYS = (
    "model",
    "source",
    "sources",
    "revision",
    "format",
    "normalize",
    "tokens",
    "allow_other_model",
    "check",
)
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.*-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB = "huggingface.co"


class Local(NamedTuple):
    """A folder or a file of the user's."""

    path: Path


class Hub(NamedTuple):
    """A repository of the hub, or a folder or file in it. A name that ends in `*` stands for the one that fits."""

    repo: str
    inside: str = ""
    revision: str | None = None


Source = Local | Hub


def source_of(settings: Mapping[str, Any], layer: int, base: Path, key: str) -> Source:
    """Where a dictionary of the config has one layer from.

    Args:
        settings: `source`, `sources` and `revision` of `dictionaries.<name>`.
        layer: which layer.
        base: the folder that relative paths start from.
        key: `dictionaries.<name>`, for messages.

    Raises:
        ClipsteerError: no source for this layer, or a text that is none of the forms.
    """
    own = {int(number): text for number, text in settings.get("sources", {}).items()}
    revision = settings.get("revision")
    if layer in own:
        text, said = own[layer], f"{key}.sources.{layer}"
    elif "source" in settings:
        text, said = settings["source"], f"{key}.source"
    else:
        raise ClipsteerError(
            f"{key}.sources: found nothing for layer {layer}, expected a source of each of activations.layers. Add it, "
            f"or give {key}.source with {LAYER} in it."
        )
    return _parsed(text, layer, base, said, revision)


def source_faults(
    settings: Mapping[str, Any], layers: Sequence[int], base: Path, key: str
) -> Iterator[str]:
    """What is amiss with a released dictionary's keys in the config, before any file of it is read.

    Args:
        settings: `dictionaries.<name>`.
        layers: those of the run.
        base: the folder that relative paths start from.
        key: `dictionaries.<name>`.
    """
    if "training" in settings:
        yield f"{key}.training: has no effect, a released dictionary is not trained; remove it."
    own = {int(number) for number in settings.get("sources", {})}
    shared = [layer for layer in layers if layer not in own]
    text = settings.get("source", LAYER)
    if len(shared) > 1 and LAYER not in text and not text.startswith("prisma:"):
        yield (
            f"{key}.source: found {text} for the layers {', '.join(map(str, shared))}, expected one dictionary for "
            f"each: {LAYER} where the number goes, {key}.sources, or one layer in activations.layers."
        )
        return
    sources: list[Source] = []
    for layer in layers:
        try:
            sources.append(source_of(settings, layer, base, key))
        except ClipsteerError as error:
            yield str(error)
            return
    if "revision" in settings and not any(isinstance(source, Hub) for source in sources):
        found = settings["revision"]
        yield f"{key}.revision: found {found}, but no source is on the hub, so it has no effect. Remove it."


def published(source: Source) -> Mapping[str, float]:
    """What the authors' table says of a release of theirs, also of a copy in a folder of its name; else nothing."""
    name = source.repo if isinstance(source, Hub) else _named(source.path)
    rows = (family.row_of(name.rpartition("/")[2]) for family in FAMILIES.values())
    return next((row for row in rows if row), {})


def _named(path: Path) -> str:
    return path.parent.name if path.suffix in WEIGHTS else path.name


def _parsed(text: str, layer: int, base: Path, key: str, revision: str | None) -> Source:
    if text.startswith("prisma:"):
        return _shorthand(text.removeprefix("prisma:"), layer, key, revision)
    text = text.replace(LAYER, str(layer))
    if text.startswith("hub:"):
        return _repository(text.removeprefix("hub:"), key, revision)
    if text.startswith(("https://", "http://")):
        return _page(text, key, revision)
    path = base / Path(text).expanduser()
    if not path.exists() and _REPO.fullmatch(text) and not text.startswith("."):
        return _repository(text, key, revision)
    if not path.exists():
        raise ClipsteerError(
            f"{key}: found nothing at {path}, expected a folder or file with a dictionary, hub:ORGANISATION/NAME, the "
            f"address of its page, or one of {', '.join(f'prisma:{name}' for name in FAMILIES)}. Correct it, or put "
            "the files there."
        )
    if path.is_file() and path.suffix not in WEIGHTS:
        raise ClipsteerError(
            f"{key}: found the file {path}, expected one that ends in {', '.join(WEIGHTS)}, or the folder that holds "
            "it. Name that."
        )
    return Local(path)


def _shorthand(name: str, layer: int, key: str, revision: str | None) -> Hub:
    if name not in FAMILIES:
        raise ClipsteerError(
            f"{key}: found prisma:{name}, expected one of {', '.join(f'prisma:{known}' for known in FAMILIES)}."
            + close_match(f"prisma:{name}", [f"prisma:{known}" for known in FAMILIES])
        )
    family = FAMILIES[name]
    if layer not in family.layers:
        raise ClipsteerError(
            f"{key}: prisma:{name} has no layer {layer}; expected layers among {family.layers[0]} to "
            f"{family.layers[-1]}. Set activations.layers accordingly, or name another source for it in "
            f"{key.split('.source')[0]}.sources."
        )
    return Hub(family.repository(layer), "", revision)


def _repository(text: str, key: str, revision: str | None) -> Hub:
    parts = text.strip("/").split("/")
    repo, inside = "/".join(parts[:2]), "/".join(parts[2:])
    if not _REPO.fullmatch(repo) or "*" in repo[:-1] or ".." in parts:
        raise ClipsteerError(
            f"{key}: found hub:{text}, expected hub:ORGANISATION/NAME, with a folder or file in it if need be "
            "(hub:ORGANISATION/NAME/layers.3). Correct it."
        )
    return Hub(repo, inside, revision)


def _page(address: str, key: str, revision: str | None) -> Hub:
    """The repository that a page of the hub shows: .../ORG/NAME, .../tree/REVISION/FOLDER, .../blob/REVISION/FILE."""
    found = urlsplit(address)
    parts = [unquote(part) for part in found.path.split("/") if part]
    if found.hostname not in (_HUB, f"www.{_HUB}") or len(parts) < 2:
        raise ClipsteerError(
            f"{key}: found the address {address}, expected a page of {_HUB} such as https://{_HUB}/ORGANISATION/NAME. "
            "Download what is elsewhere into a folder, and name that."
        )
    shown = parts[3] if len(parts) > 3 and parts[2] in ("tree", "blob", "resolve") else None
    inside = parts[4:] if shown else []
    if shown and revision is not None and shown != revision:
        raise ClipsteerError(
            f"{key}: the address says revision {shown!r}, but {key.split('.source')[0]}.revision says {revision!r}; "
            "expected one of them. Remove the other."
        )
    return _repository("/".join([*parts[:2], *inside]), key, shown or revision)


# ------------------------------------------------------------------------------------ files


def is_weights(name: str) -> bool:
    """Whether a file may hold a dictionary's tensors, by its name."""
    file = PurePosixPath(name).name
    ends = PurePosixPath(file).suffix in WEIGHTS
    return ends and not any(fnmatchcase(file, pattern) for pattern in _NO_WEIGHTS)


def relevant_files(path: Path, key: str) -> tuple[Path, list[str]]:
    """The folder of a dictionary, and the names in it that determine it: its configuration and its one weight file.

    Raises ClipsteerError where there is no weight file or there are several.
    """
    folder = path if path.is_dir() else path.parent
    there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    weights = [path.name] if path.is_file() else [name for name in there if is_weights(name)]
    if not weights:
        raise ClipsteerError(
            f"{key}: {folder} has no file that ends in {', '.join(WEIGHTS)}; expected the weights of one dictionary "
            "and its configuration. Put them there, or name the folder that has them."
        )
    if len(weights) > 1:
        raise ClipsteerError(
            f"{key}: {folder} has {len(weights)} files that may be the dictionary ({', '.join(weights)}), expected "
            "one. Name the file itself."
        )
    return folder, [name for name in CONFIGS if name in there] + weights


# ------------------------------------------------------------------------------------ the hub


def commit_of(source: Hub, key: str) -> Hub:
    """The same with the repository's full name and the commit that is meant.

    What the hub's cache on this machine has comes first: nothing is asked of the network then.

    Raises:
        ClipsteerError: the hub does not know it, or cannot be reached and the cache lacks it.
    """
    if source.repo.endswith("*"):
        source = source._replace(repo=_only_one(source, key))
    if source.revision and _COMMIT.fullmatch(source.revision):
        return source
    from huggingface_hub import HfApi, snapshot_download

    try:
        folder = snapshot_download(
            source.repo,
            revision=source.revision,
            local_files_only=True,
            allow_patterns=_patterns(source),
        )
        if _COMMIT.fullmatch(Path(folder).name) and _complete(Path(folder) / source.inside):
            return source._replace(revision=Path(folder).name)
    except Exception:  # not in the cache, in one of the client's many words
        pass
    try:
        return source._replace(
            revision=HfApi().model_info(source.repo, revision=source.revision).sha
        )
    except Exception as error:  # the hub's client and its transport have many unrelated classes
        raise _unreachable(source, key, error) from error


def download(source: Hub, key: str) -> Path:
    """The folder or file of a source with a commit, in the hub's own cache.

    Raises:
        ClipsteerError: it cannot be fetched, or is not in the repository.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            source.repo, revision=source.revision, allow_patterns=_patterns(source)
        )
    except Exception as error:
        raise _unreachable(source, key, error) from error
    path = Path(folder) / source.inside
    if not path.exists():
        raise ClipsteerError(
            f"{key}: {source.repo} has no {source.inside} at {source.revision}; expected a folder or file of the "
            "repository. Correct the name."
        )
    return path


def _patterns(source: Hub) -> list[str]:
    """Globs of what is fetched: configurations, and weights or the one file that is named."""
    inside = PurePosixPath(source.inside)
    named = inside.suffix in WEIGHTS
    folder = inside.parent if named else inside
    prefix = "" if str(folder) == "." else f"{folder}/"
    weights = [str(inside)] if named else [f"{prefix}*{ending}" for ending in WEIGHTS]
    return [*(f"{prefix}{name}" for name in CONFIGS), *weights]


def _complete(path: Path) -> bool:
    if path.is_file():
        return True
    return path.is_dir() and any(is_weights(entry.name) for entry in path.iterdir())


def _only_one(source: Hub, key: str) -> str:
    """The repository's full name: the one in the cache that fits, or else the one on the hub."""
    from huggingface_hub import HfApi, constants

    owner, _, start = source.repo.removesuffix("*").partition("/")
    folders = Path(constants.HF_HUB_CACHE).glob("models--*--*")
    names = [folder.name.split("--", 2)[1:] for folder in folders]
    found = [f"{o}/{n}" for o, n in names if o.lower() == owner.lower() and n.startswith(start)]
    if not found:
        try:
            models = HfApi().list_models(author=owner, search=start)
            found = [model.id for model in models if model.id.partition("/")[2].startswith(start)]
        except Exception as error:
            raise _unreachable(source, key, error) from error
    if len(found) != 1:
        raise ClipsteerError(
            f"{key}: found {len(found)} repositories of the hub that begin with {source.repo.removesuffix('*')} "
            f"({', '.join(sorted(found)) or 'none'}), expected one. Name it in full."
        )
    return found[0]


def _unreachable(source: Hub, key: str, error: Exception) -> ClipsteerError:
    at = f" at revision {source.revision}" if source.revision else ""
    return ClipsteerError(
        f"{key}: {source.repo}{at} is not in the hub's cache on this machine and could not be fetched "
        f"({first_line(error)}). Where there is no network, download it elsewhere (`hf download {source.repo} "
        f"--local-dir DIR`), copy the folder here and set {key} to its path."
    )
