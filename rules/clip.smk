# The CLIP itself, and its zero-shot heads.


if OUTLINE.tiny:

    rule pretrain_clip:
        input:
            INPUTS.learnt_from(),
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
            recipe=RECIPES.of("pretrain_clip"),
            chain=expected_chain,
        shell:
            shell_words("pretrain_clip")
            + COMMANDS.learnt_from()
            + " --pointer {output}"

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
            recipe=RECIPES.of("import_clip"),
            chain=expected_chain,
            source=SOURCES.model,
        shell:
            shell_words("import_clip")
            + ("--raw token={params.source:q} " if OUTLINE.local_model else "")
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
        recipe=RECIPES.of("build_head"),
        chain=expected_chain,
    shell:
        shell_words("build_head")
        + "--name {wildcards.dataset} --input model={input.model} --pointer {output}"
