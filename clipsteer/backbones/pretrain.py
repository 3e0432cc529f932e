"""Pre-training of the tiny CLIP of the embedded default, from scratch, on captioned pictures.

The outcome is a complete `transformers` CLIP directory, to everything else like a downloaded one.
The same arguments give the same bytes whatever the number of threads (`clipsteer.backbones.ordered`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipsteer.backbones.contrast import Pairs, begin, train
from clipsteer.backbones.ordered import MAX_THREADS, order_gradients
from clipsteer.backbones.tokenizer import build_tokenizer
from clipsteer.errors import ClipsteerError
from clipsteer.snapshots import Offer, Resume

if TYPE_CHECKING:
    from transformers import CLIPModel

DEFAULTS: dict[str, Any] = {
    "image_size": 64,  # pixels
    "patch_size": 16,  # pixels
    "vision_width": 96,
    "vision_layers": 6,
    "vision_heads": 4,
    "text_width": 64,
    "text_layers": 2,
    "text_heads": 4,
    "projection_dim": 64,
    "context_length": 32,  # tokens
    "vocabulary": 1536,
    "hidden_act": "quick_gelu",
    "batch_size": 256,  # pictures
    "steps": 300,
    "lr": 1e-3,
    "warmup_steps": 30,
    "weight_decay": 0.05,
    "clip_norm": 1.0,
    "shift": 2,  # pixels: each picture is moved by up to this many in either direction
    "max_logit_scale": 100.0,
}
"""Every key that `pretrain`'s config may hold, with its default."""


