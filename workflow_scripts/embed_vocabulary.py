"""The vocabulary whose probabilities steering moves: its entries and their text embeddings (Section 6.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.backbones.base import Backbone
    from clipsteer.backbones.vocabulary import Entry
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "words_from(vocabulary.source) as words_from",
    "vocabulary.size",
    "vocabulary.template",
)


def plan(job: Job) -> dict[str, Action]:
    worlds = [name for name in job.inputs if name != "model"]
    captions = {f"captions/{name}": job.output(name, "captions") for name in worlds}
    return {"all": Action(job.recipe, {"model": job.output("model", "model"), **captions})}


def compute(run: Run) -> None:
    from safetensors.torch import save

    from clipsteer.backbones.load import load_backbone
    from clipsteer.backbones.vocabulary import distinct
    from clipsteer.backbones.zero_shot import zero_shot_head

    template = run.recipe["template"]
    backbone = load_backbone(run.folder("model"), device=run.runtime.device)
    entries = _entries(run, backbone)
    found = distinct(backbone, entries, template, run.recipe["size"])
    rows = zero_shot_head(backbone, found.words, [template], key="vocabulary.template")
    run.put_bytes("embeddings", save({"vocabulary": rows}))
    run.put_json("words", found.words)
    run.fact("entries", len(found.words))
    left = len(entries) - len(found.words) - found.repeated
    run.say(
        f"{len(found.words)} entries, {found.words[0]} to {found.words[-1]}; {found.repeated} that the model cannot "
        f"tell from an earlier one, and {left} beyond vocabulary.size, are left out"
    )


def _entries(run: Run, backbone: Backbone) -> list[Entry]:
    from clipsteer.backbones.vocabulary import caption_words, file_words, tokenizer_words
    from clipsteer.errors import ClipsteerError
    from clipsteer.store.digest import digest_bytes
    from clipsteer.tables import read_parquet

    source = run.recipe["words_from"]
    if source == "captions":
        worlds = [name for name in sorted(run.inputs) if name.startswith("captions/")]
        texts = [text for name in worlds for text in read_parquet(run.blob(name))["text"]]
        return caption_words(texts, run.recipe["template"])
    if source == "tokenizer":
        return tokenizer_words(backbone.tokenizer, str(backbone.folder))
    path = run.runtime.roots["vocabulary"]
    data = path.read_bytes()
    if digest_bytes(data) != source:
        raise ClipsteerError(
            f"vocabulary.source: {path} was changed since the run began. Run the same command again."
        )
    return file_words(data, str(path))


def cost(job: Sizes) -> Cost:
    """All entries through the text tower, which is taken for half as wide as the vision tower."""
    from clipsteer.lineage.resources import CLIP

    entries, tokens = job.config["vocabulary"]["size"], 10
    flop = entries * tokens * 24.0 * job.vision["layers"] * (job.vision["width"] / 1.5) ** 2
    return job.takes(job.seconds(flop), CLIP + 3 * job.weights_mb + 200, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
