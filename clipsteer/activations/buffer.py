"""The memory of the shuffle: what it needs, for `batches` and for the check of a config before a run."""

from __future__ import annotations

from clipsteer.activations.chunks import chunk_images

# Buffers are counted in the numbers that training computes with, whatever format is stored.
FLOAT32_BYTES = 4


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
