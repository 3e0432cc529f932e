from __future__ import annotations

from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.lineage.graph import Source
from clipsteer.runner.scan import FORMAT as TOKEN_FORMAT
from clipsteer.store.digest import digest_bytes
from clipsteer.store.entries import Entry
from clipsteer.store.pointers import Member, Output, Pointer, write_pointer
from clipsteer.store.trees import put_tree_entries
from tests.lineage.chains import Chain

TOKEN = {
    "digest": digest_bytes(b"files"),
    "files": 24,
    "format": TOKEN_FORMAT,
    "names": 0,
    "watch": "files",
}
TABLE = b"layer,worst\n0,1.5\n1,2.5\n2,3.5\n3,4.5\n"


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path / "store")


def diamond(chain: Chain, seed: int = 0) -> dict[str, str]:
    """manifest -> two shards -> table, which reads the manifest too; the table's digests and key."""
    manifest = chain.act(
        "manifest", {}, {"rows": b"rows"}, recipe={"seed": seed, "token": TOKEN}, name="faces",
        roots={"faces": "/data/faces", "birds": "/data/birds"},
    )  # fmt: skip
    shards = {
        f"shard/{i}": chain.act(
            "extract", {"rows": manifest["rows"]}, {"x": b"%d" % i}, recipe={"layer": i}
        )["x"]
        for i in range(2)
    }
    return chain.act("table", {**shards, "rows": manifest["rows"]}, {"csv": TABLE, "md": b"# t"})


def test_the_lineage_of_a_file_is_every_action_once(chain: Chain, tmp_path: Path) -> None:
    table = diamond(chain)
    chain.act("extract", {}, {"x": b"of something else"})
    (tmp_path / "table.csv").write_bytes(TABLE)
    found = chain.lineage(tmp_path / "table.csv")
    assert found.target.made == {"csv": Source(table["csv"], table["key"])}
    steps = [node.record["step"] for node in found.nodes.values()]
    assert steps == ["table", "extract", "extract", "manifest"]
    manifest = list(found.nodes)[-1]
    assert found.nodes[table["key"]].inputs["rows"] == Source(digest_bytes(b"rows"), manifest)
    assert found.unknown() == []


def test_an_action_stands_before_what_it_depends_on(chain: Chain) -> None:
    found = chain.lineage(diamond(chain)["key"])
    order = {key: i for i, key in enumerate(found.nodes)}
    for key, node in found.nodes.items():
        assert all(order[key] < order[s.producer or ""] for s in node.inputs.values())


def test_raw_files_are_named_with_their_folder(chain: Chain) -> None:
    (raw,) = chain.lineage(diamond(chain)["csv"]).raw()
    assert (raw["name"], raw["folder"], raw["token"]) == ("faces", "/data/faces", TOKEN)


def test_every_way_to_name_a_target_leads_to_it(chain: Chain, tmp_path: Path) -> None:
    table = diamond(chain)
    expected = set(chain.lineage(table["key"]).nodes)
    digits = table["key"].removeprefix("blake3:")
    for text in (table["csv"], table["key"][:20], digits, digits[:12]):
        assert set(chain.lineage(text).nodes) == expected
    assert chain.lineage(table["csv"]).target.made == {"csv": Source(table["csv"], table["key"])}
    assert chain.lineage(table["key"]).target.made == {"": Source(table["key"], table["key"])}


