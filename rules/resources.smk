# What each job asks of a cluster: memory and minutes that scale with its work, doubled on each retry. The
# model is clipsteer/lineage/resources.py; a profile's set-resources overrides it. Local runs do not heed it.

from clipsteer.lineage.resources import GPU_STEPS, Model, known_images

COSTS = Model(config, Path.cwd(), known_images(config, Path(REFS)))
OVERRIDDEN = workflow.resource_settings.overwrite_resources


def cost(step, wildcards, gpu):
    return COSTS.cost(step, dict(wildcards.items()), gpu=gpu)


def needs(step):
    """The resources of a step's rule."""
    gpu = "gpu" in OVERRIDDEN.get(step, {})  # then it computes at a GPU's speed

    def memory(wildcards, attempt):
        return cost(step, wildcards, gpu).request(attempt)[0]

    def minutes(wildcards, attempt):
        return cost(step, wildcards, gpu).request(attempt)[1]

    def disk(wildcards):
        return round(cost(step, wildcards, gpu).disk_mb) + 1

    return {"mem_mb": memory, "runtime": minutes, "disk_mb": disk}


def expected(job):
    """What a job is expected to take, for `python -m clipsteer plan --resources`."""
    gpu = job.rule.name in GPU_STEPS
    found = cost(job.rule.name, job.wildcards, gpu)
    return {
        "gpu": gpu,
        "seconds": found.seconds,
        "memory_mb": found.memory_mb,
        "requested_mb": found.request(1)[0],
        "disk_mb": found.disk_mb,
    }
