# Section 7.1: statistics on D_A and D_notA (Eq. 9), selection on validation, ablation on test.


rule feature_statistics:
    input:
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        dictionary=INPUTS.trained,
        activations=INPUTS.activations("train"),
    output:
        f"{STEERED}/statistics.json",
    log:
        "logs/feature_statistics/{dataset}_{dictionary}_{block}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("feature_statistics"),
    params:
        recipe=RECIPES.of("feature_statistics"),
        chain=expected_chain,
    shell:
        shell_words("feature_statistics")
        + "--name {wildcards.dictionary} --input manifest={input.manifest}"
        " --inputs dictionary {input.dictionary} --inputs activations {input.activations}"
        " --pointer {output}"


rule select_features:
    input:
        model=INPUTS.model,
        head=f"{REFS}/{{dataset}}/head.json",
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        dictionary=INPUTS.trained,
        statistics=f"{STEERED}/statistics.json",
        activations=INPUTS.activations("validation"),
    output:
        f"{STEERED}/selection.json",
    log:
        "logs/select_features/{dataset}_{dictionary}_{block}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("select_features"),
    params:
        recipe=RECIPES.of("select_features"),
        chain=expected_chain,
    shell:
        shell_words("select_features")
        + "--name {wildcards.dictionary} --input model={input.model} --input head={input.head}"
        " --input manifest={input.manifest} --inputs dictionary {input.dictionary}"
        " --input statistics={input.statistics} --inputs activations {input.activations}"
        " --pointer {output}"


rule ablate_features:
    input:
        model=INPUTS.model,
        head=f"{REFS}/{{dataset}}/head.json",
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        dictionary=INPUTS.trained,
        statistics=f"{STEERED}/statistics.json",
        selection=f"{STEERED}/selection.json",
        activations=INPUTS.activations("test"),
    output:
        f"{STEERED}/ablation.json",
    log:
        "logs/ablate_features/{dataset}_{dictionary}_{block}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("ablate_features"),
    params:
        recipe=RECIPES.of("ablate_features"),
        chain=expected_chain,
    shell:
        shell_words("ablate_features")
        + "--name {wildcards.dictionary} --input model={input.model} --input head={input.head}"
        " --input manifest={input.manifest} --inputs dictionary {input.dictionary}"
        " --input statistics={input.statistics} --input selection={input.selection}"
        " --inputs activations {input.activations} --pointer {output}"


rule shuffle_control:
    input:
        model=INPUTS.model,
        head=f"{REFS}/{{dataset}}/head.json",
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        dictionary=INPUTS.trained,
        train=INPUTS.activations("train"),
        validation=INPUTS.activations("validation"),
        test=INPUTS.activations("test"),
    output:
        f"{STEERED}/control.json",
    log:
        "logs/shuffle_control/{dataset}_{dictionary}_{block}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("shuffle_control"),
    params:
        recipe=RECIPES.of("shuffle_control"),
        chain=expected_chain,
    shell:
        shell_words("shuffle_control")
        + "--name {wildcards.dictionary} --input model={input.model}"
        " --input head={input.head} --input manifest={input.manifest} --inputs dictionary {input.dictionary}"
        " --inputs train {input.train} --inputs validation {input.validation} --inputs test {input.test}"
        " --pointer {output}"


# Controls and baselines, only where results/<dataset>_baselines.csv is asked for.


rule unconcerned_attributes:
    input:
        world=INPUTS.world,
        model=INPUTS.model,
        manifest=f"{REFS}/{{dataset}}/manifest.json",
    output:
        f"{REFS}/{{dataset}}/unconcerned.json",
    log:
        "logs/unconcerned_attributes/{dataset}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("unconcerned_attributes"),
    params:
        recipe=RECIPES.of("unconcerned_attributes"),
        chain=expected_chain,
        source=SOURCES.manifest,
    shell:
        shell_words("unconcerned_attributes")
        + "--name {wildcards.dataset} --input model={input.model} --input manifest={input.manifest}"
        " --inputs source {input.world} --raw source={params.source:q} --pointer {output}"


