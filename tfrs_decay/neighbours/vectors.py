"""Items whose vectors point the same way: texts alike, whoever had them."""

from __future__ import annotations

import numpy as np

from tfrs_decay.neighbours.counts import check_options, even_blocks
from tfrs_decay.neighbours.record import Neighbours
from tfrs_decay.neighbours.strongest import Strongest


def fit_vectors(vectors: np.ndarray, *, m: int | None = 100) -> Neighbours:
    """Finds the items with the highest cosine, an exact search in blocks.

    weight(i, j) = max(0, cos(i, j)); 0 for i = j, and for a vector of zeros, which is
    an item of which nothing is known.

    Args:
        vectors: [n, dim] finite, such as the texts of a catalogue from `TextTower`.
        m: Neighbours an item that are kept, the strongest; None for all.

    Returns:
        A row for each item.

    Raises:
        ValueError: `vectors` are not [n, dim] of finite numbers, or `m` is not 1 or
            more.
    """
    check_options(m)
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or 0 in vectors.shape or vectors.dtype.kind not in "fiu":
        raise ValueError(
            f"vectors are {vectors.dtype} of the shape {vectors.shape}: give [n, dim] "
            "of numbers, a row for each item."
        )
    vectors = vectors.astype(np.float32)
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise ValueError(f"vectors[{row}] holds numbers that are not finite.")
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    n = len(unit)
    kept = Strongest(np.arange(n), m)
    for start, stop in even_blocks(n, n):
        cosine = np.maximum(unit[start:stop] @ unit.T, 0)
        cosine[np.arange(stop - start), np.arange(start, stop)] = 0
        kept.add_dense(start, cosine)
    return kept.table()
