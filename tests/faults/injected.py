"""Faults in steps of a run, ordered by an environment variable. The product knows nothing of it.

An interpreter that imports this module at its start (`interpreter`) is what the product's own Python is in
all else: the same packages, the same code, the same fingerprints. Only in the process that does the work of
a step named in the variable, a job's own or a fork of the warm worker, something goes wrong:

* `error`: an exception once all of an action has been computed, and nothing of it is on record;
* `kill`: kill -9 at that very moment;
* `write`: the disk is full from the start, so the first file to be flushed fails;
* `pointer`: the last write of all fails, when objects, record and results are in their places;
* `input`: every pointer that the job reads has lost its second half, and so have the store's copies.

What a step only restores it does not compute, so `error` and `kill` want an action that is not on record.
"""

from __future__ import annotations

import errno
import functools
import importlib.abc
import importlib.machinery
import inspect
import os
import shutil
import signal
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

VARIABLE = "CLIPSTEER_TEST_FAULT"  # "STEP KIND", or several with commas between them
KINDS = ("error", "kill", "write", "pointer", "input")
SAYS = {
    "error": "RuntimeError: injected",
    "kill": "killed by SIGKILL",
    "write": "the disk is full",
    "pointer": "the disk is full",
    "input": "found a damaged or edited pointer",
}
_MODULE = "clipsteer.runner.step"  # where every script's `main` comes from


def interpreter(folder: Path) -> Path:
    """A Python with the packages of this one, in which faults can be ordered."""
    venv.EnvBuilder(symlinks=True).create(folder)
    (site,) = folder.glob("lib/python*/site-packages")
    name = "injected_fault"
    shutil.copy(__file__, site / f"{name}.py")
    ours = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    lines = [f"import site; site.addsitedir({path!r})" for path in ours]
    lines.append(f"import {name}; {name}.watch()")
    (site / f"{name}.pth").write_text("\n".join(lines) + "\n")
    return folder / "bin/python"


def watch() -> None:
    """From now on, put the fault into the module that runs steps, whenever that is imported."""
    if VARIABLE in os.environ:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == _MODULE else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _put_into(module)

            setattr(spec.loader, "exec_module", exec_module)  # noqa: B010
        return spec


def _put_into(module: Any) -> None:
    orders = dict(order.split() for order in os.environ[VARIABLE].split(","))
    kind = orders.get(Path(sys.argv[0]).stem)
    if kind is None:
        return
    if kind == "write":
        os.fsync = _no_room
    elif kind == "pointer":
        os.replace = functools.partial(_replace, os.replace, os.path.abspath(_word("--pointer")))
    act = {"error": _fail, "kill": _kill}.get(kind)
    main = module.main

    def faulty(*words: Any, **options: Any) -> None:
        given = inspect.signature(main).bind(*words, **options).arguments
        if kind == "input":
            _damage_inputs()
        for name in ("compute", "effect"):
            if act and given.get(name):
                given[name] = _then(given[name], act)
        main(**given)

    module.main = faulty


def _then(work: Callable[..., Any], act: Callable[[], NoReturn]) -> Callable[..., NoReturn]:
    @functools.wraps(work)
    def both(*words: Any) -> NoReturn:
        work(*words)
        act()

    return both


def _fail() -> NoReturn:
    raise RuntimeError("injected")


def _kill() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL is not to be outlived")


def _no_room(file: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _replace(replace: Callable[..., None], pointer: str, source: str, target: str) -> None:
    if os.path.abspath(target) == pointer:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)
    replace(source, target)


def _damage_inputs() -> None:
    from clipsteer.store.roots import copy_of

    for pointer in _inputs():
        for path in (pointer, copy_of(Path(_word("--store")), Path.cwd(), pointer)):
            # a job beside this one may have found the same damage just now, and put the file away
            with suppress(FileNotFoundError):
                data = path.read_bytes()
                path.write_bytes(data[: len(data) // 2])


def _word(option: str) -> str:
    return sys.argv[sys.argv.index(option) + 1]


def _inputs() -> Iterator[Path]:
    """The pointers after the words `--input NAME=PATH` and `--inputs NAME PATH ...`."""
    words = iter([*sys.argv, "--"])
    word = next(words)
    while word != "--":
        option, word = word, next(words)
        if option == "--input":
            yield Path(word.partition("=")[2])
        elif option == "--inputs":
            while not (word := next(words)).startswith("--"):
                yield Path(word)
