"""A trained two-tower model as a scorer, and a recurrent one to be measured beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.data.dataset import EventColumns
from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.layers.item_tower import unit_length
from tfrs_decay.models import DecayRetrieval


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class GRURetrieval(DecayRetrieval):
    """A two-tower model whose interest is the last state of a GRU over the history.

    A peer to measure decay beside: it knows the order of events, and not their times.
    The pooling's weights of actions and its decay are not used.

    Args:
        item_tower: As in `DecayRetrieval`; and so are the others.
        pooling: Not used.
        **kwargs: Those of `DecayRetrieval`; a query tower is not used either.

    References:
        B. Hidasi et al. Session-based recommendations with recurrent neural networks
        (GRU4Rec). ICLR 2016.
    """

    def __init__(self, item_tower: Any, pooling: Any, **kwargs: Any) -> None:
        gru = tf_keras.layers.GRU(item_tower.dim)
        super().__init__(item_tower, pooling, **kwargs)
        self.gru = gru
        self.gru.build(tf.TensorShape([None, None, item_tower.dim]))

    def interest_from_vectors(
        self, vectors: tf.Tensor, *, mask: tf.Tensor | None = None, **told: Any
    ) -> tf.Tensor:
        """The last state, zeros for an empty history; times are not looked at."""
        interest = self.gru(vectors, mask=mask, training=told.get("training"))
        if mask is not None:
            there = tf.reduce_any(mask, axis=1, keepdims=True)
            interest = tf.where(there, interest, tf.zeros_like(interest))
        return unit_length(interest) if self.item_tower.normalize else interest


class TwoTowerScores:
    """Scores of a `DecayRetrieval` for every item: interest . item, and its repeats.

    The item tower runs once for each item, when this is made and when the model has
    been trained on and `read_items` is called.

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
        self._model = model
        self.item_vectors = model.item_tower.catalogue_vectors()
        item_vectors = tf.Variable(self.item_vectors, trainable=False)
        self._item_vectors = item_vectors

        def score(features: dict[str, tf.Tensor]) -> tf.Tensor:
            interest = tf.cast(model(features, training=False), tf.float32)
            scores = tf.linalg.matmul(interest, item_vectors, transpose_b=True)
            if model.repeats is None:
                return scores
            return scores + model.repeat_scores(features)

        self._score = tf.function(score, reduce_retracing=True)

    def read_items(self) -> None:
        """Computes the item vectors anew, after the model has been trained on."""
        self.item_vectors = self._model.item_tower.catalogue_vectors()
        self._item_vectors.assign(self.item_vectors)

    def __call__(self, queries: Queries) -> np.ndarray:
        """Scores of a block of queries: [b, n_items] float32."""
        features = self._columns.histories(
            tf.constant(queries.history_start, tf.int64),
            tf.constant(queries.history_stop, tf.int64),
            self._max_history,
        )
        features["query_time"] = tf.constant(queries.time, tf.int64)
        return self._score(features).numpy()
