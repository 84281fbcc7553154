"""The three functions that are single instructions; the rest is written where it is needed.

Under CPython the result has the precision of a Python float; storing it rounds.
"""

import math


def sqrt(value: float) -> float:
    """Square root; NaN for a negative number."""
    return math.sqrt(value) if value >= 0 else math.nan


def floor(value: float) -> float:
    """Largest whole number not above `value`, as a float."""
    return math.copysign(math.floor(value), value) if math.isfinite(value) else value


def fabs(value: float) -> float:
    """Magnitude."""
    return math.fabs(value)
