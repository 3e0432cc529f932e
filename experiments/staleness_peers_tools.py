"""The tools that staleness_peers.py compares, and a place where one of them runs the toy chain."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

BASE = Path(__file__).resolve().parents[1]
TOYS = Path(__file__).resolve().parent / "staleness_peers"
STEPS = ("numbers", "transform_a", "transform_b", "summary_a", "summary_b", "report")
REPORT = "results/report.json"
PINS = {"dvc": "3.67.1", "redun": "0.44.1", "pyyaml": "6.0.3"}


@dataclass(frozen=True)
class Tool:
    """One column: the folders of its project, its command, and where it keeps what edits are about.

    A project is `folders` of TOYS laid over each other. `places` says where the files of TOYS/common
    belong and where the steps' code is. `working` is the file in the working copy that stands for the
    output of transform_a, `bytes_of` gives the file that holds its bytes; None where the tool keeps no
    such file. `kept` are files that Git would hold besides the project's own. `inodes`: its caches know
    files by their inodes, so they have to see a copied state once.
    """

    name: str
    folders: tuple[str, ...]
    command: tuple[str, ...]
    places: Mapping[str, str]
    peer: bool = False
    working: str | None = "work/a/transform.json"
    bytes_of: Callable[[Place], Path] | None = None
    kept: tuple[str, ...] = ()
    inodes: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)


def _places(folder: str, config: str = "config.yaml", helper: str | None = None) -> dict[str, str]:
    steps = {name: f"{folder}/{name}.py" for name in ("take", "transform", "summary", "report")}
    return {"config": config, "helper": helper or f"{folder}/scaling.py", **steps}


class Place:
    """A tool's project with everything around it, always at the same path.

    project/ is the working copy, store/ the tool's store or cache, site/ the installed packages, tally
    the steps that ran.
    """

    def __init__(self, folder: Path, tool: Tool, peers: Path | None = None) -> None:
        self.folder, self.tool, self.peers = folder, tool, peers
        self.project, self.site = folder / "project", folder / "site"
        self._finished = folder.with_name(folder.name + "-finished")

    def lay_out(self) -> None:
        """The project, before any run."""
        for name in ("project", "store", "site"):
            (self.folder / name).mkdir(parents=True)
        for name in ("tally", "toydep"):
            install(self.site, name, "1.0", (TOYS / "site" / f"{name}.py").read_text())
        self._sources()

    def _sources(self) -> None:
        shutil.copytree(TOYS / "common", self.project, dirs_exist_ok=True)
        for folder in self.tool.folders:
            shutil.copytree(TOYS / folder, self.project, dirs_exist_ok=True)
        for role, name in (("config", "config.yaml"), ("helper", "scaling.py")):
            (self.project / name).rename(self.path(role))

    def keep(self) -> None:
        """Remember the state, for `restore`."""
        shutil.copytree(self.folder, self._finished, symlinks=True)

    def restore(self) -> None:
        """A fresh copy of the remembered state."""
        shutil.rmtree(self.folder)
        self.project = self.folder / "project"
        shutil.copytree(self._finished, self.folder, symlinks=True)

    def clone(self) -> None:
        """Go on in a fresh clone of the working copy, beside it, with the same store."""
        kept = {name: (self.project / name).read_bytes() for name in self.tool.kept}
        self.project = self.folder / "clone"
        self._sources()
        for name, content in kept.items():
            (self.project / name).write_bytes(content)

    def run(self) -> tuple[list[str], int, str]:
        """The tool's command once: the steps that ran, in order, its exit status, what it said."""
        tally = self.folder / "tally"
        tally.write_text("")
        words = [
            word.replace("{profile}", str(BASE / "profiles/default")) for word in self._words()
        ]
        code, text = self._done(words, self._environment(tally))
        return tally.read_text().split(), code, text

    def _done(self, words: list[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """Exit status of a command in the working copy, and what it said."""
        done = subprocess.run(
            words,
            cwd=self.project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,  # a loaded machine is no failure
            check=False,
        )
        return done.returncode, done.stdout

    def _words(self) -> list[str]:
        program, *rest = self.tool.command
        if self.tool.peer:
            assert self.peers is not None, f"{self.tool.name} needs an environment of its own"
            return [str(self.peers / "bin" / program), *rest]
        return [sys.executable if program == "python" else program, *rest]

    def _environment(self, tally: Path) -> dict[str, str]:
        own = ("SNAKEMAKE", "CLIPSTEER", "DVC", "REDUN", "PYTHON")
        variables = {k: v for k, v in os.environ.items() if not k.startswith(own)}
        binaries = (
            self.peers / "bin" if self.tool.peer and self.peers else Path(sys.executable).parent
        )
        return {
            **variables,
            "PATH": f"{binaries}{os.pathsep}{variables.get('PATH', '')}",
            "PYTHONPATH": os.pathsep.join(
                [str(self.site), *([] if self.tool.peer else [str(BASE)])]
            ),
            "PYTHONDONTWRITEBYTECODE": "1",  # an edit within one second leaves a stale .pyc behind
            "TALLY": str(tally),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "DVC_SITE_CACHE_DIR": str(self.folder / "cache/dvc"),
            "DVC_NO_ANALYTICS": "1",
            **{
                k: v.replace("{store}", str(self.folder / "store"))
                for k, v in self.tool.variables.items()
            },
        }

    def report(self) -> bytes | None:
        """The chain's result."""
        path = self.project / REPORT
        return path.read_bytes() if path.exists() else None

    def path(self, role: str) -> Path:
        """A file by what it is: config, helper, take, transform, summary, report, raw, requirements."""
        others = {"raw": "raw/numbers.txt", "requirements": "requirements.txt"}
        return self.project / {**others, **self.tool.places}[role]

    def replace(self, role: str, old: str, new: str) -> None:
        """Edit a file as an editor does; `old` must stand in it exactly once."""
        path = self.path(role)
        text = path.read_text()
        assert text.count(old) == 1, f"{path}: {old!r} stands there {text.count(old)} times"
        path.write_text(text.replace(old, new))


def install(site: Path, name: str, version: str, source: str) -> None:
    """A one-module package as pip leaves it, in the place of any other version."""
    for old in site.glob(f"{name}-*.dist-info"):
        shutil.rmtree(old)
    (site / f"{name}.py").write_text(source)
    about = site / f"{name}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "INSTALLER").write_text("pip\n")
    (about / "RECORD").write_text(f"{name}.py,,\n")


def _stored_bytes(place: Place) -> Path:
    """The object that clipsteer's pointer names."""
    from clipsteer.store.objects import ObjectStore
    from clipsteer.store.pointers import read_pointer

    pointer = read_pointer(place.project / "artifacts/refs/a/transform.json")
    store = ObjectStore(place.folder / "store")
    return store.path(pointer.members["all"].outputs["values"].digest)


def _working_bytes(place: Place) -> Path:
    return (place.project / "work/a/transform.json").resolve()


_SNAKEMAKE = ("python", "-m", "snakemake", "--cores", "1")
_REDUN = {
    **_places(".", helper="scaling.py"),
    **dict.fromkeys(("take", "transform", "summary", "report"), "workflow.py"),
}
_ALONE = """
import runpy, sys
sys.path.insert(0, "src")
for words in "take", "transform a", "transform b", "summary a", "summary b", "report":
    sys.argv = words.split()
    runpy.run_path(f"src/{sys.argv[0]}.py", run_name="__main__")
"""

# What a result must be: the scripts, one after another, without any tool.
ALONE = Tool(
    "scripts alone",
    ("dvc",),
    ("python", "-c", _ALONE),
    _places("src", "params.yaml"),
    bytes_of=_working_bytes,
)
TOOLS = (
    Tool(
        "Snakemake",
        ("snakemake",),
        _SNAKEMAKE,
        _places("scripts"),
        bytes_of=_working_bytes,
    ),
    Tool(
        "Snakemake, told",
        ("snakemake", "snakemake_told"),
        (*_SNAKEMAKE, "--cache"),
        _places("scripts"),
        bytes_of=_working_bytes,
        variables={"SNAKEMAKE_OUTPUT_CACHE": "{store}"},
    ),
    Tool(
        "DVC",
        ("dvc",),
        ("dvc", "repro"),
        _places("src", "params.yaml"),
        peer=True,
        bytes_of=_working_bytes,
        kept=("dvc.lock",),
        inodes=True,
    ),
    Tool(
        "DVC, told",
        ("dvc", "dvc_told"),
        ("dvc", "repro"),
        _places("src", "params.yaml"),
        peer=True,
        bytes_of=_working_bytes,
        kept=("dvc.lock",),
        inodes=True,
    ),
    Tool(
        "redun",
        ("redun",),
        ("redun", "run", "workflow.py", "main"),
        _REDUN,
        peer=True,
        bytes_of=_working_bytes,
    ),
    Tool(
        "redun, told",
        ("redun", "redun_told"),
        ("redun", "run", "workflow.py", "main"),
        _REDUN,
        peer=True,
        working=None,
    ),
    Tool(
        "clipsteer",
        ("clipsteer",),
        (*_SNAKEMAKE, "--workflow-profile", "{profile}"),
        _places("workflow_scripts", helper="scaling.py"),
        working="artifacts/refs/a/transform.json",
        bytes_of=_stored_bytes,
        inodes=True,
    ),
)


def make_environment(folder: Path) -> Path:
    """A virtual environment with the pinned peers; one that has them already is used as it is."""
    python = folder / "bin/python"
    if not (folder / "bin/dvc").exists() or installed(python, PINS) != PINS:
        print(f"installing {', '.join(PINS)} into {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True)
        pins = [f"{name}=={version}" for name, version in PINS.items()]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True)
    return folder


def installed(python: Path, names: Mapping[str, str]) -> dict[str, str]:
    """The versions of distributions in an environment."""
    code = (
        "import json, sys; from importlib.metadata import version; "
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    done = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=False)
    found: dict[str, str] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found
