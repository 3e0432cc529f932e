"""From a place in an action's recipe to the key of the config that says it, as the step's script declares it."""

from __future__ import annotations

from clipsteer.config.used import FIRST
from clipsteer.runner.declared import ALL, SCRIPTS, Declaration, declared

# Steps whose recipe has what they show of each dictionary.
_LISTING = ("make_table", "dictionary_table")
# What actions see besides the settings of their step: their layer, and what a scan found in the user's folder.
# Empty where no single key of the config says it.
_OF_ACTIONS = {"layer": "activations.layers"}
_OF_FOLDERS = {
    "build_manifest": {"token": "datasets.{name}.root", "token.watch": "raw.watch"},
    "import_clip": {"token": "model.source", "token.watch": ""},
    "import_dictionary": {
        "token": "dictionaries.{name}.source",
        "release.model": "model.source",
        "release.width": "model.source",
    },
}


def config_key(step: str, name: str, path: str) -> str:
    """The config's dotted key for a dotted `path` in a recipe; empty where there is no single one.

    `name` is the data set or dictionary that the action is about (`run.name` in its record), empty where it is
    about all of them.
    """
    script = SCRIPTS / f"{step}.py"
    if not script.is_file():  # of another version of this checkout, or somebody's own
        return ""
    declaration = declared(script)
    if step in _LISTING and path.startswith("dictionaries."):
        return _table_dictionary(path)
    places = {use.name: _of(declaration, use.key) for use in declaration.uses if use.name != ALL}
    places |= _OF_ACTIONS | _OF_FOLDERS.get(step, {})
    parts = path.split(".")
    for end in range(len(parts), 0, -1):  # the longest place that is known
        key = places.get(".".join(parts[:end]))
        if key is not None:
            return ".".join([_named(key, name), *parts[end:]]) if key else ""
    whole = [_of(declaration, use.key) for use in declaration.uses if use.name == ALL]
    return f"{_named(whole[0], name)}.{path}" if whole else ""


def _named(key: str, name: str) -> str:
    section, *below = key.split(".")
    if section == FIRST and name.startswith(f"{FIRST}-"):  # a job on one of several models
        return ".".join((f"models.{name.removeprefix(f'{FIRST}-')}", *below))
    return key.format(name=name) if name else key.replace(".{name}", "")


def _of(declaration: Declaration, key: str) -> str:
    """A declared key with a place for the name of the data set or dictionary that the job is about.

    A job on a dictionary bears its name: which data set it is about besides stands nowhere in a record.
    """
    section, _, below = key.partition(".")
    on_dictionary = any(use.key.startswith("dictionaries.") for use in declaration.uses)
    if section == "dictionaries" or (section in ("datasets", "tables") and not on_dictionary):
        return ".".join(filter(None, (section, "{name}", below)))
    return key.replace("datasets.", "datasets.<name>.", 1)


def _table_dictionary(path: str) -> str:
    """A table lists what it shows of its dictionaries by their names."""
    _, dictionary, key = path.split(".", 2)
    if key in ("name", "painted"):
        return ""
    below = "training." if key in ("expansion", "k") else ""
    return f"dictionaries.{dictionary}.{below}{key}"
