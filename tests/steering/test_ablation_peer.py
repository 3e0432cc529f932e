"""A peer: the usual way, a forward hook and a whole forward pass of a tiny real CLIP for every set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipsteer.steering.ablation import predict_prefixes
from clipsteer.steering.evaluator import Evaluator
from clipsteer.steering.intervention import edit
from tests.steering.test_ablation import KINDS, batches, make


@pytest.fixture(scope="module", params=["clip", "siglip"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from clipsteer.backbones.load import load_backbone
    from clipsteer.backbones.shaped import write_shaped

    folder: Path = tmp_path_factory.mktemp("clip") / "model"
    write_shaped(
        folder,
        family=request.param,
        vision={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
            "num_attention_heads": 2, "image_size": 32, "patch_size": 16,
        },
        text={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2,
        },
        projection_dim=16,
    )  # fmt: skip
    return load_backbone(folder, device="cpu")


@pytest.mark.parametrize("hook_point", ["resid_post", "mlp_out"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 2])
def test_the_usual_way_with_hooks_and_whole_forward_passes_agrees(
    model: Any, kind: str, layer: int, hook_point: str
) -> None:
    pixels = torch.randn(48, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    embeddings, taps = model.run(pixels, ["resid_post", "mlp_out"])
    x = taps[hook_point][layer]
    base = None if hook_point == "resid_post" else taps["resid_post"][layer].numpy()
    # Many classes around the embeddings' mean, so that small edits turn predictions.
    centred = embeddings - embeddings.mean(dim=0)
    head = centred[:7]

    def logits(found: torch.Tensor) -> torch.Tensor:
        return (found - embeddings.mean(dim=0)) @ head.T

    dictionary = make(kind, d=32, m=96, k=6)
    order = np.random.default_rng(0).permutation(dictionary.m)
    sizes = [0, 2, 8, 20, 31]
    evaluator = Evaluator(
        dictionary,
        lambda: batches(x.numpy(), 16, base),
        lambda edited: model.resume(layer, edited),
        lambda values: logits(values).argmax(dim=1).numpy(),
    )
    found = predict_prefixes(evaluator, order, sizes).edited

    block = model.model.vision_model.encoder.layers[layer]
    module = block if hook_point == "resid_post" else block.mlp
    usual = []
    for size in sizes:

        def hook(_module: Any, _inputs: Any, output: torch.Tensor, size: int = size) -> Any:
            return edit(output, dictionary, order[:size])

        handle = module.register_forward_hook(hook)
        try:
            with torch.inference_mode():
                whole = model.model.get_image_features(pixel_values=pixels).pooler_output
        finally:
            handle.remove()
        values = logits(whole).sort(dim=1).values
        assert float((values[:, -1] - values[:, -2]).min() / values.abs().max()) > 1e-5
        usual.append(logits(whole).argmax(dim=1).numpy())
    np.testing.assert_array_equal(found, np.stack(usual))
    np.testing.assert_array_equal(found[0], logits(embeddings).argmax(dim=1).numpy())
    assert len(np.unique(found, axis=0)) > 1
