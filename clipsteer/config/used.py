"""What of a configuration is used: the dictionaries and data sets that some table needs, images to paint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]


def used_dictionaries(config: Config) -> list[str]:
    """Names of the dictionaries that some table asks for, in the order of the config."""
    used = {name for names in config["tables"].values() for name in names}
    return [name for name in config["dictionaries"] if name in used]


def learns_from(dictionary: Config) -> str | None:
    """The data set that a dictionary is trained on here; None for one that is not trained, or was elsewhere."""
    imported = dictionary["architecture"] == "imported"
    found: str | None = None if imported else dictionary.get("trained_on")
    return found


def needed_datasets(config: Config) -> list[str]:
    """Data sets that some table needs: the ones it edits, and the ones its dictionaries and the CLIP learn from."""
    needed = {table for table, names in config["tables"].items() if names}
    for name in used_dictionaries(config):
        needed |= {learns_from(config["dictionaries"][name])} - {None}
    if config["model"]["source"] == "tiny":
        needed |= set(config["model"].get("tiny", {}).get("worlds", []))
    return sorted(needed)


def painted_count(dataset: Config, split: str) -> int:
    """Images of a split of a painted data set; 0 where the config names none."""
    count = dataset["painted"]["counts"].get(split, 0)
    return int(sum(count) if isinstance(count, list) else count)
