"""The classes of the configuration's sections, by themselves: no rule between two keys, no folder is looked at."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from clipsteer.dictionaries.settings import CALLER_KEYS, Settings
from clipsteer.sections import written
from clipsteer.sections.check import filled
from clipsteer.store.digest import canonical_json

BASE = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((BASE / "schemas/config.schema.yaml").read_text(encoding="utf-8"))
ORACLE = Draft202012Validator(SCHEMA)
CONFIG = yaml.safe_load((BASE / "config.yaml").read_text(encoding="utf-8"))
Path_ = tuple[str, ...]


def part_of(path: Path_) -> dict[str, Any]:
    """The schema of what stands at a path of the configuration, and in the object above it."""
    part = SCHEMA
    for step in path:
        part = resolved(part)
        part = part.get("properties", {}).get(step) or part["additionalProperties"]
    return part


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    return SCHEMA["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part


def paths(value: object, above: Path_ = ()) -> Iterator[Path_]:
    """The paths of all keys, but for those that the schema says nothing of: a layout's options."""
    if isinstance(value, dict) and above[-1:] != ("options",):
        for name, below in value.items():
            yield (*above, name)
            yield from paths(below, (*above, name))


def at(config: dict[str, Any], path: Path_) -> Any:
    for step in path:
        config = config[step]
    return config


KEYS = [p for p in paths(CONFIG) if "properties" in resolved(part_of(p[:-1]))]
LEAVES = [p for p in KEYS if not isinstance(at(CONFIG, p), dict)]


def changed(path: Path_, value: object) -> dict[str, Any]:
    config = json.loads(json.dumps(CONFIG))
    at(config, path[:-1])[path[-1]] = value
    return config


