"""What a run is asked for: of a result that no rule makes the name that was meant is said, before the DAG is built."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError, close_match

_RESULTS = "results/"


def check_asked(targets: Iterable[str], rules: Iterable[Any], datasets: Iterable[str]) -> None:
    """Raises ClipsteerError for the first result that none of Snakemake's rules makes."""
    rules = list(rules)
    for target in sorted(targets):
        made = any(rule.is_producer(target) for rule in rules)
        if made or not target.startswith(_RESULTS) or Path(target).exists():
            continue
        names = set(_names(rules, list(datasets)))
        why = close_match(target, names)
        if target in names:
            why = " The configuration lacks what it is made of."
        raise ClipsteerError(
            f"No rule to produce {target}.{why} docs/configuration.md, What is written to `results/`, has every name."
        )


def _names(rules: Iterable[Any], datasets: Iterable[str]) -> Iterator[str]:
    """The results that rules name, of every data set, whether they can be made of it or not."""
    for rule in rules:
        for product in rule.products():
            for dataset in datasets:
                # a wildcard stands there with what it may be
                name = re.sub(r"\{dataset(,[^}]*)?\}", dataset, str(product))
                if name.startswith(_RESULTS) and "{" not in name:
                    yield name
