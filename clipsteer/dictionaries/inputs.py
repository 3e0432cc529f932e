"""From a step's inputs to a dictionary: a trained one, or the basis that the config names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from clipsteer.runner.run import Action

if TYPE_CHECKING:
    import torch

    from clipsteer.dictionaries.base import Dictionary
    from clipsteer.runner.step import Job, Run


def each_layer(job: Job, inputs: Callable[[int], Mapping[str, str]]) -> dict[str, Action]:
    """The actions of a job on a block of layers: one a layer, with the digests that `inputs` gives of it.

    An action sees all settings of the step and its own layer; what else is in the block is the job's alone.
    """
    settings = {name: value for name, value in job.recipe.items() if name != "layers"}
    return {
        member_name(job, layer): Action({**settings, "layer": layer}, inputs(layer))
        for layer in job.recipe["layers"]
    }


def dictionary_inputs(job: Job, layer: int) -> dict[str, str]:
    """Digest of the trained dictionary of one layer; nothing for the neuron basis."""
    if job.recipe["architecture"] == "neurons":
        return {}
    return {"dictionary": job.output("dictionary", "dictionary", member_name(job, layer))}


def member(name: str, layer: int) -> str:
    """How one layer of a dictionary is called among the members of steps, and among the user's folders."""
    return f"{name}/layer_{layer:02d}"


def named_in(member: str) -> tuple[str, int]:
    """The name and the layer that `member` was given."""
    name, _, layer = member.rpartition("/layer_")
    return name, int(layer)


def layers_of(run: Run, kind: str, name: str) -> list[int]:
    """The layers, sorted, of which an action has inputs `<kind>/<member>` of a dictionary."""
    inputs = (at.removeprefix(f"{kind}/") for at in run.inputs if at.startswith(f"{kind}/"))
    return sorted(layer for found, layer in map(named_in, inputs) if found == name)


def log_inputs(job: Job, layer: int) -> dict[str, str]:
    """Digest of the log of one layer's training; nothing where the dictionary was not trained here."""
    trained = job.inputs["dictionary"].members.get(member_name(job, layer))
    return {"log": trained.outputs["log"].digest} if trained and "log" in trained.outputs else {}


def member_name(job: Job, layer: int) -> str:
    """How the members of every step on dictionaries are called: `topk/layer_03`."""
    return member(job.name, layer)


def open_dictionary(
    run: Run, width: int, device: torch.device | str, name: str = "dictionary"
) -> Dictionary:
    """The action's dictionary on `device`; `width` is d, which the neuron basis is made of."""
    from clipsteer.dictionaries.files import load

    if name in run.inputs:
        return load(run.folder(name), device)
    from clipsteer.dictionaries.neurons import NeuronBasis

    return NeuronBasis(width, device)
