"""The front door: features and edits as transformers' own model with a hook gives them; what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

import clipsteer
from clipsteer.backbones.base import Backbone
from clipsteer.backbones.shaped import Family
from clipsteer.backbones.tokens import Tokens
from clipsteer.cli import places
from clipsteer.dictionaries.files import save
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.dictionaries.topk import TopK
from clipsteer.errors import ClipsteerError
from clipsteer.front import written
from clipsteer.front.placed import Edit, Placed, Vocabulary
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.feature_set import FeatureSet
from clipsteer.store.roots import REFS
from tests.backbones.hooked import changed, modules, whole
from tests.backbones.tiny import make_tiny, photos

M, K = 48, 6


@pytest.fixture(scope="module", params=get_args(Family))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = make_tiny(tmp_path_factory.mktemp("model") / "m", family=request.param)
    return clipsteer.load_model(folder, device="cpu")


@pytest.fixture(scope="module")
def head(model: Backbone) -> torch.Tensor:
    return clipsteer.zero_shot_head(model, ["cat", "a dog", "nothing"])


def placed(folder: Path, layer: int = 1, hook_point: str = "resid_post") -> Placed:
    """Written and read again, as trainings write it."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(M, 16, generator=generator), dim=1)
    dictionary = TopK(rows.T.contiguous(), torch.zeros(M), rows, torch.zeros(16), k=K)
    save(dictionary, folder, {"layer": layer, "hook_point": hook_point})
    return clipsteer.load_dictionary(folder)


def code64(found: Placed, x: torch.Tensor) -> np.ndarray:
    """f(x) of rows (n, d) by loops: the K largest of what is above 0."""
    rows = found.dictionary.W_dec.double().numpy()
    pre = x.double().numpy() @ rows.T
    code = np.zeros_like(pre)
    for row, values in enumerate(pre):
        for j in np.argsort(-values)[:K]:
            code[row, j] = max(values[j], 0.0)
    return code


def test_features_are_those_of_what_a_hook_sees(model: Backbone, tmp_path: Path) -> None:
    found, seen = placed(tmp_path, hook_point="mlp_out"), list[torch.Tensor]()
    images = photos(3)
    with changed(modules(model.model, "mlp_out")[1], lambda x: (seen.append(x), x)[1]):
        whole(model, model.pixels(images))
    x = clipsteer.activations_of(model, images, 1, "mlp_out")
    assert torch.equal(x, seen[0])
    codes = clipsteer.features_of(model, found, images)
    expected = code64(found, x.flatten(0, 1)).reshape(3, model.n_tokens, M)
    np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-5)
    top = clipsteer.top_features(codes, 5)
    for image in range(3):
        rows = top.filter(image=image)
        mean = expected[image].mean(axis=0)
        assert rows["feature"].to_list() == np.argsort(-mean)[:5].tolist()
        np.testing.assert_allclose(rows["mean"], np.sort(mean)[::-1][:5], rtol=1e-4)
        chosen = expected[image][:, rows["feature"]]
        np.testing.assert_allclose(rows["max"], chosen.max(axis=0), rtol=1e-4)
        assert rows["tokens"].to_list() == (chosen > 0).sum(axis=0).tolist()


def test_what_does_not_fire_is_no_top_feature() -> None:
    codes = torch.zeros(2, 4, 9)
    codes[1, 2, 7] = 3.0
    assert clipsteer.top_features(codes).rows() == [(1, 7, 0.75, 3.0, 1)]


def test_a_set_is_edited_as_its_features_are(model: Backbone, tmp_path: Path) -> None:
    found, counts = placed(tmp_path), GroupCounts((1, 1, 1, 1), (1, 1, 1, 1))
    features = np.array([41, 3, 7])
    chosen = FeatureSet(features, 0.5, counts, "resid_post", 1, {"condition": "strict"})
    x = clipsteer.activations_of(model, photos(2), 1)
    for edit, expected in (
        (clipsteer.ablate(found, chosen), clipsteer.ablate(found, features)),
        (clipsteer.scale(found, chosen, 3.0), clipsteer.scale(found, features, 3.0)),
        (clipsteer.set_to(found, chosen, 2.0), clipsteer.set_to(found, features, 2.0)),
    ):
        assert torch.equal(edit.apply(x), expected.apply(x))
        assert not torch.equal(edit.apply(x), x)


