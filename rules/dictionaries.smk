# Sparse autoencoders: one training, or import, per dictionary and layer, a block of layers to a job. Whatever reads
# activations has the CLIP's environment, as it may have to make them again.


rule train_dictionary:
    input:
        INPUTS.training,
    output:
        f"{REFS}/dictionaries/{{dictionary}}/{{block}}.json",
    log:
        "logs/train_dictionary/{dictionary}_{block}.log",
    wildcard_constraints:
        dictionary=one_of(OUTLINE.trained_here),
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("train_dictionary"),
    params:
        recipe=RECIPES.of("train_dictionary"),
        chain=expected_chain,
    shell:
        shell_words("train_dictionary")
        + "--name {wildcards.dictionary} --inputs activations {input} --pointer {output}"


# First of all jobs: what is wrong with a dictionary should be said before anything is computed.
rule import_dictionary:
    output:
        f"{REFS}/dictionaries/{{dictionary}}/{{block}}.json",
    log:
        "logs/import_dictionary/{dictionary}_{block}.log",
    wildcard_constraints:
        dictionary=one_of(OUTLINE.imported),
    priority: 2
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("import_dictionary"),
    params:
        recipe=RECIPES.of("import_dictionary"),
        chain=expected_chain,
        source=SOURCES.dictionary,
    shell:
        shell_words("import_dictionary")
        + "--name {wildcards.dictionary} --raw token={params.source:q} --pointer {output}"


rule check_dictionary:
    input:
        dictionary=f"{REFS}/dictionaries/{{dictionary}}/{{block}}.json",
        activations=INPUTS.activations("validation"),
    output:
        f"{REFS}/{{dataset}}/{{dictionary}}/{{block}}/check.json",
    log:
        "logs/check_dictionary/{dataset}_{dictionary}_{block}.log",
    wildcard_constraints:
        dictionary=one_of(OUTLINE.imported),
    priority: 2
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("check_dictionary"),
    params:
        recipe=RECIPES.of("check_dictionary"),
        chain=expected_chain,
    shell:
        shell_words("check_dictionary")
        + "--name {wildcards.dictionary} --input dictionary={input.dictionary}"
        " --inputs activations {input.activations} --pointer {output}"


rule choose_dictionary:
    input:
        dictionary=INPUTS.candidates,
        evaluation=INPUTS.candidates_quality,
    output:
        f"{REFS}/{{dataset}}/{{dictionary}}/{{block}}/chosen.json",
    log:
        "logs/choose_dictionary/{dataset}_{dictionary}_{block}.log",
    wildcard_constraints:
        dictionary=one_of(OUTLINE.chosen),
    conda:
        "../envs/data.yaml"
    resources:
        **needs("choose_dictionary"),
    params:
        recipe=RECIPES.of("choose_dictionary"),
        chain=expected_chain,
    shell:
        shell_words("choose_dictionary")
        + "--name {wildcards.dictionary} --inputs dictionary {input.dictionary}"
        " --inputs evaluation {input.evaluation} --pointer {output}"


rule evaluate_dictionary:
    input:
        dictionary=INPUTS.trained,
        activations=INPUTS.evaluated,
    output:
        f"{REFS}/{{dataset}}/{{dictionary}}/{{block}}/evaluation{{on}}.json",
    log:
        "logs/evaluate_dictionary/{dataset}_{dictionary}_{block}{on}.log",
    wildcard_constraints:
        on="(_test)?",  # of validation, or beside it
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("evaluate_dictionary"),
    params:
        recipe=RECIPES.of("evaluate_dictionary"),
        chain=expected_chain,
    shell:
        shell_words("evaluate_dictionary")
        + "--name {wildcards.dictionary} --inputs dictionary {input.dictionary}"
        " --inputs activations {input.activations} --pointer {output}"


rule compare_dictionaries:
    input:
        dictionary=INPUTS.compared,
        statistics=INPUTS.of_compared("statistics", steered=False),
        selection=INPUTS.of_compared("selection"),
    output:
        f"{REFS}/{{dataset}}/likeness/{{block}}.json",
    log:
        "logs/compare_dictionaries/{dataset}_{block}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.swept),
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("compare_dictionaries"),
    params:
        recipe=RECIPES.of("compare_dictionaries"),
        chain=expected_chain,
    shell:
        shell_words("compare_dictionaries")
        + "--name {wildcards.dataset} --inputs dictionary {input.dictionary}"
        " --inputs statistics {input.statistics} --inputs selection {input.selection}"
        " --pointer {output}"


# Only where results/<dataset>_dictionaries.csv is asked for: a table does not wait for it.


rule splice_dictionary:
    input:
        model=INPUTS.model,
        head=f"{REFS}/{{dataset}}/head.json",
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        dictionary=INPUTS.trained,
        activations=INPUTS.activations("validation"),
    output:
        f"{REFS}/{{dataset}}/{{dictionary}}/{{block}}/spliced.json",
    log:
        "logs/splice_dictionary/{dataset}_{dictionary}_{block}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("splice_dictionary"),
    params:
        recipe=RECIPES.of("splice_dictionary"),
        chain=expected_chain,
    shell:
        shell_words("splice_dictionary")
        + "--name {wildcards.dictionary} --input model={input.model} --input head={input.head}"
        " --input manifest={input.manifest} --inputs dictionary {input.dictionary}"
        " --inputs activations {input.activations} --pointer {output}"
