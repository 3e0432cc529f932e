"""Defense-Prefix beside an independent re-statement: a text tower by hand, autograd and an optimiser of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.zero_shot import zero_shot_head
from clipsteer.defences import prefix
from clipsteer.defences.descent import AttackedPairs
from clipsteer.errors import ClipsteerError
from tests.workflow.real_trees import make_model

NAMES = ["cat", "alarm clock", "lion"]
TEMPLATES = ["a photo of a {}.", "{}"]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return load_backbone(make_model(tmp_path_factory.mktemp("clip")))


def by_hand(backbone: Backbone, text: str, place: int, token: torch.Tensor | None) -> torch.Tensor:
    """One text through the tower, module by module, in float64: (p,)."""
    model = backbone.model.text_model
    ids = list(backbone.token_ids([text])[0])
    rows = model.embeddings.token_embedding.weight.double()[ids]
    if token is not None:
        rows = torch.cat([rows[:place], token[None], rows[place:]])
    n = len(rows)
    stream = rows + model.embeddings.position_embedding.weight.double()[:n]
    mask = torch.full((n, n), -math.inf, dtype=torch.float64).triu(1)
    for layer in model.encoder.layers:
        own = layer.self_attn
        x = norm(layer.layer_norm1, stream)
        heads = [
            linear(p, x).view(n, own.num_heads, -1) for p in (own.q_proj, own.k_proj, own.v_proj)
        ]
        q, k, v = (h.transpose(0, 1) for h in heads)
        weights = (q @ k.transpose(1, 2) * own.scale + mask).softmax(-1)
        stream = stream + linear(own.out_proj, (weights @ v).transpose(0, 1).reshape(n, -1))
        hidden = linear(layer.mlp.fc1, norm(layer.layer_norm2, stream))
        act = layer.mlp.config.hidden_act
        hidden = hidden * torch.sigmoid(1.702 * hidden) if act == "quick_gelu" else F.gelu(hidden)
        stream = stream + linear(layer.mlp.fc2, hidden)
    return linear(backbone.model.text_projection, norm(model.final_layer_norm, stream)[-1])


def linear(module: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    bias = None if module.bias is None else module.bias.double()
    return F.linear(x, module.weight.double(), bias)


def norm(module: torch.nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, (x.shape[-1],), module.weight.double(), module.bias.double(), module.eps)


def test_the_place_is_before_the_name(backbone: Backbone) -> None:
    """The start of the text and the template's four words stand before it, whatever they are cut into."""
    for template, before in zip(TEMPLATES, ("a photo of a", ""), strict=True):
        place = prefix.Prompts.of(backbone, NAMES, template).place
        assert backbone.token_ids([template.replace("{}", "lion")])[0][:place] == (
            backbone.token_ids([before])[0][:-1] if before else backbone.token_ids(["lion"])[0][:1]
        )


def test_prompts_with_a_token_are_those_of_the_tower_by_hand(backbone: Backbone) -> None:
    width = backbone.model.config.text_config.hidden_size
    token = torch.randn(width, generator=torch.Generator().manual_seed(1))
    for template in TEMPLATES:
        made = prefix.Prompts.of(backbone, NAMES, template)
        for given in (None, token):
            found = F.normalize(made.embed(backbone, given), dim=-1)
            rows = [
                by_hand(
                    backbone,
                    template.replace("{}", name),
                    made.place,
                    None if given is None else given.double(),
                )
                for name in NAMES
            ]
            expected = F.normalize(torch.stack(rows), dim=-1)
            assert torch.allclose(found.double(), expected, atol=2e-6)
    head = zero_shot_head(backbone, NAMES, TEMPLATES)
    plain = torch.stack(
        [prefix.Prompts.of(backbone, NAMES, t).embed(backbone, None) for t in TEMPLATES]
    )
    mean = F.normalize(F.normalize(plain, dim=-1).mean(dim=0), dim=-1)
    assert torch.allclose(head, mean, atol=1e-6)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_training_is_that_of_a_re_statement(backbone: Backbone, optimiser: str) -> None:
    """Five steps: gradients of the tower by hand, and the optimiser's formula written out, in float64."""
    rng = np.random.default_rng(0)
    n, p = 7, backbone.projection_dim
    clean, attacked = (
        F.normalize(torch.from_numpy(rng.normal(size=(n, p))), dim=-1) for _ in range(2)
    )
    targets = torch.from_numpy(rng.integers(0, 3, n))
    pairs = AttackedPairs(clean.float(), attacked.float(), targets)
    settings = prefix.PrefixSettings(
        optimiser, lr=0.05, final_lr=0.01, epochs=5, batch_size=7, clean=3.0
    )
    template = TEMPLATES[0]
    got, losses = prefix.train_prefix(backbone, NAMES, [template], pairs, settings, seed=4)
    first, _ = prefix.train_prefix(
        *(backbone, NAMES, [template], pairs),
        prefix.PrefixSettings(optimiser, lr=1e-30, final_lr=0.0, epochs=1, batch_size=7, clean=3.0),
        seed=4,
    )
    assert first.std() == pytest.approx(prefix.SPREAD, rel=0.5)
    place = prefix.Prompts.of(backbone, NAMES, template).place
    scale, token = backbone.logit_scale, first.double()
    plain = F.normalize(
        torch.stack([by_hand(backbone, template.replace("{}", x), place, None) for x in NAMES]),
        dim=-1,
    ).detach()
    mean, square = torch.zeros_like(token), torch.zeros_like(token)
    for step in range(5):
        token = token.detach().requires_grad_(True)
        rows = [by_hand(backbone, template.replace("{}", x), place, token) for x in NAMES]
        head = F.normalize(torch.stack(rows), dim=-1)
        before = (scale * clean @ plain.T).softmax(-1)
        after = (scale * clean @ head.T).softmax(-1)
        told = (scale * attacked @ head.T).softmax(-1)
        entropy = -told[torch.arange(n), targets].log().mean()
        kept = (before * (before.log() - after.log())).sum(-1).mean()
        loss = entropy + 3.0 * kept
        assert losses[step] == pytest.approx(float(loss.detach()), rel=2e-4)
        (gradient,) = torch.autograd.grad(loss, token)
        rate = 0.01 + 0.04 * 0.5 * (1 + math.cos(math.pi * step / 4))
        if optimiser == "sgd":
            token = token.detach() - rate * gradient
            continue
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        corrected = mean / (1 - 0.9 ** (step + 1)), square / (1 - 0.999 ** (step + 1))
        token = token.detach() - rate * corrected[0] / (corrected[1].sqrt() + 1e-8)
    assert torch.allclose(got.double(), token, atol=2e-4)
    assert all(weight.grad is None for weight in backbone.model.parameters())


def test_a_prompt_that_is_too_long_with_the_token(backbone: Backbone) -> None:
    room = backbone.context - 2
    fits = "{}" + " a" * (room - 2)
    prefix.Prompts.of(backbone, ["a"], fits)
    with pytest.raises(
        ClipsteerError, match=rf"has {backbone.context} tokens, and with the prefix"
    ):
        prefix.Prompts.of(backbone, ["a"], "{}" + " a" * (room - 1))
