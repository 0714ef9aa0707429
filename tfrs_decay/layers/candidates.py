"""A bounded number of candidates for each user, and what is known of the two."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from tfrs_decay.decay import Constant
from tfrs_decay.layers.history import History
from tfrs_decay.layers.neighbours import ItemNeighbours
from tfrs_decay.layers.own_items import NO_ITEM, OwnItems, later_baskets
from tfrs_decay.layers.recency_popularity import RecencyPopularity
from tfrs_decay.layers.repeat import DAY, Repeats

USER = (
    "log events",
    "log baskets",
    "log days since last",
    "log events a basket",
    "log days since first",
    "log days a basket",
    "share of repeats",
    "share of new items of late",
)
"""What is known of a user alone, whatever the candidate."""

LEAST_DEVIATION = 1e-6
"""Scores that differ by less are alike."""

OF_LATE = ("log days since last", "share of new items of late")
"""Which of `USER` are of late."""

LATE = 3
"""Baskets that are of late."""


class Candidates(NamedTuple):
    """Items that may be recommended to each user.

    item: [batch, c] int32 places in the catalogue, each once in a row; -1 where there
        is none.
    features: [batch, c, f] float32, in the order of `feature_names`; 0 where there is
        no item.
    """

    item: tf.Tensor
    features: tf.Tensor


class Reading(NamedTuple):
    """How a history is read by a table of neighbours, which several may share.

    table: The table's name.
    column: Which of the decayed counts of `Repeats` the history's items weigh, by the
        place of its decay; None: every item that the user had weighs 1.
    most: How many candidates it may name.
    """

    table: str
    column: int | None
    most: int


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class CandidateFeatures(tf_keras.layers.Layer):
    """Names candidates from several sources, and says what is known of each.

    Candidates are the user's own items with the highest decayed counts; of the items
    that the user never had, the best of each table of neighbours and the most popular
    ones of the query's day at each half-life. They are the same in training as in
    serving, and there are never more than `width`.

    Features are those of `Repeats` with the share of the user's baskets that had the
    item, those of `RecencyPopularity`, the score of each reading, as it is and brought
    to mean 0 and deviation 1 among the candidates, and what is known of the user alone.
    All of it is computed from the history, its times and the tables.

    Args:
        repeats: Of the own items; its decays are those that `Reading.column` names.
        popularity: Of all items.
        tables: Of neighbours, by name.
        readings: Of those tables, by name.
        own: How many of a user's own items may be candidates.
        own_column: The decayed count by which they are chosen, by its decay's place.
        popular: How many of the most popular items at each half-life.
        **kwargs: Keras' own, such as `name`.

    Raises:
        ValueError: Catalogues differ in size, a number is below 0 or there are no
            candidates, or there is no such decay.
    """

    def __init__(
        self,
        repeats: Repeats,
        popularity: RecencyPopularity,
        tables: dict[str, ItemNeighbours],
        readings: dict[str, Reading],
        *,
        own: int = 150,
        own_column: int = -1,
        popular: int = 40,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, table in tables.items():
            if table.n_items != repeats.n_items:
                raise ValueError(
                    f"the table {name!r} is of {table.n_items:,} items, and "
                    f"repeats are of {repeats.n_items:,}: all are of one catalogue."
                )
        for name, one in readings.items():
            if one.table not in tables:
                raise ValueError(
                    f"the reading {name!r} is of a table {one.table!r}, and there are "
                    f"{', '.join(map(repr, tables)) or 'none'}."
                )
            _check_column(repeats, one.column, f"the reading {name!r}")
            _check_most(name, one.most)
        if popularity.n_items != repeats.n_items:
            raise ValueError(
                f"popularity is of {popularity.n_items:,} items, and repeats are of "
                f"{repeats.n_items:,}: all are of one catalogue."
            )
        _check_column(repeats, own_column, "own_column")
        _check_most("own", own)
        _check_most("popular", popular)
        self.repeats = repeats
        self.popularity = popularity
        self.tables = dict(tables)
        self.readings = {name: Reading(*one) for name, one in readings.items()}
        self.own = own
        self.own_column = own_column % len(repeats.decays)
        self.popular = popular
        if not self.width:
            raise ValueError(
                "own, popular and every table's most are 0: there are no candidates."
            )

    @property
    def width(self) -> int:
        """The most candidates that a user can have."""
        n = self.repeats.n_items
        of_tables = sum(min(one.most, n) for one in self.readings.values())
        of_days = len(self.popularity.half_lives) * min(self.popular, n)
        return self.own + of_tables + of_days

    @property
    def feature_names(self) -> list[str]:
        """What the columns of the features are."""
        return [
            *self.repeats.feature_names,
            "share of baskets",
            *(f"popularity, {one}" for one in self.popularity.feature_names),
            *self.readings,
            *(f"{one}, standardised" for one in self.readings),
            *USER,
        ]

    @property
    def alone_names(self) -> list[str]:
        """The features by which a list may be ranked alone, higher being better."""
        counts = self.repeats.feature_names[1 : 1 + len(self.repeats.decays)]
        popular = self.popularity.feature_names[: len(self.popularity.half_lives)]
        return [
            counts[self.own_column],
            *(f"popularity, {one}" for one in popular),
            *self.readings,
        ]

    @property
    def lasting_names(self) -> list[str]:
        """The features that tell nothing of when: neither decayed, rolling nor aged."""
        decays = self.repeats.decays
        constant = [isinstance(one, Constant) for one in decays]
        lasting = [
            name
            for name, one in self.readings.items()
            if one.column is None or constant[one.column]
        ]
        counts = zip(self.repeats.feature_names[1:], constant, strict=False)
        popular = zip(
            self.popularity.feature_names, self.popularity.half_lives, strict=False
        )
        return [
            "had",
            *(name for name, stays in counts if stays),
            "share of baskets",
            *(f"popularity, {name}" for name, half_life in popular if not half_life),
            *lasting,
            *(f"{one}, standardised" for one in lasting),
            *(one for one in USER if one not in OF_LATE),
        ]

    def call(
        self,
        item: tf.Tensor,
        timestamps: tf.Tensor,
        query_time: tf.Tensor,
        mask: tf.Tensor | None = None,
        *,
        exclude_own: bool = False,
    ) -> Candidates:
        """The candidates of a batch of histories.

        Events in the future of their query do not count. A user without any event that
        counts has the most popular items as candidates.

        Args:
            item: [batch, time] integer places in the catalogue; negative for padding
                and for items that are not in it.
            timestamps: [batch, time] integer seconds since the epoch.
            query_time: [batch] integer seconds.
            mask: [batch, time] bool, False for padding.
            exclude_own: Leave out what the user had.

        Raises:
            ValueError: An argument's dtype or rank does not fit.
            tf.errors.InvalidArgumentError: At run time: shapes do not agree, a place is
                beyond the catalogue, or times are in milliseconds.
        """
        own = self.repeats.own_items(item, timestamps, query_time, mask)
        item, history = self.repeats.read(item, timestamps, query_time, mask)
        scores = self._scores(own)
        popularity = self.popularity(query_time)
        candidates = self._candidates(own, scores, popularity, exclude_own)
        there = candidates >= 0
        had, of_own = own.at(candidates)
        place = tf.maximum(candidates, 0)
        of_user, baskets = self._of_user(item, history, own)
        columns = [
            self.repeats.features_of(had, of_own),
            tf.math.divide_no_nan(of_own.events, baskets)[..., None],
            self.popularity.features(query_time, candidates),
        ]
        if scores:
            of_readings = tf.stack(
                [tf.gather(one, place, batch_dims=1) for one in scores.values()],
                axis=-1,
            )
            columns += [of_readings, _standardised(of_readings, there)]
        columns.append(tf.repeat(of_user[:, None], tf.shape(place)[1], axis=1))
        features = tf.concat(columns, axis=-1)
        return Candidates(
            candidates, tf.where(there[..., None], features, tf.zeros_like(features))
        )

    def _scores(self, own: OwnItems) -> dict[str, tf.Tensor]:
        """[batch, n_items] of each reading."""
        known = own.item != NO_ITEM
        item = tf.where(known, own.item, -1)
        return {
            name: self.tables[one.table](
                item,
                tf.cast(known, tf.float32)
                if one.column is None
                else own.sums[..., one.column],
            )
            for name, one in self.readings.items()
        }

    def _candidates(
        self,
        own: OwnItems,
        scores: dict[str, tf.Tensor],
        popularity: tf.Tensor,
        exclude_own: bool,
    ) -> tf.Tensor:
        """[batch, width] places, each once, the others -1."""
        n = self.repeats.n_items
        column = tf.minimum(own.item, n)
        batch = tf.shape(column)[0]
        row = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(column))
        marks = tf.scatter_nd(
            tf.stack([row, column], axis=-1),
            tf.ones_like(column),
            tf.stack([batch, n + 1]),
        )
        never_had = marks[:, :-1] == 0

        def best(score: tf.Tensor, most: int) -> tf.Tensor:
            score = tf.where(never_had, score, tf.float32.min)
            found, place = tf.math.top_k(score, min(most, n))
            return tf.where(found > tf.float32.min, place, -1)

        named = [best(scores[name], one.most) for name, one in self.readings.items()]
        named += [best(one, self.popular) for one in tf.unstack(popularity, axis=-1)]
        if exclude_own:
            named.append(tf.fill([batch, self.own], -1))
        else:
            named.append(own.strongest(own.sums[..., self.own_column], self.own))
        every = tf.sort(tf.concat(named, axis=1), axis=1, direction="DESCENDING")
        again = tf.pad(every[:, 1:] == every[:, :-1], [[0, 0], [1, 0]])
        return tf.ensure_shape(tf.where(again, -1, every), [None, self.width])

    def _of_user(
        self, item: tf.Tensor, history: History, own: OwnItems
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """[batch, features] and [batch, 1] how many baskets there are."""
        counts = history.counts
        age = tf.where(counts, history.age, 0)
        events = tf.reduce_sum(tf.cast(counts, tf.float32), axis=1)
        there = events > 0

        def of_any(found: tf.Tensor) -> tf.Tensor:
            return tf.cast(tf.where(there, found, tf.zeros_like(found)), tf.float32)

        later = later_baskets(age, counts)
        baskets = of_any(1 + tf.reduce_max(later, axis=1))
        first = of_any(tf.reduce_max(age, axis=1)) / DAY
        last = of_any(tf.reduce_min(history.age, axis=1)) / DAY
        distinct = tf.reduce_sum(tf.cast(own.item != NO_ITEM, tf.float32), axis=1)
        # Of the last three baskets: events of items that were not there before.
        late = tf.cast(counts & (later < LATE), tf.float32)
        first_of_item = own.at(tf.where(counts, item, -1))[1].first
        fresh = late * tf.cast(first_of_item == age, tf.float32)
        columns = [
            tf.math.log1p(events),
            tf.math.log1p(baskets),
            tf.math.log1p(last),
            tf.math.log1p(tf.math.divide_no_nan(events, baskets)),
            tf.math.log1p(first),
            tf.math.log1p(tf.math.divide_no_nan(first, baskets)),
            tf.math.divide_no_nan(events - distinct, events),
            tf.math.divide_no_nan(
                tf.reduce_sum(fresh, axis=1), tf.reduce_sum(late, axis=1)
            ),
        ]
        return tf.stack(columns, axis=-1), baskets[:, None]

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`, without the tables."""
        written = tf_keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "repeats": written(self.repeats),
            "popularity": written(self.popularity),
            "tables": {name: written(one) for name, one in self.tables.items()},
            "readings": {name: list(one) for name, one in self.readings.items()},
            "own": self.own,
            "own_column": self.own_column,
            "popular": self.popular,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CandidateFeatures:
        """Makes the layer again from `get_config`; the tables are its weights."""
        made = tf_keras.saving.deserialize_keras_object
        tables = {name: made(one) for name, one in config["tables"].items()}
        readings = {name: Reading(*one) for name, one in config["readings"].items()}
        return cls(
            **{
                **config,
                "repeats": made(config["repeats"]),
                "popularity": made(config["popularity"]),
                "tables": tables,
                "readings": readings,
            }
        )


def _check_column(repeats: Repeats, column: int | None, whose: str) -> None:
    decays = len(repeats.decays)
    if column is not None and not -decays <= column < decays:
        raise ValueError(
            f"{whose}: column={column} is none of the {decays} decays of repeats."
        )


def _check_most(name: str, most: int) -> None:
    if most < 0:
        raise ValueError(f"{name}: {most} candidates must be 0 or more.")


def _standardised(scores: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    """Scores with mean 0 and deviation 1 among a row's candidates.

    Args:
        scores: [batch, c, columns].
        there: [batch, c] bool.

    Returns:
        [batch, c, columns]; 0 where all of a row are alike.
    """
    counts = tf.cast(there, tf.float32)[..., None]
    number = tf.maximum(tf.reduce_sum(counts, axis=1, keepdims=True), 1)
    mean = tf.reduce_sum(scores * counts, axis=1, keepdims=True) / number
    apart = (scores - mean) * counts
    variance = tf.reduce_sum(apart * apart, axis=1, keepdims=True) / number
    return apart / tf.maximum(tf.sqrt(variance), LEAST_DEVIATION)
