"""Releases of dictionaries as their own programs write them, with the codes and reconstructions that these make.

Runs in the peers' environment, never in ours: `make_goldens.sh` creates it and calls this.

    python releases.py OUTPUT_FOLDER [PEER ...]

Writes OUTPUT_FOLDER/<peer>_<kind>/: the files of the release, and expected.safetensors with x (n, d), codes (n, m) in
the peer's own scale, output (n, d), and norms (m,): our codes are the peer's times these.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file

WIDTH, FEATURES, TOKENS, K = 6, 16, 10, 4


def without_init(name: str) -> None:
    """Import a package's modules without what its `__init__` asks for, which is all that it takes to train."""
    package = types.ModuleType(name)
    found = importlib.util.find_spec(name)
    if found is None:
        sys.exit(f"{name} is not installed here; make_goldens.sh installs it.")
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules[name] = package


def shake(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Parameters of no symmetry: a transposed, misplaced or forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn.abs() * 0.4 if name == "threshold" else drawn * 0.6)
    return module


def write(folder: Path, module: torch.nn.Module, decoder: torch.Tensor, package: str) -> None:
    """What the peer makes of random activations; its codes are ours over the norms of `decoder`'s rows (m, d)."""
    x = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(7)) * 1.5 + 0.3
    with torch.no_grad():
        codes = module.encode(x)
        if not isinstance(codes, torch.Tensor):  # sparsify: values and places
            codes = torch.zeros(TOKENS, FEATURES).scatter(1, codes.top_indices, codes.top_acts)
            output = codes @ module.W_dec + module.b_dec
        else:
            output = module.decode(codes)
        tensors = {"x": x, "codes": codes, "output": output, "norms": decoder.norm(dim=1)}
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    made_by = {"made_by": f"{package} {version(package)}, torch {version('torch')}"}
    save_file(tensors, folder / "expected.safetensors", made_by)


def saelens(output: Path) -> Iterator[Path]:
    """Every architecture that we read, with decoders that are not of unit norm; two as they are trained."""
    from sae_lens import saes

    common = {"d_in": WIDTH, "d_sae": FEATURES, "dtype": "float32", "device": "cpu"}
    about = {"model_name": "openai/some-clip", "hook_name": "blocks.3.hook_resid_post"}
    plain = {
        "standard": saes.StandardSAE(saes.StandardSAEConfig(**common, apply_b_dec_to_input=False)),
        "topk": saes.TopKSAE(saes.TopKSAEConfig(**common, k=K)),
        "topk_by_norm": saes.TopKSAE(
            saes.TopKSAEConfig(**common, k=K, rescale_acts_by_decoder_norm=True)
        ),
        "jumprelu": saes.JumpReLUSAE(saes.JumpReLUSAEConfig(**common)),
        "gated": saes.GatedSAE(saes.GatedSAEConfig(**common)),
    }
    for seed, (kind, sae) in enumerate(plain.items()):
        sae.cfg.metadata = saes.sae.SAEMetadata(**about)
        folder = output / f"saelens_{kind}"
        shake(sae, seed)
        sae.save_model(folder)
        # by_norm: the codes have the norms already
        rows = torch.eye(FEATURES) if kind == "topk_by_norm" else sae.W_dec
        write(folder, sae, rows, "sae-lens")
        yield folder
    trained = {
        "batchtopk": saes.BatchTopKTrainingSAE(saes.BatchTopKTrainingSAEConfig(**common, k=K)),
        "matryoshka": saes.MatryoshkaBatchTopKTrainingSAE(
            saes.MatryoshkaBatchTopKTrainingSAEConfig(
                **common, k=K, matryoshka_widths=[4, FEATURES]
            )
        ),
    }
    for seed, (kind, sae) in enumerate(trained.items()):
        sae.cfg.metadata = saes.sae.SAEMetadata(**about)
        shake(sae, 10 + seed)
        sae.topk_threshold.fill_(0.7)
        folder = output / f"saelens_{kind}"
        sae.save_inference_model(folder)
        loaded = saes.sae.SAE.load_from_disk(folder)
        write(folder, loaded, loaded.W_dec, "sae-lens")
        yield folder


def sparsify(output: Path) -> Iterator[Path]:
    """Top-K, as it is trained."""
    without_init("sparsify")
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder

    coder = SparseCoder(WIDTH, SparseCoderConfig(num_latents=FEATURES, k=K))
    shake(coder, 20)
    coder.set_decoder_norm_to_unit_norm()
    folder = output / "sparsify_topk"
    coder.save_to_disk(folder)
    write(folder, coder, coder.W_dec, "eai-sparsify")
    yield folder


def dictionary_learning(output: Path) -> Iterator[Path]:
    """All its classes; batch-wise ones with a threshold."""
    for name in ("dictionary_learning", "dictionary_learning.trainers"):
        without_init(name)
    from dictionary_learning import dictionary
    from dictionary_learning.trainers import batch_top_k, matryoshka_batch_top_k, top_k

    made = {
        "AutoEncoder": dictionary.AutoEncoder(WIDTH, FEATURES),
        "AutoEncoderNew": dictionary.AutoEncoderNew(WIDTH, FEATURES),
        "GatedAutoEncoder": dictionary.GatedAutoEncoder(WIDTH, FEATURES),
        "JumpReluAutoEncoder": dictionary.JumpReluAutoEncoder(WIDTH, FEATURES),
        "AutoEncoderTopK": top_k.AutoEncoderTopK(WIDTH, FEATURES, K),
        "BatchTopKSAE": batch_top_k.BatchTopKSAE(WIDTH, FEATURES, K),
        "MatryoshkaBatchTopKSAE": matryoshka_batch_top_k.MatryoshkaBatchTopKSAE(
            WIDTH, FEATURES, K, [4, FEATURES - 4]
        ),
    }
    for seed, (kind, module) in enumerate(made.items()):
        shake(module, 30 + seed)
        if "Batch" in kind:
            module.threshold.fill_(0.5)
        folder = output / f"dictionary_learning_{kind.lower()}"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(module.state_dict(), folder / "ae.pt")
        trainer = {
            "dict_class": kind,
            "activation_dim": WIDTH,
            "dict_size": FEATURES,
            "layer": 3,
            "lm_name": "openai/some-clip",
            "submodule_name": "resid_post_layer_3",
            "k": K,
        }
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
        decoder = module.W_dec if hasattr(module, "W_dec") else module.decoder.weight.t()
        write(folder, module, decoder, "dictionary-learning")
        yield folder


def saev(output: Path) -> Iterator[Path]:
    """The form of its first versions."""
    from saev import config, nn

    class Encoding(nn.SparseAutoencoder):
        def encode(self, x: torch.Tensor) -> torch.Tensor:
            return self(x)[1]

    sae = Encoding(config.SparseAutoencoder(d_vit=WIDTH, exp_factor=FEATURES // WIDTH))
    folder = output / "saev_relu"
    shake(sae, 40)
    nn.dump(str(folder / "sae.pt"), sae)
    write(folder, sae, sae.W_dec, "saev")
    yield folder


PEERS = {made.__name__: made for made in (saelens, sparsify, dictionary_learning, saev)}


def main(output: Path, peers: list[str]) -> None:
    """Write the releases of some peers, or of all."""
    for peer in peers or PEERS:
        for folder in PEERS[peer](output):
            print(folder)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
