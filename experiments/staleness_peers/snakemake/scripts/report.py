"""Puts the branches side by side."""
# ruff: noqa: F821 (Snakemake gives the script its `snakemake`)

import json
from pathlib import Path

from tally import ran

ran("report")
report = {Path(path).parent.name: json.loads(Path(path).read_text()) for path in snakemake.input}
Path(snakemake.output[0]).write_text(json.dumps(report, indent=1) + "\n")
