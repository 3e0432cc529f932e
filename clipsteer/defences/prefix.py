"""Defense-Prefix (Azuma and Matsui 2023): one learned token before the class name, for the model in use.

"a photo of a [DP] lion.": the embedding of [DP] is all that is trained. Images stand fixed, so only the text tower
runs. With z the unit embeddings of images, t(c) those of the prompts of class c without the token, t'(c) with it, s
the model's logit scale:

    loss = cross-entropy(s z_attacked . t'; the image's class)
           + weight * KL(softmax(s z_clean . t) || softmax(s z_clean . t'))

both averaged over a batch of pairs, under one template a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clipsteer.backbones.base import Backbone
from clipsteer.defences.descent import AttackedPairs, Descent, descend, stream
from clipsteer.errors import ClipsteerError

SPREAD = 0.02
"""Standard deviation of the token's first embedding."""
_STREAM = 31  # first word of the key of what is drawn here


@dataclass(frozen=True)
class PrefixSettings:
    """How the token is trained: the keys of `typographic.prefix`."""

    optimiser: str
    lr: float
    final_lr: float
    epochs: int
    batch_size: int
    clean: float


def train_prefix(
    backbone: Backbone,
    names: Sequence[str],
    templates: Sequence[str],
    pairs: AttackedPairs,
    settings: PrefixSettings,
    *,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[Tensor, list[float]]:
    """The token's embedding (w,) float32 and the loss of each step.

    `names` of the classes; `templates` as `zero_shot_head` takes them. The order of pairs, the templates and the first
    embedding are drawn by seed. The learning rate falls along a cosine from `lr` to `final_lr`.
    Raises ClipsteerError for a prompt that is too long with the token.
    """
    rng = stream(_STREAM, seed)
    prompts = [Prompts.of(backbone, names, template) for template in templates]
    plain = [F.normalize(prompt.embed(backbone, None), dim=-1).detach() for prompt in prompts]
    width = token_table(backbone).weight.shape[1]
    token = torch.tensor(
        rng.normal(0.0, SPREAD, width), dtype=torch.float32, device=backbone.device
    )
    token.requires_grad_(True)
    kinds: dict[str, type[torch.optim.Optimizer]] = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
    }
    optimiser = kinds[settings.optimiser]([token], lr=settings.lr)  # type: ignore[call-arg]

    def loss_of(rows: Tensor) -> Tensor:
        which = int(rng.integers(len(prompts)))
        with frozen(backbone):
            head = F.normalize(prompts[which].embed(backbone, token), dim=-1)
        return prefix_loss(pairs, rows, plain[which], head, (backbone.logit_scale, settings.clean))

    how = Descent(settings.epochs, settings.batch_size, settings.lr, settings.final_lr)
    losses = descend(optimiser, loss_of, pairs.targets, how, rng, progress)
    return token.detach().cpu(), losses


def prefix_loss(
    pairs: AttackedPairs, rows: Tensor, plain: Tensor, head: Tensor, weights: tuple[float, float]
) -> Tensor:
    """The loss of some pairs, `rows`: heads (K, p) of unit rows without and with the token; (logit scale, weight)."""
    scale, clean = weights
    attacked = scale * pairs.attacked[rows] @ head.T
    before = scale * pairs.clean[rows] @ plain.T
    after = scale * pairs.clean[rows] @ head.T
    kept = F.kl_div(
        after.log_softmax(-1), before.log_softmax(-1), reduction="batchmean", log_target=True
    )
    return F.cross_entropy(attacked, pairs.targets[rows]) + clean * kept


def prefixed_head(
    backbone: Backbone, names: Sequence[str], templates: Sequence[str], token: Tensor
) -> Tensor:
    """The zero-shot head (K, p) with the token before each name, as `zero_shot_head` is without."""
    with torch.inference_mode():
        rows = [
            F.normalize(
                Prompts.of(backbone, names, template)
                .embed(backbone, token.to(backbone.device))
                .double(),
                dim=-1,
            )
            for template in templates
        ]
        return F.normalize(torch.stack(rows).mean(dim=0), dim=-1).float().cpu()


@dataclass(frozen=True)
class Prompts:
    """One template's prompts in tokens, (K, L), and the place before the class name."""

    tokens: Mapping[str, Tensor]
    place: int
    longest: int
    template: str

    @classmethod
    def of(cls, backbone: Backbone, names: Sequence[str], template: str) -> Prompts:
        """Of every class under a template, whose first `{}` the token stands before.

        Raises ClipsteerError where a prompt is too long with the token.
        """
        texts = [template.replace("{}", name) for name in names]
        lengths = [len(ids) for ids in backbone.token_ids(texts)]
        before = template.partition("{}")[0].rstrip()
        # with the mark of the start, without that of the end
        place = len(backbone.token_ids([before])[0]) - 1 if before else 1
        longest = max(lengths)
        if longest + 1 > backbone.context:
            raise ClipsteerError(
                f"datasets.<name>.templates: {texts[lengths.index(longest)]!r} has {longest} tokens, and with the "
                f"prefix one more than the model's {backbone.context}; expected a shorter template or class name."
            )
        return cls(backbone._tokens(texts), place, longest, template)

    def embed(self, backbone: Backbone, token: Tensor | None) -> Tensor:
        """Text embeddings (K, p), not normalised; with the token (w,) where there is one."""
        tokens = {name: ids.to(backbone.device) for name, ids in self.tokens.items()}
        if token is None:
            with torch.no_grad():
                return embedded(backbone, tokens)
        widened = {
            # whatever stands there is replaced; another copy of what is beside it is no end of the text
            name: torch.cat([ids[:, : self.place], ids[:, :1], ids[:, self.place :]], dim=1)[
                :, : backbone.context  # behind it is padding
            ]
            for name, ids in tokens.items()
        }
        with put_in(backbone, token, self.place):
            return embedded(backbone, widened)


def embedded(backbone: Backbone, tokens: Mapping[str, Tensor]) -> Tensor:
    """(K, p) float32 of the text tower, through which gradients go."""
    output: Tensor = backbone.model.get_text_features(**tokens).pooler_output
    return output.float()


def token_table(backbone: Backbone) -> Any:
    """The text tower's table of token embeddings."""
    return backbone.model.text_model.embeddings.token_embedding


@contextmanager
def put_in(backbone: Backbone, token: Tensor, place: int) -> Iterator[None]:
    """Within, every text has this embedding at `place`."""

    def replaced(module: object, given: object, found: Tensor) -> Tensor:
        own = token.to(found.dtype).expand(len(found), 1, -1)
        return torch.cat([found[:, :place], own, found[:, place + 1 :]], dim=1)

    hook = token_table(backbone).register_forward_hook(replaced)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def frozen(backbone: Backbone) -> Iterator[None]:
    """Within, no weight of the model asks for a gradient."""
    asking = [weight for weight in backbone.model.parameters() if weight.requires_grad]
    for weight in asking:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in asking:
            weight.requires_grad_(True)
