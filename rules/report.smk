# The tables, the figure and the summary that people read.


rule make_table:
    input:
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        evaluation=INPUTS.of_table("evaluation"),
        selection=INPUTS.of_table("selection"),
        ablation=INPUTS.of_table("ablation"),
        check=INPUTS.of_imported("check"),
        chosen=INPUTS.of_chosen("chosen"),
        dropped=READERS.dropped("table"),
    output:
        csv=report(
            "results/{dataset}_table.csv",
            **in_report("Result", "accuracy by layer, all columns", "table"),
        ),
        markdown="results/{dataset}_table.md",
        html=report(
            "results/{dataset}_table.html",
            **in_report("Result", "accuracy by layer", "table"),
        ),
        figure=report(
            "results/{dataset}_layers.png",
            **in_report("Result", "worst group by layer", "layers"),
        ),
        feature_sets=report(
            "results/{dataset}_feature_sets.csv",
            **in_report("Features", "features that are ablated", "feature_sets"),
        ),
        summary=report(
            "results/{dataset}_summary.txt",
            **in_report("Result", "summary", "summary"),
        ),
        headline="results/{dataset}_headline.json",
        pointer=f"{REFS}/{{dataset}}/table.json",
    log:
        "logs/make_table/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tables),
    conda:
        "../envs/data.yaml"
    resources:
        **needs("make_table"),
    params:
        recipe=RECIPES.of("make_table"),
        chain=expected_chain,
        about=about(OUTLINE),
    shell:
        shell_words("make_table")
        + "--name {wildcards.dataset} --input manifest={input.manifest}"
        " --inputs evaluation {input.evaluation}"
        " --inputs selection {input.selection} --inputs ablation {input.ablation}"
        " --inputs check {input.check} --inputs chosen {input.chosen}"
        " --export all/csv={output.csv} all/markdown={output.markdown} all/html={output.html} all/figure={output.figure}"
        " all/feature_sets={output.feature_sets} all/summary={output.summary}"
        " all/headline={output.headline} --pointer {output.pointer}"


rule dictionary_table:
    input:
        evaluation=INPUTS.of_valued("evaluation"),
        spliced=INPUTS.of_valued("spliced"),
        check=INPUTS.checked,
        dropped=READERS.dropped("dictionaries"),
    output:
        csv=report(
            "results/{dataset}_dictionaries.csv",
            **in_report("Dictionaries", "quality of the dictionaries", "dictionaries"),
        ),
        vanilla="results/{dataset}_dictionaries_vanilla.md",
        topk="results/{dataset}_dictionaries_topk.md",
        pointer=f"{REFS}/{{dataset}}/dictionaries.json",
    log:
        "logs/dictionary_table/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.valued),
    conda:
        "../envs/data.yaml"
    resources:
        **needs("dictionary_table"),
    params:
        recipe=RECIPES.of("dictionary_table"),
        chain=expected_chain,
        about=about(OUTLINE, "validation"),
    shell:
        shell_words("dictionary_table")
        + "--name {wildcards.dataset} --inputs evaluation {input.evaluation}"
        " --inputs spliced {input.spliced} --inputs check {input.check}"
        " --export all/csv={output.csv} all/vanilla={output.vanilla} all/topk={output.topk}"
        " --pointer {output.pointer}"


rule sparsity_figure:
    input:
        spliced=INPUTS.of_valued("spliced"),
        dropped=READERS.dropped("dictionaries"),
    output:
        csv=report(
            "results/{dataset}_sparsity.csv",
            **in_report("Dictionaries", "L0 on every token, all columns", "sparsity"),
        ),
        figure=report(
            "results/{dataset}_sparsity.png",
            **in_report("Dictionaries", "L0 on every token", "sparsity"),
        ),
        pointer=f"{REFS}/{{dataset}}/sparsity.json",
    log:
        "logs/sparsity_figure/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.valued),
    conda:
        "../envs/data.yaml"
    resources:
        **needs("sparsity_figure"),
    params:
        recipe=RECIPES.of("sparsity_figure"),
        chain=expected_chain,
        about=about(OUTLINE, "validation"),
    shell:
        shell_words("sparsity_figure")
        + "--name {wildcards.dataset} --inputs spliced {input.spliced}"
        " --export all/csv={output.csv} all/figure={output.figure} --pointer {output.pointer}"


