from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.lineage.compare import Difference, compare
from clipsteer.lineage.graph import Node
from clipsteer.lineage.reasons import ABSENT
from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.pointers import Member, Output, Pointer, write_pointer
from tests.lineage.chains import Chain, material


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path / "store")


def act(
    chain: Chain, step: str, inputs: Mapping[str, Mapping[str, str]], **settings: Any
) -> dict[str, str]:
    """An action with one output `x`, whose bytes depend on all that its key depends on."""
    digests = {name: made["x"] for name, made in inputs.items()}
    text = canonical_json([step, digests, settings.get("recipe"), settings.get("code")])
    return chain.act(step, digests, {"x": settings.pop("bytes", text)}, **settings)


def table(
    chain: Chain,
    *,
    layers: int = 2,
    k: int = 16,
    select: Mapping[str, Any] | None = None,
    world: int = 0,
    dictionaries: tuple[str, ...] = ("topk",),
) -> dict[str, str]:
    """paint -> train -> select -> table, with a layer's dictionary to each selection."""
    painted = act(chain, "paint", {}, recipe={"seed": world})
    chosen = {}
    for name in dictionaries:
        for layer in range(layers):
            member = f"{name}/layer_{layer:02d}"
            trained = act(
                chain,
                "train",
                {"images": painted},
                recipe={"k": k, "layer": layer, "name": name},
                label=f"train {member}",
            )
            chosen[f"selection/{member}"] = act(
                chain,
                "select",
                {"dictionary": trained, "images": painted},
                recipe={"layer": layer, "name": name},
                code=select,
                label=f"select {member}",
            )
    return act(chain, "table", chosen, recipe={"dictionaries": list(dictionaries)})


def difference(chain: Chain, a: Mapping[str, str], b: Mapping[str, str]) -> Difference:
    return compare(chain.lineage(a["key"]), chain.lineage(b["key"]))


def causes(found: Difference) -> list[tuple[str, str, str]]:
    return [(c.label, c.reason.kind, c.reason.name) for c in found.causes]


def follow(found: Difference) -> list[str]:
    return sorted(found.b.nodes[b].label for _, b in found.consequences)


def test_equal_results_have_no_differences(chain: Chain) -> None:
    found = difference(chain, table(chain), table(chain))
    assert found.equal
    assert found.same == len(found.a.nodes) == 6


def test_one_changed_key_is_the_only_cause(chain: Chain) -> None:
    found = difference(chain, table(chain), table(chain, k=8))
    assert causes(found) == [
        ("train topk/layer_00", "config", "k"),
        ("train topk/layer_01", "config", "k"),
    ]
    assert {(c.reason.old, c.reason.new) for c in found.causes} == {(16, 8)}
    assert follow(found) == ["select topk/layer_00", "select topk/layer_01", "table"]
    assert found.same == 1


def test_a_cause_at_the_bottom_is_compared_once(chain: Chain) -> None:
    found = difference(chain, table(chain), table(chain, world=1))
    assert causes(found) == [("paint", "config", "seed")]
    assert len(found.consequences) == 5


def test_changed_code_in_the_middle(chain: Chain) -> None:
    found = difference(chain, table(chain), table(chain, select=material(helper="two")))
    assert causes(found) == [
        ("select topk/layer_00", "module", "helper"),
        ("select topk/layer_01", "module", "helper"),
    ]
    assert follow(found) == ["table"]
    assert found.same == 3


def test_causes_above_other_causes_are_told_as_well(chain: Chain) -> None:
    found = difference(chain, table(chain), table(chain, k=8, select=material(helper="two")))
    assert {label.split()[0] for label, _, _ in causes(found)} == {"train", "select"}
    assert follow(found) == ["table"]


def test_added_layers_and_dictionaries_stand_on_one_side(chain: Chain) -> None:
    found = difference(chain, table(chain), table(chain, layers=3))
    assert causes(found) == [("table", "input", "selection/topk/layer_02")]
    assert found.causes[0].reason.old == ABSENT
    found = difference(chain, table(chain, dictionaries=("topk", "more")), table(chain))
    assert causes(found) == [
        ("table", "config", "dictionaries"),
        ("table", "input", "selection/more/layer_00"),
        ("table", "input", "selection/more/layer_01"),
    ]
    assert found.causes[1].reason.new == ABSENT
    assert found.consequences == []


