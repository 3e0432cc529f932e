"""A run by its pointers: what tables call a dictionary, which cut of jobs counts, and images as the model saw them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from safetensors.torch import save as tensors

import clipsteer
from clipsteer.__main__ import main
from clipsteer.data.fonts import PILLOW, fonts_known
from clipsteer.data.words import attacked
from clipsteer.dictionaries.files import save
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.dictionaries.topk import TopK
from clipsteer.errors import ClipsteerError
from clipsteer.front.placed import Placed
from clipsteer.front.refs import Refs
from clipsteer.front.runs import Run
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Member, Output, Pointer, write_pointer
from clipsteer.store.roots import REFS
from clipsteer.store.state import note_run
from clipsteer.store.trees import put_tree
from tests.backbones.tiny import make_tiny, photos

LAYERS = (0, 2)
BLOCK = "layers_00-02"


class Copy:
    """A working copy with a store, whose pointers are written as steps write them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, ObjectStore(folder / "artifacts")
        (folder / REFS).mkdir(parents=True)

    @property
    def run(self) -> Run:
        return clipsteer.open_run(self.folder)

    def point(
        self, pointer: str, members: Mapping[str, Mapping[str, str]], **facts: object
    ) -> None:
        """A pointer whose members have these outputs, digests by name."""
        found = {
            name: Member({k: Output(digest, 1) for k, digest in outputs.items()}, facts)
            for name, outputs in members.items()
        }
        path = self.folder / REFS / pointer
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pointer(path, Pointer("step", found))

    def dictionary(
        self, pointer: str, name: str, seed: int, layers: tuple[int, ...] = LAYERS
    ) -> None:
        """One of each layer, which differs by `seed`, as training and choice write them."""
        members = {}
        for layer in layers:
            folder = self.folder / f"{name}_{seed}_{layer}"
            save(topk(seed), folder, {"layer": layer, "hook_point": "resid_post"})
            members[f"{name}/layer_{layer:02d}"] = {"dictionary": put_tree(self.store, folder)}
        self.point(pointer, members)

    def note(self, *cut: str, **dictionaries: Mapping[str, object]) -> None:
        note_run({"cut": list(cut), "dictionaries": dictionaries}, self.folder)


def topk(seed: int) -> TopK:
    rows = torch.randn(24, 16, generator=torch.Generator().manual_seed(seed))
    rows = torch.nn.functional.normalize(rows, dim=1)
    return TopK(rows.T.contiguous(), torch.zeros(24), rows, torch.zeros(16), k=3)


def is_of(seed: int, run: Run, name: str = "topk", **options: str) -> bool:
    placed = run.dictionary(name, 2, dataset=options.get("dataset"))
    assert placed.layer == 2
    return torch.equal(placed.dictionary.W_dec, topk(seed).W_dec)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


@pytest.fixture
def chosen(copy: Copy) -> Copy:
    """Two points of a grid, of which quality has chosen one on each of two data sets."""
    for seed, dataset in ((1, "celeba"), (2, "waterbirds")):
        copy.point(f"{dataset}/manifest.json", {"all": {}})
        name = f"topk_g0000000{seed}"
        copy.dictionary(f"dictionaries/{name}/{BLOCK}.json", name, seed)
        copy.dictionary(f"{dataset}/topk/{BLOCK}/chosen.json", "topk", seed)
    return copy


def test_a_dictionary_is_the_one_that_quality_chose(chosen: Copy) -> None:
    run = chosen.run
    assert is_of(1, run, dataset="celeba")
    assert is_of(2, run, dataset="waterbirds")
    assert is_of(2, run, "topk_g00000002")
    told = r"dictionaries topk of layer 2 in celeba/topk and waterbirds/topk, .*dataset='celeba'"
    with pytest.raises(ClipsteerError, match=told):
        run.dictionary("topk", 2)
    with pytest.raises(ClipsteerError, match="found 'celebb', expected one of celeba, waterbirds"):
        run.dictionary("topk", 2, dataset="celebb")
    rows = run.dictionaries().select("dictionary", "layer", "dataset").rows()
    assert rows == [
        *(("topk", layer, dataset) for dataset in ("celeba", "waterbirds") for layer in LAYERS),
        *((f"topk_g0000000{seed}", layer, None) for seed in (1, 2) for layer in LAYERS),
    ]
    chosen.dictionary(f"waterbirds/topk/{BLOCK}/chosen.json", "topk", 1)
    assert is_of(1, run)  # the same on both