@pytest.mark.parametrize("hook_point", ["resid_post", "mlp_out"])
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("kind", ["ablate", "set_to", "scale"])
def test_an_edit_is_what_a_hook_on_transformers_does(
    model: Backbone, head: torch.Tensor, tmp_path: Path, kind: str, layer: int, hook_point: str
) -> None:
    found, images, features = placed(tmp_path, layer, hook_point), photos(40), [3, 41, 7, 20]
    edit: Edit = {
        "ablate": clipsteer.ablate(found, features),
        "set_to": clipsteer.set_to(found, features, 2.5),
        "scale": clipsteer.scale(found, np.array(features), 3.0),
    }[kind]

    def hook(x: torch.Tensor) -> torch.Tensor:
        rows = x.flatten(0, 1)
        code = code64(found, rows)[:, features]
        strength = {"ablate": 0.0 * code, "set_to": 0.0 * code + 2.5, "scale": 3.0 * code}[kind]
        change = (strength - code) @ found.dictionary.W_dec.double().numpy()[features]
        return x + torch.from_numpy(change).float().reshape(x.shape)

    with changed(modules(model.model, hook_point)[layer], hook):
        embeddings = whole(model, model.pixels(images))
    expected = model.probabilities(embeddings, head)
    before = clipsteer.classify(model, images, head)
    after = clipsteer.classify(model, images, head, edit)
    torch.testing.assert_close(after, expected, rtol=2e-3, atol=1e-8)
    assert torch.equal(before, model.probabilities(whole(model, model.pixels(images)), head))
    assert (after / before).log().abs().max() > 0.05


def test_top_words_are_those_of_a_hook(model: Backbone, tmp_path: Path) -> None:
    """A softmax over the vocabulary, of a SigLIP too."""
    words, images, found = ["cat", "a dog", "sea", "hat"], photos(3), placed(tmp_path)
    vocabulary = clipsteer.make_vocabulary(model, words)

    def hook(x: torch.Tensor) -> torch.Tensor:
        rows = x.flatten(0, 1)
        by = torch.from_numpy(4.0 - code64(found, rows)[:, 7]).float()
        return x + (by[:, None] * found.dictionary.W_dec[7]).reshape(x.shape)

    with changed(modules(model.model, "resid_post")[1], hook):
        embeddings = whole(model, model.pixels(images)).double()
    rows = torch.nn.functional.normalize(model.text([f"a photo of a {w}." for w in words]).double())
    cosines = torch.nn.functional.normalize(embeddings) @ rows.T
    expected = (model.logit_scale * cosines).softmax(dim=1)
    got = clipsteer.top_words(model, images, vocabulary, clipsteer.set_to(found, [7], 4.0), k=3)
    for image in range(3):
        best = expected[image].topk(3)
        part = got.filter(image=image)
        assert part["word"].to_list() == [words[i] for i in best.indices]
        np.testing.assert_allclose(part["probability"], best.values, rtol=1e-4)
    plain = clipsteer.top_words(model, images, vocabulary, k=9)
    assert plain.height == 3 * len(words)
    assert not np.allclose(plain.filter(image=0)["probability"][:3], got["probability"][:3])


def test_tokens_are_those_of_the_model(model: Backbone, head: torch.Tensor, tmp_path: Path) -> None:
    """Without CLS, the spatial ones are all of them."""
    edit = clipsteer.set_to(placed(tmp_path), [3], 5.0)
    every = clipsteer.classify(model, photos(2), head, edit)
    spatial = clipsteer.classify(model, photos(2), head, edit, tokens="spatial")
    assert torch.equal(every, spatial) == (model.cls is None)
    if model.cls is None:
        with pytest.raises(ClipsteerError, match=r"^tokens: found cls, .* no CLS token"):
            clipsteer.classify(model, photos(2), head, edit, tokens="cls")


