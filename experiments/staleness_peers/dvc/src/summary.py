"""Learns one weight from the scaled numbers of one branch."""

import json
import sys
from pathlib import Path

import yaml
from scaling import scaled
from tally import ran
from toydep import rounded

branch = sys.argv[1]
params = yaml.safe_load(Path("params.yaml").read_text())["branches"][branch]

ran(f"summary_{branch}")
rate = params["rate"]
weight = 0.0
for value in json.loads(Path(f"work/{branch}/transform.json").read_text()):
    weight += rate * (value - weight)
summary = {"percent": rounded(scaled(weight, 0, 100))}
Path(f"work/{branch}/summary.json").write_text(json.dumps(summary))
