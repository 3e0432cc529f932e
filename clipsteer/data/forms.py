"""What the configuration may say of each layout, and what is known of its folder before it is read.

Light: this is imported whenever Snakemake parses. The readers are in `clipsteer.data.layouts`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsteer.errors import close_match
from clipsteer.store.clutter import is_clutter

ATTACKED = "_attacked"
"""Behind a split's name: the same images, each with a word printed on it."""
CAPTIONS = "captions.csv"
NAME_FILES = ("Labels.json", "LOC_synset_mapping.txt")
VAL_FILES = (
    *("LOC_val_solution.csv", "val_labels.csv", "val_labels.txt", "val_annotations.txt"),
    "imagenet_2012_validation_synset_labels.txt",
)
CURATED_WORDS = Path(__file__).parent / "imagenet_words.csv"
"""wnid,name: what open_clip calls ImageNet-1k's classes (`IMAGENET_CLASSNAMES` of 3.3.0, MIT licence, after Radford et
al. 2021), in the order of the wnids."""
MISSING_IMAGES = ("error", "drop")
DELIMITERS = ",;\t|"
TABLE_FIELDS = "Fields are separated by a comma, a semicolon, a tab or |"

# Kinds of options.
_ATTRIBUTE, _MISSING = "an attribute's name", "error or drop"
_FILE = "a file's path below the root, such as lists/mine.csv"
_COMPATIBLE = "published"
_ATTACK = "real or synthetic"
_HELD_OUT = "a whole number from 2"


@dataclass(frozen=True)
class Form:
    """One layout."""

    expected: str
    """What its folder holds, in a line."""
    label_patterns: tuple[str, ...]
    """Globs, relative to the root, of the files whose content is labels."""
    options: Mapping[str, str]
    """Option -> its kind."""


FORMS: Mapping[str, Form] = {
    "celeba": Form(
        "list_attr_celeba.txt, list_eval_partition.txt and img_align_celeba/000001.jpg ...",
        ("**/list_attr_celeba.*", "**/list_eval_partition.*", f"**/{CAPTIONS}"),
        {"target": _ATTRIBUTE, "spurious": _ATTRIBUTE, "missing_images": _MISSING},
    ),
    "waterbirds": Form(
        "metadata.csv and the folders of images that it names",
        ("**/metadata.csv", f"**/{CAPTIONS}"),
        {"missing_images": _MISSING},
    ),
    "imagenet": Form(
        "train/<class>/*.JPEG",
        tuple(f"**/{name}" for name in (*NAME_FILES, *VAL_FILES, CAPTIONS)),
        {"val_labels": _FILE, "held_out": _HELD_OUT},
    ),
    "folder": Form(
        "manifest.csv (path,split,target,spurious) and the images that it names",
        ("**/*.csv", "**/*.tsv", "**/*.parquet"),
        {"manifest": _FILE, "missing_images": _MISSING},
    ),
    "rta100": Form(
        "label=<object>_text=<word>.jpg ... in one folder", (), {"compatibility": _COMPATIBLE}
    ),
    "materzynska": Form(
        "annotations.json and the images that it names",
        ("**/annotations.json", "**/classes.json"),
        {},
    ),
    "scam": Form(
        "metadata.jsonl and the images that it names", ("**/metadata.jsonl",), {"attack": _ATTACK}
    ),
}
PRINTED = ("rta100", "materzynska", "scam")
"""Layouts of photographs with a word in them, which `text` names; "" where there is none."""

# CelebA's attributes as the paper has them.
TARGET, SPURIOUS = "Male", "Blond_Hair"
# Attributes that the painted table is known to have without a look at the painter.
_PAINTED = {TARGET, SPURIOUS, "Eyeglasses", "Smiling", "Wearing_Hat"}
# The names that belong to a layout (CelebA's: to these attributes), and to nothing else.
NAMES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "celeba": {
        "class_names": ("woman", "man"),
        "group_names": ("not blond woman", "blond woman", "not blond man", "blond man"),
    },
    "waterbirds": {
        "class_names": ("landbird", "waterbird"),
        "group_names": (
            *("landbird on land", "landbird on water"),
            *("waterbird on land", "waterbird on water"),
        ),
    },
}


def option_faults(key: str, dataset: Mapping[str, Any], root: Path | None) -> Iterator[str]:
    """What is wrong with the options of the data set at the dotted `key`.

    `root`: its folder, None for a painted one. Of CelebA's attributes the header of the table there is
    read; of files that options name it is seen whether they are there.
    """
    form, options = FORMS[dataset["layout"]], dataset.get("options", {})
    for option, value in options.items():
        where = f"{key}.options.{option}"
        if option not in form.options:
            yield f"{where}: {_unknown(option, dataset['layout'])}"
        elif not _fits(form.options[option], value):
            yield f"{where}: found {value!r}, expected {form.options[option]}." + (
                close_match(str(value), MISSING_IMAGES) if option == "missing_images" else ""
            )
        elif (
            form.options[option] == _FILE
            and root
            and root.is_dir()
            and not (root / value).is_file()
        ):
            yield f"{where}: found no file {value!r} in {root}, expected a label file there." + (
                close_match(value, _beside(root, value))
            )
    if dataset["layout"] == "celeba":
        pair = _pair(dataset)
        if pair["target"] == pair["spurious"]:
            yield f"{key}.options: found {pair['target']} as target and as spurious; expected two attributes."
        yield from _attribute_faults(pair, root)
    yield from _unconcerned_faults(key, dataset, root)


