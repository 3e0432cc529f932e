"""What performance is held to: every target once, by a key that the measured lines name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One row of the table that `python -m benchmarks.suite` prints."""

    what: str
    beside: str
    """The floor or the peer."""
    limit: float | None = None
    """What passes; None where the number is only reported."""
    unit: str = "x"
    """`x`: a multiple of the floor or the peer."""
    most: bool = False
    """Whether the measured number may be at most the limit; else at least."""


def _at_most(what: str, beside: str, limit: float, unit: str = "x") -> Target:
    return Target(what, beside, limit, unit, most=True)


TARGETS = {
    # 1. Training
    "topk-6144/sparsify": Target("Top-K training, m = 6,144", "sparsify", 1.8),
    "topk-6144/saelens": Target("Top-K training, m = 6,144", "SAELens", 4.0),
    "topk-6144/dense": Target("Top-K training, m = 6,144", "the dense way", 4.0),
    "topk-24576/sparsify": Target("Top-K training, m = 24,576", "sparsify", 2.0),
    "topk-24576/saelens": Target("Top-K training, m = 24,576", "SAELens", 6.0),
    "topk-24576/dense": Target("Top-K training, m = 24,576", "the dense way", 6.0),
    "topk-24576/floor": _at_most(
        "time of a Top-K step, m = 24,576", "encode product, bfloat16", 1.6
    ),
    "topk-24576/floor-float32": _at_most(
        "the same in float32 only", "encode product, float32", 1.3
    ),
    "topk/quality": Target("dense loss / ours after equal steps", "the dense way", 0.99),
    "vanilla-6144/first": Target("vanilla training, first steps, m = 6,144", "fastest peer", 1.0),
    "vanilla-6144/few": Target("vanilla, 3 % firing, m = 6,144", "fastest peer", 2.0),
    "vanilla-24576/first": Target("vanilla training, first steps, m = 24,576", "fastest peer", 1.0),
    "vanilla-24576/few": Target("vanilla, 3 % firing, m = 24,576", "fastest peer", 2.0),
    "batchtopk-24576/saelens": Target("Batch-Top-K training, m = 24,576", "SAELens", 1.0),
    "matryoshka-24576/saelens": Target("Matryoshka training, m = 24,576", "SAELens", 1.0),
    "default/topk": Target("Top-K training, the default's shape", "the dense way", 2.0),
    "default/vanilla-few": Target("vanilla, 3 % firing, the default's shape", "the dense way", 2.0),
    "cuda/sparsify": Target("Top-K training on CUDA, m = 49,152", "sparsify (Triton)", 1.0),
    "cuda/product": Target("time of a Top-K step on CUDA, m = 49,152", "encode product, bfloat16"),
    # 2. Several dictionaries in one pass: worth it where reading costs something
    "one-pass/reading": _at_most("processor time of a batch", "a Top-K step, m = 6,144", 0.05),
    # 3. Loading
    "loading/memmap": Target("shuffled token batches", "np.memmap, numpy's cast", 0.7),
    "loading/memmap-torch": Target("shuffled token batches", "np.memmap, torch's cast", 0.7),
    "loading/saelens": Target("shuffled token batches", "SAELens-style reads", 1.0),
    "loading/saev": Target("shuffled token batches", "saev-style reads", 1.0),
    "loading/memory": _at_most("peak memory of an epoch, all images", "an eighth of them", 1.2),
    "loading/waiting": _at_most("time that a consumer waits for batches", "", 10.0, "%"),
    "loading/repeated": _at_most("share of tokens that come twice in an epoch", "", 0.0, "%"),
    # 4. Extraction
    "extraction/bare": Target("extraction, B/32-shaped", "bare CLIPVisionModel forward", 0.9),
    "extraction/memory": _at_most("peak memory of extraction, 4 x the images", "1 x", 1.2),
    # 5. Evaluation
    "sweep/usual": Target("threshold sweep over the layers", "a hook and a pass a threshold", 10.0),
    "sweep/differ": _at_most("predictions that differ", "the full pass with a hook", 0.0, ""),
    "steer/last": Target("steering a feature, last layer", "a hook and a pass", 200.0),
    "steer/resumed/layer-5": Target(
        "speed of steering, layer 5", "bare resumed passes of as many images", 90.0, "%"
    ),
    "steer/resumed/layer-10": Target(
        "speed of steering, layer 10", "bare resumed passes of as many images", 90.0, "%"
    ),
    "steer/memory-last": _at_most("memory, 4 x the images or features, last layer", "1 x", 1.1),
    "steer/memory-middle": _at_most("memory, 4 x the images or features, below it", "1 x", 1.1),
    "spliced/passes": _at_most(
        "cross-entropy with and without a reconstruction, mlp_out, the dearest layer",
        "bare resumed passes",
        2.2,
    ),
    # 6. Small runs
    "cold/seconds": _at_most("the embedded default, cold, after installation", "", 180.0, "s"),
    "cold/outside": _at_most("of that, time in which nothing is computed", "", 20.0, "%"),
    "restore/step": _at_most("a restored job, beyond Snakemake's own cost", "", 150.0, "ms"),
    "restore/idle": _at_most("a run with nothing to do", "", 4.0, "s"),
    # 7. Big DAGs
    "dags/dry-run": _at_most("snakemake -n at the paper's full scale", "", 10.0, "s"),
    "dags/plan": _at_most("clipsteer plan at the paper's full scale", "", 10.0, "s"),
    "dags/restore": _at_most("restoring 1,000 finished actions", "", 60.0, "s"),
    "dags/restore-jobs": _at_most("restoring 1,000 finished jobs", "", 60.0, "s"),
    "dags/parse": _at_most("reading the Snakefile in a job, 100 x the images", "1 x", 1.1),
    # 8. Bytes
    "bytes/int8": _at_most("bytes of activations, int8 with zstd", "float16", 0.5),
    # 9. The page of features
    "explorer/size": _at_most(
        "a page of 60 places x 120 features x 24 images, 5,000 pictures", "", 60.0, "MB"
    ),
    "explorer/memory": _at_most(
        "memory of the pass behind it, 4 x the images or features", "1 x", 1.2
    ),
    "explorer/interactive": _at_most("a page of 5,000 features can be used after", "", 1.0, "s"),
    # 10. Growth: exponents of a fit of c * x ** e, 1 is linear
    "growth/extraction-time": _at_most("extraction time by images", "", 1.1, "exponent"),
    "growth/extraction-memory": _at_most("extraction memory by images", "", 0.1, "exponent"),
    "growth/tokens-time": _at_most("training time by tokens", "", 1.1, "exponent"),
    "growth/tokens-memory": _at_most("training memory by tokens", "", 0.1, "exponent"),
    "growth/features-time": _at_most("training time by m", "", 1.1, "exponent"),
    "growth/features-memory": _at_most("training memory by m", "", 1.1, "exponent"),
    "growth/statistics-time": _at_most("statistics time by images", "", 1.1, "exponent"),
    "growth/statistics-memory": _at_most("statistics memory by images", "", 0.1, "exponent"),
    "growth/ablation-time": _at_most("ablation time by images", "", 1.1, "exponent"),
    "growth/ablation-memory": _at_most("ablation memory by images", "", 0.1, "exponent"),
    "growth/layers-time": _at_most("extraction time by layers", "", 1.1, "exponent"),
    "growth/layers-memory": _at_most("extraction memory by layers", "", 1.1, "exponent"),
}
