"""Images of a user's folder or of a painted world by the paths of a manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsteer.data.packed import pack_folder
from clipsteer.data.source import ImageSource
from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import digest_bytes
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import StoreTree
from tests.data.small_trees import jpeg, write

PATHS = [f"img/{n}.jpg" for n in range(3)]


def source(tmp_path: Path, root: Path) -> ImageSource:
    images = [(digest_bytes(jpeg(n)), path, 0) for n, path in enumerate(PATHS)]
    return ImageSource(ObjectStore(tmp_path / "store"), root, images, 0, seed=None)


def fill(folder: Path, shift: int = 0) -> None:
    for n, path in enumerate(PATHS):
        write(folder / path, jpeg(n + shift))


@pytest.mark.parametrize("above", ["", "img", "a/b/c"])
def test_images_are_found_however_deep_they_lie(tmp_path: Path, above: str) -> None:
    root = tmp_path / "root"
    fill(root / ".ipynb_checkpoints", 50)
    fill(root / "other", 50)  # another data set under the same root
    fill(root / above)
    (root / "up").symlink_to(root)
    found = source(tmp_path, root)
    for n in range(3):
        assert found.load(n).getpixel((0, 0))[0] == pytest.approx(n, abs=8)  # type: ignore[index]


def test_each_image_may_lie_elsewhere(tmp_path: Path) -> None:
    for n, path in enumerate(PATHS):
        write(tmp_path / f"root/part{n}" / path, jpeg(n))
    found = source(tmp_path, tmp_path / "root")
    assert [found.load(n).size for n in (2, 0, 1, 2)] == [(4, 4)] * 4


def test_what_has_changed_or_gone_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "root/deep")
    found = source(tmp_path, tmp_path / "root")
    found.load(0)
    write(tmp_path / "root/deep" / PATHS[1], jpeg(99))
    with pytest.raises(ClipsteerError, match=r"deep/img/1\.jpg: its content is not what"):
        found.load(1)
    (tmp_path / "root/deep" / PATHS[2]).unlink()
    with pytest.raises(ClipsteerError, match=r"deep/img/2\.jpg: cannot be read \(No such file"):
        found.load(2)


def test_no_path_leads_out_of_the_root(tmp_path: Path) -> None:
    write(tmp_path / "secret.jpg", jpeg(0))
    images = [(digest_bytes(jpeg(0)), "../secret.jpg", 0)]
    (tmp_path / "root").mkdir()
    with pytest.raises(ClipsteerError, match="secret"):
        ImageSource(ObjectStore(tmp_path / "store"), tmp_path / "root", images, 0, seed=None).load(
            0
        )


def test_painted_images_are_found_in_their_world(tmp_path: Path) -> None:
    fill(tmp_path / "world")
    store = ObjectStore(tmp_path / "store")
    world = StoreTree(store, store.put_bytes(pack_folder(tmp_path / "world")))
    images = [(digest_bytes(jpeg(n)), path, 0) for n, path in enumerate(PATHS)]
    found = ImageSource(store, world, images, 0, seed=None)
    for n in range(3):
        assert found.load(n).getpixel((0, 0))[0] == pytest.approx(n, abs=8)  # type: ignore[index]
    with pytest.raises(ClipsteerError, match=r"img/0\.jpg: the world .* has another image"):
        ImageSource(store, world, [(images[1][0], PATHS[0], 0)], 0, seed=None).load(0)
