"""A trained two-tower model as a scorer."""

from __future__ import annotations

import numpy as np

from tfrs_decay.data.dataset import batches
from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.models import DecayRetrieval


class TwoTowerScores:
    """Scores of a `DecayRetrieval`: interest . item, for every item.

    The item tower runs once for each item, when this is made.

    Args:
        model: A trained model.
        events: The events that the queries are made from.
        max_history: Only the latest so many events of a history, as in training.
    """

    def __init__(
        self, model: DecayRetrieval, events: Events, *, max_history: int = 100
    ) -> None:
        self._model = model
        self._events = events
        self._max_history = max_history
        self._item_vectors = model.item_tower.catalogue_vectors()

    def __call__(self, queries: Queries) -> np.ndarray:
        """Scores of a block of queries: [b, n_items] float32."""
        (features,) = batches(
            queries,
            self._events,
            batch_size=len(queries),
            max_history=self._max_history,
        )
        interest = self._model(features, training=False).numpy()
        return interest.astype(np.float32) @ self._item_vectors.T
