"""Images of one run of a manifest: from the store where it holds them, else from the user's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipsteer.data.augment import augment
from clipsteer.data.images import decode
from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import digest_bytes
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import check_name

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageSource:
    """Loads image `index` (a row of the split) as RGB; `images` lists [digest, path, copy] from `start` on.

    A copy above 0 is an augmented one (Section 10.1), drawn from (seed, digest, copy), so that it does not
    depend on its place in the split.
    """

    def __init__(
        self,
        store: ObjectStore,
        root: Path | None,
        images: Sequence[Sequence[object]],
        start: int,
        *,
        seed: int | None,
    ) -> None:
        self._store, self._root, self._images = store, root, images
        self._start, self._seed = start, seed

    def load(self, index: int) -> Image:
        """The image as RGB; raises ClipsteerError where it is missing, changed or broken."""
        digest, path, copy = self._images[index - self._start]
        assert isinstance(digest, str)
        assert isinstance(path, str)
        assert isinstance(copy, int)
        image = decode(self._read(digest, path), path)
        if copy:
            assert self._seed is not None
            key = int(digest.partition(":")[2][:15], 16)
            image = augment(image, seed=self._seed, index=key, copy=copy)
        return image

    def _read(self, digest: str, path: str) -> bytes:
        # painted images are the store's own: one that is lost there is remade from its record
        if self._root is None or self._store.exists(digest):
            return self._store.get_bytes(digest)
        try:
            data = (self._root / check_name(path, "manifest")).read_bytes()
        except OSError as error:
            raise ClipsteerError(
                f"{self._root / path}: cannot be read ({error.strerror}), but the manifest lists it; "
                "restore the file and run again."
            ) from None
        if digest_bytes(data) != digest:
            raise ClipsteerError(
                f"{self._root / path}: its content is not what the manifest was made from; it was changed "
                "since. Run the same command again (with raw.watch: files, which sees such changes)."
            )
        return data
