"""Snakemake's report: every result for people is in it once, with source, images, intervals and command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import Environment, StrictUndefined

from clipsteer.__main__ import main
from clipsteer.store.pointers import Member, Pointer, write_pointer
from clipsteer.store.roots import REFS
from clipsteer.workflow.reported import about, in_report
from tests.workflow.outlines import RESULTS, RULES, outline, wildcards
from tests.workflow.runs import BASE

CAPTIONS = BASE / "rules/captions"
# As other files have it in a form for the browser, or for programs.
NOT_SHOWN = re.compile(r"\.md$|_headline\.json$")
SHOWN = [
    (step, *found)
    for step, body in RULES.items()
    for found in re.findall(
        r'report\(\s*"(results/[^"]+)",\s*\*\*in_report\(\s*"([^"]+)",\s*"([^"]+)",\s*"(\w+)"', body
    )
]


def test_every_result_for_people_is_in_the_report_once() -> None:
    names = [name for _, name, *_ in SHOWN]
    assert sorted(names) == sorted(name for name in RESULTS if not NOT_SHOWN.search(name))
    labels = [(category, what) for _, _, category, what, _ in SHOWN]
    assert len(set(labels)) == len(labels)
    used = {caption for *_, caption in SHOWN} | {"workflow"}
    assert used == {path.stem for path in CAPTIONS.iterdir()}


@pytest.mark.parametrize(("step", "name", "caption"), [(s, n, c) for s, n, _, _, c in SHOWN])
def test_captions_name_source_images_intervals_and_command(
    step: str, name: str, caption: str
) -> None:
    at = wildcards(dataset="celeba")
    params = {"about": about(outline())(at)} if "about=about(" in RULES[step] else {}
    text = (CAPTIONS / f"{caption}.rst").read_text(encoding="utf-8")
    snakemake = {"wildcards": {"dataset": "celeba"}, "params": params}
    said = Environment(undefined=StrictUndefined).from_string(text).render(snakemake=snakemake)
    assert "Source: painted (synthetic)" in said or "names its source" in said
    assert re.search(r"(?:test|validation) images of celeba|number of test images", said)
    assert "nterval" in said
    target = re.search(r"``snakemake --cores 2 (?:all )?(results/[\w/.]+)``", said)
    assert target
    assert target[1].replace("celeba", "{dataset}") in RESULTS
    assert f"why {target[1]}" in said
    assert step in [s for s, n, *_ in SHOWN if n == target[1].replace("celeba", "{dataset}")]


def test_images_are_counted_where_they_are_known(tmp_path: Path) -> None:
    real = {"datasets": {"celeba": {"root": str(tmp_path)}}, "model": {"source": "hub/x"}}
    made = outline(real, tmp_path)
    assert about(made, "validation")(wildcards(dataset="celeba")) == (
        "Source: real; model: tiny-clip; validation images of celeba."
    )
    place = tmp_path / REFS / "celeba/manifest.json"
    place.parent.mkdir(parents=True)
    for facts, said in (({"images_test": 1234}, "1,234 test images"), ({}, "test images")):
        write_pointer(place, Pointer("build_manifest", {"all": Member({}, facts)}))
        assert about(made)(wildcards(dataset="celeba")).endswith(f"tiny-clip; {said} of celeba.")
    # the run that reads the rules is the one that restores it
    for damaged in (b"", b"garbage", place.read_bytes()[:-9]):
        place.write_bytes(damaged)
        assert about(made)(wildcards(dataset="celeba")).endswith("; test images of celeba.")


def test_labels_have_the_same_columns_everywhere() -> None:
    found = in_report("Result", "summary", "summary")
    assert found["labels"] == {"data set": "{dataset}", "what": "summary"}
    assert (BASE / "rules" / found["caption"]).is_file()


def test_only_what_was_made_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    refs = tmp_path / "artifacts/refs/celeba"
    refs.mkdir(parents=True)
    (refs / "features.json").touch()
    (refs / "topk").mkdir()
    monkeypatch.chdir(tmp_path)
    asked: list[list[str]] = []

    class Done:
        returncode = 0

    def run(words: list[str], check: bool) -> Done:
        asked.append(words[3:])
        Done.returncode = int("results/no_table.csv" in words)
        return Done()

    monkeypatch.setattr("clipsteer.cli.report.subprocess.run", run)
    assert main(["report", "celeba", "--cores", "2", "--config", "seed=1"]) == 0
    targets = ["results/celeba_table.csv", "artifacts/refs/celeba/features.json"]
    words = [*targets, "--cores", "2", "--config", "seed=1"]
    assert asked == [words, [*words, "--report", "results/celeba_report.zip"]]
    assert main(["report", "no"]) == 1
    assert main(["report", "celeba", "--out", "report.pdf"]) == 1
    said = capfd.readouterr().err
    assert "no report of no was written" in said
    assert "expected a file that ends in .zip or .html" in said
