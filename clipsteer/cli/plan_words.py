"""A forecast in words for people, grouped by step in the order of the DAG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from clipsteer.cli.words import duration, fold, reason_words, value_words
from clipsteer.lineage.foreseen import DagJob, Forecast, PlannedAction
from clipsteer.lineage.guess import MORE, is_pending
from clipsteer.lineage.reasons import Reason, is_token
from clipsteer.store.roots import REFS

# Wildcards whose values the members say more exactly.
_IN_MEMBERS = ("block", "part")
_LISTED = 6
_STYLES = {
    "computed": "bold yellow",
    "pending": "yellow",
    "restored": "green",
    "gone": "dim",
    "remade": "bold magenta",
    "fault": "bold red",
}
_WIDTH = max(map(len, _STYLES)) + 2

Verdict = tuple[str, tuple[str, ...]]  # and why
Line = list[tuple[str, str]]  # pieces of text, each with its style


def show(found: Forecast) -> None:
    """Print a forecast, in colours where there is a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for line in lines(found):
        console.print(Text.assemble(*line))


def lines(found: Forecast) -> Iterator[Line]:
    """The whole text."""
    for step, rows in _by_step(found).items():
        yield [(step, "bold")]
        for (verdict, why), labels in rows.items():
            yield from _row(verdict, _short("; ", fold(labels)), why)
        yield []
    yield from _remade(found)
    for fault in found.faults:
        yield from _row("fault", fault)
    yield from ([(line, "")] for line in _rest(found))
    yield [(closing(found), "bold")]


def _row(word: str, text: str, why: Iterable[str] = ()) -> Iterator[Line]:
    """A word, what it is said of, and why."""
    padding = " " * (_WIDTH - len(word)) if text else ""
    yield [("  ", ""), (word, _STYLES[word]), (padding + text, "")]
    listed = list(why)
    if len(listed) > _LISTED:
        listed[_LISTED:] = [f"and {len(listed) - _LISTED} more reasons (--json has them)"]
    yield from ([(" " * (_WIDTH + 2) + line, "")] for line in listed)


def closing(found: Forecast) -> str:
    """The last line: `clipsteer: would compute 2, restore 0, remake 0, fresh 58`."""
    numbers = found.counts()
    words = [
        f"{verb} {_between(*numbers[verdict], found.more and verdict == 'computed')}"
        for verb, verdict in (
            ("compute", "computed"),
            ("restore", "restored"),
            ("remake", "remade"),
        )
    ]
    return f"clipsteer: would {', '.join(words)}, fresh {numbers['fresh'][0]}"


def _between(low: int, high: int, more: bool) -> str:
    text = str(low) if low == high else f"between {low} and {high}"
    return f"{text} or more" if more else text


# ---- what Snakemake runs


def _by_step(found: Forecast) -> dict[str, dict[Verdict, list[str]]]:
    """Labels of the actions that are not fresh, by step, verdict and reasons.

    A step comes after every step that it depends on: at the place of its last job.
    """
    steps: dict[str, dict[Verdict, list[str]]] = {}
    order = {action.step: None for job in reversed(found.jobs) for action in job.actions}
    for step in reversed(order):
        steps[step] = {}
    for planned in found.jobs:
        for action in planned.actions:
            if action.verdict != "fresh":
                row = (action.verdict, tuple(_why(found, planned.job, action)))
                labels = steps[action.step].setdefault(row, [])
                labels.append(_place(planned.job, action.member))
        if planned.gone and planned.actions:
            gone = steps[planned.actions[0].step].setdefault(("gone", ()), [])
            gone += [_place(planned.job, member) for member in planned.gone]
    return {step: rows for step, rows in steps.items() if rows}


def _place(job: DagJob, member: str) -> str:
    """Where an action belongs, such as `celeba topk/layer_03`, so that it folds with its like."""
    above, _, last = member.rpartition("/")
    words = [
        value
        for name, value in job.wildcards.items()
        if name not in _IN_MEMBERS and value not in ("", above)
    ]
    if last == MORE:
        member = above
    return " ".join(words if member in ("all", "") else [*words, member])


