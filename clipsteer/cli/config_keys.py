"""From a place in an action's recipe to the key of the config that says it: one table for all steps."""

from __future__ import annotations

# Recipe keys that mean the same in every step. `{name}`: the data set or dictionary of the action.
_COMMON = {
    "architecture": "dictionaries.{name}.architecture",
    "crop": "model.crop",
    "hook_point": "dictionaries.{name}.hook_point",
    "layer": "activations.layers",
    "layers": "activations.layers",
    "model_dtype": "model.dtype",
    "seed": "seed",
}

# The section of the config that a step's other recipe keys stand in, under the same names.
_SECTION = {
    "paint_world": "datasets.{name}.painted",
    "build_manifest": "datasets.{name}",
    "pretrain_clip": "model.tiny",
    "import_clip": "model",
    "build_head": "datasets.{name}",
    "list_shards": "activations",
    "extract_activations": "activations",
    "train_dictionary": "dictionaries.{name}",
    "evaluate_dictionary": "dictionaries.{name}",
    "feature_statistics": "steering",
    "select_features": "steering",
    "ablate_features": "steering",
    "shuffle_control": "steering",
    "fit_directions": "steering",
    "evaluate_directions": "steering",
    "evaluate_subspaces": "steering",
    "evaluate_readout": "steering",
    "baseline_table": "steering",
}

# Places that are called otherwise; empty where no single key of the config says it.
_OTHERWISE = {
    "build_manifest": {
        "source": "datasets.{name}.root",
        "token": "datasets.{name}.root",
        "token.watch": "raw.watch",
    },
    "import_clip": {
        "hub": "",
        "hub.revision": "model.revision",
        "hub.source": "model.source",
        "token": "model.source",
        "token.watch": "",
    },
    "list_shards": {"augment": "datasets.{name}.augment", "split": ""},
    "make_table": {
        "dataset": "",
        "dictionaries": "tables.{name}",
        "group_names": "datasets.{name}.group_names",
        "layout": "datasets.{name}.layout",
        "left_out": "",
        "papers_attributes": "",
        "model": "model.name",
        "model_shape": "",
        "paper": "",
        "source": "",
        "steering": "steering",
    },
    "control_table": {"dataset": "", "source": ""},
    "fit_directions": {"hook_point": ""},
    "evaluate_directions": {
        "architecture": "",
        "hook_point": "",
        "scales": "steering.baselines.scales",
    },
    "baseline_table": {
        "dataset": "",
        "dictionaries": "tables.{name}",
        "group_names": "datasets.{name}.group_names",
        "model": "model.name",
        "source": "",
    },
}


def config_key(step: str, name: str, path: str) -> str:
    """The config's dotted key for a dotted `path` in a recipe; empty where there is no single one.

    `name` is the data set or dictionary that the action is about (`run.name` in its record).
    """
    if step == "make_table" and path.startswith("dictionaries."):
        return _table_dictionary(path)
    otherwise = _COMMON | _OTHERWISE.get(step, {})
    parts = path.split(".")
    for end in range(len(parts), 0, -1):  # the longest place that the tables know
        known = otherwise.get(".".join(parts[:end]))
        if known is not None:
            return ".".join([known.format(name=name), *parts[end:]]) if known else ""
    section = _SECTION.get(step)
    return f"{section.format(name=name)}.{path}" if section else ""


def _table_dictionary(path: str) -> str:
    """A table lists what it shows of its dictionaries by their names."""
    _, dictionary, key = path.split(".", 2)
    if key in ("name", "painted"):
        return ""
    below = "training." if key in ("expansion", "k") else ""
    return f"dictionaries.{dictionary}.{below}{key}"
