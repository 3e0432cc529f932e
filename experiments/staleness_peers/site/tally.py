"""Notes which steps really ran, in a file that no tool watches."""

import os


def ran(step: str) -> None:
    """One line for one execution of a step."""
    with open(os.environ["TALLY"], "a", encoding="utf-8") as file:
        file.write(step + "\n")
