"""The rules of the house: imports run one way, pins agree, scripts start light."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from clipsteer.runner import packages
from clipsteer.runner.fingerprint import inspect_code
from tests.workflow.outlines import RULES

BASE = Path(__file__).parents[2]
# What each room may import of the others; every room may import the modules beside the rooms.
MAY_IMPORT = {
    "store": set(),
    "runner": {"store"},
    "sections": set(),
    "config": {"sections", "store"},
    "lineage": {"store", "runner", "config"},
    "workflow": {"store", "runner", "config"},
    "cli": {"store", "runner", "config", "lineage"},
    "data": {"store"},
    "backbones": {"store"},
    "activations": {"store", "runner", "data", "backbones"},
    "dictionaries": {"store", "runner", "data", "backbones"},
    "steering": {"store", "runner", "data", "backbones", "activations", "dictionaries"},
    "defences": {
        *("store", "runner", "data", "backbones", "activations", "dictionaries", "steering")
    },
    "report": {
        *("store", "data", "backbones", "activations", "dictionaries", "steering", "defences")
    },
    "front": {"store", "data", "backbones", "activations", "dictionaries", "steering"},
}
# Whose names lie in the package itself; no other module may take them from there.
FRONT_DOOR = BASE / "clipsteer/__init__.py"
# What reading the rules needs of the rooms that do the work: modules that import nothing heavy.
LIGHT = {
    "config": {
        *("clipsteer.activations.chunks", "clipsteer.data.forms", "clipsteer.data.fonts"),
        *("clipsteer.dictionaries.sources", "clipsteer.backbones.shape"),
    },
    "workflow": {
        *("clipsteer.data.forms", "clipsteer.data.fonts", "clipsteer.data.watched"),
        "clipsteer.backbones.weights",
        *("clipsteer.report.paper", "clipsteer.report.page_files", "clipsteer.lineage.resources"),
        *("clipsteer.dictionaries.sources", "clipsteer.dictionaries.claimed"),
        *("clipsteer.dictionaries.published", "clipsteer.dictionaries.inputs"),
    },
}
# heavy: within the one command that needs it
WITHIN = {
    "cli": {
        *("clipsteer.backbones.open_clip", "clipsteer.dictionaries.export"),
        *("clipsteer.front.passes", "clipsteer.front.placed", "clipsteer.front.runs"),
        *("clipsteer.front.given", "clipsteer.front.looked", "clipsteer.front.refs"),
        "clipsteer.report.steered_figure",
    },
    "front": {"clipsteer.report.look_page", "clipsteer.report.thumbnails"},
}
BESIDE = {
    *("errors", "tables", "lookalikes", "number_formats", "training_length"),
    *("snapshots", "slurm", "sampled"),
}
HEAVY = {"torch", "transformers", "matplotlib", "zarr", "scipy"}


def imports(path: Path) -> list[tuple[str, ast.AST]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name, node) for name in names]
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_one_way(room: str) -> None:
    for path in (BASE / "clipsteer" / room).rglob("*.py"):
        for name, _ in imports(path):
            top, *rest = name.split(".")
            assert top != "workflow_scripts", f"{path} imports {name}"
            assert top != "snakemake" or room == "workflow", f"{path} imports {name}"
            if top == "clipsteer" and rest:
                allowed = MAY_IMPORT[room] | BESIDE | {room}
                light = name.rpartition(".")[0] in (LIGHT | WITHIN).get(room, ())
                assert rest[0] in allowed or light, f"{path} imports {name}"


def test_every_room_is_known() -> None:
    rooms = {p.name for p in (BASE / "clipsteer").iterdir() if p.is_dir() and p.name[0] != "_"}
    assert rooms == set(MAY_IMPORT)


def test_package_files_are_empty() -> None:
    """But the front door, of which no step sees anything."""
    for path in {*(BASE / "clipsteer").rglob("__init__.py")} - {FRONT_DOOR}:
        assert path.read_text() == "", f"{path}: it would be in every closure"


def test_nothing_of_the_project_uses_the_front_door() -> None:
    """So an edit to it, or to what only it uses, makes no result stale."""
    rooms = {*MAY_IMPORT, *BESIDE, "__main__"}
    users = [
        p
        for room in ("clipsteer", "workflow_scripts", "rules")
        for p in (BASE / room).rglob("*.py")
    ]
    for path in users:
        if path in (FRONT_DOOR, FRONT_DOOR.parent / "front/written.py"):  # its page
            continue
        for name, _ in imports(path):
            top, *rest = name.split(".")
            assert top != "clipsteer" or (rest and rest[0] in rooms), f"{path} imports {name}"
            users_of_front = ("front", "cli")  # no step sees either
            assert rest[:1] != ["front"] or path.parent.name in users_of_front, (
                f"{path} imports {name}"
            )


@pytest.mark.parametrize(
    "script", sorted((BASE / "workflow_scripts").glob("*.py")), ids=lambda p: p.stem
)
def test_the_front_door_is_outside_every_fingerprint(script: Path) -> None:
    code = inspect_code(script, BASE, modules_by_name(script.stem))
    assert not [name for name in code.modules if name == "clipsteer" or ".front" in name]


@pytest.mark.parametrize(
    "script", sorted((BASE / "workflow_scripts").glob("*.py")), ids=lambda p: p.stem
)
def test_scripts_start_light(script: Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"))
    for node in tree.body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not {n.split(".")[0] for n in names} & HEAVY


def test_settings_are_chosen_by_nothing_that_an_edit_does() -> None:
    """Whatever experiments/worlds.py may import, at its top or later, by a name or by a text."""
    start = [BASE / "experiments/worlds.py"]
    for prefix, names in BY_NAME.items():
        start += [BASE / prefix.replace(".", "/") / f"{name}.py" for name in names]
    seen = reached(start)
    for path in seen:
        for name, _ in imports(path):
            top = name.split(".")[0]
            assert top not in ("snakemake", "subprocess", "runpy"), f"{path} imports {name}"
    assert {"data", "backbones", "dictionaries"} <= rooms_of(seen) <= WITHOUT_EDITS


@pytest.mark.parametrize(
    ("line", "room"),
    [
        ("import clipsteer", "front"),
        ("import clipsteer as c", "steering"),
        ("from clipsteer import ablate", "front"),
        ("from clipsteer import steering", "steering"),
        ("from clipsteer.steering import ablation", "steering"),
        ("import clipsteer.defences.tuning", "defences"),
        ("import clipsteer.errors", "front"),
        ("from clipsteer.defences.setting import Place", "defences"),
    ],
)
def test_what_reaches_an_edit_is_seen(tmp_path: Path, line: str, room: str) -> None:
    """Also through the front door, which imports nothing before it is used."""
    (tmp_path / "mine.py").write_text(f"def work():\n    {line}\n")
    found = rooms_of(reached([tmp_path / "mine.py"]))
    assert room in found - WITHOUT_EDITS


# Rooms in which no activation is edited.
WITHOUT_EDITS = {"data", "backbones", "activations", "dictionaries", "config", "sections", "store"}


def reached(start: list[Path]) -> set[Path]:
    """These files, and those of the checkout that they may import, at their tops or later."""
    left, seen = [*start], set[Path]()
    while left:
        path = left.pop()
        if path in seen:
            continue
        seen.add(path)
        for name, node in imports(path):
            # a function or class is of the module or package above it
            here = [BASE / module.replace(".", "/") for module in (name, name.rpartition(".")[0])]
            files = [file for at in here for file in (at.with_suffix(".py"), at / "__init__.py")]
            left += [file for file in files if file.is_file()][:1]
            if isinstance(node, ast.Import):  # which gives the packages above a module a name, too
                left += filter(Path.is_file, [BASE / name.split(".")[0] / "__init__.py"])
    return seen


def rooms_of(files: set[Path]) -> set[str]:
    """The rooms of the library that files are in."""
    library = BASE / "clipsteer"
    below = (path.relative_to(library).parts for path in files if library in path.parents)
    return {parts[0] for parts in below if len(parts) > 1}


# Of what rules import: what needs numpy, which Snakemake loads itself, and what needs Snakemake.
LOADS_NUMPY = {"clipsteer.lineage.resources", "clipsteer.workflow.needs"}
LOADS_SNAKEMAKE = {"clipsteer.workflow.chains"}


def test_what_snakemake_imports_to_read_the_rules_is_light() -> None:
    """The library's modules that rules/ import, before they look at anything, and what they import later."""
    rules = "".join(path.read_text() for path in (BASE / "rules").glob("*.smk"))
    found = set().union(re.findall(r"^from (clipsteer\S*) import", rules, re.M), *LIGHT.values())
    assert {"clipsteer.workflow.recipes", *LOADS_NUMPY, *LOADS_SNAKEMAKE} <= found
    heavy = HEAVY | {"polars", "PIL"}
    assert not loaded(found) & heavy
    own = (
        found - LOADS_NUMPY - LOADS_SNAKEMAKE - {"clipsteer.workflow.description"}
    )  # which needs `needs`
    assert not loaded(own) & (heavy | {"numpy", "pandas", "snakemake"})


