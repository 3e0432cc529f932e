from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from clipsteer.backbones.device import check_layer, resolve_device, resolve_dtype
from clipsteer.backbones.model import Clip, load_clip
from clipsteer.backbones.taps import forward_with_taps
from clipsteer.errors import ClipsteerError
from tests.backbones.tiny import make_tiny, photos, to_bin, to_parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    return load_clip(folder, device="cpu")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_properties_are_those_of_the_checkpoint(clip: Clip, folder: Path) -> None:
    scale = float(load_file(folder / "model.safetensors")["logit_scale"])
    assert (clip.n_layers, clip.width, clip.n_tokens, clip.projection_dim) == (3, 16, 5, 8)
    assert clip.logit_scale == pytest.approx(math.exp(scale), rel=1e-6)
    assert not clip.model.training
    assert not any(p.requires_grad for p in clip.model.parameters())
    assert clip.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("size", [(40, 36), (32, 32), (90, 20), (1, 50)])
def test_pixels_are_pil_resize_crop_and_normalise(clip: Clip, size: tuple[int, int]) -> None:
    image = photos(1, size)[0]
    short = min(size)
    scaled = image.resize((32 * size[0] // short, 32 * size[1] // short), Image.Resampling.BICUBIC)
    left, top = (scaled.width - 32) // 2, (scaled.height - 32) // 2
    crop = np.asarray(scaled.crop((left, top, left + 32, top + 32)), dtype=np.float64) / 255
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    expected = ((crop - mean) / std).transpose(2, 0, 1)
    found = clip.pixels([image])
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)


def test_pixels_of_a_wrong_processor_are_refused(copy: Path) -> None:
    edit_json(copy / "preprocessor_config.json", crop_size={"height": 24, "width": 24})
    with pytest.raises(ClipsteerError, match=r"\(3, 24, 24\).*\(3, 32, 32\)"):
        load_clip(copy, device="cpu").pixels(photos(2))


@pytest.mark.parametrize("change", [to_bin, to_parts])
def test_other_weight_layouts_give_the_same_model(
    copy: Path, clip: Clip, change: Callable[[Path], Path]
) -> None:
    other = load_clip(change(copy), device="cpu")
    state = clip.model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in other.model.state_dict().items())


def test_a_processor_saved_by_the_older_name_loads(copy: Path, clip: Clip) -> None:
    path = copy / "preprocessor_config.json"
    config = json.loads(path.read_text())
    del config["image_processor_type"]
    path.write_text(json.dumps({**config, "feature_extractor_type": "CLIPFeatureExtractor"}))
    assert torch.equal(load_clip(copy, device="cpu").pixels(photos(2)), clip.pixels(photos(2)))


def test_pil_is_asked_for_even_where_torchvision_is_installed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    real = transformers.AutoImageProcessor.from_pretrained

    def spy(*args: object, **options: object) -> object:
        asked.append(options.get("backend"))
        return real(*args, **options)

    monkeypatch.setattr(transformers.AutoImageProcessor, "from_pretrained", spy)
    assert load_clip(folder, device="cpu").processor.backend == "pil"
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
        load_clip(copy, device="cpu")
    assert not trap.exists()


@pytest.mark.parametrize("tower", ["vision_model.", "text_model.", "visual_projection"])
def test_missing_tensors_are_not_made_up(copy: Path, tower: str) -> None:
    path = copy / "model.safetensors"
    kept = {k: v for k, v in load_file(path).items() if not k.startswith(tower)}
    save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(ClipsteerError, match=rf"{copy}: model.safetensors lacks .*{tower}"):
        load_clip(copy, device="cpu")


def test_truncated_weights_are_named(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ClipsteerError, match=rf"{copy}: cannot read .*model.safetensors"):
        load_clip(copy, device="cpu")


def test_tensors_of_another_shape_are_refused(copy: Path) -> None:
    path = copy / "model.safetensors"
    tensors = load_file(path)
    tensors["visual_projection.weight"] = torch.zeros(4, 16)
    save_file(tensors, path, metadata={"format": "pt"})
    said = (
        rf"{copy}: .* visual_projection\.weight is \(4, 16\), expected \(\d+, \d+\).*config\.json"
    )
    with pytest.raises(ClipsteerError, match=said):
        load_clip(copy, device="cpu")


def test_a_tokenizer_of_another_model_is_refused(copy: Path) -> None:
    path = copy / "model.safetensors"
    tensors = load_file(path)
    name = "text_model.embeddings.token_embedding.weight"
    tensors[name] = tensors[name][:100].clone()
    save_file(tensors, path, metadata={"format": "pt"})
    config = json.loads((copy / "config.json").read_text())
    text = {**config["text_config"], "vocab_size": 100}
    edit_json(copy / "config.json", text_config=text)
    with pytest.raises(ClipsteerError, match="tokenizer has 514 entries, the text tower only 100"):
        load_clip(copy, device="cpu")


@pytest.mark.parametrize("name", ["tokenizer.json", "preprocessor_config.json"])
def test_damaged_small_files_are_one_error(copy: Path, name: str) -> None:
    (copy / name).write_text("{")
    with pytest.raises(
        ClipsteerError, match=f"{copy}: cannot load the (image processor|tokenizer)"
    ):
        load_clip(copy, device="cpu")


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.1), ("float16", 0.02)])
def test_half_precision_is_close(folder: Path, clip: Clip, dtype: str, tolerance: float) -> None:
    half = load_clip(folder, device="cpu", dtype=dtype)
    pixels = half.pixels(photos(4))
    found, _ = forward_with_taps(half, pixels, [])
    exact, _ = forward_with_taps(clip, clip.pixels(photos(4)), [])
    assert found.dtype == pixels.dtype == resolve_dtype(dtype)
    assert (found.float() - exact).norm() < tolerance * exact.norm()
    assert not torch.equal(found.float(), exact)


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
