"""What stands for the user's own files: looked at once, noted for jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import digest_bytes
from clipsteer.store.pointers import Member, Pointer, chain_key, write_pointer
from clipsteer.workflow.outline import MODEL
from clipsteer.workflow.recipes import Recipes
from clipsteer.workflow.released import expected
from clipsteer.workflow.sources import Sources
from tests.data.small_trees import write
from tests.workflow.outlines import outline, wildcards
from tests.workflow.released_trees import WIDTH, imported, prisma_layer


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sources(*, scans: bool = True, **sections: Any) -> Sources:
    made = outline(sections, Path.cwd())
    return Sources(made, Recipes(made), scans=scans)


def birds(root: Path) -> dict[str, Any]:
    write(root / "metadata.csv", "img_filename,y,split,place\na.jpg,0,0,1\n")
    write(root / "a.jpg", b"a picture")
    return {"datasets": {"waterbirds": {"root": str(root)}}}


def test_a_painted_data_set_has_none() -> None:
    assert sources().manifest(wildcards(dataset="celeba")) == ""


def test_a_folder_counts_by_its_content_and_is_looked_at_once(tmp_path: Path) -> None:
    config = birds(tmp_path / "birds")
    found = sources(**config)
    before = found.manifest(wildcards(dataset="waterbirds"))
    write(tmp_path / "birds/a.jpg", b"another picture")
    assert found.token("waterbirds") == before
    after = sources(**config).token("waterbirds")
    assert after != before
    # the folder's place is no part of it
    assert sources(**birds(tmp_path / "moved")).token("waterbirds") == before


def test_jobs_take_what_the_main_process_has_noted(tmp_path: Path) -> None:
    config = birds(tmp_path / "birds")
    jobs = sources(scans=False, **config)
    assert jobs.known("waterbirds") == {}
    main = sources(**config)
    token = main.token("waterbirds")
    assert not (tmp_path / "artifacts").exists()  # a dry run writes nothing there
    main.note()
    (tmp_path / "birds/a.jpg").unlink()
    assert jobs.token("waterbirds") == token
    assert dict(jobs.known("waterbirds")) == json.loads(token)


def test_a_missing_folder_is_named_with_its_key(tmp_path: Path) -> None:
    found = sources(datasets={"waterbirds": {"root": str(tmp_path / "none")}})
    with pytest.raises(ClipsteerError, match=r"datasets\.waterbirds\.root: found nothing at"):
        found.token("waterbirds")


def test_a_folder_without_a_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    shape = {"num_hidden_layers": 6, "hidden_size": 8}
    write(tmp_path / "clip/config.json", json.dumps({"model_type": "clip", "vision_config": shape}))
    found = sources(model={"source": str(tmp_path / "clip")})
    with pytest.raises(ClipsteerError, match=r"model\.source: .*no tokenizer"):
        found.model(wildcards())


def test_a_hub_model_counts_by_the_commit_that_was_taken() -> None:
    config = {"activations": {"layers": [0]}, "model": {"source": "some/clip", "revision": "v1"}}
    found = sources(**config)
    assert found.model(wildcards()) is None  # before the first run
    recipe = Recipes(outline(config, Path.cwd())).of("import_clip")(wildcards())
    commit = '{"commit":"abc"}'
    pointer = Pointer(
        "import_clip",
        {"all": Member({}, facts={"commit": "abc"})},
        chain_key(recipe, [digest_bytes(commit.encode())]),
    )
    place = Path(MODEL.format(model="model"))
    place.parent.mkdir(parents=True)
    write_pointer(place, pointer)
    assert found.model(wildcards()) == commit
    # another revision's commit says nothing of this one
    config["model"]["revision"] = "v2"
    assert sources(**config).model(wildcards()) is None


def released(place: Path, **model: Any) -> dict[str, Any]:
    """A configuration with a released dictionary of two layers, for a CLIP folder of its width."""
    for layer in (0, 2):
        prisma_layer(place / f"sae/layer_{layer}", layer)
    shape = {"num_hidden_layers": 3, "hidden_size": WIDTH}
    config = {"model_type": "clip", "vision_config": shape, **model}
    write(place / "clip/config.json", json.dumps(config))
    return {
        "activations": {"layers": [0, 2]},
        "model": {"source": str(place / "clip")},
        "dictionaries": {"theirs": imported(place / "sae/layer_{layer}")},
        "tables": {"celeba": ["theirs"], "waterbirds": []},
    }


def test_a_released_dictionary_counts_by_the_content_of_the_layers_of_a_block(
    tmp_path: Path,
) -> None:
    config = released(tmp_path)
    at = wildcards(dictionary="theirs", block="layers_00-02")

    def token(**others: Any) -> Any:
        return json.loads(sources(**(config | others)).dictionary(at))

    before = token()
    assert before.keys() == {"0", "2"}
    assert before["2"]["files"].keys() == {"config.json", "weights.pt"}
    write(tmp_path / "sae/layer_2/README.md", "this says nothing of it")
    assert token() == before
    prisma_layer(tmp_path / "sae/layer_2", 2, broken=True)
    after = token()
    assert (after["0"], after["2"] == before["2"]) == (before["0"], False)
    main = sources(**config)
    assert json.loads(main.dictionary(at)) == after
    main.note()
    assert json.loads(sources(scans=False, **config).dictionary(at)) == after


@pytest.mark.parametrize(
    ("named", "fits"),
    [("who/tiny", True), ("who/other", False), ("/a/folder/of/theirs", True), (None, True)],
)
def test_a_dictionary_of_another_clip_is_refused_where_both_have_a_name(
    tmp_path: Path, named: str | None, fits: bool
) -> None:
    config = released(tmp_path, **({"_name_or_path": named} if named else {}))
    at = wildcards(dictionary="theirs", block="layers_00-02")
    if fits:
        sources(**config).dictionary(at)
    else:
        with pytest.raises(
            ClipsteerError, match=r"made for open-clip:who/tiny, .* has it for who/other"
        ):
            sources(**config).dictionary(at)
        config["dictionaries"]["theirs"]["allow_other_model"] = True
        sources(**config).dictionary(at)


def test_a_family_says_its_tokens_unless_the_config_does(tmp_path: Path) -> None:
    def tokens(**others: Any) -> Any:
        config = released(tmp_path)
        config["dictionaries"]["theirs"] = imported("prisma:topk-cls", **others)
        return expected(outline(config, tmp_path), "theirs")["tokens"]

    assert (tokens(), tokens(tokens="all")) == ("cls", "all")
