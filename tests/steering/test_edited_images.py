"""Figure 1: what an edit does is the front door's own, and which images are shown follows from the rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import clipsteer
from clipsteer.report.drawing import Title
from clipsteer.report.edited_figure import EditedImage, edited_figure
from clipsteer.steering.edited_images import Edited, chosen_images, edited_images
from clipsteer.steering.image_views import Site
from tests.backbones.tiny import make_tiny, photos
from tests.front.test_front import placed

FEATURES = np.array([3, 41, 7], np.int64)


@pytest.mark.parametrize("hook_point", ["resid_post", "mlp_out"])
def test_an_edit_is_the_front_doors(tmp_path: Path, hook_point: str) -> None:
    model = clipsteer.load_model(make_tiny(tmp_path / "m"), device="cpu")
    head = clipsteer.zero_shot_head(model, ["cat", "a dog", "nothing"])
    found, images = placed(tmp_path / "d", 1, hook_point), photos(35)  # more than a batch
    done: list[int] = []
    site = Site(model, head, found.dictionary, 1, hook_point)
    edited = edited_images(site, FEATURES, images.__getitem__, len(images), done.append)
    assert sum(done) == len(images)
    plain = clipsteer.classify(model, images, head)
    after = clipsteer.classify(model, images, head, clipsteer.ablate(found, FEATURES))
    np.testing.assert_allclose(edited.before, plain, rtol=1e-4)
    np.testing.assert_allclose(edited.after, after, rtol=1e-4)
    codes = clipsteer.features_of(model, found, images)[:, :, FEATURES]
    np.testing.assert_allclose(edited.active, codes.mean(dim=1), rtol=1e-4, atol=1e-6)
    change = codes @ found.dictionary.W_dec[torch.from_numpy(FEATURES)]
    np.testing.assert_allclose(edited.moved, change.norm(dim=2)[:, 1:], rtol=1e-3, atol=1e-5)


def test_the_images_shown_are_the_medians() -> None:
    """Two classes; the second group is worst. Its images 4 and 5 are turned right, 6 stays wrong."""
    groups = np.array([0, 0, 0, 1, 1, 1, 1])
    before = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.1])
    after = np.array([0.8, 0.8, 0.9, 0.7, 0.6, 0.9, 0.25])
    shares = [np.stack([own, 1 - own], axis=1).astype(np.float32) for own in (before, after)]
    found = Edited(*shares, np.zeros((7, 1), np.float32), np.zeros((7, 0), np.float32))
    chosen = chosen_images(found, np.zeros(7, np.int64), groups, 1)
    # turned right: gains 0.2 and 0.6; group 0: -0.1, 0, 0.2; group 1: 0.1, 0.2, 0.6, 0.15
    assert [(one.image, one.why) for one in chosen] == [
        *((4, "turned right"), (1, "median of its group"), (6, "median of its group")),
    ]
    unchanged = found._replace(after=found.before)
    assert [one.image for one in chosen_images(unchanged, np.zeros(7, np.int64), groups, 1)] == [
        *(1, 4),
    ]


def test_the_images_shown_of_three_classes_with_three_values() -> None:
    """The true class's share counts, whichever it is; one more image of the group that is worst, turned right."""
    rng = np.random.default_rng(2)
    groups = np.tile(np.arange(9), 5)
    targets = groups // 3
    before, after = (rng.dirichlet(np.ones(3), 45).astype(np.float32) for _ in range(2))
    found = Edited(before, after, np.zeros((45, 1), np.float32), np.zeros((45, 0), np.float32))

    def median(rows: list[int]) -> int:
        changes = {row: float(after[row, targets[row]] - before[row, targets[row]]) for row in rows}
        return sorted(rows, key=changes.__getitem__)[(len(rows) - 1) // 2]

    for hardest in (5, 7):
        turned = [
            row
            for row in range(45)
            if groups[row] == hardest
            and before[row].argmax() != targets[row]
            and after[row].argmax() == targets[row]
        ]
        assert turned
        expected = [median(turned)]
        expected += [median([r for r in range(45) if groups[r] == g]) for g in range(9)]
        chosen = chosen_images(found, targets, groups, hardest)
        assert [one.image for one in chosen] == expected
        assert [one.why for one in chosen] == ["turned right"] + 9 * ["median of its group"]


def test_the_figure_is_the_same_bytes_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        EditedImage(
            f"group {n}",
            rng.integers(0, 256, (16, 16, 3), np.uint8),
            rng.random((2, 2), np.float32) * n,  # nothing is moved in the first
            *rng.random((2, 2), np.float32),
            [(5, 0.25)] * n,
        )
        for n in range(3)
    ]
    title = Title("celeba", "m", "painted")
    for name in ("a.png", "b.png"):
        edited_figure(rows, ["woman", "man"], tmp_path / name, title=title, set_name="strict")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > picture.height > 100
