# The models themselves, and their zero-shot heads.


rule pretrain_clip:
    input:
        INPUTS.learnt_from,
    output:
        MODEL,
    log:
        "logs/pretrain_clip/{model}.log",
    wildcard_constraints:
        model=one_of(OUTLINE.tiny_models),
    conda:
        "../envs/clip.yaml"
    threads: 2
    resources:
        **needs("pretrain_clip"),
    params:
        recipe=RECIPES.of("pretrain_clip"),
        chain=expected_chain,
        worlds=COMMANDS.learnt_from,
    shell:
        shell_words("pretrain_clip") + "{params.worlds:q} --pointer {output}"


rule import_clip:
    output:
        MODEL,
    log:
        "logs/import_clip/{model}.log",
    wildcard_constraints:
        model=one_of(OUTLINE.taken_models),
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("import_clip"),
    params:
        recipe=RECIPES.of("import_clip"),
        chain=expected_chain,
        source=SOURCES.model,
        words=SOURCES.words,
    shell:
        shell_words("import_clip") + "{params.words:q} --pointer {output}"


rule build_head:
    input:
        model=INPUTS.model,
    output:
        f"{REFS}/{{dataset}}/head.json",
    log:
        "logs/build_head/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.targeted),
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


rule name_classes:
    input:
        model=INPUTS.model,
        manifest=f"{REFS}/{{dataset}}/manifest.json",
    output:
        f"{REFS}/{{dataset}}/head.json",
    log:
        "logs/name_classes/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.in_folders),
    priority: 1
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("name_classes"),
    params:
        recipe=RECIPES.of("name_classes"),
        chain=expected_chain,
    shell:
        shell_words("name_classes")
        + "--name {wildcards.dataset} --input model={input.model} --input manifest={input.manifest}"
        " --pointer {output}"


rule embed_vocabulary:
    input:
        model=INPUTS.model,
        captions=INPUTS.captioned,
    output:
        VOCABULARY,
    log:
        "logs/embed_vocabulary/{model}.log",
    wildcard_constraints:
        model=one_of(OUTLINE.models),
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("embed_vocabulary"),
    params:
        recipe=RECIPES.of("embed_vocabulary"),
        chain=expected_chain,
        captions=COMMANDS.captioned,
    shell:
        shell_words("embed_vocabulary")
        + "--name vocabulary --input model={input.model} {params.captions:q} --pointer {output}"
