# What each job asks of a cluster: memory and minutes that scale with its work, doubled on each retry. The
# model is clipsteer/lineage/resources.py; a profile's set-resources overrides it. Local runs do not heed it.

import functools

from clipsteer.lineage.resources import GPU_STEPS, Model, asks_for_gpu, known_images

COSTS = Model(
    config, Path.cwd(), known_images(config, Path(REFS), CHAINS.current, SOURCES.known)
)
OVERRIDDEN = workflow.resource_settings.overwrite_resources
FOR_ALL = workflow.resource_settings.default_resources or {}
# Whether it is known where the jobs will run: else as profiles/slurm has it.
PROFILE = OVERRIDDEN or any(
    word.partition("=")[0] in ("--workflow-profile", "--profile") for word in sys.argv
)


# The last one only: memory, minutes and disk of a job are asked for one after the other.
@functools.lru_cache(1)
def cost_of(step, wildcards, gpu):
    return COSTS.cost(step, dict(wildcards), gpu=gpu)


def cost(step, wildcards, gpu):
    return cost_of(step, tuple(wildcards.items()), gpu)


def has_gpu(step):
    """Whether a step's jobs are given a GPU, and use it: then they compute at its speed."""
    given = {**FOR_ALL, **OVERRIDDEN.get(step, {})}
    words = {name: getattr(value, "raw", value) for name, value in given.items()}
    return config["runtime"]["device"] != "cpu" and asks_for_gpu(words)


def seconds(job):
    """What a job of this run is likely to take."""
    step = job.rule.name
    return cost(step, job.wildcards, has_gpu(step)).seconds


def needs(step):
    """The resources of a step's rule."""
    gpu = has_gpu(step)

    def memory(wildcards, attempt):
        return cost(step, wildcards, gpu).request(attempt)[0]

    def minutes(wildcards, attempt):
        return cost(step, wildcards, gpu).request(attempt)[1]

    def disk(wildcards):
        return round(cost(step, wildcards, gpu).disk_mb) + 1

    return {"mem_mb": memory, "runtime": minutes, "disk_mb": disk}


def expected(job):
    """What a job is expected to take, for `python -m clipsteer plan --resources`."""
    step = job.rule.name
    assumed = not PROFILE and step in GPU_STEPS and config["runtime"]["device"] != "cpu"
    gpu = has_gpu(step) or assumed
    found = cost(step, job.wildcards, gpu)
    return {
        "gpu": gpu,
        "seconds": found.seconds,
        "memory_mb": found.memory_mb,
        "requested_mb": found.request(1)[0],
        "disk_mb": found.disk_mb,
        "known": found.known,
        "notes": list(found.notes),
    }
