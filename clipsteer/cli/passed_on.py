"""Options of snakemake that commands take and hand on to it."""

from __future__ import annotations

import argparse

# Those with several words and those with one.
_SEVERAL = {("--configfile", "--configfiles"): "F", ("--config", "-C"): "K=V"}
_ONE = (("--snakefile", "-s"), ("--workflow-profile",), ("--profile",))


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options."""
    for (option, *short), metavar in _SEVERAL.items():
        parser.add_argument(
            option, *short, nargs="+", default=[], metavar=metavar, help="as for snakemake"
        )
    for option, *short in _ONE:
        parser.add_argument(option, *short, metavar="F", help="as for snakemake")


def words_of(arguments: argparse.Namespace) -> list[str]:
    """The words that hand them on."""
    words = []
    for option, *_ in (*_SEVERAL, *_ONE):
        given = getattr(arguments, option.removeprefix("--").replace("-", "_"))
        if given:
            words += [option, *([given] if isinstance(given, str) else given)]
    return words