def pretrain(
    pixels: NDArray[np.uint8],
    texts: Sequence[str],
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    seed: int,
    progress: Callable[[int], None] | None = None,
    resume: Resume | None = None,
    offer: Offer | None = None,
) -> dict[str, list[float]]:
    """Train a CLIP from scratch and write config, weights, tokenizer and image processor.

    Args:
        pixels: (n, H, W, 3) uint8, an array or a memory map, H = W = `image_size`.
        texts: n captions; the tokenizer is learned from them.
        folder: the CLIP directory to write.
        config: any of `DEFAULTS`' keys.
        seed: of the initial weights, the order of the pictures and their shifts.
        progress: called with 1 after each step.
        resume: gives the snapshot to continue from, if there is one; the result is bit-identical to
            an uninterrupted run's.
        offer: called after each step with the number of steps done and a way to a snapshot.

    Returns:
        Columns `step`, `loss` (nats), `lr`, `logit_scale`, `grad_norm`, one value a step.

    Raises:
        ClipsteerError: an unknown key, a bad value, pictures of another size, fewer pictures than
            a batch, or a loss that is not finite.
    """
    settings = _settings(config or {})
    _check(pixels, texts, settings)
    folder.mkdir(parents=True, exist_ok=True)
    context = int(settings["context_length"])
    vocabulary = build_tokenizer(
        texts, folder, vocabulary=int(settings["vocabulary"]), context_length=context
    )
    from transformers import AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    tokenizer = AutoTokenizer.from_pretrained(folder)
    distinct = sorted(set(texts))
    number = {text: i for i, text in enumerate(distinct)}
    caption = np.array([number[text] for text in texts], dtype=np.int64)
    encoded = tokenizer(distinct, padding="max_length", truncation=True, max_length=context)
    ids = np.array(encoded["input_ids"], dtype=np.int64)
    longest = int((ids != tokenizer.pad_token_id).sum(axis=1).max()) + 1
    # A multiple of 8 keeps the halves of every tensor whole numbers of vector registers.
    tokens = torch.from_numpy(ids[:, : min(context, -(-longest // 8) * 8)])
    model = _model(settings, vocabulary, tokenizer, seed)
    table = _processor_table(folder, int(settings["image_size"]))
    order_gradients(model)
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, MAX_THREADS))
    try:
        training = begin(model, settings, resume)
        data = Pairs(pixels, caption, tokens, table)
        train(training, data, seed=seed, progress=progress, offer=offer)
    finally:
        torch.set_num_threads(threads)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of writing one file
    model.save_pretrained(folder)
    return training.metrics


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(config) - set(DEFAULTS))
    if unknown:
        raise ClipsteerError(
            f"pre-training: found the unknown key {unknown[0]!r}; "
            f"expected some of {', '.join(DEFAULTS)}. Correct or remove it."
        )
    settings = {**DEFAULTS, **config}
    for key in ("vision", "text"):
        width, heads = int(settings[f"{key}_width"]), int(settings[f"{key}_heads"])
        if heads < 1 or width % heads:
            raise ClipsteerError(
                f"pre-training: found {key}_width {width} and {key}_heads {heads}; "
                "expected a width that the heads divide. Change one of them."
            )
    if int(settings["image_size"]) % int(settings["patch_size"]):
        raise ClipsteerError(
            f"pre-training: found patch_size {settings['patch_size']}; expected a divisor of "
            f"image_size {settings['image_size']}. Change one of them."
        )
    return settings


def _check(pixels: NDArray[np.uint8], texts: Sequence[str], settings: Mapping[str, Any]) -> None:
    side = int(settings["image_size"])
    if pixels.ndim != 4 or pixels.shape[1:] != (side, side, 3) or pixels.dtype != np.uint8:
        raise ClipsteerError(
            f"pre-training: found pictures of shape {pixels.shape}, {pixels.dtype}; expected "
            f"(n, {side}, {side}, 3), uint8. Paint them at image_size, or change image_size."
        )
    if len(texts) != len(pixels):
        raise ClipsteerError(
            f"pre-training: found {len(texts)} captions for {len(pixels)} pictures; expected one "
            "for each. Check captions.csv."
        )
    if len(pixels) < int(settings["batch_size"]):
        raise ClipsteerError(
            f"pre-training: found {len(pixels)} pictures; expected at least one batch of "
            f"{settings['batch_size']}. Paint more or lower batch_size."
        )


def _model(settings: Mapping[str, Any], vocabulary: int, tokenizer: Any, seed: int) -> CLIPModel:
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    text = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=settings["text_width"],
        intermediate_size=4 * settings["text_width"],
        num_hidden_layers=settings["text_layers"],
        num_attention_heads=settings["text_heads"],
        max_position_embeddings=settings["context_length"],
        hidden_act=settings["hidden_act"],
        projection_dim=settings["projection_dim"],
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=settings["vision_width"],
        intermediate_size=4 * settings["vision_width"],
        num_hidden_layers=settings["vision_layers"],
        num_attention_heads=settings["vision_heads"],
        image_size=settings["image_size"],
        patch_size=settings["patch_size"],
        hidden_act=settings["hidden_act"],
        projection_dim=settings["projection_dim"],
    )
    config = CLIPConfig(
        text_config=text.to_dict(),
        vision_config=vision.to_dict(),
        projection_dim=settings["projection_dim"],
    )
    # transformers draws initial weights from torch's global stream: lend it one, then restore it.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: CLIPModel = CLIPModel(config)
    return model


def _processor_table(folder: Path, side: int) -> torch.Tensor:
    """Write the image processor; return (3, 256), what it makes of each channel's byte values.

    At the processor's own size its resizing and cropping change nothing, so the table gives exactly
    the pixels that it will feed to the model later.
    """
    from PIL import Image
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    processor.save_pretrained(folder)
    table = torch.empty(3, 256)
    for start in range(0, 256, side):
        values = np.minimum(np.arange(start, start + side), 255).astype(np.uint8)
        picture = np.repeat(np.repeat(values[None, :, None], side, axis=0), 3, axis=2)
        out = processor(images=[Image.fromarray(picture)], return_tensors="pt")["pixel_values"]
        room = min(side, 256 - start)
        table[:, start : start + room] = out[0, :, 0, :room]
    return table
