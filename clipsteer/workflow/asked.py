"""What a run is asked for: where no rule makes a file, the name that was meant is said, before the DAG is built."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError, close_match
from clipsteer.store.roots import REFS

_RESULTS = "results/"


def check_asked(targets: Iterable[str], rules: Iterable[Any], datasets: Iterable[str]) -> None:
    """Raises ClipsteerError for the first target, pointers aside, that none of Snakemake's rules makes."""
    rules = list(rules)
    for target in sorted(targets):
        made = any(rule.is_producer(target) for rule in rules)
        if made or Path(target).is_file() or Path(target).is_relative_to(Path(REFS).parts[0]):
            continue
        names = set(_names(rules, list(datasets)))
        meant = [name for name in sorted(names) if _same(target, name)]
        why = f" Did you mean {meant[0]}?" if meant else close_match(target, names)
        if target in names:
            why = " The configuration lacks what it is made of."
        raise ClipsteerError(
            f"No rule to produce {target}.{why} docs/configuration.md, What is written to `results/`, has every name."
        )


def _same(target: str, name: str) -> bool:
    """Whether a target is a result's name, its folder and its ending aside."""
    path = Path(name)
    return Path(target).name.casefold() in (path.name.casefold(), path.stem.casefold())


def _names(rules: Iterable[Any], datasets: Iterable[str]) -> Iterator[str]:
    """The results that rules name, of every data set, whether they can be made of it or not."""
    for rule in rules:
        for product in rule.products():
            for dataset in datasets:
                # a wildcard stands there with what it may be
                name = re.sub(r"\{dataset(,[^}]*)?\}", dataset, str(product))
                if name.startswith(_RESULTS) and "{" not in name:
                    yield name
