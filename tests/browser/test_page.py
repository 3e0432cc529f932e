"""The page of features in a real browser: Debian's Chromium, from the disk, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipsteer.report.explorer import feature_page
from tests.browser.reading import lists, shows
from tests.report.pages import ABOUT, IMAGES, place, places

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe")


def test_it_opens_from_the_disk_with_the_first_place_that_selected_something(
    opened: Any, small: str
) -> None:
    page = opened(small)
    lists(page, ["3", "8", "11", "40"])
    assert "4 of 9 features" in page.locator("#count").inner_text()
    shows(page, "topk, resid_post, layer 0, feature 3")  # the list's first
    assert not page.get_by_role("link", name="Images").count()  # none has a view
    page.get_by_label("Set").select_option("control")
    page.get_by_label("Place").select_option(label="vanilla, resid_post, layer 2 (2 selected)")
    shows(page, "vanilla, resid_post, layer 2, feature 7")
    page.get_by_label("Filter").fill("nothing")
    page.get_by_label("Place").select_option(label="topk, resid_post, layer 0 (2 selected)")
    shows(page, "No feature chosen")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "fragment", ["", "#d=topk&h=resid_post&l=0&f=3", "#d=topk&h=resid_post&l=0&f=4"]
)
def test_nothing_bars_anyones_way(opened: Any, small: str, scheme: str, fragment: str) -> None:
    page = opened(small + fragment, color_scheme=scheme)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")


def test_an_address_names_a_feature_and_survives_a_reload(opened: Any, small: str) -> None:
    page = opened(small)
    page.get_by_role("link", name="8", exact=True).click()
    shows(page, "topk, resid_post, layer 0, feature 8")
    address = page.url
    page.reload()
    shows(page, "topk, resid_post, layer 0, feature 8")
    assert page.get_by_label("Link to this feature").input_value() == address
    page.get_by_role("link", name="11", exact=True).click()
    page.go_back()
    shows(page, "topk, resid_post, layer 0, feature 8")
    assert opened(address).locator("tr[aria-current=true] a").inner_text() == "8"


def test_pictures_have_their_heat_maps_and_words(opened: Any, small: str) -> None:
    page = opened(small + "#d=topk&h=resid_post&l=0&f=3")
    assert page.locator(".examples img").count() == 7
    page.wait_for_function(
        "[...document.querySelectorAll('.examples img')].slice(0, 3).every(i => i.naturalWidth > 0)"
    )
    canvas = page.locator(".examples canvas").first
    assert (canvas.get_attribute("width"), canvas.get_attribute("height")) == ("3", "2")
    seen = canvas.evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, 3, 2).data].filter((_, i) => i % 4 === 3)"
    )
    rows = places()[0].examples.row(0, named=True)
    top = places()[0].examples.filter(feature=3)["patches"].list.max().max()
    assert seen == pytest.approx([0.8 * 255 * (1 - x / top) for x in rows["patches"]], abs=2)
    alt = page.locator(".examples img").first.get_attribute("alt")
    assert alt.startswith(f"image {IMAGES.files[rows['image']]}, ")
    assert page.locator("figcaption").first.inner_text().count("CLS") == 1
    page.keyboard.press("h")
    assert not canvas.is_visible()


def test_sorting_and_filters(opened: Any, small: str) -> None:
    page = opened(small)
    page.get_by_role("button", name="feature", exact=True).click()
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("feature")
    page.get_by_role("button", name="feature ▲").click()
    lists(page, ["40", "11", "8", "3"])
    page.get_by_label("Place").select_option("all places")
    lists(page, ["60", "40", "11", "9", "8", "7", "5", "3", "0"])
    page.get_by_label("Set").select_option("relaxed")
    lists(page, ["8", "5", "3", "0"])
    page.get_by_label("Filter").fill("vanilla 5")
    assert page.locator("#rows td").all_inner_texts()[:2] == ["vanilla 2", "5"]
    page.reload()
    lists(page, ["5"])
    page.get_by_role("link", name="5", exact=True).click()
    shows(page, "vanilla, resid_post, layer 2, feature 5")
    assert page.get_by_label("Place").input_value() == "-1"  # the list stays as it was


def test_the_keyboard_goes_through_the_list(opened: Any, small: str) -> None:
    page = opened(small)
    page.keyboard.press("k")
    shows(page, "topk, resid_post, layer 0, feature 3")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    shows(page, "topk, resid_post, layer 0, feature 8")
    page.keyboard.press("/")
    page.keyboard.type("40")
    lists(page, ["40"])
    page.keyboard.press("Tab")
    page.locator("#shortcuts").uncheck()
    page.locator("#scroll").focus()
    page.keyboard.press("j")
    shows(page, "topk, resid_post, layer 0, feature 8")
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.tagName") != "A":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    shows(page, "topk, resid_post, layer 0, feature 40")
    assert "It fires on no image" in page.locator("#detail").inner_text()


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        (
            "#d=topk&h=resid_post&l=0&f=4",
            "Feature 4 of topk, resid_post, layer 0 is not shown here",
        ),
        ("#d=other&h=resid_post&l=0&f=3", "This page has no place other, resid_post, layer 0"),
        ("#d=other&h=resid_post&l=0", "This page has no place other, resid_post, layer 0"),
    ],
)
def test_what_is_not_there_is_said(opened: Any, small: str, fragment: str, said: str) -> None:
    page = opened(small + fragment)
    assert said in page.get_by_role("alert").inner_text()
    assert page.locator("#rows a").count()


def test_dark_and_light_by_a_button_that_is_remembered(opened: Any, small: str) -> None:
    page = opened(small, color_scheme="light")
    page.get_by_role("button", name="Dark").click()
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 28)"
    page.get_by_role("button", name="Light").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_javascript_there_is_a_list(opened: Any, small: str) -> None:
    page = opened(small, java_script_enabled=False)
    assert page.locator("noscript td:first-child").all_inner_texts() == [
        *("3", "8", "11", "40", "0", "5", "7", "9", "60")
    ]
    assert not page.locator("#app").is_visible()
    assert page.get_by_role("button").count() == 0  # they would do nothing


def test_a_narrow_screen_scrolls_one_way(opened: Any, small: str) -> None:
    page = opened(small, viewport={"width": 390, "height": 800})
    shows(page, "topk, resid_post, layer 0, feature 3")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert axe.Axe().run(page).violations_count == 0


def test_no_pictures_no_cls(opened: Any, folder: Path) -> None:
    path = folder / "bare.html"
    bare = feature_page(places(), IMAGES._replace(pictures={}), ABOUT._replace(cls=False), 60)
    path.write_text(bare, encoding="utf-8")
    page = opened(path.as_uri() + "#d=topk&h=resid_post&l=0&f=3")
    assert page.locator(".examples img").count() == 0
    assert page.locator(".examples canvas").count() == 7
    assert "CLS" not in page.locator("#detail").inner_text()
    assert axe.Axe().run(page).violations_count == 0


def test_thousands_of_features_are_shown_in_parts(opened: Any, folder: Path) -> None:
    path = folder / "large.html"
    large = [place("topk", layer, list(range(500))) for layer in range(10)]
    path.write_text(feature_page(large, IMAGES, ABOUT, 60), encoding="utf-8")
    page = opened(path.as_uri() + "#d=topk&h=resid_post&l=7&f=3&all=1")
    assert "5000 of 5000 features, the first 200 shown" in page.locator("#count").inner_text()
    assert len(page.locator("#rows tr").all()) == 200
    page.get_by_role("button", name="Show 200 more").click()
    assert len(page.locator("#rows tr").all()) == 400
    shows(page, "topk, resid_post, layer 7, feature 3")
