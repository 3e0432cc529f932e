"""Scales the numbers of one branch."""

import json
import sys
from pathlib import Path

import yaml
from scaling import scaled
from tally import ran

branch = sys.argv[1]
params = yaml.safe_load(Path("params.yaml").read_text())["branches"][branch]

ran(f"transform_{branch}")
offset, factor = params["offset"], params["factor"]
numbers = json.loads(Path("work/numbers.json").read_text())
values = [scaled(number, offset, factor) for number in numbers]
Path(f"work/{branch}").mkdir(exist_ok=True)
Path(f"work/{branch}/transform.json").write_text(json.dumps(values))
