"""docs/tutorial.ipynb from docs/tutorial.md, cell by cell: `python -m experiments.notebook`.

A block of Python is a cell; one of `sh` is a cell of `!` lines; one of `yaml` with a file's name writes that file.
All else is text.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

DOCS = Path(__file__).parents[1] / "docs"
PAGE, NOTEBOOK = DOCS / "tutorial.md", DOCS / "tutorial.ipynb"
_BLOCK = re.compile(r"^```(python|sh|yaml (?P<file>\S+))\n(?P<body>.*?)^```\n", re.M | re.S)
# A notebook starts in the folder that it lies in.
_START = """import os

while not os.path.exists("Snakefile"):
    os.chdir("..")"""


def cells(page: str) -> list[tuple[str, str]]:
    """(kind, text) of each cell: kind is `markdown` or `code`."""
    found, done = [("code", _START)], 0
    for block in _BLOCK.finditer(page):
        found.append(("markdown", page[done : block.start()].strip()))
        body, done = block["body"].rstrip(), block.end()
        if block["file"]:
            body = f"%%writefile {block['file']}\n{body}"
        elif block[1] == "sh":
            body = "\n".join(f"!{line}" for line in body.splitlines())
        found.append(("code", body))
    found.append(("markdown", page[done:].strip()))
    return [cell for cell in found if cell[1]]


def notebook(page: str) -> str:
    """The notebook's text, without outputs; the same page gives the same bytes."""
    made = new_notebook()
    made.metadata["kernelspec"] = {
        **{"display_name": "Python 3", "language": "python", "name": "python3"},
    }
    for number, (kind, text) in enumerate(cells(page)):
        make = new_code_cell if kind == "code" else new_markdown_cell
        made.cells.append(make(text, id=f"cell-{number}"))
    nbformat.validate(made)
    return nbformat.writes(made) + "\n"


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
