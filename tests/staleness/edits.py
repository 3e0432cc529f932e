"""Edits to a scene, each as a function of it: what a person, a tool or an accident does between two runs."""

from __future__ import annotations

import ast
import os
import py_compile
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

from clipsteer.store.actions import ActionStore
from clipsteer.store.digest import parse_digest
from clipsteer.store.roots import copy_of
from tests.data.small_trees import celeba_text, face_name
from tests.staleness.scene import Scene, check_out
from tests.workflow.real_trees import FACES, photo

Edit = Callable[[Scene], None]
REFS = "artifacts/refs"


def nothing(scene: Scene) -> None:
    """Leave everything as it is."""


def all_of(*edits: Edit) -> Edit:
    """Several edits, one after another."""

    def act(scene: Scene) -> None:
        for edit in edits:
            edit(scene)

    return act


# ------------------------------------------------------------------------------ time stamps


def touch_everything(scene: Scene) -> None:
    """New times for every file, in reverse order: what was made from another is older than it now."""
    every = [path for root in (scene.clone, scene.data) for path in root.rglob("*")]
    files = sorted((p for p in every if p.is_file()), key=lambda p: -p.stat().st_mtime_ns)
    now = max(path.stat().st_mtime_ns for path in files) + 10**9
    for place, path in enumerate(files):
        os.utime(path, ns=(now, now + 10**6 * place))


def touch_images(scene: Scene) -> None:
    for path in (scene.data / "celeba").rglob("*"):
        os.utime(path)


# ------------------------------------------------------------------------------------- code


def comment_everywhere(scene: Scene) -> None:
    """A comment above and at the end of the first line of code of every module."""
    for path in scene.modules():
        text = path.read_text(encoding="utf-8")
        future = "from __future__ import annotations\n"
        path.write_text("# A new remark.\n" + text.replace(future, future[:-1] + "  # remark\n"))


def reword_docstrings(scene: Scene) -> None:
    """Other words in every docstring of every module, class and function."""
    for path in scene.modules():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        for first, last, indent in sorted(_docstrings("".join(lines)), reverse=True):
            lines[first - 1 : last] = [" " * indent + '"""Said in other words."""\n']
        path.write_text("".join(lines), encoding="utf-8")


def _docstrings(source: str) -> Iterable[tuple[int, int, int]]:
    """(first line, last line, indent) of each docstring that has its lines to itself."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and node.body and ast.get_docstring(node) is not None:
            words = node.body[0]
            yield words.lineno, words.end_lineno or words.lineno, words.col_offset


def reformat_everywhere(scene: Scene) -> None:
    """Every module as Python's own printer writes it: other line breaks, other quotes, no comments."""
    for path in scene.modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        path.write_text(ast.unparse(tree) + "\n", encoding="utf-8")


def rename_local(scene: Scene) -> None:
    """A local variable of the module that writes the table in Markdown."""
    path = scene.file("clipsteer/report/markdown.py")
    text = path.read_text(encoding="utf-8")
    assert re.search(r"\bwidths\b", text)
    path.write_text(re.sub(r"\bwidths\b", "columns_wide", text), encoding="utf-8")


def one_more_name(path: str) -> Edit:
    """A change of a module that no function in it sees: it defines one more name."""

    def act(scene: Scene) -> None:
        with scene.file(path).open("a", encoding="utf-8") as file:
            file.write("\n_ONE_MORE_NAME = 1\n")

    return act


def one_more_line(path: str, function: str) -> Edit:
    """A real change of one function of a module that changes no result: it binds one more name."""

    def act(scene: Scene) -> None:
        lines = scene.file(path).read_text(encoding="utf-8").splitlines(keepends=True)
        tree = ast.parse("".join(lines))
        (found,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function)
        last = found.body[-1]
        lines.insert(last.lineno - 1, " " * last.col_offset + "_one_more_name = 1\n")
        scene.file(path).write_text("".join(lines), encoding="utf-8")

    return act


SELECTION = "clipsteer/steering/selection.py"
ORIGINAL = "threshold, best.counts)"
ANOTHER_WAY = "threshold * 1, best.counts)"
ANOTHER_NUMBER = "threshold * 2, best.counts)"


def selection(old: str, new: str) -> Edit:
    """A change in the code that selects features, and that counts for the table."""

    def act(scene: Scene) -> None:
        scene.replace(SELECTION, old, new)

    return act


