"""Many ranges of one array, flattened, so that blocks of histories need no loop."""

from __future__ import annotations

import numpy as np


def flat_ranges(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every position of every range, and the range that it belongs to.

    Args:
        start: [r] int64.
        stop: [r] int64, not below `start`; the range ends before it.

    Returns:
        [p] int64 numbers of ranges and [p] int64 positions, range after range.

    >>> row, position = flat_ranges(np.array([3, 8]), np.array([5, 11]))
    >>> row.tolist(), position.tolist()
    ([0, 0, 1, 1, 1], [3, 4, 8, 9, 10])
    """
    length = stop - start
    row = np.repeat(np.arange(len(start)), length)
    before = np.cumsum(length) - length
    return row, np.arange(len(row)) + (start - before)[row]
