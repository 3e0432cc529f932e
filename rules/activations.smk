# All hooked layers of one split in one forward pass, into Zarr shards.


rule extract_activations:
    input:
        model=MODEL,
        manifest=f"{REFS}/{{dataset}}/manifest.json",
    output:
        f"{REFS}/{{dataset}}/activations/{{split}}/part_{{part}}.json",
    log:
        "logs/extract_activations/{dataset}_{split}_{part}.log",
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    params:
        recipe=extract_recipe,
    shell:
        shell_words("extract_activations")
        + "--name {wildcards.dataset} --input model={input.model}"
        " --input manifest={input.manifest} --pointer {output}"