rule pair_margins:
    input:
        model=INPUTS.model,
        head=f"{REFS}/{{dataset}}/head.json",
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        painted=INPUTS.painted_pairs("test"),
    output:
        f"{REFS}/{{dataset}}/pairs.json",
    log:
        "logs/pair_margins/{dataset}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("pair_margins"),
    params:
        recipe=RECIPES.of("pair_margins"),
        chain=expected_chain,
    shell:
        shell_words("pair_margins")
        + "--name {wildcards.dataset} --input model={input.model} --input head={input.head}"
        " --input manifest={input.manifest} --inputs painted {input.painted} --pointer {output}"


rule measure_recovery:
    input:
        model=INPUTS.model,
        head=f"{REFS}/{{dataset}}/head.json",
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        pairs=f"{REFS}/{{dataset}}/pairs.json",
        dictionary=INPUTS.trained,
        selection=f"{STEERED}/selection.json",
        activations=INPUTS.activations("test"),
    output:
        f"{STEERED}/recovery.json",
    log:
        "logs/measure_recovery/{dataset}_{dictionary}_{block}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("measure_recovery"),
    params:
        recipe=RECIPES.of("measure_recovery"),
        chain=expected_chain,
    shell:
        shell_words("measure_recovery")
        + "--name {wildcards.dictionary} --input model={input.model} --input head={input.head}"
        " --input manifest={input.manifest} --input pairs={input.pairs}"
        " --inputs dictionary {input.dictionary} --input selection={input.selection}"
        " --inputs activations {input.activations} --pointer {output}"


rule fit_directions:
    input:
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        activations=INPUTS.activations("train"),
    output:
        f"{DIRECTED}/directions.json",
    log:
        "logs/fit_directions/{dataset}_{hook_point}_{block}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("fit_directions"),
    params:
        recipe=RECIPES.of("fit_directions"),
        chain=expected_chain,
    shell:
        shell_words("fit_directions")
        + "--name {wildcards.hook_point} --input manifest={input.manifest}"
        " --inputs activations {input.activations} --pointer {output}"


rule evaluate_directions:
    input:
        model=INPUTS.model,
        head=f"{REFS}/{{dataset}}/head.json",
        unconcerned=INPUTS.unconcerned,
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        directions=f"{DIRECTED}/directions.json",
        validation=INPUTS.activations("validation"),
        test=INPUTS.activations("test"),
    output:
        f"{DIRECTED}/baselines.json",
    log:
        "logs/evaluate_directions/{dataset}_{hook_point}_{block}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("evaluate_directions"),
    params:
        recipe=RECIPES.of("evaluate_directions"),
        chain=expected_chain,
    shell:
        shell_words("evaluate_directions")
        + "--name {wildcards.hook_point} --input model={input.model} --input head={input.head}"
        " --inputs unconcerned {input.unconcerned}"
        " --input manifest={input.manifest} --input directions={input.directions}"
        " --inputs validation {input.validation} --inputs test {input.test} --pointer {output}"


rule evaluate_subspaces:
    input:
        model=INPUTS.model,
        head=f"{REFS}/{{dataset}}/head.json",
        unconcerned=INPUTS.unconcerned,
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        dictionary=INPUTS.trained,
        statistics=f"{STEERED}/statistics.json",
        validation=INPUTS.activations("validation"),
        test=INPUTS.activations("test"),
    output:
        f"{STEERED}/baselines.json",
    log:
        "logs/evaluate_subspaces/{dataset}_{dictionary}_{block}.log",
    wildcard_constraints:
        dictionary=one_of(OUTLINE.trained),
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("evaluate_subspaces"),
    params:
        recipe=RECIPES.of("evaluate_subspaces"),
        chain=expected_chain,
    shell:
        shell_words("evaluate_subspaces")
        + "--name {wildcards.dictionary} --input model={input.model} --input head={input.head}"
        " --inputs unconcerned {input.unconcerned}"
        " --input manifest={input.manifest} --inputs dictionary {input.dictionary}"
        " --input statistics={input.statistics} --inputs validation {input.validation}"
        " --inputs test {input.test} --pointer {output}"


rule evaluate_readout:
    input:
        head=f"{REFS}/{{dataset}}/head.json",
        unconcerned=INPUTS.unconcerned,
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        train=INPUTS.activations("train"),
        validation=INPUTS.activations("validation"),
        test=INPUTS.activations("test"),
    output:
        f"{REFS}/{{dataset}}/readout.json",
    log:
        "logs/evaluate_readout/{dataset}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("evaluate_readout"),
    params:
        recipe=RECIPES.of("evaluate_readout"),
        chain=expected_chain,
    shell:
        shell_words("evaluate_readout")
        + "--name {wildcards.dataset} --input head={input.head} --input manifest={input.manifest}"
        " --inputs unconcerned {input.unconcerned}"
        " --inputs train {input.train} --inputs validation {input.validation} --inputs test {input.test}"
        " --pointer {output}"


