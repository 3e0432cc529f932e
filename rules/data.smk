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
        recipe=paint_recipe,
    shell:
        shell_words("paint_world") + "--name {wildcards.dataset} --pointer {output}"


rule build_manifest:
    input:
        manifest_source,
    output:
        f"{REFS}/{{dataset}}/manifest.json",
    log:
        "logs/build_manifest/{dataset}.log",
    conda:
        "../envs/data.yaml"
    resources:
        **needs("build_manifest"),
    params:
        recipe=manifest_recipe,
    shell:
        shell_words("build_manifest")
        + "--name {wildcards.dataset} --input source={input} --pointer {output}"
