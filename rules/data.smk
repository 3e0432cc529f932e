# Images to one manifest table: paint a world where the config says so, else read the user's folder.


rule paint_world:
    output:
        f"{REFS}/{{dataset}}/world.json",
    log:
        "logs/paint_world/{dataset}.log",
    conda:
        "../envs/data.yaml"
    resources:
        **needs("paint_world"),
    params:
        recipe=RECIPES.of("paint_world"),
        chain=expected_chain,
    shell:
        shell_words("paint_world") + "--name {wildcards.dataset} --pointer {output}"


# Pairs: of test images where results/<dataset>_baselines.csv is asked for, of those that pages show where these are.


rule paint_pairs:
    output:
        f"{REFS}/{{dataset}}/painted_pairs/{{split}}.json",
    log:
        "logs/paint_pairs/{dataset}_{split}.log",
    conda:
        "../envs/data.yaml"
    resources:
        **needs("paint_pairs"),
    params:
        recipe=RECIPES.of("paint_pairs"),
        chain=expected_chain,
    shell:
        shell_words("paint_pairs") + "--name {wildcards.dataset} --pointer {output}"


rule build_manifest:
    input:
        INPUTS.world,
    output:
        f"{REFS}/{{dataset}}/manifest.json",
    log:
        "logs/build_manifest/{dataset}.log",
    conda:
        "../envs/data.yaml"
    resources:
        **needs("build_manifest"),
    params:
        recipe=RECIPES.of("build_manifest"),
        chain=expected_chain,
        source=SOURCES.manifest,
    shell:
        shell_words("build_manifest")
        + "--name {wildcards.dataset} --inputs source {input} --raw source={params.source:q}"
        " --pointer {output}"
