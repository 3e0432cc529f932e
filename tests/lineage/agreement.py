"""Whether what was foreseen (`clipsteer plan --json`) is what then happened, by the jobs' own logs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_EVENT = re.compile(r"^(computed|remade) (.+) (blake3:[0-9a-f]{64}|sha256:[0-9a-f]{64})$", re.M)
_COUNTS = re.compile(r"computed=(\d+) restored=(\d+) in ")


@dataclass
class Happened:
    """What the jobs of a run did: by the title of the job, then label -> key."""

    computed: dict[str, dict[str, str]] = field(default_factory=dict)
    restored: Counter[str] = field(default_factory=Counter)
    remade: Counter[str] = field(default_factory=Counter)  # by key

    def log(self, title: str, text: str) -> None:
        """Learn of a job that ran from its log."""
        events = _EVENT.findall(text)
        self.computed[title] = {label: key for how, label, key in events if how == "computed"}
        self.remade.update(key for how, _, key in events if how == "remade")
        counts = _COUNTS.search(text)
        assert counts, f"{title}: {text}"
        assert int(counts[1]) == len(events), text
        self.restored[title] = int(counts[2])


def title(job: Mapping[str, Any]) -> str:
    return " ".join([job["rule"], *job["wildcards"].values()])


def agree(plan: Mapping[str, Any], happened: Happened) -> None:
    """Asserts that every job did what the plan says, action by action."""
    ran = {title(job) for job in plan["jobs"] if job["runs"]}
    assert set(happened.computed) == ran
    for job in plan["jobs"]:
        # which job those of unknown number fall to is not known either
        if job["runs"] and (job["actions"] or not plan["more"]):
            _agree_job(title(job), job["actions"], happened)
    certain = {remade["key"] for remade in plan["remade"] if remade["certain"]}
    assert certain <= set(happened.remade) <= {remade["key"] for remade in plan["remade"]}
    assert set(happened.remade.values()) <= {1}, "remade twice"
    computed = sum(map(len, happened.computed.values()))
    low, high = plan["counts"]["computed"]
    assert low <= computed
    assert computed <= high or plan["more"]


def _agree_job(name: str, actions: list[Mapping[str, Any]], happened: Happened) -> None:
    said: dict[str, dict[str, str | None]] = {"computed": {}, "restored": {}, "pending": {}}
    for action in actions:
        if not action["more"]:
            step, member = action["step"], action["member"]
            label = step if member == "all" else f"{step} {member}"
            said[action["verdict"]][label] = action["key"]
    done = happened.computed[name]
    assert said["computed"].keys() <= done.keys(), name
    assert not said["restored"].keys() & done.keys(), name
    for label, key in (said["computed"] | said["pending"]).items():
        if key is not None and label in done:
            assert done[label] == key, (name, label)
    total = len(done) + happened.restored[name]
    if any(action["more"] for action in actions):
        return
    assert done.keys() <= said["computed"].keys() | said["pending"].keys(), name
    assert total == sum(map(len, said.values())), name
