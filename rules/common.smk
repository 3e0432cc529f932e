# Config, validation, recipes and the named helpers that the rules share.
#
# A rule's parameter `recipe` is one canonical JSON string with everything that determines the result apart
# from the inputs' contents, `chain` is the digest of all recipes that lead to it, and `source` stands for what
# it reads of the user's own (docs/store-protocol.md). Parsing reads no data; only the main process looks at
# the user's folders, once each, before the DAG is built (clipsteer/workflow/chains.py).

import atexit
import functools
import re
import shlex
import sys
from contextlib import suppress
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

BASE = Path(workflow.basedir)

from clipsteer.config import config_warnings, layers_of, model_shape, validate
from clipsteer.data.forms import FORMS, papers_attributes
from clipsteer.data.watched import named_files
from clipsteer.errors import ClipsteerError
from clipsteer.store.actions import STORE_SEMANTICS
from clipsteer.store.bytecode import go_by_content
from clipsteer.store.digest import canonical_json, digest_bytes, digest_file
from clipsteer.store.fingerprint import code_fingerprint
from clipsteer.store.pointers import chain_key, read_pointer
from clipsteer.store.progress import Log, Progress
from clipsteer.store.scan import scan, write_token
from clipsteer.workflow.chains import Chains
from clipsteer.store.code import CACHES, FINGERPRINTS
from clipsteer.store.drop import expect
from clipsteer.store.fence import begin, look
from clipsteer.store.noted import note_store
from clipsteer.store.warm import start
from clipsteer.store.shared import share
from clipsteer.slurm import (
    check_commands,
    check_profile,
    check_requests,
    check_status_command,
    request,
)
from clipsteer.workflow.closing import close
from clipsteer.workflow.places import check_places, check_writable, claim_pointers
from clipsteer.workflow.signals import cancel_orphans, hand_on_signals
from clipsteer.workflow.terminal import jobs_tell_all
from clipsteer.workflow.watch import ALL

try:
    check_profile(sys.argv)
    config = validate(config, Path.cwd())
except ClipsteerError as error:
    raise WorkflowError(str(error)) from None

if workflow.is_main_process and config["runtime"].get("terminal") == "full":
    TERMINAL.show_all()

STORE = str(Path(config["store"]["root"]).expanduser())
REFS = "artifacts/refs"
TABLES = {dataset: names for dataset, names in config["tables"].items() if names}
DICTIONARIES = config["dictionaries"]
LAYERS = layers_of(config, Path.cwd())
PARTS = range(config["jobs"]["extraction_parts"])
TINY = config["model"]["source"] == "tiny"
MODEL_SOURCE = Path(config["model"]["source"]).expanduser()
LOCAL_MODEL = not TINY and MODEL_SOURCE.is_dir()  # else a hub name


def blocks():
    """The layers cut into the blocks that one job handles, by name: layers_00-02."""
    size = config["jobs"]["layers_per_job"]
    runs = [LAYERS[i : i + size] for i in range(0, len(LAYERS), size)]
    return {f"layers_{run[0]:02d}-{run[-1]:02d}": run for run in runs}


BLOCKS = blocks()

# What a dataset's pointer of each name is written out as, for people: output -> file.
EXPORTS = {
    "table": {
        "csv": "results/{dataset}_table.csv",
        "markdown": "results/{dataset}_table.md",
        "figure": "results/{dataset}_layers.png",
        "feature_sets": "results/{dataset}_feature_sets.csv",
        "dictionaries": "results/{dataset}_dictionaries.csv",
        "summary": "results/{dataset}_summary.txt",
        "headline": "results/{dataset}_headline.json",
    },
    "negative_control": {"csv": "results/{dataset}_negative_control.csv"},
}


# Names that the configuration does not have are no rule's business: Snakemake says so of such a target.
wildcard_constraints:
    dataset="|".join(config["datasets"]),
    dictionary="|".join(DICTIONARIES),
    split="train|train_augmented|validation|test",
    part="|".join(map(str, PARTS)),
    block="|".join(BLOCKS),


# ------------------------------------------------------------------------------------------ recipes


@functools.cache
def fingerprint(step, modules):
    return code_fingerprint(
        BASE / "workflow_scripts" / f"{step}.py",
        BASE,
        modules,
        FINGERPRINTS,
    )


def recipe(step, settings, modules=()):
    """The canonical recipe of a step: its name, its slice of the config, the digest of its code.

    `modules` are those that the step imports by a name in its settings.
    """
    return canonical_json(
        {
            "step": step,
            "config": settings,
            "modules": sorted(modules),
            "code": fingerprint(step, tuple(sorted(modules))),
            "semantics": STORE_SEMANTICS,  # so that Snakemake too sees it rise
        }
    ).decode()


def quoted(word):
    """One shell word; Snakemake formats the whole command, so its braces are doubled."""
    return shlex.quote(str(word)).replace("{", "{{").replace("}", "}}")


def shell_words(step):
    """The words that run a step's script with the library of this checkout; runtime settings only."""
    deployed = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    words = [
        "python" if deployed else sys.executable,
        BASE / "workflow_scripts" / f"{step}.py",
    ]
    words += ["--store", STORE, "--device", config["runtime"]["device"]]
    words += ["--checkpoint-steps", config["runtime"]["checkpoint_steps"]]
    words += ["--verify-below", config["store"]["verify_below_mb"] * 2**20]
    # of all data sets: a lost object may have to be made again by any step
    for dataset, settings in config["datasets"].items():
        if settings["root"] != "painted":
            words += ["--root", f"{dataset}={Path(settings['root']).expanduser()}"]
    if LOCAL_MODEL:
        words += ["--root", f"model={MODEL_SOURCE}"]
    return (
        f"PYTHONPATH={quoted(BASE)} "
        + " ".join(quoted(word) for word in words)
        + " --recipe {params.recipe:q} --chain={params.chain:q} --log {log} --threads {threads} "
    )


