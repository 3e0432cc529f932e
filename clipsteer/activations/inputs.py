"""The arrays of a shard by name; from a step's inputs to readers of one of them, and to the model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipsteer.activations.reader import ActivationReader
    from clipsteer.backbones.base import Backbone
    from clipsteer.runner.step import Job, Run


EMBEDDING = "embedding"


def array_name(hook_point: str, layer: int) -> str:
    """The array of a hook point and layer in a shard: `resid_post/00`."""
    return f"{hook_point}/{layer:02d}"


def array_inputs(
    job: Job, array: str, prefix: str = "activations", activations: str = "activations"
) -> dict[str, str]:
    """Digests of one array (`resid_post/03`, `embedding`) in every shard of the input `activations`.

    Only these enter the key of an action, so that a change to another layer leaves it fresh.
    """
    return {
        f"{prefix}/{member}": job.output(activations, array, member)
        for member in sorted(job.inputs[activations].members)
    }


def hook_inputs(
    job: Job, layer: int, prefix: str = "", activations: str = "activations"
) -> dict[str, str]:
    """Digests of a layer at the recipe's hook point; of `mlp_out` also of the stream that its change is added to.

    Their names begin with `<prefix>activations/` and `<prefix>resid_post/`, for `open_reader` and `open_stream`.
    """
    hook_point = job.recipe["hook_point"]
    array = array_name(hook_point, layer)
    inputs = array_inputs(job, array, f"{prefix}activations", activations)
    if hook_point == "mlp_out":
        stream = array_name("resid_post", layer)
        inputs |= array_inputs(job, stream, f"{prefix}resid_post", activations)
    return inputs


def open_stream(run: Run, prefix: str = "") -> ActivationReader | None:
    """The layer's `resid_post` beside its hook point, where `hook_inputs` named it."""
    name = f"{prefix}resid_post"
    return open_reader(run, name) if any(n.startswith(f"{name}/") for n in run.inputs) else None


def open_reader(run: Run, prefix: str = "activations") -> ActivationReader:
    """The shards that `array_inputs` named, in order of their names, as one run of images."""
    from clipsteer.activations.reader import ActivationReader

    shards, start = [], 0
    for name in sorted(n for n in run.inputs if n.startswith(f"{prefix}/")):
        tree = run.tree(name)
        stop = start + int(json.loads(tree.read("zarr.json"))["shape"][0])
        shards.append((start, stop, tree))
        start = stop
    return ActivationReader(shards)


_backbones: dict[tuple[str, ...], Backbone] = {}  # stays loaded between the actions of one job


def open_backbone(run: Run, name: str = "model", crop: str = "transformers") -> Backbone:
    """The model that the input `name` of an action is, in the recipe's `model_dtype`."""
    from clipsteer.backbones.load import load_backbone

    dtype = str(run.recipe["model_dtype"])
    wanted = (run.inputs[name], dtype, crop)
    if wanted not in _backbones:
        _backbones.clear()
        folder = run.folder(name)
        _backbones[wanted] = load_backbone(
            folder, device=run.runtime.device, dtype=dtype, crop=crop
        )
    return _backbones[wanted]
