"""What the store's commands say to people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from clipsteer.cli.common import columns, size
from clipsteer.cli.words import count, duration, short
from clipsteer.lineage.listing import Listed
from clipsteer.store.gc import Report
from clipsteer.store.usage import Amount, Usage
from clipsteer.store.verify import Result

_ENTRIES = 20
_LINES = 10


def list_lines(rows: Sequence[Listed]) -> list[str]:
    """A table of actions."""
    if not rows:
        return ["no actions on record"]
    table = [["KEY", "STEP", "ABOUT", "WHEN", "TIME", "BYTES", "OBJECTS"]]
    for row in rows:
        here = f"{row.missing} of {row.objects} missing" if row.missing else "complete"
        table.append(
            [
                short(row.key),
                row.step,
                row.label,
                _when(row.began),
                duration(row.seconds),
                size(row.bytes),
                here,
            ]
        )
    total = f"{count(len(rows), 'action')}, {duration(sum(row.seconds for row in rows))}"
    return [*columns(table, "    >>"), total]


def record_lines(about: Mapping[str, Any]) -> Iterator[str]:
    """All about an action."""
    run = about["run"]
    yield f"action  {about['key']}"
    yield f"step    {about['label']}"
    yield f"code    {about['code']}"
    if run:
        told = [_when(str(run.get("began", ""))), duration(float(run.get("seconds", 0)))]
        told += [str(run[name]) for name in ("host", "device") if run.get(name)]
        if run.get("peak_rss_mb"):
            told.append(f"peak memory {size(int(run['peak_rss_mb']) * 2**20)}")
        yield f"run     {', '.join(filter(None, told))}"
    yield "inputs" if about["inputs"] else "inputs  none"
    rows = []
    for name, made in about["inputs"].items():
        makers = [f"{short(m['key'])} {m['label']}" for m in made["producers"]]
        rows.append([f"  {name}", short(made["digest"]), "; ".join(makers) or "no action made it"])
    yield from columns(rows) if rows else ()
    yield "outputs" if about["outputs"] else "outputs none"
    rows = [
        [
            f"  {name}",
            short(output["digest"]),
            output["kind"],
            size(output["size"]),
            "" if output["here"] else "missing; remade when needed",
        ]
        for name, output in about["outputs"].items()
    ]
    yield from columns(rows, "   >") if rows else ()
    for name in ("facts", "recipe"):
        yield name
        yield from (f"  {line}" for line in json.dumps(about[name], indent=1).splitlines())


def object_lines(about: Mapping[str, Any]) -> Iterator[str]:
    """All about an object."""
    yield f"object  {about['digest']}"
    if not about["here"]:
        yield f"        {about['fault']}"
    else:
        yield f"kind    {about['kind']}, {size(about['bytes'])}"
    for number, maker in enumerate(about["producers"]):
        yield f"{'' if number else 'made by':8}{short(maker['key'])} {maker['label']}"
    if not about["producers"]:
        yield "made by no action on record"
    entries = list(about.get("entries", {}).items())
    if entries:
        yield f"entries {len(entries):,}, {size(sum(e['size'] for _, e in entries))}"
        rows = [
            [f"  {name}", short(entry["digest"]), entry["kind"], size(entry["size"])]
            for name, entry in entries[:_ENTRIES]
        ]
        yield from columns(rows, "   >")
        if len(entries) > _ENTRIES:
            yield f"  and {len(entries) - _ENTRIES:,} more (--json shows all)"


def usage_lines(found: Usage) -> Iterator[str]:
    """Where the bytes are."""
    table = [["STEP", "ACTIONS", "OBJECTS", "BYTES", "OWN", "MISSING"]]
    for name, step in sorted(found.steps.items(), key=lambda item: -item[1].all.bytes):
        table.append(
            [
                name,
                f"{step.records:,}",
                f"{step.all.files:,}",
                size(step.all.bytes),
                size(step.own.bytes),
                f"{step.missing:,}" if step.missing else "",
            ]
        )
    if found.steps:
        yield from columns(table, " >>>>>")
        yield "OWN: objects that no other step's results use"
        yield ""
    rows = [("objects", found.objects)]
    rows += [(f"  {kind}s", amount) for kind, amount in found.kinds.items()]
    rows += [("  shared by steps", found.shared), ("  no action names", found.unnamed)]
    rows += list(found.folders.items())
    yield from columns([_amount(name, amount) for name, amount in rows], " >>")
    if found.peak is not None:
        yield f"peak: {size(found.peak.bytes)} of objects, {_when(found.peak.when)}"
    if found.roots:
        yield ""
        roots = [["WORKING COPY", "POINTERS", "PLACE"]]
        for root in found.roots:
            place = f"{root['host']}:{root['path']}"
            roots.append([str(root["id"]), f"{root['pointers']:,}", place])
        yield from columns(roots, " >")


def _amount(name: str, amount: Amount) -> list[str]:
    return [name, f"{amount.files:,}", size(amount.bytes)]


def verify_lines(found: Result) -> Iterator[str]:
    """What was looked at, and what was found."""
    yield (
        f"hashed {count(found.checked, 'object')} ({size(found.bytes)}), checked "
        f"{count(found.records, 'record')} and {count(found.pointers, 'pointer')}"
    )
    if found.sound_lately:
        yield f"{count(found.sound_lately, 'object')} found sound in the last 30 days (--all: again)"
    if found.left:
        yield f"{count(found.left, 'object')} left for the next time: the budget ran out"
    for digest in found.damaged:
        yield f"damaged object {digest}: in quarantine/, remade when needed"
    for key in found.damaged_records:
        yield f"damaged record {key}: in quarantine/, its action is computed again when needed"
    for path in found.mended:
        yield f"mended {path}"
    for fault in found.faults:
        yield f"fault: {fault}"
    if found.missing:
        steps = Counter(missing.step for missing in found.missing)
        parts = ", ".join(f"{number:,} of {step}" for step, number in sorted(steps.items()))
        yield f"{count(len(found.missing), 'object')} not here, remade when needed: {parts}"
    yield "all sound" if found.sound else "not all is sound"


def gc_lines(found: Report, trash_days: float) -> Iterator[str]:
    """What went, or would go."""
    would = "would " if found.dry_run else ""
    by_kind = Counter(item.kind for item in found.trashed)
    total = size(sum(item.bytes for item in found.trashed))
    yield (
        f"{would}move{'' if would else 'd'} to trash/: {count(by_kind['record'], 'record')}, "
        f"{count(by_kind['object'], 'object')}, {total}"
    )
    steps = Counter(item.step for item in found.trashed if item.kind == "record")
    for step, number in sorted(steps.items()):
        yield f"  {step}: {count(number, 'action')}"
    if found.brought_back:
        yield f"{would}bring back from trash/: {count(found.brought_back, 'file')}, needed after all"
    if found.deleted:
        yield f"{would}delete for good: {count(found.deleted, 'file')}, {size(found.freed)}"
    if found.temporary:
        left = f"{count(found.temporary, 'file')}, {size(found.temporary_bytes)}"
        yield f"{would}remove what dead processes left: {left}"
    if found.young:
        yield f"too young to go: {count(found.young, 'file')}, {size(found.young_bytes)}"
    if found.waiting:
        days = f"{trash_days:g} day{'' if trash_days == 1 else 's'}"
        after = "the next gc" if not trash_days else f"a gc after {days}"
        yield (
            f"in trash/: {count(found.waiting, 'file')}, {size(found.waiting_bytes)}; {after} "
            "deletes what nobody has asked for"
        )
    yield f"{'would free' if would else 'freed'} {size(found.freed + found.temporary_bytes)}"


def rm_lines(gone: Mapping[str, Any]) -> Iterator[str]:
    """What was taken away."""
    would = "would " if gone["dry_run"] else ""
    for key in gone["actions"][:_LINES]:
        yield f"{would}forget {key}"
    if len(gone["actions"]) > _LINES:
        yield f"{would}forget {len(gone['actions']) - _LINES:,} more actions"
    if gone["object"]:
        yield f"{would}take away {gone['object']}; it is remade when needed"
    if gone["pointers"]:
        yield "pointers that still name the results; delete them to have these computed anew:"
        yield from (f"  {path}" for path in gone["pointers"])
    if not gone["dry_run"]:
        yield "what was taken away lies in trash/ until gc deletes it"


def _when(began: str) -> str:
    """A recorded time in the local zone, to the minute."""
    try:
        return datetime.fromisoformat(began).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return began
