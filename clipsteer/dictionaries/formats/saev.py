"""saev: one `sae.pt`, a line of JSON followed by a torch archive (W_enc (d, m), W_dec (m, d), biases).

Encoder: relu((x' - b_dec) W_enc + b_enc) in files without a schema (version 0.1.0, until July 2025); later ones do not
subtract b_dec, though their own loader reads the older files so too. x' is an activation less the data set's mean and
over a scalar, of which no file has either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clipsteer.dictionaries.formats.reading import PLAIN, Config, first, refuse, taken, whole
from clipsteer.dictionaries.release import Claims, Release

if TYPE_CHECKING:
    from torch import Tensor

_SCHEMAS = (1, 2, 3, 4, 5)


def claims(config: Config, where: str) -> Claims:
    """How activations were scaled is not in the file, so it must be said."""
    return Claims(width=whole(first(_settings(config), ("d_vit", "d_model"))), tokens=None)


def read(tensors: Mapping[str, Tensor], config: Config, where: str) -> Release:
    """The dictionary of a state dict."""
    schema = config.get("schema")
    if schema is not None and schema not in _SCHEMAS:
        raise refuse(where, "schema", schema, "none, or 1 to 5")
    found = taken(tensors, PLAIN, where)
    activation: Any = _settings(config).get("activation") or {}
    kind = str(
        first(activation, ("key", "name", "type"))
        if isinstance(activation, Mapping)
        else activation
    )
    if "activation.threshold" in tensors:
        threshold = tensors["activation.threshold"].float()
        found["threshold"] = threshold.expand(len(found["b_enc"])).contiguous()
        return Release("jumprelu", found, subtracts_b_dec=schema is None)
    if activation and "relu" not in kind.lower():
        raise refuse(
            where,
            "activation",
            kind,
            "relu, or Batch-Top-K with its threshold (Top-K has no ReLU there)",
        )
    return Release("vanilla", found, subtracts_b_dec=schema is None)


def _settings(config: Config) -> Config:
    """The SAE's own settings in a header: all of it before schema 1."""
    found = config.get("cfg", config)
    return found if isinstance(found, Mapping) else {}
