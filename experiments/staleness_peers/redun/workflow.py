"""The toy chain as redun tasks that hand files on."""

import json

import yaml
from redun import File, task
from scaling import scaled
from tally import ran
from toydep import rounded

redun_namespace = "toy"
BRANCHES = ("a", "b")


@task()
def take(raw: File, limit: int) -> File:
    """Takes the numbers below the limit out of the raw file."""
    ran("numbers")
    lines = raw.read().split()
    numbers = [number for number in map(int, lines) if number < limit]
    return write("work/numbers.json", numbers)


@task()
def transform(branch: str, taken: File, offset: int, factor: int) -> File:
    """Scales the numbers of one branch."""
    ran(f"transform_{branch}")
    numbers = json.loads(taken.read())
    values = [scaled(number, offset, factor) for number in numbers]
    return write(f"work/{branch}/transform.json", values)


@task()
def summary(branch: str, transformed: File, rate: float) -> File:
    """Learns one weight from the scaled numbers of one branch."""
    ran(f"summary_{branch}")
    weight = 0.0
    for value in json.loads(transformed.read()):
        weight += rate * (value - weight)
    return write(f"work/{branch}/summary.json", {"percent": rounded(scaled(weight, 0, 100))})


@task()
def report(summaries: dict[str, File]) -> File:
    """Puts the branches side by side."""
    ran("report")
    found = {branch: json.loads(file.read()) for branch, file in summaries.items()}
    file = File("results/report.json")
    file.write(json.dumps(found, indent=1) + "\n")
    return file


def write(path: str, value: object) -> File:
    """A file with a value as JSON."""
    file = File(path)
    file.write(json.dumps(value))
    return file


@task()
def main(config: File = File("config.yaml"), raw: File = File("raw/numbers.txt")) -> File:  # noqa: B008
    """The whole chain."""
    settings = yaml.safe_load(config.read())
    taken = take(raw, settings["limit"])
    summaries = {}
    for branch in BRANCHES:
        own = settings["branches"][branch]
        transformed = transform(branch, taken, own["offset"], own["factor"])
        summaries[branch] = summary(branch, transformed, own["rate"])
    return report(summaries)
