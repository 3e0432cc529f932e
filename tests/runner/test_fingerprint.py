"""Fingerprints: what counts as a change of the code, and what does not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.runner import packages
from clipsteer.runner.closure import Walk
from clipsteer.runner.fingerprint import code_fingerprint, explain, inspect_code, packages_imported
from tests.data import small_trees

SCRIPT = "workflow_scripts/select.py"
FILES = {
    SCRIPT: '''"""Select features."""
import json
from clipsteer.runner.step import main


def compute(run):
    from clipsteer.steering import selection
    from clipsteer.data.tables import rows
    return selection.choose(rows)
''',
    "clipsteer/__init__.py": "",
    "clipsteer/errors.py": "class ClipsteerError(Exception): ...\n",
    "clipsteer/store/__init__.py": "",
    "clipsteer/runner/step.py": "import clipsteer.unrelated\ndef main(): ...\n",
    "clipsteer/unrelated.py": "VALUE = 1\n",
    "clipsteer/steering/__init__.py": "",
    "clipsteer/steering/selection.py": '''"""Eq. 9."""
import numpy as np
from . import grid
from .statistics import mean


def choose(rows):
    """Choose."""
    return np.argmax(mean(rows)) + grid.START  # the best
''',
    "clipsteer/steering/grid.py": "START = 1e-6\n",
    "clipsteer/steering/statistics.py": "def mean(rows):\n    return sum(rows) / len(rows)\n",
    "clipsteer/data/__init__.py": "",
    "clipsteer/data/tables.py": "from ..steering.grid import START\nrows = [START, 2]\n",
    "clipsteer/dictionaries/__init__.py": "",
    "clipsteer/dictionaries/topk.py": "from PIL import Image\nK = 3\n",
}
CLOSURE = {
    "__main__",
    "clipsteer",
    "clipsteer.steering",
    "clipsteer.steering.selection",
    "clipsteer.steering.grid",
    "clipsteer.steering.statistics",
    "clipsteer.data",
    "clipsteer.data.tables",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return small_trees.write_all(tmp_path / "project", FILES)


def imported(project: Path, *extra: str) -> set[str]:
    return set(inspect_code(project / SCRIPT, project, extra).imported)


def fingerprint(project: Path, *extra: str) -> str:
    return code_fingerprint(project / SCRIPT, project, extra)


def write(project: Path, name: str, text: str) -> None:
    small_trees.write(project / name, text)


def test_closure_holds_function_level_relative_and_from_imports(project: Path) -> None:
    assert imported(project) == CLOSURE


def test_packages_are_direct_imports_without_the_standard_library(project: Path) -> None:
    import numpy

    code = inspect_code(project / SCRIPT, project, ["clipsteer.dictionaries.topk"])
    assert set(code.packages) == {"PIL", "numpy"}
    assert code.packages["numpy"] == f"numpy {numpy.__version__}"
    assert code.packages["PIL"].startswith("pillow ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (SCRIPT, FILES[SCRIPT].replace("Select features.", "Select features, better described.")),
        (SCRIPT, "# a comment\n\n" + FILES[SCRIPT].replace("(rows)", "( rows )  # why")),
        ("clipsteer/steering/grid.py", "# log grid\nSTART = (\n    0.000001\n)\n"),
        (
            "clipsteer/steering/selection.py",
            FILES["clipsteer/steering/selection.py"].replace('    """Choose."""\n', ""),
        ),
        ("clipsteer/unrelated.py", "VALUE = 2\n"),
        ("clipsteer/runner/step.py", "def main(): return 1\n"),
        ("clipsteer/errors.py", "class ClipsteerError(ValueError): ...\n"),
        ("clipsteer/steering/new.py", "X = 1\n"),
        (SCRIPT, FILES[SCRIPT] + "\nX = 1\n"),
        ("clipsteer/__init__.py", "X = 1\n"),
        ("clipsteer/steering/grid.py", "START = 1e-6\ndef steps(): return START\n"),
        ("workflow_scripts/other.py", "X = 1\n"),
    ],
)
def test_what_does_not_count(project: Path, name: str, text: str) -> None:
    before = fingerprint(project)
    assert not (project / name).exists() or (project / name).read_text() != text
    write(project, name, text)
    assert fingerprint(project) == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (SCRIPT, FILES[SCRIPT].replace("choose(rows)", "choose(rows) + 1")),
        (SCRIPT, FILES[SCRIPT] + "\nprint(1)\n"),
        ("clipsteer/__init__.py", "print(1)\n"),
        ("clipsteer/steering/__init__.py", "X = print(1)\n"),
        ("clipsteer/steering/grid.py", "START = 1e-5\n"),
        ("clipsteer/steering/grid.py", "START = '1e-6'\n"),
        ("clipsteer/data/tables.py", FILES["clipsteer/data/tables.py"].replace("2", "2.0")),
        ("clipsteer/steering/statistics.py", "def mean(rows):\n    return sum(rows) * len(rows)\n"),
    ],
)
def test_what_counts(project: Path, name: str, text: str) -> None:
    before = fingerprint(project)
    write(project, name, text)
    assert fingerprint(project) != before


def test_a_string_that_is_not_a_docstring_counts(project: Path) -> None:
    name = "clipsteer/steering/statistics.py"
    write(project, name, "def mean(rows):\n    'Words.'\n    'note'\n    return 1\n")
    before = fingerprint(project)
    write(project, name, "def mean(rows):\n    'Others.'\n    'note'\n    return 1\n")
    assert fingerprint(project) == before
    write(project, name, "def mean(rows):\n    'Words.'\n    'other'\n    return 1\n")
    assert fingerprint(project) != before


def test_a_class_with_nothing_but_a_docstring_is_an_empty_class(project: Path) -> None:
    write(project, "clipsteer/steering/grid.py", "START = 1\nclass A:\n    '''Empty.'''\n")
    before = fingerprint(project)
    write(project, "clipsteer/steering/grid.py", "START = 1\nclass A:\n    pass\n")
    assert fingerprint(project) == before


def test_place_of_the_project_does_not_count(project: Path, tmp_path: Path) -> None:
    before = fingerprint(project)
    moved = project.rename(tmp_path / "elsewhere")
    assert fingerprint(moved) == before


def test_extra_modules_join_the_closure(project: Path) -> None:
    before = fingerprint(project, "clipsteer.dictionaries.topk")
    assert before != fingerprint(project)
    write(project, "clipsteer/dictionaries/topk.py", "from PIL import Image\nK = 4\n")
    assert fingerprint(project, "clipsteer.dictionaries.topk") != before


@pytest.mark.parametrize(
    "name", ["clipsteer.dictionaries.tokp", "clipsteer.nothing", "no_such_thing"]
)
def test_extra_module_that_is_not_there(project: Path, name: str) -> None:
    with pytest.raises(ClipsteerError, match=name):
        fingerprint(project, name)


def test_missing_script(project: Path) -> None:
    with pytest.raises(ClipsteerError, match=r"nothing\.py"):
        code_fingerprint(project / "nothing.py", project)


def test_file_that_does_not_parse_is_named_with_its_line(project: Path) -> None:
    write(project, "clipsteer/steering/grid.py", "START = 1\nSTOP = = 2\n")
    with pytest.raises(ClipsteerError, match=r"grid\.py, line 2"):
        fingerprint(project)


def test_type_checking_imports_are_not_followed(project: Path) -> None:
    write(
        project,
        "clipsteer/steering/grid.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import clipsteer.unrelated\n"
        "else:\n    import clipsteer.dictionaries.topk\nSTART = 1\n",
    )
    assert imported(project) - CLOSURE == {
        "clipsteer.dictionaries",
        "clipsteer.dictionaries.topk",
    }


@pytest.mark.parametrize(
    "text",
    [
        "import importlib\nimportlib.import_module('clipsteer.unrelated')\n",
        "X = (lambda: __import__('clipsteer.unrelated'))()\n",
        "try:\n    import clipsteer.unrelated as u\nexcept ImportError:\n    u = None\n",
        "from clipsteer import *\n",
        "from .. import unrelated\n",
    ],
)
def test_other_ways_to_import(project: Path, text: str) -> None:
    write(project, "clipsteer/steering/grid.py", text + "START = 1\n")
    assert "clipsteer.unrelated" in imported(project)


def test_import_cycles_end(project: Path) -> None:
    write(project, "clipsteer/steering/grid.py", "import clipsteer.steering.selection\nSTART = 1\n")
    assert imported(project) == CLOSURE


def test_module_that_appears_later_counts(project: Path) -> None:
    text = "try:\n    import clipsteer.fast\nexcept ImportError:\n    pass\nSTART = 1\n"
    write(project, "clipsteer/steering/grid.py", text)
    code = inspect_code(project / SCRIPT, project)
    assert code.modules["clipsteer.fast"] == {"import": "absent"}
    before = fingerprint(project)
    write(project, "clipsteer/fast.py", "X = 1\n")
    assert fingerprint(project) != before


def test_modules_beside_the_script_belong_to_the_project(project: Path) -> None:
    write(project, SCRIPT, "import shared_by_scripts\nimport statistics\n")
    write(project, "workflow_scripts/shared_by_scripts.py", "X = 1\n")
    assert imported(project) == {"__main__", "shared_by_scripts"}
    # a namesake of a standard module in the script's own folder is what Python would import
    write(project, "workflow_scripts/statistics.py", "X = 1\n")
    assert "statistics" in imported(project)


def test_version_of_a_dependency_counts(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    seen = []
    for version in ("1.0", "1.1", "1.1+cpu", "1.1+cu130"):
        packages._versions.cache_clear()
        info = site / f"Numpy-{version}.dist-info"
        info.mkdir(parents=True)
        seen.append(fingerprint(project))
        info.rmdir()
    packages._versions.cache_clear()
    assert len({seen[0], seen[1], fingerprint(project)}) == 3
    # builds of one release for several devices share their keys
    assert seen[1] == seen[2] == seen[3]


def test_what_comes_with_an_import_counts(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, "clipsteer/steering/grid.py", "START = 1\nimport zarr\nimport transformers\n")
    site = tmp_path / "site"
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    seen = []
    for version in ("1.0", "1.1"):
        packages._versions.cache_clear()
        info = site / f"numcodecs-{version}.dist-info"
        info.mkdir(parents=True)
        code = inspect_code(project / SCRIPT, project)
        assert code.packages["numcodecs"] == f"numcodecs {version}"
        seen.append(code.fingerprint)
        info.rmdir()
    packages._versions.cache_clear()
    assert len(set(seen)) == 2
    assert set(code.packages) >= {"zarr", "transformers", "tokenizers", "safetensors"}
    assert list(code.packages) == sorted(code.packages)


def test_what_should_come_with_an_import_and_is_not_there_is_absent(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(packages.COMES_WITH, "numpy", ("no-such-companion",))
    # The quick way is enough: no map of all modules is made for it.
    monkeypatch.setattr(packages, "_owners", None)
    assert packages.with_companions(["numpy"])["no-such-companion"] == "absent"


def test_package_that_is_not_installed_is_absent(project: Path) -> None:
    write(project, "clipsteer/steering/grid.py", "START = 1\nimport no_such_package.inner\n")
    assert inspect_code(project / SCRIPT, project).packages["no_such_package"] == "absent"


def test_module_without_a_distribution_counts_by_its_file(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "loose")
    write(tmp_path, "loose/loose_helper.py", "X = 1\n")
    write(project, "clipsteer/steering/grid.py", "START = 1\nimport loose_helper\n")
    before = fingerprint(project)
    write(tmp_path, "loose/loose_helper.py", "X = 2\n")
    assert fingerprint(project) != before


def test_memo_gives_the_same_and_saves_the_walk(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memo = tmp_path / "cache"
    plain = inspect_code(project / SCRIPT, project)
    assert inspect_code(project / SCRIPT, project, memo=memo) == plain
    imported = packages_imported(project / SCRIPT, project, memo=memo)
    monkeypatch.setattr(Walk, "run", lambda *a: pytest.fail("walked in spite of the memo"))
    assert inspect_code(project / SCRIPT, project, memo=memo) == plain
    assert packages_imported(project / SCRIPT, project, memo=memo) == imported
    monkeypatch.undo()
    assert inspect_code(project / SCRIPT, project, ["clipsteer.unrelated"], memo) != plain


@pytest.mark.parametrize(
    "edit",
    [
        lambda root: write(root, "clipsteer/steering/grid.py", "START = 2e-6\n"),
        # nothing that was read is another file; Python would import another one
        lambda root: write(root, "workflow_scripts/numpy.py", "def argmax(x): ...\n"),
        lambda root: write(root, "clipsteer/steering/grid/__init__.py", "START = 1\n"),
        lambda root: (root / "clipsteer/data/__init__.py").unlink(),
        lambda root: (root / "clipsteer/steering/grid.py").unlink(),
    ],
    ids=["content", "script's folder", "package before module", "package gone", "module gone"],
)
def test_memo_sees_what_has_changed(
    project: Path, tmp_path: Path, edit: Callable[[Path], None]
) -> None:
    memo = tmp_path / "cache"
    before = inspect_code(project / SCRIPT, project, memo=memo)
    edit(project)
    after = inspect_code(project / SCRIPT, project)
    assert inspect_code(project / SCRIPT, project, memo=memo) == after != before


def test_memo_sees_another_module_of_a_package_that_is_named_by_a_text(
    project: Path, tmp_path: Path
) -> None:
    write(project, "clipsteer/data/kinds/__init__.py", "")
    write(project, "clipsteer/data/kinds/a.py", "X = 1\n")
    imported = "from importlib import import_module\n"
    called = "def compute(run):\n    import_module(f'clipsteer.data.kinds.{run}')\n"
    write(project, SCRIPT, imported + called)
    memo = tmp_path / "cache"
    before = inspect_code(project / SCRIPT, project, memo=memo)
    write(project, "clipsteer/data/kinds/b.py", "X = 2\n")
    after = inspect_code(project / SCRIPT, project, memo=memo)
    assert set(after.modules) - set(before.modules) == {"clipsteer.data.kinds.b"}


@pytest.mark.parametrize("damage", [b"", b"{", b"clipsteer-code/1\n{}", None])
def test_damaged_memo_is_as_good_as_none(
    project: Path, tmp_path: Path, damage: bytes | None
) -> None:
    plain = code_fingerprint(project / SCRIPT, project, memo=tmp_path / "memo")
    (file,) = (tmp_path / "memo").iterdir()
    if damage is None:  # one letter altered
        data = file.read_bytes()
        place = data.rindex(b"mean")
        damage = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    file.write_bytes(damage)
    assert code_fingerprint(project / SCRIPT, project, memo=tmp_path / "memo") == plain


def test_memo_that_cannot_be_written_is_no_error(project: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memo = tmp_path / "file" / "memo"
    assert code_fingerprint(project / SCRIPT, project, memo=memo) == fingerprint(project)


def test_explain_names_what_changed(project: Path) -> None:
    before = inspect_code(project / SCRIPT, project).material()
    json.dumps(before)
    assert explain(before, before) == []
    write(project, "clipsteer/steering/grid.py", "import PIL\nSTART = 2\n")
    lines = explain(before, inspect_code(project / SCRIPT, project).material())
    assert [line.partition(":")[0] for line in lines] == [
        "module clipsteer.steering.grid.START",
        "package PIL",
    ]
    older = {**before, "format": "clipsteer-code/1", "modules": {"a": "blake3:..."}}
    assert explain(older, before) == ["module (counted in another way): 1 -> 2"]
    assert explain(before, {**before, "python": "4.0"}) == [f"python: {before['python']} -> 4.0"]
