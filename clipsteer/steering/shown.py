"""What pages of top images need, from a step's inputs: the places, and the images as the model sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from clipsteer.dictionaries.inputs import named_in

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray
    from PIL.Image import Image

    from clipsteer.runner.step import Job, Run


_PAIRS = "pairs"


def shown_inputs(job: Job) -> dict[str, str]:
    """Digests of the top images of all places, and those of `listed_inputs`."""
    found = dict[str, str]()
    for output in ("features", "examples", "about"):
        found |= job.of_members("top_images", output)
    return {**found, **listed_inputs(job)}


def listed_inputs(job: Job) -> dict[str, str]:
    """Digests of the lists of the split's images, its labels, and the model."""
    lists = job.inputs["shards"].members["all"].outputs
    return {
        **{f"images/{shard}": job.output("shards", shard) for shard in sorted(lists)},
        "labels": job.output("manifest", f"labels_{job.recipe['split']}"),
        "model": job.output("model", "model"),
    }


def pair_inputs(job: Job) -> dict[str, str]:
    """Digest of what says which pair an image has: the painted ones, or else the manifest."""
    if job.inputs["painted"].members:
        return {_PAIRS: job.output("painted", "pairs")}
    return {"manifest": job.output("manifest", "manifest")}


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
            dictionary, layer = named_in(member)
            features = read_parquet(run.blob(name))
            examples = read_parquet(run.blob(f"examples/{member}"))
            about = run.json(f"about/{member}")
            found.append(ShownPlace(dictionary, layer, features, examples, about))
    return sorted(found, key=lambda place: (order.index(place.dictionary), place.layer))


class ShownImages:
    """The images of the split. `files`: their paths; `groups`, `targets` (N,); `grid`: rows and columns of patches."""

    def __init__(self, run: Run, dataset: str) -> None:
        from clipsteer.backbones.shape import read_shape
        from clipsteer.data.source import ImageSource
        from clipsteer.tables import read_parquet

        lists = [run.json(name) for name in sorted(run.inputs) if name.startswith("images/")]
        listed = [image for part in lists for image in part["images"]]
        self.files = [str(path) for _, path, _ in listed]
        labels = read_parquet(run.blob("labels"))
        self.groups: NDArray[np.int64] = labels["group"].to_numpy()
        self.targets: NDArray[np.int64] = labels["target"].to_numpy()
        self._folder, self._crop = run.folder("model"), run.recipe["crop"]
        shape = read_shape(self._folder)
        self._side, self.grid = shape.image_size, shape.grid
        self._run, self._place = run, run.files(dataset)
        self._source = ImageSource(run.store, self._place, listed, 0, seed=None)
        self._seen: Seen | None = None
        self._paired: dict[str, tuple[str, str]] | None = None

    def image(self, number: int) -> Image:
        """An image, in mode RGB."""
        return self._source.load(number)

    def pair(self, number: int) -> Image | None:
        """The pair of an image, where `pair_inputs` says of one."""
        from clipsteer.data.source import ImageSource

        path = self.files[number]
        if _PAIRS in self._run.inputs:  # painted, under its image's name
            place = self._run.tree(_PAIRS)
            return ImageSource(
                self._run.store, place, [(place.digest(path), path, 0)], 0, seed=None
            ).load(0)
        if self._paired is None:
            self._paired = self._named_pairs()
        if path not in self._paired:
            return None
        there, digest = self._paired[path]
        return ImageSource(self._run.store, self._place, [(digest, there, 0)], 0, seed=None).load(0)

    def _named_pairs(self) -> dict[str, tuple[str, str]]:
        """Path of an image -> path and digest of the pair that the manifest names."""
        import polars as pl

        from clipsteer.tables import read_parquet

        manifest = read_parquet(self._run.blob("manifest"))
        digests = dict(manifest.select("path", "digest").iter_rows())
        named = manifest.filter(pl.col("pair").is_not_null()).select("path", "pair")
        return {path: (pair, digests[pair]) for path, pair in named.iter_rows()}

    def seen(self, image: int) -> NDArray[np.uint8]:
        """What the model sees of an image, (H, W, 3), where its patches lie evenly."""
        return self.as_seen(self._source.load(image))

    def as_seen(self, image: Image) -> NDArray[np.uint8]:
        """The same of any image in mode RGB."""
        if self._seen is None:
            from clipsteer.backbones.pixels import load_process

            self._seen = Seen(load_process(self._folder, self._side, self._crop))
        return self._seen(image)


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
