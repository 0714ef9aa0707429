"""A head over candidates as a scorer, for `evaluation`."""

from __future__ import annotations

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.layers.candidates import CandidateFeatures
from tfrs_decay.layers.ranking_head import RankingHead
from tfrs_decay.ranking.examples import MAX_HISTORY, Asked


class RankedScores:
    """A head over candidates as a scorer: what is no candidate comes last.

    Args:
        candidates: From `fit_tables`.
        head: Trained on such candidates.
        events: The events that the queries are made from.
        max_history: Latest events of a history that are read.
        exclude_own: Whether what the user had is no candidate.
    """

    def __init__(
        self,
        candidates: CandidateFeatures,
        head: RankingHead,
        events: Events,
        *,
        max_history: int = MAX_HISTORY,
        exclude_own: bool = False,
    ) -> None:
        self._asked = Asked(candidates, events, max_history, exclude_own)
        self._head = head
        self._n_items = len(events.items)

    def __call__(self, queries: Queries) -> np.ndarray:
        """Scores of a block of queries: [b, n_items] float32, -inf for no candidate."""
        answer = self._asked(queries)
        score = self._head(answer.features).numpy()
        item = answer.item.numpy()
        scores = np.full((len(queries), self._n_items), -np.inf, np.float32)
        row, column = np.nonzero(item >= 0)
        scores[row, item[row, column]] = score[row, column]
        return scores
