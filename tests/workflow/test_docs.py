"""The docs stay true.

docs/configuration.md names every key and no other, its examples work, and the settings that
docs/method.md gives are those of the config. The map names every page, and pages that programs write
have the programs' words.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsteer.config.check import validate
from clipsteer.data.layouts import folder
from clipsteer.dictionaries.settings import Settings
from clipsteer.report import baselines, stability, steerability, sweep, typographic
from clipsteer.report.best_per_layer import COLUMNS as TABLE1
from clipsteer.report.feature_sets import SCHEMA as SET_SCHEMA
from clipsteer.report.negative_control import columns as control_columns
from clipsteer.report.sparsity import COLUMNS as SPARSITY
from clipsteer.report.storage import COLUMNS as STORAGE
from clipsteer.report.table import columns
from clipsteer.runner.fingerprint import inspect_code
from clipsteer.sections import written
from clipsteer.store.trees import FolderTree
from tests.workflow.outlines import RESULTS as WRITTEN
from workflow_scripts import make_table

BASE = Path(__file__).parents[2]
CONFIG = yaml.safe_load((BASE / "config.yaml").read_text(encoding="utf-8"))
SCHEMA = yaml.safe_load((BASE / "schemas/config.schema.yaml").read_text(encoding="utf-8"))
TEXT = (BASE / "docs/configuration.md").read_text(encoding="utf-8")
# Sections whose first level below are names that the user gives.
NAMED = ("datasets", "models", "dictionaries", "tables", "dictionary_tables")
OPTIONS = "datasets.<name>.options"
# Parts with one row: their keys are those of another part, which have rows of their own.
OF_ANOTHER = {
    "dictionaries.<name>.grid": "dictionaries.<name>.training",
    "models.<name>.tiny": "model.tiny",
}


def rows() -> dict[str, list[str]]:
    """Key pattern -> cells, of the five-column tables of keys."""
    found: dict[str, list[str]] = {}
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and re.fullmatch(r"`[a-z_.<>0-9]+`", cells[0]):
            key = cells[0].strip("`")
            assert key not in found, f"{key} stands in two rows"
            found[key] = cells
    return found


ROWS = rows()


def leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    """(key pattern, value) of all in the config that is no mapping, or an empty one, or one of the user's own names."""
    if isinstance(value, dict) and value and path[-1:] != ("unconcerned",):
        for key, below in value.items():
            name = "<name>" if len(path) == 1 and path[0] in NAMED else str(key)
            yield from leaves(below, (*path, name))
    else:
        yield ".".join(path), value


