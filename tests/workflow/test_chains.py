"""What a configuration expects of pointers, and which of them are not up to date, on rules made by hand."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.store.actions import ActionStore, action_key
from clipsteer.store.digest import digest_bytes
from clipsteer.store.layout import open_root
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Member, Output, Pointer, pointer_bytes, write_pointer
from clipsteer.store.roots import keep_pointer
from clipsteer.workflow.chains import Chains

REFS = "artifacts/refs"
WORLD, MODEL = f"{REFS}/celeba/world.json", f"{REFS}/model/model.json"
LEFT, RIGHT = f"{REFS}/left/half.json", f"{REFS}/right/half.json"
TABLE, CSV, FIGURE = f"{REFS}/table.json", "results/table.csv", "results/figure.png"


class Pattern(str):
    """As Snakemake's files do it: matches paths, takes wildcards."""

    def match(self, path: str) -> re.Match[str] | None:
        return re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self), path)

    def apply_wildcards(self, wildcards: Any) -> str:
        return self.format(**dict(wildcards.items()))


class Items(list[Any]):
    """A named list, as Snakemake's."""

    def __init__(self, *items: Any, **named: Any) -> None:
        super().__init__([*items, *named.values()])
        self._items = [*((None, item) for item in items), *named.items()]

    def _allitems(self) -> Iterable[tuple[str | None, Any]]:
        return self._items


