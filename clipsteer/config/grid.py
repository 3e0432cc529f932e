"""The points of a dictionary's grid: ordinary dictionaries, each with one combination of the values that it lists."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from clipsteer.config.used import Config, used_dictionaries
from clipsteer.store.digest import canonical_json, digest_bytes

# Of a dictionary: what makes a point of the grid another one than its neighbours, or is the same of all.
_SHARED = ("architecture", "trained_on", "hook_point", "training")
_DIGITS = 8  # of a digest, in a point's name


def has_grid(dictionary: Config) -> bool:
    """Whether a dictionary lists values of anything."""
    return bool(dictionary.get("grid"))


def size(dictionary: Config) -> int:
    """How many combinations a grid has, values that are equal counted once."""
    return math.prod(map(len, _lists(dictionary).values()))


def is_chosen(dictionary: Config) -> bool:
    """Whether tables use a point of its grid that quality chooses, not the settings that it is given."""
    return has_grid(dictionary) and dictionary.get("choose", "fixed") != "fixed"


def points(config: Config, name: str) -> dict[str, Config]:
    """The settings of every point of a dictionary's grid, by the name that it is known by; none without a grid.

    The point with the dictionary's own settings is the dictionary itself, unless quality chooses what goes by that
    name. Any other is called by a digest of its settings, so that its name does not depend on what else the grid lists
    or in which order. They come by their values, in the order of the keys of `training`, the seed last.
    """
    dictionary = config["dictionaries"][name]
    own = None if is_chosen(dictionary) else _settings(config, dictionary, {})
    found: dict[str, Config] = {}
    for values in _combinations(dictionary) if has_grid(dictionary) else ():
        settings = _settings(config, dictionary, values)
        digest = digest_bytes(canonical_json(settings)).partition(":")[2]
        found[name if settings == own else f"{name}_g{digest[:_DIGITS]}"] = settings
    return found


def swept_points(config: Config, name: str) -> dict[str, Config]:
    """The same with the dictionary itself, first, where tables use it and the grid does not list its settings."""
    dictionary, found = config["dictionaries"][name], points(config, name)
    if not found or is_chosen(dictionary) or name in found:
        return found
    return {name: _settings(config, dictionary, {}), **found}


def candidates(config: Config, name: str) -> dict[str, Config]:
    """The points that may be chosen: those of the dictionary's own seed, or of the least where the grid lacks it.

    Seeds repeat a setting; to take the best of them would be to take the luckiest.
    """
    found = points(config, name)
    seeds = {seed_of(config, settings) for settings in found.values()}
    own = seed_of(config, config["dictionaries"][name])
    seed = own if own in seeds else min(seeds, default=own)
    return {k: v for k, v in found.items() if seed_of(config, v) == seed}


def swept(config: Config, name: str) -> list[str]:
    """The keys that a grid has several values of, in the order of the keys of `training`, the seed last."""
    return [key for key, values in _lists(config["dictionaries"][name]).items() if len(values) > 1]


def with_points(config: Config) -> dict[str, Any]:
    """The same, with the points of all grids of dictionaries that stand in a table among its dictionaries."""
    dictionaries = dict(config["dictionaries"])
    for name in used_dictionaries(config):
        dictionaries |= {k: v for k, v in points(config, name).items() if k != name}
    return {**config, "dictionaries": dictionaries}


def in_words(config: Config, name: str, point: Config) -> str:
    """What makes a point: `l1 0.003, lr 0.001`."""
    values = {**point["training"], "seed": seed_of(config, point)}
    keys = swept(config, name) or list(_lists(config["dictionaries"][name]))
    return ", ".join(f"{key} {json.dumps(values.get(key))}" for key in keys)


def seed_of(config: Config, dictionary: Config) -> int:
    """The seed of a dictionary's training."""
    return int(dictionary.get("seed", config["seed"]))


def _settings(config: Config, dictionary: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of one point; a seed that is the run's own is not said."""
    settings = {key: dictionary[key] for key in _SHARED if key in dictionary}
    training = {key: value for key, value in values.items() if key != "seed"}
    settings["training"] = {**dictionary.get("training", {}), **training}
    seed = values.get("seed", seed_of(config, dictionary))
    return settings if seed == config["seed"] else {**settings, "seed": seed}


def _combinations(dictionary: Config) -> Iterator[dict[str, Any]]:
    lists = _lists(dictionary)
    for values in itertools.product(*lists.values()):
        yield dict(zip(lists, values, strict=True))


def _lists(dictionary: Config) -> dict[str, list[Any]]:
    """The values of each key of a grid, each once, in their own order."""
    found = {}
    for key, values in dictionary.get("grid", {}).items():
        once = {canonical_json(value): value for value in values}
        found[key] = sorted(once.values(), key=lambda value: (value is None, value or 0))
    return found
