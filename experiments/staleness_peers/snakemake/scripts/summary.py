"""Learns one weight from the scaled numbers of one branch."""
# ruff: noqa: F821 (Snakemake gives the script its `snakemake`)

import json
from pathlib import Path

from scaling import scaled
from tally import ran
from toydep import rounded

ran(f"summary_{snakemake.wildcards.branch}")
rate = snakemake.params.rate
weight = 0.0
for value in json.loads(Path(snakemake.input[0]).read_text()):
    weight += rate * (value - weight)
summary = {"percent": rounded(scaled(weight, 0, 100))}
Path(snakemake.output[0]).write_text(json.dumps(summary))
