from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from clipsteer.cli import why
from clipsteer.cli.lineage_tree import places
from clipsteer.errors import ClipsteerError
from clipsteer.runner.scan import FORMAT as TOKEN_FORMAT
from clipsteer.store.digest import digest_bytes
from tests.lineage.chains import Chain, material

TOKEN = {
    "digest": digest_bytes(b"files"),
    "files": 24,
    "format": TOKEN_FORMAT,
    "names": 0,
    "watch": "files",
}
LAYERS = 3

Said = tuple[int, str, str]
Command = Callable[..., Said]


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path / "store")


@pytest.fixture
def command(
    chain: Chain, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """`command("why", target, ...)`: (exit status, standard output, standard error)."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str | Path) -> Said:
        parser = argparse.ArgumentParser()
        why.add(parser.add_subparsers(required=True))
        arguments = parser.parse_args([*map(str, words), "--store", str(chain.root)])
        code = arguments.run(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def table(chain: Chain, *, k: int = 4, layers: Sequence[int] = range(LAYERS)) -> dict[str, str]:
    """A manifest of raw files, a model, and for each layer a dictionary; its digests and key."""
    manifest = chain.act(
        "build_manifest", {}, {"rows": b"rows"}, recipe={"seed": 0, "token": TOKEN}, name="celeba",
        roots={"celeba": "/data/celeba"}, label="build_manifest",
    )  # fmt: skip
    model = chain.act("pretrain_clip", {"celeba": manifest["rows"]}, {"model": b"model"}, recipe={})
    trained = {
        f"dictionary/topk/layer_{layer:02d}": chain.act(
            "train_dictionary",
            {"model": model["model"], "rows": manifest["rows"]},
            {"dictionary": b"%d %d" % (layer, k)},
            recipe={"layer": layer, "training": {"k": k}},
            code=material(trainer="one"),
            name="topk",
            label=f"train_dictionary topk/layer_{layer:02d}",
        )["dictionary"]
        for layer in layers
    }
    text = f"table {k} {list(layers)}\n".encode()
    return chain.act("make_table", trained, {"csv": text}, recipe={}, name="celeba")


def test_why_shows_like_actions_in_one_place_and_each_place_once(
    chain: Chain, command: Command
) -> None:
    code, out, err = command("why", table(chain)["csv"])
    assert (code, err) == (0, "")
    assert out.count("train_dictionary topk: layers 00-02 (3 actions, 7.5 s)") == 1
    assert out.count("build_manifest celeba (2.5 s)") == 1
    assert out.count("pretrain_clip (2.5 s)") == 1
    assert "also from (shown elsewhere): build_manifest celeba" in out
    assert "dictionaries.topk: training {k 4}" in out
    assert "activations: layers" not in out  # one layer's setting would be shown for all three
    assert "code: 2 modules, 1 package, Python 3.11" in out
    assert "2026-01-02 03:04 UTC on here" in out


def test_why_ends_with_the_raw_files_and_a_summary(chain: Chain, command: Command) -> None:
    _, out, _ = command("why", table(chain)["csv"])
    raw, last = out.splitlines()[-2:]
    assert raw.startswith(
        "raw files   celeba: 24 files in /data/celeba (every file's content counts)"
    )
    assert last == "6 actions of 4 steps, 15 s of computing, 2026-01-02 03:04 UTC on here"


def test_why_tells_what_is_made_from_config_alone_and_what_gave_the_same_bytes(
    chain: Chain, command: Command
) -> None:
    other = chain.act("paint_world", {}, {"world": b"w"}, recipe={"seed": 1}, name="birds")
    painted = chain.act("paint_world", {}, {"world": b"w"}, recipe={"seed": 0}, name="birds")
    _, out, _ = command("why", painted["world"])
    assert "made from its config alone: paint_world birds" in out
    assert f"1 other action gave the same bytes as actions above: {other['key'][7:19]}" in out
    # two of one result that gave the same bytes are no others
    twins = {
        f"x/{i}": chain.act("ablate", {}, {"x": b"x"}, recipe=i, label=f"ablate {i}")["x"]
        for i in "ab"
    }
    _, out, _ = command("why", chain.act("make_table", twins, {"csv": b"t"})["csv"])
    assert "3 actions of 2 steps" in out
    assert "same bytes" not in out


def test_why_names_a_hub_and_its_commit(chain: Chain, command: Command) -> None:
    recipe = {"hub": {"source": "who/clip", "revision": None}}
    made = chain.act(
        "import_clip", {}, {"model": b"m"}, recipe=recipe, facts={"commit": "c0ffee"}, name="model"
    )
    _, out, _ = command("why", made["key"])
    assert "from a hub  model: who/clip, commit c0ffee" in out
    assert "config alone" not in out


def test_depth_cuts_the_tree_and_says_so(chain: Chain, command: Command) -> None:
    _, out, _ = command("why", table(chain)["csv"], "--depth", "1")
    assert "train_dictionary" not in out.partition("raw files")[0]
    assert "1 more below (--depth 1)" in out
    _, out, _ = command("why", table(chain)["csv"], "--depth", "2")
    assert "2 more below (--depth 2)" in out
    with pytest.raises(SystemExit):
        command("why", "x", "--depth", "0")


def test_full_shows_every_action_and_module(chain: Chain, command: Command) -> None:
    made = table(chain)
    _, out, _ = command("why", made["csv"], "--full")
    assert made["key"] in out
    for layer in range(LAYERS):
        assert f"train_dictionary topk: layer {layer:02d} (2.5 s)" in out
    assert (
        "2 modules, 1 package, Python 3.11: workflow_scripts/train_dictionary.py, trainer, numpy"
        in out
    )


def test_an_input_that_nobody_made_stands_in_the_tree(chain: Chain, command: Command) -> None:
    made = chain.act("make_table", {"x": digest_bytes(b"lost")}, {"csv": b"t"})
    _, out, _ = command("why", made["csv"])
    assert "1 input that no action on record made: x" in out


def test_names_are_not_read_as_markup(chain: Chain, command: Command) -> None:
    made = chain.act("make_table", {}, {"csv": b"t"}, recipe={"a": "[red]b[/red]"}, name="[bold]n")
    _, out, _ = command("why", made["csv"])
    assert "[red]b[/red]" in out
    assert "make_table [bold]n" in out


def test_the_json_is_the_whole_graph(chain: Chain, command: Command) -> None:
    made = table(chain)
    _, out, _ = command("why", made["csv"], "--json")
    graph = json.loads(out)
    assert next(iter(graph["actions"])) == made["key"]
    assert len(graph["actions"]) == LAYERS + 3
    action = graph["actions"][made["key"]]
    assert action["label"] == "make_table celeba"
    assert action["material"] == material()
    assert "code" not in action["run"]
    assert action["inputs"]["dictionary/topk/layer_00"].keys() == {"also", "digest", "producer"}
    assert graph["raw"][0]["token"] == TOKEN
    assert graph["target"]["made"]["csv"]["producer"] == made["key"]


def test_members_with_other_settings_or_code_are_not_folded(chain: Chain) -> None:
    made = {}
    for layer, (k, code) in enumerate([(1, "one"), (1, "one"), (2, "one"), (1, "two")]):
        made[f"d/{layer}"] = chain.act(
            "train", {}, {"d": b"%d" % layer}, recipe={"layer": layer, "k": k},
            code=material(m=code), label=f"train t/layer_{layer:02d}",
        )["d"]  # fmt: skip
    found = places(chain.lineage(chain.act("table", made, {"csv": b"t"})["key"]))
    assert [place.title for place in found] == [
        "table",
        "train t: layer 03",
        "train t: layer 02",
        "train t: layers 00-01",
    ]


def test_an_edited_file_has_no_lineage(chain: Chain, command: Command, tmp_path: Path) -> None:
    table(chain)
    path = tmp_path / "table.csv"
    path.write_text("table 4 [0, 1, 2]\nmore\n")
    with pytest.raises(ClipsteerError, match="no action on record"):
        command("why", path)


# ---- diff


def test_diff_of_equal_results(chain: Chain, command: Command) -> None:
    made = table(chain)
    code, out, _ = command("diff", made["csv"], made["key"])
    assert code == 0
    assert "the same 6 actions, nothing differs" in out


def test_diff_tells_each_change_once_with_its_places(chain: Chain, command: Command) -> None:
    a, b = table(chain), table(chain, k=8)
    code, out, _ = command("diff", a["csv"], b["csv"])
    assert code == 1
    assert out.splitlines() == [
        f"{a['csv']} -> {b['csv']}",
        "  dictionaries.topk.training.k: 4 -> 8",
        "      train_dictionary topk: layers 00-02",
        "4 actions only in A, 4 only in B, 2 in both; of the pairs that differ, 1 merely follows",
    ]


def test_diff_folds_inputs_on_one_side(chain: Chain, command: Command) -> None:
    a, b = table(chain), table(chain, layers=[0])
    _, out, _ = command("diff", a["csv"], b["csv"])
    lines = out.splitlines()
    assert lines[1:3] == ["  only in A: dictionary/topk: layers 01-02", "      make_table celeba"]


def test_diff_names_the_step_that_makes_an_input(chain: Chain, command: Command) -> None:
    shards = [
        chain.act("extract", {}, {"resid/00": b"r%d" % i, "mlp/00": b"m%d" % i}, recipe=i)
        for i in range(2)
    ]
    copies = [chain.act("copy", {}, {"mlp/00": b"c%d" % i}, recipe=i) for i in range(2)]
    a, b, c = (
        chain.act("mean", {f"x/{i}": one[name] for i, one in enumerate(made)}, {"y": b"%d" % n})
        for n, (made, name) in enumerate(
            [(shards, "resid/00"), (shards, "mlp/00"), (copies, "mlp/00")]
        )
    )
    _, out, _ = command("diff", a["y"], b["y"])
    assert out.splitlines()[1:3] == ["  input x: resid of extract -> mlp of extract", "      mean"]
    _, out, _ = command("diff", b["y"], c["y"])
    assert out.splitlines()[1] == "  input x: mlp of extract -> mlp of copy"
    other = chain.act("extract", {}, {"resid/00": b"0", "resid/01": b"1"})
    d, e = (chain.act("mean", {"x/0": other[f"resid/0{n}"]}, {"y": b"y%d" % n}) for n in range(2))
    _, out, _ = command("diff", d["y"], e["y"])
    assert out.splitlines()[1] == "  input x: resid/00 of extract -> resid/01 of extract"


def test_diff_folds_inputs_that_nobody_made(chain: Chain, command: Command) -> None:
    a, b = (
        chain.act("mean", {f"x/{i}": digest_bytes(b"%d %d" % (n, i)) for i in range(3)}, {"y": n_})
        for n, n_ in enumerate((b"0", b"1"))
    )
    _, out, _ = command("diff", a["y"], b["y"])
    assert out.splitlines()[1:3] == [
        "  input x: other bytes, which no action on record made",
        "      mean",
    ]
    _, out, _ = command("diff", a["y"], chain.act("mean", {"x/0": a["y"]}, {"y": b"2"})["y"])
    assert "  input x: (not on record) -> y of mean" in out.splitlines()


def test_full_diff_lists_what_follows(chain: Chain, command: Command) -> None:
    a, b = table(chain), table(chain, k=8)
    _, out, _ = command("diff", a["csv"], b["csv"], "--full")
    assert f"  follows: make_table celeba  {a['key']} -> {b['key']}" in out.splitlines()
    assert out.count("      train_dictionary topk/layer_0") == LAYERS


def test_diff_as_json(chain: Chain, command: Command) -> None:
    code, out, _ = command("diff", table(chain)["csv"], table(chain, k=8)["csv"], "--json")
    found = json.loads(out)
    assert code == 1
    assert {cause["config_key"] for cause in found["causes"]} == {"dictionaries.topk.training.k"}
    assert len(found["consequences"]) == 1


def test_diff_in_trouble(chain: Chain, command: Command) -> None:
    code, out, err = command("diff", table(chain)["csv"], "none.csv")
    assert (code, out) == (2, "")
    assert err.startswith("clipsteer: none.csv: found no such file")
