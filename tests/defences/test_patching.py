"""Patched weights beside an independent re-statement: a tower by hand, autograd in float64, AdamW written out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.zero_shot import zero_shot_logits
from clipsteer.defences import patching
from clipsteer.defences.setting import Images
from clipsteer.steering.inputs import BATCH_IMAGES
from clipsteer.steering.pairs import margins
from tests.workflow.real_trees import make_model

N, K = 6, 3
SETTINGS = patching.PatchingSettings(lr=0.01, epochs=2, batch_size=4, weight_decay=0.1)
RNG = np.random.default_rng(5)
TARGETS = np.array([0, 1, 2, 2, 0, 1])


def pictures(n: int) -> list[Image.Image]:
    return [Image.fromarray(RNG.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(n)]


CLEAN, ATTACKED = pictures(N), pictures(N)


def images(given: list[Image.Image]) -> Images:
    return Images(len(given), given.__getitem__)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("clip"))


def exact(folder: Path) -> Backbone:
    """The model in float64."""
    found = load_backbone(folder, device="cpu")
    return replace(found, model=found.model.double(), dtype=torch.float64)


def head(backbone: Backbone) -> Tensor:
    rows = np.random.default_rng(1).normal(size=(K, backbone.projection_dim))
    return F.normalize(torch.from_numpy(rows), dim=-1)


def by_hand(backbone: Backbone, weights: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
    """Images through the vision tower, weight by weight: (n, p)."""
    config = backbone.model.config.vision_config

    def take(name: str) -> Tensor:
        return weights[f"vision_model.{name}"]

    def norm(name: str, x: Tensor) -> Tensor:
        x = x - x.mean(dim=-1, keepdim=True)
        x = x / (x.square().mean(dim=-1, keepdim=True) + config.layer_norm_eps).sqrt()
        return x * take(f"{name}.weight") + take(f"{name}.bias")

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ take(f"{name}.weight").T + take(f"{name}.bias")

    n, side, width = len(pixels), config.patch_size, config.hidden_size
    kernel = take("embeddings.patch_embedding.weight").reshape(width, -1)
    patches = [
        pixels[:, :, y : y + side, x : x + side].reshape(n, -1) @ kernel.T
        for y in range(0, pixels.shape[2], side)
        for x in range(0, pixels.shape[3], side)
    ]
    first = take("embeddings.class_embedding").expand(n, width)
    stream = torch.stack([first, *patches], dim=1)
    stream = norm("pre_layrnorm", stream + take("embeddings.position_embedding.weight"))
    for layer in range(config.num_hidden_layers):
        own, heads = f"encoder.layers.{layer}", config.num_attention_heads
        x = norm(f"{own}.layer_norm1", stream)
        q, k, v = (
            linear(f"{own}.self_attn.{part}_proj", x).reshape(n, -1, heads, width // heads)
            for part in "qkv"
        )
        scores = torch.einsum("nqhc,nkhc->nhqk", q, k) / math.sqrt(width // heads)
        mixed = torch.einsum("nhqk,nkhc->nqhc", scores.softmax(-1), v).reshape(n, -1, width)
        stream = stream + linear(f"{own}.self_attn.out_proj", mixed)
        hidden = linear(f"{own}.mlp.fc1", norm(f"{own}.layer_norm2", stream))
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        stream = stream + linear(f"{own}.mlp.fc2", hidden)
    return norm("post_layernorm", stream[:, 0]) @ weights["visual_projection.weight"].T


def test_fine_tuning_is_that_of_a_re_statement(folder: Path) -> None:
    """Four steps, each of its pairs' clean and attacked images, rate along a cosine, decay beside the gradient."""
    backbone = exact(folder)
    assert backbone.model.config.vision_config.hidden_act == "quick_gelu"
    scale, rows_of_head = backbone.logit_scale, head(backbone)
    weights = {
        name: weight.detach().clone() for name, weight in patching.vision_weights(backbone).items()
    }
    task = patching.Task(images(CLEAN), images(ATTACKED), torch.from_numpy(TARGETS), rows_of_head)
    steps: list[int] = []
    got, losses = patching.fine_tune(backbone, task, SETTINGS, seed=7, progress=steps.append)

    rng = np.random.Generator(np.random.Philox(key=np.array([33, 7], dtype=np.uint64)))
    mean = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    square = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    step = 0
    for _ in range(SETTINGS.epochs):
        order = np.argsort(rng.random(N), kind="stable")
        for rows in (order[:4], order[4:]):
            leaves = {name: w.clone().requires_grad_(True) for name, w in weights.items()}
            entropies = []
            for row in rows:
                for picture in (CLEAN[row], ATTACKED[row]):
                    pixels = backbone.pixels([picture]).double()
                    found = by_hand(backbone, leaves, pixels)[0]
                    logits = scale * (rows_of_head @ found) / found.norm()
                    entropies.append(torch.logsumexp(logits, 0) - logits[TARGETS[row]])
            loss = torch.stack(entropies).mean()
            gradients = torch.autograd.grad(loss, list(leaves.values()))
            assert losses[step] == pytest.approx(loss.item(), rel=1e-9)
            rate = SETTINGS.lr * 0.5 * (1 + math.cos(math.pi * step / 3))
            step += 1
            for name, gradient in zip(leaves, gradients, strict=True):
                mean[name] = 0.9 * mean[name] + 0.1 * gradient
                square[name] = 0.999 * square[name] + 0.001 * gradient**2
                aside = (square[name] / (1 - 0.999**step)).sqrt() + 1e-8
                kept = weights[name] * (1 - rate * SETTINGS.weight_decay)
                weights[name] = kept - rate * mean[name] / (1 - 0.9**step) / aside
    assert steps == [1] * 4
    assert got.keys() == weights.keys()
    for name, weight in weights.items():
        assert torch.allclose(got[name], weight, atol=1e-7), name


