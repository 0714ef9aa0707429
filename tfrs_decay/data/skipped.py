"""What was shown beside an event's item and not taken, as its negatives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tfrs_decay.data.cleaning import counted
from tfrs_decay.data.events import Events, Items
from tfrs_decay.data.histories import Queries
from tfrs_decay.data.ranges import flat_ranges


class OfQueries(NamedTuple):
    """What queries skipped.

    offset: [queries + 1] int64: those of query q are `place[offset[q]:offset[q + 1]]`.
    place: [k] int64, places in the catalogue.
    beside: [t] bool, for each of the queries' targets whether its own list had any.
    """

    offset: np.ndarray
    place: np.ndarray
    beside: np.ndarray


@dataclass(frozen=True, eq=False)
class Skipped:
    """Items of the list that an event took its item from, which were not taken.

    A target that competes with these alone tells what was liked of what was seen.
    Beside the whole catalogue it tells as well what was shown: a recommender that
    learns so from its own lists learns to show them again.

    `feedback.skipped` makes it of what was served.

    Attributes:
        offset: [events + 1] int64: those of event e are
            `item[offset[e]:offset[e + 1]]`.
        item: [m] int64, places in `items`.
        items: Ids, which need not be those of a catalogue.
        from_list: [events] bool, which events took something from a list, whether or
            not anything was skipped there. The others happened by themselves.

    Raises:
        ValueError: The parts do not fit each other.
    """

    offset: np.ndarray
    item: np.ndarray
    items: np.ndarray
    from_list: np.ndarray

    def __post_init__(self) -> None:
        """Refuses offsets and places that lead nowhere."""
        rises = len(self.offset) and (np.diff(self.offset) >= 0).all()
        if not rises or self.offset[0] != 0 or self.offset[-1] != len(self.item):
            raise ValueError(
                f"offset={self.offset} must rise from 0 to the {len(self.item):,} "
                "skipped items."
            )
        if len(self.from_list) != len(self.offset) - 1:
            raise ValueError(
                f"from_list has the shape {np.shape(self.from_list)}: give one for "
                f"each of the {len(self.offset) - 1:,} events."
            )
        wrong = (self.item < 0) | (self.item >= len(self.items))
        if wrong.any():
            raise ValueError(
                f"item holds {self.item[wrong][0]}: each must be a place in the "
                f"{len(self.items):,} items."
            )

    def __len__(self) -> int:
        return len(self.offset) - 1

    def moved(self, row: np.ndarray, events: int) -> Skipped:
        """The same, where these events are rows of a longer log: see `Grown.row`.

        Args:
            row: [events] int64, the place of each event in the longer log.
            events: How many events that has.
        """
        source = np.full(events, -1)
        source[row] = np.arange(len(self))
        there = source >= 0
        _, position = flat_ranges(
            self.offset[source[there]], self.offset[source[there] + 1]
        )
        length = np.zeros(events, np.int64)
        length[there] = np.diff(self.offset)[source[there]]
        from_list = np.zeros(events, bool)
        from_list[there] = self.from_list[source[there]]
        return Skipped(
            np.concatenate([[0], np.cumsum(length)]),
            self.item[position],
            self.items,
            from_list,
        )

    def of_queries(self, queries: Queries, events: Events) -> OfQueries:
        """What each query skipped: of the lists of all of its targets, each item once.

        What is a target of the same query was not skipped. Items that are not in the
        catalogue are left out: see `unknown`.

        Args:
            queries: From `basket_queries`.
            events: The events that the queries were made from.

        Raises:
            ValueError: These are not as many events.
        """
        if len(self) != len(events):
            raise ValueError(
                f"skipped is of {counted(len(self), 'event')}, and the log has "
                f"{len(events):,}: make it of the same, or move it (Skipped.moved)."
            )
        n = len(events.items)
        target = queries.target
        row, position = flat_ranges(self.offset[target], self.offset[target + 1])
        code = events.items.codes(self.items.tolist())[self.item[position]]
        key = queries.query_of_target[row] * n + code
        taken = queries.query_of_target * n + events.item[target]
        kept = (code >= 0) & ~np.isin(key, taken)
        beside = np.bincount(row[kept], minlength=len(target)) > 0
        key = np.unique(key[kept])
        counts = np.bincount(key // n, minlength=len(queries))
        return OfQueries(np.concatenate([[0], np.cumsum(counts)]), key % n, beside)

    def without_items(self) -> Skipped:
        """Which events a list led to, and nothing that was skipped there."""
        return replace(self, offset=np.zeros_like(self.offset), item=self.item[:0])

    def unknown(self, items: Items) -> int:
        """How many of the skipped are not in a catalogue."""
        return int((items.codes(self.items.tolist()) < 0)[self.item].sum())

    def report(self) -> str:
        """One line for people."""
        some = int((np.diff(self.offset) > 0).sum())
        return (
            f"{counted(len(self.item), 'item')} skipped beside what {some:,} of "
            f"{counted(len(self), 'event')} took; {int((~self.from_list).sum()):,} "
            "took nothing from a list"
        )
