from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig

from clipsteer.backbones.model import load_clip
from clipsteer.backbones.tail import load_tail
from clipsteer.backbones.taps import forward_with_taps, resume
from clipsteer.errors import ClipsteerError
from tests.backbones.tiny import make_tiny, photos, to_bin, to_parts


def change_vision(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["vision_config"].update(changes)
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_tail_equals_the_full_model_at_every_layer(folder: Path, dtype: str) -> None:
    clip = load_clip(folder, device="cpu", dtype=dtype)
    embeddings, taps = forward_with_taps(clip, clip.pixels(photos(4)), ["resid_post"])
    for layer, stream in enumerate(taps["resid_post"]):
        tail = load_tail(folder, layer, device="cpu", dtype=dtype)
        assert torch.equal(tail(stream), embeddings)
        moved = stream + torch.linspace(-1, 1, 16, dtype=stream.dtype)
        assert torch.equal(tail(moved), resume(clip, moved, layer))
        assert (tail.n_layers, tail.width, tail.logit_scale) == (3, 16, clip.logit_scale)


@pytest.mark.parametrize("images", [1, 3, 16, 64, 65, 200])
def test_the_tail_equals_the_full_model_for_any_number_of_images(folder: Path, images: int) -> None:
    """Few images carry more than the CLS token through the last layer; many go in several runs."""
    clip = load_clip(folder, device="cpu")
    generator = torch.Generator().manual_seed(images)
    for layer in range(3):
        stream = torch.randn(images, 5, 16, generator=generator)
        given = stream.clone()
        assert torch.equal(
            load_tail(folder, layer, device="cpu")(stream), resume(clip, stream, layer)
        )
        assert torch.equal(stream, given)


@pytest.mark.parametrize(
    ("image", "patch", "tokens"), [(336, 14, 577), (384, 16, 577), (378, 14, 730)], ids=str
)
def test_the_tail_equals_transformers_for_images_of_many_tokens(
    tmp_path: Path, image: int, patch: int, tokens: int
) -> None:
    """ViT-L/14-336, B/16-384 and /14-378: one image alone is more than a run of tokens."""
    from transformers import CLIPModel

    folder = make_tiny(tmp_path / "m", image_size=image, patch_size=patch)
    model = CLIPModel.from_pretrained(folder).eval()
    whole = torch.randn(16, tokens, 16, generator=torch.Generator().manual_seed(tokens))
    for layer, module in enumerate(model.vision_model.encoder.layers):
        tail = load_tail(folder, layer, device="cpu")
        for images in (16, 3, 1):
            stream = whole[:images]
            hook = module.register_forward_hook(lambda *_, stream=stream: stream)
            pixels = torch.zeros(images, 3, image, image)
            with torch.inference_mode():
                expected = model.get_image_features(pixel_values=pixels).pooler_output
            hook.remove()
            assert torch.equal(tail(stream), expected)


def test_the_tail_does_not_depend_on_the_number_of_threads(folder: Path) -> None:
    stream = torch.randn(200, 5, 16, generator=torch.Generator().manual_seed(0))
    tail, before = load_tail(folder, 0, device="cpu"), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(tail(stream))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_only_the_layers_above_are_read(folder: Path) -> None:
    names = set(load_tail(folder, 1, device="cpu").weights)
    assert {n.split(".")[3] for n in names if ".layers." in n} == {"2"}
    assert not any(n.startswith(("text_model", "vision_model.embeddings")) for n in names)


@pytest.mark.parametrize("change", [to_bin, to_parts])
def test_other_weight_layouts_give_the_same_tail(
    copy: Path, folder: Path, change: Callable[[Path], Path]
) -> None:
    stream = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))
    other = load_tail(change(copy), 0, device="cpu")
    assert torch.equal(other(stream), load_tail(folder, 0, device="cpu")(stream))


