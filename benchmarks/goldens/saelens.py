"""Goldens of the SAE forward and backward pass, computed by SAELens.

Runs in SAELens's own environment, never in ours: `make_goldens.sh` creates it and calls this.

    python saelens.py OUTPUT_FOLDER

Writes saelens_standard, _topk, _batchtopk and _matryoshka.safetensors: weights, inputs, codes,
reconstructions, losses and gradients, float32, with the versions in the files' metadata.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.saes.sae import TrainStepInput
from safetensors.torch import save

WIDTH, FEATURES, TOKENS, K, L1 = 24, 96, 48, 8, 0.03
WIDTHS = (12, 48, FEATURES)


def weights(generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Weights of no symmetry, so that a transposed or misplaced one shows; unit decoder rows."""
    decoder = torch.randn(FEATURES, WIDTH, generator=generator)
    return {
        "W_dec": decoder / decoder.norm(dim=1, keepdim=True),
        "W_enc": torch.randn(WIDTH, FEATURES, generator=generator) * 0.3,
        "b_enc": torch.randn(FEATURES, generator=generator) * 0.2,
        "b_dec": torch.randn(WIDTH, generator=generator) * 0.5,
    }


def golden(sae: torch.nn.Module, coefficients: dict[str, float]) -> dict[str, torch.Tensor]:
    """One training pass of SAELens on fixed weights and tokens."""
    generator = torch.Generator().manual_seed(20)
    given = weights(generator)
    sae.load_state_dict(given, strict=False)  # a threshold is no weight
    x = torch.randn(TOKENS, WIDTH, generator=generator) * 2 + 1
    result = sae.training_forward_pass(
        TrainStepInput(
            sae_in=x,
            coefficients=coefficients,
            dead_neuron_mask=None,
            n_training_steps=0,
            is_logging_step=False,
        )
    )
    result.loss.backward()
    gradients = {f"grad.{name}": p.grad for name, p in sae.named_parameters()}
    losses = {f"loss.{name}": value.reshape(1) for name, value in result.losses.items()}
    tensors = {
        **given,
        "x": x,
        "codes": result.feature_acts,
        "output": result.sae_out,
        "loss": result.loss.reshape(1),
        **losses,
        **gradients,
    }
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def save_file(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """As safetensors' own, which writes the metadata in another order each time: here in that of their names."""
    data = save(tensors, metadata)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(metadata.items()))
    ordered = json.dumps(header, separators=(",", ":")).encode().ljust(size)
    assert len(ordered) == size
    path.write_bytes(data[:8] + ordered + data[8 + size :])


def main(folder: Path) -> None:
    """Write the files."""
    common = {
        "d_in": WIDTH,
        "d_sae": FEATURES,
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "dtype": "float32",
        "device": "cpu",
    }
    standard = StandardTrainingSAE(StandardTrainingSAEConfig(**common, l1_coefficient=L1))
    topk = TopKTrainingSAE(TopKTrainingSAEConfig(**common, k=K, rescale_acts_by_decoder_norm=False))
    folder.mkdir(parents=True, exist_ok=True)
    made_by = {"made_by": f"sae-lens {version('sae-lens')}, torch {version('torch')}"}
    save_file(
        golden(standard, {"l1": L1}),
        folder / "saelens_standard.safetensors",
        made_by | {"l1": str(L1)},
    )
    save_file(golden(topk, {}), folder / "saelens_topk.safetensors", made_by | {"k": str(K)})
    common |= {"k": K, "rescale_acts_by_decoder_norm": False}
    batch = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**common))
    save_file(golden(batch, {}), folder / "saelens_batchtopk.safetensors", made_by | {"k": str(K)})
    matryoshka = MatryoshkaBatchTopKTrainingSAE(
        MatryoshkaBatchTopKTrainingSAEConfig(**common, matryoshka_widths=list(WIDTHS))
    )
    save_file(
        golden(matryoshka, {}),
        folder / "saelens_matryoshka.safetensors",
        made_by | {"k": str(K), "widths": json.dumps(WIDTHS)},
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
