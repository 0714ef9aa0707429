"""A trained two-tower model as a scorer."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrs_decay.data.dataset import EventColumns
from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.models import DecayRetrieval


class TwoTowerScores:
    """Scores of a `DecayRetrieval` for every item: interest . item, and its repeats.

    The item tower runs once for each item, when this is made.

    Args:
        model: A trained model.
        events: The events that the queries are made from.
        max_history: Only the latest so many events of a history, as in training.

    Attributes:
        item_vectors: [n_items, dim] float32.
    """

    def __init__(
        self, model: DecayRetrieval, events: Events, *, max_history: int = 100
    ) -> None:
        self._columns = EventColumns(events)
        self._max_history = max_history
        self.item_vectors = model.item_tower.catalogue_vectors()
        item_vectors = tf.constant(self.item_vectors)

        def score(features: dict[str, tf.Tensor]) -> tf.Tensor:
            interest = tf.cast(model(features, training=False), tf.float32)
            scores = tf.linalg.matmul(interest, item_vectors, transpose_b=True)
            if model.repeats is None:
                return scores
            return scores + model.repeat_scores(features)

        self._score = tf.function(score, reduce_retracing=True)

    def __call__(self, queries: Queries) -> np.ndarray:
        """Scores of a block of queries: [b, n_items] float32."""
        features = self._columns.histories(
            tf.constant(queries.history_start, tf.int64),
            tf.constant(queries.history_stop, tf.int64),
            self._max_history,
        )
        features["query_time"] = tf.constant(queries.time, tf.int64)
        return self._score(features).numpy()