def test_a_config_without_defaults_means_the_same_as_in_transformers(tmp_path: Path) -> None:
    """Released configs leave out what equals CLIPVisionConfig's defaults."""
    copy = make_tiny(tmp_path / "m", hidden_size=24, num_attention_heads=12)
    path = copy / "config.json"
    config = json.loads(path.read_text())
    defaults = CLIPVisionConfig()
    keys = ("num_hidden_layers", "num_attention_heads", "layer_norm_eps", "hidden_act")
    for key in keys:
        config["vision_config"].pop(key)
    path.write_text(json.dumps(config))
    with pytest.raises(ClipsteerError, match=f"has {defaults.num_hidden_layers} vision layers"):
        load_tail(copy, 99, device="cpu")
    config["vision_config"]["num_hidden_layers"] = 3
    path.write_text(json.dumps(config))
    tail = load_tail(copy, 0, device="cpu")
    assert (tail.heads, tail.eps) == (defaults.num_attention_heads, defaults.layer_norm_eps)
    x = torch.linspace(-3, 3, 7)
    assert torch.equal(tail.activation(x.clone()), x * torch.sigmoid(1.702 * x))
    assert defaults.hidden_act == "quick_gelu"


def test_the_older_config_key_overrules_as_in_transformers(copy: Path) -> None:
    path = copy / "config.json"
    config = json.loads(path.read_text())
    config["vision_config_dict"] = {**config["vision_config"], "num_attention_heads": 4}
    path.write_text(json.dumps(config))
    clip = load_clip(copy, device="cpu")
    embeddings, taps = forward_with_taps(clip, clip.pixels(photos(2)), ["resid_post"])
    assert torch.equal(load_tail(copy, 0, device="cpu")(taps["resid_post"][0]), embeddings)


def test_an_unknown_activation_is_refused(copy: Path) -> None:
    change_vision(copy, hidden_act="relu")
    with pytest.raises(ClipsteerError, match="hidden_act is 'relu', expected one of quick_gelu"):
        load_tail(copy, 0, device="cpu")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_attention_heads": 3}, "hidden_size 16 .* its num_attention_heads 3"),
        ({"num_attention_heads": None}, "num_attention_heads .* is None, expected a whole number"),
        ({"num_hidden_layers": "3"}, "num_hidden_layers .* is '3', expected a whole number"),
        ({"layer_norm_eps": None}, "layer_norm_eps .* is None"),
        ({"intermediate_size": 64}, r"fc1.bias has shape \(32,\), expected \(64,\)"),
        ({"hidden_size": 24}, r"bias has shape \(16,\), expected \(24,\)"),
    ],
    ids=str,
)
def test_a_config_of_other_weights_is_refused(
    copy: Path, changes: dict[str, object], said: str
) -> None:
    change_vision(copy, **changes)
    with pytest.raises(ClipsteerError, match=f"{copy}: .*{said}"):
        load_tail(copy, 0, device="cpu")


def test_missing_tensors_are_named(copy: Path) -> None:
    path = copy / "model.safetensors"
    name = "vision_model.encoder.layers.2.mlp.fc1.bias"
    tensors = load_file(path)
    del tensors[name]
    save_file(tensors, path)
    with pytest.raises(ClipsteerError, match=f"{copy}: .*lack 1 tensors.*{name}"):
        load_tail(copy, 0, device="cpu")
    load_tail(copy, 2, device="cpu")  # which needs no layer


def test_damaged_weights_are_named(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ClipsteerError, match=r"model\.safetensors: cannot be read"):
        load_tail(copy, 0, device="cpu")


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_out_of_range_is_refused_under_its_key(folder: Path, layer: int) -> None:
    with pytest.raises(ClipsteerError, match=f"ablation.layer: found layer {layer}.*0 to 2"):
        load_tail(folder, layer, key="ablation.layer")


def test_a_tail_never_imports_transformers(folder: Path) -> None:
    code = (
        "import sys, pathlib, clipsteer.backbones.tail as t; "
        "t.load_tail(pathlib.Path(sys.argv[1]), 0); print('transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