def _why(found: Forecast, job: DagJob, action: PlannedAction) -> list[str]:
    """Why an action is not fresh, one line each."""
    if action.more:
        return [f"how many there are depends on what comes out of {_deciders(found, action)}"]
    lines, inputs = list[str](), dict[str, list[Reason]]()
    for reason in action.reasons:
        origin = found.origin(reason)
        if origin and not is_pending(reason.new):
            inputs.setdefault(origin, []).append(reason)
        elif not origin:
            lines.append(reason_words(reason, action.step, action.name))
    for origin, reasons in inputs.items():
        names = fold(reason.name for reason in reasons)
        change = f": {value_words(reasons[0].old)} -> {value_words(reasons[0].new)}"
        lines.append(
            f"input {_short(', ', names)} of {origin}{change if len(reasons) == 1 else ''}"
        )
    if action.verdict != "restored" and action.before is None:
        lines.append("nothing like it is on record")
    if action.verdict == "restored" and not lines:
        lines.append(snakemake_words(job.reason))
    if action.verdict == "pending":
        lines.append(f"depends on what comes out of {_deciders(found, action)}")
    return lines or [
        f"what comes out of {_deciders(found, action)} is used here for the first time"
    ]


def _deciders(found: Forecast, action: PlannedAction) -> str:
    """The steps that an action waits for, in the order of the DAG."""
    origins = {found.origins.get(key, key) for key in action.waits}
    jobs = [planned.job for planned in found.jobs if planned.job.title in origins]
    return ", ".join(dict.fromkeys(job.rule for job in jobs))


def snakemake_words(reason: Mapping[str, Any]) -> str:
    """The reason for running a job, ours (workflow/chains.py) or Snakemake's, in plain words."""
    if reason["stale"]:
        return str(reason["stale"])
    if missing := [path for path in reason["missing"] if not path.startswith(f"{REFS}/")]:
        return f"missing: {_short(', ', missing)}"
    if reason["missing"]:
        return "its pointer is missing"
    if reason["params_changed"]:
        return "its recipe changed"
    if reason["inputs_changed"]:
        return "it has other input files"
    if updated := reason["updated"]:
        return f"{updated[0]} is newer than it"
    if reason["forced"]:
        return "its last run was interrupted"
    return "a job before it runs"


# ---- the rest


def _remade(found: Forecast) -> Iterator[Line]:
    """What has to be executed again, by who needs it."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for remade in found.remade:
        groups.setdefault((remade.needed, remade.certain), []).append(remade.label)
    if groups:
        yield [("objects that are not in the store", "bold")]
    for (needed, certain), labels in groups.items():
        condition = "" if certain else ", if that is computed"
        yield from _row("remade", _short("; ", fold(labels)), [f"needed by {needed}{condition}"])
    for remade in found.remade:
        if remade.changed:
            why = "its code has changed since: the run stops if it gives other bytes now"
            yield from _row("fault", remade.label, [why])
    if groups:
        yield []


def _rest(found: Forecast) -> Iterator[str]:
    """What is fresh, and how long it will take."""
    steps = Counter(action.step for action in found.actions("fresh"))
    if steps:
        yield f"fresh: {', '.join(f'{step} {number}' for step, number in steps.items())}"
    yield from _time(found)


def _time(found: Forecast) -> Iterator[str]:
    """How long it will take, by earlier runs; of what has no precedent that is unknown."""
    sure, perhaps = found.seconds()
    at_most = f", at most {duration(perhaps)}" if perhaps > sure else ""
    if untimed := found.untimed():
        places = dict.fromkeys(f"{j.job.rule} {_place(j.job, '')}".strip() for j in untimed)
        rules = dict.fromkeys(j.job.rule for j in untimed)
        like = "; ".join(places if len(places) <= _LISTED else rules)
        yield f"time unknown: nothing on record to go by for {like}"
        if perhaps:
            yield f"all else took {duration(sure)}{at_most} in earlier runs"
    elif perhaps:
        other = "; those had other settings or data" if _other(found) else ""
        yield f"about {duration(sure)} of computing by earlier runs{at_most}{other}"


def _other(found: Forecast) -> bool:
    """Whether what will be computed differs in more than code from what was: it may take longer."""
    return any(
        reason.kind == "config" or is_token(reason.new)
        for action in found.actions("computed")
        for reason in action.reasons
    )


def _short(separator: str, items: list[str]) -> str:
    more = f"{separator}{len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return separator.join(items[:_LISTED]) + more