def test_a_pointer_has_one_member_for_each_action(chain: Chain, tmp_path: Path) -> None:
    a, b = (
        chain.act("train", {}, {"d": b"a%d" % i}, recipe=i, facts={"l0": i}, label=f"train t/{i}")
        for i in range(2)
    )
    members = {
        f"t/{i}": Member({"d": Output(made["d"], 2)}, {"l0": i}) for i, made in enumerate((a, b))
    }
    write_pointer(tmp_path / "p.json", Pointer("train", members))
    found = chain.lineage(tmp_path / "p.json")
    assert {name: source.producer for name, source in found.target.made.items()} == {
        "t/0": a["key"],
        "t/1": b["key"],
    }
    # equal bytes in two members: each has its own action
    c, d = (chain.act("train", {}, {"d": b"s"}, recipe=i, label=f"train s/{i}") for i in "01")
    write_pointer(
        tmp_path / "s.json",
        Pointer("train", {f"s/{i}": Member({"d": Output(c["d"], 1)}) for i in "01"}),
    )
    made = chain.lineage(tmp_path / "s.json").target.made
    assert [source.producer for source in made.values()] == [c["key"], d["key"]]
    # other facts, another step: these are not what the pointer stands for
    for pointer in (
        Pointer("train", {"t/0": Member({"d": Output(a["d"], 2)}, {"l0": 9})}),
        Pointer("other", {"t/0": members["t/0"]}),
    ):
        write_pointer(tmp_path / "p.json", pointer)
        with pytest.raises(ClipsteerError, match=r"'t/0'.*expected one in"):
            chain.lineage(tmp_path / "p.json")


def test_of_several_actions_the_last_used_is_shown_and_the_others_named(chain: Chain) -> None:
    old = chain.act("train", {}, {"d": b"same"}, recipe={"workers": 1})
    new = chain.act("train", {}, {"d": b"same"}, recipe={"workers": 2})
    table = chain.act("table", {"d": old["d"]}, {"csv": b"t"})
    (source,) = chain.lineage(table["key"]).nodes[table["key"]].inputs.values()
    assert source == Source(old["d"], new["key"], (old["key"],))
    chain.use(old["key"])
    found = chain.lineage(table["key"])
    assert found.nodes[table["key"]].inputs["d"] == Source(old["d"], old["key"], (new["key"],))
    assert set(found.nodes) == {table["key"], old["key"]}


def test_an_action_that_began_after_its_reader_is_not_its_source(chain: Chain) -> None:
    """Going to another config that gives the same bytes must not rewrite an old result's lineage."""
    times = [f"2026-01-0{day}T00:00:00+00:00" for day in range(1, 4)]
    old = chain.act("select", {}, {"f": b"same"}, recipe={"drop": 4}, began=times[0])
    table = chain.act("table", {"f": old["f"]}, {"csv": b"t"}, began=times[1])
    new = chain.act("select", {}, {"f": b"same"}, recipe={"drop": 5}, began=times[2])
    assert chain.lineage(table["key"]).nodes[table["key"]].inputs["f"] == Source(
        old["f"], old["key"], (new["key"],)
    )
    # where only such are left, one of them must do
    chain.actions.forget(old["key"])
    assert chain.lineage(table["key"]).nodes[table["key"]].inputs["f"].producer == new["key"]


def test_the_member_that_an_input_names_comes_before_the_last_used(chain: Chain) -> None:
    made = {
        member: chain.act("ablate", {}, {"x": b"same"}, recipe=member, label=f"ablate {member}")
        for member in ("nontopk/layer_00", "topk/layer_00", "vanilla/layer_00")
    }
    digest = made["topk/layer_00"]["x"]
    table = chain.act("table", {f"x/{member}": digest for member in made}, {"csv": b"t"})
    inputs = chain.lineage(table["key"]).nodes[table["key"]].inputs
    assert {name: source.producer for name, source in inputs.items()} == {
        f"x/{member}": one["key"] for member, one in made.items()
    }


def test_the_readers_own_member_comes_before_the_last_used(chain: Chain) -> None:
    made = [
        chain.act("select", {}, {"x": b"same"}, recipe=i, label=f"select n/layer_{i:02d}")
        for i in range(3)
    ]
    for i, one in enumerate(made):
        reader = chain.act("ablate", {"x": one["x"]}, {}, recipe=i, label=f"ablate n/layer_{i:02d}")
        (source,) = chain.lineage(reader["key"]).nodes[reader["key"]].inputs.values()
        assert source.producer == one["key"]


