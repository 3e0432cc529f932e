"""Words printed on images: nothing else changes, and what is drawn hangs on seed and image alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from clipsteer.data.fonts import PILLOW, font_file, fonts_known
from clipsteer.data.words import COLOURS, LOOKS, PAPERS, attacked, draw_word, load_attacked
from clipsteer.errors import ClipsteerError

NAMES = ["alarm clock", "Fish", "lion"]
FONTS = fonts_known([PILLOW, "DejaVuSans"])


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(60, 200, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def digest(number: int) -> str:
    return f"blake3:{number:064x}"[:7] + f"{number:015x}" + "0" * 49


def changed(before: Image.Image, after: Image.Image) -> NDArray[np.bool_]:
    return np.asarray((np.asarray(before) != np.asarray(after)).any(axis=2))


@pytest.mark.parametrize("look", LOOKS)
@settings(max_examples=12, deadline=None)
@given(
    width=st.integers(48, 160),
    height=st.integers(48, 160),
    number=st.integers(0, 2**59),
    word=st.sampled_from(["lion", "mountain", "alarm clock", "a"]),
)
def test_a_pair_differs_within_the_middle_square_alone(
    look: str, width: int, height: int, number: int, word: str
) -> None:
    """On paper within one row of it, and nowhere else: the picture itself is not touched."""
    before = picture(width, height)
    kept = before.copy()
    how = {"look": look, "fonts": FONTS, "seed": 3, "digest": digest(number)}
    after = attacked(before, word, **how)  # type: ignore[arg-type]
    assert not changed(before, kept).any()
    assert after.size == before.size
    where = changed(before, after)
    assert where.any()
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    outside = where.copy()
    outside[top : top + side, left : left + side] = False
    assert not outside.any()
    if look != "published":
        rows = np.flatnonzero(where.any(axis=1)) - top
        assert rows.max() // (side // 4) == rows.min() // (side // 4)
    again = attacked(before, word, **how)  # type: ignore[arg-type]
    assert not changed(after, again).any()


def test_another_image_or_seed_has_another_draw() -> None:
    before = picture(96, 96)

    def printed(number: int, seed: int) -> bytes:
        return attacked(
            before, "lion", look="published", fonts=FONTS, seed=seed, digest=digest(number)
        ).tobytes()

    assert len({printed(number, seed) for number in range(4) for seed in range(3)}) == 12


def test_the_published_recipe_has_two_of_its_colours() -> None:
    """On a grey image the pixels that are not blended are of fill and stroke; all eight occur."""
    grey = Image.new("RGB", (224, 224), (127, 127, 127))
    seen: set[tuple[int, ...]] = set()
    for number in range(40):
        after = attacked(
            grey, "lion", look="published", fonts=FONTS[:1], seed=0, digest=digest(number)
        )
        pixels = {tuple(p) for p in np.asarray(after).reshape(-1, 3).tolist()}
        pure = pixels & set(COLOURS.values())
        assert len(pure) == 2
        seen |= pure
    assert seen == set(COLOURS.values())


def test_the_looks_of_signs_lie_where_they_say() -> None:
    """Rows of a 64 pixel image; a strip is as wide as it, and notes of the looks from the left begin at its edge."""
    before = picture(64, 64)
    rows: dict[str, set[int]] = {look: set() for look in ("ends", "rows", "bright")}
    lefts: dict[str, set[int]] = {look: set() for look in rows}
    for look in rows:
        for number in range(60):
            after = attacked(
                before, "cat", look=look, fonts=FONTS[:1], seed=0, digest=digest(number)
            )
            where = changed(before, after)
            rows[look].add(int(np.flatnonzero(where.any(axis=1))[0]) // 16)
            lefts[look].add(int(np.flatnonzero(where.any(axis=0))[0]))
            assert np.asarray(after)[where].mean() > 100  # paper is light
    assert (rows["ends"], rows["rows"], rows["bright"]) == ({0, 3}, {0, 1, 2, 3}, {0, 3})
    assert (lefts["ends"], lefts["rows"]) == ({0}, {0})
    assert len(lefts["bright"]) > 10
    assert min(min(paper) for paper in PAPERS) > 200


@given(number=st.integers(0, 2**59), seed=st.integers(0, 2_000_000))
def test_a_word_is_never_the_images_own(number: int, seed: int) -> None:
    assert draw_word(NAMES, "fish", seed, digest(number)) in ("alarm clock", "lion")


def test_every_other_word_is_drawn() -> None:
    drawn = [draw_word(NAMES, "lion", 0, digest(number)) for number in range(200)]
    assert 70 < drawn.count("Fish") < 130


def test_one_class_alone_has_no_other_word() -> None:
    with pytest.raises(ClipsteerError, match="found no class but 'lion'"):
        draw_word(["lion"], "lion", 0, digest(1))


def test_a_list_with_words_prints_each_images_own() -> None:
    images = {5: picture(64, 64, 1), 6: picture(64, 64, 2)}
    how = {"look": "ends", "fonts": FONTS[:1], "seed": 0}
    listing = {
        **{"start": 5, "images": [[digest(1), "a", 0], [digest(2), "b", 0]]},
        **{"words": ["lion", "cat"], "attack": how},
    }
    load = load_attacked(images.__getitem__, listing)
    expected = attacked(images[6], "cat", digest=digest(2), **how)  # type: ignore[arg-type]
    assert load(6).tobytes() == expected.tobytes()
    plain = load_attacked(images.__getitem__, {"start": 5, "images": listing["images"]})
    assert plain(6) is images[6]


def test_fonts_are_pillows_matplotlibs_or_files() -> None:
    assert font_file(PILLOW) is None
    shipped = font_file("DejaVuSerif-Bold")
    assert shipped is not None
    assert font_file(str(shipped)) == shipped
    assert fonts_known([str(shipped)]) == fonts_known(["DejaVuSerif-Bold"])


def test_a_missing_font_is_told_with_a_close_one() -> None:
    with pytest.raises(
        ClipsteerError, match=r"found no font 'DejaVuSanz'.*Did you mean DejaVuSans"
    ):
        font_file("DejaVuSanz")
