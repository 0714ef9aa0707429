"""EASE: each item predicted from all others that a user had."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import baskets
from tfrs_decay.data.split import events_until
from tfrs_decay.durations import Duration, to_seconds
from tfrs_decay.neighbours.counts import (
    GROUPS,
    binary_table,
    check_options,
    even_blocks,
    places_among,
    row_sizes,
    scaled_rows,
    sparse_table,
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
    by: str = "user",
    half_life: Duration | None = None,
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

    With a half-life what was long ago says less of what goes together now: a user's X
    is then the sum of 2^(-age / half_life) over the events of an item, ages being those
    at the cut. By basket, X [baskets, items] is 1 for what is in a basket, and a basket
    of s items counts 1 / sqrt(s), times 2^(-age / half_life): what is bought at once.

    It takes one dense matrix of the items that take part, squared: 3.0 GiB for 20,000,
    and a time that grows with their third power.

    Args:
        events: Clean events; those after `until` are not looked at.
        until: The cut, seconds since the epoch; an event at the cut counts.
        m: Neighbours an item that are kept, the strongest by absolute weight; None
            for all, which is exact.
        l2: How much weights are held down, above 0.
        by: "user", or "basket", all of a user's events at one time.
        half_life: As in "90d"; nothing fades when left out.
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
    if by not in GROUPS:
        raise ValueError(f"by={by!r} is not one of {GROUPS}.")
    past = events_until(events, until)
    place = places_among(past, at_least, most_items)
    dense_bytes = bytes_of_dense(
        place, m, matrices=1, precision=precision, most_gib=most_gib
    )
    kept = Strongest(place, m)
    had, weighed = _table(past, place, until, by, half_life, precision)
    matrix = square(had.shape[1], precision)
    add_product(matrix, weighed, had, lower=True)
    found = inverse(factorize(matrix, l2))
    diagonal = np.diag(found).copy()
    for start, stop in even_blocks(*found.shape):
        # Symmetric, and by columns in memory: these are the rows.
        rows = found[:, start:stop].T / -diagonal
        rows[np.arange(stop - start), np.arange(start, stop)] = 0
        kept.add_dense(start, rows)
    return kept.table(dense_bytes)


def _table(
    events: Events,
    place: np.ndarray,
    until: int,
    by: str,
    half_life: Duration | None,
    precision: str,
) -> tuple[Any, Any]:
    """X, and X with its rows weighed: both [users or baskets, n] CSR."""
    faded = np.ones(len(events))
    if half_life is not None:
        faded = np.exp2(-(until - events.time) / to_seconds(half_life, "half_life"))
    item = place[events.item]
    n = int(place.max()) + 1
    if by == "basket":
        number = baskets(events)
        shape = (int(number.max()) + 1, n)
        had = binary_table(number, item, shape, np.dtype(precision))
        weight = np.zeros(shape[0])
        weight[number] = faded
        return had, scaled_rows(had, weight / row_sizes(had) ** 0.5)
    shape = (len(events.users), n)
    if half_life is None:
        had = binary_table(events.user, item, shape, np.dtype(precision))
    else:
        had = sparse_table(events.user, item, faded.astype(precision), shape)
    return had, had
