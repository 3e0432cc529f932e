"""Tables for the browser and for Snakemake's report: their Markdown as one HTML file, without a network or a script."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt

from clipsteer.report.page_head import head

_STYLE = """\
:root { color-scheme: light dark; --page: #fff; --panel: #f3f4f6; --text: #16181d; --line: #c3c8d1; }
@media (prefers-color-scheme: dark) {
  :root { --page: #15171c; --panel: #1f2229; --text: #eceef2; --line: #454b58; }
}
body { margin: 0 auto; padding: 0 1.25rem 2rem; max-width: 80rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
:focus-visible { outline: 3px solid; outline-offset: 1px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .55rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { background: var(--panel); }
"""
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def table_page(markdown: str) -> str:
    """The page of a text that begins with a heading; HTML in it is shown as it is written."""
    title = _TITLE.search(markdown)
    if title is None:
        raise ValueError(f"a page needs a heading: {markdown[:80]!r}")
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    body = parser.render(markdown)
    body = re.sub(r"<th( [^>]*)?></th>", "<td></td>", body)  # a heading without a word is none
    body = re.sub(r"<th(?=[ >])", '<th scope="col"', body)
    # wide tables can be scrolled by the keyboard, too
    number = 0

    def scrolled(found: re.Match[str]) -> str:
        nonlocal number
        number += 1
        label = f"Table {number}"
        return f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">\n{found[0]}</div>\n'

    body = re.sub(r"<table>.*?</table>\n", scrolled, body, flags=re.DOTALL)
    begin = head(title[1], _STYLE, scripts=False)
    return f"{begin}\n<main>\n{body}</main>\n</body>\n</html>\n"
