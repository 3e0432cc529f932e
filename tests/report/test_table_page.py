"""Tables as HTML: the same cells as in the Markdown, nothing but text, whole."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsteer.report.markdown import grid
from clipsteer.report.table_page import table_page

NOT_CLOSED = ("meta", "link", "br", "hr")


class Cells(HTMLParser):
    """Rows of texts, element by element; what is not closed rightly is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in NOT_CLOSED:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += data


def test_a_table_has_the_cells_of_its_markdown() -> None:
    heads, body = ["", "topk worst"], [["0", r"\***31.25**"], ["1", "–"]]
    page = table_page("# CelebA & more\n\n**Blocks**\n\n" + grid(heads, body) + "\n")
    found = Cells(page)
    assert found.rows == [heads, ["0", "*31.25"], ["1", "–"]]
    assert found.open == []
    assert "<strong>31.25</strong>" in page
    assert "<title>CelebA &amp; more</title>" in page
    assert page.count('role="region" aria-label="Table') == 1
    assert "http:" not in page
    assert "https:" not in page


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20))
def test_names_stay_text(name: str) -> None:
    found = Cells(table_page(f"# t\n\n{grid(['a'], [[f'<script>{name}</script>']])}\n"))
    assert "script" not in found.tags
    assert found.open == []


def test_a_page_has_a_heading() -> None:
    with pytest.raises(ValueError, match="needs a heading"):
        table_page("no heading\n")
    assert len(re.findall("<h1>", table_page("# one\n\n## two\n"))) == 1
