# The tables, the figure and the summary that people read.


rule make_table:
    input:
        manifest=f"{REFS}/{{dataset}}/manifest.json",
        evaluation=table_inputs("evaluation"),
        selection=table_inputs("selection"),
        ablation=table_inputs("ablation"),
        dropped=dropped("table"),
    output:
        **EXPORTS["table"],
        pointer=f"{REFS}/{{dataset}}/table.json",
    log:
        "logs/make_table/{dataset}.log",
    wildcard_constraints:
        dataset="|".join(TABLES) or "none",
    conda:
        "../envs/data.yaml"
    resources:
        **needs("make_table"),
    params:
        recipe=table_recipe,
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
        control=control_inputs,
        dropped=dropped("negative_control"),
    output:
        **EXPORTS["negative_control"],
        pointer=f"{REFS}/{{dataset}}/negative_control.json",
    log:
        "logs/control_table/{dataset}.log",
    wildcard_constraints:
        dataset="|".join(TABLES) or "none",
    conda:
        "../envs/data.yaml"
    resources:
        **needs("control_table"),
    params:
        recipe=control_table_recipe,
        chain=expected_chain,
    shell:
        shell_words("control_table")
        + "--name {wildcards.dataset} --input table={input.table} --inputs control {input.control}"
        " --export all/csv={output.csv} --pointer {output.pointer}"
