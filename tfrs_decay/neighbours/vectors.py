"""Items whose vectors go together: texts alike, or what two towers learned."""

from __future__ import annotations

from collections.abc import Iterator

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
    vectors = _checked(vectors, "vectors")
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    kept = Strongest(np.arange(len(unit)), m)
    for start, product in _products(unit, unit):
        cosine = np.maximum(product, 0)
        np.fill_diagonal(cosine[:, start:], 0)
        kept.add_dense(start, cosine)
    return kept.table()


def fit_products(
    queries: np.ndarray, vectors: np.ndarray, *, m: int | None = 100
) -> Neighbours:
    """Finds the items that a linear two-tower model scores highest after each item.

    Where a user's vector is the weighted sum of what each event's item adds to it, the
    score of an item is the weighted sum of products of the two, and so a reading of
    their table: weight(i, j) = queries[i] . vectors[j], i = j as well.

    Args:
        queries: [n, dim] finite, what an event of each item adds to its user's vector.
        vectors: [n, dim] finite, of each item when it is scored.
        m: Neighbours an item that are kept; None for all.

    Returns:
        A row for each item.

    Raises:
        ValueError: `queries` or `vectors` are not [n, dim] of finite numbers, they
            differ in shape, or `m` is not 1 or more.
    """
    check_options(m)
    queries, vectors = _checked(queries, "queries"), _checked(vectors, "vectors")
    if queries.shape != vectors.shape:
        raise ValueError(
            f"queries have the shape {queries.shape} and vectors {vectors.shape}: give "
            "both as [n, dim], a row for each of n items."
        )
    kept = Strongest(np.arange(len(vectors)), m)
    for start, product in _products(queries, vectors):
        kept.add_dense(start, product)
    return kept.table()


def _checked(vectors: np.ndarray, name: str) -> np.ndarray:
    """[n, dim] float32.

    Raises:
        ValueError: They are not [n, dim] of finite numbers.
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or 0 in vectors.shape or vectors.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} are {vectors.dtype} of the shape {vectors.shape}: give [n, dim] "
            "of numbers, a row for each item."
        )
    vectors = vectors.astype(np.float32)
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise ValueError(f"{name}[{row}] holds numbers that are not finite.")
    return vectors


def _products(
    rows: np.ndarray, columns: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Some rows of `rows @ columns.T` at a time, and the number of the first."""
    for start, stop in even_blocks(len(rows), len(columns)):
        yield start, rows[start:stop] @ columns.T
