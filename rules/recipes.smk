# What each step depends on: its recipe (its slice of the config, with the digest of its code) and, where a
# wildcard pattern does not say it, its inputs. Named functions, one section a stage, in the order of the DAG.


# --------------------------------------------------------------------------- Images to one manifest


def paint_recipe(wildcards):
    painted = config["datasets"][wildcards.dataset]["painted"]
    return recipe(
        "paint_world",
        {**painted, "seed": config["seed"]},
        [f"clipsteer.data.painters.{painted['world']}"],
    )


def manifest_recipe(wildcards):
    settings = config["datasets"][wildcards.dataset]
    return recipe(
        "build_manifest",
        {
            "layout": settings["layout"],
            "options": settings.get("options", {}),
            "class_names": settings.get("class_names", []),
            "evaluation": settings["evaluation"],
            "source": "painted" if is_painted(wildcards.dataset) else "files",
            "seed": config["seed"],
        },
        [f"clipsteer.data.layouts.{settings['layout']}"],
    )


def manifest_world(wildcards):
    """The pointer of a painted world; nothing where the user has the images."""
    painted = is_painted(wildcards.dataset)
    return [f"{REFS}/{wildcards.dataset}/world.json"] if painted else []


def manifest_source(wildcards):
    return "" if is_painted(wildcards.dataset) else raw_token(wildcards.dataset)


# ----------------------------------------------------------------- The CLIP and its zero-shot heads

WORLDS = config["model"]["tiny"]["worlds"] if TINY else []
MODEL = f"{REFS}/model/model.json"


def pretrain_recipe(wildcards):
    tiny = {k: v for k, v in config["model"]["tiny"].items() if k != "worlds"}
    return recipe("pretrain_clip", {**tiny, "seed": config["seed"]})


def manifest_words():
    return " ".join(f"--input {world}={REFS}/{world}/manifest.json" for world in WORLDS)


def import_recipe(wildcards):
    model = config["model"]
    # a folder counts by the content of its files, which its token holds; a hub name by what it says
    return recipe(
        "import_clip",
        {"hub": None if LOCAL_MODEL else {k: model[k] for k in ("source", "revision")}},
    )


def import_source(wildcards, output=None):
    """What stands for the model: the files of a folder, or the commit that was taken from the hub.

    None where none was taken yet for this name and revision. As it asks for `output`, Snakemake does not
    take note of it: a commit is known after the run that took it, which makes nothing stale.
    """
    if LOCAL_MODEL:
        return raw_token("model")
    with suppress(ClipsteerError, KeyError):  # no pointer, or one of something else
        model = read_pointer(MODEL)
        commit = canonical_json({"commit": model.members["all"].facts.get("commit")})
        if model.chain == chain_key(import_recipe(wildcards), [digest_bytes(commit)]):
            return commit.decode()


def head_recipe(wildcards):
    dataset = config["datasets"][wildcards.dataset]
    return recipe(
        "build_head",
        {
            "class_names": dataset["class_names"],
            "templates": dataset["templates"],
        },
    )


# -------------------------------------------------------------------------------------- Activations


def copies(wildcards):
    """Augmented copies of each image in a split."""
    if wildcards.split != "train_augmented":
        return 0
    return config["datasets"][wildcards.dataset]["augment"]


def shards_recipe(wildcards):
    return recipe(
        "list_shards",
        {
            "split": wildcards.split.removesuffix("_augmented"),
            "augment": copies(wildcards),
            "images_per_shard": config["activations"]["images_per_shard"],
        },
    )


def extract_recipe(wildcards):
    settings, model = config["activations"], config["model"]
    hook_points = set(settings["hook_points"]) | {
        "resid_post"
    }  # evaluation resumes from resid_post
    return recipe(
        "extract_activations",
        {
            **{k: settings[k] for k in ("dtype", "codec", "batch_size")},
            "hook_points": sorted(hook_points),
            "layers": LAYERS,
            "model_dtype": model["dtype"],
            "crop": model["crop"],
            "split": wildcards.split,
            "seed": config["seed"] if copies(wildcards) else None,
            # how this job is cut out of the split; the actions inside do not see it
            "part": int(wildcards.part),
            "parts": len(PARTS),
        },
    )