def loaded(names: set[str]) -> set[str]:
    """All modules that are there once some are imported."""
    code = f"import sys, {', '.join(sorted(names))}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(BASE)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_rules_hold_no_logic() -> None:
    """It is in clipsteer/workflow/, where types are checked and tests can reach it."""
    for path in (BASE / "rules").glob("*.smk"):
        found = re.findall(r"^\s*(?:def|class|for|while) .*", path.read_text(), re.M)
        assert found == [], f"{path}: {found}"


def test_conda_pins_equal_pyproject() -> None:
    project = tomllib.loads((BASE / "pyproject.toml").read_text())
    pins = dict(line.split("==") for line in project["project"]["dependencies"])
    files = sorted((BASE / "envs").glob("*.yaml"))
    assert files
    for path in files:
        dependencies = yaml.safe_load(path.read_text())["dependencies"]
        pip = next(d["pip"] for d in dependencies if isinstance(d, dict))
        for line in pip:
            name, version = line.split("==")
            assert pins[name] == version, f"{path}: {line}, pyproject has {pins[name]}"


# Package -> its modules that steps import by a name in their settings.
BY_NAME = {
    "clipsteer.data.layouts": (
        *("celeba", "waterbirds", "imagenet", "folder"),
        *("rta100", "materzynska", "scam"),
    ),
    "clipsteer.data.painters": ("faces", "birds", "general", "signs", "web"),
    "clipsteer.dictionaries": ("vanilla", "topk", "batchtopk", "matryoshka", "neurons", "imported"),
}
# The step that does so; a dictionary's architecture is imported by every step with the registry.
SAYS = {
    "clipsteer.data.layouts": "build_manifest",
    "clipsteer.data.painters": "paint_world",
}