def test_a_dictionary_from_before_quality_chose_is_not_taken_silently(chosen: Copy) -> None:
    chosen.dictionary(f"dictionaries/topk/{BLOCK}.json", "topk", 3)
    assert is_of(1, chosen.run, dataset="celeba")
    with pytest.raises(ClipsteerError, match="in dictionaries/topk and celeba/topk and waterbirds"):
        chosen.run.dictionary("topk", 2)
    chosen.dictionary(f"waterbirds/topk/{BLOCK}/chosen.json", "topk", 1)
    for by_quality, seed in ((True, 1), (False, 3)):
        chosen.note(topk={"chosen": by_quality, "architecture": "topk"})
        assert is_of(seed, chosen.run)
        assert is_of(seed, chosen.run, dataset="celeba")
        assert "topk" in chosen.run.dictionaries()["dictionary"].to_list()


def test_the_commands_take_the_chosen_one(
    chosen: Copy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(chosen.folder)
    export = ["export-dictionary", "topk", "out", "--format", "saelens"]
    assert main(export) == 1
    assert "celeba/topk and waterbirds/topk" in capsys.readouterr().err
    assert main([*export, "--dataset", "waterbirds"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(LAYERS)
    written = load_file("out/layer_02/sae_weights.safetensors")
    assert torch.equal(written["W_dec"], topk(2).W_dec)

    model = clipsteer.load_model(make_tiny(chosen.folder / "model"), device="cpu")
    words = clipsteer.make_vocabulary(model, ["cat", "a dog", "sea"])
    put = chosen.store.put_bytes
    tree = put_tree(chosen.store, chosen.folder / "model")
    chosen.point("model/model.json", {"all": {"model": tree}})
    embeddings = put(tensors({"vocabulary": words.embeddings}))
    listed = {"words": put(json.dumps(words.words).encode()), "embeddings": embeddings}
    chosen.point("vocabulary/model.json", {"all": listed})
    (image,) = photos(1)
    image.save("a.png")
    steer = ["steer", "a.png", "--place", "topk/2", "--feature", "3", "--strength", "9"]
    assert main(steer) == 1
    assert "celeba/topk and waterbirds/topk" in capsys.readouterr().err
    said = []
    for seed, dataset in ((1, "celeba"), (2, "waterbirds")):
        assert main([*steer, "--dataset", dataset]) == 0
        said.append(capsys.readouterr().out)
        edit = clipsteer.set_to(Placed(topk(seed), 2), [3], 9.0)
        (_, word, share), *_ = clipsteer.top_words(model, ["a.png"], words, edit).rows()
        assert f"after   {word} {100 * share:.1f} %" in said[-1]
    assert said[0] != said[1]

    head = {"head": put(tensors({"head": words.embeddings[:2]}))}
    chosen.point("waterbirds/head.json", {"all": head}, class_names=["cat", "dog"])
    look = ["look", "a.png", "--place", "topk/2"]  # of the only data set with a head
    assert main(look) == 0
    page = Path("look.html").read_text(encoding="utf-8")
    chosen.dictionary(f"waterbirds/topk/{BLOCK}/chosen.json", "topk", 1)
    assert main(look) == 0
    assert Path("look.html").read_text(encoding="utf-8") != page


def test_neurons_go_by_the_name_that_the_run_gave_them(copy: Copy, tmp_path: Path) -> None:
    digest = put_tree(copy.store, make_tiny(tmp_path / "model"))
    copy.point("model/large.json", {"all": {"model": digest}})
    own = {"architecture": "neurons", "hook_point": "mlp_out", "model": "large", "chosen": False}
    copy.note(basis=own)
    placed = copy.run.dictionary("basis", 1)
    assert isinstance(placed.dictionary, NeuronBasis)
    assert (placed.layer, placed.hook_point, placed.dictionary.d) == (1, "mlp_out", 16)
    assert copy.run.dictionary("basis", 1, hook_point="resid_post").hook_point == "resid_post"
    copy.dictionary(f"dictionaries/neurons/{BLOCK}.json", "neurons", 4)
    assert is_of(4, copy.run, "neurons")  # whatever it is called


def test_of_two_cuts_into_layers_that_of_the_last_run_counts(copy: Copy) -> None:
    for block, layers, seed in ((BLOCK, (0, 1, 2), 1), ("layers_00-05", (0, 1, 2, 3), 2)):
        copy.dictionary(f"dictionaries/topk/{block}.json", "topk", seed, layers)
    told = r"layers_00-02\.json and .*layers_00-05\.json: found another topk/layer_00 in each"
    with pytest.raises(ClipsteerError, match=told):
        copy.run.dictionary("topk", 2)
    for cut, seed in (("layers_00-05", 2), (BLOCK, 1), ("layers_00-05", 2)):  # there and back
        copy.note(cut)
        assert is_of(seed, copy.run)
    (copy.folder / REFS / "dictionaries/topk/layers_00-05.json").unlink()
    assert is_of(1, copy.run)
    copy.note()
    copy.dictionary("dictionaries/topk/layers_00-05.json", "topk", 1)  # the same
    assert is_of(1, copy.run)


def test_of_two_cuts_into_parts_that_of_the_last_run_counts(copy: Copy) -> None:
    """Four shards in four parts, then three others in two."""

    def parts(count: int, shards: int, of: str) -> None:
        for part in range(count):
            members = {
                f"test/{shard:05d}": {"embedding": digest(f"{of}{shard}")}
                for shard in range(part, shards, count)
            }
            copy.point(f"celeba/activations/test/part_{part}.json", members)
        listed = {f"{shard:05d}": digest(str(shard)) for shard in range(shards)}
        copy.point("celeba/activations/test/shards.json", {"all": listed})

    def digest(text: str) -> str:
        return copy.store.put_bytes(text.encode())

    def found() -> list[str]:
        members = Refs(copy.folder).parts("celeba", "test")
        return [copy.store.get_bytes(m.outputs["embedding"].digest).decode() for m in members]

    parts(4, 4, "old")
    assert found() == ["old0", "old1", "old2", "old3"]
    parts(2, 3, "new")
    with pytest.raises(ClipsteerError, match=r"part_0\.json and .*part_2\.json: found another"):
        found()
    copy.note("part_0", "part_1")
    assert found() == ["new0", "new1", "new2"]
    listed = {f"{shard:05d}": digest(str(shard)) for shard in range(6)}
    copy.point("celeba/activations/test/shards.json", {"all": listed})
    with pytest.raises(ClipsteerError, match="found activations of 3 of 6 shards, not of 00003"):
        found()


def test_an_attacked_image_is_shown_with_its_word(copy: Copy) -> None:
    rng = np.random.default_rng(0)
    clean = [Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(3)]
    digests = []
    for image in clean:
        image.save(file := io.BytesIO(), "PNG")
        digests.append(copy.store.put_bytes(file.getvalue()))
    how = {"look": "ends", "fonts": fonts_known([PILLOW]), "seed": 3}
    words = ["lion", "fish", "sea"]
    for split, more in (("test", {}), ("test_attacked", {"attack": how})):
        outputs = {}
        for shard, (start, stop) in enumerate(((0, 2), (2, 3))):
            listing = {
                "images": [[digests[n], f"{n}.png", 0] for n in range(start, stop)],
                "start": start,
                **({"words": words[start:stop], **more} if more else {}),
            }
            outputs[f"{shard:05d}"] = copy.store.put_bytes(json.dumps(listing).encode())
        copy.point(f"signs/activations/{split}/shards.json", {"all": outputs})
    for n, image in enumerate(clean):
        plain = np.asarray(copy.run.image("signs", "test", n))
        np.testing.assert_array_equal(plain, np.asarray(image))
        shown = np.asarray(copy.run.image("signs", "test_attacked", n))
        expected = attacked(image, words[n], digest=digests[n], **how)  # type: ignore[arg-type]
        np.testing.assert_array_equal(shown, np.asarray(expected))
        assert (shown != plain).any()
    with pytest.raises(
        ClipsteerError, match=r"index of test_attacked of signs: found 3, expected .* 0 to 2"
    ):
        copy.run.image("signs", "test_attacked", 3)