def activations(dataset, split):
    """The pointers of all parts of one split."""
    return [f"{REFS}/{dataset}/activations/{split}/part_{part}.json" for part in PARTS]


def training_splits(dataset):
    """What a dictionary learns from: the training split, with its augmented copies if there are any."""
    return ["train"] + ["train_augmented"] * bool(
        config["datasets"][dataset]["augment"]
    )


# ------------------------------------------------------------------------------------- Dictionaries


def architecture_module(dictionary):
    return [f"clipsteer.dictionaries.{DICTIONARIES[dictionary]['architecture']}"]


def train_recipe(wildcards):
    settings = DICTIONARIES[wildcards.dictionary]
    return recipe(
        "train_dictionary",
        {
            "architecture": settings["architecture"],
            "hook_point": settings["hook_point"],
            "training": settings["training"],
            "layers": BLOCKS[wildcards.block],
            "seed": config["seed"],
        },
        architecture_module(wildcards.dictionary),
    )


def train_inputs(wildcards):
    dataset = DICTIONARIES[wildcards.dictionary]["trained_on"]
    return [
        part
        for split in training_splits(dataset)
        for part in activations(dataset, split)
    ]


def is_trained(dictionary):
    """Whether there is anything to train: not for the neuron basis."""
    return DICTIONARIES[dictionary]["architecture"] != "neurons"


def trained(wildcards):
    """The pointer of a dictionary's block of layers; nothing for one that is not trained."""
    if not is_trained(wildcards.dictionary):
        return []
    return [f"{REFS}/dictionaries/{wildcards.dictionary}/{wildcards.block}.json"]


def block_settings(wildcards):
    """What every step that applies a dictionary to activations needs to know of it."""
    settings = DICTIONARIES[wildcards.dictionary]
    return {
        "architecture": settings["architecture"],
        "hook_point": settings["hook_point"],
        "layers": BLOCKS[wildcards.block],
    }


def evaluate_recipe(wildcards):
    return recipe(
        "evaluate_dictionary",
        block_settings(wildcards),
        architecture_module(wildcards.dictionary),
    )


# ----------------------------------- Section 7.1: statistics, selection, ablation, negative control

STEERING = config["steering"]
STEERED = f"{REFS}/{{dataset}}/{{dictionary}}/{{block}}"


def statistics_recipe(wildcards):
    return recipe(
        "feature_statistics",
        {**block_settings(wildcards), "aggregate": STEERING["aggregate"]},
        architecture_module(wildcards.dictionary),
    )


def select_recipe(wildcards):
    keys = ("balance", "thresholds", "tokens", "error_term", "relaxed_drop")
    return recipe(
        "select_features",
        {
            **block_settings(wildcards),
            **{k: STEERING[k] for k in keys},
            "model_dtype": config["model"]["dtype"],
        },
        architecture_module(wildcards.dictionary),
    )


def ablate_recipe(wildcards):
    keys = ("tokens", "error_term", "random_pool", "random_seeds")
    return recipe(
        "ablate_features",
        {
            **block_settings(wildcards),
            **{k: STEERING[k] for k in keys},
            "model_dtype": config["model"]["dtype"],
            "seed": config["seed"],
        },
        architecture_module(wildcards.dictionary),
    )


def control_recipe(wildcards):
    keys = (
        "aggregate",
        "balance",
        "thresholds",
        "tokens",
        "error_term",
    )
    return recipe(
        "shuffle_control",
        {
            **block_settings(wildcards),
            **{k: STEERING[k] for k in (*keys, "shuffles")},
            "model_dtype": config["model"]["dtype"],
            "seed": config["seed"],
        },
        architecture_module(wildcards.dictionary),
    )


# ------------------------------------------------------------------------------------------- Tables


def data_source(dataset):
    """What tables say of where the images are from; a tiny CLIP makes no real result either."""
    return "painted" if TINY or is_painted(dataset) else "real"


def paper_files():
    """The published numbers are data that a step reads, so they count by content."""
    from clipsteer.report.paper import files

    return files()


