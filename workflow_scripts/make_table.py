"""The results that people read: table, figure, feature sets, summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clipsteer.dictionaries.inputs import named_in
from clipsteer.errors import ClipsteerError
from clipsteer.runner.step import Action, Job, Run, main

if TYPE_CHECKING:
    from clipsteer.lineage.resources import Cost, Sizes

USES = (
    "dataset()",
    "images_from() as source",
    "datasets.layout",
    "papers_attributes()",
    "model.name as model",
    "model_shape()",
    "datasets.group_names",
    "shown(tables) as dictionaries",
    "paper()",
    "attribute_value()",
    "steering",
    "not steering.attribute_value",
    "not steering.shuffles",
    "not steering.baselines",
    "seed",
)

# The setting of Tables 5-8 as far as the paper states it; only there its numbers stand beside ours.
_PAPER = {
    "aggregate": "mean",
    "balance": "none",
    "attribute_value": 1,
    "tokens": "all",
    "error_term": "keep",
    "strict": "no_group_falls",
    "strict_slack": 0,
    "relaxed_drop": 4.0,
    "thresholds": {"low": 1e-6, "high": 1.0, "points": 25},
    "random_pool": "all",
}
_PAPER_EXPANSION = 64
_PAPER_LAYERS_AND_WIDTH = (12, 768)  # ViT-B/32: CLS and 49 patches
_PAPER_TOKENS = 50
_PAPER_TEST_IMAGES = {"celeba": 720, "waterbirds": 5794}


def plan(job: Job) -> dict[str, Action]:
    inputs = {
        **job.of_members("evaluation", "evaluation"),
        **job.of_members("selection", "selection"),
        **job.of_members("selection", "ranking"),
        **job.of_members("ablation", "ablation"),
        # every ablation lists the same images with its own resumed predictions
        **job.of_members("ablation", "images"),
        **job.of_members("check", "check"),
        **job.of_members("chosen", "choice"),
    }
    # images that the data set lists and lacks; a fact, so that the manifest as a whole is no input
    left_out = job.facts("manifest").get("left_out", {})
    return {"all": Action({**job.recipe, **({"left_out": left_out} if left_out else {})}, inputs)}


def _dictionaries(run: Run) -> dict[str, Any]:
    """Settings of the table's dictionaries by name, in the table's order (canonical JSON sorts keys)."""
    return {settings["name"]: settings for settings in run.recipe["dictionaries"]}


def _members(run: Run, kind: str) -> list[tuple[str, str, int]]:
    """(input name, dictionary, layer) of all inputs of one kind, in the order of the config."""
    order = list(_dictionaries(run))
    found = []
    for name in run.inputs:
        head, _, member = name.partition("/")
        if head == kind:
            found.append((name, *named_in(member)))
    return sorted(found, key=lambda item: (order.index(item[1]), item[2]))


def compute(run: Run) -> None:
    import polars as pl

    from clipsteer.report.feature_sets import feature_sets, place_sets
    from clipsteer.report.figure import layers_figure
    from clipsteer.report.headline import headline
    from clipsteer.report.markdown import render as render_markdown
    from clipsteer.report.summary import render as render_summary
    from clipsteer.report.table import csv_text, results_table
    from clipsteer.report.table_page import table_page
    from clipsteer.steering.counts import grouping_of
    from clipsteer.steering.outcomes import measure, unmodified_interval
    from clipsteer.steering.places import unmodified_counts
    from clipsteer.tables import read_parquet

    recipe = run.recipe
    left_out = recipe.get("left_out", {})
    ablations = pl.concat([_ablation(run, *item) for item in _members(run, "ablation")])
    names = [item[0] for item in _members(run, "images")]
    images = read_parquet(run.blob(names[0]))
    groups: list[str] = recipe["group_names"]
    selections = {
        (layer, dictionary): run.json(name)
        for name, dictionary, layer in _members(run, "selection")
        if _dictionaries(run)[dictionary]["architecture"] != "neurons"
    }
    unmodified = unmodified_counts(selections)
    _check_names(groups, len(unmodified.images))
    hardest = unmodified.worst_group
    measured = measure(ablations, images, n_groups=len(groups), hardest=hardest)
    table = results_table(
        measured,
        dataset=recipe["dataset"],
        source=recipe["source"],
        model=recipe["model"],
        group_names=dict(enumerate(groups)),
        seed=recipe["seed"],
        strict_rule=recipe["steering"]["strict"],
        paper_setting=_papers_own(run, images.height),
    )
    run.put_bytes("csv", csv_text(table).encode())

    hooks = {name: settings["hook_point"] for name, settings in _dictionaries(run).items()}
    found = headline(
        measured, ablations, images, selections, hooks,
        steering=recipe["steering"], n_groups=len(groups),
    )  # fmt: skip
    numbers = {
        **{key: recipe[key] for key in ("dataset", "source", "seed")},
        "resumed_changes": _resumed_changes(run),
        **found.as_dict(groups),
    }
    text = render_summary(numbers, left_out=left_out)
    run.put_bytes("summary", text.encode())
    run.put_json("headline", numbers)
    notes = _notes(recipe, grouping_of(images.to_dict(as_series=False)).n_spurious)
    notes += _choices(run)
    page = render_markdown(table, group_names=groups, notes=notes, left_out=left_out)
    run.put_bytes("markdown", page.encode())
    run.put_bytes("html", table_page(page).encode())
    sets = feature_sets(
        place_sets(
            run.json(name),
            read_parquet(run.blob(f"ranking/{dictionary}/layer_{layer:02d}")),
            _labels(run, dictionary, layer),
        )
        for name, dictionary, layer in _members(run, "selection")
    )
    run.put_bytes("feature_sets", csv_text(sets).encode())
    _warn_of_misfits(run)
    places = (found.conditions[name].finding.hook_point for name in ("relaxed", "strict"))
    shown = next((hook for hook in places if hook), hooks[next(iter(selections))[1]])
    figure = run.scratch / "layers.png"
    layers_figure(
        table.filter(pl.col("hook_point") == shown),
        figure,
        title=f"{recipe['dataset']}, {recipe['model']}",
        baseline_interval=unmodified_interval(images, len(groups)),
    )
    run.put_file("figure", figure)
    for line in text.splitlines():
        run.say(line)


def _check_names(names: Sequence[str], n_groups: int) -> None:
    if len(names) != n_groups:
        raise ClipsteerError(
            f"group_names: found {len(names)} names ({', '.join(names)}), but the data set's labels make {n_groups} "
            "groups: each class with each spurious value. Give datasets.<name>.group_names a name for each."
        )


def _notes(recipe: Mapping[str, Any], n_spurious: int) -> list[str]:
    """What is to be said where the attribute has more than two values: which of them is D_A."""
    value = recipe["attribute_value"]
    if n_spurious == 2 and value == 1:
        return []
    return [
        f"D_A: images with the spurious value {value} of 0 to {n_spurious - 1} (`attribute_value`), against"
        " those with any other."
    ]


def _choices(run: Run) -> list[str]:
    """Which points of their grids dictionaries are, where quality has chosen them."""
    taken: dict[str, list[str]] = {}
    for name, dictionary, layer in _members(run, "choice"):
        found = run.json(name)
        values = ", ".join(f"{key} {value}" for key, value in found["point"].items())
        taken.setdefault(dictionary, []).append(f"layer {layer}, {values}, of {found['of']}")
    return [
        f"`{dictionary}` is at each layer the point of its grid that validation chose, by "
        f"`choose: {_dictionaries(run)[dictionary]['choose']}` ({'; '.join(layers)})."
        for dictionary, layers in taken.items()
    ]


def _labels(run: Run, dictionary: str, layer: int) -> dict[str, Any]:
    """What tables say of a place: data, model, dictionary, and how features were found and edited."""
    settings, recipe = _dictionaries(run)[dictionary], run.recipe
    return {
        **{key: recipe[key] for key in ("dataset", "source", "model")},
        "hook_point": settings["hook_point"],
        "layer": layer,
        "dictionary": _shown(settings, dictionary),
        "trained_on": settings.get("trained_on"),
        **{k: recipe["steering"][k] for k in ("aggregate", "balance", "tokens", "error_term")},
        **_narrower(run, dictionary, layer),
    }


def _narrower(run: Run, dictionary: str, layer: int) -> dict[str, Any]:
    """The tokens that a released dictionary was trained on, where these are not all: an edit stays on them."""
    name = f"check/{dictionary}/layer_{layer:02d}"
    tokens = run.json(name)["tokens"] if name in run.inputs else "all"
    return {} if tokens == "all" else {"tokens": tokens}


def _ablation(run: Run, name: str, dictionary: str, layer: int) -> Any:
    import polars as pl

    from clipsteer.steering.feature_set import chosen_sets
    from clipsteer.tables import read_parquet

    labels = _labels(run, dictionary, layer)
    types = {"layer": pl.Int64()}
    keys = ("hook_point", "layer", "dictionary", "trained_on", "aggregate", "tokens", "error_term")
    frame = read_parquet(run.blob(name)).with_columns(
        pl.lit(labels[key], types.get(key, pl.String())).alias(key) for key in keys
    )
    chosen = chosen_sets(run.json(f"selection/{dictionary}/layer_{layer:02d}"))
    sets = [
        chosen[condition].features.tolist() if ablation == "targeted" else None
        for ablation, condition in frame.select("ablation", "condition").rows()
    ]
    return frame.with_columns(pl.Series("features", sets, pl.List(pl.Int64)))


def _shown(settings: dict[str, Any], dictionary: str) -> str:
    return "neurons" if settings["architecture"] == "neurons" else dictionary


def _resumed_changes(run: Run) -> dict[str, int]:
    """Layer -> how many test predictions change when the pass resumes from stored activations, without an edit."""
    from clipsteer.tables import read_parquet

    changed: dict[str, int] = {}
    for name, _, layer in _members(run, "images"):
        frame = read_parquet(run.blob(name))
        changes = int((frame["resumed"] != frame["baseline"]).sum())
        changed[str(layer)] = max(changed.get(str(layer), 0), changes)
    return changed


def _warn_of_misfits(run: Run) -> None:
    """Of released dictionaries that are in the table although they do not fit, or may not."""
    for name, dictionary, layer in _members(run, "check"):
        found = run.json(name)
        if found["verdict"] != "accept":
            run.say(f"warning: dictionaries.{dictionary}, layer {layer}: {found['sentence']}")


def _papers_own(run: Run, n_images: int) -> set[str]:
    """The dictionaries whose rows are the paper's own setting: real data, its CLIP's shape, its SAE."""
    recipe = run.recipe
    name, _, _ = _members(run, "evaluation")[0]
    setting = {**recipe["steering"], "attribute_value": recipe["attribute_value"]}
    if not (
        recipe["source"] == "real"
        and recipe["layout"] == recipe["dataset"]
        and recipe["papers_attributes"]
        and _PAPER_TEST_IMAGES.get(recipe["dataset"]) == n_images
        and tuple(recipe["model_shape"]) == _PAPER_LAYERS_AND_WIDTH
        and run.json(name)["tokens_per_image"] == _PAPER_TOKENS
        and all(setting[key] == value for key, value in _PAPER.items())
    ):
        return set()
    return {
        _shown(d, d["name"])
        for d in recipe["dictionaries"]
        if _is_papers_dictionary(d, recipe["dataset"])
    }


def _is_papers_dictionary(dictionary: Any, dataset: str) -> bool:
    """Whether a dictionary is what its name says in the paper: `vanilla`, `topk_64`, `celeba_topk_128`."""
    if dictionary["hook_point"] != "resid_post" or dictionary["painted"]:
        return False
    if dictionary["architecture"] == "neurons":
        return True
    kinds = {"vanilla": "vanilla", "topk": f"topk{dictionary['k']}"}
    if dictionary["architecture"] not in kinds:
        return False
    kind = kinds[dictionary["architecture"]]
    if dictionary["trained_on"] == dataset:
        kind = dataset + kind
    plain = dictionary["name"].replace("_", "")
    return bool(dictionary["expansion"] == _PAPER_EXPANSION and plain == kind)


def cost(job: Sizes) -> Cost:
    """It draws figures."""
    return job.python(3, 100, 1.0)


if __name__ == "__main__":
    main(plan, compute, __doc__)