def test_a_dictionary_for_some_tokens_stays_on_them(model: Backbone, tmp_path: Path) -> None:
    found, words = placed(tmp_path), clipsteer.make_vocabulary(model, ["cat", "a dog", "sea"])
    asked = clipsteer.top_words(model, photos(2), words, clipsteer.set_to(found, [3], 5.0))
    spatial = clipsteer.top_words(
        model, photos(2), words, clipsteer.set_to(found, [3], 5.0), tokens="spatial"
    )
    found.dictionary.tokens = "spatial"
    own = clipsteer.top_words(model, photos(2), words, clipsteer.set_to(found, [3], 5.0))
    assert own.equals(spatial)
    assert own.equals(asked) == (model.cls is None)
    assert found.dictionary.tokens == "spatial"  # it is the user's


@pytest.mark.parametrize("tokens", ["cls", "spatial"])
def test_features_and_edits_are_of_the_tokens_that_a_dictionary_is_for(
    model: Backbone, tmp_path: Path, tokens: Tokens
) -> None:
    found, images = placed(tmp_path), photos(2)
    x, every = (
        clipsteer.activations_of(model, images, 1),
        clipsteer.features_of(model, found, images),
    )
    mine = np.full(model.n_tokens, tokens == "spatial")
    mine[0] = tokens == "cls"
    edit = clipsteer.set_to(found, [3], 5.0)
    moved = edit.apply(x) - x
    assert moved.abs().amax(dim=2).gt(0).all()
    found.dictionary.tokens = tokens
    assert edit.apply(x)[:, ~mine].equal(x[:, ~mine])
    torch.testing.assert_close(edit.apply(x)[:, mine] - x[:, mine], moved[:, mine])
    with pytest.raises(ClipsteerError, match=f"^tokens: found .* trained on {tokens} tokens alone"):
        edit.apply(x, "spatial" if tokens == "cls" else "cls")
    if model.cls is None:
        if tokens == "cls":
            with pytest.raises(ClipsteerError, match="the model has no CLS token"):
                clipsteer.features_of(model, found, images)
        else:
            assert clipsteer.features_of(model, found, images).equal(every)
        return
    own = clipsteer.features_of(model, found, images)
    torch.testing.assert_close(own[:, mine], every[:, mine])
    assert not own[:, ~mine].any()
    assert every[:, ~mine].any()


def test_words_and_edits_that_do_not_fit_are_refused(
    model: Backbone, head: torch.Tensor, tmp_path: Path
) -> None:
    found, words = placed(tmp_path), clipsteer.make_vocabulary(model, ["cat", "a dog", "sea"])
    narrow = Placed(NeuronBasis(8), 1)
    for edit, said in (
        (clipsteer.set_to(found, [3], 1e38), "edit: .* embedding is not finite"),
        (clipsteer.ablate(narrow, [3]), "found one of width 8, expected 16"),
    ):
        with pytest.raises(ClipsteerError, match=said):
            clipsteer.top_words(model, photos(1), words, edit)
        with pytest.raises(ClipsteerError, match=said):
            clipsteer.classify(model, photos(1), head, edit)
    with pytest.raises(ClipsteerError, match="found one of width 8, expected 16"):
        clipsteer.features_of(model, narrow, photos(1))
    with pytest.raises(ClipsteerError, match="words: found 1 that the model cannot tell"):
        clipsteer.make_vocabulary(model, ["cat", "a dog", "cat"])


def test_the_model_is_to_be_said_where_a_run_has_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert places.only_model("topk") == "model"
    folder = tmp_path / REFS / "model"
    folder.mkdir(parents=True)
    (folder / "large.json").touch()
    assert places.only_model("topk") == "large"
    (folder / "model.json").touch()
    with pytest.raises(ClipsteerError, match="the model that topk is for: large or model"):
        places.only_model("topk")


