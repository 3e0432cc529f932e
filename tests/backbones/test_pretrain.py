"""Tokenizer and pre-training: a real CLIP directory, the loss against brute force, stable bytes."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clipsteer.backbones import contrast, ordered, pretrain, tokenizer
from clipsteer.errors import ClipsteerError

TEXTS = [
    "a photo of a blond man.",
    "a photo of a woman with dark hair",
    "a photo of a waterbird on land",
    "a photo of a blond man.",
    "a picture of a lemon",
]
SMALL: dict[str, Any] = {
    "image_size": 32,
    "vision_layers": 2,
    "vision_width": 64,
    "text_width": 32,
    "text_layers": 1,
    "projection_dim": 16,
    "batch_size": 160,
    "steps": 3,
    "warmup_steps": 1,
    "vocabulary": 600,
    "shift": 1,
}


def _data(n: int = 200, side: int = 32) -> tuple[np.ndarray, list[str]]:
    """Random pictures, brighter or darker by their caption, so that there is something to learn."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 120, size=(n, side, side, 3), dtype=np.uint8)
    words = ["red", "green", "blue", "grey", "golden"]
    texts = []
    for i in range(n):
        a, b = (int(v) for v in rng.integers(len(words), size=2))
        pixels[i, :, :, 0] += np.uint8(25 * a)
        pixels[i, :, :, 1] += np.uint8(25 * b)
        texts.append(f"a photo of {words[a]} and {words[b]}")
    return pixels, texts


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_tokenizer_loads_and_reads_any_text_back(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    size = tokenizer.build_tokenizer(TEXTS, tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert len(loaded) == size > 514
    assert loaded.model_max_length == 32
    for text in ("a zebra's 12 stripes!", "naïve café", "日本 x", "a photo of a blond man."):
        ids = loaded(text)["input_ids"]
        assert ids[0] == loaded.bos_token_id
        assert ids[-1] == loaded.eos_token_id
        assert loaded.eos_token_id not in ids[1:-1]
        plain = loaded.decode(ids, skip_special_tokens=True).replace(" ", "")
        assert plain == text.lower().replace(" ", "")
    common = loaded.tokenize("a photo of a blond man")
    assert common == ["a</w>", "photo</w>", "of</w>", "a</w>", "blond</w>", "man</w>"]


def test_tokenizer_bytes_do_not_depend_on_the_order_of_texts(tmp_path: Path) -> None:
    tokenizer.build_tokenizer(TEXTS, tmp_path / "a")
    tokenizer.build_tokenizer(reversed(TEXTS), tmp_path / "b")
    assert _digests(tmp_path / "a") == _digests(tmp_path / "b")


def test_tokenizer_bytes_do_not_depend_on_chance(tmp_path: Path) -> None:
    # Several pairs are as frequent; the trainer's threads would decide which it takes first.
    words = ["lemon", "gull", "plum", "crow", "fox", "owl", "pear"]
    texts = [f"a photo of a {word}" for word in words] * 10
    for i in range(12):
        tokenizer.build_tokenizer(texts, tmp_path / str(i))
    assert len({tuple(_digests(tmp_path / str(i)).items()) for i in range(12)}) == 1


def test_tokenizer_keeps_to_its_size(tmp_path: Path) -> None:
    assert tokenizer.build_tokenizer(TEXTS, tmp_path / "a", vocabulary=520) <= 520
    with pytest.raises(ClipsteerError, match="514"):
        tokenizer.build_tokenizer(TEXTS, tmp_path / "b", vocabulary=513)


def test_ordered_layers_agree_with_float64_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    norm, conv = nn.LayerNorm(24), nn.Conv2d(3, 24, 8, stride=8, bias=False)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(24, generator=generator))
    x = torch.randn(40, 3, 24, 16, generator=generator)
    weight = torch.randn(40, 6, 24, generator=generator)

    def run(norm: nn.Module, conv: nn.Module, dtype: torch.dtype) -> list[torch.Tensor]:
        inputs = x.to(dtype).requires_grad_()
        out = norm.to(dtype)(conv.to(dtype)(inputs).flatten(2).transpose(1, 2))
        parameters = [*norm.parameters(), *conv.parameters()]
        grads = torch.autograd.grad((out * weight.to(dtype)).sum(), [inputs, *parameters])
        return [out.detach(), *grads]

    oracle = run(norm, conv, torch.float64)
    norm.float(), conv.float()
    pair = nn.ModuleList([norm, conv])
    ordered.order_gradients(pair)
    assert type(pair[0]) is ordered.OrderedLayerNorm
    assert type(pair[1]) is ordered.OrderedPatches
    for ours, theirs in zip(run(pair[0], pair[1], torch.float32), oracle, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-4, atol=2e-4)


def test_loss_is_the_full_matrix_loss_with_many_positives() -> None:
    generator = torch.Generator().manual_seed(1)
    n, u = 12, 5
    inverse = torch.tensor([0, 1, 2, 3, 4, 0, 0, 1, 2, 2, 4, 0])
    seen, read = (torch.randn(k, 8, generator=generator) for k in (n, u))
    model: Any = SimpleNamespace(
        vision_model=lambda pixel_values: SimpleNamespace(pooler_output=pixel_values),
        text_model=lambda input_ids: SimpleNamespace(pooler_output=input_ids),
        visual_projection=lambda x: x,
        text_projection=lambda x: x,
        logit_scale=torch.tensor(1.3),
    )
    ours = float(contrast._loss(model, seen, read, inverse))
    # Brute force: one text column per picture, positives wherever the captions are the same.
    x = (seen / seen.norm(dim=1, keepdim=True)).double().numpy()
    y = (read / read.norm(dim=1, keepdim=True)).double().numpy()[inverse.numpy()]
    logits = np.exp(1.3) * x @ y.T
    same = inverse.numpy()[:, None] == inverse.numpy()[None, :]
    losses = []
    for i in range(n):
        by_text = np.log(np.exp(logits[i]).sum()) - logits[i, same[i]]
        by_image = np.log(np.exp(logits[:, i]).sum()) - logits[same[:, i], i]
        losses.append((by_text.mean() + by_image.mean()) / 2)
    assert ours == pytest.approx(np.mean(losses), abs=1e-5)


def test_gradient_clipping_agrees_with_torch() -> None:
    generator = torch.Generator().manual_seed(2)
    for most in (1.0, 1e6):
        ours = [torch.zeros(s, requires_grad=True) for s in ((3, 4, 5), (7,), ())]
        theirs = [torch.zeros_like(p, requires_grad=True) for p in ours]
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        norm = contrast._clip_gradients(ours, most)
        assert norm == pytest.approx(float(nn.utils.clip_grad_norm_(theirs, most)), rel=1e-6)
        for a, b in zip(ours, theirs, strict=True):
            assert a.grad is not None
            assert b.grad is not None
            torch.testing.assert_close(a.grad, b.grad)


def test_schedule_rises_then_falls_to_nothing() -> None:
    rates = [contrast._schedule(step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == 1.0
    assert rates.index(max(rates)) in (9, 10)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] < 0.001


def test_every_picture_is_seen_once_an_epoch() -> None:
    batches = list(contrast._batches(10, 4, 5, seed=3))
    rows = np.concatenate([rows for rows, _ in batches])
    assert sorted(rows[:10].tolist()) == list(range(10))
    assert sorted(rows[10:].tolist()) == list(range(10))
    again = np.concatenate([rows for rows, _ in contrast._batches(10, 4, 5, seed=3)])
    assert np.array_equal(rows, again)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "one"
    pixels, texts = _data()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pretrain.pretrain(pixels, texts, folder, config=SMALL, seed=1)
    torch.set_num_threads(threads)
    return folder


def test_same_bytes_with_two_threads_and_other_bytes_with_another_seed(
    trained: Path, tmp_path: Path
) -> None:
    pixels, texts = _data()
    threads, before = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    pretrain.pretrain(pixels, texts, tmp_path / "two", config=SMALL, seed=1)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    pretrain.pretrain(pixels, texts, tmp_path / "other", config=SMALL, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert _digests(tmp_path / "two") == _digests(trained)
    ours, theirs = _digests(trained), _digests(tmp_path / "other")
    assert {name for name in ours if ours[name] != theirs[name]} == {"model.safetensors"}


def test_the_directory_is_a_clip_that_transformers_loads(trained: Path) -> None:
    from PIL import Image
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(trained)
    assert model.config.vision_config.hidden_act == "quick_gelu"
    assert model.config.vision_config.num_hidden_layers == 2
    loaded = AutoTokenizer.from_pretrained(trained)
    assert model.config.text_config.vocab_size == len(loaded)
    assert model.config.text_config.eos_token_id == loaded.eos_token_id
    processor = AutoImageProcessor.from_pretrained(trained)
    picture = Image.new("RGB", (50, 40), (200, 30, 30))
    images = processor(images=[picture], return_tensors="pt")["pixel_values"]
    assert images.shape == (1, 3, 32, 32)
    with torch.no_grad():
        out = model(pixel_values=images, **loaded(TEXTS, padding=True, return_tensors="pt"))
    assert out.logits_per_image.shape == (1, 5)
    assert not any("Ordered" in type(module).__name__ for module in model.modules())


def test_training_sees_the_image_processors_own_pixels(tmp_path: Path) -> None:
    from PIL import Image
    from transformers import AutoImageProcessor

    pixels, _ = _data(6)
    table = pretrain._processor_table(tmp_path, 32)
    rows = np.array([4, 0, 5])
    ours = contrast._pictures(pixels, rows, np.zeros((3, 2), dtype=np.int64), table, 0)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    images = [Image.fromarray(pixels[i]) for i in rows]
    assert torch.equal(ours, processor(images=images, return_tensors="pt")["pixel_values"])
    corner = np.full((3, 2), (1 << 16) - 1)
    moved = contrast._pictures(pixels, rows, corner, table, 2)
    assert torch.equal(moved[:, :, :-2, :-2], ours[:, :, 2:, 2:])


def test_the_loss_falls(tmp_path: Path) -> None:
    pixels, texts = _data()
    done: list[int] = []
    config = {**SMALL, "steps": 40, "warmup_steps": 4, "lr": 3e-3}
    metrics = pretrain.pretrain(
        pixels, texts, tmp_path, config=config, seed=0, progress=done.append
    )
    assert sum(done) == 40
    assert metrics["step"] == list(range(1, 41))
    assert np.mean(metrics["loss"][-5:]) < np.mean(metrics["loss"][:5]) - 0.8


def test_the_logit_scale_is_bounded(tmp_path: Path) -> None:
    pixels, texts = _data()
    config = {**SMALL, "max_logit_scale": 5.0, "lr": 1e-5}
    metrics = pretrain.pretrain(pixels, texts, tmp_path, config=config, seed=0)
    assert metrics["logit_scale"] == pytest.approx([5.0] * 3, rel=1e-3)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"stepz": 3}, "stepz"),
        ({"vision_heads": 5}, "vision_heads 5"),
        ({"patch_size": 5}, "patch_size 5"),
        ({"image_size": 64}, r"\(n, 64, 64, 3\)"),
        ({"batch_size": 500}, "batch of 500"),
        ({"lr": 1e30, "steps": 5}, "finite"),
    ],
)
def test_bad_settings_are_named(config: dict[str, Any], words: str, tmp_path: Path) -> None:
    pixels, texts = _data()
    with pytest.raises(ClipsteerError, match=words):
        pretrain.pretrain(pixels, texts, tmp_path / "x", config={**SMALL, **config}, seed=0)
    assert not (tmp_path / "x" / "model.safetensors").exists()


def test_captions_must_match_the_pictures(tmp_path: Path) -> None:
    pixels, texts = _data()
    with pytest.raises(ClipsteerError, match="199 captions for 200"):
        pretrain.pretrain(pixels, texts[:-1], tmp_path, config=SMALL, seed=0)
