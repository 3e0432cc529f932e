"""Names for content: digests and the one canonical form of JSON.

A digest names its own algorithm (`blake3:<64 hex>`), so that a store of another algorithm can
never be mistaken for this one. BLAKE3 was chosen by measurement (benchmarks/digest.py; the numbers
are in docs/performance.md); SHA-256 is understood wherever a digest only has to be checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import Any

from blake3 import blake3

from clipsteer.errors import ClipsteerError

Digest = str

ALGORITHM = "blake3"
_MAKERS: dict[str, Any] = {"blake3": blake3, "sha256": hashlib.sha256}
_DIGEST = re.compile(r"(blake3|sha256):([0-9a-f]{64})")


def new_hash(algorithm: str = ALGORITHM) -> Any:
    """A fresh hash object with `update(bytes)` and `hexdigest()`."""
    return _MAKERS[algorithm]()


def is_digest(value: object) -> bool:
    """Whether `value` is a well-formed digest of a known algorithm."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def parse_digest(digest: str) -> tuple[str, str]:
    """(algorithm, 64 hex digits) of a digest.

    Raises ClipsteerError for anything else, so that no text from a file ever becomes part of a
    path unchecked.
    """
    match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if match is None:
        raise ClipsteerError(
            f"{digest!r} is not a digest; expected 'blake3:' or 'sha256:' and 64 hexadecimal "
            "digits. The file that holds it is damaged or was written by hand; delete it and run "
            "the same command again."
        )
    return match[1], match[2]


def digest_bytes(data: bytes | bytearray | memoryview, algorithm: str = ALGORITHM) -> Digest:
    """The digest of `data`."""
    hasher = new_hash(algorithm)
    hasher.update(data)
    return f"{algorithm}:{hasher.hexdigest()}"


def short_digest(data: bytes) -> str:
    """The first 32 hexadecimal digits of the digest of `data`, for names and lists that many are in."""
    return digest_bytes(data).rpartition(":")[2][:32]


def digest_file(path: str | os.PathLike[str], algorithm: str = ALGORITHM) -> Digest:
    """The digest of a file's content, read in bounded memory.

    Plain reads rather than a memory map: a file that another process cuts short must give an
    error or another digest, not kill the process with SIGBUS. Raises OSError as `open` does.
    """
    with open(path, "rb", buffering=0) as stream:
        hasher = hashlib.file_digest(stream, lambda: new_hash(algorithm))
    return f"{algorithm}:{hasher.hexdigest()}"


def canonical_json(value: Any) -> bytes:
    """The one JSON form that is hashed: sorted keys, no spaces, ASCII only.

    Equal values give equal bytes whatever the order of keys. `1` and `1.0` are different
    values. Raises ValueError for NaN and infinities and TypeError for keys that are not strings
    (`{1: 0}` and `{"1": 0}` would otherwise share a digest) and for what JSON cannot hold.
    """
    _refuse_other_keys(value)
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode("ascii")


def _refuse_other_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a JSON key must be a string, found {key!r}")
            if isinstance(item, dict | list | tuple):
                _refuse_other_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, dict | list | tuple):
                _refuse_other_keys(item)