def test_the_text_tower_stands(folder: Path) -> None:
    """No weight but those of the vision tower is trained, and the model is left as it was on disk."""
    backbone = load_backbone(folder, device="cpu")
    before = load_file(folder / "model.safetensors")
    task = patching.Task(
        images(CLEAN), images(ATTACKED), torch.from_numpy(TARGETS), head(backbone).float()
    )
    weights, _ = patching.fine_tune(backbone, task, SETTINGS, seed=0)
    after = backbone.model.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {*weights}
    assert all("text" not in name and "logit" not in name for name in weights)
    there = load_file(folder / "model.safetensors")
    assert all(torch.equal(there[name], weight) for name, weight in before.items())


def moved(backbone: Backbone, seed: int = 2) -> patching.Weights:
    """The weights after a large step in some direction."""
    drawn = torch.Generator().manual_seed(seed)
    return {
        name: weight + 0.3 * torch.randn(weight.shape, generator=drawn)
        for name, weight in patching.vision_weights(backbone).items()
    }


def test_weights_between_are_a_model_as_any_other(folder: Path, tmp_path: Path) -> None:
    """Loaded from its folder it sees what the tower by hand does with weights added by hand; texts are the same."""
    backbone = load_backbone(folder, device="cpu")
    old, new = patching.vision_weights(backbone), moved(backbone)
    for alpha in (0.0, 0.3, 1.0):
        place = tmp_path / str(alpha)
        patching.write_patched(backbone, patching.between(old, new, alpha), place)
        patched = load_backbone(place, device="cpu")
        summed = {
            name: torch.from_numpy(
                weight.numpy().astype(float) * (1 - alpha) + new[name].numpy().astype(float) * alpha
            )
            for name, weight in old.items()
        }
        pixels = backbone.pixels(CLEAN)
        expected = by_hand(backbone, summed, pixels.double())
        found = patched.run(pixels, ())[0]
        assert torch.allclose(found.double(), expected, atol=1e-4 * float(expected.abs().max()))
        assert torch.equal(patched.text(["a cat"]), backbone.text(["a cat"]))
        ends = {0.0: old, 1.0: new}
        for name, weight in ends.get(alpha, {}).items():
            assert torch.equal(patching.vision_weights(patched)[name], weight)
    assert torch.equal(backbone.run(pixels, ())[0], load_backbone(folder).run(pixels, ())[0])


def test_each_alpha_counts_what_its_own_model_tells_right(folder: Path, tmp_path: Path) -> None:
    """Also over batches, of which the last is short; what the chosen model answers are those classes."""
    count = BATCH_IMAGES + 3
    views = images(pictures(count)), images(pictures(count))
    backbone = load_backbone(folder, device="cpu")
    targets, rows = np.arange(count) % K, head(backbone).float()
    weights = {n: w.clone() for n, w in patching.vision_weights(backbone).items()}, moved(backbone)

    def classify(found: Tensor) -> np.ndarray:
        return np.asarray((F.normalize(found, dim=-1) @ rows.T).argmax(dim=-1).numpy())

    alphas = [0.4, 1.0]
    trials = patching.try_alphas(backbone, weights, alphas, views, (classify, targets))
    for alpha, counts in zip((0.0, *alphas), (trials.resumed, *trials.counts), strict=True):
        place, right = tmp_path / str(alpha), []
        patching.write_patched(backbone, patching.between(*weights, alpha), place)
        patched = load_backbone(place, device="cpu")
        told = patching.answers(
            patched, {"test": views[0], "test_attacked": views[1]}, rows, targets
        )
        for row, view in zip(told.iter_rows(named=True), views, strict=True):
            seen = [patched.run(patched.pixels([view.load(i)]), ())[0][0] for i in range(count)]
            scores = zero_shot_logits(torch.stack(seen), rows).numpy()
            assert row["defence"] == "paint_patching"
            assert row["predictions"] == scores.argmax(axis=1).tolist()
            assert np.allclose(row["margins"], margins(scores, targets), atol=1e-5)
            right.append(int((scores.argmax(axis=1) == targets).sum()))
        assert counts.correct == tuple(right)
        assert counts.images == (count, count)
    assert len({counts.correct for counts in trials.counts} | {trials.resumed.correct}) == 3
