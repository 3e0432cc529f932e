"""`clipsteer why`: where a result comes from. `clipsteer diff`: what differs between two results."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsteer.cli.common import add_store, store_roots, working
from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:
    from clipsteer.lineage.graph import Lineage

_TARGET = (
    "a result (results/...), a pointer (artifacts/refs/...json), the digest of an object, the key "
    "of an action, or the first 4 or more digits of these two"
)
_SAME, _DIFFERENT, _TROUBLE = 0, 1, 2
_WIDTH = 120  # of a tree that goes into a file or a pipe


def add(subparsers: Any) -> None:
    """The commands of this file."""
    why = subparsers.add_parser(
        "why",
        help="where a result comes from, down to raw files, config and code",
        description="Shows where a result comes from, down to raw files, config and code.",
    )
    why.add_argument("target", metavar="FILE", help=_TARGET)
    why.add_argument("--depth", type=_positive, metavar="N", help="levels of actions to show")
    why.add_argument(
        "--full", action="store_true", help="every action by itself, whole keys, all modules"
    )
    _common(why, "the whole graph as JSON")
    why.set_defaults(run=run_why)

    diff = subparsers.add_parser(
        "diff",
        help="what differs between two results: config, code, raw files",
        description="Shows what differs between the lineages of two results: the causes, and how "
        "many actions differ only because of them.",
        epilog="exit status: 0 where nothing differs, 1 where something does, 2 in case of trouble",
    )
    diff.add_argument("a", metavar="A", help=_TARGET)
    diff.add_argument("b", metavar="B", help="the same, for what it is compared with")
    diff.add_argument(
        "--full", action="store_true", help="list every action, also those that merely follow"
    )
    _common(diff, "causes and consequences as JSON")
    diff.set_defaults(run=run_diff)


def _common(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=what)
    add_store(parser)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {text}; expected 1 or more")
    return value


def run_why(arguments: argparse.Namespace) -> int:
    """Print the lineage of one target. Raises ClipsteerError where it has none."""
    (lineage,) = _lineages(arguments, arguments.target)
    if arguments.json:
        print(json.dumps(lineage.as_json(), indent=1))
        return 0
    from rich.console import Console

    from clipsteer.cli.lineage_tree import summary, tree

    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH
    Console(width=wide).print(tree(lineage, depth=arguments.depth, full=arguments.full))
    print("", *summary(lineage), sep="\n")
    return 0


def run_diff(arguments: argparse.Namespace) -> int:
    """Print what differs; the exit status is that of `diff`."""
    from clipsteer.cli.difference import as_json, lines
    from clipsteer.lineage.compare import compare

    try:
        found = compare(*_lineages(arguments, arguments.a, arguments.b))
    except ClipsteerError as error:
        print(f"clipsteer: {error}", file=sys.stderr)
        return _TROUBLE
    if arguments.json:
        print(json.dumps(as_json(found), indent=1))
    else:
        print(*lines(found, arguments.full), sep="\n")
    return _SAME if found.equal else _DIFFERENT


def _lineages(arguments: argparse.Namespace, *targets: str) -> list[Lineage]:
    """The lineages of all targets, from the first store that has them all."""
    from clipsteer.lineage.graph import Target, lineage
    from clipsteer.lineage.listing import Names
    from clipsteer.lineage.targets import resolve

    faults: list[str] = []
    homes: dict[str, Path] = {}  # target -> a store that has it
    roots = store_roots(arguments, targets)
    with working("reading the store"):
        for root in roots:
            names, found = Names(root), list[Target]()
            for target in targets:
                try:
                    found.append(resolve(target, names))
                    homes.setdefault(target, root)
                except ClipsteerError as error:
                    faults.append(str(error))
            if len(found) == len(targets):
                return [lineage(target, names.index) for target in found]
    if len(homes) == len(set(targets)):
        places = " and ".join(f"{target} in {home}" for target, home in homes.items())
        raise ClipsteerError(f"found {places}, expected both in one store.")
    more = f" Looked in {', '.join(map(str, roots[1:]))} too." if len(roots) > 1 else ""
    raise ClipsteerError(faults[0] + more)
