"""The model's own pass over a split, edited as it runs: what resuming from stored activations is compared with.

A pass that resumes reads activations that were rounded when they were stored. Here they are kept as the model
gives them, in float32, for as long as one action runs. Resuming from these equals the full forward pass
(`clipsteer.backbones.base`), so an edit of them is an edit of the pass as it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipsteer.activations.inputs import array_name
from clipsteer.steering.inputs import BATCH_IMAGES

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipsteer.backbones.base import Backbone
    from clipsteer.steering.evaluator import Batch


class LiveActivations:
    """What passes the hook points of some layers, of all images of a split, in files of `folder`.

    `places`: (hook point, layer). `load` gives image 0, 1, ... of the split; all batches have one shape, the
    last is filled up with its last image.
    """

    def __init__(
        self,
        backbone: Backbone,
        load: Callable[[int], Image],
        n_images: int,
        places: Collection[tuple[str, int]],
        folder: Path,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._folder, self._read = folder, backbone.tokens_read
        self.n_images = n_images
        # the change of an MLP's output is added to the residual stream behind it
        bases = {("resid_post", layer) for hook_point, layer in places if hook_point == "mlp_out"}
        kept = {*places, *bases}
        shape = (n_images, backbone.n_tokens, backbone.width)
        folder.mkdir(parents=True)
        files = {place: self._file(*place, shape) for place in sorted(kept)}
        hook_points = sorted({hook_point for hook_point, _ in kept})
        for start in range(0, n_images, BATCH_IMAGES):
            stop = min(n_images, start + BATCH_IMAGES)
            images = [load(index) for index in range(start, stop)]
            pixels = backbone.pixels([*images, *[images[-1]] * (BATCH_IMAGES - len(images))])
            _, found = backbone.run(pixels, hook_points)
            for (hook_point, layer), file in files.items():
                file[start:stop] = found[hook_point][layer][: stop - start].float().cpu().numpy()
            if progress is not None:
                progress(stop - start)

    def _file(
        self, hook_point: str, layer: int, shape: tuple[int, ...] | None = None
    ) -> np.memmap[tuple[int, ...], np.dtype[np.float32]]:
        path = self._folder / f"{array_name(hook_point, layer).replace('/', '_')}.npy"
        mode = "r" if shape is None else "w+"
        return np.lib.format.open_memmap(path, mode=mode, dtype=np.float32, shape=shape)

    def batches(self, hook_point: str, layer: int) -> Iterator[Batch]:
        """As an `Evaluator` takes them: only the tokens that the embedding depends on."""
        hook = self._file(hook_point, layer)
        base = self._file("resid_post", layer) if hook_point == "mlp_out" else None
        tokens = self._read(layer)
        for start in range(0, self.n_images, BATCH_IMAGES):
            part = slice(start, start + BATCH_IMAGES)
            yield start, hook[part, tokens], None if base is None else base[part, tokens]