def allowed(part: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a part of the schema allows."""
    part = resolved(part)
    if "enum" in part or "const" in part:
        return st.sampled_from(part.get("enum") or [part["const"]])
    if options := part.get("anyOf", part.get("oneOf")):
        return st.one_of(*map(allowed, options))
    match part["type"]:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(part.get("minimum", -9), part.get("maximum", 10**6))
        case "number":
            return st.floats(
                part.get("minimum", part.get("exclusiveMinimum")),
                part.get("maximum", 1e9),
                exclude_min="exclusiveMinimum" in part,
            )
        case "array":
            items = allowed(part["items"])
            least, most = part.get("minItems", 0), part.get("maxItems", 6)
            unique = part.get("uniqueItems", False)
            return st.lists(items, min_size=least, max_size=most, unique=unique)
        case "string" if pattern := part.get("pattern"):
            return st.from_regex(pattern, fullmatch=pattern.startswith("^"))
        case "object":
            below = {name: allowed(value) for name, value in part["properties"].items()}
            given = {name: below.pop(name) for name in part["required"]}
            return st.fixed_dictionaries(given, optional=below)
        case _:
            return st.text("abc .1/", min_size=part.get("minLength", 0))


@st.composite
def valid(draw: st.DrawFn) -> dict[str, Any]:
    """config.yaml with other values in some places."""
    config = json.loads(json.dumps(CONFIG))
    for path in draw(st.lists(st.sampled_from(LEAVES), max_size=12)):
        at(config, path[:-1])[path[-1]] = draw(allowed(part_of(path)))
    return config


few = settings(max_examples=150)


@few
@given(valid())
def test_what_is_valid_validates_to_itself(config: dict[str, Any]) -> None:
    before = copy.deepcopy(config)
    found, faults = filled(config)
    assert faults == []
    assert config == before
    assert ORACLE.is_valid(found)
    assert canonical_json(filled(found)[0]) == canonical_json(found)
    for path in LEAVES:
        assert at(found, path) == at(config, path), path


@pytest.mark.parametrize("path", KEYS, ids=".".join)
def test_a_key_that_is_left_out_has_its_default_or_is_missed(path: Path_) -> None:
    config = json.loads(json.dumps(CONFIG))
    del at(config, path[:-1])[path[-1]]
    found, faults = filled(config)
    part, above = part_of(path), resolved(part_of(path[:-1]))
    if path[-1] in above.get("required", ()):
        start = f"{'.'.join(path)}: missing; add it"
        assert [fault.startswith(start) for fault in faults] == [True]
        return
    assert faults == []
    if "default" not in part:
        assert path[-1] not in at(found, path[:-1])
        return
    written = changed(path, part["default"])
    assert canonical_json(found) == canonical_json(filled(written)[0])


def test_what_may_be_left_out() -> None:
    """Of a new data set and a new dictionary, no more than what they are about."""
    config = changed(("datasets", "mine"), {"layout": "folder", "root": "pictures"})
    topk = {"architecture": "topk", "trained_on": "mine", "hook_point": "resid_post"}
    config["dictionaries"]["mine"] = {**topk, "training": {"expansion": 8, "k": 4}}
    found, faults = filled(config)
    assert faults == []
    # Section 10.1 of the paper
    training = found["dictionaries"]["mine"]["training"]
    assert training["batch_size"] == 4096
    assert training["warmup_steps"] == 200
    assert training["epochs"] == 1
    assert training["ghost_grads"] is True
    assert found["datasets"]["mine"]["augment"] == 0
    assert found["datasets"]["mine"]["evaluation"] == {"validation": None, "test": None}


@few
@given(st.sampled_from(KEYS), st.integers(0, 20), st.sampled_from("qxz_7"))
def test_a_key_that_is_misspelt_is_named(path: Path_, place: int, letter: str) -> None:
    name = path[-1][:place] + letter + path[-1][place:]
    config = json.loads(json.dumps(CONFIG))
    above = at(config, path[:-1])
    above[name] = above.pop(path[-1])
    dotted = ".".join((*path[:-1], name))
    named = [fault for fault in filled(config)[1] if fault.startswith(f"{dotted}: unknown key")]
    assert len(named) == 1
    if len(path[-1]) > 3:
        assert named[0].endswith(f"Did you mean {path[-1]}?")


@few
@given(allowed(SCHEMA["$defs"]["Training"]))
def test_the_job_takes_every_training_that_is_allowed(training: dict[str, Any]) -> None:
    """It has a class of its own, as a step may not hang on the whole configuration's."""
    taken = {k: v for k, v in training.items() if k != "buffer_mb"}
    found = Settings.parse(taken)
    for key in set(taken) - CALLER_KEYS:
        assert getattr(found, key) == taken[key]


OTHERS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 700)
    | st.sampled_from([-0.5, 0.25, 1e9, 1.5])
    # texts that spell no number and no null
    | st.sampled_from(["", "x", "all", "cls", "none", "mine", "a photo of {}", "a.b"]),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.sampled_from("ab"), below),
    max_leaves=5,
)


@settings(max_examples=600)
@given(st.sampled_from(KEYS), OTHERS)
def test_jsonschema_is_of_the_same_opinion(path: Path_, value: object) -> None:
    """Of the schema that is committed."""
    config = changed(path, value)
    faults = filled(config)[1]
    assert ORACLE.is_valid(config) == (faults == []), faults
    assert all(fault.startswith(".".join(path)) for fault in faults), faults


def fault(path: Path_, value: object) -> str:
    (found,) = filled(changed(path, value))[1]
    return found


def test_zero_is_not_off() -> None:
    assert fault(("raw", "watch"), 0) == "raw.watch: found 0, expected one of files, labels, off."


def test_text_that_utf8_does_not_have() -> None:
    assert fault(("model", "name"), "\ud800").endswith("expected text in Unicode.")


def test_the_page_has_the_default_of_a_key_that_config_yaml_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = (BASE / "docs/configuration.md").read_text(encoding="utf-8")
    (tmp_path / "docs/configuration.md").write_text(page, encoding="utf-8")
    config = json.loads(json.dumps(CONFIG))
    del config["runtime"]["terminal"], config["runtime"]["device"]
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    text = written.files(tmp_path)[tmp_path / "docs/configuration.md"]
    assert "\n| `runtime.terminal` | `brief`, `full` | `brief` |" in text
    assert "\n| `runtime.device` | `auto`, `cuda`, `cpu` | must be given |" in text
