"""Git LFS pointers, web pages and the like in the place of an image or a label file are called so."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsteer.data.images import decode
from clipsteer.data.layouts import celeba, folder, waterbirds
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FolderTree
from tests.data import small_trees
from tests.data.small_trees import jpeg, write

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 130\n" % 7
CONTENTS = [
    (POINTER, "a Git LFS pointer .*`git lfs pull`"),
    (b"/annex/objects/MD5E-s130--0.jpg\n", "a git-annex pointer .*`git annex get`"),
    (b"  <HTML><head><title>404</title></head></HTML>", r"a web page \(HTML\)"),
]


@pytest.mark.parametrize(("content", "said"), CONTENTS, ids=["lfs", "annex", "page"])
def test_in_the_place_of_an_image(content: bytes, said: str) -> None:
    with pytest.raises(ClipsteerError, match=rf"a/b\.jpg: found {said}"):
        decode(content, "a/b.jpg")


@pytest.mark.parametrize(("content", "said"), CONTENTS, ids=["lfs", "annex", "page"])
@pytest.mark.parametrize("form", ["txt", "csv"])
@pytest.mark.parametrize("name", ["list_attr_celeba", "list_eval_partition"])
def test_in_the_place_of_celebas_tables(
    tmp_path: Path, name: str, form: str, content: bytes, said: str
) -> None:
    small_trees.celeba(tmp_path, form=form)
    write(tmp_path / f"{name}.{form}", content)
    with pytest.raises(ClipsteerError, match=rf"{name}\.{form}: found {said}"):
        celeba.read(FolderTree(tmp_path))


@pytest.mark.parametrize(("content", "said"), CONTENTS, ids=["lfs", "annex", "page"])
@pytest.mark.parametrize("name", ["manifest.csv", "manifest.parquet", "metadata.csv"])
def test_in_the_place_of_other_tables(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    write(tmp_path / "a.jpg", jpeg())
    write(tmp_path / name, content)
    layout = waterbirds if name == "metadata.csv" else folder
    with pytest.raises(ClipsteerError, match=rf"{name.replace('.', '[.]')}: found {said}"):
        layout.read(FolderTree(tmp_path))
