"""`clipsteer store`: list, show, measure, verify, give out, clean up, take away."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsteer.cli.common import add_store, progress, size, store_root, store_roots, working_copy
from clipsteer.cli.words import count
from clipsteer.errors import ClipsteerError

if TYPE_CHECKING:
    from clipsteer.store.objects import ObjectStore

_WHICH = "the key of an action or the digest of an object, or the first 4 or more digits"


def add(subparsers: Any) -> None:
    """The commands of this file."""
    store = subparsers.add_parser(
        "store",
        help="list, show, measure, verify and clean up what is stored",
        description="Looks after the store of actions and objects.",
    )
    commands = store.add_subparsers(required=True, metavar="COMMAND")

    ls = _command(commands, "ls", run_ls, "the actions on record, the newest last")
    ls.add_argument("--step", metavar="S", help="only those of this step")

    show = _command(commands, "show", run_show, "everything about one action or object")
    show.add_argument("what", metavar="KEY|DIGEST", help=_WHICH)

    _command(commands, "du", run_du, "bytes by step and by kind")

    verify = _command(commands, "verify", run_verify, "hash objects, check records and pointers")
    verify.add_argument(
        "--budget", type=_number, metavar="SECONDS", help="stop hashing after so long"
    )
    verify.add_argument(
        "--all", action="store_true", help="hash also what was found sound in the last 30 days"
    )
    verify.epilog = "exit status: 1 where anything was damaged or lost"

    get = _command(commands, "get", run_get, "write what is stored into a folder, as real files")
    get.add_argument(
        "what",
        metavar="NAME|DIGEST",
        help="a pointer (celeba/world is artifacts/refs/celeba/world.json), also with a member and "
        f"an output after it (celeba/manifest/groups); or {_WHICH}",
    )
    get.add_argument("folder", type=Path, metavar="DIR", help="a new or an empty folder")

    gc = _command(
        commands, "gc", run_gc, "delete objects that no result and no recent action needs"
    )
    gc.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="DIR",
        help="working copies whose pointers count as they are now, as those of this folder do; those "
        "of all others count as the store knows them (`store du` lists them)",
    )
    gc.add_argument(
        "--older-than",
        type=_number,
        default=30.0,
        metavar="DAYS",
        help="keep what actions used in the last DAYS need (default 30)",
    )
    gc.add_argument(
        "--grace-days",
        type=_number,
        default=1.0,
        metavar="DAYS",
        help="never delete what is younger (default 1); a job that takes longer from its first output "
        "to its end may have to make it again",
    )
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")
    gc.add_argument(
        "--forget",
        metavar="ID",
        help="first drop the pointers of a working copy that is no more (`store du` lists them)",
    )
    gc.add_argument("--quarantine", action="store_true", help="also empty quarantine/")

    rm = _command(commands, "rm", run_rm, "forget an action, or take away an object")
    rm.add_argument("what", nargs="?", metavar="KEY|DIGEST", help=_WHICH)
    rm.add_argument("--step", metavar="S", help="forget every action of this step")
    rm.add_argument("--dry-run", action="store_true", help="only say what would go")
    rm.add_argument(
        "--force", action="store_true", help="take away an object that no action can remake"
    )


def _command(commands: Any, name: str, run: Any, help: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=help[0].upper() + help[1:] + "."
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    add_store(parser)
    parser.set_defaults(run=run)
    return parser


def _number(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text}; expected a number of 0 or more")
    return value


def run_ls(arguments: argparse.Namespace) -> int:
    """List the records. Raises ClipsteerError for an unknown step."""
    from clipsteer.cli.store_views import list_lines
    from clipsteer.lineage.listing import listing

    rows = listing(store_root(arguments), arguments.step)
    if arguments.json:
        _print_json([asdict(row) for row in rows])
    else:
        print(*list_lines(rows), sep="\n")
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Show one record or object. Raises ClipsteerError where there is none, or several."""
    from clipsteer.cli.store_views import object_lines, record_lines
    from clipsteer.lineage.listing import Names, about_object, about_record

    names = Names(store_root(arguments))
    kind, digest = names.find(arguments.what)
    if kind == "action":
        value = about_record(names, digest)
        lines = record_lines(value)
    else:
        value = about_object(names, digest)
        lines = object_lines(value)
    if arguments.json:
        _print_json(value)
    else:
        print(*lines, sep="\n")
    return 0


