"""Byte codecs of a shard's inner chunks, each by one name; only writing needs them.

Lossless codecs only. Every chain ends in crc32c, so that one wrong byte in a shard file is found
when it is read and never trained on. `docs/activations.md` holds the measured table from which
`DEFAULT_CODEC` was chosen (`benchmarks/codecs.py` prints it).
"""

from __future__ import annotations

from collections.abc import Callable

from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from clipsteer.number_formats import unknown_name

DEFAULT_CODEC = "none"

# typesize is left to Zarr, which takes it from the array's dtype and writes it into the metadata.
CODECS: dict[str, Callable[[], list[BytesBytesCodec]]] = {
    "none": lambda: [],
    "zstd": lambda: [ZstdCodec(level=1)],
    "blosc-lz4": lambda: [BloscCodec(cname="lz4", clevel=1, shuffle="shuffle")],
    "blosc-zstd": lambda: [BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")],
    "blosc-zstd-bits": lambda: [BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")],
}


def byte_codecs(name: str) -> list[BytesBytesCodec]:
    """The codec chain called `name`, crc32c last; ClipsteerError names `activations.codec`."""
    if name not in CODECS:
        raise unknown_name("activations.codec", name, list(CODECS))
    return [*CODECS[name](), Crc32cCodec()]
