"""What features of a run's dictionaries do in images of one's own, as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clipsteer.backbones.tokens import tokens_meant
from clipsteer.dictionaries.tokens import edited, suited
from clipsteer.front.given import picture
from clipsteer.front.passes import check_fits
from clipsteer.front.runs import Run
from clipsteer.report.look_page import Looked, LookedPlace, look_page
from clipsteer.report.thumbnails import thumbnail
from clipsteer.steering.choose import CONDITIONS
from clipsteer.steering.image_views import Site, image_views
from clipsteer.steering.shown import Seen

_PIXELS = 224  # of a picture's longer side


class Asked(NamedTuple):
    """Whose classes and sets are meant, which model sees the images and how they are cropped, and how many features."""

    dataset: str
    model: str
    crop: str
    features: int


def looked_page(
    run: Run, images: Sequence[Path], places: Sequence[tuple[str, int]], asked: Asked
) -> str:
    """The page's text, of images (files) at places (dictionary, layer).

    Raises:
        ClipsteerError: the run has no such dictionary, or a file is no image.
    """
    pictures = [picture(image) for image in images]
    model = run.model(asked.model, crop=asked.crop)
    head = run.head(asked.dataset).to(model.device)
    found = []
    for name, layer in places:
        placed = run.dictionary(name, layer, dataset=asked.dataset, model=asked.model)
        check_fits(model, placed)
        dictionary = suited(placed.dictionary, model.cls)
        tokens = edited(tokens_meant("all", model.cls), dictionary)
        sets = _sets(run, asked.dataset, name, layer)
        site = Site(model, head, dictionary, layer, placed.hook_point, tokens)
        views = image_views(site, pictures, {}, sets, asked.features)
        found.append(
            LookedPlace(name, placed.hook_point, layer, sets, [view.as_dict() for view in views])
        )
    seen = Seen(model.process)
    return look_page(
        found,
        Looked(
            [path.name for path in images],
            [thumbnail(seen(one), _PIXELS) for one in pictures],
            run.class_names(asked.dataset),
            model.grid,
            model.cls is not None,
        ),
        f"Model {asked.model} of a run of clipsteer, classes of {asked.dataset}.",
    )


def _sets(run: Run, dataset: str, dictionary: str, layer: int) -> dict[str, list[int]]:
    """What was selected at a place, as far as it is not empty; nothing where no table has the dictionary."""
    if not run.has_selection(dataset, dictionary):
        return {}
    return {
        condition: chosen
        for condition in CONDITIONS
        if (chosen := run.feature_set(dataset, dictionary, layer, condition).features.tolist())
    }
