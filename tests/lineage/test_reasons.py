from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clipsteer.lineage.reasons import ABSENT, Reason, explain_change
from clipsteer.runner.scan import FORMAT as TOKEN_FORMAT
from clipsteer.store.actions import STORE_SEMANTICS
from clipsteer.store.digest import canonical_json, digest_bytes
from tests.lineage.chains import Chain, material

RECIPE = {"k": 16, "training": {"lr": 0.002, "l1": None}, "layers": [0, 1], "seed": 0}
INPUT = digest_bytes(b"input")


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    chain = Chain(tmp_path / "store")
    made = chain.act("train", {"x": INPUT}, {"d": b"d"}, recipe=RECIPE)
    return chain.actions.get(made["key"]) or {}


def config(record: dict[str, Any], recipe: Any) -> list[tuple[str, Any, Any]]:
    found = explain_change(record, recipe, material(), {"x": INPUT})
    assert {reason.kind for reason in found} <= {"config"}
    return [(reason.name, reason.old, reason.new) for reason in found]


def with_recipe(record: dict[str, Any], recipe: Any) -> dict[str, Any]:
    return {**record, "recipe": recipe}


def test_an_equal_action_has_no_reason_to_differ(record: dict[str, Any]) -> None:
    assert explain_change(record, dict(reversed(RECIPE.items())), material(), {"x": INPUT}) == []


def test_changed_config_goes_by_its_dotted_path(record: dict[str, Any]) -> None:
    recipe = {
        "k": 32,
        "training": {"lr": 0.002, "l1": 1e-3, "new": None},
        "layers": [0, 2],
        "seed": 0.0,
    }
    assert config(record, recipe) == [
        ("k", 16, 32),
        ("layers", [0, 1], [0, 2]),
        ("seed", 0, 0.0),  # another value of the config, and another key
        ("training.l1", None, 1e-3),
        ("training.new", ABSENT, None),
    ]
    assert config(record, {"k": 16, "seed": 0, "layers": [0, 1], "training": None}) == [
        ("training", RECIPE["training"], None)
    ]


def test_swapped_values_are_two_changes(record: dict[str, Any]) -> None:
    assert config(with_recipe(record, {"a": 1, "b": 2}), {"a": 2, "b": 1}) == [
        ("a", 1, 2),
        ("b", 2, 1),
    ]


def test_lists_of_named_things_are_compared_by_name(record: dict[str, Any]) -> None:
    def listed(*items: tuple[str, int]) -> dict[str, Any]:
        return {"dictionaries": [{"name": name, "k": k} for name, k in items]}

    old = with_recipe(record, listed(("a", 1), ("b", 2)))
    assert config(old, listed(("a", 1), ("b", 3))) == [("dictionaries.b.k", 2, 3)]
    assert config(old, listed(("c", 9), ("a", 1), ("b", 3))) == [
        ("dictionaries", ["a", "b"], ["c", "a", "b"]),
        ("dictionaries.b.k", 2, 3),
    ]
    assert config(old, listed(("b", 2), ("a", 1))) == [("dictionaries", ["a", "b"], ["b", "a"])]
    same = {"dictionaries": [{"name": "a"}, {"name": "a"}]}  # a name that is none
    assert [name for name, _, _ in config(old, same)] == ["dictionaries"]
    assert [name for name, _, _ in config(old, {"dictionaries": []})] == ["dictionaries"]


def test_changed_code_is_told_by_module_package_and_python(record: dict[str, Any]) -> None:
    code = material(**{"clipsteer.steering": "two"})
    code["modules"]["__main__"] = {"compute": "ab", **material()["modules"]["__main__"]}
    code["modules"]["clipsteer.steering"]["choose"] = "cd"
    code["packages"] = {"numpy": "numpy 2.5.0", "torch": "torch 2.13.0"}
    code["python"] = "3.12"
    found = explain_change(record, RECIPE, code, {"x": INPUT})
    assert found == [
        Reason("module", "__main__.compute", ABSENT, "ab"),
        Reason("module", "clipsteer.steering", ABSENT, digest_bytes(b"two")),
        Reason("module", "clipsteer.steering.choose", ABSENT, "cd"),
        Reason("package", "numpy", "numpy 2.4.6", "numpy 2.5.0"),
        Reason("package", "torch", ABSENT, "torch 2.13.0"),
        Reason("python", "", "3.11", "3.12"),
    ]


@pytest.mark.parametrize("run", [None, {}, {"code": None}, {"code": {}}])
def test_code_that_is_not_on_record_is_still_a_reason(
    record: dict[str, Any], run: Mapping[str, Any] | None
) -> None:
    code = material(other="two")
    fingerprint = digest_bytes(canonical_json(code))
    expected = [Reason("module", "(not recorded)", record["code"], fingerprint)]
    old = {**record, "run": run}
    assert explain_change(old, RECIPE, code, {"x": INPUT}) == expected
    assert explain_change(old, RECIPE, material(), {"x": INPUT}) == []
    found = explain_change(record, RECIPE, {}, {"x": INPUT}, new_fingerprint=fingerprint)
    assert found == expected


def test_inputs_by_name(record: dict[str, Any]) -> None:
    other = digest_bytes(b"other")
    found = explain_change(record, RECIPE, material(), {"x": other, "y": INPUT})
    assert found == [Reason("input", "x", INPUT, other), Reason("input", "y", ABSENT, INPUT)]
    assert explain_change(record, RECIPE, material(), {}) == [Reason("input", "x", INPUT, ABSENT)]


def test_raised_semantics_come_first(record: dict[str, Any]) -> None:
    found = explain_change(record, {}, material(), {}, new_semantics=STORE_SEMANTICS + 1)
    assert found[0] == Reason("semantics", "store", STORE_SEMANTICS, STORE_SEMANTICS + 1)


def test_a_token_in_a_recipe_is_an_input(record: dict[str, Any]) -> None:
    token = {"digest": INPUT, "files": 3, "format": TOKEN_FORMAT, "names": 0, "watch": "files"}
    other = {**token, "digest": digest_bytes(b"other"), "files": 4}
    old = with_recipe(record, {"token": token})

    def found(recipe: Any) -> list[Reason]:
        return explain_change(old, recipe, material(), {"x": INPUT})

    assert found({"token": token}) == []
    assert found({"token": other}) == [Reason("input", "token", token, other)]
    labels = {**other, "watch": "labels"}
    assert found({"token": labels}) == [
        Reason("config", "token.watch", "files", "labels"),
        Reason("input", "token", token, labels),
    ]
    assert found({}) == [Reason("input", "token", token, ABSENT)]


def test_reasons_are_ready_for_json() -> None:
    reason = Reason("config", "training.k", ABSENT, [1, None])
    assert reason.as_json() == {
        "kind": "config",
        "name": "training.k",
        "old": "(absent)",
        "new": [1, None],
    }
