"""What all figures have in common: equal tables give equal bytes, and painted data are named.

No time or version stands in a file, and a user's own matplotlibrc is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from clipsteer.report.markdown import source_label

_DPI = 160


@contextmanager
def saved(path: Path, inches: tuple[float, float]) -> Iterator[Any]:
    """A matplotlib figure to draw on, written as PNG to `path` afterwards."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
        )
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=_DPI, format="png", metadata={"Software": None})


def painted_label(source: str) -> str:
    """Where the images are from, for a title; painted data must never pass for real."""
    return "painted data (synthetic)" if source == "painted" else source_label(source)


class Title(NamedTuple):
    """What stands above a figure."""

    dataset: str
    model: str
    source: str

    def of(self, text: str) -> str:
        """A figure's own words with the rest."""
        return f"{self.dataset}, {self.model}: {painted_label(self.source)}. {text}"
