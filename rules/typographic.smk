# Typographic attacks and defences (Section 7.2), only where results/typographic_table.csv is asked for.


rule label_attacked:
    input:
        manifest=f"{REFS}/{{dataset}}/manifest.json",
    output:
        f"{REFS}/{{dataset}}/classes.json",
    log:
        "logs/label_attacked/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.typographic),
    conda:
        "../envs/data.yaml"
    resources:
        **needs("label_attacked"),
    params:
        recipe=RECIPES.of("label_attacked"),
        chain=expected_chain,
    shell:
        shell_words("label_attacked")
        + "--name {wildcards.dataset} --input manifest={input.manifest} --pointer {output}"


rule list_attacked:
    input:
        classes=f"{REFS}/{{dataset}}/classes.json",
    output:
        f"{REFS}/{{dataset}}/activations/{{split}}/shards.json",
    log:
        "logs/list_attacked/{dataset}_{split}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.attacked),
        split="(train|validation|test)_attacked",
    conda:
        "../envs/data.yaml"
    resources:
        **needs("list_attacked"),
    params:
        recipe=RECIPES.of("list_attacked"),
        chain=expected_chain,
    shell:
        shell_words("list_attacked")
        + "--name {wildcards.dataset} --input classes={input.classes} --pointer {output}"


rule train_prefix:
    input:
        model=INPUTS.model,
        classes=f"{REFS}/{{dataset}}/classes.json",
        train=INPUTS.activations("train"),
        attacked=INPUTS.activations("train_attacked"),
    output:
        f"{REFS}/{{dataset}}/prefix.json",
    log:
        "logs/train_prefix/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tuned),
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("train_prefix"),
    params:
        recipe=RECIPES.of("train_prefix"),
        chain=expected_chain,
    shell:
        shell_words("train_prefix")
        + "--name {wildcards.dataset} --input model={input.model} --input classes={input.classes}"
        " --inputs train {input.train} --inputs train_attacked {input.attacked} --pointer {output}"


rule build_class_heads:
    input:
        model=INPUTS.model,
        classes=f"{REFS}/{{dataset}}/classes.json",
        prefix=INPUTS.prefix,
    output:
        f"{REFS}/{{dataset}}/class_heads.json",
    log:
        "logs/build_class_heads/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.typographic),
    priority: 1
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("build_class_heads"),
    params:
        recipe=RECIPES.of("build_class_heads"),
        chain=expected_chain,
    shell:
        shell_words("build_class_heads")
        + "--name {wildcards.dataset} --input model={input.model} --input classes={input.classes}"
        " --input prefix={input.prefix} --pointer {output}"


rule train_projection:
    input:
        classes=f"{REFS}/{{dataset}}/classes.json",
        heads=f"{REFS}/{{dataset}}/class_heads.json",
        train=INPUTS.activations("train"),
        attacked=INPUTS.activations("train_attacked"),
    output:
        f"{REFS}/{{dataset}}/projection.json",
    log:
        "logs/train_projection/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tuned),
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("train_projection"),
    params:
        recipe=RECIPES.of("train_projection"),
        chain=expected_chain,
    shell:
        shell_words("train_projection")
        + "--name {wildcards.dataset} --input classes={input.classes} --input heads={input.heads}"
        " --inputs train {input.train} --inputs train_attacked {input.attacked} --pointer {output}"


rule train_patching:
    input:
        model=INPUTS.model,
        classes=f"{REFS}/{{dataset}}/classes.json",
        heads=f"{REFS}/{{dataset}}/class_heads.json",
        train=f"{REFS}/{{dataset}}/activations/train/shards.json",
        attacked=f"{REFS}/{{dataset}}/activations/train_attacked/shards.json",
        world=INPUTS.world,
    output:
        f"{REFS}/{{dataset}}/patching.json",
    log:
        "logs/train_patching/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tuned),
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("train_patching"),
    params:
        recipe=RECIPES.of("train_patching"),
        chain=expected_chain,
    shell:
        shell_words("train_patching")
        + "--name {wildcards.dataset} --input model={input.model} --input classes={input.classes}"
        " --input heads={input.heads} --input train={input.train}"
        " --input train_attacked={input.attacked}"
        " --inputs world/{wildcards.dataset} {input.world} --pointer {output}"


rule tune_patching:
    input:
        model=INPUTS.model,
        classes=f"{REFS}/{{dataset}}/classes.json",
        heads=f"{REFS}/{{dataset}}/class_heads.json",
        patching=f"{REFS}/{{dataset}}/patching.json",
        validation=f"{REFS}/{{dataset}}/activations/validation/shards.json",
        attacked=f"{REFS}/{{dataset}}/activations/validation_attacked/shards.json",
        world=INPUTS.world,
    output:
        f"{REFS}/{{dataset}}/patched.json",
    log:
        "logs/tune_patching/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tuned),
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("tune_patching"),
    params:
        recipe=RECIPES.of("tune_patching"),
        chain=expected_chain,
    shell:
        shell_words("tune_patching")
        + "--name {wildcards.dataset} --input model={input.model} --input classes={input.classes}"
        " --input heads={input.heads} --input patching={input.patching}"
        " --input validation={input.validation} --input validation_attacked={input.attacked}"
        " --inputs world/{wildcards.dataset} {input.world} --pointer {output}"