def script_of(rule: str) -> str:
    found = re.findall(r'shell_words\("([a-z_]+)"\)', RULES[rule])
    assert len(found) == 1, rule
    return str(found[0])


def modules_by_name(script: str) -> list[str]:
    """The modules that a script imports by a name in its settings."""
    found = [
        f"{prefix}.{name}"
        for prefix, step in SAYS.items()
        if step == script
        for name in BY_NAME[prefix]
    ]
    path = BASE / "workflow_scripts" / f"{script}.py"
    if "clipsteer.dictionaries.registry" in inspect_code(path, BASE).modules:
        found += [f"clipsteer.dictionaries.{name}" for name in BY_NAME["clipsteer.dictionaries"]]
    return found


def test_the_modules_imported_by_name_are_all() -> None:
    for prefix in SAYS:
        for name in BY_NAME[prefix]:
            assert (BASE / prefix.replace(".", "/") / f"{name}.py").exists()
    scripts = {path.stem for path in (BASE / "workflow_scripts").glob("*.py")}
    assert {script_of(rule) for rule in RULES} == scripts
    for prefix, step in SAYS.items():
        assert prefix in (BASE / "workflow_scripts" / f"{step}.py").read_text()


def test_an_edit_to_the_shard_writer_leaves_dictionaries_fresh() -> None:
    code = inspect_code(BASE / "workflow_scripts/train_dictionary.py", BASE)
    assert "token_batches" in code.modules["clipsteer.activations.batches"]
    assert "clipsteer.activations.writer" not in code.imported


