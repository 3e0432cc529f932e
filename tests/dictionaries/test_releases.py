"""Released dictionaries of every format: the codes and reconstructions of whoever made them; each trap is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.claimed import Expected
from clipsteer.dictionaries.files import load, save
from clipsteer.dictionaries.importing import Imported, import_dictionary
from clipsteer.errors import ClipsteerError
from tests.dictionaries import helpers

RELEASES = Path(__file__).parent / "goldens" / "releases"
KEY = "dictionaries.theirs"
LAYER, WIDTH, FEATURES = 3, 6, 16
EXPECTED = Expected(layer=LAYER, hook_point="resid_post", width=WIDTH)


def imported(path: Path, scratch: Path, **said: Any) -> Imported:
    return import_dictionary(path, EXPECTED._replace(**said), KEY, scratch)


@pytest.mark.parametrize("name", sorted(path.name for path in RELEASES.iterdir()))
def test_a_release_gives_its_makers_codes_and_reconstructions(name: str, tmp_path: Path) -> None:
    given = {"normalize": "none", "tokens": "all"} if name.startswith("saev") else {}
    folder = tmp_path / "copy"
    shutil.copytree(RELEASES / name, folder)
    golden = load_file(folder / "expected.safetensors")
    (folder / "expected.safetensors").unlink()
    found = imported(folder, tmp_path, **given)
    assert name.startswith(found.about["format"])
    compare(found.dictionary, golden)
    save(found.dictionary, tmp_path / "saved", {})
    compare(load(tmp_path / "saved"), golden)


def compare(dictionary: Dictionary, golden: Mapping[str, torch.Tensor]) -> None:
    codes = dictionary.encode(golden["x"])
    expected = golden["codes"] * golden["norms"]
    assert 0.05 < float((expected > 0).float().mean()) < 0.95, "it would show nothing"
    torch.testing.assert_close(codes, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dictionary.decode(codes), golden["output"], atol=1e-5, rtol=1e-5)
    some = torch.tensor([5, 0, dictionary.m - 1])
    columns = dictionary.encode_columns(golden["x"], some)
    torch.testing.assert_close(columns, expected[:, some], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dictionary.W_dec.norm(dim=1), torch.ones(dictionary.m))


# ------------------------------------------------------------------------------------ made by hand

CONFIG: dict[str, Any] = {
    "architecture": "standard",
    "model_name": "open-clip:laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
    "hook_point_layer": LAYER,
    "layer_subtype": "hook_resid_post",
    "d_in": WIDTH,
    "activation_fn_str": "relu",
    "activation_fn_kwargs": {},
    "normalize_activations": None,
    "cls_token_only": False,
    "use_patches_only": False,
}
TOPK = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4, "postact_fn": "ReLU()"}}


def drawn(seed: int = 0, features: int = FEATURES, width: int = WIDTH) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in helpers.drawn(features, width, seed).items()}


def prisma(folder: Path, tensors: Mapping[str, torch.Tensor] | None = None, **changes: Any) -> Path:
    """A release in ViT-Prisma's layout; a change of None leaves the key out."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {k: v for k, v in (CONFIG | changes).items() if v != "absent"}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(dict(drawn() if tensors is None else tensors), folder / "weights.pt")
    return folder


X = torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(9)) * 1.5 + 0.4