rule evaluate_patching:
    input:
        patched=INPUTS.patched,
        classes=f"{REFS}/{{dataset}}/classes.json",
        heads=f"{REFS}/{{dataset}}/class_heads.json",
        test=f"{REFS}/{{dataset}}/activations/test/shards.json",
        attacked=INPUTS.attacked_list,
        world=INPUTS.world,
    output:
        f"{REFS}/{{dataset}}/patched_answers.json",
    log:
        "logs/evaluate_patching/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.typographic),
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("evaluate_patching"),
    params:
        recipe=RECIPES.of("evaluate_patching"),
        chain=expected_chain,
    shell:
        shell_words("evaluate_patching")
        + "--name {wildcards.dataset} --input patched={input.patched}"
        " --input classes={input.classes} --input heads={input.heads} --input test={input.test}"
        " --inputs test_attacked {input.attacked}"
        " --inputs world/{wildcards.dataset} {input.world} --pointer {output}"


rule tune_defences:
    input:
        model=INPUTS.model,
        classes=f"{REFS}/{{dataset}}/classes.json",
        heads=f"{REFS}/{{dataset}}/class_heads.json",
        dictionary=INPUTS.defended,
        train=INPUTS.activations("train"),
        train_attacked=INPUTS.activations("train_attacked"),
        validation=INPUTS.activations("validation"),
        validation_attacked=INPUTS.activations("validation_attacked"),
    output:
        f"{STEERED}/tuning.json",
    log:
        "logs/tune_defences/{dataset}_{dictionary}_{block}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tuned),
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("tune_defences"),
    params:
        recipe=RECIPES.of("tune_defences"),
        chain=expected_chain,
    shell:
        shell_words("tune_defences")
        + "--name {wildcards.dictionary} --input model={input.model} --input classes={input.classes}"
        " --input heads={input.heads} --inputs dictionary {input.dictionary}"
        " --inputs train {input.train} --inputs train_attacked {input.train_attacked}"
        " --inputs validation {input.validation}"
        " --inputs validation_attacked {input.validation_attacked} --pointer {output}"


rule evaluate_defences:
    input:
        model=INPUTS.model,
        classes=f"{REFS}/{{dataset}}/classes.json",
        heads=f"{REFS}/{{dataset}}/class_heads.json",
        tuning=INPUTS.tuning,
        projection=INPUTS.projection,
        dictionary=INPUTS.defended,
        test=INPUTS.activations("test"),
        attacked=INPUTS.attacked("test"),
    output:
        f"{STEERED}/attacked.json",
    log:
        "logs/evaluate_defences/{dataset}_{dictionary}_{block}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.typographic),
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("evaluate_defences"),
    params:
        recipe=RECIPES.of("evaluate_defences"),
        chain=expected_chain,
    shell:
        shell_words("evaluate_defences")
        + "--name {wildcards.dictionary} --input model={input.model} --input classes={input.classes}"
        " --input heads={input.heads} --input tuning={input.tuning}"
        " --input projection={input.projection}"
        " --inputs dictionary {input.dictionary}"
        " --inputs test {input.test} --inputs test_attacked {input.attacked} --pointer {output}"


rule typographic_table:
    input:
        INPUTS.typographic,
        dropped=READERS.dropped("attacked_table"),
    output:
        csv=report(
            "results/typographic_table.csv",
            **in_report("Typographic", "attacks and defences", "typographic", "all"),
        ),
        markdown="results/typographic_table.md",
        figure=report(
            "results/typographic_layers.png",
            **in_report(
                "Typographic", "attacks and defences, by layer", "typographic", "all"
            ),
        ),
        pointer=f"{REFS}/typographic.json",
    log:
        "logs/typographic_table.log",
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("typographic_table"),
    params:
        recipe=RECIPES.of("typographic_table"),
        chain=expected_chain,
        inputs=COMMANDS.typographic,
    shell:
        shell_words("typographic_table")
        + "{params.inputs:q} --export all/csv={output.csv} all/markdown={output.markdown}"
        " all/figure={output.figure} --pointer {output.pointer}"


rule typographic_examples:
    input:
        INPUTS.typographic_examples,
        dropped=READERS.dropped("attacked_examples"),
    output:
        figure=report(
            "results/typographic_examples.png",
            **in_report(
                "Typographic", "attacked images", "typographic_examples", "all"
            ),
        ),
        pointer=f"{REFS}/typographic_examples.json",
    log:
        "logs/typographic_examples.log",
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("typographic_examples"),
    params:
        recipe=RECIPES.of("typographic_examples"),
        chain=expected_chain,
        inputs=COMMANDS.typographic_examples,
    shell:
        shell_words("typographic_examples")
        + "{params.inputs:q} --export all/figure={output.figure} --pointer {output.pointer}"


# Figures 2 and 10 for attacked images.


rule top_attacked:
    input:
        tuning=f"{STEERED}/tuning.json",
        dictionary=INPUTS.defended,
        activations=INPUTS.activations("validation_attacked"),
    output:
        f"{STEERED}/top_attacked.json",
    log:
        "logs/top_attacked/{dataset}_{dictionary}_{block}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tuned),
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("top_attacked"),
    params:
        recipe=RECIPES.of("top_attacked"),
        chain=expected_chain,
    shell:
        shell_words("top_attacked")
        + "--name {wildcards.dictionary} --input tuning={input.tuning}"
        " --inputs dictionary {input.dictionary} --inputs activations {input.activations}"
        " --pointer {output}"


rule typographic_top_images:
    input:
        INPUTS.typographic_top_images,
        model=INPUTS.attacked_model,
        dropped=READERS.dropped("attacked_top_images"),
    output:
        figure=report(
            "results/typographic_top_images.png",
            **in_report("Typographic", "top images", "typographic_top_images", "all"),
        ),
        pointer=f"{REFS}/typographic_top_images.json",
    log:
        "logs/typographic_top_images.log",
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("typographic_top_images"),
    params:
        recipe=RECIPES.of("typographic_top_images"),
        chain=expected_chain,
        inputs=COMMANDS.typographic_top_images,
    shell:
        shell_words("typographic_top_images")
        + "{params.inputs:q} --export all/figure={output.figure} --pointer {output.pointer}"
