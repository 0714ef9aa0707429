"""The combined list: candidates from many sources, ranked by one small network.

What is counted and fitted (`Tables`) is of the events up to a cut, and the queries that
train the network come after it: in training the network sees what it will see in
serving, statistics of the past alone. So training goes back window by window from the
cut of the log, with the tables of each window's own start:

    tables up to a | queries of a..b      tables up to b | queries of b..cut     serving

and the tables of the cut itself serve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.data.ranges import flat_ranges
from tfrs_decay.decay import Constant, Exponential
from tfrs_decay.layers.candidates import CandidateFeatures, Neighbourhood
from tfrs_decay.layers.neighbours import ItemNeighbours
from tfrs_decay.layers.ranking_head import RankingHead, listwise_loss
from tfrs_decay.layers.recency_popularity import RecencyPopularity
from tfrs_decay.layers.repeat import Repeats
from tfrs_decay.neighbours import fit_ease, fit_next_basket
from tfrs_decay.popularity import PopularityTable
from tfrs_decay.return_times import fit_return_times

BASKETS = 6.58
"""Half-life in baskets: a tenth less for every later one."""

DECAYS = (
    Constant(),
    *(Exponential(one) for one in ("7d", "30d", "90d", "180d")),
    *(Exponential(one, by="rank") for one in (1.36, 3.11, BASKETS)),
)


class Examples(NamedTuple):
    """Queries with their candidates, which stand end to end.

    features: [n, f] float32.
    wanted: [n] bool, whether the candidate was a target.
    item: [n] int32 places in the catalogue.
    splits: [q + 1] int64, where a query's candidates begin.
    targets: [q] int64, how many targets the query has, candidates or not.
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


def fit_tables(
    events: Events,
    *,
    until: int,
    popularity: PopularityTable,
    m: int = 100,
    own: int = 150,
    most: int = 80,
    popular: int = 40,
) -> CandidateFeatures:
    """Fits what candidates are named and described by, to the events up to a cut.

    Args:
        events: Clean events.
        until: The cut, seconds since the epoch.
        popularity: Of the same catalogue; of all days that will be asked for, each of
            which sees those before it alone.
        m: Neighbours an item that are kept.
        own: As in `CandidateFeatures`.
        most: Candidates that each table of neighbours may name.
        popular: As in `CandidateFeatures`.

    Raises:
        ValueError: There are too few events up to the cut for one of the fits.
        ImportError: SciPy is not installed.
    """
    common: dict[str, Any] = {"until": until, "m": m}
    faded = len(DECAYS) - 1
    fits = {
        "goes together": (fit_ease(events, **common), None),
        "goes together of late": (
            fit_ease(events, l2=50.0, half_life="90d", **common),
            faded,
        ),
        "in one basket": (
            fit_ease(events, l2=30.0, by="basket", half_life="60d", **common),
            faded,
        ),
        **{
            f"next basket, {half_life}": (
                fit_next_basket(
                    events,
                    l2=l2,
                    per_basket=0.5 ** (1 / BASKETS),
                    half_life=half_life,
                    even_baskets=True,
                    **common,
                ),
                faded,
            )
            for half_life, l2 in (("120d", 400.0), ("30d", 200.0))
        },
    }
    return CandidateFeatures(
        Repeats(
            len(events.items),
            DECAYS,
            return_times=fit_return_times(events, until=until),
        ),
        RecencyPopularity.of(popularity),
        {
            name: Neighbourhood(ItemNeighbours(table), column, most)
            for name, (table, column) in fits.items()
        },
        own=own,
        popular=popular,
    )


class _Asked:
    """Queries as the histories that `CandidateFeatures` reads."""

    def __init__(
        self, candidates: CandidateFeatures, events: Events, max_history: int
    ) -> None:
        self._item = tf.constant(events.item, tf.int32)
        self._time = tf.constant(events.time, tf.int64)
        self._max_history = max_history
        self._candidates = candidates
        self._answer = tf.function(self._answered, reduce_retracing=True)

    def _answered(
        self, start: tf.Tensor, stop: tf.Tensor, time: tf.Tensor, exclude_own: bool
    ) -> Any:
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
            exclude_own=exclude_own,
        )

    def __call__(self, queries: Queries, exclude_own: bool) -> Any:
        return self._answer(
            *(
                tf.constant(one, tf.int64)
                for one in (queries.history_start, queries.history_stop, queries.time)
            ),
            exclude_own,
        )


