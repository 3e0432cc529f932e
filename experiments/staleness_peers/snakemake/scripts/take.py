"""Takes the numbers below the limit out of the raw file."""
# ruff: noqa: F821 (Snakemake gives the script its `snakemake`)

import json
from pathlib import Path

from tally import ran

ran("numbers")
limit = snakemake.params.limit
lines = Path(snakemake.input[0]).read_text().split()
numbers = [number for number in map(int, lines) if number < limit]
Path(snakemake.output[0]).write_text(json.dumps(numbers))
