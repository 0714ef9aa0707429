"""EASE: each item predicted from all others that a user had."""

from __future__ import annotations

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.split import events_until
from tfrs_decay.neighbours.counts import (
    binary_table,
    check_options,
    even_blocks,
    places_among,
)
from tfrs_decay.neighbours.dense import (
    add_product,
    bytes_of_dense,
    factorize,
    inverse,
    square,
)
from tfrs_decay.neighbours.record import Neighbours
from tfrs_decay.neighbours.strongest import Strongest


def fit_ease(
    events: Events,
    *,
    until: int,
    m: int | None = 100,
    l2: float = 200.0,
    at_least: int = 1,
    most_items: int | None = None,
    precision: str = "float64",
    most_gib: float = 4.0,
) -> Neighbours:
    """Fits EASE, a linear autoencoder of what each user had, and keeps the strongest.

    With X [users, items], 1 where a user has an event of an item up to `until`, the
    weights B minimize ||X - X B||^2 + l2 ||B||^2 with zeros on the diagonal: with
    P = (X'X + l2 I)^-1, B_ij = -P_ij / P_jj. No order and no times: it is for scoring
    a history as a set, `evaluation.ItemToItem(events, neighbours, binary=True)`, or one
    whose events have faded.

    It takes one dense matrix of the items that take part, squared: 3.0 GiB for 20,000,
    and a time that grows with their third power.

    Args:
        events: Clean events; those after `until` are not looked at.
        until: The cut, seconds since the epoch; an event at the cut counts.
        m: Neighbours an item that are kept, the strongest by absolute weight; None
            for all, which is exact.
        l2: How much weights are held down, above 0.
        at_least: An item with fewer events up to the cut takes no part: it has no
            neighbours and is nobody's.
        most_items: Of the others only the most frequent so many take part.
        precision: "float64", or "float32" for half of the memory and time.
        most_gib: What the dense matrix and the table may take together.

    Returns:
        A row for each item of the catalogue.

    Raises:
        ValueError: There is no event at or before `until`, an option is out of its
            range, or the matrix would take more than `most_gib`.
        ImportError: SciPy is not installed.

    References:
        H. Steck. Embarrassingly shallow autoencoders for sparse data. WWW 2019.
    """
    check_options(m, l2=l2)
    past = events_until(events, until)
    place = places_among(past, at_least, most_items)
    dense_bytes = bytes_of_dense(
        place, m, matrices=1, precision=precision, most_gib=most_gib
    )
    kept = Strongest(place, m)
    shape = (len(events.users), int(place.max()) + 1)
    had = binary_table(past.user, place[past.item], shape, np.dtype(precision))
    matrix = square(shape[1], precision)
    add_product(matrix, had, had, lower=True)
    found = inverse(factorize(matrix, l2))
    diagonal = np.diag(found).copy()
    for start, stop in even_blocks(*found.shape):
        # Symmetric, and by columns in memory: these are the rows.
        rows = found[:, start:stop].T / -diagonal
        rows[np.arange(stop - start), np.arange(start, stop)] = 0
        kept.add_dense(start, rows)
    return kept.table(dense_bytes)
