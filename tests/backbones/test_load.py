from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from clipsteer.backbones.device import check_layer, resolve_device, resolve_dtype
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.pixels import load_processor
from clipsteer.backbones.shape import FAMILIES, read_shape
from clipsteer.backbones.shaped import Family
from clipsteer.errors import ClipsteerError
from tests.backbones.tiny import make_tiny, to_bin, to_parts


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_vision(folder: Path, **changes: object) -> None:
    """None takes a key away."""
    config = json.loads((folder / "config.json").read_text())
    vision = {**config["vision_config"], **changes}
    edit_json(
        folder / "config.json", vision_config={k: v for k, v in vision.items() if v is not None}
    )


def test_properties_are_those_of_the_checkpoint(one_of: Path, family: Family) -> None:
    backbone, stored = load_backbone(one_of, device="cpu"), load_file(one_of / "model.safetensors")
    assert (backbone.n_layers, backbone.width, backbone.grid) == (3, 16, (2, 2))
    if family == "clip":
        assert (backbone.cls, backbone.n_tokens, backbone.projection_dim) == (0, 5, 8)
        assert backbone.logit_bias == 0
    else:
        assert (backbone.cls, backbone.n_tokens, backbone.projection_dim) == (None, 4, 16)
        assert backbone.logit_bias == float(stored["logit_bias"])
    assert backbone.logit_scale == pytest.approx(math.exp(float(stored["logit_scale"])), rel=1e-6)
    assert not backbone.model.training
    assert not any(p.requires_grad for p in backbone.model.parameters())
    assert backbone.model.config._attn_implementation == "sdpa"


def test_a_config_without_defaults_means_the_same_as_in_transformers(
    tmp_path: Path, family: Family
) -> None:
    """Released configs leave out what equals the defaults."""
    kinds = {
        "clip": transformers.CLIPVisionConfig(),
        "siglip": transformers.SiglipVisionConfig(),
    }
    assert set(kinds) == set(FAMILIES)
    content = {"model_type": family, "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    shape, default = read_shape(tmp_path), kinds[family]
    assert (shape.n_layers, shape.width) == (default.num_hidden_layers, default.hidden_size)
    assert (shape.image_size, shape.patch_size) == (default.image_size, default.patch_size)


def test_the_older_config_key_overrules_as_in_transformers(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "m")
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    edit_json(
        folder / "config.json",
        vision_config={**vision, "num_hidden_layers": 2},
        vision_config_dict=vision,
    )
    backbone = load_backbone(folder, device="cpu")
    assert backbone.n_layers == len(backbone.model.vision_model.encoder.layers) == 3


def test_weights_stored_in_half_precision_are_those_numbers(one_of: Path, copy: Path) -> None:
    path = copy / "model.safetensors"
    half = {name: tensor.half() for name, tensor in load_file(path).items()}
    save_file(half, path, metadata={"format": "pt"})
    edit_json(copy / "config.json", dtype="float16")
    backbone = load_backbone(copy, device="cpu")
    assert {p.dtype for p in backbone.model.parameters()} == {torch.float32}
    found = dict(backbone.model.named_parameters())
    assert all(torch.equal(found[name], tensor.float()) for name, tensor in half.items())


@pytest.mark.parametrize("change", [to_bin, to_parts])
def test_other_weight_layouts_give_the_same_model(
    one_of: Path, copy: Path, change: Callable[[Path], Path]
) -> None:
    other = load_backbone(change(copy), device="cpu")
    state = load_backbone(one_of, device="cpu").model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in other.model.state_dict().items())


