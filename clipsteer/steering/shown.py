"""What pages of top images need, from a step's inputs: the places, and the images as the model sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from clipsteer.runner.step import Job, Run


def shown_inputs(job: Job) -> dict[str, str]:
    """Digests of the top images of all places, of the lists of the split's images, its labels, and the model."""
    split = job.recipe["split"]
    found = dict[str, str]()
    for output in ("features", "examples", "about"):
        found |= job.of_members("top_images", output)
    lists = job.inputs["shards"].members["all"].outputs
    found |= {f"images/{shard}": job.output("shards", shard) for shard in sorted(lists)}
    return {
        **found,
        "labels": job.output("manifest", f"labels_{split}"),
        "model": job.output("model", "model"),
    }


class ShownPlace(NamedTuple):
    """What `top_images` wrote of one place; `about` has `m`, `cls`, and the `dictionary`'s digest."""

    dictionary: str
    layer: int
    features: pl.DataFrame
    examples: pl.DataFrame
    about: dict[str, Any]


def shown_places(run: Run, order: list[str]) -> list[ShownPlace]:
    """The places, by dictionary in the given order, then by layer."""
    from clipsteer.tables import read_parquet

    found = []
    for name in run.inputs:
        kind, _, member = name.partition("/")
        if kind == "features":
            dictionary, _, layer = member.rpartition("/layer_")
            features = read_parquet(run.blob(name))
            examples = read_parquet(run.blob(f"examples/{member}"))
            about = run.json(f"about/{member}")
            found.append(ShownPlace(dictionary, int(layer), features, examples, about))
    return sorted(found, key=lambda place: (order.index(place.dictionary), place.layer))


class ShownImages:
    """The images of the split. `files`: their paths; `groups` (N,); `grid`: rows and columns of patches."""

    def __init__(self, run: Run) -> None:
        from clipsteer.backbones.shape import read_shape
        from clipsteer.data.source import ImageSource
        from clipsteer.tables import read_parquet

        lists = [run.json(name) for name in sorted(run.inputs) if name.startswith("images/")]
        listed = [image for part in lists for image in part["images"]]
        self.files = [str(path) for _, path, _ in listed]
        self.groups: NDArray[np.int64] = read_parquet(run.blob("labels"))["group"].to_numpy()
        self._folder, self._crop = run.folder("model"), run.recipe["crop"]
        shape = read_shape(self._folder)
        self._side, self.grid = shape.image_size, shape.grid
        self._source = ImageSource(run.store, run.files(run.runtime.name), listed, 0, seed=None)
        self._seen: Seen | None = None

    def seen(self, image: int) -> NDArray[np.uint8]:
        """What the model sees of an image, (H, W, 3), where its patches lie evenly."""
        if self._seen is None:
            from clipsteer.backbones.pixels import load_process

            self._seen = Seen(load_process(self._folder, self._side, self._crop))
        return self._seen(self._source.load(image))


class Seen:
    """A model's image processing up to the point where it makes numbers of colours: cut and scaled, still to be seen.

    `process` gives each channel's numbers as a straight line of its bytes, which black and white tell.
    """

    def __init__(self, process: Any) -> None:
        from PIL import Image

        self._process = process
        ends = [process(Image.new("RGB", (64, 64), (byte,) * 3))[:, :1, :1] for byte in (0, 255)]
        self._low, self._range = ends[0], ends[1] - ends[0]

    def __call__(self, image: Any) -> NDArray[np.uint8]:
        """An RGB image to (H, W, 3) bytes."""
        import numpy as np

        values = (self._process(image) - self._low) / self._range
        pixels: NDArray[np.uint8] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
        return pixels.transpose(1, 2, 0)
