"""Baselines that edit nothing inside: biases on the class scores, and a probe in place of the zero-shot head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.activations.inputs import EMBEDDING, array_inputs, open_reader
from clipsteer.runner.step import Action, Job, Run, main
from clipsteer.steering.inputs import open_unconcerned, unconcerned_inputs

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "steering.strict",
    "steering.strict_slack",
    "steering.relaxed_drop",
    "seed",
)

_SPLITS = ("train", "validation", "test")


def plan(job: Job) -> dict[str, Action]:
    inputs = {"head": job.output("head", "head"), **unconcerned_inputs(job)}
    for split in _SPLITS:
        inputs[f"{split}/labels"] = job.output("manifest", f"labels_{split}")
        inputs |= array_inputs(job, EMBEDDING, f"{split}/embedding", activations=split)
    return {"all": Action(job.recipe, inputs)}


def compute(run: Run) -> None:
    import numpy as np
    import polars as pl
    import torch
    from safetensors.torch import load

    from clipsteer.backbones.device import one_thread
    from clipsteer.backbones.zero_shot import zero_shot_logits
    from clipsteer.steering.baselines import Labelled, Option, Trial, trials_frame
    from clipsteer.steering.choose import rules
    from clipsteer.steering.class_bias import choose_bias
    from clipsteer.steering.compared import REFERENCE
    from clipsteer.steering.controls import balanced_sample
    from clipsteer.steering.counts import grouping_of
    from clipsteer.steering.heads import Heads
    from clipsteer.steering.intervention import ClassBias, ReadoutEdit, predict_readout
    from clipsteer.steering.logistic import fit_probe
    from clipsteer.steering.pairs import margins
    from clipsteer.tables import parquet_bytes, read_parquet

    recipe = run.recipe
    head = load(run.blob("head"))["head"]
    labels = {split: read_parquet(run.blob(f"{split}/labels")) for split in _SPLITS}
    embeddings = {}
    for split in _SPLITS:
        reader = open_reader(run, f"{split}/embedding")
        embeddings[split] = torch.from_numpy(
            reader.read(reader.start, reader.stop).astype(np.float32)
        )
    groups = {split: labels[split]["group"].to_numpy() for split in _SPLITS}
    targets = labels["validation"]["target"].to_numpy()
    n_groups = grouping_of(labels["validation"].to_dict(as_series=False)).n_groups
    choice = Labelled(targets, groups["validation"], n_groups, rules(recipe))
    scores = {
        split: zero_shot_logits(embeddings[split], head).double().numpy()
        for split in ("validation", "test")
    }
    unmodified = scores["validation"].argmax(axis=1)
    baseline = choice.counts(unmodified)

    trials, predictions = list[Trial](), list[np.ndarray]()
    tested = labels["test"]["target"].to_numpy()
    zero = ClassBias(torch.zeros(len(head), dtype=torch.float64))
    for condition, rule in choice.rules.items():
        found = choose_bias(scores["validation"], targets, groups["validation"], baseline, rule)
        bias, counts = (zero, baseline)
        if found is not None:
            bias, counts = ClassBias(torch.from_numpy(found.what)), found.counts
        # of two classes the one free bias, in cosines; of more the largest
        option = Option(bias, scale=float(bias.bias[int(bias.bias.abs().argmax())]))
        trials.append(Trial("class_bias", None, condition, counts, baseline, option))

    with one_thread():
        sample = balanced_sample(groups["train"], recipe["seed"])
        units = torch.nn.functional.normalize(embeddings["train"][sample].double(), dim=1)
        probe, _ = fit_probe(
            units,
            torch.from_numpy(labels["train"]["target"].to_numpy()[sample].astype(np.int64)),
            torch.ones(len(sample), dtype=torch.float64),
            n_classes=len(head),
            seed=recipe["seed"],
        )
    counts = choice.counts(predict_readout(probe, embeddings["validation"], head))
    trials.append(Trial(REFERENCE, None, None, counts, baseline, Option(probe)))

    effects = list[np.ndarray | None]()
    for trial in trials:
        edit = trial.option.intervention
        assert isinstance(edit, ReadoutEdit)
        predictions.append(predict_readout(edit, embeddings["test"], head))
        biased = edit.scores(embeddings["test"], head) if isinstance(edit, ClassBias) else None
        # a probe's scores are no cosines
        effects.append(None if biased is None else margins(biased.numpy(), tested))
    unconcerned = open_unconcerned(run, len(embeddings["test"]))
    heads = Heads(head, unconcerned.heads)
    others = unconcerned.counts(heads.others(heads.codes(embeddings["test"])))
    run.put_bytes("unconcerned", parquet_bytes(others))
    # nothing that stands behind the model changes what other heads say of its embeddings
    same = np.tile(others["correct"].to_numpy(), (len(trials), 1))
    frame = trials_frame(trials, np.stack(predictions), same, effects)
    run.put_bytes("trials", parquet_bytes(frame))
    images = labels["test"].with_columns(
        pl.Series("baseline", scores["test"].argmax(axis=1), pl.Int16),
        pl.Series("margin", margins(scores["test"], tested), pl.Float64),
    )
    run.put_bytes("images", parquet_bytes(images))
    run.fact("balanced_probe_images", len(sample))


def cost(job: Sizes) -> Cost:
    return job.embeddings()


if __name__ == "__main__":
    main(plan, compute, __doc__)
