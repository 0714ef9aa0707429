"""Items that are bought together more often than they would be anyhow."""

from __future__ import annotations

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import baskets
from tfrs_decay.data.split import events_until
from tfrs_decay.neighbours.counts import (
    GROUPS,
    binary_table,
    blocks,
    check_options,
    places_among,
    scipy,
)
from tfrs_decay.neighbours.record import Neighbours
from tfrs_decay.neighbours.strongest import Strongest


def fit_cosine(
    events: Events,
    *,
    until: int,
    m: int | None = 100,
    by: str = "basket",
    shrinkage: float = 10.0,
    at_least: int = 1,
    most_items: int | None = None,
) -> Neighbours:
    """Counts which items are in the same baskets, or with the same users.

    weight(i, j) = n_ij / (sqrt(n_i n_j) + shrinkage), with n_i the baskets (or users)
    that item i is in and n_ij those with both; 0 for i = j. Nothing of the size of the
    catalogue squared is made, unless `m` keeps it all.

    Args:
        events: Clean events; those after `until` are not looked at.
        until: The cut, seconds since the epoch; an event at the cut counts.
        m: Neighbours an item that are kept, the strongest; None for all.
        by: "basket", all of a user's events at one time; or "user".
        shrinkage: How much a pair that few had is held down, 0 or more.
        at_least: An item with fewer events up to the cut takes no part: it has no
            neighbours and is nobody's.
        most_items: Of the others only the most frequent so many take part.

    Returns:
        A row for each item of the catalogue.

    Raises:
        ValueError: There is no event at or before `until`, or an option is out of its
            range.
        ImportError: SciPy is not installed.
    """
    check_options(m)
    if by not in GROUPS:
        raise ValueError(f"by={by!r} is not one of {GROUPS}.")
    if not (shrinkage >= 0 and np.isfinite(shrinkage)):
        raise ValueError(f"shrinkage={shrinkage} must be a finite number, 0 or more.")
    past = events_until(events, until)
    place = places_among(past, at_least, most_items)
    kept = Strongest(place, m)
    group = past.user if by == "user" else baskets(past)
    shape = (int(group.max()) + 1, int(place.max()) + 1)
    together = binary_table(group, place[past.item], shape, np.float64)
    having = together.T.tocsr()
    count = np.diff(having.indptr)
    # The most entries that a row of the product can have.
    entries = np.minimum(having @ np.diff(together.indptr), shape[1])
    for start, stop in blocks(entries):
        both = (having[start:stop] @ together).tocoo()
        of, other = both.row + start, both.col
        weight = both.data / (np.sqrt(count[of] * count[other]) + shrinkage)
        weight[of == other] = 0
        kept.add_sparse(
            start,
            scipy("sparse").csr_array((weight, (both.row, other)), shape=both.shape),
        )
    return kept.table()
