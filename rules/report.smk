# The tables, the figure and the summary that people read.


rule make_table:
    input:
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        evaluation=INPUTS.of_table("evaluation"),
        selection=INPUTS.of_table("selection"),
        ablation=INPUTS.of_table("ablation"),
        dropped=INPUTS.dropped("table"),
    output:
        **EXPORTS["table"],
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
        recipe=RECIPES.make_table,
        chain=expected_chain,
    shell:
        shell_words("make_table")
        + "--name {wildcards.dataset} --input manifest={input.manifest}"
        " --inputs evaluation {input.evaluation}"
        " --inputs selection {input.selection} --inputs ablation {input.ablation} --export "
        + " ".join(f"all/{name}={{output.{name}}}" for name in EXPORTS["table"])
        + " --pointer {output.pointer}"


rule control_table:
    input:
        table=f"{REFS}/{{dataset}}/table.json",
        control=INPUTS.of_trained("control"),
        dropped=INPUTS.dropped("negative_control"),
    output:
        **EXPORTS["negative_control"],
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
        recipe=RECIPES.control_table,
        chain=expected_chain,
    shell:
        shell_words("control_table")
        + "--name {wildcards.dataset} --input table={input.table} --inputs control {input.control}"
        " --export all/csv={output.csv} --pointer {output.pointer}"


rule baseline_table:
    input:
        readout=f"{REFS}/{{dataset}}/readout.json",
        directed=INPUTS.directed,
        steered=INPUTS.of_trained("baselines"),
        dropped=INPUTS.dropped("baselines"),
    output:
        **EXPORTS["baselines"],
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
        recipe=RECIPES.baseline_table,
        chain=expected_chain,
    shell:
        shell_words("baseline_table")
        + "--name {wildcards.dataset} --input readout={input.readout}"
        " --inputs directed {input.directed} --inputs steered {input.steered} --export "
        + " ".join(f"all/{name}={{output.{name}}}" for name in EXPORTS["baselines"])
        + " --pointer {output.pointer}"
