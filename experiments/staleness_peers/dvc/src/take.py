"""Takes the numbers below the limit out of the raw file."""

import json
from pathlib import Path

import yaml
from tally import ran

params = yaml.safe_load(Path("params.yaml").read_text())

ran("numbers")
limit = params["limit"]
lines = Path("raw/numbers.txt").read_text().split()
numbers = [number for number in map(int, lines) if number < limit]
Path("work").mkdir(exist_ok=True)
Path("work/numbers.json").write_text(json.dumps(numbers))