def test_an_input_that_another_step_makes_now(chain: Chain) -> None:
    tiny, real = (act(chain, step, {}, recipe={}) for step in ("pretrain", "import"))
    a, b = (act(chain, "head", {"model": model}) for model in (tiny, real))
    found = difference(chain, a, b)
    assert causes(found) == [("head", "input", "model")]
    assert (found.causes[0].reason.old, found.causes[0].reason.new) == (tiny["x"], real["x"])
    assert found.consequences == []  # two steps have nothing to compare


def test_another_output_of_the_same_action_is_a_cause(chain: Chain) -> None:
    shard = chain.act("extract", {}, {"resid/0": b"r", "mlp/0": b"m"})
    a, b = (chain.act("mean", {"x": shard[n]}, {"y": n.encode()}) for n in ("resid/0", "mlp/0"))
    assert causes(difference(chain, a, b)) == [("mean", "input", "x")]


def test_raw_bytes_without_an_action_are_a_cause(chain: Chain) -> None:
    a, b = (chain.act("t", {"x": digest_bytes(x)}, {"y": x}) for x in (b"1", b"2"))
    assert causes(difference(chain, a, b)) == [("t", "input", "x")]


def test_code_that_is_not_on_record_is_compared_by_its_fingerprint(chain: Chain) -> None:
    a, b, c = (
        chain.lineage(act(chain, "t", {}, recipe=n, code=material(m=m))["key"])
        for n, m in enumerate(["one", "one", "two"])
    )
    for one in (b, c):
        for key, node in one.nodes.items():
            one.nodes[key] = Node({**node.record, "run": {}}, node.inputs)  # type: ignore[index]
    assert causes(compare(a, b)) == [("t", "config", "")]
    assert causes(compare(a, c)) == [("t", "config", ""), ("t", "module", "(not recorded)")]


def test_equal_bytes_end_the_search(chain: Chain) -> None:
    """Another recipe that gave the same bytes made no difference to what follows."""
    one, two = (act(chain, "train", {}, recipe={"threads": n}, bytes=b"same") for n in (1, 2))
    a = act(chain, "table", {"d": one}, recipe={"seed": 0})
    b = act(chain, "table", {"d": two}, recipe={"seed": 1})
    assert causes(difference(chain, a, b)) == [("table", "config", "seed")]
    assert causes(difference(chain, one, two)) == [("train", "config", "threads")]


def test_results_of_different_steps_are_refused(chain: Chain) -> None:
    a, b = act(chain, "train", {}), act(chain, "table", {})
    with pytest.raises(ClipsteerError, match="results of train and of table, expected two"):
        difference(chain, a, b)


def test_pointers_are_compared_member_by_member(chain: Chain, tmp_path: Path) -> None:
    def pointer(name: str, **recipes: int) -> Path:
        made = {m: act(chain, "train", {}, recipe=[m, r]) for m, r in recipes.items()}
        members = {
            m: Member({"x": Output(d["x"], len(chain.objects.get_bytes(d["x"])))})
            for m, d in made.items()
        }
        write_pointer(tmp_path / name, Pointer("train", members))
        return tmp_path / name

    a, b = pointer("a", one=1, two=1, three=1), pointer("b", one=1, two=2, four=1)
    found = compare(chain.lineage(a), chain.lineage(b))
    assert [(c.label, c.reason.name) for c in found.causes] == [
        ("the pointer", "four"),
        ("the pointer", "three"),
        ("train", ""),
    ]
    assert (found.causes[0].a, found.causes[1].b) == (None, None)


def test_the_json_says_all(chain: Chain) -> None:
    value = difference(chain, table(chain), table(chain, k=8)).as_json()
    assert value["equal"] is False
    assert value["causes"][0].keys() == {"a", "b", "kind", "label", "name", "new", "old"}
    assert len(value["consequences"]) == 3
    assert value["same"] == 1