def test_pil_is_asked_for_even_where_torchvision_is_installed(
    one_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    real = transformers.AutoImageProcessor.from_pretrained

    def spy(*args: object, **options: object) -> object:
        asked.append(options.get("backend"))
        return real(*args, **options)

    monkeypatch.setattr(transformers.AutoImageProcessor, "from_pretrained", spy)
    assert load_processor(one_of).backend == "pil"
    assert asked == ["pil"]


class Explosive:
    """Unpickling one of these would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def test_a_pickle_that_runs_code_is_refused_unrun(copy: Path, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    (copy / "model.safetensors").unlink()
    torch.save({"logit_scale": Explosive(trap)}, copy / "pytorch_model.bin")
    with pytest.raises(ClipsteerError, match=r"pytorch_model\.bin"):
        load_backbone(copy, device="cpu")
    assert not trap.exists()


@pytest.mark.parametrize("tower", ["vision_model.", "text_model.", "logit_scale"])
def test_missing_tensors_are_not_made_up(copy: Path, tower: str) -> None:
    path = copy / "model.safetensors"
    kept = {k: v for k, v in load_file(path).items() if not k.startswith(tower)}
    save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(ClipsteerError, match=rf"{copy}: model.safetensors lacks .*{tower}"):
        load_backbone(copy, device="cpu")


def test_truncated_weights_are_named(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ClipsteerError, match=rf"{copy}: cannot read .*model.safetensors"):
        load_backbone(copy, device="cpu")


def test_tensors_of_another_shape_are_refused(copy: Path) -> None:
    path = copy / "model.safetensors"
    tensors = load_file(path)
    tensors["vision_model.post_layernorm.weight"] = torch.zeros(4)
    save_file(tensors, path, metadata={"format": "pt"})
    said = rf"{copy}: .* vision_model\.post_layernorm\.weight is \(4,\), expected \(16,\).*config\.json"
    with pytest.raises(ClipsteerError, match=said):
        load_backbone(copy, device="cpu")


def test_a_tokenizer_of_another_model_is_refused(copy: Path) -> None:
    path = copy / "model.safetensors"
    tensors = load_file(path)
    name = "text_model.embeddings.token_embedding.weight"
    tensors[name] = tensors[name][:10].clone()
    save_file(tensors, path, metadata={"format": "pt"})
    config = json.loads((copy / "config.json").read_text())
    text = {**config["text_config"], "vocab_size": 10}
    edit_json(copy / "config.json", text_config=text)
    with pytest.raises(
        ClipsteerError, match=r"tokenizer has \d+ entries, the text tower only 10\."
    ):
        load_backbone(copy, device="cpu").text(["a cat"])


def test_damaged_small_files_are_one_error(copy: Path) -> None:
    kept = (copy / "preprocessor_config.json").read_text()
    (copy / "preprocessor_config.json").write_text("{")
    with pytest.raises(ClipsteerError, match=f"{copy}: cannot load the image processor"):
        load_backbone(copy, device="cpu")
    (copy / "preprocessor_config.json").write_text(kept)
    backbone = load_backbone(copy, device="cpu")
    for name in ("tokenizer.json", "spiece.model"):
        if (copy / name).is_file():
            (copy / name).write_text("{")
    with pytest.raises(ClipsteerError, match=f"{copy}: cannot load the tokenizer"):
        backbone.text(["a cat"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_attention_heads": 3}, "hidden_size 16 .* its num_attention_heads 3"),
        ({"num_hidden_layers": "3"}, "num_hidden_layers .* is '3', expected a whole number"),
        ({"image_size": [32, 64]}, r"image_size .* is \[32, 64\], expected .*squares"),
        ({"patch_size": 33}, "patch_size .*, 33, is larger than its image_size, 32"),
        ({"layer_norm_eps": "small"}, "cannot read a .*Model from config.json"),
        ({"intermediate_size": 64}, r"fc1.bias is \(32,\), expected \(64,\)"),
        ({"hidden_size": 24}, r" is \(.*16.*\), expected \(.*24.*\)"),
        ({"num_hidden_layers": 4}, r"lacks 16 tensors .*layers\.3\."),
    ],
    ids=str,
)
def test_a_config_of_other_weights_is_refused(
    copy: Path, changes: dict[str, object], said: str
) -> None:
    edit_vision(copy, **changes)
    with pytest.raises(ClipsteerError, match=f"{copy}: .*{said}"):
        load_backbone(copy, device="cpu")


def test_weights_for_another_image_size_are_refused(copy: Path) -> None:
    """Those for 224 pixels beside the configs for 336, say."""
    edit_vision(copy, image_size=48)
    with pytest.raises(
        ClipsteerError, match=r"position_embedding.* is \(\d, 16\), expected \((9|10), 16\)"
    ):
        load_backbone(copy, device="cpu")


def test_a_siglip_without_its_head_is_refused(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "m", family="siglip")
    edit_vision(folder, vision_use_head=False)
    with pytest.raises(ClipsteerError, match="says vision_use_head false"):
        load_backbone(folder, device="cpu")


def test_auto_takes_the_best_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto").type == "cpu"


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "gpu", "", "meta", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ClipsteerError, match=f"device: found '{name}'.*auto, cpu"):
        resolve_device(name)


def test_a_cuda_number_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ClipsteerError, match="cuda:2"):
        resolve_device("cuda:2")


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(ClipsteerError, match="dtype: found 'double', expected one of float32"):
        resolve_dtype("double")


def test_layers_are_checked_under_their_key() -> None:
    check_layer(0, 3)
    check_layer(2, 3)
    for layer in (-1, 3):
        with pytest.raises(ClipsteerError, match=f"ablation.layers: found layer {layer}.*0 to 2"):
            check_layer(layer, 3, "ablation.layers")
