"""The summary: on a screen, with what is lost, and no number without its group."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl
import pytest

from clipsteer.report.headline import headline
from clipsteer.report.summary import WIDTH, render
from clipsteer.steering.outcomes import measure
from tests.report.fakes import (
    GROUPS,
    SAES,
    STEERING,
    fake_ablations,
    fake_images,
    fake_selections,
)

NAMES = list(GROUPS.values())
# An accuracy (with the one before), or points with their interval, or a p-value; then what it is of.
NUMBER = re.compile(
    r"(?:\d+\.\d -> )?\d+\.\d %|[+-]\d+\.\d points(?: \(95 %: [+-]\d+\.\d to [+-]\d+\.\d\))?|p [<=] [\d.e-]+"
)


def made_up(seed: int, empty: tuple[str, ...] = (), rule: str = "no_group_falls") -> dict[str, Any]:
    images, validation = fake_images(30, seed), fake_images(30, seed)
    ablations = fake_ablations(images, layers=4, seeds=2)
    if seed % 2:  # a set that spoils another group, on test alone: another is the worst afterwards
        target, group = images["target"].to_numpy(), images["group"].to_numpy()
        spoilt = [
            np.where(group == 1, 1 - target, p).tolist() for p in ablations["predictions"].to_list()
        ]
        selections = fake_selections(ablations, validation, empty)
        ablations = ablations.with_columns(pl.Series("predictions", spoilt, pl.List(pl.Int8)))
    else:
        selections = fake_selections(ablations, validation, empty)
    found = headline(
        measure(ablations, images, n_groups=4, hardest=3),
        ablations,
        images,
        selections,
        dict.fromkeys(SAES, "resid_post"),
        steering={**STEERING, "strict": rule},
        n_groups=len(NAMES),
    )
    where = {"dataset": "celeba", "source": "painted", "seed": 0}
    return {**where, "resumed_changes": {"0": 1, "2": 4}, **found.as_dict(NAMES)}


HEADLINES = {
    "plain": made_up(0),
    "another group falls": made_up(1),
    "sum": made_up(2, rule="largest_sum"),
    "no strict set": made_up(3, ("strict",)),
    "no set at all": made_up(4, ("strict", "relaxed")),
}


def flat(text: str) -> str:
    """As one line: numbers and names may stand on two."""
    return " ".join(text.split())


@pytest.mark.parametrize("name", HEADLINES)
def test_each_number_is_followed_by_its_group_or_by_all(name: str) -> None:
    text = render(HEADLINES[name])
    line = flat(text)
    found = list(NUMBER.finditer(line))
    owners = (*NAMES, "all")
    for match in found:
        after = line[match.end() :].lstrip()
        assert after.startswith(owners), f"{match[0]} is of {after[:30]!r}"
    assert len(found) >= 5
    assert not re.search(r"\d\.\d", NUMBER.sub("", line)), "a number that the pattern does not know"


@pytest.mark.parametrize("name", HEADLINES)
def test_the_summary_fits_a_screen(name: str) -> None:
    lines = render(HEADLINES[name], left_out={"test": 3, "train": 1234}).splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= WIDTH == 110


@pytest.mark.parametrize("name", ["plain", "another group falls", "sum"])
def test_both_conditions_say_what_is_gained_and_lost(name: str) -> None:
    h = HEADLINES[name]
    text = flat(render(h))
    assert "source: painted (synthetic)" in text
    assert "worst group on validation: blond men" in text
    for condition in ("strict", "relaxed"):
        c = h[condition]
        assert f"{condition}, chosen on validation: layer {c['layer']}, {c['dictionary']}" in text
        for group, after in c["groups_after"].items():
            assert f"{c['groups_before'][group]:.1f} -> {after:.1f} % {group}" in text
        gain, fall = c["gain"], c["largest_fall"]
        interval = f"(95 %: {gain['low']:+.1f} to {gain['high']:+.1f})"
        assert f"gain on test: {gain['points']:+.1f} points {interval} blond men" in text
        lost = f"largest fall {fall['points']:+.1f} points {fall['group']}" if fall else "no group"
        assert f"loss on test: {lost}" in text
        seen = c["validation"]
        whole = f"{seen['overall_before']:.1f} -> {seen['overall_after']:.1f} % all"
        assert f"on validation: {whole}; " in text
    for key in ("sae_over_neurons", "sae_over_random"):
        assert f"{h['relaxed'][key]['chosen']['points']:+.1f} points" in text
    assert "at most 4 of 120 at any layer" in text


def test_a_fall_that_makes_another_group_the_worst_is_said() -> None:
    h = HEADLINES["another group falls"]
    text = flat(render(h))
    assert h["strict"]["worst_group"] == "blonde women"
    assert h["strict"]["gain"]["points"] < 0
    assert "blond men to blonde women, now the worst" in text
    assert re.search(r"loss on test: largest fall -\d+\.\d points blonde women", text)


def test_an_empty_strict_is_said_and_controls_speak_of_relaxed() -> None:
    text = flat(render(HEADLINES["no strict set"]))
    said = "strict (no group falls on validation): nothing is ablated, as no set gains on validation at any of 12"
    assert said in text
    assert "relaxed, mean over 4 layers of" in text
    relaxed = {**HEADLINES["no strict set"]["relaxed"], "layers": [2]}
    one = render({**HEADLINES["no strict set"], "relaxed": relaxed})
    assert "relaxed, mean over 1 layer of" in flat(one)
    for slack, words in ((1, "1 image"), (3, "3 images")):
        lenient = render({**HEADLINES["no strict set"], "strict_slack": slack})
        said = f"strict (no group loses more than {words} on validation): nothing is ablated"
        assert said in flat(lenient)
    largest = render({**HEADLINES["no strict set"], "strict_rule": "largest_sum"})
    assert "strict (neither overall nor worst-group accuracy falls on validation)" in flat(largest)
    nothing = flat(render(HEADLINES["no set at all"]))
    assert "relaxed: nothing is ablated" in nothing
    assert "minus" not in nothing


def test_left_out_images_are_the_last_line() -> None:
    h = HEADLINES["plain"]
    said = "left out: 1,203 images that are listed but missing (3 of test, 1,200 of train)\n"
    assert render(h, left_out={"train": 1200, "test": 3}) == render(h) + said
    assert render(h, left_out={}) == render(h)
