"""The user's own files, as chain keys know them: what a scan of each folder found, or a commit of the hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clipsteer.config.used import job_name, section_of
from clipsteer.data.forms import FORMS
from clipsteer.data.watched import named_files
from clipsteer.errors import ClipsteerError
from clipsteer.runner.progress import Log, Progress
from clipsteer.runner.scan import Folder, scan, write_token
from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.pointers import chain_key, read_pointer
from clipsteer.store.roots import REFS
from clipsteer.store.state import CACHES
from clipsteer.workflow.outline import MODEL, Outline
from clipsteer.workflow.recipes import Recipes
from clipsteer.workflow.released import released

_DICTIONARY = "dictionary-"  # before an imported one's: no data set has a dash in its name


class Sources:
    """What stands for the folders of the user's that one configuration names, and for a model of the hub.

    The main process looks at a folder (`scans`), once; jobs that read the rules again take what it noted.
    """

    def __init__(self, outline: Outline, recipes: Recipes, *, scans: bool) -> None:
        self._outline, self._recipes, self._scans = outline, recipes, scans
        self._tokens: dict[str, str] = {}
        self._scanned: dict[str, dict[str, Any]] = {}

    # ---- the param `source` of rules

    def manifest(self, wildcards: Any) -> str:
        """What stands for a data set's folder; nothing where its images are painted."""
        painted = self._outline.is_painted(wildcards.dataset)
        return "" if painted else self.token(wildcards.dataset)

    def model(self, wildcards: Any, output: object = None) -> str | None:
        """What stands for a model: the files of a folder, or the commit that was taken from the hub.

        None where none was taken yet for this name and revision. As it asks for `output`, Snakemake does
        not take note of it: a commit is known after the run that took it, which makes nothing stale.
        """
        name = self._outline.model_of(wildcards)
        if self._outline.local_model(name):
            return self.token(job_name(name))
        with suppress(ClipsteerError, KeyError):  # no pointer, or one of something else
            model = read_pointer(MODEL.format(model=name))
            commit = canonical_json({"commit": model.members["all"].facts.get("commit")})
            recipe = self._recipes.of("import_clip")(wildcards)
            if model.chain == chain_key(recipe, [digest_bytes(commit)]):
                return commit.decode()
        return None

    def words(self, wildcards: Any) -> list[str]:
        """The words that say to a job which model it takes, and what stands for it where that is a folder."""
        model = self._outline.model_of(wildcards)
        name, local = job_name(model), self._outline.local_model(model)
        return [*(["--raw", f"token={self.token(name)}"] if local else []), "--name", name]

    def dictionary(self, wildcards: Any) -> str:
        """What stands for a block of layers of a released dictionary: digests of files, or commits of the hub.

        Canonical JSON, by layer. Raises ClipsteerError where there is none, or not what the configuration takes it for.
        """
        known = json.loads(self.token(f"{_DICTIONARY}{wildcards.dictionary}"))
        layers = map(str, self._outline.block(wildcards))
        return canonical_json({layer: known[layer] for layer in layers}).decode()

    # ---- scans

    def token(self, name: str) -> str:
        """What stands for the folder of a data set, of a model or of a dictionary: canonical JSON.

        Raises ClipsteerError where it is not as its layout has it or cannot be read.
        """
        if name not in self._tokens:
            self._tokens[name] = self._scan(name) if self._scans else _noted(name)
        return self._tokens[name]

    def known(self, dataset: str) -> Mapping[str, Any]:
        """The token of a data set's folder as a dict; empty where a job reads the rules before a scan."""
        with suppress(OSError):
            return dict(json.loads(self.token(dataset)))
        return {}

    def note(self) -> None:
        """Write down what this process has found, for jobs."""
        for name, token in self._scanned.items():
            write_token(_note(name), token)

    def _scan(self, name: str) -> str:
        if name.startswith(_DICTIONARY):
            found = released(self._outline, name.removeprefix(_DICTIONARY), CACHES)
            self._scanned[name] = found
            return canonical_json(found).decode()
        model = {job_name(model): model for model in self._outline.models}.get(name)
        key = f"{section_of(model)}.source" if model else f"datasets.{name}.root"
        folder = self._model_folder(model, key) if model else self._folder(name, key)
        progress = Progress(Log(), f"looking at {key}", None, "files hashed")
        try:
            looked_at = scan(
                folder,
                cache=CACHES / f"scan-{name}",
                threads=self._outline.config["raw"]["threads"],
                progress=progress,
            )
        finally:
            progress.finish()
        self._scanned[name] = looked_at.token
        return canonical_json(looked_at.token).decode()

    def _folder(self, dataset: str, key: str) -> Folder:
        settings = self._outline.datasets[dataset]
        form = FORMS[settings["layout"]]
        return Folder(
            self._outline.root(dataset),
            key,
            layout=form.expected,
            watch=self._outline.config["raw"]["watch"] or "off",
            label_patterns=form.label_patterns,
            named=named_files(settings),
        )

    def _model_folder(self, model: str, key: str) -> Folder:
        """A model's, once it is seen to be one."""
        from clipsteer.backbones.weights import PATTERNS, faults  # seldom needed

        folder = self._outline.local_model(model)
        assert folder is not None
        if found := [f"{key}: {fault}" for fault in faults(folder)]:
            raise ClipsteerError("\n".join(found))
        layout = "config.json, model.safetensors, tokenizer and processor files"
        return Folder(folder, key, layout, "labels", PATTERNS)


def _note(name: str) -> Path:
    return Path(REFS, "raw", f"{name}.json")


def _noted(name: str) -> str:
    return _note(name).read_text(encoding="utf-8").strip()