# The images that features answer to, only where a page or a figure of them is asked for.


rule top_images:
    input:
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        dictionary=INPUTS.trained,
        statistics=f"{STEERED}/statistics.json",
        selection=f"{STEERED}/selection.json",
        activations=INPUTS.activations(config["explorer"]["split"]),
    output:
        f"{STEERED}/top_images.json",
    log:
        "logs/top_images/{dataset}_{dictionary}_{block}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("top_images"),
    params:
        recipe=RECIPES.of("top_images"),
        chain=expected_chain,
    shell:
        shell_words("top_images")
        + "--name {wildcards.dictionary} --input manifest={input.manifest}"
        " --inputs dictionary {input.dictionary} --input statistics={input.statistics}"
        " --input selection={input.selection} --inputs activations {input.activations}"
        " --pointer {output}"


rule image_views:
    input:
        model=INPUTS.model,
        head=f"{REFS}/{{dataset}}/head.json",
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        shards=f"{REFS}/{{dataset}}/activations/{config['explorer']['split']}/shards.json",
        world=INPUTS.world,
        painted=INPUTS.painted_pairs(config["explorer"]["split"]),
        dictionary=INPUTS.trained,
        selection=f"{STEERED}/selection.json",
    output:
        f"{STEERED}/image_views.json",
    log:
        "logs/image_views/{dataset}_{dictionary}_{block}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("image_views"),
    params:
        recipe=RECIPES.of("image_views"),
        chain=expected_chain,
    shell:
        shell_words("image_views")
        + "--name {wildcards.dictionary} --input model={input.model} --input head={input.head}"
        " --input manifest={input.manifest} --input shards={input.shards}"
        " --inputs world/{wildcards.dataset} {input.world} --inputs painted {input.painted}"
        " --inputs dictionary {input.dictionary} --input selection={input.selection}"
        " --pointer {output}"


rule nearest_directions:
    input:
        dictionary=INPUTS.trained_of_block,
        top_images=INPUTS.of_block("top_images"),
    output:
        f"{REFS}/{{dataset}}/nearest_directions/{{block}}.json",
    log:
        "logs/nearest_directions/{dataset}_{block}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tables),
    priority: 1
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("nearest_directions"),
    params:
        recipe=RECIPES.of("nearest_directions"),
        chain=expected_chain,
    shell:
        shell_words("nearest_directions")
        + "--name {wildcards.dataset} --inputs dictionary {input.dictionary}"
        " --inputs top_images {input.top_images} --pointer {output}"


# How precisely features steer the model's output, only where results/<dataset>_steerability.csv is asked for.


rule measure_steerability:
    input:
        model=INPUTS.model,
        vocabulary=INPUTS.vocabulary,
        dictionary=INPUTS.trained,
        activations=INPUTS.activations(config["steerability"]["split"]),
    output:
        f"{STEERED}/steerability.json",
    log:
        "logs/measure_steerability/{dataset}_{dictionary}_{block}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("measure_steerability"),
    params:
        recipe=RECIPES.of("measure_steerability"),
        chain=expected_chain,
    shell:
        shell_words("measure_steerability")
        + "--name {wildcards.dictionary} --input model={input.model}"
        " --input vocabulary={input.vocabulary} --inputs dictionary {input.dictionary}"
        " --inputs activations {input.activations} --pointer {output}"


rule measure_random:
    input:
        model=INPUTS.model,
        vocabulary=INPUTS.vocabulary,
        activations=INPUTS.activations(config["steerability"]["split"]),
    output:
        f"{DIRECTED}/steerability.json",
    log:
        "logs/measure_random/{dataset}_{hook_point}_{block}.log",
    priority: 1
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("measure_random"),
    params:
        recipe=RECIPES.of("measure_random"),
        chain=expected_chain,
    shell:
        shell_words("measure_random")
        + "--name {wildcards.hook_point} --input model={input.model}"
        " --input vocabulary={input.vocabulary} --inputs activations {input.activations}"
        " --pointer {output}"