def change_stealthily(scene: Scene) -> None:
    """One more decimal in the table; no byte more, the old time, and Python's own cache of the module."""
    path = "clipsteer/report/table.py"
    py_compile.compile(
        str(scene.file(path)), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP
    )
    before = scene.file(path).stat()
    scene.replace(path, 'return ".2f"', 'return ".3f"')
    os.utime(scene.file(path), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert scene.file(path).stat().st_size == before.st_size


def raise_semantics(scene: Scene) -> None:
    path = scene.file("clipsteer/store/actions.py")
    text = path.read_text(encoding="utf-8")
    changed = re.sub(r"^STORE_SEMANTICS = \d+$", "STORE_SEMANTICS = 1000", text, flags=re.M)
    assert changed != text
    path.write_text(changed, encoding="utf-8")


def new_matplotlib(scene: Scene) -> None:
    """Another release of a package stands first on the path of every process of the run."""
    folder = scene.clone / "matplotlib-999.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: matplotlib\nVersion: 999.0\n")


# ------------------------------------------------------------------------------------ config


def reorder_config(scene: Scene) -> None:
    """config.yaml without its comments, every mapping in reverse order."""

    def turned(value: object) -> object:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return value

    path = scene.file("config.yaml")
    values = turned(yaml.safe_load(path.read_text()))
    path.write_text("# no comments\n" + yaml.safe_dump(values, sort_keys=False))


# ---------------------------------------------------------------------------- the user's files

PARTITION = "celeba/list_eval_partition.txt"
ATTRIBUTES = "celeba/list_attr_celeba.txt"


def append_training_image(scene: Scene) -> None:
    """One more face, the last of all, in the training split."""
    attributes, partition = celeba_text([*FACES, (0, 1, 1)])
    (scene.data / ATTRIBUTES).write_bytes(attributes.encode())
    (scene.data / PARTITION).write_bytes(partition.encode())
    _image(scene, len(FACES)).write_bytes(photo("plain", 1000))


def repaint_test_image(scene: Scene) -> None:
    """Other pixels in the last test image, under its old time."""
    last = max(i for i, (split, _, _) in enumerate(FACES) if split == 2)
    path = _image(scene, last)
    before = path.stat()
    path.write_bytes(photo("plain", 1001))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _image(scene: Scene, number: int) -> Path:
    return scene.data / "celeba/img_align_celeba" / face_name(number)


def other_line_ends(scene: Scene) -> None:
    """The same labels in a file with Windows line ends."""
    path = scene.data / PARTITION
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


# ---------------------------------------------------------------------- losses and accidents


def delete(*names: str) -> Edit:
    """Delete files or folders of the clone."""

    def act(scene: Scene) -> None:
        for name in names:
            path = scene.file(name)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    return act


def edit_results(scene: Scene) -> None:
    """A row more in the table, and a figure that something else has written over."""
    with scene.file("results/celeba_table.csv").open("a") as table:
        table.write("my,own,row\n")
    scene.file("results/celeba_layers.png").write_bytes(b"not a figure")


def fresh_clone(scene: Scene) -> None:
    """Another clone in another place; the store stays where it is."""
    scene.clone = scene.home / "another/clone"
    check_out(scene.clone)


def damage_pointer(name: str, *, kept: bool) -> Edit:
    """The first half of a pointer only. `kept`: the store has its copy of it under roots/."""

    def act(scene: Scene) -> None:
        path = scene.file(f"{REFS}/{name}")
        if not kept:
            copy_of(scene.store, scene.clone, path).unlink()
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return act


def damage_record(name: str) -> Edit:
    """The first half of an action's record only."""

    def act(scene: Scene) -> None:
        key, _ = scene.record(name)
        _rewrite(Path(ActionStore(scene.store).file(key)), lambda data: data[: len(data) // 2])

    return act


def flip_bit(name: str, output: str) -> Edit:
    """One bit of an object that an action made."""

    def act(scene: Scene) -> None:
        _, record = scene.record(name)
        place = parse_digest(record["outputs"][output]["digest"])[1]
        path = scene.store / "objects" / place[:2] / place[2:]
        _rewrite(path, lambda data: data[:-9] + bytes([data[-9] ^ 4]) + data[-8:])

    return act


def delete_objects(scene: Scene) -> None:
    """Every object of the store; the records stay."""
    for path in (scene.store / "objects").glob("*/*"):
        path.unlink()


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Other bytes under the same name and times; files that share the old ones by link keep them."""
    data, before = path.read_bytes(), path.stat()
    path.unlink()
    path.write_bytes(change(data))
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
