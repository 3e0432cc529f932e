# All hooked layers of one split in one forward pass, into Zarr shards.


rule list_shards:
    input:
        manifest=f"{REFS}/{{dataset}}/manifest.json",
    output:
        f"{REFS}/{{dataset}}/activations/{{split}}/shards.json",
    log:
        "logs/list_shards/{dataset}_{split}.log",
    wildcard_constraints:
        split="train|train_augmented|validation|test",
    conda:
        "../envs/data.yaml"
    resources:
        **needs("list_shards"),
    params:
        recipe=RECIPES.of("list_shards"),
        chain=expected_chain,
    shell:
        shell_words("list_shards")
        + "--name {wildcards.dataset} --input manifest={input.manifest} --pointer {output}"


rule extract_activations:
    input:
        model=INPUTS.model,
        shards=f"{REFS}/{{dataset}}/activations/{{split}}/shards.json",
        world=INPUTS.world,
    output:
        f"{REFS}/{{dataset}}/activations/{{split}}/part_{{part}}.json",
    log:
        "logs/extract_activations/{dataset}_{split}_{part}.log",
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("extract_activations"),
    params:
        recipe=RECIPES.of("extract_activations"),
        chain=expected_chain,
    shell:
        shell_words("extract_activations")
        + "--name {wildcards.dataset} --input model={input.model}"
        " --input shards={input.shards} --inputs world/{wildcards.dataset} {input.world}"
        " --pointer {output}"


# With `activations.keep: false` a table asks for these: each split goes as soon as nothing in this run
# reads it any more. Readers go before extraction (priority), so that few splits lie there at once.


rule drop_activations:
    input:
        activations=lambda wildcards: INPUTS.parts(wildcards.dataset, wildcards.split),
        readers=READERS.before_drop,
    output:
        DROPPED,
    log:
        "logs/drop_activations/{table}_{result}_{dataset}_{split}.log",
    wildcard_constraints:
        table=one_of([*OUTLINE.valued, TYPOGRAPHIC]),
        result=one_of([*RESULTS, *TYPOGRAPHIC_RESULTS]),
    priority: 2
    conda:
        "../envs/data.yaml"
    resources:
        **needs("drop_activations"),
    params:
        recipe=RECIPES.of("drop_activations"),
        chain=expected_chain,
    shell:
        shell_words("drop_activations")
        + "--name {wildcards.dataset}/{wildcards.split}"
        " --inputs activations {input.activations} --after {input.readers} --pointer {output}"
