"""A third-party package."""


def rounded(value: float) -> float:
    """A value with few digits."""
    return round(value, 2)
