"""From a step's inputs to a dictionary: a trained one, or the basis that the config names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from clipsteer.dictionaries.base import Dictionary
    from clipsteer.runner.step import Job, Run


def dictionary_inputs(job: Job, layer: int) -> dict[str, str]:
    """Digest of the trained dictionary of one layer; nothing for the neuron basis."""
    if job.recipe["architecture"] == "neurons":
        return {}
    return {"dictionary": job.output("dictionary", "dictionary", member_name(job, layer))}


def member_name(job: Job, layer: int) -> str:
    """How the members of every step on dictionaries are called: `topk/layer_03`."""
    return f"{job.name}/layer_{layer:02d}"


def open_dictionary(
    run: Run, width: int, device: torch.device | str, name: str = "dictionary"
) -> Dictionary:
    """The action's dictionary on `device`; `width` is d, which the neuron basis is made of."""
    from clipsteer.dictionaries.files import load

    if name in run.inputs:
        return load(run.folder(name), device)
    from clipsteer.dictionaries.neurons import NeuronBasis

    return NeuronBasis(width, device)