# Layouts whose tables have attributes beside target and spurious one.
_WITH_OTHERS = ("celeba", "folder")
_MOST_OTHERS = 20  # a class and the answers for all of them are one number


def may_pair(dataset: Mapping[str, Any]) -> bool:
    """Whether a data set's test images can have pairs: the layout `folder` may name them.

    Of a painted world they are painted, where the spurious attribute is the one that its painter changes.
    """
    if dataset["root"] != "painted":
        return bool(dataset["layout"] == "folder")
    return bool(dataset["layout"] == "waterbirds") or papers_attributes(dataset)


def unconcerned(dataset: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """The attributes that edits are not meant to concern, with their two prompts.

    Those that are null are switched off, and target and spurious attribute are no others.
    """
    own = _pair(dataset).values() if dataset["layout"] == "celeba" else ("target", "spurious")
    named = dataset.get("unconcerned", {}).items()
    return {name: prompts for name, prompts in named if prompts and name not in own}


def _unconcerned_faults(key: str, dataset: Mapping[str, Any], root: Path | None) -> Iterator[str]:
    names, where = unconcerned(dataset), f"{key}.unconcerned"
    if names and dataset["layout"] not in _WITH_OTHERS:
        yield (
            f"{where}: found {', '.join(names)}, but the layout {dataset['layout']} has no other attributes; "
            "expected none. Set each to null."
        )
        return
    if len(names) > _MOST_OTHERS:
        yield f"{where}: found {len(names)} attributes, expected at most {_MOST_OTHERS}."
    if dataset["layout"] == "celeba":
        # Those of config.yaml are no fault of a table without them: only the step that asks for them says so.
        asked = {name: name for name in names if name not in _PAINTED}
        yield from _attribute_faults(asked, root, "unconcerned")


def _beside(root: Path, file: str) -> list[str]:
    """The files in the folder where `file` is looked for, as paths below the root."""
    folder = Path(file).parent
    with suppress(OSError), os.scandir(root / folder) as entries:
        return [str(folder / entry.name) for entry in entries if not is_clutter(entry.name)]
    return []


def label_files(dataset: Mapping[str, Any]) -> list[str]:
    """The label files that the options of a data set name."""
    kinds, options = FORMS[dataset["layout"]].options, dataset.get("options", {})
    return [options[name] for name in kinds if kinds[name] == _FILE and name in options]


def _unknown(option: str, layout: str) -> str:
    allowed = list(FORMS[layout].options)
    others = [name for name, form in FORMS.items() if option in form.options]
    hint = close_match(option, allowed)
    if others and not hint:
        hint = (
            f" It belongs to layout {' and '.join(others)}: options of config.yaml stay under an overlay, so "
            "give a data set of another layout a name of its own."
        )
    return f"unknown to layout {layout}; allowed: {', '.join(allowed)}.{hint}"


def _fits(kind: str, value: object) -> bool:
    if kind == _HELD_OUT:
        return type(value) is int and value >= 2
    if not isinstance(value, str) or not value:
        return False
    if kind == _COMPATIBLE:
        return value == _COMPATIBLE
    if kind == _ATTACK:
        return value in _ATTACK.split(" or ")
    if kind == _FILE:
        return (
            not value.startswith("~")
            and "\\" not in value
            and not {"", ".", ".."} & {*value.split("/")}
        )
    return kind != _MISSING or value in MISSING_IMAGES


def papers_attributes(dataset: Mapping[str, Any]) -> bool:
    """Whether target and spurious attribute are the paper's."""
    if dataset["layout"] == "celeba":
        return _pair(dataset) == {"target": TARGET, "spurious": SPURIOUS}
    return bool(dataset["layout"] == "waterbirds")


def _pair(dataset: Mapping[str, Any]) -> dict[str, Any]:
    options = dataset.get("options", {})
    return {key: options.get(key, own) for key, own in (("target", TARGET), ("spurious", SPURIOUS))}


def with_spurious(dataset: Mapping[str, Any]) -> bool:
    """Whether images of the data set's layout can have a spurious attribute."""
    return dataset["layout"] in (*NAMES, "folder")


def spurious_values(dataset: Mapping[str, Any]) -> int | None:
    """How many values the spurious attribute has: two, or as the names say; None where these do not fit."""
    if dataset["layout"] in NAMES:
        return 2
    classes, groups = (len(dataset.get(part, ())) for part in ("class_names", "group_names"))
    return groups // classes if classes and groups >= 2 * classes and not groups % classes else None


def name_faults(key: str, dataset: Mapping[str, Any]) -> Iterator[str]:
    """Class and group names that belong to other attributes or another layout, or are in another order.

    An overlay that changes these alone inherits the names of config.yaml. Of people's own data
    (layout folder) nobody knows what their names are.
    """
    layout, pair = dataset["layout"], _pair(dataset)
    classes, groups = (len(dataset.get(part, ())) for part in ("class_names", "group_names"))
    binary = layout in NAMES
    if classes and groups and (groups % classes or groups // classes < 2 or binary):
        values = 2 if binary else max(2, groups // classes)
        if binary and classes != 2:
            yield f"{key}.class_names: found {classes} names, expected two: the layout {layout} has two classes."
        elif groups != values * classes:
            yield (
                f"{key}.group_names: found {groups} names, expected a name for each of {classes} classes with each "
                f"spurious value: {values * classes} where it has {values}."
            )
    if not binary:
        return
    for other, names in NAMES.items():
        for part, those in names.items():
            found = tuple(str(name).casefold() for name in dataset.get(part, ()))
            order = "target 0, target 1" if part == "class_names" else "2 * target + spurious"
            own = other == layout and (
                papers_attributes(dataset) or (part == "class_names" and pair["target"] == TARGET)
            )
            if own and found != those and sorted(found) == sorted(those):
                yield (
                    f"{key}.{part}: found {', '.join(dataset[part])}, expected {', '.join(those)}: the order "
                    f"is {order}."
                )
            elif not own and found in (those, those[::-1]):
                of = f"target {pair['target']} and spurious {pair['spurious']}"
                yield (
                    f"{key}.{part}: found {', '.join(dataset[part])}, the names for "
                    + (f"target {TARGET} and spurious {SPURIOUS}" if other == "celeba" else other)
                    + f", but the data set is {of if layout == 'celeba' else layout}. Give names that "
                    f"fit, in the order {order}, and templates that fit them."
                )


# ------------------------------------------------------------------------ the header of CelebA's table


def attribute_names(text: str, *, blanks: bool) -> list[str]:
    """The attributes that a table of CelebA names: in its text form (split on `blanks`) or as CSV."""
    lines = [line for line in text.removeprefix("\ufeff").splitlines() if line.strip()]
    if blanks and lines and lines[0].strip().isdigit():
        del lines[0]  # the count
    if not lines:
        return []
    if blanks:
        names = lines[0].split()
        return names[1:] if names[0].lower() == "image_id" else names
    return [name.strip().strip('"') for name in re.split(f"[{DELIMITERS}]", lines[0])[1:]]


def attribute_fault(file: str, option: str, name: str, known: Sequence[str]) -> str:
    """What is wrong with an attribute that a table does not have, or has twice; else nothing."""
    times = known.count(name)
    if times > 1:
        return (
            f"{file}: found {times} columns {name!r} (option {option!r}); expected each attribute once. "
            "Rename or remove one."
        )
    if times == 1:
        return ""
    fields = ""
    if len(known) < 2:
        fields = " Blanks separate the fields." if file.endswith(".txt") else f" {TABLE_FIELDS}."
    return (
        f"{file}: found no attribute {name!r} (option {option!r}) among its {len(known)} "
        f"attributes.{fields}{close_match(name, known)}"
    )


def _attribute_faults(
    wanted: Mapping[str, Any], root: Path | None, said: str = ""
) -> Iterator[str]:
    """Of the attributes that options want, those that CelebA's table does not have; `said`: of what option."""
    if root:
        path = _attribute_table(root)
        if path is None:
            return  # said later, by the reader
        file = str(path)
        try:
            with path.open(encoding="utf-8") as table:
                known = attribute_names(
                    table.readline() + table.readline(), blanks=path.suffix == ".txt"
                )
        except (OSError, ValueError):
            return
    elif not {*wanted.values()} <= _PAINTED:
        from clipsteer.data.painters.faces import ATTRIBUTES  # heavy, and seldom needed

        file, known = "the painted list_attr_celeba.txt", ATTRIBUTES
    else:
        return
    for option, name in wanted.items():
        if not known or not isinstance(name, str):
            continue
        if fault := attribute_fault(file, said or option, name, known):
            yield fault


def _attribute_table(root: Path) -> Path | None:
    """CelebA's table in a folder, or in one directly below it."""
    try:
        with os.scandir(root) as entries:
            below = sorted(e.path for e in entries if not is_clutter(e.name) and e.is_dir())
    except OSError:
        return None
    for folder in (os.fspath(root), *below):
        for ending in ("txt", "csv"):
            file = Path(folder, f"list_attr_celeba.{ending}")
            if file.is_file():
                return file
    return None
