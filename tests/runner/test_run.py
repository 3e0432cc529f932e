"""An action's errors name what people know, not the paths of an attempt that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.runner.run import Run
from clipsteer.store.trees import put_tree
from tests.runner.bench import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / "their clip"
    (folder / "sub").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"w")
    (folder / "sub/config.json").write_bytes(b"{}")
    return folder


def says(bench: Bench, clip: Path, name: str, root: Path | None, text: str) -> str:
    """What is said where a step fails with a text about its input's folder and file, or its scratch."""

    def compute(run: Run) -> None:
        folder = run.folder(name)
        file = folder / "weights.bin"
        raise ClipsteerError(
            text.format(folder=folder, file=file, link=file.resolve(), scratch=run.scratch)
        )

    executor = bench.executor(roots={} if root is None else {"model": root})
    digest = put_tree(bench.objects, clip)
    with pytest.raises(ClipsteerError) as caught:
        bench.act("make", {name: digest}, compute, executor, text=text)
    return str(caught.value)


@pytest.mark.parametrize("name", ["model", "validation/model"])
def test_an_input_of_the_users_is_called_by_its_folder(bench: Bench, clip: Path, name: str) -> None:
    said = says(bench, clip, name, clip, "{folder}: no, {file}: (bad '{link}').")
    assert said == f"{clip}: no, {clip}/weights.bin: (bad '{clip}/weights.bin')."


def test_an_input_that_is_no_longer_there_is_called_by_its_digest(
    bench: Bench, clip: Path, tmp_path: Path
) -> None:
    digest = put_tree(bench.objects, clip)[:15]
    assert says(bench, clip, "model", None, "{file}: bad") == f"<model {digest}>/weights.bin: bad"
    other = tmp_path / "other"
    other.mkdir()
    assert says(bench, clip, "model", other, "{link} bad") == f"<model {digest}>/weights.bin bad"


def test_one_of_several_models_is_called_by_its_own_folder(
    bench: Bench, clip: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (other / "sub").mkdir(parents=True)
    (other / "weights.bin").write_bytes(b"other")
    (other / "sub/config.json").write_bytes(b"{}")

    def compute(run: Run) -> None:
        raise ClipsteerError(f"{run.folder('model')}: no")

    executor = bench.executor(roots={"celeba": clip, "model": other, "model-second": clip})
    digest = put_tree(bench.objects, clip)
    with pytest.raises(ClipsteerError) as caught:
        bench.act("make", {"model": digest}, compute, executor)
    assert str(caught.value) == f"{clip}: no"


def test_what_else_is_in_scratch_is_called_by_its_store(bench: Bench, clip: Path) -> None:
    said = says(bench, clip, "model", clip, "{scratch}/shard: full, '{scratch}'")
    store = bench.objects.root
    assert said == f"{store}: full, '{store}'"
