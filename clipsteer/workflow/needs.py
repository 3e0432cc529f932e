"""What each job asks of a cluster: memory and minutes that scale with its work, doubled on each retry.

The numbers are those of clipsteer/lineage/resources.py. A profile's set-resources overrides them; local
runs do not heed them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsteer.lineage.resources import GPU_STEPS, Cost, Model, asks_for_gpu, known_images
from clipsteer.store.roots import REFS
from clipsteer.workflow.outline import Outline
from clipsteer.workflow.sources import Sources

if TYPE_CHECKING:  # it imports Snakemake
    from clipsteer.workflow.chains import Chains


class Needs:
    """The needs of all jobs of one configuration, where Snakemake's `workflow` runs them."""

    def __init__(self, workflow: Any, outline: Outline, sources: Sources, chains: Chains) -> None:
        self._device = outline.config["runtime"]["device"]
        images = known_images(outline.config, Path(REFS), chains.current, sources.known)
        self._costs = Model(outline.config, outline.folder, images)
        self._overridden: Mapping[str, Any] = workflow.resource_settings.overwrite_resources
        self._for_all: Mapping[str, Any] = workflow.resource_settings.default_resources or {}
        # the last one only: memory, minutes and disk of a job are asked for one after the other
        self._reckoned = lru_cache(1)(self._reckon)

    def of(self, step: str) -> dict[str, Callable[..., int]]:
        """The resources of a step's rule."""
        gpu = self._has_gpu(step)

        def memory(wildcards: Any, attempt: int) -> int:
            return self._cost(step, wildcards, gpu).request(attempt)[0]

        def minutes(wildcards: Any, attempt: int) -> int:
            return self._cost(step, wildcards, gpu).request(attempt)[1]

        def disk(wildcards: Any) -> int:
            return round(self._cost(step, wildcards, gpu).disk_mb) + 1

        return {"mem_mb": memory, "runtime": minutes, "disk_mb": disk}

    def seconds(self, job: Any) -> float:
        """What one of Snakemake's jobs is likely to take, where it will run."""
        step = job.rule.name
        return self._cost(step, job.wildcards, self._has_gpu(step)).seconds

    def expected(self, job: Any) -> dict[str, Any]:
        """What a job is expected to take, for `python -m clipsteer plan --resources`."""
        step = job.rule.name
        assumed = not self._is_known_where and step in GPU_STEPS and self._device != "cpu"
        gpu = self._has_gpu(step) or assumed
        found = self._cost(step, job.wildcards, gpu)
        return {
            "gpu": gpu,
            "seconds": found.seconds,
            "memory_mb": found.memory_mb,
            "requested_mb": found.request(1)[0],
            "disk_mb": found.disk_mb,
            "known": found.known,
            "notes": list(found.notes),
        }

    def _cost(self, step: str, wildcards: Any, gpu: bool) -> Cost:
        return self._reckoned(step, tuple(wildcards.items()), gpu)

    def _reckon(self, step: str, wildcards: tuple[tuple[str, str], ...], gpu: bool) -> Cost:
        return self._costs.cost(step, dict(wildcards), gpu=gpu)

    def _has_gpu(self, step: str) -> bool:
        """Whether a step's jobs are given a GPU, and use it: then they compute at its speed."""
        given = {**self._for_all, **self._overridden.get(step, {})}
        words = {name: getattr(value, "raw", value) for name, value in given.items()}
        return self._device != "cpu" and asks_for_gpu(words)

    @property
    def _is_known_where(self) -> bool:
        """Whether it is known where the jobs will run: else it is as profiles/slurm has it."""
        return bool(self._overridden) or any(
            word.partition("=")[0] in ("--workflow-profile", "--profile") for word in sys.argv
        )
