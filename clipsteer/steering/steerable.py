"""From a step's inputs to the steerability of one place, for a dictionary's features and for random directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from clipsteer.activations.inputs import hook_inputs, open_backbone, open_reader, open_stream
from clipsteer.sampled import sampled

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from clipsteer.activations.reader import ActivationReader
    from clipsteer.dictionaries.base import Dictionary
    from clipsteer.runner.step import Job, Run
    from clipsteer.steering.steered import Activations


def steerable_inputs(job: Job, layer: int) -> dict[str, str]:
    """Digests of all that the steerability of one layer depends on, but for a dictionary."""
    return {
        "model": job.output("model", "model"),
        "vocabulary": job.output("vocabulary", "embeddings"),
        **hook_inputs(job, layer),
    }


def measure_place(
    run: Run,
    dictionary_of: Callable[[int, torch.device], Dictionary],
    features: float | str,
    more: list[int],
) -> None:
    """Measures the action's place and hands over `scores`, `curves` and `about`.

    Args:
        run: recipe and inputs as `steerable_inputs` names them.
        dictionary_of: (d, device) -> what is steered.
        features: how many of its features are sampled, as `steerability.features` says it.
        more: features whose curves are wanted besides; those that there are.
    """
    import numpy as np
    from safetensors.torch import load

    from clipsteer.backbones.tokens import token_span, tokens_meant
    from clipsteer.dictionaries.tokens import edited, suited
    from clipsteer.steering.controls import random_orders
    from clipsteer.steering.measured import Journal, Wanted, frames, measure
    from clipsteer.steering.steerability import distances
    from clipsteer.steering.steered import SteeredPlace, passes
    from clipsteer.tables import parquet_bytes

    recipe = run.recipe
    seed, layer = recipe["seed"], recipe["layer"]
    backbone = open_backbone(run)
    reader = open_reader(run)
    dictionary = suited(dictionary_of(reader.width, backbone.device), backbone.cls)
    tokens = edited(tokens_meant("all", backbone.cls), dictionary)
    vocabulary = load(run.blob("vocabulary"))["vocabulary"].to(backbone.device)
    images = random_orders(reader.n_images, [seed])[0][: recipe["images"]]
    # one draw of features for each layer
    order = random_orders(dictionary.m, [seed * 1000 + layer])[0]
    sample = order[: sampled(features, dictionary.m)]
    known = set(sample.tolist())
    others = [f for f in dict.fromkeys(more) if f < dictionary.m]
    if beyond := [f for f in more if f >= dictionary.m]:
        run.say(f"warning: steerability.show: {beyond} are not there, of {dictionary.m} features")
    numbers = np.array([*sample.tolist(), *(f for f in others if f not in known)], np.int64)
    steered = passes(
        SteeredPlace(backbone, layer, dictionary, token_span(tokens, reader.n_tokens), vocabulary),
        numbers,
        _batches(run, images),
        run.scratch / "steered",
    )
    distance, _ = distances(vocabulary)
    wanted = Wanted(
        sample=np.arange(len(sample)),
        more=np.array([steered.place_of[f] for f in others], np.int64),
        curves=recipe["curves"],
        strengths=recipe["strengths"],
        stop_below=recipe["stop_below"],
    )
    few = min(wanted.curves, len(sample))
    grid = few * sum(strength > 0 for strength in wanted.strengths)
    shown = (3 + len(others)) * len(wanted.strengths)
    rows = grid + shown + len(sample) - few
    progress = run.progress(rows, "features", ("images", len(images)))
    with run.checkpoints.running(progress) as resume:
        journal = Journal(resume(), run.checkpoints.offer_several)
        found = measure(steered, wanted, distance, journal, progress)
    progress.finish()
    scores, curves = frames(found, steered)
    run.put_bytes("scores", parquet_bytes(scores))
    run.put_bytes("curves", parquet_bytes(curves))
    about = {
        "m": dictionary.m,
        "images": len(images),
        "asymptote": found.asymptote,
        "reached": found.reached,
    }
    run.put_json("about", about)
    paper, prisma = (
        float(column.mean()) for column in (found.scores.s_paper, found.scores.s_prisma)
    )
    run.say(
        f"asymptote {found.asymptote:g}{'' if found.reached else ' (the largest: not reached)'}, "
        f"mean S_f {paper:.3g} (paper), {prisma:.3g} (prisma)"
    )


def _batches(run: Run, images: NDArray[np.int64]) -> Iterator[Activations]:
    """The activations of some images of the split, in their order."""
    import numpy as np

    from clipsteer.steering.steered import BATCH

    reader, base = open_reader(run), open_stream(run)

    def read(of: ActivationReader, few: list[int]) -> NDArray[np.floating]:
        return np.concatenate([of.read(image, image + 1) for image in few])

    for low in range(0, len(images), BATCH):
        few = images[low : low + BATCH].tolist()
        yield read(reader, few), None if base is None else read(base, few)
