# The CLIP itself, and its zero-shot heads.


if TINY:

    rule pretrain_clip:
        input:
            expand(f"{REFS}/{{world}}/manifest.json", world=WORLDS),
        output:
            MODEL,
        log:
            "logs/pretrain_clip.log",
        conda:
            "../envs/clip.yaml"
        threads: 2
        resources:
            **needs("pretrain_clip"),
        params:
            recipe=pretrain_recipe,
            chain=expected_chain,
        shell:
            shell_words("pretrain_clip") + manifest_words() + " --pointer {output}"

else:

    rule import_clip:
        output:
            MODEL,
        log:
            "logs/import_clip.log",
        conda:
            "../envs/clip.yaml"
        resources:
            **needs("import_clip"),
        params:
            recipe=import_recipe,
            chain=expected_chain,
            source=import_source,
        shell:
            shell_words("import_clip")
            + ("--raw token={params.source:q} " if LOCAL_MODEL else "")
            + "--name model --pointer {output}"


rule build_head:
    input:
        model=MODEL,
    output:
        f"{REFS}/{{dataset}}/head.json",
    log:
        "logs/build_head/{dataset}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("build_head"),
    params:
        recipe=head_recipe,
        chain=expected_chain,
    shell:
        shell_words("build_head")
        + "--name {wildcards.dataset} --input model={input.model} --pointer {output}"
