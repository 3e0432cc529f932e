"""What lies within a wider extraction has the bytes of an extraction of its own, without a forward pass."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from clipsteer.backbones.clip import ClipBackbone
from clipsteer.errors import ClipsteerError
from clipsteer.runner.code import StepCode, loaded
from clipsteer.runner.execute import Executor
from clipsteer.runner.lost import Lost
from clipsteer.runner.progress import Log
from clipsteer.runner.run import Action, Json, Runtime
from clipsteer.store.actions import Record
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import StoreTree, put_tree
from tests.backbones.tiny import make_tiny
from tests.data.small_trees import jpeg

BASE = Path(__file__).parents[2]
BOTH = ["mlp_out", "resid_post"]
RECIPE: dict[str, Json] = {
    **{"hook_points": BOTH, "layers": [0, 1, 2], "dtype": "float16", "codec": "none"},
    **{"batch_size": 4, "model_dtype": "float32", "crop": "transformers", "seed": None},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("clip"))


class Extraction:
    """One shard of a tiny CLIP in a store of its own, by the workflow's own script."""

    def __init__(self, store: Path, clip: Path) -> None:
        self.objects = ObjectStore(store)
        self.step = StepCode(
            "extract_activations", BASE / "workflow_scripts/extract_activations.py", []
        )
        images = [[self.objects.put_bytes(jpeg(40 * i)), f"{i}.jpg", 0] for i in range(6)]
        listing = self.objects.put_bytes(
            b'{"start":0,"images":%s}' % str(images).replace("'", '"').encode()
        )
        self.inputs = {"model": put_tree(self.objects, clip), "images": listing}

    def __call__(self, **recipe: Json) -> tuple[Record, tuple[int, int]]:
        """The record, and how many actions were computed and restored for it."""
        runtime = Runtime(name="toy", device="cpu")
        executor = Executor(self.objects, runtime, BASE, Log(terminal=io.StringIO()))
        planned = self.step.inspect().fingerprint
        action = Action({**RECIPE, **recipe}, self.inputs)
        compute = loaded(self.step.script).compute
        record = executor.perform(self.step, planned, action, "extract", compute)
        return record, (executor.counts.computed, executor.counts.restored)


@pytest.fixture
def extract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Path) -> Extraction:
    monkeypatch.chdir(tmp_path)
    return Extraction(tmp_path / "store", clip)


@pytest.mark.parametrize(
    "part",
    [{"layers": [2]}, {"layers": [0, 2]}, {"hook_points": ["resid_post"]},
     {"hook_points": ["resid_post"], "layers": [1]}],
    ids=str,
)  # fmt: skip
def test_the_bytes_are_those_of_an_extraction_of_its_own(
    extract: Extraction, clip: Path, tmp_path: Path, part: dict[str, Json],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    direct, counts = Extraction(tmp_path / "other", clip)(**part)
    assert counts == (1, 0)
    wide, _ = extract()
    with monkeypatch.context() as patched:
        patched.setattr(ClipBackbone, "run", forbidden)
        found, counts = extract(**part)
        assert counts == (0, 1)
        assert extract(**part)[0] == found
    assert {name: found[name] for name in ("key", "outputs", "facts", "recipe")} == {
        name: direct[name] for name in ("key", "outputs", "facts", "recipe")
    }
    assert found["run"]["within"] == wide["key"]
    shard = StoreTree(extract.objects, found["outputs"]["shard"]["digest"])
    theirs = StoreTree(ObjectStore(tmp_path / "other"), direct["outputs"]["shard"]["digest"])
    assert shard.paths() == theirs.paths()
    assert all(shard.read(path) == theirs.read(path) for path in shard.paths())


def forbidden(*_arguments: object) -> None:
    raise AssertionError("a forward pass")


@pytest.mark.parametrize(
    "other",
    [{"layers": [0, 1, 2]}, {"layers": [1], "dtype": "int8"}, {"layers": [1], "codec": "zstd"},
     {"layers": [1], "crop": "openai"}, {"layers": [1], "batch_size": 3}, {"layers": [1], "model_dtype": "float16"}],
    ids=str,
)  # fmt: skip
def test_what_asks_for_more_or_otherwise_is_computed(
    extract: Extraction, other: dict[str, Json]
) -> None:
    extract(layers=[0, 1])
    assert extract(**other)[1] == (1, 0)


def test_values_that_were_dropped_are_made_again_when_missed(extract: Extraction) -> None:
    """With `activations.keep: false` an array's values go, its tree stays."""
    wide, _ = extract()
    digest = wide["outputs"]["resid_post/01"]["digest"]
    values = [p for p in StoreTree(extract.objects, digest).paths() if p != "zarr.json"]
    for path in values:
        StoreTree(extract.objects, digest).local_path(path).unlink()
    found, counts = extract(layers=[1])
    assert counts == (0, 1)
    assert found["outputs"]["resid_post/01"]["digest"] == digest
    executor = Executor(extract.objects, Runtime(device="cpu"), BASE, Log(terminal=io.StringIO()))
    assert executor.provide([digest])
    assert StoreTree(extract.objects, digest).read(values[0])


def test_other_bytes_when_made_again_name_a_way_out(
    extract: Extraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forgetting the narrower action alone would only take it from the wider one again."""
    extract()
    found, _ = extract(layers=[1])
    digest = found["outputs"]["resid_post/01"]["digest"]
    extract.objects.path(digest).unlink()
    run = ClipBackbone.run

    def other(*arguments: Any) -> Any:
        embedding, taps = run(*arguments)
        return embedding, {hook: [x + 1 for x in layers] for hook, layers in taps.items()}

    monkeypatch.setattr(ClipBackbone, "run", other)
    monkeypatch.setattr(Lost, "maker", lambda *_: found)
    executor = Executor(extract.objects, Runtime(device="cpu"), BASE, Log(terminal=io.StringIO()))
    with pytest.raises(
        ClipsteerError, match=r"other bytes .*store rm --step extract_activations\)"
    ):
        executor.provide([digest])


def test_without_the_wider_shards_tree_it_is_computed(extract: Extraction) -> None:
    wide, _ = extract()
    extract.objects.path(wide["outputs"]["shard"]["digest"]).unlink()
    assert extract(layers=[1])[1] == (1, 0)
