"""From images to one activation shard: decode, forward pass with taps, check, cast, write.

The values of an image depend on that image and the model only. Every forward pass has the same
shape, and an image always sits in the same row of it: batch b holds images [b B, (b+1) B) of the
data set, whatever the shard's borders. Rows that lie outside the shard are filled with a neighbour
from inside it, so that a shard needs no image but its own and stays as it is when images are
appended. (A batch that a border cuts is computed for both shards; multiples of B waste nothing.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clipsteer.activations.cast import CLS_ATTRIBUTE, all_finite, to_stored
from clipsteer.activations.inputs import EMBEDDING, array_name
from clipsteer.activations.writer import ArrayLayout, byte_codecs, write_shard
from clipsteer.errors import ClipsteerError
from clipsteer.number_formats import stored_dtype

HOOK_POINTS = ("resid_post", "mlp_out")
# Batches decoded ahead of the forward pass: enough to hide decoding, few enough to stay small.
AHEAD = 2


class Tower(Protocol):
    """What extraction runs: a `clipsteer.backbones.base.Backbone`."""

    @property
    def n_layers(self) -> int: ...
    @property
    def n_tokens(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def projection_dim(self) -> int: ...
    @property
    def cls(self) -> int | None: ...

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """(n, 3, H, W)."""
        ...

    def run(
        self, pixels: Tensor, hook_points: Sequence[str]
    ) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """Embeddings (n, p), and for each hook point (n, tokens, d) of every layer."""
        ...


@dataclass(frozen=True)
class Images:
    """Images [start, stop) of a data set.

    `load(index)` gives image `index` (called in worker threads, in order); `describe(index)` names
    it in errors.
    """

    load: Callable[[int], Image.Image]
    start: int
    stop: int
    describe: Callable[[int], str] = str


@dataclass(frozen=True)
class Kept:
    """What of a forward pass is stored, and how: `dtype` is float16, bfloat16, float32 or int8."""

    hook_points: Sequence[str]
    layers: Sequence[int]
    dtype: str
    codec: str


def extract_shard(
    tower: Tower,
    images: Images,
    kept: Kept,
    folder: Path,
    *,
    batch_size: int,
    attributes: Mapping[str, Any] | None = None,
    decode_threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Extract images into the new Zarr group `folder`.

    Arrays: `<hook point>/<layer>` (images, tokens, d), CLS, if any, first, and `embedding` (images, p)
    float32, the unmodified model's projected image embedding, not normalised. Group attributes:
    `attributes` (say model digest, dataset, split) with `start` and `stop`. `progress` is told the
    images done.

    Returns the arrays' names: sub-folders that are to become nested trees. The bytes depend on the
    model, the images of the shard, their place in the data set, `batch_size` and the formats alone:
    not on threads, on images that follow or on where other shards begin.

    ClipsteerError: an image that cannot be read, layer or hook point that the model lacks, NaN or
    infinity in the model's output, overflow of `dtype`. Nothing is left behind on an error.
    """
    _check_request(tower, images, kept, batch_size)
    dtype, describe = kept.dtype, images.describe
    wanted = [(hook, layer) for hook in kept.hook_points for layer in sorted(set(kept.layers))]
    item = (tower.n_tokens, tower.width)
    stored_dtype(dtype)
    byte_codecs(kept.codec)
    # said only where it is not as in CLIP, whose arrays have the bytes that they always had
    place = {} if tower.cls == 0 else {CLS_ATTRIBUTE: tower.cls}
    layouts = {array_name(hook, layer): ArrayLayout(item, dtype, place) for hook, layer in wanted}
    layouts[EMBEDDING] = ArrayLayout((tower.projection_dim,), "float32")

    def batches() -> Iterator[dict[str, NDArray[np.generic]]]:
        passes = _passes(tower, images, kept.hook_points, batch_size, decode_threads)
        for first, inside, embedding, taps in passes:
            batch: dict[str, NDArray[np.generic]] = {}
            for hook, layer in wanted:
                batch[array_name(hook, layer)] = _checked(
                    taps[hook][layer][inside], dtype, first, f"{hook} of layer {layer}",
                    describe,
                )  # fmt: skip
            batch[EMBEDDING] = _checked(
                embedding[inside], "float32", first, "the image embedding", describe
            )
            yield batch
            if progress is not None:
                progress(inside.stop - inside.start)

    return write_shard(
        folder,
        n_images=images.stop - images.start,
        layouts=layouts,
        batches=batches(),
        codec=kept.codec,
        attributes={**(attributes or {}), "start": images.start, "stop": images.stop},
    )


