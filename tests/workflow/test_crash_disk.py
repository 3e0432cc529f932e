"""A disk that fills up in the middle of a shard, and a store that may only be read."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.backbones.tiny import make_tiny
from tests.workflow.conftest import Share
from tests.workflow.real_trees import celeba_tree, real_config
from tests.workflow.runs import Outcome, WorkingCopy, nested
from tests.workflow.test_bad_input import MODEL, TRAIN, can_mount

SHARDS = "artifacts/refs/celeba/activations/train/shards.json"  # the world, its manifest, and this
# Root may write where the modes forbid it, but for the capability to do so.
_MODES = 'exec setpriv --bounding-set -dac_override,-dac_read_search "$@"'


@pytest.mark.skipif(not can_mount(), reason="no tmpfs can be mounted here")
def test_a_disk_that_fills_up_in_the_middle_of_a_shard(fresh: WorkingCopy, tmp_path: Path) -> None:
    """Once there is room, the same command goes on."""
    # many tokens an image, so that a shard is larger than all else
    config = real_config(make_tiny(tmp_path / "clip", image_size=224), celeba_tree(tmp_path / "c"))
    config["tables"]["waterbirds"] = []  # its dictionary's buffer is too small for such images
    fresh.run(MODEL, SHARDS, config=config).ok()
    inner = f"""
        mkdir disk && mount -t tmpfs -o size=256m none disk && cp -a {fresh.store}/. disk || exit 77
        mount --bind disk {fresh.store}
        used=$(df -k --output=used disk | tail -n 1)
        mount -o remount,size=$((used + 64))k disk
        "$@" > refused.txt 2>&1 && exit 78
        find {fresh.store}/tmp {fresh.store}/scratch {Path(TRAIN).parent} -type f > left.txt
        mount -o remount,size=256m disk
        "$@"
    """
    script = f'exec unshare -rm bash -c {shlex.quote(inner)} bash "$@"'
    outcome = fresh.run(TRAIN, config=config, script=script, cores=1).ok()
    assert outcome.counts == (1, 0)
    refused = Outcome(1, (fresh.folder / "refused.txt").read_text())
    refused.refused("clipsteer: extract_activations", str(fresh.store), "store.root")
    left = (fresh.folder / "left.txt").read_text().splitlines()
    assert left == [f"{Path(TRAIN).parent}/shards.json"]


@pytest.fixture(scope="module")
def light(share: Share) -> WorkingCopy:
    return share("light", lambda copy: copy.run(SHARDS))


@pytest.mark.parametrize("how", ["mount", "modes"])
def test_a_store_that_may_only_be_read(light: WorkingCopy, tmp_path: Path, how: str) -> None:
    """What is known is restored from it; what is not says why it cannot be kept."""
    copy = WorkingCopy(tmp_path / "copy", tmp_path / "store")
    shutil.copytree(light.store, copy.store)
    if how == "mount" and not can_mount():
        pytest.skip("nothing can be mounted here")
    if how == "mount":
        inner = f'mount --bind {copy.store} {copy.store} && mount -o remount,ro,bind {copy.store} && "$@"'
        script = f'exec unshare -rm bash -c {shlex.quote(inner)} bash "$@"'
    else:
        script = _MODES if os.getuid() == 0 else 'exec "$@"'
        subprocess.run(["chmod", "-R", "a-w", copy.store], check=True)
    before = everything(copy.store)
    try:
        assert copy.run(SHARDS, script=script).ok().counts == (0, 3)
        assert copy.pointers() == light.pointers()
        other = nested("datasets.celeba.painted.counts.train", [9, 9, 9, 9])
        outcome = copy.run(SHARDS, config=other, script=script)
        outcome.refused("paint_world", str(copy.store), "store.root")
        assert everything(copy.store) == before
        assert copy.run(SHARDS, script=script).ok().counts[0] == 0
        # of the world that could not be painted no pointer is left, and none is needed
        assert light.pointers().items() > copy.pointers().items()
        assert SHARDS.removeprefix("artifacts/refs/") in copy.pointers()
    finally:
        subprocess.run(["chmod", "-R", "u+w", copy.store], check=True)


def everything(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))
