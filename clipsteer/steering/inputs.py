"""What selection and ablation need of a split, from a step's inputs: activations, model, head, labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from clipsteer.activations.inputs import (
    EMBEDDING,
    array_inputs,
    hook_inputs,
    open_reader,
    open_stream,
)
from clipsteer.dictionaries.inputs import dictionary_inputs, open_dictionary

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from clipsteer.activations.reader import ActivationReader
    from clipsteer.backbones.base import Backbone
    from clipsteer.dictionaries.base import Dictionary
    from clipsteer.runner.step import Job, Run
    from clipsteer.steering.baselines import Trial, Validation
    from clipsteer.steering.choose import Condition, Rule
    from clipsteer.steering.evaluator import Batch, Classify, Evaluator
    from clipsteer.steering.unconcerned import Unconcerned

# Images per resumed forward pass. Every pass has this shape, so that predictions do not depend on
# which images an edit leaves alone.
BATCH_IMAGES = 100
_LABELS, _HEADS = "unconcerned/labels", "unconcerned/heads"


def gain_inputs(job: Job) -> dict[str, str]:
    """Digests of what `clipsteer.steering.spread.gains_at` reads of all places."""
    return {
        **job.of_members("selection", "selection"),
        **job.of_members("ablation", "ablation"),
        **job.of_members("ablation", "images"),
    }


def ablation_inputs(
    job: Job, layer: int, split: str, activations: str = "activations"
) -> dict[str, str]:
    """Digests of all that predictions under ablation depend on, for one layer.

    `activations` is the name of the job's input that holds the split's shards.
    """
    return {
        "model": job.output("model", "model"),
        "head": job.output("head", "head"),
        "labels": job.output("manifest", f"labels_{split}"),
        **dictionary_inputs(job, layer),
        **hook_inputs(job, layer, activations=activations),
        **array_inputs(job, EMBEDDING, "embedding", activations=activations),
    }


def resumed_behind(hook_point: str, layer: int) -> int:
    """The layer behind which the forward pass resumes once a hook point of `layer` is edited.

    Alike for both hook points: what an MLP gives is only ever added to the stream.
    """
    return layer


def resumed_evaluator(
    backbone: Backbone,
    dictionary: Dictionary,
    batches: Callable[[], Iterable[Batch]],
    classify: Classify,
    settings: Mapping[str, Any],
    key: str = "steering.tokens",
) -> Evaluator:
    """What predicts images under edits at a `hook_point` and `layer`, by the rest of the model.

    `settings`: a recipe that has these two, `tokens`, which the config `key` says, and `error_term`. Of the tokens only
    those are edited that the dictionary is for; raises ClipsteerError where that leaves none.
    """
    from clipsteer.backbones.tokens import tokens_meant
    from clipsteer.dictionaries.tokens import edited
    from clipsteer.steering.evaluator import Evaluator

    return Evaluator(
        dictionary,
        batches,
        partial(backbone.resume, resumed_behind(settings["hook_point"], settings["layer"])),
        classify,
        edited(tokens_meant(settings["tokens"], backbone.cls, key), dictionary, key),
        settings["error_term"],
        backbone.device,
    )


def stored_batches(
    run: Run, backbone: Backbone, reader: ActivationReader, prefix: str
) -> Callable[[], Iterator[Batch]]:
    """Stored activations as an `Evaluator` takes them: only the tokens that the embedding depends on.

    Beside those of `reader` resid_post, where the action has inputs of it whose names begin with `prefix`.
    """
    read = backbone.tokens_read(resumed_behind(run.recipe["hook_point"], run.recipe["layer"]))
    stream = open_stream(run, prefix)

    def batches() -> Iterator[Batch]:
        for start, x in reader.batches(BATCH_IMAGES):
            yield start, x[:, read], stream.read(start, start + len(x))[:, read] if stream else None

    return batches


def choice_inputs(job: Job, layer: int) -> dict[str, str]:
    """`ablation_inputs` of validation, for a choice, and of test: names begin with `validation/`, `test/`.

    The job's inputs of those names hold the splits' shards.
    """
    return {
        f"{split}/{name}": digest
        for split in ("validation", "test")
        for name, digest in ablation_inputs(job, layer, split, activations=split).items()
    }


def unconcerned_inputs(job: Job) -> dict[str, str]:
    """Digests of what is known of other attributes; nothing where the data set names none."""
    if not job.inputs["unconcerned"].members:
        return {}
    return {
        _LABELS: job.output("unconcerned", "labels"),
        _HEADS: job.output("unconcerned", "heads"),
    }


def open_unconcerned(run: Run, n_images: int) -> Unconcerned:
    """What `unconcerned_inputs` named, of `n_images` test images."""
    import numpy as np
    from safetensors.torch import load

    from clipsteer.steering.unconcerned import Unconcerned
    from clipsteer.tables import read_parquet

    if _LABELS not in run.inputs:
        return Unconcerned([], np.zeros((n_images, 0), dtype=np.int8), None)
    labels = read_parquet(run.blob(_LABELS))
    return Unconcerned(labels.columns, labels.to_numpy(), load(run.blob(_HEADS))["heads"])


class AblationSetting:
    """Opens the inputs of one action: a split's images, labels and network at one layer.

    `evaluator` predicts them under edits; `head` (K, p); `targets`, `groups` (N,) int, groups numbered as
    `grouping` has it; `baseline` (N,) int: predictions of the unmodified model's own forward pass, from the
    embeddings that extraction stored.
    """

    def __init__(self, run: Run, prefix: str = "") -> None:
        import torch
        from safetensors.torch import load

        from clipsteer.activations.inputs import open_backbone
        from clipsteer.dictionaries.tokens import suited
        from clipsteer.steering.counts import grouping_of
        from clipsteer.steering.heads import Heads
        from clipsteer.tables import read_parquet

        backbone = open_backbone(run, f"{prefix}model")
        device = backbone.device
        self.head = load(run.blob(f"{prefix}head"))["head"].to(device)
        reader = open_reader(run, f"{prefix}activations")
        self.n_images = reader.n_images
        dictionary = open_dictionary(run, reader.width, device, f"{prefix}dictionary")
        self.evaluator = resumed_evaluator(
            backbone,
            suited(dictionary, backbone.cls),
            stored_batches(run, backbone, reader, prefix),
            Heads(self.head).codes,
            run.recipe,
        )
        labels = read_parquet(run.blob(f"{prefix}labels"))
        self.targets: np.ndarray = labels["target"].to_numpy()
        self.groups: np.ndarray = labels["group"].to_numpy()
        self.grouping = grouping_of(labels.to_dict(as_series=False))
        embeddings = open_reader(run, f"{prefix}embedding").read(0, self.n_images)
        self.baseline = self.evaluator.classify(torch.from_numpy(embeddings).to(device))


def chosen_on(setting: AblationSetting, rules: Mapping[Condition, Rule]) -> Validation:
    """A setting's images as those that choices are made on. Not a method: ablation would depend on the choice."""
    from clipsteer.steering.baselines import Validation

    n_groups = setting.grouping.n_groups
    return Validation(setting.targets, setting.groups, n_groups, rules, setting.evaluator)


def tested(run: Run, trials: Sequence[Trial], dictionary: Dictionary) -> pl.DataFrame:
    """What trials come to on the test images, for the target and for other attributes; features are of `dictionary`."""
    from clipsteer.steering.ablation import predict_edits
    from clipsteer.steering.baselines import stream_edits, trials_frame
    from clipsteer.steering.heads import Heads
    from clipsteer.steering.pairs import margins

    test = AblationSetting(run, "test/")
    unconcerned = open_unconcerned(run, test.n_images)
    heads = Heads(test.head, unconcerned.heads)
    evaluator = replace(
        test.evaluator, dictionary=dictionary, classify=heads.read, reads=heads.readings
    )
    found = predict_edits(evaluator, stream_edits(trial.option for trial in trials)).edited
    answers = heads.others(found["code"])
    effects = [margins(scores, test.targets) for scores in found["scores"]]
    return trials_frame(trials, heads.classes(found["code"]), unconcerned.correct(answers), effects)
