"""Dictionaries written for other programs: what they expect to find, and the same codes on the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from clipsteer.__main__ import main
from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.claimed import Expected
from clipsteer.dictionaries.export import export
from clipsteer.dictionaries.files import load, save
from clipsteer.dictionaries.gated import Gated
from clipsteer.dictionaries.importing import import_dictionary
from clipsteer.dictionaries.jumprelu import JumpReLU
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.dictionaries.scaled_topk import ScaledTopK
from clipsteer.errors import ClipsteerError
from clipsteer.store.layout import FORMAT_FILE
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Member, Output, Pointer, write_pointer
from clipsteer.store.trees import put_tree
from tests.dictionaries import helpers

RELEASES = Path(__file__).parent / "goldens" / "releases"
PLACE = {"hook_point": "resid_post", "layer": 3}
EXPECTED = Expected(layer=3, hook_point="resid_post", model="openai/some-clip")
X = helpers.tokens(40, 7, dtype=torch.float32)


def of(kind: str) -> Dictionary:
    plain = helpers.make("topk" if kind == "topk" else "vanilla", dtype=torch.float32)
    tensors = helpers.make("vanilla", dtype=torch.float32).tensors()
    more = helpers.make("vanilla", seed=5, dtype=torch.float32).b_enc
    kinds: dict[str, Any] = {
        "jumprelu": lambda: JumpReLU(**tensors, threshold=more.abs()),
        "gated": lambda: Gated(**tensors, gain=more.exp(), shift=more),
        "scaled_topk": lambda: ScaledTopK(**tensors, k=4, gain=more.exp()),
    }
    return kinds.get(kind, lambda: plain)()  # type: ignore[no-any-return]


@pytest.mark.parametrize("layout", ["saelens", "prisma"])
@pytest.mark.parametrize("kind", ["vanilla", "topk", "scaled_topk", "jumprelu", "gated"])
@pytest.mark.parametrize("tokens", ["all", "spatial"])
def test_a_round_trip_gives_the_same_codes(
    tmp_path: Path, layout: str, kind: str, tokens: Any
) -> None:
    before = of(kind)
    before.tokens = tokens
    save(before, tmp_path / "ours", PLACE)
    if (layout, kind) == ("prisma", "jumprelu"):
        with pytest.raises(ClipsteerError, match="jumprelu: ViT-Prisma has no form for it"):
            export(tmp_path / "ours", tmp_path / "theirs", layout)
        return
    export(tmp_path / "ours", tmp_path / "theirs", layout, "openai/some-clip")
    after = import_dictionary(tmp_path / "theirs", EXPECTED, "dictionaries.x", tmp_path)
    assert after.about["format"] == layout
    assert after.about["model"] == "openai/some-clip"
    assert (after.dictionary.architecture, after.dictionary.tokens) == (kind, tokens)
    codes = before.encode(X)
    assert 0.02 < float((codes > 0).float().mean()) < 0.9
    torch.testing.assert_close(after.dictionary.encode(X), codes, atol=2e-6, rtol=2e-6)
    again = after.dictionary.decode(codes)
    torch.testing.assert_close(again, before.decode(codes), atol=2e-6, rtol=2e-6)
    if kind in ("vanilla", "topk"):
        assert all(
            torch.equal(t, after.dictionary.tensors()[n]) for n, t in before.tensors().items()
        )


@pytest.mark.parametrize(
    ("kind", "theirs"), [("vanilla", "standard"), ("topk", "topk"), ("jumprelu", "jumprelu"), ("gated", "gated")]
)  # fmt: skip
def test_saelens_finds_all_that_it_writes_itself(tmp_path: Path, kind: str, theirs: str) -> None:
    save(of(kind), tmp_path / "ours", PLACE)
    export(tmp_path / "ours", tmp_path / "theirs", "saelens", "openai/some-clip")
    golden = RELEASES / f"saelens_{theirs}"
    config, example = (
        json.loads((p / "cfg.json").read_text()) for p in (tmp_path / "theirs", golden)
    )
    assert config.keys() == example.keys()
    own = {"d_in": 7, "d_sae": 20, "k": config.get("k"), "apply_b_dec_to_input": True}
    metadata = {k: v for k, v in example["metadata"].items() if k != "sae_lens_training_version"}
    assert config == {k: v for k, v in (example | own).items() if k in config} | {
        "metadata": metadata | {"clipsteer_tokens": "all"}
    }
    tensors, shapes = (
        load_file(p / "sae_weights.safetensors") for p in (tmp_path / "theirs", golden)
    )
    assert tensors.keys() == shapes.keys()
    assert all((t.ndim, t.dtype) == (shapes[n].ndim, torch.float32) for n, t in tensors.items())


def test_nothing_is_overwritten_and_no_form_is_made_up(tmp_path: Path) -> None:
    save(of("vanilla"), tmp_path / "ours", PLACE)
    export(tmp_path / "ours", tmp_path / "theirs", "prisma")
    with pytest.raises(
        ClipsteerError, match=r"found config\.json, weights\.pt, expected a folder without"
    ):
        export(tmp_path / "ours", tmp_path / "theirs", "prisma")
    save(NeuronBasis(7), tmp_path / "neurons", PLACE)
    for layout in ("saelens", "prisma"):
        with pytest.raises(ClipsteerError, match=r"neurons: .* has no form for it"):
            export(tmp_path / "neurons", tmp_path / "none", layout)
    assert not (tmp_path / "none").exists()


def test_the_command_writes_the_layers_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    objects = ObjectStore(tmp_path / "artifacts")
    assert (tmp_path / "artifacts" / FORMAT_FILE).exists()
    members = {}
    for layer in (0, 3):
        save(of("topk"), tmp_path / f"ours_{layer}", {"hook_point": "resid_post", "layer": layer})
        digest = put_tree(objects, tmp_path / f"ours_{layer}")
        members[f"topk/layer_{layer:02d}"] = Member({"dictionary": Output(digest, 1, "tree")}, {})
    place = tmp_path / "artifacts/refs/dictionaries/topk"
    place.mkdir(parents=True)
    write_pointer(
        place / "layers_00-03.json", Pointer("train_dictionary", members, "sha256:" + "0" * 64)
    )
    words = ["export-dictionary", "topk", "out", "--format", "saelens"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"out/layer_{layer:02d}: cfg.json, sae_weights.safetensors" for layer in (0, 3)
    ]
    found = import_dictionary(tmp_path / "out/layer_03", EXPECTED, "dictionaries.x", tmp_path)
    assert torch.equal(found.dictionary.encode(X), load(tmp_path / "ours_3").encode(X))
    assert main([*words, "--layer", "1"]) == 1
    assert "found no such layer of topk, expected one of 0, 3" in capsys.readouterr().err
    assert main(["export-dictionary", "topp", "out", "--format", "prisma"]) == 1
    assert "Did you mean topk?" in capsys.readouterr().err
