from __future__ import annotations

from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.runner.declared import ALL, Declaration, Use, declared


def script(folder: Path, text: str) -> Path:
    """A script that cannot be imported: only what it says is read."""
    path = folder / "step.py"
    path.write_text(f'raise SystemExit("imported")\n\n{text}\n\n\ndef plan(job):\n    USES = ()\n')
    return path


@pytest.mark.parametrize(
    ("entry", "use"),
    [
        ("seed", Use("seed", "seed")),
        ("steering.balance", Use("balance", "steering.balance")),
        ("steering.thresholds.low", Use("low", "steering.thresholds.low")),
        ("model.dtype as model_dtype", Use("model_dtype", "model.dtype")),
        ("datasets.painted.*", Use(ALL, "datasets.painted")),
        ("copies(datasets.augment)", Use("augment", "datasets.augment", "copies")),
        ("hub_name(model) as hub", Use("hub", "model", "hub_name")),
        ("model_shape()", Use("model_shape", "", "model_shape")),
        ("images_from() as source", Use("source", "", "images_from")),
    ],
)
def test_forms_of_a_use(tmp_path: Path, entry: str, use: Use) -> None:
    found = declared(script(tmp_path, f'USES = ("{entry}",)'))
    assert found == Declaration((use,))


def test_all_that_a_script_declares(tmp_path: Path) -> None:
    text = """
USES = (
    "steering",
    "not steering.shuffles",  # the table has none
    "seed",
)
CUT = ("layers",)
IMPORTS = ("clipsteer.dictionaries.{architecture}",)
OTHER = [1]
"""
    assert declared(script(tmp_path, text)) == Declaration(
        (Use("steering", "steering"), Use("seed", "seed")),
        frozenset({"steering.shuffles"}),
        ("layers",),
        ("clipsteer.dictionaries.{architecture}",),
    )


def test_a_script_may_declare_nothing(tmp_path: Path) -> None:
    assert declared(script(tmp_path, "")) == Declaration()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('USES = ("steering balance",)', r"USES: found 'steering balance', expected a key"),
        ('USES = ("copies(datasets.augment",)', r"USES: found 'copies\(datasets\.augment'"),
        ('USES = ("model.dtype as",)', r"USES: found 'model\.dtype as'"),
        ('USES = ("seed")', r"USES: found 'seed', expected a tuple of texts"),
        ("USES = (1,)", r"USES: found \(1,\), expected a tuple of texts"),
        ("USES = tuple(KEYS)", r"USES: found tuple\(KEYS\), expected a tuple of texts"),
        ('CUT = [*"ab"]', r"CUT: found"),
        (
            'USES = ("model.dtype", "activations.dtype")',
            "two settings of USES and CUT are called dtype",
        ),
        ('USES = ("model.tiny.*", "datasets.painted.*")', r"are called \*, expected each"),
        ("def f(): ...\n\n\ndef g(): ...\nUSES = ()", "USES: found it below the first function"),
        ("CUT: tuple[str, ...] = ()", "CUT: found it below the first function or with a type"),
        ("USES = (", "line 3: not valid Python"),
        ('USES = ("activations.layers",)\nCUT = ("layers",)', "are called layers, expected each"),
    ],
)
def test_what_is_no_declaration_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ClipsteerError, match=rf"step\.py[:,] .*{said}"):
        declared(script(tmp_path, text))
