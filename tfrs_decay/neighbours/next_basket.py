"""A linear map from what a user had, faded by baskets, to the next basket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries, basket_queries, baskets
from tfrs_decay.data.ranges import flat_ranges
from tfrs_decay.data.split import events_until
from tfrs_decay.durations import Duration, to_seconds
from tfrs_decay.neighbours.counts import (
    binary_table,
    blocks,
    check_options,
    check_per_basket,
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
    solve,
    square,
)
from tfrs_decay.neighbours.record import Neighbours
from tfrs_decay.neighbours.strongest import Strongest

NEGLIGIBLE = 1e-12
"""A weight below which an event of long ago is not looked up."""


def fit_next_basket(
    events: Events,
    *,
    until: int,
    m: int | None = 100,
    l2: float = 1000.0,
    per_basket: float = 0.7,
    half_life: Duration | None = None,
    even_baskets: bool = False,
    at_least: int = 1,
    most_items: int | None = None,
    precision: str = "float64",
    most_gib: float = 4.0,
) -> Neighbours:
    """Fits a ridge regression from histories to the baskets that followed.

    A row is a basket up to `until`, all of a user's events at one time, with an earlier
    one. H holds the user's events before it, by item: an event counts 1 until the
    basket after its own, and is multiplied by `per_basket` at each later one. Y is 1
    for the items in the basket. The weights are B = (H'H + l2 I)^-1 H'Y. The diagonal
    stays: what was bought comes back. Score with the weights that it was fitted with:
    `evaluation.ItemToItem(events, neighbours, per_basket=0.7)`.

    It takes two dense matrices of the items that take part, squared: 6.0 GiB for
    20,000, and a time that grows with their third power and with the baskets times
    what is in their histories, squared.

    Args:
        events: Clean events; those after `until` are not looked at.
        until: The cut, seconds since the epoch; an event at the cut counts.
        m: Neighbours an item that are kept, the strongest by absolute weight; None
            for all, which is exact.
        l2: How much weights are held down, above 0.
        per_basket: What is left of an event's weight at each later basket, above 0 and
            up to 1.
        half_life: The age at the cut at which a basket counts half in the regression,
            as in "120d"; all baskets count alike when left out.
        even_baskets: Whether a basket of s items counts 1 / sqrt(s), so that large ones
            do not speak for all.
        at_least: An item with fewer events up to the cut takes no part: it has no
            neighbours and is nobody's.
        most_items: Of the others only the most frequent so many take part.
        precision: "float64", or "float32" for half of the memory and time.
        most_gib: What the dense matrices and the table may take together.

    Returns:
        A row for each item of the catalogue.

    Raises:
        ValueError: There is no event at or before `until` or no basket with an earlier
            one, an option is out of its range, or the matrices would take more than
            `most_gib`.
        ImportError: SciPy is not installed.
    """
    check_options(m, l2=l2)
    check_per_basket(per_basket)
    past = events_until(events, until)
    place = places_among(past, at_least, most_items)
    dense_bytes = bytes_of_dense(
        place, m, matrices=2, precision=precision, most_gib=most_gib
    )
    kept = Strongest(place, m)
    n = int(place.max()) + 1
    of_history, of_next = square(n, precision), square(n, precision)
    fading = None if half_life is None else to_seconds(half_life, "half_life")
    for some, history, following in _examples(past, place, per_basket, precision):
        weight = np.ones(len(some))
        if fading is not None:
            weight = np.exp2(-(until - some.time) / fading)
        if even_baskets:
            weight /= row_sizes(following) ** 0.5
        weighed = scaled_rows(history, weight)
        add_product(of_history, weighed, history, lower=True)
        add_product(of_next, weighed, following, lower=False)
    found = solve(factorize(of_history, l2), of_next)
    for start, stop in even_blocks(n, n):
        kept.add_dense(start, found[start:stop])
    return kept.table(dense_bytes)


def _examples(
    events: Events, place: np.ndarray, per_basket: float, precision: str
) -> Iterator[tuple[Queries, Any, Any]]:
    """Blocks of baskets, their histories and what is in them, both [baskets, n] CSR."""
    queries = basket_queries(events)
    if not len(queries):
        raise ValueError(
            "no user has two baskets up to the cut, so that there is none to learn "
            "from: give a later cut, or fit_cosine or fit_ease."
        )
    number = baskets(events)
    start = queries.history_start
    if per_basket < 1:
        most = int(np.log(NEGLIGIBLE) / np.log(per_basket))
        latest = number[queries.history_stop - 1]
        start = np.maximum(start, np.searchsorted(number, latest - most))
    n = int(place.max()) + 1
    sizes = queries.history_stop - start + queries.target_count
    for first, last in blocks(sizes):
        some = queries.between(first, last)
        row, event = flat_ranges(start[first:last], some.history_stop)
        later = number[some.history_stop - 1][row] - number[event]
        history = sparse_table(
            row,
            place[events.item[event]],
            (float(per_basket) ** later).astype(precision),
            (len(some), n),
        )
        row = np.repeat(np.arange(len(some)), some.target_count)
        following = binary_table(
            row, place[events.item[some.target]], (len(some), n), precision
        )
        yield some, history, following
