"""The Prisma project's released dictionaries of CLIP ViT-B/32: their names on the hub, and what they are said to do.

Of CLIP-ViT-B-32-DataComp.XL-s13B-b90K, d = 768, m = 49,152, trained on ImageNet-1k. Names and numbers: the table of
SAEs in ViT-Prisma's documentation. Two layers of the vanilla family were released with another weight of the L1 term.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clipsteer.errors import ClipsteerError

_ORGANISATION = "Prisma-Multimodal"
_MEASURES = ("explained_variance", "l0", "l0_cls")


@dataclass(frozen=True)
class Family:
    """Releases of one kind, one a layer.

    `name`: of a repository, {layer} in it; one that ends in `*` has its measured numbers in its name. `others`: of the
    layers that have another. `tokens`: what they were trained on. `rows`: explained variance, L0 and L0 of CLS.
    """

    name: str
    tokens: str
    layers: Sequence[int] = tuple(range(12))
    others: Mapping[int, str] = field(default_factory=dict)
    rows: Mapping[int, tuple[float, float, float]] = field(default_factory=dict)

    def repository(self, layer: int) -> str:
        """The full name of a layer's repository, or its beginning and `*`."""
        if layer not in self.layers:
            raise ClipsteerError(f"{self.name}: there is no layer {layer}.")
        return f"{_ORGANISATION}/{self.others.get(layer, self.name).format(layer=layer)}"

    def row_of(self, name: str) -> dict[str, float]:
        """What is published of a repository of this family, without its organisation; nothing of others."""
        for layer, row in self.rows.items():
            if name == self.repository(layer).partition("/")[2]:
                return dict(zip(_MEASURES, row, strict=True))
        return {}


_VANILLA = "sparse-autoencoder-clip-b-32-sae-vanilla-x64-layer-{layer}-hook_resid_post-l1-"

FAMILIES: dict[str, Family] = {
    "vanilla": Family(
        _VANILLA + "1e-05",
        "all",
        others={2: _VANILLA + "5e-05"},
        rows={
            0: (0.986, 1110.9, 40.5),
            1: (0.983, 1508.4, 27.4),
            2: (0.906, 717.8, 10.1),
            3: (0.981, 2053.9, 77.9),
            4: (0.980, 2068.3, 156.7),
            5: (0.981, 1953.8, 228.5),
            6: (0.982, 1717.5, 321.3),
            7: (0.982, 1688.4, 494.3),
            8: (0.982, 1570.8, 791.3),
            9: (0.982, 1533.5, 1053.0),
            10: (0.984, 1292.6, 1010.0),
            11: (0.984, 1405.0, 1189.0),
        },
    ),
    "vanilla-cls": Family("imagenet-sweep-vanilla-x64-CLS_{layer}-hook_resid_post-*", "cls"),
    "topk-cls": Family("sae-top_k-64-cls_only-layer_{layer}-hook_resid_post", "cls"),
    "vanilla-spatial": Family(
        "imagenet-sweep-vanilla-x64-Spatial_max_{layer}-hook_resid_post-*", "spatial"
    ),
}