class Toy:
    """world -> left, right (with the model) -> table, in the current folder; `settings` are the recipes."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.settings = {"world": 1, "model": 1, "half": 1, "table": 1}
        self.interrupted: set[str] = set()
        self.marker = WORLD
        self.source: Callable[[Any], str | None] = lambda wildcards: "files"

    def chains(self) -> Chains:
        def rule(name: str, inputs: Items, output: Items, **params: Any) -> Any:
            recipe = f"{name} {self.settings[name]}"
            return SimpleNamespace(
                name=name,
                input=inputs,
                output=output,
                params=Items(recipe=lambda w: f"{recipe} {dict(w.items())}", **params),
            )

        rules = [
            rule("world", Items(), Items(Pattern(f"{REFS}/{{dataset}}/world.json"))),
            rule("model", Items(), Items(Pattern(MODEL)), source=lambda w: self.source(w)),
            rule(
                "half",
                Items(lambda wildcards: [WORLD], model=Pattern(MODEL)),
                Items(Pattern(f"{REFS}/{{side}}/half.json")),
            ),
            rule(
                "table",
                Items(
                    halves=lambda wildcards: [LEFT, RIGHT], dropped=lambda wildcards: self.marker
                ),
                Items(csv=Pattern(CSV), figure=Pattern(FIGURE), pointer=Pattern(TABLE)),
            ),
            SimpleNamespace(name="all", input=Items(Pattern(CSV)), output=Items(), params=Items()),
        ]
        memory = SimpleNamespace(_filter_incomplete_keys=self.interrupted.intersection)
        return Chains(SimpleNamespace(rules=rules, persistence=memory), self.store)

    def run(self, *, kept: bool = True) -> None:
        """Write all pointers and results of the settings, as jobs do."""
        chains, objects, actions = self.chains(), ObjectStore(self.store), ActionStore(self.store)
        for path in (WORLD, MODEL, LEFT, RIGHT, TABLE):
            names = ("csv", "figure") if path == TABLE else ("out",)
            data = {name: f"{name} of {path} {self.settings}".encode() for name in names}
            outputs = {n: Output(digest_bytes(d), len(d)) for n, d in data.items()}
            pointer = Pointer("step", {"all": Member(outputs)}, chains.key(path) or "")
            if kept:
                self._record(objects, actions, path, data)
                keep_pointer(self.store, Path.cwd(), Path(path), pointer_bytes(pointer))
            write_pointer(path, pointer)
            for file, name in ((CSV, "csv"), (FIGURE, "figure")):
                if path == TABLE:
                    Path(file).parent.mkdir(exist_ok=True)
                    Path(file).write_bytes(data[name])

    def _record(
        self, objects: ObjectStore, actions: ActionStore, path: str, data: Mapping[str, bytes]
    ) -> None:
        outputs = {
            name: {"digest": objects.put_bytes(d), "size": len(d), "kind": "blob"}
            for name, d in data.items()
        }
        recipe = {"path": path, **self.settings}
        key = action_key("step", recipe, "code", {})
        made = {"step": "step", "recipe": recipe, "code": "code", "inputs": {}, "facts": {}}
        actions.publish(key, {**made, "outputs": outputs, "run": {}})


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    return Toy(open_root(tmp_path / "store"))


# ---- keys


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("world", {WORLD, LEFT, RIGHT, TABLE}),
        ("model", {MODEL, LEFT, RIGHT, TABLE}),
        ("half", {LEFT, RIGHT, TABLE}),
        ("table", {TABLE}),
    ],
)
def test_a_setting_changes_the_keys_of_all_that_follows(
    toy: Toy, setting: str, changed: set[str]
) -> None:
    before = {path: toy.chains().key(path) for path in (WORLD, MODEL, LEFT, RIGHT, TABLE)}
    assert len(set(before.values())) == 5
    assert None not in before.values()
    toy.settings[setting] = 2
    after = toy.chains()
    assert {path for path, key in before.items() if after.key(path) != key} == changed


def test_what_only_comes_first_is_in_no_key(toy: Toy) -> None:
    """The table waits for the world (`dropped`) and has it among its sources only by its halves."""
    link = toy.chains().link(CSV)
    assert link is not None
    assert link.inputs == [LEFT, RIGHT]
    assert link.before == [LEFT, RIGHT, WORLD]


def test_other_files_of_the_user_give_other_keys(toy: Toy) -> None:
    before = {path: toy.chains().key(path) for path in (MODEL, TABLE, WORLD)}
    toy.source = lambda wildcards: "other files"
    after = toy.chains()
    assert [path for path, key in before.items() if after.key(path) != key] == [MODEL, TABLE]


def test_what_is_not_known_yet_leaves_all_that_follows_unknown(toy: Toy) -> None:
    """A model on the hub, before it was imported."""
    toy.source = lambda wildcards: None
    chains = toy.chains()
    keys = {path: chains.key(path) for path in (WORLD, MODEL, LEFT, TABLE)}
    assert [path for path, key in keys.items() if key is None] == [MODEL, LEFT, TABLE]
    with pytest.raises(ClipsteerError, match="no rule makes this pointer"):
        chains.key(f"{REFS}/nothing.json")


# ---- what is up to date


def test_nothing_is_stale_after_a_run_nor_before_the_first(toy: Toy) -> None:
    assert toy.chains().stale([CSV]) == {}
    toy.run()
    assert toy.chains().stale([CSV]) == {}
    assert toy.chains().stale([f"./{CSV}", "no/such/file", TABLE]) == {}
    assert all(map(toy.chains().current, (WORLD, MODEL, LEFT, TABLE)))


def test_a_setting_makes_stale_what_is_asked_for_and_no_more(toy: Toy) -> None:
    toy.run()
    toy.settings["half"] = 2
    assert set(toy.chains().stale([CSV])) == {LEFT, RIGHT, TABLE}
    assert set(toy.chains().stale([LEFT])) == {LEFT}
    assert not toy.chains().current(LEFT)
    Path(LEFT).unlink()  # as a job that failed leaves it: Snakemake would miss nothing
    assert set(toy.chains().stale([CSV])) == {RIGHT, TABLE}
    assert not toy.chains().current(LEFT)


def test_pointers_that_say_nothing_are_stale(toy: Toy) -> None:
    toy.run()
    for text in ("", "{}", Path(LEFT).read_text().replace('"chain"', '"chains"')):
        Path(LEFT).write_text(text)
        assert toy.chains().stale([CSV]) == {LEFT: "it does not say what it was made from"}


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda: Path(FIGURE).unlink(), f"{FIGURE} is missing"),
        (lambda: Path(CSV).write_text(""), f"{CSV} was edited"),
        (lambda: Path(CSV).write_text("mine"), f"{CSV} was edited"),
        (lambda: Path(TABLE).unlink(), f"{CSV} is there without its pointer"),
        (lambda: Path(TABLE).write_bytes(Path(TABLE).read_bytes()[:150]), "it is damaged"),
    ],
)
def test_results_are_vouched_for_by_their_pointer(
    toy: Toy, act: Callable[[], object], why: str
) -> None:
    toy.run()
    act()
    assert toy.chains().stale([CSV]) == {TABLE: why}
    assert toy.chains().stale([LEFT]) == {}


def test_a_pointer_that_leads_nowhere_is_named(toy: Toy) -> None:
    """Pointers of another clone that were linked to, and have gone since."""
    toy.run()
    Path(LEFT).rename("other.json")
    Path(LEFT).symlink_to(Path("other.json").resolve())
    assert toy.chains().stale([CSV]) == {}
    Path("other.json").unlink()
    with pytest.raises(
        ClipsteerError, match=f"^{LEFT}: found a link to .*other.json, where nothing"
    ):
        toy.chains().stale([CSV])
    assert toy.chains().stale([RIGHT]) == {}
    Path(CSV).unlink()
    Path(CSV).symlink_to("nowhere")  # a result is simply made again
    Path(LEFT).unlink()
    assert toy.chains().stale([CSV]) == {TABLE: f"{CSV} is missing"}


def test_results_without_a_pointer_of_another_configuration(toy: Toy) -> None:
    toy.run()
    Path(TABLE).unlink()
    Path(CSV).unlink()
    assert toy.chains().stale([CSV]) == {TABLE: f"{FIGURE} is there without its pointer"}
    Path(FIGURE).unlink()
    assert toy.chains().stale([CSV]) == {}  # simply missing


def test_all_folders_that_cannot_be_read_are_said_at_once(toy: Toy) -> None:
    def refuse(wildcards: Any) -> str:
        raise ClipsteerError("model.source: found nothing")

    toy.source = refuse
    with pytest.raises(ClipsteerError, match=r"model\.source: found nothing"):
        toy.chains().stale([CSV])
    assert toy.chains().stale([WORLD]) == {}  # it is not asked for


def test_a_folder_in_a_results_place(toy: Toy) -> None:
    for place in (CSV, FIGURE):
        Path(place).mkdir(parents=True)
    with pytest.raises(
        ClipsteerError, match=f"{CSV}: found a folder, .*\n{FIGURE}: found a folder"
    ):
        toy.chains().stale([CSV])
    assert toy.chains().stale([LEFT]) == {}  # it is not asked for


def test_a_marker_that_comes_first_is_missed(toy: Toy) -> None:
    """Nothing of it is in the chain, and Snakemake does not miss what stands between files that are there."""
    toy.marker = "marker.json"
    Path(toy.marker).touch()
    toy.run()
    assert toy.chains().stale([CSV]) == {}
    Path(toy.marker).unlink()
    assert toy.chains().stale([CSV]) == {TABLE: "marker.json is missing"}


# ---- from another clone


def test_foreign_pointers_are_as_good_as_any_while_nothing_runs(toy: Toy) -> None:
    toy.run(kept=False)
    assert toy.chains().stale([CSV]) == {}


def test_what_a_job_reads_must_be_known_to_the_store(toy: Toy) -> None:
    """Down to the first whose action this store can restore."""
    toy.run(kept=False)
    Path(CSV).unlink()
    why = "the store does not know the actions that made it"
    assert toy.chains().stale([CSV]) == {
        TABLE: f"{CSV} is missing",
        **dict.fromkeys([WORLD, MODEL, LEFT, RIGHT], why),
    }
    Path(TABLE).unlink()
    Path(FIGURE).unlink()
    assert set(toy.chains().stale([CSV])) == {WORLD, MODEL, LEFT, RIGHT}


def test_a_newer_input_does_not_promise_that_a_job_runs(toy: Toy) -> None:
    """Snakemake leaves it be where the input has the bytes that it remembers: nobody would mend LEFT."""
    toy.run(kept=False)
    Path(CSV).unlink()
    os.utime(WORLD, times=(2**32, 2**32))
    assert set(toy.chains().stale([CSV])) == {WORLD, MODEL, LEFT, RIGHT, TABLE}


def test_what_an_interrupted_job_reads_must_be_known_too(toy: Toy) -> None:
    """Snakemake runs it again, though its pointer is up to date."""
    toy.run(kept=False)
    toy.interrupted = {LEFT}
    assert set(toy.chains().stale([CSV])) == {WORLD, MODEL, LEFT, RIGHT}


def test_a_copy_of_the_whole_clone_is_known_by_its_records(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.run()
    (tmp_path / "copy").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    Path(CSV).unlink()
    assert set(toy.chains().stale([CSV])) == {TABLE}


def test_edited_results_are_put_aside(toy: Toy) -> None:
    toy.run()
    Path(CSV).write_text("mine")
    Path(FIGURE).write_bytes(b"")  # nobody's
    moved = list(toy.chains().put_edited_aside({CSV, FIGURE, TABLE}))
    assert moved == [(Path(CSV), Path(f"{CSV}.edited"))]
    assert Path(f"{CSV}.edited").read_text() == "mine"
    ObjectStore(toy.store).put_bytes(b"of an older configuration")
    Path(CSV).write_bytes(b"of an older configuration")
    assert list(toy.chains().put_edited_aside({CSV, TABLE})) == []
    assert list(toy.chains().put_edited_aside({LEFT})) == []


def test_results_of_a_run_with_another_store_are_nobodys(toy: Toy, tmp_path: Path) -> None:
    """store.root was changed, or artifacts/refs and results/ were brought here without their store."""
    toy.run()
    Path(FIGURE).write_bytes(b"mine")
    toy.store = open_root(tmp_path / "another")
    toy.settings["table"] = 2
    assert list(toy.chains().put_edited_aside({CSV, FIGURE, TABLE})) == [
        (Path(FIGURE), Path(f"{FIGURE}.edited"))
    ]
    Path(TABLE).write_text("{}")  # vouches for nothing
    assert len(list(toy.chains().put_edited_aside({CSV, FIGURE, TABLE}))) == 1