def run_du(arguments: argparse.Namespace) -> int:
    """Measure the store."""
    from clipsteer.cli.store_views import usage_lines
    from clipsteer.store.usage import usage

    found = usage(store_root(arguments))
    if arguments.json:
        _print_json(asdict(found))
    else:
        print(*usage_lines(found), sep="\n")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Verify the store and the pointers of the current folder."""
    from clipsteer.cli.store_views import verify_lines
    from clipsteer.store.verify import verify

    root = store_root(arguments)
    with progress("hashing") as tell:
        found = verify(
            root,
            working_copy(root),
            budget=arguments.budget,
            everything=arguments.all,
            tell=tell,
        )
    if arguments.json:
        _print_json({**asdict(found), "sound": found.sound})
    else:
        print(*verify_lines(found), sep="\n")
    return 0 if found.sound else 1


def run_get(arguments: argparse.Namespace) -> int:
    """Write objects out. Raises ClipsteerError where there is no such thing, or no room for it."""
    from clipsteer.lineage.picked import UnknownNameError
    from clipsteer.store.objects import DamagedObjectError, MissingObjectError
    from clipsteer.store.unpack import check_target

    check_target(arguments.folder)
    faults: dict[Path, ClipsteerError] = {}
    for root in store_roots(arguments, [arguments.what]):
        try:
            return _get(arguments, root)
        except (UnknownNameError, MissingObjectError, DamagedObjectError) as error:
            faults[root] = error
    for root, fault in faults.items():
        if not isinstance(fault, UnknownNameError):
            return _get(arguments, root, remake=True)
    raise next(iter(faults.values()))


def _get(arguments: argparse.Namespace, root: Path, *, remake: bool = False) -> int:
    """Write objects of one store out; `remake`: after what is lost of them has been made again."""
    from clipsteer.lineage.listing import Names
    from clipsteer.lineage.picked import pick
    from clipsteer.store.objects import ObjectStore
    from clipsteer.store.unpack import unpack

    outputs = pick(arguments.what, Names(root))
    objects = ObjectStore(root)
    with _ended_by_signal():
        if remake:
            _remake(objects, [output.digest for output in outputs.values()])
        with progress("writing") as tell:
            files, total = unpack(objects, outputs, arguments.folder, tell)
    if arguments.json:
        _print_json({"bytes": total, "files": files, "folder": str(arguments.folder)})
    else:
        print(f"{arguments.folder}: {count(files, 'file')}, {size(total)}")
    return 0


def _remake(objects: ObjectStore, digests: list[str]) -> None:
    """Execute again, with the code of this checkout, the actions that made what is lost of these objects."""
    from clipsteer.runner.execute import Executor
    from clipsteer.runner.progress import Log
    from clipsteer.runner.run import Runtime

    Executor(objects, Runtime(), Path(__file__).resolve().parents[2], Log()).provide(digests)


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Inside, SIGTERM ends the process as Ctrl-C does: what is half-written is taken away first."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_gc(arguments: argparse.Namespace) -> int:
    """Collect garbage. Raises ClipsteerError for a folder that is no working copy."""
    from clipsteer.cli.store_views import gc_lines
    from clipsteer.store.gc import Options, collect
    from clipsteer.store.roots import REFS

    root = store_root(arguments)
    for folder in arguments.folders:
        if not (folder / REFS).is_dir():
            raise ClipsteerError(
                f"{folder}: found no {REFS} in it, expected a working copy with pointers. Correct the "
                "path, or leave it out: the store knows the pointers of every working copy that used it."
            )
    options = Options(
        older_than=arguments.older_than,
        grace=arguments.grace_days,
        quarantine=arguments.quarantine,
        dry_run=arguments.dry_run,
        forget=arguments.forget,
        working_copies=[*filter(None, [working_copy(root)]), *arguments.folders],
    )
    found = collect(root, options)
    if arguments.json:
        _print_json(asdict(found))
    else:
        print(*gc_lines(found), sep="\n")
    return 0


def run_rm(arguments: argparse.Namespace) -> int:
    """Forget records, or take an object away. Raises ClipsteerError for what cannot be remade."""
    from clipsteer.cli.store_views import rm_lines
    from clipsteer.lineage.listing import Names, named_in
    from clipsteer.lineage.listing import listing as rows_of

    root = store_root(arguments)
    if (arguments.what is None) == (arguments.step is None):
        raise ClipsteerError("store rm: found both or neither of KEY|DIGEST and --step; give one.")
    names = Names(root)
    keys, digest = [], None
    if arguments.step is not None:
        keys = [row.key for row in rows_of(root, arguments.step)]
    else:
        kind, name = names.find(arguments.what)
        if kind == "action":
            keys = [name]
        else:
            digest = name
            if not names.makers(digest) and not arguments.force:
                raise ClipsteerError(
                    f"object {digest}: found no action on record that made it, expected one, so "
                    "that it can be remade when needed. To take it away all the same: --force."
                )
    pointers = named_in(working_copy(root), [names.record(key) for key in keys])
    if not arguments.dry_run:
        for key in keys:
            names.actions.forget(key)
        if digest is not None:
            names.objects.forget(digest)
    gone = {"actions": keys, "dry_run": arguments.dry_run, "object": digest, "pointers": pointers}
    if arguments.json:
        _print_json(gone)
    else:
        print(*rm_lines(gone), sep="\n")
    return 0


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1)
    print()
