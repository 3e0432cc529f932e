"""Which dictionaries of a table are compared: those that differ in one thing."""

from __future__ import annotations

import itertools
from typing import Any

from clipsteer.config.grid import points, seed_of
from clipsteer.workflow.outline import Outline

Relation = dict[str, Any]


def relations(outline: Outline, table: str) -> list[Relation]:
    """Pairs of a table's dictionaries and of their grids' points: `relation`, `hook_point`, the two `dictionaries`.

    `seed`: points that differ in nothing else. `settings`: the dictionary that the table uses, and each point of its
    grid with other settings and the same seed. `architecture` and `trained_on`: dictionaries of the table that share
    the other of the two. A pair is of one hook point.
    """
    found: list[Relation] = []

    def add(relation: str, first: str, other: str) -> None:
        hook_point = outline.dictionaries[first]["hook_point"]
        pair = [first, other]
        found.append({"relation": relation, "hook_point": hook_point, "dictionaries": pair})

    for name in outline.with_grids(table):
        of_grid = points(outline.config, name)
        own_seed = seed_of(outline.config, outline.dictionaries[name])
        for first, other in itertools.combinations(of_grid, 2):
            if of_grid[first]["training"] == of_grid[other]["training"]:
                add("seed", first, other)
        for other, settings in of_grid.items():
            if other != name and seed_of(outline.config, settings) == own_seed:
                add("settings", name, other)
    trained = [name for name in outline.tables.get(table, []) if outline.is_trained(name)]
    for first, other in itertools.combinations(trained, 2):
        one, two = (outline.dictionaries[name] for name in (first, other))
        same = {
            key: one.get(key) == two.get(key)
            for key in ("hook_point", "architecture", "trained_on")
        }
        if same["hook_point"] and same["architecture"] != same["trained_on"]:
            add("trained_on" if same["architecture"] else "architecture", first, other)
    return found


def compared(outline: Outline, table: str) -> list[str]:
    """The dictionaries that stand in any of these pairs, each once."""
    pairs = (relation["dictionaries"] for relation in relations(outline, table))
    return list(dict.fromkeys(name for pair in pairs for name in pair))
