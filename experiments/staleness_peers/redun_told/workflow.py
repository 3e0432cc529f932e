"""The toy chain as redun tasks, with all that redun offers.

Values instead of files between tasks, input files by content, and the helper and the dependency's version
named in the hash of each task that uses them.
"""

import json
from importlib.metadata import version

import yaml
from redun import File, task
from redun.file import ContentFile
from scaling import scaled
from tally import ran
from toydep import rounded

redun_namespace = "toy"
BRANCHES = ("a", "b")


@task()
def take(raw: ContentFile, limit: int) -> list[int]:
    """Takes the numbers below the limit out of the raw file."""
    ran("numbers")
    lines = raw.read().split()
    numbers = [number for number in map(int, lines) if number < limit]
    return numbers


@task(hash_includes=[scaled])
def transform(branch: str, numbers: list[int], offset: int, factor: int) -> list[float]:
    """Scales the numbers of one branch."""
    ran(f"transform_{branch}")
    values = [scaled(number, offset, factor) for number in numbers]
    return values


@task(hash_includes=[scaled, version("toydep")])
def summary(branch: str, values: list[float], rate: float) -> float:
    """Learns one weight from the scaled numbers of one branch."""
    ran(f"summary_{branch}")
    weight = 0.0
    for value in values:
        weight += rate * (value - weight)
    return rounded(scaled(weight, 0, 100))


@task()
def report(percents: dict[str, float]) -> str:
    """Puts the branches side by side."""
    ran("report")
    found = {branch: {"percent": percent} for branch, percent in percents.items()}
    return json.dumps(found, indent=1) + "\n"


@task()
def save(text: str) -> File:
    """Writes the report for people; no step of its own."""
    file = File("results/report.json")
    file.write(text)
    return file


@task()
def main(
    config: ContentFile = ContentFile("config.yaml"),  # noqa: B008
    raw: ContentFile = ContentFile("raw/numbers.txt"),  # noqa: B008
) -> File:
    """The whole chain."""
    settings = yaml.safe_load(config.read())
    numbers = take(raw, settings["limit"])
    percents = {}
    for branch in BRANCHES:
        own = settings["branches"][branch]
        values = transform(branch, numbers, own["offset"], own["factor"])
        percents[branch] = summary(branch, values, own["rate"])
    return save(report(percents))
