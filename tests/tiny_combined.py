"""A combined list of a small shop, with every kind of feature."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfrs_decay.data import Events, Queries, basket_queries
from tfrs_decay.layers import CandidateFeatures, RankingHead
from tfrs_decay.popularity import PopularityTable
from tfrs_decay.ranking import TowerVectors, fit_tables, make_examples

import tf_keras  # isort: skip  # After tfrs_decay, which settles legacy Keras.


class TinyCombined(NamedTuple):
    """The tables until a cut, a head that was not trained, and queries after the cut.

    What the head says depends on every feature.
    """

    candidates: CandidateFeatures
    head: RankingHead
    queries: Queries


def make_combined(events: Events) -> TinyCombined:
    cut = int(np.quantile(events.time, 0.7))
    candidates = fit_tables(
        events,
        until=cut,
        popularity=PopularityTable.of(events),
        m=10,
        own=8,
        most=4,
        popular=3,
        towers=TowerVectors(
            *np.random.default_rng(0).normal(size=[2, len(events.items), 4])
        ),
    )
    queries = basket_queries(events, after=cut).between(0, 7)
    tf_keras.utils.set_random_seed(3)
    head = RankingHead([8], members=2)
    head.adapt(make_examples(candidates, queries, events).features)
    return TinyCombined(candidates, head, queries)
