"""Runs one step: look each action up, else compute it; publish objects, record, pointer, in that order.

A workflow script has two functions. `plan(job)` names the actions of the job: for each member its recipe
and the digests of its inputs, from the pointers alone. `compute(run)` does one action's work and hands
its outputs to `run`. Everything that `compute` may know comes through `run`, so that a record (step,
recipe, inputs) is enough to execute the action again. See docs/store-protocol.md.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.runner.checkpoints import StopSignals, stop_signals
from clipsteer.runner.code import StepCode
from clipsteer.runner.execute import Compute, Executor
from clipsteer.runner.fence import writing
from clipsteer.runner.jobs import job_of, pairs, parser, runtime_of
from clipsteer.runner.progress import Log
from clipsteer.runner.run import Action, Job, Json, Run
from clipsteer.runner.warm import BEFORE_TORCH, hand_over
from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.durable import write_atomic
from clipsteer.store.layout import check_shared
from clipsteer.store.objects import DamagedObjectError, MissingObjectError, ObjectStore
from clipsteer.store.pointers import Member, Pointer, chain_key, pointer_bytes
from clipsteer.store.roots import keep_pointer
from clipsteer.store.state import CACHES

__all__ = ["CACHES", "Action", "Job", "Run", "main"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Slurm sets one of these in a job that it has given a GPU.
_GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE")
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Plan = Callable[[Job], Mapping[str, Action]]
# Of a step that has no actions: does its work once more in every run, and gives the facts of its pointer.
Effect = Callable[[Job, ObjectStore, Log], dict[str, Json]]


def main(
    plan: Plan,
    compute: Compute,
    description: str | None,
    argv: Sequence[str] | None = None,
    effect: Effect | None = None,
    identity: Sequence[str] = (),
) -> None:
    """Command line of every workflow script; exits with 1 and one clear message on a user's fault.

    `identity`: facts that say what was really taken from outside (such as the commit of a model on the
    hub), where the recipe alone cannot; they enter the chain key.
    """
    arguments = parser(description).parse_args(argv)
    for variable in _THREAD_VARIABLES:
        os.environ.setdefault(variable, str(arguments.threads))
    os.environ.setdefault("POLARS_MAX_THREADS", str(arguments.threads))
    for variable, value in BEFORE_TORCH.items():
        os.environ.setdefault(variable, value)
    if arguments.device == "auto":
        hide_others_gpus(os.environ)
    step = "step"
    log, file = Log(), None
    try:
        if arguments.log:
            arguments.log.parent.mkdir(parents=True, exist_ok=True)
            # a new file: a job of a killed run may go on writing to the old one
            arguments.log.unlink(missing_ok=True)
            file = arguments.log.open("w", encoding="utf-8")
            log = Log(file)
        step = json.loads(arguments.recipe)["step"]
        check_shared(arguments.store)
        script = Path(sys.modules[compute.__module__].__file__ or "").resolve()
        with stop_signals() as stops:
            _execute(plan, compute, effect, identity, script, arguments, log, stops)
    except ClipsteerError as error:
        log.detail(f"clipsteer: {step}: {error}")
        sys.exit(1)
    except Exception as error:
        if not _is_no_space(error):  # a bug of ours: all of it, also in the log
            log.detail(traceback.format_exc())
            sys.exit(1)
        log.detail(
            f"clipsteer: {step}: no space left while writing {getattr(error, 'filename', None) or 'a file'} "
            f"({error}). Nothing half-written is visible; free some space (or point store.root in the "
            "config elsewhere) and run the same command again."
        )
        sys.exit(1)
    finally:
        if file:
            with suppress(OSError):
                file.close()


def hide_others_gpus(environment: MutableMapping[str, str]) -> None:
    """In a Slurm job that asked for no GPU, hide those of its node: they are other jobs'.

    Some clusters do so themselves. Where GPUs are not Slurm's to give, `runtime.device: cuda` takes
    them all the same.
    """
    if "SLURM_JOB_ID" in environment and not any(name in environment for name in _GPU_VARIABLES):
        environment["CUDA_VISIBLE_DEVICES"] = ""


def _is_no_space(error: Exception) -> bool:
    """Also where a library written in Rust hands the system's error on as text."""
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return True
    return any(f"os error {number}" in str(error) for number in _NO_SPACE)


