"""How far apart two convex curves can be, between where they are known as well.

Every completely monotone weight is convex, and so is a sum of positive exponentials.
"""

from __future__ import annotations

import numpy as np


def greatest_difference(time: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """A bound on the difference of convex curves that are known at some times.

    Between two times a convex curve lies below its chord and above both neighbouring
    chords, prolonged. The bound exceeds the truth by what falls as the square of the
    gaps.

    Args:
        time: [n] rising, three or more.
        one: [n, curves] values of convex curves.
        other: [n, curves] those of others.

    Returns:
        The most that a curve and its other can differ from the first time to the last.

    >>> time = np.linspace(0.0, 1.0, 101)
    >>> square = time[:, None] ** 2
    >>> round(greatest_difference(time, square, 0 * square + 0.25), 3)
    0.75
    """
    return max(
        _most_above(time[:, None], one, other), _most_above(time[:, None], other, one)
    )


def _most_above(time: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> float:
    """How far the one can be above the other: a chord above what is below a curve.

    Both are lines between two times, so they are furthest apart at one of them.
    """
    gap = np.diff(time, axis=0)
    slope = np.diff(lower, axis=0) / gap
    here = upper - lower
    # [n - 2]: the chord before, prolonged to the end of intervals 1 ...; the chord
    # after, prolonged back to the start of intervals ... n - 3.
    end = upper[2:] - (lower[1:-1] + slope[:-1] * gap[1:])
    start = upper[:-2] - (lower[1:-1] - slope[1:] * gap[:-1])
    after = np.maximum(here[1:-1], end)
    before = np.maximum(start, here[1:-1])
    between = np.minimum(after[:-1], before[1:])
    ends = (before[0].max(), after[-1].max())
    return float(max(*ends, between.max(initial=-np.inf)))