def shown_settings(dictionary):
    """What a table says of a dictionary."""
    settings = DICTIONARIES[dictionary]
    trained_on = settings.get("trained_on")
    return {
        "name": dictionary,
        "painted": trained_on is not None and is_painted(trained_on),
        **{k: settings.get(k) for k in ("architecture", "hook_point", "trained_on")},
        **{k: settings.get("training", {}).get(k) for k in ("expansion", "k")},
    }


def table_recipe(wildcards):
    dataset = config["datasets"][wildcards.dataset]
    return recipe(
        "make_table",
        {
            "dataset": wildcards.dataset,
            "source": data_source(wildcards.dataset),
            "layout": dataset["layout"],
            "papers_attributes": papers_attributes(dataset),
            "model": config["model"]["name"],
            "model_shape": list(model_shape(config, Path.cwd())),
            "group_names": dataset["group_names"],
            "dictionaries": [
                shown_settings(name) for name in TABLES[wildcards.dataset]
            ],
            "paper": [digest_file(path) for path in paper_files()],
            "steering": {k: v for k, v in STEERING.items() if k != "shuffles"},
            "seed": config["seed"],
        },
    )


def table_inputs(kind):
    """Pointers of one kind for every dictionary and block of a table."""

    def paths(wildcards):
        return [
            f"{REFS}/{wildcards.dataset}/{dictionary}/{block}/{kind}.json"
            for dictionary in TABLES.get(wildcards.dataset, [])
            for block in BLOCKS
        ]

    return paths


def control_table_recipe(wildcards):
    return recipe(
        "control_table",
        {"dataset": wildcards.dataset, "source": data_source(wildcards.dataset)},
    )


def control_inputs(wildcards):
    return [
        f"{REFS}/{wildcards.dataset}/{dictionary}/{block}/control.json"
        for dictionary in TABLES.get(wildcards.dataset, [])
        for block in BLOCKS
        if is_trained(dictionary)
    ]


# ------------------------------------------------------------ Dropping activations that nothing reads

KEEP = config["activations"]["keep"]
PART = re.compile(rf"{REFS}/([^/]+)/activations/([^/]+)/part_\d+\.json")
DROPPED = f"{REFS}/{{table}}/dropped/{{result}}/{{dataset}}/{{split}}.json"


def split_readers(table, result):
    """The pointers that a table, or its negative control, needs of each (data set, split)."""
    found = {}

    def read(dataset, split, *pointers):
        found.setdefault((dataset, split), []).extend(pointers)

    for dictionary in TABLES.get(table, []):
        trained_on = DICTIONARIES[dictionary].get("trained_on")
        for block in BLOCKS:
            place = f"{REFS}/{table}/{dictionary}/{block}"
            if result == "table":
                for split in training_splits(trained_on) if trained_on else []:
                    read(
                        trained_on,
                        split,
                        f"{REFS}/dictionaries/{dictionary}/{block}.json",
                    )
                read(table, "train", f"{place}/statistics.json")
                read(
                    table,
                    "validation",
                    f"{place}/evaluation.json",
                    f"{place}/selection.json",
                )
                read(table, "test", f"{place}/ablation.json")
            elif trained_on:
                for split in ("train", "validation", "test"):
                    read(table, split, f"{place}/control.json")
    return found


def dropped(result):
    """Markers that the activations behind a result have been dropped; none where they are kept."""

    def markers(wildcards):
        table = wildcards.dataset
        return [
            DROPPED.format(table=table, result=result, dataset=dataset, split=split)
            for dataset, split in ([] if KEEP else split_readers(table, result))
        ]

    return markers


def drop_readers(wildcards):
    readers = split_readers(wildcards.table, wildcards.result)
    return readers.get((wildcards.dataset, wildcards.split), [])


def drop_recipe(wildcards):
    return recipe("drop_activations", {})


def readers_of_this_run():
    """What the jobs of this run will write from the activations of each split: none may go before."""
    found = {
        f"{dataset}/{split}": []
        for table in TABLES
        for result in ("table", "negative_control")
        for dataset, split in split_readers(table, result)
    }
    for job in workflow.dag.needrun_jobs():
        parts = {PART.match(path) for path in job.input} - {None}
        if job.rule.name != "drop_activations":
            for name in {"/".join(part.groups()) for part in parts}:
                found.setdefault(name, []).append(str(job.output[0]))
    return found