def test_an_action_is_not_its_own_source(chain: Chain) -> None:
    first = chain.act("make", {}, {"x": b"x"})
    # both give back the bytes that they were given, and were used later than the maker
    echo = chain.act("echo", {"x": first["x"]}, {"y": b"x"})
    again = chain.act("again", {"x": first["x"]}, {"z": b"x", "end": b"end"})
    found = chain.lineage(again["end"])
    assert list(found.nodes) == [again["key"], echo["key"], first["key"]]
    assert found.nodes[echo["key"]].inputs["x"].producer == first["key"]


def test_an_input_that_nobody_made_is_shown_as_such(chain: Chain) -> None:
    lost = digest_bytes(b"lost")
    table = chain.act("table", {"x": lost}, {"csv": b"t"})
    found = chain.lineage(table["key"])
    assert found.unknown() == [(table["key"], "x", lost)]
    assert found.as_json()["unknown"] == [{"digest": lost, "input": "x", "key": table["key"]}]


def test_a_file_in_an_output_tree_belongs_to_its_action(chain: Chain, tmp_path: Path) -> None:
    blob = chain.objects.put_bytes(b"weights")
    tree = put_tree_entries(chain.objects, {"w.safetensors": Entry(blob, 7, "blob")})
    made = chain.act("train", {}, {"log": b"log"})
    record = dict(chain.actions.get(made["key"]) or {})
    chain.actions.forget(made["key"])
    record["outputs"]["dictionary"] = {"digest": tree, "size": 7, "kind": "tree"}
    chain.actions.publish(made["key"], record)
    (tmp_path / "w").write_bytes(b"weights")
    assert list(chain.lineage(tmp_path / "w").nodes) == [made["key"]]


# ---- what has no lineage


def refused(chain: Chain, target: Path | str) -> str:
    with pytest.raises(ClipsteerError) as error:
        chain.lineage(target)
    return str(error.value)


def test_an_edited_result_is_recognised(chain: Chain, tmp_path: Path) -> None:
    table = diamond(chain)
    path = tmp_path / "table.csv"
    path.write_bytes(TABLE + b"4,9.9\n")
    text = refused(chain, path)
    assert (
        f"all but 1 of its 6 lines are those of the output csv of table ({table['key'][:18]}"
        in text
    )
    assert "run snakemake again; it keeps an edited result as" in text
    path.write_bytes(TABLE.replace(b"\n", b"\r\n"))
    assert "its lines are those of the output csv" in refused(chain, path)


def test_a_file_from_elsewhere_is_not_called_edited(chain: Chain, tmp_path: Path) -> None:
    diamond(chain)
    path = tmp_path / "other.csv"
    path.write_bytes(b"layer,worst\nof,something\nquite,else\nmore,of\nit,all\n")
    text = refused(chain, path)
    assert "lines are" not in text
    assert "its record is gone" in text
    assert "Results on record: table (csv, md; " in text


def test_what_only_later_actions_read_is_no_result_to_offer(chain: Chain, tmp_path: Path) -> None:
    diamond(chain)
    (tmp_path / "nothing").write_bytes(b"")
    assert "manifest" not in refused(chain, tmp_path / "nothing").partition("Results on record")[2]


def test_an_empty_store_says_so(chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    assert "The store has no results yet." in refused(chain, tmp_path / "x")


def test_unknown_names_are_refused(chain: Chain, tmp_path: Path) -> None:
    diamond(chain)
    assert "found no such file" in refused(chain, "results/none.csv")
    assert "found no such file" in refused(chain, "abc")  # too short for a name
    assert "found no action and no object" in refused(chain, "0123456789ab")
    loose = chain.objects.put_bytes(b"loose")
    assert "an object that no action on record made" in refused(chain, loose)
    write_pointer(tmp_path / "empty.json", Pointer("extract"))
    assert "a pointer of extract with no members" in refused(chain, tmp_path / "empty.json")
    (tmp_path / "raw.json").write_text(f'{{"format": "{TOKEN_FORMAT}"}}')
    assert "the token of a scan" in refused(chain, tmp_path / "raw.json")