def expected_chain(wildcards, output):
    """The chain key that a job's pointer has to get; empty where it is not known yet."""
    return CHAINS.key(str(output.get("pointer", output[0]))) or ""


# ------------------------------------------------------------------------------- the user's own data


def is_painted(dataset):
    return config["datasets"][dataset]["root"] == "painted"


def raw_note(name):
    return f"{REFS}/raw/{name}.json"


@functools.cache
def raw_token(name):
    """What stands for the user's folder of a data set, or of the model: canonical JSON.

    The main process looks at the folder; jobs that read the rules again take what it has noted.
    """
    if not workflow.is_main_process:
        return Path(raw_note(name)).read_text(encoding="utf-8").strip()
    key = "model.source" if name == "model" else f"datasets.{name}.root"
    if name == "model":
        from clipsteer.clip.weights import faults

        if found := [f"{key}: {fault}" for fault in faults(MODEL_SOURCE)]:
            raise ClipsteerError("\n".join(found))
    progress = Progress(Log(), f"looking at {key}", None, "files hashed")
    try:
        found = scan(
            cache=CACHES / f"scan-{name}",
            threads=config["raw"]["threads"],
            key=key,
            progress=progress,
            **scan_settings(name),
        )
    finally:
        progress.finish()
    SCANNED[name] = found.token
    return canonical_json(found.token).decode()


SCANNED = {}  # the tokens of this run's scans by name


def scan_settings(name):
    """Where a folder of the user's lies and what counts in it."""
    if name == "model":
        from clipsteer.clip.weights import PATTERNS

        return {
            "root": MODEL_SOURCE,
            "watch": "labels",
            "label_patterns": PATTERNS,
            "layout": "config.json, model.safetensors, tokenizer and processor files",
        }
    settings = config["datasets"][name]
    form = FORMS[settings["layout"]]
    return {
        "root": Path(settings["root"]).expanduser(),
        "watch": config["raw"]["watch"] or "off",
        "label_patterns": form.label_patterns,
        "named": named_files(settings),
        "layout": form.expected,
    }


def keep_edited():
    """Renames the edited results that this run makes again, before their jobs start."""
    made = {str(file) for job in workflow.dag.needrun_jobs() for file in job.output}
    for file, place in CHAINS.put_edited_aside(made):
        print(
            f"clipsteer: {file} was edited: it is made again, and yours is now {place}",
            file=sys.stderr,
        )


def check_folders():
    files = [file for exports in EXPORTS.values() for file in exports.values()]
    results = [file.format(dataset=dataset) for dataset in TABLES for file in files]
    try:
        check_places(
            BASE,
            Path.cwd(),
            Path(STORE),
            results,
            writes=not workflow.output_settings.dryrun,
        )
    except ClipsteerError as error:
        raise WorkflowError(str(error)) from None


CHAINS = Chains(workflow, Path(STORE))  # which results are up to date

if workflow.is_main_process:
    check_folders()
    for warning in config_warnings(config, Path.cwd()):
        print(f"clipsteer: warning: {warning}", file=sys.stderr)
    SEEN = look()
    CHAINS.compare_first()
    go_by_content(BASE / "clipsteer")
    go_by_content(BASE / "workflow_scripts")


# ------------------------------------------------------------------------------------ closing summary


def print_summary():
    if lines := close(workflow, WATCH, Path(STORE)):
        print(lines, file=sys.stderr)


if workflow.is_main_process:
    atexit.register(print_summary)


# ------------------------------------------------------------------------------------- one run at a time


def on_slurm():
    return (
        workflow.executor_plugin is not None
        and workflow.executor_plugin.name == "slurm"
    )


def seconds_expected():
    """The rule and the likely seconds of each job of this run, by its number."""
    found = {}
    for job in workflow.dag.needrun_jobs():
        step = job.rule.name
        if step != ALL:
            found[job.jobid] = (step, cost(step, job.wildcards, has_gpu(step)).seconds)
    return found


def requests():
    """What this run's jobs ask Slurm for at first, each with a rule that does."""
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    return {request(job.resources, job.threads): job.rule.name for job in jobs}


def prepare():
    """What comes before the first job; raises WorkflowError where the run may not begin."""
    try:
        if on_slurm():
            check_commands()
            check_status_command(workflow.executor_settings.status_command)
            check_requests(requests())
            share(Path(STORE))
        check_writable(Path.cwd())
        begin(SEEN)
        note_store(Path(STORE), Path.cwd())
        claim_pointers(Path.cwd())
        cancel_orphans(Path.cwd())
        keep_edited()
        for name, token in SCANNED.items():
            write_token(Path(raw_note(name)), token)
        if config["runtime"]["warm_worker"] and workflow.local_exec:
            start()
        expect(readers_of_this_run())
    except ClipsteerError as error:
        raise WorkflowError(str(error)) from None
    if not workflow.local_exec:
        jobs_tell_all()  # in Slurm's logs
    WATCH.expect(seconds_expected())
    hand_on_signals(Path.cwd(), on_slurm=on_slurm())


onstart:
    if not workflow.touch:  # then no job runs
        prepare()
