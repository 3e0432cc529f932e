"""A job as its command line says it: recipe, inputs, pointer, and what only the machine cares about.

The words that Snakemake runs are the whole truth about a job, so whoever wants to know what a job
would do (`clipsteer plan`) reads the same words with the same parser.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.runner.run import Job, Runtime
from clipsteer.store.digest import digest_bytes
from clipsteer.store.objects import VERIFY_BELOW
from clipsteer.store.pointers import Member, Pointer
from clipsteer.store.roots import read_or_heal


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every workflow script has."""
    words = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument(
        "--recipe", required=True, help="canonical JSON: step, code, modules, config"
    )
    words.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=POINTER",
        help="pointer file of an input",
    )
    words.add_argument(
        "--inputs",
        action="append",
        default=[],
        nargs="+",
        metavar="NAME POINTER ...",
        help="pointer files whose members together are one input; may be none",
    )
    words.add_argument(
        "--raw",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="an input that is a folder of the user's: what a scan found there (may be empty)",
    )
    words.add_argument(
        "--after",
        nargs="*",
        default=[],
        metavar="POINTER",
        help="pointer files that are not read, but that the result comes after",
    )
    words.add_argument(
        "--chain", default="", help="the chain key that the run expects of the pointer"
    )
    words.add_argument(
        "--name", default="", help="the data set or dictionary that the job is about"
    )
    words.add_argument("--pointer", required=True, type=Path, help="pointer file to write")
    words.add_argument(
        "--export",
        default=[],
        nargs="+",
        metavar="MEMBER/OUTPUT=FILE",
        help="also write these outputs as real files",
    )
    words.add_argument("--store", type=Path, default=Path("artifacts"), help="store root")
    words.add_argument("--device", default="auto", help="auto, cuda or cpu")
    words.add_argument("--threads", type=int, default=1)
    words.add_argument(
        "--root", action="append", default=[], metavar="NAME=FOLDER", help="a folder of the user's"
    )
    words.add_argument(
        "--checkpoint-steps",
        type=int,
        default=0,
        metavar="N",
        help="steps of training between two checkpoints; 0: only when asked to stop",
    )
    words.add_argument(
        "--verify-below",
        type=int,
        default=VERIFY_BELOW,
        metavar="BYTES",
        help="objects below this size are hashed whenever they are read",
    )
    words.add_argument("--log", type=Path, help="log file")
    return words


def pairs(items: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE words as a mapping. Raises ClipsteerError for anything else."""
    found = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise ClipsteerError(f"{option} {item!r}: expected NAME=VALUE.")
        found[name] = value
    return found


def runtime_of(arguments: argparse.Namespace) -> Runtime:
    """What may differ between two runs without changing a result."""
    return Runtime(
        name=arguments.name,
        device=arguments.device,
        threads=arguments.threads,
        roots={name: Path(folder) for name, folder in pairs(arguments.root, "--root").items()},
        checkpoint_steps=arguments.checkpoint_steps,
    )


def input_paths(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The pointer files of each input, by its name."""
    paths = {name: [path] for name, path in pairs(arguments.input, "--input").items()}
    return paths | {name: files for name, *files in arguments.inputs}


def job_of(arguments: argparse.Namespace) -> Job:
    """The job with its input pointers read.

    Raises one ClipsteerError for all pointers that are missing or damaged beyond mending; each damaged
    one has then been put away, so that one more run makes all of them again.
    """
    paths = input_paths(arguments)
    found: dict[str, Pointer] = {}
    faults = []
    for path in dict.fromkeys(
        [path for files in paths.values() for path in files] + arguments.after
    ):
        try:
            found[path], _ = read_or_heal(arguments.store, Path.cwd(), Path(path))
        except ClipsteerError as error:
            faults.append(str(error))
    if faults:
        raise ClipsteerError("\n".join(faults))
    chains = [pointer.chain for pointer in found.values()]
    inputs = {name: joined([found[path] for path in files], files) for name, files in paths.items()}
    return Job(
        json.loads(arguments.recipe)["config"],
        inputs | raw_inputs(arguments),
        runtime_of(arguments),
        (*chains, *(digest_bytes(text.encode()) for text in _raw(arguments).values())),
    )


def raw_inputs(arguments: argparse.Namespace) -> dict[str, Pointer]:
    """What scans found in the user's folders, each as a pointer with facts only."""
    return {
        name: Pointer("raw", {"all": Member(facts=json.loads(text))})
        for name, text in _raw(arguments).items()
    }


def _raw(arguments: argparse.Namespace) -> dict[str, str]:
    return {name: text for name, text in pairs(arguments.raw, "--raw").items() if text}


def joined(pointers: Sequence[Pointer], paths: Sequence[str]) -> Pointer:
    """The members of several pointers as one. Raises ClipsteerError for a member that is in two."""
    members: dict[str, Member] = {}
    step = ""
    for pointer, path in zip(pointers, paths, strict=True):
        step = pointer.step
        if both := set(members) & set(pointer.members):
            raise ClipsteerError(f"{path}: members {sorted(both)} stand in another input as well.")
        members |= pointer.members
    return Pointer(step, members)
