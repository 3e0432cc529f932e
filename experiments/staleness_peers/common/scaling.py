"""The helper that the steps transform and summary import."""


def scaled(value: float, offset: float, factor: float) -> float:
    """A value on another scale."""
    return offset + factor * value
