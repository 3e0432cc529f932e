"""docs/tutorial.md works to the letter, as its notebook, on the tiny configuration; README leads to what people ask."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsteer.config.check import validate
from clipsteer.store.state import CACHES
from experiments.notebook import NOTEBOOK, PAGE, cells, notebook
from tests.workflow.runs import BASE, WorkingCopy, in_fork, merged, outcome_of

TEXT = PAGE.read_text(encoding="utf-8")


class Cells:
    """What a notebook does with its cells, in a working copy: Python, files that are written, words of a shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {}
        self.said: dict[str, str] = {}

    def run(self, code: str) -> None:
        if code.startswith("%%writefile "):
            name, _, body = code.removeprefix("%%writefile ").partition("\n")
            (self.folder / name).write_text(body + "\n", encoding="utf-8")
        elif code.startswith("!"):
            for line in code.splitlines():
                self.said[line[1:]] = self.shell(shlex.split(line[1:]))
        else:
            exec(compile(code, str(NOTEBOOK), "exec"), self.names)

    def shell(self, words: list[str]) -> str:
        """Of this checkout's Snakefile."""
        snakefile = ["--snakefile", str(BASE / "Snakefile")]
        if words[0] == "snakemake":
            done = in_fork([*words[1:], *snakefile], self.folder)
        elif words[:3] == ["python", "-m", "clipsteer"]:
            more = snakefile if "plan" in words else []
            done = in_fork([*words[3:], *more], self.folder, BASE)
        else:
            done = outcome_of(words, self.folder, {}, timeout=600)
        return done.ok().text


def test_the_notebook_is_that_of_the_page() -> None:
    assert NOTEBOOK.read_text(encoding="utf-8") == notebook(TEXT), (
        "run python -m experiments.notebook"
    )
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert {cell["cell_type"] for cell in found} == {"code", "markdown"}
    assert all(cell.get("outputs", []) == [] for cell in found)


def test_every_cell_works(
    looked: WorkingCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a finished run: only what the tutorial changes is computed."""
    copy = looked.twin(tmp_path)
    shutil.copytree(copy.store, copy.folder / "artifacts", dirs_exist_ok=True)
    shutil.rmtree(copy.folder / CACHES)  # it names the other store
    (copy.folder / "config").symlink_to(BASE / "config")
    (copy.folder / "Snakefile").touch()  # where the first cell looks
    monkeypatch.chdir(copy.folder)
    done = Cells(copy.folder)
    for kind, code in cells(TEXT):
        if kind == "code":
            done.run(code)
    said = list(done.said.values())
    first, summary, sets, _, plan, again, mine = said
    assert "computed=0" in first
    assert "worst group" in summary
    assert sets.startswith("dataset,")
    assert (copy.folder / "look.html").is_file()
    for step in ("select_features", "ablate_features", "make_table"):
        assert step in plan
    assert not re.search(r"^(?:train_dictionary|pretrain_clip|extract_activations)", plan, re.M)
    assert re.search(r"computed=[1-9]", again)
    assert "datasets.mine" in mine or "build_manifest" in mine
    images = sum(
        done.names["run"].labels("celeba", s).height for s in ("train", "validation", "test")
    )
    assert len(list((copy.folder / "mine").glob("*.png"))) == images


def test_the_configurations_of_the_page_are_valid(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    config = yaml.safe_load((BASE / "config.yaml").read_text(encoding="utf-8"))
    tiny = yaml.safe_load((BASE / "config/tiny.yaml").read_text(encoding="utf-8"))
    bodies = dict(re.findall(r"^```yaml (\S+)\n(.*?)^```", TEXT, re.M | re.S))
    assert list(bodies) == ["relaxed.yaml", "mine.yaml", "real.yaml"]
    for name, body in bodies.items():
        own = merged(config, {} if name == "real.yaml" else tiny)
        found = validate(merged(own, yaml.safe_load(body)), tmp_path)
        assert ("mine" in found["tables"]) == (name != "relaxed.yaml")


README = (BASE / "README.md").read_text(encoding="utf-8")
ASKED = {
    "which features were ablated": "results/celeba_feature_sets.csv",
    "what they respond to": "results/celeba_features/index.html",
    "which group lost": "results/celeba_summary.txt",
    "how to use your own data": "manifest.csv",
}


def section(page: Path, anchor: str) -> str:
    """The text under the heading that an anchor names."""
    for part in re.split(r"^(?=#+ )", page.read_text(encoding="utf-8"), flags=re.M):
        heading = part.partition("\n")[0].lstrip("# ").strip().lower()
        if re.sub(r"[^\w -]", "", heading).replace(" ", "-") == anchor:
            return part
    raise AssertionError(f"{page}: no section {anchor}")


@pytest.mark.parametrize("question", ASKED)
def test_the_readmes_first_screen_leads_to_what_people_ask(question: str) -> None:
    """By a click, as people would follow it; the answer's file or section stands where it leads."""
    first = " ".join(README.splitlines()[:45])
    found = re.search(rf"\[{re.escape(question)}\]\(([^)#]+)#([^)]+)\)", first, re.IGNORECASE)
    assert found, f"{question}: no link on the first screen"
    assert ASKED[question] in section(BASE / found[1], found[2])
    assert "docs/images/explorer.png" in first
    for command in ("make results/celeba_table.csv", "results/celeba_features/index.html"):
        assert command in first