def make_examples(
    candidates: CandidateFeatures,
    queries: Queries,
    events: Events,
    *,
    max_history: int = 500,
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
    """
    asked = _Asked(candidates, events, max_history)
    n = len(events.items)
    features, wanted, items, counts = [], [], [], []
    blocks = [
        queries.between(one, min(one + block, len(queries)))
        for one in range(0, len(queries), block)
    ]
    for some in blocks if progress is None else progress(blocks):
        answer = asked(some, exclude_own)
        item = answer.item.numpy()
        there = item >= 0
        row, event = flat_ranges(some.target_offset[:-1], some.target_offset[1:])
        target = np.unique(row * n + events.item[some.target[event]])
        asked_for = np.where(there, np.arange(len(some))[:, None] * n + item, -1)
        wanted.append(np.isin(asked_for, target)[there])
        features.append(answer.features.numpy()[there])
        items.append(item[there])
        counts.append(there.sum(axis=1))
    return Examples(
        np.concatenate(features),
        np.concatenate(wanted),
        np.concatenate(items),
        np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        queries.target_count,
    )


class _Ranker(tf_keras.Model):
    """The head under Keras' `fit`: a batch is padded candidates and what was wanted."""

    def __init__(self, head: RankingHead) -> None:
        super().__init__()
        self.head = head
        self._mean_loss = tf_keras.metrics.Mean(name="loss")

    @property
    def metrics(self) -> list[tf_keras.metrics.Metric]:
        return [self._mean_loss]

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> Any:
        return self.head(batch["features"], training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
    ) -> tf.Tensor:
        losses = listwise_loss(y_pred, x["wanted"], x["there"])
        self._mean_loss.update_state(losses)
        return tf.reduce_mean(losses)


def fit_head(
    head: RankingHead,
    examples: Examples,
    *,
    epochs: int = 8,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-4,
    seed: int = 0,
    verbose: int = 0,
) -> list[float]:
    """Trains a head by the listwise loss.

    Queries without a wanted candidate teach nothing, and are left out. The learning
    rate falls to nothing along a cosine.

    Args:
        head: Its means and deviations are taken from the examples.
        examples: From `make_examples`.
        epochs: Passes.
        batch_size: Queries a batch.
        learning_rate: The highest, AdamW's.
        weight_decay: AdamW's.
        seed: Of the weights, the order and the dropout.
        verbose: Keras' own.

    Returns:
        The mean loss of each pass.

    Raises:
        ValueError: No candidate was wanted.
    """
    teaches = np.add.reduceat(np.append(examples.wanted, False), examples.splits[:-1])
    teaches = np.where(np.diff(examples.splits) > 0, teaches, 0) > 0
    rows = np.flatnonzero(teaches)
    if not len(rows):
        raise ValueError("no query has a wanted candidate: there is nothing to learn.")
    tf_keras.utils.set_random_seed(seed)
    head.adapt(examples.features)
    columns = {
        "features": tf.constant(examples.features),
        "wanted": tf.constant(examples.wanted),
    }
    splits = tf.constant(examples.splits, tf.int64)

    def batch(row: tf.Tensor) -> dict[str, tf.Tensor]:
        first = tf.gather(splits, row)
        length = tf.gather(splits, row + 1) - first
        steps = tf.range(tf.reduce_max(length))
        there = steps[None] < length[:, None]
        place = tf.where(there, first[:, None] + steps[None], 0)
        return {
            **{name: tf.gather(one, place) for name, one in columns.items()},
            "there": there,
        }

    data = tf.data.Dataset.from_tensor_slices(rows)
    data = data.shuffle(len(rows), seed).batch(batch_size)
    data = data.map(batch, tf.data.AUTOTUNE).prefetch(2)
    ranker = _Ranker(head)
    steps = epochs * -(-len(rows) // batch_size)
    falling = tf_keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    ranker.compile(tf_keras.optimizers.AdamW(falling, weight_decay=weight_decay))
    history = ranker.fit(data, epochs=epochs, verbose=verbose)
    return [float(one) for one in history.history["loss"]]


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
        max_history: int = 500,
        exclude_own: bool = False,
    ) -> None:
        self._asked = _Asked(candidates, events, max_history)
        self._head = head
        self._n_items = len(events.items)
        self._exclude_own = exclude_own

    def __call__(self, queries: Queries) -> np.ndarray:
        """Scores of a block of queries: [b, n_items] float32, -inf for no candidate."""
        answer = self._asked(queries, self._exclude_own)
        score = self._head(answer.features).numpy()
        item = answer.item.numpy()
        scores = np.full((len(queries), self._n_items), -np.inf, np.float32)
        row, column = np.nonzero(item >= 0)
        scores[row, item[row, column]] = score[row, column]
        return scores