def embed(
    tower: Tower,
    images: Images,
    *,
    batch_size: int,
    decode_threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """The image embeddings (images, p) alone, as `extract_shard` has them."""
    found = []
    for first, inside, embedding, _ in _passes(tower, images, (), batch_size, decode_threads):
        whole = _checked(
            embedding[inside], "float32", first, "the image embedding", images.describe
        )
        found.append(whole.astype(np.float32))
        if progress is not None:
            progress(len(whole))
    return np.concatenate(found)


def _passes(
    tower: Tower, images: Images, hook_points: Sequence[str], batch_size: int, threads: int
) -> Iterator[tuple[int, slice, Tensor, dict[str, list[Tensor]]]]:
    """Forward passes of one shape: (first image, its rows of the batch, embeddings, what the hook points have)."""
    for first, pixels in _decoded(tower, images, batch_size, threads):
        with torch.inference_mode():
            row = first % batch_size
            whole = pixels
            if len(pixels) < batch_size:
                # Rows outside the shard repeat the nearest image inside it.
                rows = torch.arange(batch_size).sub(row).clamp(0, len(pixels) - 1)
                whole = pixels[rows.to(pixels.device)]
            embedding, taps = tower.run(whole, hook_points)
        yield first, slice(row, row + len(pixels)), embedding, taps


def _check_request(tower: Tower, images: Images, kept: Kept, batch_size: int) -> None:
    hook_points, layers = kept.hook_points, kept.layers
    if not 0 <= images.start < images.stop:
        raise ClipsteerError(
            f"activation shard: found images {images.start} to {images.stop}, expected a run of at "
            "least one."
        )
    if batch_size < 1:
        raise ClipsteerError(
            f"activations.batch_size: found {batch_size}, expected 1 or more images."
        )
    if unknown := [hook for hook in hook_points if hook not in HOOK_POINTS]:
        raise ClipsteerError(
            f"activations.hook_points: found {unknown[0]!r}, expected {' or '.join(HOOK_POINTS)}."
        )
    if outside := [layer for layer in layers if not 0 <= layer < tower.n_layers]:
        raise ClipsteerError(
            f"activations.layers: found layer {outside[0]}, but the model has layers 0 to "
            f"{tower.n_layers - 1}. Name layers within that range."
        )
    if not hook_points or not layers:
        raise ClipsteerError(
            "activations: found no hook point or no layer to extract, expected at least one each."
        )


def _decoded(
    tower: Tower, images: Images, batch_size: int, threads: int
) -> Iterator[tuple[int, Tensor]]:
    """(first index, pixels (k, 3, H, W)) of the shard's part of each batch, decoded ahead."""

    def pixels(index: int) -> Tensor:
        # One image at a time: the processor's result then cannot depend on an image's neighbours.
        return tower.pixels([images.load(index)])

    start, stop = images.start, images.stop
    first_batch, last_batch = start // batch_size, (stop - 1) // batch_size
    pending: deque[tuple[int, list[Future[Tensor]]]] = deque()
    pool = ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="decode")
    try:
        for batch in range(first_batch, last_batch + AHEAD + 1):
            if batch <= last_batch:
                low = max(start, batch * batch_size)
                high = min(stop, (batch + 1) * batch_size)
                pending.append((low, [pool.submit(pixels, i) for i in range(low, high)]))
            if pending and (len(pending) > AHEAD or batch > last_batch):
                low, futures = pending.popleft()
                yield low, torch.cat([future.result() for future in futures])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _checked(
    values: Tensor, dtype: str, first: int, place: str, describe: Callable[[int], str]
) -> NDArray[np.generic]:
    """`values` (k, ...) in the stored format, all finite, or an error that names the image.

    One pass over the narrow cast sees NaN, infinity and overflow alike; only a failure looks twice.
    """
    stored = to_stored(values, dtype)
    if all_finite(stored, dtype):
        return stored
    wide = values.float().flatten(1)
    limit = stored_dtype(dtype).largest
    bad = ~torch.isfinite(wide).all(dim=1)
    if bad.any():
        row = int(bad.nonzero()[0])
        kind = "NaN" if bool(torch.isnan(wide[row]).any()) else "infinity"
        raise ClipsteerError(
            f"image {first + row} ({describe(first + row)}): found {kind} in {place}, expected "
            "finite activations. Look at the image and the model's weights; with a model in half "
            "precision try model.dtype: float32."
        )
    row = int((wide.abs().amax(dim=1) > limit).nonzero()[0])
    raise ClipsteerError(
        f"image {first + row} ({describe(first + row)}): {place} reaches "
        f"{float(wide[row].abs().max()):.6g}, expected at most {limit:.6g}, the largest {dtype} "
        f"value. Set activations.dtype to "
        f"{'bfloat16 or float32' if dtype == 'float16' else 'float32'}."
    )