@pytest.mark.parametrize("rule", RULES)
def test_no_step_sees_the_classes_of_the_configuration(rule: str) -> None:
    """A key that is added to one of them leaves the results of all steps fresh."""
    script = script_of(rule)
    code = inspect_code(BASE / "workflow_scripts" / f"{script}.py", BASE, modules_by_name(script))
    seen = {".".join(name.split(".")[:2]) for name in {*code.modules, *code.imported}}
    assert not seen & {"clipsteer.sections", "clipsteer.config"}
    assert "pydantic" not in {found.split(" ")[0] for found in code.packages.values()}


@pytest.mark.parametrize("rule", RULES)
def test_an_edit_to_a_steps_cost_or_declaration_leaves_its_code_as_it_is(
    rule: str, tmp_path: Path
) -> None:
    """What it uses of the configuration is in its recipe anyway."""
    name = f"{script_of(rule)}.py"
    text = (BASE / "workflow_scripts" / name).read_text(encoding="utf-8")
    edited = re.sub(r"^USES = \(", 'USES = ("runtime.device",', text, flags=re.M)
    edited, costs = re.subn(r"^(def cost\(.*\n)", r"\1    HOURS = 3600\n", edited, flags=re.M)
    assert costs == (rule not in ("best_per_layer", "control_table", "drop_activations"))
    (tmp_path / "clipsteer").symlink_to(BASE / "clipsteer")
    (tmp_path / "workflow_scripts").mkdir()
    found = []
    for version in (
        text,
        edited,
        edited.replace("compute(run: Run)", "compute(run: Run, n: int = 1)"),
    ):
        (tmp_path / "workflow_scripts" / name).write_text(version, encoding="utf-8")
        script, modules = tmp_path / "workflow_scripts" / name, modules_by_name(script_of(rule))
        found.append(inspect_code(script, tmp_path, modules).fingerprint)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("rule", RULES)
def test_environment_holds_what_the_script_imports(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a name that is none of a distribution would have every run read all metadata of the environment
    monkeypatch.setattr(packages, "_owners", None)
    script = script_of(rule)
    code = inspect_code(BASE / "workflow_scripts" / f"{script}.py", BASE, modules_by_name(script))
    env = re.search(r'conda:\s*"\.\./(envs/[a-z]+\.yaml)"', RULES[rule])
    assert env
    dependencies = yaml.safe_load((BASE / env[1]).read_text())["dependencies"]
    pip = next(d["pip"] for d in dependencies if isinstance(d, dict))
    held = {line.split("==")[0] for line in pip}
    # "distribution version"; polars asks for its runtime at its own version
    needed = {found.split(" ")[0] for found in code.packages.values()} - {"polars-runtime-32"}
    assert packages.ABSENT not in needed
    alone = ("choose_dictionary", "drop_activations")  # which need the store alone
    assert bool(needed) == (script not in alone)
    assert sorted(needed - held) == [], f"{env[1]} lacks what {script} imports"


def test_every_rule_names_its_environment_log_and_recipe() -> None:
    for name, rule in RULES.items():
        recipe = f'recipe=RECIPES.of("{name}"),'
        for section in ("log:", "conda:", recipe, "chain=expected_chain"):
            assert section in rule, f"rule {name} has no {section}"
        assert "run:" not in rule
        assert "directory(" not in rule


def test_the_warm_worker_can_fork_for_every_step() -> None:
    """What it imports for any of the scripts starts no thread."""
    code = """
import sys
from pathlib import Path
from clipsteer.runner.warmer import threads, warm
for script in sorted(Path(sys.argv[1]).glob("*.py")):
    modules = ["clipsteer.dictionaries.topk", "clipsteer.data.painters.faces"]
    warm({"script": script, "modules": modules})
    assert threads() == 1, script
assert {"torch", "transformers", "zarr"} <= set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(BASE / "workflow_scripts")],
        env={**os.environ, "PYTHONPATH": str(BASE), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