rule control_table:
    input:
        table=f"{REFS}/{{dataset}}/table.json",
        control=INPUTS.of_trained("control"),
        dropped=READERS.dropped("negative_control"),
    output:
        csv=report(
            "results/{dataset}_negative_control.csv",
            **in_report(
                "Controls", "negative control, all columns", "negative_control"
            ),
        ),
        markdown="results/{dataset}_negative_control.md",
        html=report(
            "results/{dataset}_negative_control.html",
            **in_report("Controls", "negative control", "negative_control"),
        ),
        pointer=f"{REFS}/{{dataset}}/negative_control.json",
    log:
        "logs/control_table/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tables),
    conda:
        "../envs/data.yaml"
    resources:
        **needs("control_table"),
    params:
        recipe=RECIPES.of("control_table"),
        chain=expected_chain,
        about=about(OUTLINE),
    shell:
        shell_words("control_table")
        + "--name {wildcards.dataset} --input table={input.table} --inputs control {input.control}"
        " --export all/csv={output.csv} all/markdown={output.markdown} all/html={output.html} --pointer {output.pointer}"


rule best_per_layer:
    input:
        expand(f"{REFS}/{{dataset}}/table.json", dataset=OUTLINE.tables),
    output:
        csv=report(
            "results/table1.csv",
            **in_report("Result", "Table 1, all columns", "table1", dataset="all"),
        ),
        markdown="results/table1.md",
        html=report(
            "results/table1.html",
            **in_report("Result", "Table 1", "table1", dataset="all"),
        ),
        pointer=f"{REFS}/table1.json",
    log:
        "logs/best_per_layer.log",
    conda:
        "../envs/data.yaml"
    resources:
        **needs("best_per_layer"),
    params:
        recipe=RECIPES.of("best_per_layer"),
        chain=expected_chain,
    shell:
        shell_words("best_per_layer")
        + COMMANDS.tables()
        + " --export all/csv={output.csv} all/markdown={output.markdown} all/html={output.html} --pointer {output.pointer}"


rule baseline_table:
    input:
        readout=f"{REFS}/{{dataset}}/readout.json",
        directed=INPUTS.of_directions("baselines"),
        steered=INPUTS.of_trained("baselines"),
        pairs=INPUTS.pairs,
        dropped=READERS.dropped("baselines"),
    output:
        csv=report(
            "results/{dataset}_baselines.csv",
            **in_report("Controls", "baselines, all columns", "baselines"),
        ),
        markdown="results/{dataset}_baselines.md",
        html=report(
            "results/{dataset}_baselines.html",
            **in_report("Controls", "baselines", "baselines"),
        ),
        figure=report(
            "results/{dataset}_baselines.png",
            **in_report("Controls", "baselines: gain against loss", "baselines"),
        ),
        pointer=f"{REFS}/{{dataset}}/baselines.json",
    log:
        "logs/baseline_table/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tables),
    conda:
        "../envs/data.yaml"
    resources:
        **needs("baseline_table"),
    params:
        recipe=RECIPES.of("baseline_table"),
        chain=expected_chain,
        about=about(OUTLINE),
    shell:
        shell_words("baseline_table")
        + "--name {wildcards.dataset} --input readout={input.readout}"
        " --inputs directed {input.directed} --inputs steered {input.steered}"
        " --inputs pairs {input.pairs}"
        " --export all/csv={output.csv} all/markdown={output.markdown} all/html={output.html} all/figure={output.figure}"
        " --pointer {output.pointer}"


rule pairs_figure:
    input:
        baselines=f"{REFS}/{{dataset}}/baselines.json",
    output:
        figure=report(
            "results/{dataset}_pairs.png",
            **in_report("Controls", "true effect against an edit's", "pairs"),
        ),
        pointer=f"{REFS}/{{dataset}}/pairs_figure.json",
    log:
        "logs/pairs_figure/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.paired),
    conda:
        "../envs/data.yaml"
    resources:
        **needs("pairs_figure"),
    params:
        recipe=RECIPES.of("pairs_figure"),
        chain=expected_chain,
        about=about(OUTLINE),
    shell:
        shell_words("pairs_figure")
        + "--name {wildcards.dataset} --input baselines={input.baselines}"
        " --export all/figure={output.figure} --pointer {output.pointer}"


rule storage_effect:
    input:
        model=INPUTS.model,
        head=f"{REFS}/{{dataset}}/head.json",
        shards=f"{REFS}/{{dataset}}/activations/test/shards.json",
        world=INPUTS.world,
        dictionary=INPUTS.trained_of_table,
        selection=INPUTS.of_table("selection"),
        ablation=INPUTS.of_table("ablation"),
    output:
        csv=report(
            "results/{dataset}_storage.csv",
            **in_report("Controls", "what storing activations changes", "storage"),
        ),
        pointer=f"{REFS}/{{dataset}}/storage.json",
    log:
        "logs/storage_effect/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tables),
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("storage_effect"),
    params:
        recipe=RECIPES.of("storage_effect"),
        chain=expected_chain,
        about=about(OUTLINE),
    shell:
        shell_words("storage_effect")
        + "--name {wildcards.dataset} --input model={input.model} --input head={input.head}"
        " --input shards={input.shards} --inputs world/{wildcards.dataset} {input.world}"
        " --inputs dictionary {input.dictionary}"
        " --inputs selection {input.selection} --inputs ablation {input.ablation}"
        " --export all/csv={output.csv} --pointer {output.pointer}"