def by_formula(
    tensors: Mapping[str, torch.Tensor], k: int | None = None, subtract: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Codes times decoder rows (n, m, d) and reconstructions (n, d), in float64."""
    w = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    pre = (X.double().numpy() - subtract * w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    code = np.maximum(pre, 0)
    if k is not None:
        code[pre < np.sort(pre, axis=1)[:, -k, None]] = 0
    parts = code[:, :, None] * w["W_dec"][None]
    return parts, parts.sum(axis=1) + w["b_dec"]


def agrees(dictionary: Dictionary, parts: np.ndarray, output: np.ndarray) -> None:
    codes = dictionary.encode(X)
    ours = codes[:, :, None] * dictionary.W_dec[None]
    np.testing.assert_allclose(ours.numpy(), parts, atol=1e-5)
    np.testing.assert_allclose(dictionary.decode(codes).numpy(), output, atol=1e-5)


def test_prisma_vanilla_and_topk_are_by_the_formula_with_b_dec_subtracted(tmp_path: Path) -> None:
    vanilla = imported(prisma(tmp_path / "a"), tmp_path)
    agrees(vanilla.dictionary, *by_formula(drawn()))
    assert vanilla.about == {
        "format": "prisma",
        "model": CONFIG["model_name"],
        "tokens": "all",
        "normalize": "none",
        "subtracts_b_dec": True,
    }
    topk = imported(prisma(tmp_path / "b", **TOPK), tmp_path).dictionary
    assert topk.architecture == "topk"
    assert topk.options() == {"k": 4}
    agrees(topk, *by_formula(drawn(), k=4))
    without, _ = by_formula(drawn(), subtract=False)
    assert float(np.abs(without - by_formula(drawn())[0]).max()) > 0.1, "the trap would not show"


def test_gated_prisma_has_its_gate(tmp_path: Path) -> None:
    tensors = drawn()
    gates = {name: drawn(4)["b_enc"] for name in ("b_gate", "r_mag")} | {"b_mag": drawn(5)["b_enc"]}
    folder = prisma(tmp_path / "a", {**tensors, **gates}, architecture="gated")
    centred = (X - tensors["b_dec"]).double() @ tensors["W_enc"].double()
    magnitude = centred * gates["r_mag"].double().exp() + gates["b_mag"].double()
    expected = magnitude.relu() * (centred + gates["b_gate"].double() > 0)
    assert bool(((magnitude > 0) & (expected == 0)).any()), "no gate is closed where it matters"
    found = imported(folder, tmp_path).dictionary
    torch.testing.assert_close(found.encode(X).double(), expected, atol=1e-5, rtol=1e-5)


def test_openai_relu_is_by_the_formula_and_its_topk_is_refused(tmp_path: Path) -> None:
    tensors = drawn()
    state: dict[str, Any] = {
        "pre_bias": tensors["b_dec"],
        "encoder.weight": tensors["W_enc"].t().contiguous(),
        "latent_bias": tensors["b_enc"],
        "decoder.weight": tensors["W_dec"].t().contiguous(),
        "stats_last_nonzero": torch.zeros(FEATURES, dtype=torch.long),
        "activation": "ReLU",
    }
    torch.save(state, tmp_path / "0.pt")
    agrees(imported(tmp_path / "0.pt", tmp_path).dictionary, *by_formula(tensors))
    torch.save(state | {"activation": "TopK"}, tmp_path / "0.pt")
    with pytest.raises(ClipsteerError, match=r"0\.pt: says that activations .* 'layer_norm'"):
        imported(tmp_path / "0.pt", tmp_path)


def test_ours_comes_back_as_it_was(tmp_path: Path) -> None:
    before = imported(prisma(tmp_path / "a", **TOPK, cls_token_only=True), tmp_path).dictionary
    save(before, tmp_path / "ours", {"layer": LAYER, "hook_point": "resid_post"})
    after = imported(tmp_path / "ours", tmp_path).dictionary
    assert after.tokens == "cls"
    assert all(torch.equal(t, after.tensors()[name]) for name, t in before.tensors().items())


@pytest.mark.parametrize("ending", ["safetensors", "npz", "pt"])
def test_tensors_may_lie_in_any_container(tmp_path: Path, ending: str) -> None:
    folder = prisma(tmp_path / "a")
    (folder / "weights.pt").unlink()
    tensors = drawn() | {"W_dec": drawn()["W_dec"] * 3}
    if ending == "npz":
        np.savez(folder / "weights.npz", **{n: t.numpy() for n, t in tensors.items()})
    elif ending == "safetensors":
        save_file(tensors, folder / "weights.safetensors")
    else:
        torch.save({"state_dict": tensors, "step": 7}, folder / "weights.pt")
    (folder / "x_log_feature_sparsity.pt").write_bytes(b"no dictionary")
    before = (folder / f"weights.{ending}").read_bytes()
    agrees(imported(folder, tmp_path).dictionary, *by_formula(tensors))
    assert (folder / f"weights.{ending}").read_bytes() == before, "norms were folded in the file"


@pytest.mark.parametrize("trained", [False, True])
def test_weights_that_are_one_in_the_file_are_folded_apart(tmp_path: Path, trained: bool) -> None:
    """Tied weights; parameters, which are not to be written over while they have a gradient."""
    rows = torch.nn.Parameter(drawn()["W_dec"] * 3, requires_grad=trained)
    tied = drawn() | {"W_dec": rows, "W_enc": rows.t()}
    found = imported(prisma(tmp_path / "a", tied), tmp_path).dictionary
    agrees(found, *by_formula({name: tensor.detach() for name, tensor in tied.items()}))


def test_saev_of_a_later_schema_does_not_subtract_b_dec(tmp_path: Path) -> None:
    for schema, subtract in ((None, True), (5, False)):
        header = (
            {"d_vit": WIDTH} if schema is None else {"schema": schema, "cfg": {"d_model": WIDTH}}
        )
        with (tmp_path / "sae.pt").open("wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            torch.save(drawn(), file)
        found = imported(tmp_path / "sae.pt", tmp_path, normalize="none", tokens="all").dictionary
        agrees(found, *by_formula(drawn(), subtract=subtract))


# ------------------------------------------------------------------------------------ folding


@settings(max_examples=25)
@given(
    norms=st.lists(st.floats(0, 4, width=32), min_size=FEATURES, max_size=FEATURES),
    scale=st.floats(0.0625, 16, width=32),
    subtract=st.booleans(),
    k=st.one_of(st.none(), st.integers(1, FEATURES)),
)
def test_what_is_folded_leaves_every_part_of_a_reconstruction(
    tmp_path_factory: pytest.TempPathFactory,
    norms: list[float],
    scale: float,
    subtract: bool,
    k: int | None,
) -> None:
    """Decoder norms (zeros among them), a factor on activations, b_dec that is not subtracted; ReLU and Top-K."""
    tensors = drawn()
    tensors["W_dec"] = tensors["W_dec"] * torch.tensor(norms).unsqueeze(1)
    folder = tmp_path_factory.mktemp("saelens")
    config = {
        "architecture": "standard" if k is None else "topk",
        "k": k,
        "d_in": WIDTH,
        "normalize_activations": "expected_average_only_in",
        "apply_b_dec_to_input": subtract,
    }
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file(tensors, folder / "sae_weights.safetensors")
    found = imported(folder, folder, normalize=scale).dictionary
    w = {name: tensor.double() for name, tensor in tensors.items()}
    pre = (X.double() * scale - subtract * w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    code = pre.relu()
    if k is not None:
        code[pre < pre.sort(dim=1).values[:, -k, None]] = 0
    parts = code[:, :, None] * w["W_dec"][None] / scale
    codes = found.encode(X)
    ours = (codes[:, :, None] * found.W_dec[None]).double()
    size = max(1.0, float(parts.abs().max()))
    torch.testing.assert_close(ours / size, parts / size, atol=1e-5, rtol=1e-5)
    output = parts.sum(dim=1) + w["b_dec"] / scale
    size = max(1.0, float(output.abs().max()))
    torch.testing.assert_close(
        found.decode(codes).double() / size, output / size, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(found.W_dec.norm(dim=1), torch.ones(FEATURES))


def test_half_precision_is_taken_at_its_word_and_made_of_unit_norm(tmp_path: Path) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        for changes in ({}, TOPK):
            tensors = {name: tensor.to(dtype) for name, tensor in drawn().items()}
            folder = prisma(tmp_path / f"{dtype}{len(changes)}", tensors, **changes)
            found = imported(folder, tmp_path).dictionary
            agrees(found, *by_formula(tensors, k=4 if changes else None))
            save(found, tmp_path / "saved", {})
            assert load(tmp_path / "saved").W_dec.dtype == torch.float32


# ------------------------------------------------------------------------------------ traps


@pytest.mark.parametrize("found", [None, "null", "None", "none"])
def test_no_normalisation_has_many_spellings(tmp_path: Path, found: str | None) -> None:
    folder = prisma(tmp_path / "a", normalize_activations=found)
    assert imported(folder, tmp_path).about["normalize"] == "none"


@pytest.mark.parametrize(
    ("changes", "said", "message"),
    [
        ({"normalize_activations": "absent"}, {}, r"does not say how .* set dictionaries\.theirs\.normalize"),
        ({"normalize_activations": "layer_norm"}, {}, r"normalised by 'layer_norm', which depends on each token"),
        ({"normalize_activations": "constant_norm_rescale"}, {}, "normalised by 'constant_norm_rescale'"),
        ({"normalize_activations": "layer_norm"}, {"normalize": "none"}, "says layer_norm .* says none"),
        ({}, {"model": "openai/clip-vit-base-patch32"}, "made for open-clip:laion/CLIP.*has it for openai"),
        ({}, {"model": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"}, "another CLIP of the same shape"),
        ({"activation_fn_str": "absent"}, {}, "activation_fn_str: missing"),
        ({"activation_fn_str": "gelu"}, {}, "activation_fn_str: found 'gelu', expected relu or topk"),
        ({"activation_fn_str": "topk"}, {}, r"activation_fn_kwargs\.k: found None"),
        ({**TOPK, "activation_fn_kwargs": {"k": 4, "postact_fn": "Identity()"}}, {}, "postact_fn: found"),
        ({"architecture": "jumprelu"}, {}, "architecture: found 'jumprelu'"),
        ({"is_transcoder": True}, {}, "is_transcoder: found True"),
        ({"hook_point_layer": 5}, {}, "is of layer 5, but dictionaries.theirs has it for layer 3"),
        ({**dict.fromkeys(("hook_point_layer", "layer_subtype"), "absent"), "hook_point": "blocks.7.hook_resid_post"},
         {}, "is of layer 7"),
        ({"layer_subtype": "hook_mlp_out"}, {}, "is of hook point mlp_out"),
        ({"layer_subtype": "ln1.hook_normalized"}, {}, r"is of hook point ln1\.hook_normalized"),
        ({"d_in": 1024}, {}, "is of width 1024, but the CLIP is of width 6"),
        ({"cls_token_only": "absent", "use_patches_only": "absent"}, {}, r"does not say which tokens .*theirs\.tokens"),
        ({"cls_token_only": True}, {"tokens": "all"}, "says cls .* says all"),
        ({"cls_token_only": True, "use_patches_only": True}, {}, "both cls_token_only and use_patches_only"),
    ],
)  # fmt: skip
def test_a_trap_is_one_clear_sentence(
    tmp_path: Path, changes: dict[str, Any], said: dict[str, Any], message: str
) -> None:
    folder = prisma(tmp_path / "a", **changes)
    with pytest.raises(ClipsteerError, match=message) as error:
        imported(folder, tmp_path, **said)
    assert str(folder) in str(error.value)


def test_what_a_file_does_not_say_the_config_may(tmp_path: Path) -> None:
    folder = prisma(
        tmp_path / "a",
        normalize_activations="absent",
        cls_token_only="absent",
        use_patches_only="absent",
    )
    found = imported(folder, tmp_path, normalize="none", tokens="spatial")
    assert found.dictionary.tokens == "spatial"
    agrees(found.dictionary, *by_formula(drawn()))


def test_a_model_by_another_name_is_allowed_where_it_is_said(tmp_path: Path) -> None:
    folder = prisma(tmp_path / "a")
    imported(folder, tmp_path, model="LAION/clip-vit-b-32-datacomp.xl-s13b-b90k")
    imported(folder, tmp_path, model="openai/clip-vit-base-patch32", allow_other_model=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"W_enc": drawn()["W_enc"].t()},
            r"W_enc has shape \(16, 6\), expected \(6, 16\).* lies there transposed",
        ),
        (
            {"W_dec": drawn()["W_dec"].t()},
            r"W_dec has shape \(6, 16\), expected \(16, 6\).* lies there transposed",
        ),
        ({"b_enc": torch.ones(FEATURES - 1)}, "W_enc has shape"),
        ({"b_enc": torch.full((FEATURES,), torch.nan)}, "b_enc: found NaN"),
        ({"W_dec": drawn()["W_dec"] * torch.inf}, "W_dec: found NaN or infinite"),
    ],
)
def test_misshapen_tensors_are_named(
    tmp_path: Path, change: dict[str, torch.Tensor], message: str
) -> None:
    folder = prisma(tmp_path / "a", {**drawn(), **{n: t.contiguous() for n, t in change.items()}})
    with pytest.raises(ClipsteerError, match=message):
        imported(folder, tmp_path)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    tensors = drawn()
    del tensors["b_dec"]
    with pytest.raises(ClipsteerError, match="expected b_dec too"):
        imported(prisma(tmp_path / "a", tensors), tmp_path)


class Wants:
    """A pickle of it runs a command."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.sentinel),)


def test_a_pickle_that_wants_code_is_refused_and_names_it(tmp_path: Path) -> None:
    folder = prisma(tmp_path / "a")
    sentinel = tmp_path / "was_here"
    torch.save({"state_dict": drawn(), "cfg": Wants(sentinel)}, folder / "weights.pt")
    with pytest.raises(
        ClipsteerError, match=r"weights\.pt: this file wants to run posix.mkdir, which is refused"
    ):
        imported(folder, tmp_path)
    assert not sentinel.exists()
    torch.load(folder / "weights.pt", weights_only=False)
    assert sentinel.exists(), "the pickle would have done nothing"


def test_the_one_known_class_is_read_without_its_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the released n_images_*.pt have it; a configuration beside it is not needed then."""
    module = types.ModuleType("vit_prisma.sae.config")
    kind = type("VisionModelSAERunnerConfig", (), {"__module__": module.__name__})
    module.VisionModelSAERunnerConfig = kind  # type: ignore[attr-defined]
    config = kind()
    vars(config).update(CONFIG | {"dtype": torch.float32, "device": torch.device("cpu")})
    path = tmp_path / "n_images_2600058.pt"
    with monkeypatch.context() as there:
        for name in ("vit_prisma", "vit_prisma.sae"):
            there.setitem(sys.modules, name, types.ModuleType(name))
        there.setitem(sys.modules, module.__name__, module)
        torch.save({"cfg": config, "state_dict": drawn()}, path)
    found = imported(path, tmp_path)
    assert found.about["format"] == "prisma"
    agrees(found.dictionary, *by_formula(drawn()))


def test_files_that_are_something_else_are_named(tmp_path: Path) -> None:
    folder = prisma(tmp_path / "a")
    for content, message in (
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"", "found no archive"),
        (b"\x80\x02}q\x00.", "found no archive as torch writes them"),
        ((folder / "weights.pt").read_bytes()[:900], "found no archive"),
    ):
        (folder / "weights.pt").write_bytes(content)
        with pytest.raises(ClipsteerError, match=message):
            imported(folder, tmp_path)
    (folder / "weights.pt").unlink()
    with pytest.raises(ClipsteerError, match="has no file that ends in"):
        imported(folder, tmp_path)
    for name in ("a.pt", "b.pt"):
        torch.save(drawn(), folder / name)
    with pytest.raises(
        ClipsteerError, match=r"2 files that may be the dictionary \(a\.pt, b\.pt\)"
    ):
        imported(folder, tmp_path)
    agrees(imported(folder / "b.pt", tmp_path).dictionary, *by_formula(drawn()))
    (folder / "config.json").write_text("[")
    with pytest.raises(ClipsteerError, match="not readable as JSON"):
        imported(folder / "b.pt", tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(ClipsteerError, match="found no configuration in it or beside it"):
        imported(folder / "b.pt", tmp_path)


def test_a_threshold_that_was_never_learned_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    shutil.copytree(RELEASES / "dictionary_learning_batchtopksae", folder)
    (folder / "expected.safetensors").unlink()
    state = torch.load(folder / "ae.pt", weights_only=True)
    state["threshold"].fill_(-1)
    torch.save(state, folder / "ae.pt")
    with pytest.raises(ClipsteerError, match=r"threshold: found -1\.0"):
        imported(folder, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"normalize_activations": "expected_average_only_in"},
            "'expected_average_only_in', which depends",
        ),
        ({"normalize_activations": "layer_norm"}, "layer_norm"),
        ({"architecture": "temporal"}, "architecture: found 'temporal'"),
        ({"reshape_activations": "hook_z"}, "reshape_activations: found 'hook_z'"),
    ],
)
def test_saelens_kinds_that_cannot_be_exact_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = tmp_path / "a"
    shutil.copytree(RELEASES / "saelens_standard", folder)
    (folder / "expected.safetensors").unlink()
    config = json.loads((folder / "cfg.json").read_text()) | changes
    (folder / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(ClipsteerError, match=message):
        imported(folder, tmp_path)


def test_sparsify_says_its_layer_by_its_folder(tmp_path: Path) -> None:
    for name, message in (("layers.5", "is of layer 5"), ("layers.3.mlp", "hook point mlp_out")):
        folder = tmp_path / name
        shutil.copytree(RELEASES / "sparsify_topk", folder)
        (folder / "expected.safetensors").unlink()
        with pytest.raises(ClipsteerError, match=message):
            imported(folder, tmp_path)
    config = json.loads((folder / "cfg.json").read_text())
    for change in (
        {"transcode": True},
        {"skip_connection": True},
        {"activation": "groupmax"},
        {"signed": True},
    ):
        (folder / "cfg.json").write_text(json.dumps(config | change))
        with pytest.raises(ClipsteerError, match=f"{next(iter(change))}: found"):
            imported(folder, tmp_path, hook_point="mlp_out")


# ------------------------------------------------------------------------------------ size

_MEASURE = """
import sys
from pathlib import Path
from clipsteer.dictionaries.claimed import Expected
from clipsteer.dictionaries.files import save
from clipsteer.dictionaries.importing import import_dictionary
import safetensors.torch
# not ru_maxrss, which a new process has of the one that started it: here the larger, as it made the file
lines = lambda: dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
peak = lambda: int(lines()["VmHWM"].split()[0]) * 1024
path, out = map(Path, sys.argv[1:])
before = peak()
found = import_dictionary(path, Expected(3, "resid_post", 768), "dictionaries.x", out)
save(found.dictionary, out / "ours", {})
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says the most that was held")
@pytest.mark.parametrize("norm", [1, 2])
def test_a_release_of_true_size_takes_less_than_two_files_of_memory(
    tmp_path: Path, norm: int
) -> None:
    """d = 768, m = 49,152 at float32: 302 MB, made here and taken away again; as it is, and with norms to be folded."""
    width, features = 768, 49152
    place = torch.arange(features)
    decoder = torch.zeros(features, width)
    decoder[place, place % width] = norm
    tensors = {
        "W_enc": decoder.t().contiguous(),
        "b_enc": torch.zeros(features),
        "W_dec": decoder,
        "b_dec": torch.zeros(width),
    }
    folder = prisma(tmp_path / "a", tensors, d_in=width)
    size = (folder / "weights.pt").stat().st_size
    assert size > 300e6
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, folder, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    taken = int(done.stdout)
    assert taken > 0.2 * size, "the file was not read"
    shutil.rmtree(tmp_path / "ours")
    (folder / "weights.pt").unlink()
    assert taken < 2 * size, f"{taken / size:.2f} times the file"
