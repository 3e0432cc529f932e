"""The size of an inner chunk: what is decoded at once, and what the shuffle moves at once.

Apart from the writer, so that an edit there leaves the dictionaries fresh.
"""

from __future__ import annotations

# About 1 MiB keeps Zarr's cost per chunk small (1 ms), and 16 images at least keeps a shuffled read
# from touching every chunk for one image.
CHUNK_BYTES = 1 << 20
MIN_CHUNK_IMAGES, MAX_CHUNK_IMAGES = 16, 64


def chunk_images(image_bytes: int) -> int:
    """Images in an inner chunk: a power of two in 16..64, near 1 MiB of `image_bytes` each."""
    images = MIN_CHUNK_IMAGES
    while images < MAX_CHUNK_IMAGES and 2 * images * image_bytes <= CHUNK_BYTES:
        images *= 2
    return images
