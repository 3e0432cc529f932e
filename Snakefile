import gc

from snakemake.utils import min_version

# What Snakemake has loaded stays until the end: looking through it again and again takes a tenth of an idle run.
gc.freeze()
min_version("9.27")


include: "rules/terminal.smk"
include: "rules/config_files.smk"


configfile: CONFIG_FILE


report: "rules/captions/workflow.rst"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/clip.smk"
include: "rules/activations.smk"
include: "rules/dictionaries.smk"
include: "rules/steering.smk"
include: "rules/typographic.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        expand("results/{dataset}_table.csv", dataset=OUTLINE.tables),
    localrule: True
