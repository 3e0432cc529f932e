"""Puts the branches side by side."""

import json
from pathlib import Path

from tally import ran

ran("report")
report = {b: json.loads(Path(f"work/{b}/summary.json").read_text()) for b in ("a", "b")}
Path("results").mkdir(exist_ok=True)
Path("results/report.json").write_text(json.dumps(report, indent=1) + "\n")
