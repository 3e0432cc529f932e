"""Scales the numbers of one branch."""
# ruff: noqa: F821 (Snakemake gives the script its `snakemake`)

import json
from pathlib import Path

from scaling import scaled
from tally import ran

ran(f"transform_{snakemake.wildcards.branch}")
offset, factor = snakemake.params.offset, snakemake.params.factor
numbers = json.loads(Path(snakemake.input[0]).read_text())
values = [scaled(number, offset, factor) for number in numbers]
Path(snakemake.output[0]).write_text(json.dumps(values))
