"""Queries with their candidates: what a head learns from, and what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.data.ranges import flat_ranges
from tfrs_decay.layers.candidates import CandidateFeatures, Candidates

MAX_HISTORY = 500
"""Latest events of a history that are read, in training and in serving."""


class Examples(NamedTuple):
    """Queries with their candidates, which stand end to end.

    features: [n, f] float32.
    wanted: [n] bool, whether the candidate was a target.
    item: [n] int32 places in the catalogue.
    splits: [q + 1] int64, where a query's candidates begin.
    targets: [q] int64, how many items the query wants, candidates or not.
    """

    features: np.ndarray
    wanted: np.ndarray
    item: np.ndarray
    splits: np.ndarray
    targets: np.ndarray

    @property
    def recall(self) -> float:
        """The share of targets that are among the candidates, a mean over queries."""
        found = np.add.reduceat(np.append(self.wanted, False), self.splits[:-1])
        found = np.where(np.diff(self.splits) > 0, found, 0)
        return float((found / self.targets).mean())

    def figures(self, scores: np.ndarray, k: int = 20) -> tuple[float, float]:
        """Recall and NDCG of the lists that scores make, means over queries.

        As `evaluation` has them, with targets that are no candidates counted in.

        Args:
            scores: [n] numbers, one a candidate; of equal ones the first comes first.
            k: How long the lists are.
        """
        row = np.repeat(np.arange(len(self.targets)), np.diff(self.splits))
        order = np.lexsort([-np.asarray(scores, np.float64), row])
        rank = np.arange(len(row)) - self.splits[:-1][row]
        first = rank < k
        hit, row, rank = self.wanted[order][first], row[first], rank[first]
        most = np.minimum(self.targets, k)
        discount = 1 / np.log2(np.arange(2, k + 2))
        n = len(self.targets)
        recall = np.bincount(row, hit, minlength=n) / most
        gain = np.bincount(row, hit * discount[rank], minlength=n)
        return float(recall.mean()), float((gain / discount.cumsum()[most - 1]).mean())

    @classmethod
    def together(cls, parts: Sequence[Examples]) -> Examples:
        """Several windows' as one."""
        ends = np.cumsum([0, *(len(one.features) for one in parts)])
        starts = [
            one.splits[:-1] + end for one, end in zip(parts, ends[:-1], strict=True)
        ]
        return cls(
            np.concatenate([one.features for one in parts]),
            np.concatenate([one.wanted for one in parts]),
            np.concatenate([one.item for one in parts]),
            np.concatenate([*starts, ends[-1:]]),
            np.concatenate([one.targets for one in parts]),
        )


class Asked:
    """Queries as the histories that `CandidateFeatures` reads."""

    def __init__(
        self,
        candidates: CandidateFeatures,
        events: Events,
        max_history: int,
        exclude_own: bool,
    ) -> None:
        self._item = tf.constant(events.item, tf.int32)
        self._time = tf.constant(events.time, tf.int64)
        self._max_history = max_history
        self._candidates = candidates
        self._exclude_own = exclude_own
        places = tf.TensorSpec([None], tf.int64)
        self._answer = tf.function(self._answered).get_concrete_function(*[places] * 3)

    def _answered(self, start: tf.Tensor, stop: tf.Tensor, time: tf.Tensor) -> Any:
        first = tf.maximum(start, stop - self._max_history)
        length = stop - first
        steps = tf.range(tf.reduce_max(length))
        within = steps[None] < length[:, None]
        place = tf.where(within, first[:, None] + steps[None], 0)
        return self._candidates(
            tf.gather(self._item, place),
            tf.gather(self._time, place),
            time,
            mask=within,
            exclude_own=self._exclude_own,
        )

    def __call__(self, queries: Queries) -> Candidates:
        """The candidates of each query."""
        asked = (queries.history_start, queries.history_stop, queries.time)
        return Candidates(*self._answer(*(tf.constant(one, tf.int64) for one in asked)))


def make_examples(
    candidates: CandidateFeatures,
    queries: Queries,
    events: Events,
    *,
    max_history: int = MAX_HISTORY,
    exclude_own: bool = False,
    block: int = 64,
    progress: Callable[[list[Queries]], Iterator[Queries]] | None = None,
) -> Examples:
    """Asks for each query's candidates, and says which of them were wanted.

    Args:
        candidates: From `fit_tables`, up to a cut before the first query.
        queries: What was asked; nothing is added to the candidates that was not named.
        events: The events that the queries were made from.
        max_history: Latest events of a history that are read.
        exclude_own: Leave out what the user had, from candidates.
        block: Queries at a time.
        progress: Wraps the list of blocks.

    Raises:
        ValueError: There is no query.
    """
    asked = Asked(candidates, events, max_history, exclude_own)
    n = len(events.items)
    if not len(queries):
        raise ValueError("there is no query to make examples of.")
    features, wanted, items, counts, targets = [], [], [], [], []
    blocks = [
        queries.between(one, min(one + block, len(queries)))
        for one in range(0, len(queries), block)
    ]
    for some in blocks if progress is None else progress(blocks):
        answer = asked(some)
        item = answer.item.numpy()
        there = item >= 0
        row, event = flat_ranges(some.target_offset[:-1], some.target_offset[1:])
        target = np.unique(row * n + events.item[some.target[event]])
        asked_for = np.where(there, np.arange(len(some))[:, None] * n + item, -1)
        wanted.append(np.isin(asked_for, target)[there])
        features.append(answer.features.numpy()[there])
        items.append(item[there])
        counts.append(there.sum(axis=1))
        # An item that was, say, both viewed and liked at once is one target.
        targets.append(np.bincount(target // n, minlength=len(some)))
    return Examples(
        np.concatenate(features),
        np.concatenate(wanted),
        np.concatenate(items),
        np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        np.concatenate(targets),
    )