def schema_leaves(part: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(key pattern, schema) of everything that the schema allows."""
    if "$ref" in part:
        part = SCHEMA["$defs"][part["$ref"].rpartition("/")[2]]
    if "properties" in part:
        for key, below in part["properties"].items():
            yield from schema_leaves(below, (*path, key))
    elif len(path) == 1 and path[0] in NAMED:
        yield from schema_leaves(part["additionalProperties"], (*path, "<name>"))
    else:
        yield ".".join(path), part


def row_of(key: str) -> str:
    """The key whose row explains it: its own, or that of the part that it is in."""
    return next((part for part in OF_ANOTHER if key.startswith(f"{part}.")), key)


def test_every_key_of_the_default_is_explained() -> None:
    assert sorted({row_of(key) for key, _ in leaves(CONFIG)} - set(ROWS)) == []


def test_every_key_that_is_allowed_is_explained_and_no_other() -> None:
    allowed = {row_of(key) for key, _ in schema_leaves(SCHEMA)}
    assert sorted(allowed - set(ROWS)) == []
    assert sorted(k for k in set(ROWS) - allowed if not k.startswith(f"{OPTIONS}.")) == []


def test_allowed_words_are_named() -> None:
    for key, part in schema_leaves(SCHEMA):
        for word in part.get("enum", []):
            # `off` may come as false (YAML)
            if row_of(key) == key:
                assert word is False or f"`{word}`" in ROWS[key][1], f"{key}: {word}"


def test_parts_with_one_row_have_the_keys_that_are_explained_elsewhere() -> None:
    keys = {key for key, _ in schema_leaves(SCHEMA)}
    for part, other in OF_ANOTHER.items():
        found = {key.removeprefix(f"{part}.") for key in keys if row_of(key) == part}
        elsewhere = {key.removeprefix(f"{other}.") for key in keys if key.startswith(f"{other}.")}
        assert found == elsewhere | ({"seed"} if part.endswith(".grid") else set())


def test_defaults_are_those_of_the_file() -> None:
    compared = 0
    for key, value in leaves(CONFIG):
        if "<name>" not in key:
            shown = ROWS[key][2]
            assert re.fullmatch(r"`[^`]+`", shown), f"{key}: {shown}"
            assert yaml.safe_load(shown.strip("`")) == value, f"{key}: {shown}"
            compared += 1
    assert compared > 40


def test_defaults_of_named_parts_are_what_counts_where_they_are_left_out() -> None:
    config = json.loads(json.dumps(CONFIG))
    config["datasets"]["bare"] = {"layout": "folder", "root": "/"}
    training = {"expansion": 1, "k": 1}
    config["dictionaries"]["bare"] = config["dictionaries"]["topk"] | {"training": training}
    found = validate(config, BASE)
    given = {f"dictionaries.<name>.training.{key}" for key in training}
    for section in ("datasets", "dictionaries"):
        below = found[section]["bare"]
        for key, value in leaves(
            below if section == "datasets" else {"training": below["training"]}
        ):
            row = ROWS[f"{section}.<name>.{key}"][2]
            if row != "must be given" and f"{section}.<name>.{key}" not in given:
                assert yaml.safe_load(row.strip("`")) == value, key


def test_training_that_is_left_out_is_the_papers() -> None:
    paper = yaml.safe_load((BASE / "config/paper.yaml").read_text(encoding="utf-8"))
    training = paper["dictionaries"]["vanilla"]["training"]
    for key, value in training.items():
        if key not in ("expansion", "l1"):
            shown = ROWS[f"dictionaries.<name>.training.{key}"][2]
            assert yaml.safe_load(shown.strip("`")) == value, key
    for field in fields(Settings):
        if field.name not in ("expansion", "k", "prefixes", "l1"):
            assert field.default == training[field.name]


def test_what_is_written_of_the_sections_is_up_to_date() -> None:
    for path, text in written.files().items():
        found = path.read_text(encoding="utf-8")
        assert found == text, f"{path}: run `python -m clipsteer.sections.written`"


def merge(into: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    for key, value in overlay.items():
        below = into.get(key)
        into[key] = merge(below or {}, value) if isinstance(value, dict) else value
    return into


EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_overlays_are_valid(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # the examples' ~
    config = merge(json.loads(json.dumps(CONFIG)), yaml.safe_load(example))
    for dataset in config["datasets"].values():
        if dataset["root"] != "painted":
            (tmp_path / Path(dataset["root"]).expanduser()).mkdir(parents=True)
    if config["model"]["source"] != "tiny":
        model = tmp_path / config["model"]["source"]
        model.mkdir(parents=True)
        shape = {
            "model_type": "clip",
            "vision_config": {"num_hidden_layers": 12, "hidden_size": 768},
        }
        (model / "config.json").write_text(json.dumps(shape))
    validate(config, tmp_path)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


def test_example_manifest_is_read(tmp_path: Path) -> None:
    found = re.search(r"```csv\n(.*?)```", TEXT, re.DOTALL)
    assert found
    table = found.group(1)
    (tmp_path / "manifest.csv").write_text(table)
    (tmp_path / "images").mkdir()
    for line in table.splitlines()[1:]:
        (tmp_path / line.split(",")[0]).touch()
    frame = folder.read(FolderTree(tmp_path))
    assert frame.height == table.count("\n") - 1
    assert frame["split"].to_list()[-2:] == ["validation", "test"]


# Rows of results, in the page and in README.
RESULT = re.compile(r"^\| `(results/[^`]+)` \|", re.MULTILINE)


def test_every_result_file_is_explained_and_no_other() -> None:
    explained = RESULT.findall(TEXT)
    assert sorted(explained) == sorted({name.replace("{dataset}", "<dataset>") for name in WRITTEN})


def test_the_readme_shows_results_that_there_are() -> None:
    shown = RESULT.findall((BASE / "README.md").read_text(encoding="utf-8"))
    assert len(shown) == len(set(shown)) > 10
    assert set(shown) <= {name.replace("{dataset}", "celeba") for name in WRITTEN}


# Heading of a table of columns -> those of the file.
# Where there is one a group, the page numbers the groups that every layout has.
COLUMNS_OF: dict[str, Sequence[str]] = {
    "table": columns(4),
    "feature sets": tuple(SET_SCHEMA),
    "negative control": control_columns(4),
    "table 1": TABLE1,
    "baselines": baselines.columns(4, (), 2),
    "storage": STORAGE,
    "steerability": steerability.FEATURE_COLUMNS,
    "steerability by layer": steerability.LAYER_COLUMNS,
    "typographic table": typographic.COLUMNS,
    "sweep": sweep.columns(("l1", "lr", "seed"), steered=True),
    "stability": stability.columns(2),
    "sparsity": SPARSITY,
}


def test_columns_of_results_are_explained_in_their_order() -> None:
    tables = re.findall(r"^\| (.*): columns \| meaning \|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert [heading for heading, _ in tables] == list(COLUMNS_OF)
    known: set[str] = set()
    for heading, body in tables:
        cells = re.findall(r"^\| (`[^|]*`) \|", body, re.MULTILINE)
        words = [word for cell in cells for word in re.findall(r"`([^`]*)`", cell)]
        # a column that an earlier table explains may be left out
        assert words == [name for name in COLUMNS_OF[heading] if name in words], heading
        known |= set(words)
        assert set(COLUMNS_OF[heading]) <= known, heading


METHOD = (BASE / "docs/method.md").read_text(encoding="utf-8")
PAPER = merge(
    json.loads(json.dumps(CONFIG)),
    yaml.safe_load((BASE / "config/paper.yaml").read_text(encoding="utf-8")),
)
# Row of the settings table of docs/method.md -> (dictionaries' architecture or None for all, key).
METHOD_ROWS = {
    "expansion": (None, "expansion"),
    "k": ("topk", "k"),
    "epochs": (None, "epochs"),
    "batch, tokens": (None, "batch_size"),
    "`l1`, vanilla": ("vanilla", "l1"),
    "peak `lr`, vanilla": ("vanilla", "lr"),
    "peak `lr`, Top-K": ("topk", "lr"),
    "warm-up steps": (None, "warmup_steps"),
    "`mse`": (None, "mse"),
    "`dead_window`": (None, "dead_window"),
}


def trainings(config: dict[str, Any], architecture: str | None, key: str) -> list[str]:
    """The values of a training key over the tables' dictionaries, as YAML reads them back."""
    used = {name for names in config["tables"].values() for name in names}
    found = {
        str(config["dictionaries"][name]["training"][key])
        for name in used
        if config["dictionaries"][name]["architecture"]
        in ([architecture] if architecture else ["vanilla", "topk"])
    }
    return sorted(found)


def values(cell: str) -> list[str]:
    """Words and numbers at the start of a cell: `1 general, 2 task-specific` -> 1, 2."""
    plain = re.sub(r"\(.*?\)", "", cell).replace("`", "")
    found = {str(yaml.safe_load(part.split()[0])) for part in plain.split(", ") if part.strip()}
    return sorted(found)


@pytest.mark.parametrize("row", METHOD_ROWS)
def test_method_gives_the_settings_of_the_config(row: str) -> None:
    cells = re.search(rf"^\| {re.escape(row)} \| (.*) \| (.*) \|$", METHOD, re.MULTILINE)
    assert cells
    architecture, key = METHOD_ROWS[row]
    assert values(cells[1]) == trainings(PAPER, architecture, key)
    assert values(cells[2]) == trainings(CONFIG, architecture, key)


def test_open_points_give_the_settings_of_the_config() -> None:
    def row(key: str) -> str:
        found = re.findall(rf"^.*\| `dictionaries\.<name>\.training\.{key}` \|.*$", METHOD, re.M)
        assert len(found) == 1
        return str(found[0])

    def number(config: dict[str, Any], name: str, key: str) -> str:
        value = config["dictionaries"][name]["training"][key]
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"

    l1, lr = ([number(c, "vanilla", key) for c in (PAPER, CONFIG)] for key in ("l1", "lr"))
    topk = [number(PAPER, "topk_64", "lr"), number(CONFIG, "topk", "lr")]
    assert f"| {l1[0]} (paper), {l1[1]} (default) |" in row("l1")
    for vanilla, other, word in zip(lr, topk, ("paper", "default"), strict=True):
        assert f"{vanilla} vanilla, {other} Top-K ({word})" in row("lr")
    windows = [c["dictionaries"]["vanilla"]["training"]["dead_window"] for c in (PAPER, CONFIG)]
    assert f"{windows[0]} steps (paper), {windows[1]} (default)" in row("dead_window")
    variants = [c["dictionaries"]["vanilla"]["training"]["mse"] for c in (PAPER, CONFIG)]
    assert f"`{variants[0]}` (paper), `{variants[1]}` (default)" in row("mse")


# Modules that steps import by a name in their settings.
BY_NAME = (
    *("dictionaries.vanilla", "dictionaries.topk", "dictionaries.matryoshka"),
    *("dictionaries.imported", "dictionaries.neurons"),
)
LAYOUTS = ("data.layouts.celeba", "data.layouts.waterbirds")


def map_rows() -> list[tuple[list[str], list[str]]]:
    """(files, steps) of each row of the map in docs/method.md; a bare file is in the folder before it."""
    found = []
    for line in METHOD.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[2].startswith("`clipsteer/"):
            files: list[str] = []
            for word in re.findall(r"`([^`]+)`", cells[2]):
                files.append(word if "/" in word else f"{files[-1].rpartition('/')[0]}/{word}")
            found.append((files, re.findall(r"`([^`]+)`", cells[3])))
    return found


def test_the_map_names_the_code_that_runs() -> None:
    """Each file of a row is imported by one of its steps, and each step imports one of its files."""

    @cache
    def closure(step: str) -> str:
        more = [f"clipsteer.{name}" for name in (*BY_NAME, *LAYOUTS)]
        script = BASE / "workflow_scripts" / f"{step}.py"
        given = more if step == "build_manifest" else more[: len(BY_NAME)]
        modules = inspect_code(script, BASE, given).modules
        return " ".join(f"{name.replace('.', '/')}.py" for name in modules)

    for files, steps in map_rows():
        assert steps, files
        for file in files:
            assert any(file in closure(step) for step in steps), f"{file}: not run by {steps}"
        for step in steps:
            assert any(file in closure(step) for file in files), f"{step}: runs none of {files}"
    assert len(map_rows()) > 10


def test_where_the_papers_numbers_apply_is_what_the_table_asks_for() -> None:
    part = re.search(r"^## 12\. .*?^## ", METHOD, re.MULTILINE | re.DOTALL)
    assert part
    for key, value in make_table._PAPER.items():
        if key == "thresholds":
            assert CONFIG["steering"][key] == value  # "the default threshold grid"
        else:
            assert f"`{key}: {value}`" in part[0]
    for name, images in make_table._PAPER_TEST_IMAGES.items():
        assert f"`{name}`" in part[0]
        assert f"{images:,}" in part[0]
    layers, width = make_table._PAPER_LAYERS_AND_WIDTH
    assert f"{layers} layers of width {width}, {make_table._PAPER_TOKENS} tokens" in part[0]
    assert f"expansion {make_table._PAPER_EXPANSION}" in part[0]


# ------------------------------------------------------------------------------- the pages themselves

DOCS = BASE / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
HEADINGS = ["User guide", "Method", "Reference", "Design notes", "Lab notebook"]
WIDTH = 120


def test_the_map_has_each_page_once_under_one_of_five_headings() -> None:
    text = (DOCS / "README.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    assert parts[1::2] == HEADINGS
    named = [
        page for part in parts[2::2] for page in re.findall(r"^\| \[.*?\]\((.*?)\)", part, re.M)
    ]
    assert sorted(named) == [page for page in PAGES if page != "README.md"]


def test_the_site_has_each_page_once_under_the_same_headings() -> None:
    text = (BASE / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_load(text[text.index("\nnav:") :])["nav"]
    parts = {name: found for entry in nav for name, found in entry.items()}
    assert list(parts) == ["Start", "All pages", *HEADINGS]
    assert (parts.pop("Start"), parts.pop("All pages")) == ("repository/README.md", "README.md")
    assert sorted(page for found in parts.values() for page in found) == [
        page for page in PAGES if page != "README.md"
    ]
    pins = (DOCS / "site/requirements.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert [line for line in pins if line.count("==") != 1] == []


def long_lines(text: str) -> Iterator[str]:
    """Lines of prose over `WIDTH`: neither a table's nor code's."""
    for line in re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL).splitlines():
        if len(line) > WIDTH and not line.startswith("|") and len(line.split()) > 1:
            yield line


def test_prose_is_wrapped() -> None:
    found = {page: list(long_lines((DOCS / page).read_text(encoding="utf-8"))) for page in PAGES}
    assert {page: lines for page, lines in found.items() if lines} == {}


def test_long_lines_are_seen() -> None:
    words = "word " * 30
    assert list(long_lines(f"short\n{words}\n")) == [words]
    assert list(long_lines(f"| {words} |\n```\n{words}\n```\n")) == []


def literal(file: str, name: str) -> str:
    """A text that a program binds to a name, without importing the program."""
    for node in ast.parse((BASE / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return str(ast.literal_eval(node.value))
    raise AssertionError(f"{file}: no {name}")


@pytest.mark.parametrize(
    ("page", "template"),
    [
        ("intervals.md", literal("experiments/intervals.py", "HEAD")),
        (
            "staleness_peers.md",
            (BASE / "experiments/staleness_peers/page.md").read_text(encoding="utf-8"),
        ),
    ],
)
def test_pages_that_programs_write_have_the_programs_words(page: str, template: str) -> None:
    words = ".+?".join(re.escape(part) for part in re.split(r"\{[a-z]+[^}]*\}", template))
    assert re.fullmatch(words, (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("name", ["seeds", "staleness"])
def test_pages_of_kept_results_are_those_that_their_programs_write(name: str) -> None:
    program = import_module(f"experiments.{name}")
    assert program.document() == (DOCS / f"{name}.md").read_text(encoding="utf-8")
