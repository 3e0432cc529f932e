"""A lineage as a tree for people: like actions folded into one place, each place shown once."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clipsteer.cli.words import (
    config_words,
    count,
    duration,
    fold,
    numbered,
    ranges,
    raw_words,
    short,
)
from clipsteer.lineage.graph import Lineage, Node
from clipsteer.store.digest import canonical_json

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

# What tells the members of one step apart; their label says it.
_MEMBER_KEYS = ("layer",)
_SHOWN = 6


@dataclass
class Place:
    """Actions of one step that differ only in layer, shard and inputs; the places they build on."""

    nodes: list[Node] = field(default_factory=list)
    below: list[int] = field(default_factory=list)

    @property
    def title(self) -> str:
        first = self.nodes[0]
        before, kind, _ = numbered(first.member)
        if not kind:
            return first.label
        name = "" if before.startswith(f"{first.name}/") else first.name
        words = [str(first.record["step"]), name, before.rstrip("/")]
        numbers = ranges(kind, (numbered(node.member)[2] for node in self.nodes))
        return f"{' '.join(filter(None, words))}: {numbers}"


def places(lineage: Lineage, folded: bool = True) -> list[Place]:
    """The lineage's actions, folded; the target's come first."""
    found: dict[Any, Place] = {}
    numbers: dict[Any, int] = {}
    where: dict[str, int] = {}
    for key, node in lineage.nodes.items():
        name = _place_of(node) if folded else key
        where[key] = numbers.setdefault(name, len(numbers))
        found.setdefault(name, Place()).nodes.append(node)
    for place in found.values():
        used = [
            where[source.producer]
            for node in place.nodes
            for source in node.inputs.values()
            if source.producer is not None
        ]
        place.below = list(dict.fromkeys(used))
    return list(found.values())


def _place_of(node: Node) -> tuple[str, ...]:
    recipe = node.record["recipe"]
    if isinstance(recipe, dict):
        recipe = {k: v for k, v in recipe.items() if k not in _MEMBER_KEYS}
    before, kind, _ = numbered(node.member)
    return (
        *(str(node.record[part]) for part in ("step", "code", "semantics")),
        *(node.name, before, kind),
        canonical_json(recipe).decode(),
    )


def tree(lineage: Lineage, *, depth: int | None, full: bool) -> Tree:
    """The tree of a lineage, `depth` levels of actions deep; `full`: nothing folded or left out.

    A place is shown where it is first needed, counted from the target; who needs it elsewhere says so.
    """
    from rich.text import Text
    from rich.tree import Tree

    listed = places(lineage, folded=not full)
    producers = {source.producer for source in lineage.target.made.values()}
    tops = [i for i, place in enumerate(listed) if producers & {node.key for node in place.nodes}]
    children, levels = _arrange(listed, tops)
    root = Tree(Text(_headline(lineage), style="bold"), guide_style="dim")
    branches: dict[int, Tree] = {}
    for i in levels:
        if depth is not None and levels[i] > depth:
            continue
        above = next((branches[p] for p, kids in children.items() if i in kids), root)
        branches[i] = above.add(_words(listed[i], full))
    for i, branch in branches.items():
        for line in _footnotes(listed, i, children, levels, depth):
            branch.add(Text(line, style="dim"))
    return root


def _arrange(
    listed: Sequence[Place], tops: Sequence[int]
) -> tuple[dict[int, list[int]], dict[int, int]]:
    """Which places stand under which, and the level of each: as near to the target as can be."""
    levels = dict.fromkeys(tops, 1)
    children: dict[int, list[int]] = {}
    queue = deque(tops)
    while queue:
        i = queue.popleft()
        for below in listed[i].below:
            if below not in levels:
                levels[below] = levels[i] + 1
                children.setdefault(i, []).append(below)
                queue.append(below)
    return children, levels


def _footnotes(
    listed: Sequence[Place],
    i: int,
    children: Mapping[int, Sequence[int]],
    levels: Mapping[int, int],
    depth: int | None,
) -> list[str]:
    """What a place builds on that stands elsewhere, lies too deep, or is not on record."""
    lines = []
    shown = children.get(i, ())
    elsewhere = [listed[j].title for j in listed[i].below if j not in shown]
    if elsewhere:
        lines.append(f"also from (shown elsewhere): {'; '.join(elsewhere)}")
    if shown and depth is not None and levels[i] >= depth:
        lines.append(f"{len(shown)} more below (--depth {depth})")
    unknown = [
        name
        for node in listed[i].nodes
        for name, source in sorted(node.inputs.items())
        if source.producer is None
    ]
    if unknown:
        names = ", ".join(dict.fromkeys(unknown))
        lines.append(f"{count(len(unknown), 'input')} that no action on record made: {names}")
    return lines


def _words(place: Place, full: bool) -> Text:
    from rich.text import Text

    nodes, first = place.nodes, place.nodes[0]
    actions = f"{len(nodes)} actions, " if len(nodes) > 1 else ""
    text = Text(place.title, style="bold")
    text.append(f" ({actions}{duration(sum(map(_seconds, nodes)))})", style="not bold")
    told = len(nodes) > 1 or bool(numbered(first.member)[1])  # by the title
    lines = [
        f"config: {config_words(first.record, first.name, _MEMBER_KEYS if told else ())}",
        f"code: {_code(first, full)}",
        f"{_when(nodes)}; {_keys(nodes, full)}",
    ]
    lines += [f"raw files: {raw_words(found)}" for found in first.raw()]
    for line in lines:
        text.append(f"\n{line}", style="not bold dim")
    return text


def _keys(nodes: Sequence[Node], full: bool) -> str:
    if full:
        return f"key {nodes[0].key}"
    return f"key {short(nodes[0].key)}" if len(nodes) == 1 else f"keys {short(nodes[0].key)}, ..."


def _code(node: Node, full: bool) -> str:
    modules, packages = node.code.get("modules", {}), node.code.get("packages", {})
    if not modules:
        return f"{short(node.record['code'])} (what it was made of is not on record)"
    words = f"{count(len(modules), 'module')}, {count(len(packages), 'package')}"
    words = f"{words}, Python {node.code.get('python')}"
    if not full:
        return words
    listed = [node.record.get("script", "__main__"), *(m for m in modules if m != "__main__")]
    return f"{words}: {', '.join([*listed, *packages.values()])}"


def _seconds(node: Node) -> float:
    return float(node.run.get("seconds") or 0.0)


def _when(nodes: Sequence[Node]) -> str:
    """When and where actions were computed."""
    times = sorted(node.began for node in nodes if node.began)
    words = "not on record"
    if times:
        first, last = (f"{time[:10]} {time[11:16]}" for time in (times[0], times[-1]))
        end = last if last[:10] != first[:10] else last[11:]
        words = first + (f" to {end}" if last != first else "") + " UTC"
    hosts = sorted({str(node.run["host"]) for node in nodes if node.run.get("host")})
    return f"{words} on {', '.join(hosts)}" if hosts else words


def _headline(lineage: Lineage) -> str:
    """What the target is."""
    target = lineage.target
    names = fold(name for name in target.made if name)
    return f"{target.name} ({'; '.join(names)})" if names else target.name


def summary(lineage: Lineage) -> list[str]:
    """The user's own files and other beginnings, then one line about the whole."""
    lines = [f"raw files   {raw_words(found)}" for found in lineage.raw()]
    alone = []
    for node in lineage.nodes.values():
        recipe = node.record["recipe"]
        hub = recipe.get("hub") if isinstance(recipe, dict) else None
        if hub:
            commit = node.record["facts"].get("commit", "unknown")
            lines.append(f"from a hub  {node.name}: {hub.get('source')}, commit {commit}")
        elif not node.inputs and not any(node.raw()):
            alone.append(node.label)
    if alone:
        lines.append(f"no files    made from its config alone: {', '.join(alone)}")
    sources = [s for node in lineage.nodes.values() for s in node.inputs.values()]
    sources += lineage.target.made.values()
    also = {key for source in sources for key in source.also} - lineage.nodes.keys()
    if also:
        lines.append(
            f"as well     {count(len(also), 'other action')} gave the same bytes as actions above: "
            f"{', '.join(short(key) for key in sorted(also)[:_SHOWN])}"
            + (", ... (--json has all)" if len(also) > _SHOWN else "")
        )
    nodes = list(lineage.nodes.values())
    steps = len({node.record["step"] for node in nodes})
    seconds = duration(sum(_seconds(node) for node in nodes))
    lines.append(
        f"{count(len(nodes), 'action')} of {count(steps, 'step')}, {seconds} of computing, {_when(nodes)}"
    )
    return lines