def test_files_are_read_as_the_workflow_reads_them(
    model: Backbone, head: torch.Tensor, tmp_path: Path
) -> None:
    (image,) = photos(1)
    image.save(tmp_path / "a.png")
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned back by 90 degrees
    turned.save(tmp_path / "b.png", exif=exif)
    files: list[Any] = [tmp_path / "a.png", str(tmp_path / "b.png"), image]
    found = clipsteer.classify(model, files, head)
    assert torch.equal(found, found[:1].expand(3, -1))
    with pytest.raises(ClipsteerError, match="in mode L, expected RGB"):
        clipsteer.classify(model, [image.convert("L")], head)
    with pytest.raises(ClipsteerError, match=r"none\.png: cannot be read"):
        clipsteer.classify(model, [tmp_path / "none.png"], head)
    with pytest.raises(ClipsteerError, match="images: found none"):
        clipsteer.classify(model, [], head)
    p = model.projection_dim
    for wrong in (head[:, :-1], head[0]):
        with pytest.raises(ClipsteerError, match=rf"head: found .*, expected \(n, {p}\)"):
            clipsteer.classify(model, [image], wrong)
    words = Vocabulary(["a hat", "a bird"], head[:2, :-1])
    with pytest.raises(ClipsteerError, match=rf"vocabulary: found .*, expected \(n, {p}\)"):
        clipsteer.top_words(model, [image], words)
    with pytest.raises(ClipsteerError, match="k: found 0"):
        clipsteer.top_words(model, [image], words, k=0)


def test_what_is_not_there_is_refused(model: Backbone, tmp_path: Path) -> None:
    found = placed(tmp_path / "d")
    for features, shown in (
        ([48], r"\[48\]"),
        ([-1], r"\[-1\]"),
        ([*range(9), 1], r"\[0, .*, 5, ...\]"),
    ):
        said = f"found {shown}, expected distinct numbers from 0 to 47"
        with pytest.raises(ClipsteerError, match=said):
            clipsteer.ablate(found, features)
    for edit in (clipsteer.set_to, clipsteer.scale):
        for value in (float("nan"), float("inf")):
            with pytest.raises(ClipsteerError, match=f"found {value}, expected a finite number"):
                edit(found, [3], value)
    with pytest.raises(ClipsteerError, match="k: found 0, expected a whole number of at least 1"):
        clipsteer.top_features(torch.zeros(1, 2, 48), 0)
    counts = GroupCounts((1, 1, 1, 1), (1, 1, 1, 1))
    for place, layer in ((("mlp_out", 1), 1), (("resid_post", 0), 0)):
        there = FeatureSet(np.array([3]), 0.5, counts, *place)
        with pytest.raises(
            ClipsteerError, match=rf"layer \('{place[0]}', {layer}\), expected one of"
        ):
            clipsteer.ablate(found, there)
    with pytest.raises(ClipsteerError, match="layer: found 3, expected a whole number from 0 to 2"):
        clipsteer.activations_of(model, photos(1), 3)
    with pytest.raises(ClipsteerError, match="hook_point: found 'resid_pre'"):
        clipsteer.activations_of(model, photos(1), 1, "resid_pre")
    save(found.dictionary, tmp_path / "bare", {})
    with pytest.raises(ClipsteerError, match="names no layer"):
        clipsteer.load_dictionary(tmp_path / "bare")
    assert clipsteer.load_dictionary(tmp_path / "bare", layer=2).layer == 2
    with pytest.raises(ClipsteerError, match="found no results of a run"):
        clipsteer.open_run(tmp_path)


def test_importing_it_is_cheap_and_no_name_is_a_package_below() -> None:
    code = "import sys, clipsteer; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "polars", "transformers"} & set(done.stdout.split())
    rooms = {path.stem for path in Path(clipsteer.__file__).parent.iterdir()}
    assert not rooms & set(clipsteer.__all__)


def test_the_page_of_functions_is_current() -> None:
    assert written.PAGE.read_text(encoding="utf-8") == written.page(), (
        "run python -m clipsteer.front.written"
    )
