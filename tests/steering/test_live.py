from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.steering.ablation import predict_sets
from clipsteer.steering.evaluator import Evaluator
from clipsteer.steering.intervention import edit
from clipsteer.steering.live import LiveActivations
from tests.backbones.tiny import make_tiny, photos
from tests.steering.test_ablation import make

N = 130  # two batches, of which one is not full


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("live") / "model")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Backbone:
    return load_backbone(folder, device="cpu")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return photos(N)


PLACES = [("resid_post", 0), ("mlp_out", 1), ("resid_post", 2)]


@pytest.fixture(scope="module")
def live(
    clip: Backbone, pictures: Any, tmp_path_factory: pytest.TempPathFactory
) -> LiveActivations:
    place = tmp_path_factory.mktemp("live") / "activations"
    return LiveActivations(clip, pictures.__getitem__, N, PLACES, place)


@pytest.mark.parametrize(("hook_point", "layer"), PLACES)
def test_an_edit_of_live_activations_is_an_edit_of_the_pass_as_it_runs(
    live: LiveActivations, clip: Backbone, pictures: Any, hook_point: str, layer: int
) -> None:
    """The peer: the model of transformers with a forward hook, and a whole pass for every set."""
    dictionary = make("topk", d=16, m=64, k=5)
    sets = [np.arange(20), np.array([3, 40, 41])]
    pixels = clip.pixels(pictures)
    with torch.inference_mode():
        plain = clip.model.get_image_features(pixel_values=pixels).pooler_output
    head = (plain - plain.mean(dim=0))[:7]

    def classify(found: torch.Tensor) -> np.ndarray:
        return ((found - plain.mean(dim=0)) @ head.T).argmax(dim=1).numpy()

    embed = partial(clip.resume, layer)
    evaluator = Evaluator(dictionary, lambda: live.batches(hook_point, layer), embed, classify)
    resumed, found = predict_sets(evaluator, sets)
    block = clip.model.vision_model.encoder.layers[layer]
    module = block if hook_point == "resid_post" else block.mlp
    for features, row in ((sets[0], found[0]), (sets[1], found[1]), ([], resumed)):
        handle = module.register_forward_hook(
            lambda _module, _inputs, output, features=features: edit(output, dictionary, features)
        )
        try:
            with torch.inference_mode():
                whole = clip.model.get_image_features(pixel_values=pixels).pooler_output
        finally:
            handle.remove()
        np.testing.assert_array_equal(row, classify(whole))
    np.testing.assert_array_equal(resumed, classify(plain))
    assert len(np.unique([resumed, *found], axis=0)) == 3


def test_only_what_edits_need_is_kept(live: LiveActivations) -> None:
    names = sorted(path.name for path in live._folder.iterdir())
    assert names == [
        *("mlp_out_01.npy", "resid_post_00.npy", "resid_post_01.npy", "resid_post_02.npy"),
    ]
    (_, hook, base), (start, last, _) = live.batches("mlp_out", 1)
    assert base is not None
    assert hook.shape == base.shape == (100, 5, 16)
    assert (start, len(last)) == (100, 30)
    assert next(live.batches("resid_post", 2))[1].shape == (100, 1, 16)