# What features answer to: a page for the browser, and the paper's Figures 2 and 10.


rule feature_page:
    input:
        model=INPUTS.model,
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        shards=f"{REFS}/{{dataset}}/activations/{config['explorer']['split']}/shards.json",
        world=INPUTS.world,
        top_images=INPUTS.of_table("top_images"),
        painted=INPUTS.painted_pairs(config["explorer"]["split"]),
        image_views=INPUTS.image_views,
        comparison=INPUTS.comparisons,
        dropped=READERS.dropped("features"),
    output:
        page=report(
            "results/{dataset}_features/index.html",
            **in_report("Features", "explorer", "features"),
        ),
        pointer=f"{REFS}/{{dataset}}/features.json",
    log:
        "logs/feature_page/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tables),
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("feature_page"),
    params:
        recipe=RECIPES.of("feature_page"),
        chain=expected_chain,
        about=about(OUTLINE, config["explorer"]["split"]),
    shell:
        shell_words("feature_page")
        + "--name {wildcards.dataset} --input model={input.model} --input manifest={input.manifest}"
        " --input shards={input.shards} --inputs world/{wildcards.dataset} {input.world}"
        " --inputs top_images {input.top_images} --inputs painted {input.painted}"
        " --inputs image_views {input.image_views} --inputs comparison {input.comparison}"
        " --export all/page={output.page} --pointer {output.pointer}"


rule top_images_figure:
    input:
        model=INPUTS.model,
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        shards=f"{REFS}/{{dataset}}/activations/{config['explorer']['split']}/shards.json",
        selection=INPUTS.of_table("selection"),
        world=INPUTS.world,
        top_images=INPUTS.of_table("top_images"),
        dropped=READERS.dropped("features"),
    output:
        figure=report(
            "results/{dataset}_top_images.png",
            **in_report("Features", "top images", "top_images"),
        ),
        pointer=f"{REFS}/{{dataset}}/top_images_figure.json",
    log:
        "logs/top_images_figure/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tables),
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("top_images_figure"),
    params:
        recipe=RECIPES.of("top_images_figure"),
        chain=expected_chain,
        about=about(OUTLINE, config["explorer"]["split"]),
    shell:
        shell_words("top_images_figure")
        + "--name {wildcards.dataset} --input model={input.model} --input manifest={input.manifest}"
        " --input shards={input.shards} --inputs world/{wildcards.dataset} {input.world}"
        " --inputs selection {input.selection} --inputs top_images {input.top_images}"
        " --export all/figure={output.figure} --pointer {output.pointer}"


# Figure 1: what an edit does to single images.


rule edited_images:
    input:
        model=INPUTS.model,
        head=f"{REFS}/{{dataset}}/head.json",
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        shards=f"{REFS}/{{dataset}}/activations/{config['explorer']['split']}/shards.json",
        world=INPUTS.world,
        dictionary=INPUTS.trained_of_table,
        selection=INPUTS.of_table("selection"),
    output:
        figure=report(
            "results/{dataset}_edited_images.png",
            **in_report("Result", "what an edit does to images", "edited_images"),
        ),
        pointer=f"{REFS}/{{dataset}}/edited_images.json",
    log:
        "logs/edited_images/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tables),
    conda:
        "../envs/clip.yaml"
    threads: config["runtime"]["threads"]
    resources:
        **needs("edited_images"),
    params:
        recipe=RECIPES.of("edited_images"),
        chain=expected_chain,
        about=about(OUTLINE, config["explorer"]["split"]),
    shell:
        shell_words("edited_images")
        + "--name {wildcards.dataset} --input model={input.model} --input head={input.head}"
        " --input manifest={input.manifest} --input shards={input.shards}"
        " --inputs world/{wildcards.dataset} {input.world}"
        " --inputs dictionary {input.dictionary} --inputs selection {input.selection}"
        " --export all/figure={output.figure} --pointer {output.pointer}"


# How precisely features steer the model's output: Equations 4 to 8, Figures 5, 6, 7 and 9.


