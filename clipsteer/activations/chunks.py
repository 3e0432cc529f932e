"""An inner chunk is what is decoded at once, so the shuffle moves whole ones: their size, and its memory.

For the writer, for `batches`, and for the check of a config before a run: nothing heavy is imported here.
"""

from __future__ import annotations

# About 1 MiB keeps Zarr's cost per chunk small (1 ms), and 16 images at least keeps a shuffled read
# from touching every chunk for one image.
CHUNK_BYTES = 1 << 20
MIN_CHUNK_IMAGES, MAX_CHUNK_IMAGES = 16, 64
# Buffers are counted in the numbers that training computes with, whatever format is stored.
FLOAT32_BYTES = 4


def chunk_images(image_bytes: int) -> int:
    """Images in an inner chunk: a power of two in 16..64, near 1 MiB of `image_bytes` each."""
    images = MIN_CHUNK_IMAGES
    while images < MAX_CHUNK_IMAGES and 2 * images * image_bytes <= CHUNK_BYTES:
        images *= 2
    return images


def shuffled_images(n_tokens: int, width: int) -> int:
    """Images that are moved at once: smaller runs would decode an inner chunk several times an epoch.

    The 2 bytes are fixed so that the order does not depend on the stored format.
    """
    return chunk_images(2 * n_tokens * width)


def buffer_fault(
    key: str,
    buffer_bytes: int,
    *,
    batch_size: int,
    images: int,
    n_tokens: int,
    width: int,
    n_images: int | None,
) -> str:
    """What is wrong with buffers of so many bytes for both; nothing where they do.

    They must hold a split of `n_images` whole (None: it is not known to be small enough), or each what the
    one before left over (less than a batch) and `images` that are moved at once. `key` is the dotted key
    that sets them in MiB, `n_tokens` how many tokens of an image are used.
    """
    row_bytes = FLOAT32_BYTES * width
    two = 2 * row_bytes * (batch_size + images * n_tokens)
    whole = two if n_images is None else row_bytes * n_tokens * n_images
    least = min(two, whole)
    if buffer_bytes >= least:
        return ""
    if whole < two:
        needs = (
            f"the whole split, {n_images} images of {n_tokens} tokens of width {width} in float32."
        )
    else:
        needs = (
            f"two buffers, each for a batch of {batch_size} tokens and {images} images of {n_tokens} tokens of "
            f"width {width} in float32."
        )
    return (
        f"{key}: found {buffer_bytes / 2**20:.4g} ({buffer_bytes} bytes), expected at least "
        f"{-(-least // 2**20)} ({least} bytes): {needs}"
    )
