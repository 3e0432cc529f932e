"""Runs one step: look the action up, else compute it; publish objects, record, pointer, in that order.

A workflow script has two functions. `plan(job)` names the actions of the job: for each member its recipe
and the digests of its inputs, with light imports only. `compute(run)` does one action's work and hands
its outputs to `run`. Everything that `compute` may know comes through `run`, so that a record (step,
recipe, inputs) is enough to execute the action again. See docs/store-protocol.md.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import platform
import resource
import shutil
import socket
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.actions import ActionStore, action_key, complete
from clipsteer.store.durable import write_atomic
from clipsteer.store.fingerprint import Code, inspect_code
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Member, Output, Pointer, read_pointer, write_pointer
from clipsteer.store.progress import Log
from clipsteer.store.run import Action, Job, Json, Run, Runtime

__all__ = ["CACHES", "FINGERPRINTS", "Action", "Job", "Run", "main"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Caches of a working copy, beside Snakemake's own: losing them costs time, nothing else.
CACHES = Path(".snakemake/clipsteer")
FINGERPRINTS = CACHES / "fingerprints.json"
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


Plan = Callable[[Job], Mapping[str, Action]]
Compute = Callable[[Run], None]


def _pairs(items: Sequence[str], option: str) -> dict[str, str]:
    pairs = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise ClipsteerError(f"{option} {item!r}: expected NAME=VALUE.")
        pairs[name] = value
    return pairs


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--recipe", required=True, help="canonical JSON: step, code, modules, config"
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=POINTER",
        help="pointer file of an input",
    )
    parser.add_argument(
        "--inputs",
        action="append",
        default=[],
        nargs="+",
        metavar="NAME POINTER ...",
        help="pointer files whose members together are one input; may be none",
    )
    parser.add_argument(
        "--name", default="", help="the data set or dictionary that the job is about"
    )
    parser.add_argument("--pointer", required=True, type=Path, help="pointer file to write")
    parser.add_argument(
        "--export",
        default=[],
        nargs="+",
        metavar="MEMBER/OUTPUT=FILE",
        help="also write these outputs as real files",
    )
    parser.add_argument("--store", type=Path, default=Path("artifacts"), help="store root")
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--root", action="append", default=[], metavar="NAME=FOLDER", help="a folder of the user's"
    )
    parser.add_argument("--log", type=Path, help="log file")
    return parser


def main(
    plan: Plan, compute: Compute, description: str | None, argv: Sequence[str] | None = None
) -> None:
    """Command line of every workflow script; exits with 1 and one clear message on a user's fault."""
    arguments = _parser(description).parse_args(argv)
    for variable in _THREAD_VARIABLES:
        os.environ.setdefault(variable, str(arguments.threads))
    os.environ.setdefault("POLARS_MAX_THREADS", str(arguments.threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # waiting threads sleep: on a shared core, spinning ones slow a job down several times over
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    step = "step"
    log, file = Log(), None
    try:
        if arguments.log:
            arguments.log.parent.mkdir(parents=True, exist_ok=True)
            file = arguments.log.open("w", encoding="utf-8")
            log = Log(file)
        recipe = json.loads(arguments.recipe)
        step = recipe["step"]
        script = Path(sys.modules[compute.__module__].__file__ or "").resolve()
        _execute(plan, compute, script, recipe, arguments, log)
    except ClipsteerError as error:
        log.line(f"clipsteer: {step}: {error}")
        sys.exit(1)
    except Exception as error:
        if not _is_no_space(error):  # a bug of ours: all of it, also in the log
            log.line(traceback.format_exc())
            sys.exit(1)
        log.line(
            f"clipsteer: {step}: no space left while writing {getattr(error, 'filename', None) or 'a file'} "
            f"({error}). Nothing half-written is visible; free some space (or point store.root in the "
            "config elsewhere) and run the same command again."
        )
        sys.exit(1)
    finally:
        if file:
            with suppress(OSError):
                file.close()


def _is_no_space(error: Exception) -> bool:
    """Also where a library written in Rust hands the system's error on as text."""
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return True
    return any(f"os error {number}" in str(error) for number in _NO_SPACE)


def _execute(
    plan: Plan,
    compute: Compute,
    script: Path,
    recipe: Mapping[str, Json],
    arguments: argparse.Namespace,
    log: Log,
) -> None:
    started = time.monotonic()
    runtime = Runtime(
        name=arguments.name,
        device=arguments.device,
        threads=arguments.threads,
        roots={k: Path(v) for k, v in _pairs(arguments.root, "--root").items()},
    )
    objects = ObjectStore(arguments.store)
    cache = ActionStore(arguments.store)
    inputs = {k: _read([v]) for k, v in _pairs(arguments.input, "--input").items()}
    inputs |= {name: _read(paths) for name, *paths in arguments.inputs}
    job = Job(recipe["config"], inputs, objects, runtime)
    check = _CodeCheck(script, recipe)
    check("before the step began")

    members: dict[str, Member] = {}
    computed = restored = 0
    for member, action in sorted(plan(job).items()):
        key = action_key(recipe["step"], action.recipe, recipe["code"], action.inputs)
        record: Mapping[str, Json] | None = cache.get(key)
        if record is not None and complete(record, objects):
            cache.touch(key)  # gc spares what was used lately
            restored += 1
        else:
            label = recipe["step"] if member == "all" else f"{recipe['step']} {member}"
            record = _compute(
                compute, action, key, recipe, script, label, objects, cache, runtime, log, check
            )
            computed += 1
        members[member] = Member(
            outputs={name: Output(**output) for name, output in record["outputs"].items()},
            facts=record["facts"],
        )
    for target, value in _pairs(arguments.export, "--export").items():
        member, _, output = target.rpartition("/")
        _export(objects, members[member].outputs[output].digest, Path(value))
    write_pointer(arguments.pointer, Pointer(recipe["step"], members))
    log.line(
        f"{recipe['step']} {arguments.name or arguments.pointer.stem}: computed={computed} restored={restored} "
        f"in {time.monotonic() - started:.1f} s"
    )


def _read(paths: Sequence[str]) -> Pointer:
    """The members of several pointers as one; a raw token counts as one member with facts only."""
    members: dict[str, Member] = {}
    step = ""
    for path in paths:
        pointer = _read_token(Path(path)) or read_pointer(Path(path))
        step = pointer.step
        if both := set(members) & set(pointer.members):
            raise ClipsteerError(f"{path}: members {sorted(both)} stand in another input as well.")
        members |= pointer.members
    return Pointer(step, members)


def _read_token(path: Path) -> Pointer | None:
    """A raw token (clipsteer/store/scan.py) as a pointer with facts only; None for anything else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(value, dict) or "members" in value:
        return None
    return Pointer("raw", {"all": Member(outputs={}, facts=value)})


class _CodeCheck:
    """Refuses to publish under a key whose code is no longer what runs."""

    def __init__(self, script: Path, recipe: Mapping[str, Json]) -> None:
        self._script, self._recipe = script, recipe

    def __call__(self, when: str) -> Code:
        """What the code consists of; raises ClipsteerError where it is no longer the planned one."""
        code = inspect_code(
            self._script, self._script.parents[1], self._recipe["modules"], FINGERPRINTS
        )
        now = code.fingerprint
        if now != self._recipe["code"]:
            raise ClipsteerError(
                f"the code of this step ({self._script.name} and what it imports) was changed {when}: "
                f"found {now[:18]}..., the run was planned with {self._recipe['code'][:18]}.... "
                "Nothing was published; run the same command again."
            )
        return code


def _compute(
    compute: Compute,
    action: Action,
    key: str,
    recipe: Mapping[str, Json],
    script: Path,
    label: str,
    objects: ObjectStore,
    cache: ActionStore,
    runtime: Runtime,
    log: Log,
    check: _CodeCheck,
) -> Mapping[str, Json]:
    scratch = objects.root / "scratch" / key.replace(":", "-") / uuid.uuid4().hex
    scratch.mkdir(parents=True)
    began, clock = datetime.now(UTC), time.monotonic()
    run = Run(action, objects, runtime, scratch, log, label)
    try:
        compute(run)
        code = check("while it ran")
        record = {
            "step": recipe["step"],
            "script": script.relative_to(script.parents[1]).as_posix(),
            "modules": recipe["modules"],
            "recipe": dict(action.recipe),
            "code": recipe["code"],
            "inputs": dict(action.inputs),
            "outputs": {
                n: {"digest": o.digest, "size": o.size, "kind": o.kind}
                for n, o in run.outputs.items()
            },
            "facts": run.facts,
            "run": {
                "began": began.isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - clock, 3),
                "host": socket.gethostname(),
                "machine": platform.machine(),
                "python": platform.python_version(),
                "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                **_machine(runtime),
                "code": code.material(),
            },
        }
        published = cache.publish(key, record)
        if not complete(published, objects):
            raise ClipsteerError(
                f"action {key}: found a record whose outputs are gone, and computing it again gave others; "
                "expected the same bytes from the same recipe, inputs and code. Report this step as not "
                "deterministic; deleting the record lets the new result in."
            )
        return published
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with suppress(OSError):  # another attempt of the same action may still be in there
            scratch.parent.rmdir()


def _machine(runtime: Runtime) -> dict[str, Json]:
    """Where an action ran: recorded, never part of a key."""
    found: dict[str, Json] = {
        "name": runtime.name,
        "roots": {name: str(path) for name, path in runtime.roots.items()},
        "threads": runtime.threads,
        "device": runtime.device,
    }
    torch = sys.modules.get("torch")  # the store itself does without
    if torch is not None:
        found["instruction_set"] = torch.backends.cpu.get_cpu_capability()
        found["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return found


def _export(objects: ObjectStore, digest: str, target: Path) -> None:
    """Writes an object as a real file for people: whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, objects.get_bytes(digest))
