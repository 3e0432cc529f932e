"""The files around the code agree: hooks with `make lint`, the citation and what is shipped with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from tests.workflow.test_house import LIGHT, MAY_IMPORT, WITHIN

BASE = Path(__file__).parents[1]
PROJECT = tomllib.loads((BASE / "pyproject.toml").read_text(encoding="utf-8"))


def test_hooks_run_the_tools_of_lint_from_the_environment() -> None:
    """But `snakemake --lint`, which takes seconds; at the pins, as no hook brings a tool of its own."""
    repos = yaml.safe_load((BASE / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    hooks = [hook for repo in repos for hook in repo["hooks"]]
    assert all(hook["language"] == "system" for hook in hooks)
    entries = {hook["entry"].replace(" --force-exclude", "") for hook in hooks}
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (BASE / "Makefile").read_text(), re.MULTILINE)
    assert lint
    commands = {
        re.sub(r" (\.|Snakefile rules)$", "", line.strip()) for line in lint[1].splitlines()
    }
    commands -= {"snakemake --lint"}
    assert len(commands) == 4
    assert entries == {f".venv/bin/{command}" for command in commands}
    dev = PROJECT["project"]["optional-dependencies"]["dev"]
    pinned = {line.split("==")[0] for line in dev}
    assert {command.split()[0] for command in commands} | {"pre-commit"} <= pinned


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((BASE / "CITATION.cff").read_text())
    for key, ours in {"title": "name", "version": "version", "license": "license"}.items():
        assert citation[key] == PROJECT["project"][ours]
    assert citation["abstract"] == PROJECT["project"]["description"]


def test_types_and_data_files_are_shipped() -> None:
    shipped = PROJECT["tool"]["setuptools"]["package-data"]
    for package, patterns in shipped.items():
        for pattern in patterns:
            assert list((BASE / package.replace(".", "/")).glob(pattern)), f"{package}: {pattern}"
    others = {
        path.relative_to(BASE).parent.as_posix().replace("/", ".")
        for path in (BASE / "clipsteer").rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"} and path.parts[-2][0] != "_"
    }
    # all that is no module; tables lie in a folder of their package
    assert others == {
        *("clipsteer", "clipsteer.data", "clipsteer.report.paper", "clipsteer.report.explorer")
    }
    assert shipped["clipsteer"] == ["py.typed"]


def test_contributing_shows_which_room_may_import_which() -> None:
    page = (BASE / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page.partition("| room | what is in it | may import |\n")[2].partition("\n\n")[0]
    cells = [line.strip("| ").split("|") for line in table.splitlines()[1:]]
    shown = {row[0].strip("` "): set(re.findall(r"`(\w+)`", "".join(row[2:]))) for row in cells}
    assert shown == MAY_IMPORT
    modules = {row[0].strip("` "): re.findall(r"`(\w+\.\w+)`", "".join(row[2:])) for row in cells}
    light = {room: {f"clipsteer.{name}" for name in names} for room, names in modules.items()}
    assert {room: names for room, names in light.items() if names} == LIGHT | WITHIN
