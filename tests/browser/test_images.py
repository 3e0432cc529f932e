"""Single images, two dictionaries side by side, images of one's own and tables: in the same browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from clipsteer.report.explorer import feature_page
from clipsteer.report.markdown import grid
from clipsteer.report.table_page import table_page
from tests.browser.reading import lists, shows
from tests.report.pages import ABOUT, IMAGES, LOOKED, compared_places, viewed_places

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe")

IMAGE = "#d=topk&h=resid_post&l=0&i=0"


def heat(canvas: Any) -> list[int]:
    """How far a heat map is veiled, patch by patch."""
    width, height = (int(canvas.get_attribute(side)) for side in ("width", "height"))
    data = canvas.evaluate(
        f"c => [...c.getContext('2d').getImageData(0, 0, {width}, {height}).data]"
    )
    return list(data[3::4])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fragment", [IMAGE, "#d=neurons&h=resid_post&l=0&i=7", "#i=99"])
def test_nothing_bars_the_way_to_an_image(
    opened: Any, viewed: str, scheme: str, fragment: str
) -> None:
    page = opened(viewed + fragment, color_scheme=scheme)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    if fragment != IMAGE:
        assert "This page has no" in page.get_by_role("alert").inner_text()


def test_an_image_shows_its_features_and_what_each_ones_ablation_does(
    opened: Any, viewed: str
) -> None:
    page = opened(viewed)
    page.get_by_role("link", name="Images", exact=True).click()
    shows(page, "000004.jpg, dark woman")
    view = viewed_places()[0].views[0]
    rows = page.locator("#detail table tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == [
        "the model alone",
        "strict set ablated (0 of it fire)",
        "relaxed set ablated (2 of it fire)",
        "its pair, unedited",
    ]
    own = 100 * round(view["probabilities"][0], 4)
    assert rows[0].split("\t")[1] == f"{own:.3g} %"
    first = page.locator("#detail .examples figcaption").first.inner_text()
    assert "feature 8 relaxed" in first
    change = 100 * round(view["features"][0]["ablated"][0], 4) - own
    assert f"({'+' if change > 0 else '−'}{abs(change):.3g} points)" in first
    veiled = heat(page.locator("#detail .examples canvas").first)
    assert [level < 10 for level in veiled] == [x > 0 for x in view["features"][0]["patches"]]
    assert page.locator("#detail img").count() == 4  # itself, its pair, and two features' heat maps
    page.get_by_label("Place").select_option(label="vanilla, resid_post, layer 2 (2 selected)")
    shows(page, "000004.jpg, dark woman")
    assert "At vanilla, resid_post, layer 2" in page.locator("#detail").inner_text()
    address = page.url
    page.reload()
    assert page.get_by_label("Link to this image").input_value() == address
    page.keyboard.press("j")
    shows(page, "000009.jpg, blond woman")
    assert page.locator("#images tr[aria-current=true] a").inner_text() == "000009.jpg"


def test_the_arrow_keys_go_from_patch_to_patch(opened: Any, viewed: str) -> None:
    page = opened(viewed + IMAGE)
    page.get_by_label("Row 1, column 1").check()
    told = page.locator("#detail [role=status]")
    assert told.inner_text() == "Row 1, column 1: 8 (2), 999 (0.5)"
    page.keyboard.press("ArrowRight")
    assert told.inner_text() == "Row 1, column 2: no feature fires"
    page.get_by_label("CLS").first.check()
    assert told.inner_text() == "CLS: 999 (1.5)"
    page.get_by_label("Row 1, column 1").check()
    told.get_by_role("link", name="8").click()
    shows(page, "topk, resid_post, layer 0, feature 8")
    page.go_back()
    shows(page, "000004.jpg, dark woman")


def test_examples_lead_to_the_views_of_their_images(opened: Any, viewed: str) -> None:
    page = opened(viewed)
    links = page.locator(".examples figcaption a")
    page.get_by_label("Place").select_option("all places")
    found = False
    for link in page.locator("#rows a").all():
        link.click()
        shows(page, re.compile(f"feature {link.inner_text()}$"))
        if links.count():
            found = True
            break
    assert found, "no example is one of the images that have a view"
    name = links.first.inner_text()
    links.first.click()
    shows(page, re.compile(re.escape(name)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_of_ones_own_images(opened: Any, own: str, scheme: str) -> None:
    page = opened(own, color_scheme=scheme)
    shows(page, "mine.jpg, at topk, resid_post, layer 0")
    assert "feature 999 relaxed" in page.locator("#detail").inner_text()
    page.get_by_role("link", name="<b>yours</b>.png").click()
    page.get_by_label("Place").select_option(label="neurons, resid_post, layer 2")
    shows(page, "<b>yours</b>.png, at neurons, resid_post, layer 2")
    assert "set ablated" not in page.locator("#detail").inner_text()
    page.reload()
    shows(page, "<b>yours</b>.png, at neurons, resid_post, layer 2")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_ones_own_images_without_javascript(opened: Any, own: str) -> None:
    page = opened(own, java_script_enabled=False)
    assert page.locator("noscript h2").all_inner_texts() == LOOKED.names
    assert "8 (" in page.locator("noscript li").first.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_two_dictionaries_of_a_layer_stand_side_by_side(
    opened: Any, folder: Path, scheme: str
) -> None:
    path = folder / "compared.html"
    path.write_text(feature_page(compared_places(), IMAGES, ABOUT, 60), encoding="utf-8")
    page = opened(path.as_uri() + "#d=topk&h=resid_post&l=2&f=8", color_scheme=scheme)
    assert "60 (0.70), 0 (-0.20)" in page.locator("#detail dl").inner_text()
    page.get_by_label("Beside").select_option("vanilla")
    cells = page.locator("#rows td:last-child").all_inner_texts()
    assert cells == ["40 (0.90)", "60 (0.70)", "999 (0.50)", "5 (0.30)"]
    said = page.locator("#beside-count").inner_text()
    # of features 3 and 8, which are selected: 40 is not shown there, 60 is not selected
    assert "0.5 in the median; of 2 selected features it is selected there, too, for 0" in said
    titles = page.locator("#detail h2").all_inner_texts()
    assert titles == [
        *("topk, resid_post, layer 2, feature 8", "vanilla, resid_post, layer 2, feature 60"),
    ]
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.get_by_role("button", name="nearest there").click()
    lists(page, ["3", "8", "11", "40"])
    page.get_by_role("button", name="nearest there ▼").click()
    lists(page, ["40", "11", "8", "3"])
    page.locator("#rows").get_by_role("link", name="3", exact=True).click()
    page.locator("#detail h2").filter(has_text="feature 3").first.wait_for()
    assert "It is not shown on this page" in page.locator("#detail").inner_text()
    page.reload()
    assert page.get_by_label("Beside").input_value() == "vanilla"
    page.get_by_label("Place").select_option(label="topk, resid_post, layer 4 (2 selected)")
    assert not page.get_by_label("Beside").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_for_the_browser(opened: Any, folder: Path, scheme: str) -> None:
    path = folder / "table.html"
    table = grid(["", "topk", "neurons"], [["L0", "**41.25**", "–"], ["L2", "40.00", "12.50"]])
    path.write_text(table_page(f"# CelebA\n\n{table}\n\n## More\n\n{table}\n"), encoding="utf-8")
    page = opened(path.as_uri(), color_scheme=scheme)
    assert page.locator("table").first.locator("th").all_inner_texts() == ["topk", "neurons"]
    page.get_by_role("region", name="Table 2").focus()
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