rule steerability_table:
    input:
        vocabulary=INPUTS.vocabulary,
        steered=INPUTS.of_table("steerability"),
        random=INPUTS.of_directions("steerability"),
        dropped=READERS.dropped("steerability"),
    output:
        csv=report(
            "results/{dataset}_steerability.csv",
            **in_report("Steerability", "of every feature", "steerability"),
        ),
        layers=report(
            "results/{dataset}_steerability_layers.csv",
            **in_report("Steerability", "by layer, all columns", "steerability"),
        ),
        markdown="results/{dataset}_steerability.md",
        html=report(
            "results/{dataset}_steerability.html",
            **in_report("Steerability", "what was found", "steerability"),
        ),
        curves=report(
            "results/{dataset}_steerability_curves.png",
            **in_report("Steerability", "against the strength", "steerability"),
        ),
        histogram=report(
            "results/{dataset}_steerability_histogram.png",
            **in_report(
                "Steerability", "how many features are how steerable", "steerability"
            ),
        ),
        by_layer=report(
            "results/{dataset}_steerability_layers.png",
            **in_report("Steerability", "by layer", "steerability"),
        ),
        words=report(
            "results/{dataset}_steerability_words.png",
            **in_report("Steerability", "words along the strength", "steerability"),
        ),
        pointer=f"{REFS}/{{dataset}}/steerability.json",
    log:
        "logs/steerability_table/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.tables),
    conda:
        "../envs/clip.yaml"
    resources:
        **needs("steerability_table"),
    params:
        recipe=RECIPES.of("steerability_table"),
        chain=expected_chain,
        about=about(OUTLINE, config["steerability"]["split"]),
    shell:
        shell_words("steerability_table")
        + "--name {wildcards.dataset} --input vocabulary={input.vocabulary}"
        " --inputs steered {input.steered} --inputs random {input.random}"
        " --export all/csv={output.csv} all/layers={output.layers} all/markdown={output.markdown} all/html={output.html}"
        " all/curves={output.curves} all/histogram={output.histogram} all/by_layer={output.by_layer}"
        " all/words={output.words} --pointer {output.pointer}"


# Grids: every point by quality, with the front. Steered only where sweep.steer says so.


rule sweep_table:
    input:
        evaluation=INPUTS.of_points("evaluation"),
        evaluation_test=INPUTS.of_points("evaluation_test"),
        spliced=INPUTS.of_points("spliced"),
        selection=INPUTS.of_steered_points("selection"),
        ablation=INPUTS.of_steered_points("ablation"),
        dropped=READERS.dropped("sweep"),
    output:
        csv=report(
            "results/{dataset}_sweep.csv",
            **in_report("Dictionaries", "grids, all columns", "sweep"),
        ),
        figure=report(
            "results/{dataset}_pareto.png",
            **in_report("Dictionaries", "grids by quality", "sweep"),
        ),
        pointer=f"{REFS}/{{dataset}}/sweep.json",
    log:
        "logs/sweep_table/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.swept),
    conda:
        "../envs/data.yaml"
    resources:
        **needs("sweep_table"),
    params:
        recipe=RECIPES.of("sweep_table"),
        chain=expected_chain,
        about=about(OUTLINE, "validation"),
    shell:
        shell_words("sweep_table")
        + "--name {wildcards.dataset} --inputs evaluation {input.evaluation}"
        " --inputs evaluation_test {input.evaluation_test} --inputs spliced {input.spliced}"
        " --inputs selection {input.selection} --inputs ablation {input.ablation}"
        " --export all/csv={output.csv} all/figure={output.figure} --pointer {output.pointer}"


rule stability_table:
    input:
        likeness=INPUTS.likeness,
        selection=INPUTS.of_compared("selection"),
        ablation=INPUTS.of_compared("ablation"),
        recovery=INPUTS.recovery,
        dropped=READERS.dropped("stability"),
    output:
        csv=report(
            "results/{dataset}_stability.csv",
            **in_report("Dictionaries", "how alike dictionaries are", "stability"),
        ),
        markdown="results/{dataset}_stability.md",
        pointer=f"{REFS}/{{dataset}}/stability.json",
    log:
        "logs/stability_table/{dataset}.log",
    wildcard_constraints:
        dataset=one_of(OUTLINE.swept),
    conda:
        "../envs/data.yaml"
    resources:
        **needs("stability_table"),
    params:
        recipe=RECIPES.of("stability_table"),
        chain=expected_chain,
        about=about(OUTLINE, "validation"),
    shell:
        shell_words("stability_table")
        + "--name {wildcards.dataset} --inputs likeness {input.likeness}"
        " --inputs selection {input.selection} --inputs ablation {input.ablation}"
        " --inputs recovery {input.recovery}"
        " --export all/csv={output.csv} all/markdown={output.markdown} --pointer {output.pointer}"
