"""Of each item the strongest neighbours: rows come in, dense or sparse, m are kept."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from tfrs_decay.neighbours.counts import width_of
from tfrs_decay.neighbours.record import NO_NEIGHBOUR, Cost, Neighbours

_LAST = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class Strongest:
    """Gathers the rows of a table of neighbours and keeps the m strongest of each.

    Weights are rounded to float32 first, so that the last digits of a sum, which change
    with the number of threads, seldom decide. Of equal weights the lower place is kept.

    Args:
        place: [n_items] int64, the numbers of the items that take part, or -1.
        m: Neighbours an item; None for all.
    """

    def __init__(self, place: np.ndarray, m: int | None) -> None:
        self._began = time.perf_counter()
        self._catalogue = np.flatnonzero(place >= 0)
        shape = (len(place), width_of(m, len(place)))
        self._item = np.full(shape, NO_NEIGHBOUR, np.int32)
        self._weight = np.zeros(shape, np.float32)
        self._total = 0.0

    def add_dense(self, first: int, rows: np.ndarray) -> None:
        """Takes whole rows.

        Args:
            first: The number of the first one's item.
            rows: [r, s], the weight for each of the s items that take part.
        """
        rows = np.asarray(rows, np.float32)
        self._total += float(np.abs(rows).sum(dtype=np.float64))
        s = rows.shape[1]
        width = min(self._item.shape[1], s)
        # Strength and place in one number, which no two share: floats of 0 or more are
        # in the order of their bits, and of equal ones the lower place is the higher.
        key = np.abs(rows).view(np.uint32).astype(np.uint64) << _HALF
        key |= _LAST - np.arange(s, dtype=np.uint64)
        if width < s:
            key = np.partition(key, s - width, axis=1)[:, s - width :]
        key = np.sort(key, axis=1)[:, ::-1]
        number = (_LAST - (key & _LAST)).astype(np.int64)
        weight = np.take_along_axis(rows, number, axis=1)
        at = self._catalogue[first : first + len(rows)]
        self._item[at, :width] = np.where(
            weight != 0, self._catalogue[number], NO_NEIGHBOUR
        )
        self._weight[at, :width] = weight

    def add_sparse(self, first: int, rows: Any) -> None:
        """Takes rows of a CSR matrix, [r, s]; as `add_dense` of the same numbers."""
        weight = rows.data.astype(np.float32)
        self._total += float(np.abs(weight).sum(dtype=np.float64))
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        order = np.lexsort([rows.indices, -np.abs(weight), row])
        rank = np.arange(len(row)) - rows.indptr[row]
        kept = rank < self._item.shape[1]
        order, rank, row = order[kept], rank[kept], row[kept]
        some = weight[order] != 0
        order, rank, row = order[some], rank[some], row[some]
        at = self._catalogue[first + row]
        self._item[at, rank] = self._catalogue[rows.indices[order]]
        self._weight[at, rank] = weight[order]

    def table(self, dense_bytes: int = 0) -> Neighbours:
        """The table of what was added.

        Args:
            dense_bytes: What the matrices of items x items took, for the cost.
        """
        kept = float(np.abs(self._weight).sum(dtype=np.float64))
        return Neighbours(
            self._item,
            self._weight,
            Cost(
                seconds=time.perf_counter() - self._began,
                kept_bytes=self._item.nbytes + self._weight.nbytes,
                dense_bytes=dense_bytes,
                fitted_items=len(self._catalogue),
                kept_share=kept / self._total if self._total else 1.0,
            ),
        )
