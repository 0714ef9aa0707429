"""What candidates are named and described by, fitted to the events up to a cut."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.decay import Constant, Exponential, Window
from tfrs_decay.layers.candidates import CandidateFeatures, Reading
from tfrs_decay.layers.neighbours import ItemNeighbours
from tfrs_decay.layers.recency_popularity import RecencyPopularity
from tfrs_decay.layers.repeat import Repeats
from tfrs_decay.neighbours import (
    fit_cosine,
    fit_ease,
    fit_next_basket,
    fit_products,
    fit_vectors,
)
from tfrs_decay.popularity import PopularityTable
from tfrs_decay.ranking.towers import TowerVectors
from tfrs_decay.return_times import NoGapError, ReturnTimes, fit_return_times

LEFT = (0.5, 0.7, 0.8, 0.9)
"""What is left of an event's weight at each later basket."""

DECAYS = (
    Constant(),
    *(Exponential(one) for one in ("7d", "30d", "90d", "180d")),
    Window(1, by="rank"),
    *(Exponential(float(-1 / np.log2(one)), by="rank") for one in LEFT),
)

LAST_BASKET = len(DECAYS) - len(LEFT) - 1
"""Which of the decays is 1 in a user's last basket, and 0 before."""

BY_BASKET = {one: LAST_BASKET + 1 + number for number, one in enumerate(LEFT)}
"""Which of the decays leaves so much."""


def fit_tables(
    events: Events,
    *,
    until: int,
    popularity: PopularityTable,
    m: int = 100,
    own: int = 150,
    most: int = 80,
    popular: int = 40,
    most_items: int | None = 6_000,
    vectors: np.ndarray | None = None,
    towers: TowerVectors | None = None,
) -> CandidateFeatures:
    """Fits what candidates are named and described by, to the events up to a cut.

    Args:
        events: Clean events.
        until: The cut, seconds since the epoch.
        popularity: Of the same catalogue; of all days that will be asked for, each of
            which sees those before it alone.
        m: Neighbours an item that are kept.
        own: As in `CandidateFeatures`.
        most: Candidates that a table of neighbours may name; some name half as many,
            or none.
        popular: As in `CandidateFeatures`.
        most_items: Only the most frequent so many take part in the fits that make
            matrices of items x items; None for all.
        vectors: [n_items, dim], such as what `TextTower` makes of the items' texts: a
            further table, and what makes a new item a candidate at once.
        towers: Of two towers that were trained up to the cut, such as `tower_vectors`
            has them: a further table.

    Raises:
        ValueError: There are too few events up to the cut for one of the fits.
        ImportError: SciPy is not installed.
    """
    common: dict[str, Any] = {"until": until, "m": m}
    dense: dict[str, Any] = {**common, "most_items": most_items}
    fits = {
        "users": fit_ease(events, **dense),
        "users of late": fit_ease(events, l2=50.0, half_life="90d", **dense),
        "baskets of late": fit_ease(
            events, l2=30.0, by="basket", half_life="60d", **dense
        ),
        "baskets": fit_cosine(events, **common),
        "same users": fit_cosine(events, by="user", **common),
        "next basket": fit_next_basket(events, l2=1000.0, per_basket=0.7, **dense),
        **{
            f"next basket, {half_life}": fit_next_basket(
                events,
                l2=l2,
                per_basket=0.9,
                half_life=half_life,
                even_baskets=True,
                **dense,
            )
            for half_life, l2 in (("120d", 400.0), ("30d", 200.0))
        },
    }
    readings = {
        "goes together": Reading("users", None, most),
        "goes together, faded": Reading("users", BY_BASKET[0.8], 0),
        "goes together of late": Reading("users of late", BY_BASKET[0.9], most),
        "in one basket of late": Reading("baskets of late", BY_BASKET[0.9], most // 2),
        "in one basket": Reading("baskets", BY_BASKET[0.9], 0),
        "with the last basket": Reading("baskets", LAST_BASKET, most // 2),
        "same users": Reading("same users", None, 0),
        "next basket": Reading("next basket", BY_BASKET[0.7], most),
        "next basket, 120d": Reading("next basket, 120d", BY_BASKET[0.9], most),
        "next basket, 30d": Reading("next basket, 30d", BY_BASKET[0.9], most),
    }
    if vectors is not None:
        fits["vectors"] = fit_vectors(vectors, m=m)
        readings["alike"] = Reading("vectors", BY_BASKET[0.9], most // 2)
        readings["alike of late"] = Reading("vectors", BY_BASKET[0.5], 0)
    if towers is not None:
        fits["towers"] = fit_products(*towers, m=m)
        readings["two towers"] = Reading("towers", BY_BASKET[0.9], most // 2)
        readings["two towers of late"] = Reading("towers", BY_BASKET[0.5], 0)
    return CandidateFeatures(
        Repeats(
            len(events.items),
            DECAYS,
            return_times=_return_times(events, until),
        ),
        RecencyPopularity.of(popularity),
        {name: ItemNeighbours(table) for name, table in fits.items()},
        readings,
        own=own,
        own_column=BY_BASKET[0.9],
        popular=popular,
    )


def _return_times(events: Events, until: int) -> ReturnTimes:
    """Of films, say, nobody has two: then nothing is known of returns."""
    try:
        return fit_return_times(events, until=until)
    except NoGapError:
        return ReturnTimes.unknown(len(events.items))
