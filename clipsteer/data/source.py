"""Images of one run of a manifest: from a painted world, from the user's folder, or from the store by digest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from clipsteer.data.augment import augment
from clipsteer.data.images import decode
from clipsteer.errors import ClipsteerError
from clipsteer.store.clutter import is_clutter
from clipsteer.store.digest import digest_bytes
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import StoreTree, check_name

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageSource:
    """Loads image `index` (a row of the split) as RGB; `images` lists [digest, path, copy] from `start` on.

    `place` is where the paths lead: a painted world or the user's folder. Without it the images are
    objects of the store by themselves. A copy above 0 is an augmented one (Section 10.1), drawn from
    (seed, digest, copy), so that it does not depend on its place in the split.
    """

    def __init__(
        self,
        store: ObjectStore,
        place: StoreTree | Path | None,
        images: Sequence[Sequence[object]],
        start: int,
        *,
        seed: int | None,
    ) -> None:
        self._store, self._images = store, images
        self._world = place if isinstance(place, StoreTree) else None
        self._finder = _Finder(place) if isinstance(place, Path) else None
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
        if self._world is not None:
            if self._world.digest(path) != digest:
                raise ClipsteerError(
                    f"{path}: the world {self._world.root_digest} has another image of that name than the "
                    f"list that names it, expected {digest}. Run the same command again."
                )
            return self._world.read(path)
        if self._finder is None or self._store.exists(digest):
            return self._store.get_bytes(digest)
        return self._finder.read(digest, path)


class _Finder:
    """Reads a user's images by the paths of a manifest, which are the ends of theirs, however deep they lie."""

    def __init__(self, root: Path) -> None:
        self._root = self._above = root

    def read(self, digest: str, path: str) -> bytes:
        """The content. Raises ClipsteerError where no file that ends so has this digest."""
        check_name(path, "manifest")
        missing = changed = ""
        for above in self._folders():
            file = above / path
            try:
                data = file.read_bytes()
            except OSError as error:
                missing = missing or (
                    f"{file}: cannot be read ({error.strerror}), but the manifest lists it; "
                    "restore the file and run again."
                )
                continue
            if digest_bytes(data) == digest:
                self._above = above  # the others will lie there too
                return data
            changed = changed or (
                f"{file}: its content is not what the manifest was made from; it was changed since. "
                "Run the same command again (with raw.watch: files, which sees such changes)."
            )
        raise ClipsteerError(changed or missing)

    def _folders(self) -> Iterator[Path]:
        """Where the last image was found from, then the root and the folders below it, the nearest first."""
        yield self._above
        level, seen = [self._root], set()
        while level:
            below: list[Path] = []
            for folder in level:
                yield folder
                with suppress(OSError):  # one that may not be looked into
                    about = folder.stat()
                    if (about.st_dev, about.st_ino) not in seen:  # a link may lead back up
                        seen.add((about.st_dev, about.st_ino))
                        below += _below(folder)
            level = sorted(below)


def _below(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(e.path) for e in entries if e.is_dir() and not is_clutter(e.name)]
