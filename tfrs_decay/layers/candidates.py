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
from tfrs_decay.layers.slots import numbered
from tfrs_decay.layers.top_k import largest

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
    that the user never had, the best of each table of neighbours, as long as it has any
    good to tell of them (a score above 0), and the most popular ones of the query's day
    at each half-life. They are the same in training as in serving, and there are never
    more than `width`.

    What is touched is the history's neighbours, a few lists and the candidates: work
    does not grow with a large catalogue. Up to `slots.MOST_DENSE` items sums are over
    the whole catalogue, which is faster there; the candidates are the same.

    Features are those of `Repeats` with the share of the user's baskets that had the
    item, those of `RecencyPopularity`, the score of each reading, as it is and brought
    to mean 0 and deviation 1 among the candidates, and what is known of the user alone.
    All of it is computed from the history, its times and the tables; no gradient
    reaches the decays through the scores of neighbours.

    Args:
        repeats: Of the own items; its decays are those that `Reading.column` names.
        popularity: Of all items.
        tables: Of neighbours, by name.
        readings: Of those tables, by name.
        own: How many of a user's own items may be candidates.
        own_column: The decayed count by which they are chosen, by its decay's place.
        popular: How many of the most popular items at each half-life.
        most_history: How many of a user's own items are read by tables of neighbours,
            those with the highest decayed counts; and how many of the most popular
            items may be passed over because the user had them.
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
        most_history: int = 200,
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
        if most_history < 1:
            raise ValueError(f"most_history={most_history} must be 1 or more.")
        self.repeats = repeats
        self.popularity = popularity
        self.tables = dict(tables)
        self.readings = {name: Reading(*one) for name, one in readings.items()}
        self.own = own
        self.own_column = own_column % len(repeats.decays)
        self.popular = popular
        self.most_history = most_history
        if popular:
            popularity.keep_lists(popular + most_history)
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
        item, history = self.repeats.read(item, timestamps, query_time, mask)
        day = self.popularity.day_of(query_time)
        found = self.of_history(item, history, day, exclude_own=exclude_own)
        missing = self.width - tf.shape(found.item)[1]
        item = tf.pad(found.item, [[0, 0], [0, missing]], constant_values=-1)
        features = tf.pad(found.features, [[0, 0], [0, missing], [0, 0]])
        width = len(self.feature_names)
        return Candidates(
            tf.ensure_shape(item, [None, self.width]),
            tf.ensure_shape(features, [None, self.width, width]),
        )

    def of_history(
        self,
        item: tf.Tensor,
        history: History,
        day: tf.Tensor,
        *,
        exclude_own: bool = False,
    ) -> Candidates:
        """As `call`, of what was checked before, and no wider than the batch needs.

        Args:
            item: [batch, time] int32, from `Repeats.read`.
            history: From `Repeats.read`.
            day: [batch] int64, from `RecencyPopularity.day_of`.
            exclude_own: Leave out what the user had.
        """
        n = self.repeats.n_items
        later = later_baskets(history.age, history.counts)
        own = self.repeats.own_items_of(item, history, later)
        score = own.sums[..., self.own_column]
        strongest = own.strongest(score, max(self.own, self.most_history))
        neighbours, weights = self._neighbours(strongest)
        slots, (neighbours, had, best, popular) = numbered(
            n,
            [
                neighbours,
                tf.minimum(own.item, n),
                tf.minimum(strongest.item[:, : self.own], n),
                self._lists(day, tf.shape(item)[1]),
            ],
        )
        scores = self._scores(neighbours, weights, slots.size)
        marks = _sums(had, slots.size)
        named = [
            self._named_by_tables(scores, marks, slots.size),
            self._never_had(popular, marks, slots.size),
            *([] if exclude_own else [best]),
        ]
        slot = _each_once(tf.concat(named, axis=1), slots.size)
        there, slot = slot >= 0, tf.maximum(slot, 0)
        candidates = tf.where(there, slots.items_of(slot), -1)
        of_user, baskets = self._of_user(item, history, own, later)
        columns = [
            self._of_own(own, baskets, candidates),
            self.popularity.features_of(day, tf.cast(candidates, tf.int64)),
        ]
        if self.readings:
            of_readings = self._scores_at(scores, slot, slots.size)
            columns += [of_readings, _standardised(of_readings, there)]
        shape = tf.concat([tf.shape(slot), tf.shape(of_user)[1:]], axis=0)
        columns.append(tf.broadcast_to(of_user[:, None], shape))
        features = tf.concat(columns, axis=-1)
        return Candidates(candidates, features * tf.cast(there, tf.float32)[..., None])

    def _neighbours(self, own: OwnItems) -> tuple[tf.Tensor, tf.Tensor]:
        """[batch, pairs] places, and [batch, readings, own, m] what each one is told.

        Pairs stand as what they are told, in the order of `_in_order`.
        """
        if not self.readings:
            nothing = tf.zeros(tf.stack([tf.shape(own.item)[0], 0]))
            return tf.cast(nothing, tf.int32), nothing[..., None, None]
        known = own.item[:, : self.most_history] != NO_ITEM
        item = tf.where(known, own.item[:, : self.most_history], 0)
        names = [one.table for one in self._in_order]
        rows = {name: self.tables[name].rows(item) for name in names}
        widths = {name: int(found[0].shape[2]) for name, found in rows.items()}
        most = max(widths.values())

        def side_by_side(part: int) -> tf.Tensor:
            """[batch, readings, own, m]; no neighbour is place 0 with weight 0."""
            padded = {
                name: tf.pad(found[part], [[0, 0], [0, 0], [0, most - widths[name]]])
                for name, found in rows.items()
            }
            return tf.stack([padded[name] for name in names], axis=1)

        places = tf.maximum(side_by_side(0), 0)
        sums = own.sums[:, : self.most_history]
        counts = tf.concat([tf.cast(known, tf.float32)[..., None], sums], axis=-1)
        column = [0 if one.column is None else 1 + one.column for one in self._in_order]
        counts = tf.transpose(tf.gather(counts, column, axis=-1), [0, 2, 1])
        told = side_by_side(1) * tf.stop_gradient(counts)[..., None]
        return tf.reshape(places, tf.stack([tf.shape(item)[0], -1])), told

    @property
    def _in_order(self) -> list[Reading]:
        """The readings, those that name candidates first."""
        return [self.readings[name] for name in self._names_in_order]

    @property
    def _names_in_order(self) -> list[str]:
        return sorted(self.readings, key=lambda name: not self.readings[name].most)

    def _scores(
        self, slots: tf.Tensor, told: tf.Tensor, size: int | tf.Tensor
    ) -> tf.Tensor:
        """[batch, readings, size], in the order of `_in_order`."""
        # Nobody may have a history, or nobody may ask.
        shape = tf.shape(told)
        rows = tf.stack([shape[0] * len(self.readings), shape[2] * told.shape[3]])
        found = _sums(tf.reshape(slots, rows), size, tf.reshape(told, rows))
        return tf.reshape(found, tf.stack([shape[0], len(self.readings), size]))

    def _scores_at(
        self, scores: tf.Tensor, slot: tf.Tensor, size: int | tf.Tensor
    ) -> tf.Tensor:
        """[batch, c, readings], in the order of `readings`."""
        order = [self._names_in_order.index(name) for name in self.readings]
        flat = tf.reshape(scores, tf.stack([-1, len(order) * size]))
        place = slot[..., None] + size * tf.constant(order)
        return tf.gather(flat, place, batch_dims=1)

    def _named_by_tables(
        self, scores: tf.Tensor, had: tf.Tensor, size: int | tf.Tensor
    ) -> tf.Tensor:
        """[batch, x] slots of each reading's best, `size` for none."""
        most = [one.most for one in self._in_order if one.most]
        if not most:
            return tf.zeros(tf.stack([tf.shape(had)[0], 0]), tf.int32)
        of_others = scores[:, : len(most)] * (1 - had)[:, None]
        of_others = tf.reshape(of_others, tf.stack([-1, size]))
        slot = largest(of_others, max(most))
        k = tf.shape(slot)[1]
        slot = tf.reshape(slot, tf.stack([tf.shape(had)[0], len(most), k]))
        named = (slot >= 0) & (tf.range(k) < tf.constant(most)[:, None])
        rows = tf.stack([tf.shape(had)[0], len(most) * k])
        return tf.reshape(tf.where(named, slot, size), rows)

    def _lists(self, day: tf.Tensor, most_own: tf.Tensor) -> tf.Tensor:
        """[batch, x] places: of each half-life the most popular, and some to spare."""
        batch = tf.shape(day)[0]
        if not self.popular:
            return tf.zeros(tf.stack([batch, 0]), tf.int32)
        lists = self.popularity.lists_of(day)[..., : self.popular + most_own]
        return tf.reshape(lists, tf.stack([batch, -1]))

    def _never_had(
        self, lists: tf.Tensor, had: tf.Tensor, size: int | tf.Tensor
    ) -> tf.Tensor:
        """[batch, x] slots: of each list the first that the user had not, or `size`."""
        half_lives = len(self.popularity.half_lives)
        others = 1 - tf.gather(had, lists, batch_dims=1)
        of_list = tf.stack([-1, half_lives, tf.shape(lists)[1] // half_lives])
        rank = tf.reshape(
            tf.cumsum(tf.reshape(others, of_list), axis=2), tf.shape(lists)
        )
        return tf.where((others > 0) & (rank <= self.popular), lists, size)

    def _of_own(
        self, own: OwnItems, baskets: tf.Tensor, candidates: tf.Tensor
    ) -> tf.Tensor:
        """[batch, c, features]: of `Repeats`, and the share of baskets."""
        share = tf.math.divide_no_nan(own.events, baskets)[..., None]
        known = own.item != NO_ITEM
        features = tf.concat([self.repeats.features_of(known, own), share], axis=-1)
        return own.values_at(features, candidates)

    def _of_user(
        self, item: tf.Tensor, history: History, own: OwnItems, later: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """[batch, features] and [batch, 1] how many baskets there are."""
        counts = history.counts
        age = tf.where(counts, history.age, 0)
        events = tf.reduce_sum(tf.cast(counts, tf.float32), axis=1)
        there = events > 0

        def of_any(found: tf.Tensor) -> tf.Tensor:
            return tf.cast(tf.where(there, found, tf.zeros_like(found)), tf.float32)

        baskets = of_any(1 + tf.reduce_max(later, axis=1))
        first = of_any(tf.reduce_max(age, axis=1)) / DAY
        last = of_any(tf.reduce_min(history.age, axis=1)) / DAY
        distinct = tf.reduce_sum(tf.cast(own.item != NO_ITEM, tf.float32), axis=1)
        # Of the last three baskets: events of items that were not there before.
        late = tf.cast(counts & (later < LATE), tf.float32)
        first_of_item = own.values_at(own.first, tf.where(counts, item, -1))
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
            "most_history": self.most_history,
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


def _sums(
    slots: tf.Tensor, size: int | tf.Tensor, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """[rows, size] float32: what stands at each slot, or 1 where there is anything.

    Args:
        slots: [rows, x] int32; `size` and above count nowhere.
        size: How many there are.
        weights: [rows, x] float32.
    """
    return tf.raw_ops.DenseBincount(
        input=slots,
        size=size,
        weights=tf.zeros([0]) if weights is None else weights,
        binary_output=weights is None,
    )


def _each_once(slots: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """[batch, c] the slots that stand in a row, rising; -1 after the last.

    Args:
        slots: [batch, x] int32; `size` for none.
        size: How many there are.
    """
    found = tf.where(_sums(slots, size) > 0)
    rows = tf.RaggedTensor.from_value_rowids(
        tf.cast(found[:, 1], tf.int32),
        found[:, 0],
        tf.cast(tf.shape(slots)[0], tf.int64),
        validate=False,
    )
    return rows.to_tensor(-1)


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