def _execute(
    plan: Plan,
    compute: Compute,
    effect: Effect | None,
    identity: Sequence[str],
    script: Path,
    arguments: argparse.Namespace,
    log: Log,
    stops: StopSignals,
) -> None:
    started = time.monotonic()
    recipe: dict[str, Json] = json.loads(arguments.recipe)
    objects = ObjectStore(arguments.store, verify_below=arguments.verify_below)
    job = job_of(arguments)
    if not identity:
        _check_chain(arguments, chain_key(arguments.recipe, job.sources))
    step = StepCode(recipe["step"], script, recipe["modules"])
    step.check(recipe["code"], "before the step began")

    def elsewhere() -> None:
        """Let the run's worker do this job from the start, if there is one; then this process ends."""
        status = hand_over(script, step.modules, arguments.threads)
        if status is not None:
            raise SystemExit(status)

    executor = Executor(objects, runtime_of(arguments), step.project, log, stops, elsewhere)
    executor.know(job)

    members: dict[str, Member] = {}
    for member, action in sorted(plan(job).items()):
        record = executor.perform(step, recipe["code"], action, step.label(member), compute)
        members[member] = Member.of(record["outputs"], record["facts"])
    if effect is not None:
        members["all"] = Member(facts=effect(job, objects, log))
    exports = {}
    for target, value in pairs(arguments.export, "--export").items():
        member, _, output = target.rpartition("/")
        exports[Path(value)] = _content(executor, members[member].outputs[output].digest)
    named = {n: members["all"].facts[n] for n in identity if n in members["all"].facts}
    sources = [*job.sources, *([digest_bytes(canonical_json(named))] if named else [])]
    chain = chain_key(arguments.recipe, sources)
    _check_chain(arguments, chain)
    _write(arguments, Pointer(step.name, members, chain), exports)
    counts = executor.counts
    log.detail(
        f"{step.name} {arguments.name or arguments.pointer.stem}: computed={counts.computed} "
        f"restored={counts.restored} in {time.monotonic() - started:.1f} s"
    )


def _check_chain(arguments: argparse.Namespace, chain: str) -> None:
    """Raises ClipsteerError where the job's inputs are not those that its run was planned with."""
    if arguments.chain not in ("", chain):
        raise ClipsteerError(
            f"{arguments.pointer}: the inputs of this job are not those of this configuration (found "
            f"the chain {chain[:18]}..., expected {arguments.chain[:18]}...): they were changed since "
            "the run began. Nothing was written; run the same command again."
        )


def _content(executor: Executor, digest: str) -> bytes:
    """An object's bytes; remade first where it is lost or damaged."""
    try:
        return executor.objects.get_bytes(digest)
    except (MissingObjectError, DamagedObjectError):
        executor.remake(digest)
        return executor.objects.get_bytes(digest)


def _write(arguments: argparse.Namespace, pointer: Pointer, exports: Mapping[Path, bytes]) -> None:
    """What people and Snakemake see, each file whole or not at all; the pointer last."""
    data = pointer_bytes(pointer)
    with writing() as allowed:
        if not allowed:
            raise ClipsteerError(
                f"{arguments.pointer}: not written, because a newer run has begun in this folder since "
                "this job's was ended; what the job computed is in the store, and the newer run finds it "
                "there."
            )
        # first the copy by which gc knows of it
        keep_pointer(arguments.store, Path.cwd(), arguments.pointer, data)
        for path, content in exports.items():
            write_atomic(path, content)
        write_atomic(arguments.pointer, data)
