"""How popular every item was on every day, at several half-lives, as a table.

NumPy only. A query sees what was known at the start of its own day, so that a table
made once serves training queries of any day without a look ahead; `updated` rolls it on
with the events that came since, and nothing has to be trained again. The same reading
in a graph is `layers.RecencyPopularity`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_decay.arithmetic import NUMPY, Arithmetic
from tfrs_decay.data.events import Events, Items
from tfrs_decay.data.files import UNREADABLE, PathLike, checked_file
from tfrs_decay.data.storage import packed, unpacked
from tfrs_decay.data.times import LATEST_SECOND, moment_of, refuse_dates
from tfrs_decay.durations import Duration, to_seconds, to_text
from tfrs_decay.writing import write_arrays

HALF_LIVES: tuple[Duration | None, ...] = ("2d", "5d", "14d", "45d", None)
"""From this week's fashion to the lasting favourites; None never decays."""

DAY = 86_400

SMOOTHING = 0.1
"""Added to counts before their logarithm, so that an item without events has one."""

KEYS_AN_ITEM = 2**38
"""Room for days, even of a second each, between the keys of one item and the next."""

EPOCH = KEYS_AN_ITEM // 2
"""An item's key of the day of the epoch: days before it are negative."""

EARLIEST = 1 - EPOCH
"""Before every day that a log can have."""

NEVER = 2**62
"""The first day of an item without events: after every day that is asked for."""

VERSION = 1

_ARRAYS = ("keys", "sums", "first_day")
_NUMBERS = ("period", "until", "start", "late", "unknown")
_EXPECTED = "a .npz file that PopularityTable.save wrote"


@dataclass(frozen=True, eq=False)
class PopularityTable:
    """Each item's decayed counts of events after each day on which it had some.

    A day is a `period` counted from the epoch, in UTC. The count of item i that a query
    on day D sees is the sum over i's events on days d < D of

        2^(-age / half_life),  age = (D - d - 1/2) periods:

    from the middle of the event's day to the start of the query's. What happened on the
    query's own day, before or after it, counts nothing.

    A row holds the sum in which an event of the row's own day counts 1. The next row is
    this one times 2^(-gap / half_life), plus that day's events, and an answer is one
    row, decayed. So a table that is days old still answers, with counts that have
    decayed and ages that have grown; what it lacks is what happened since.

    Attributes:
        keys: [r] int64, rising: an item and a day, as `key_of` writes them.
        sums: [r, h] float64, a column for each half-life.
        first_day: [n_items] int64, the day of each item's first event; `NEVER` without.
        ids: [n_items] strings, the catalogue's.
        half_lives: [h] seconds, rising, perhaps with None (no decay) at the end.
        period: Seconds in a day.
        until: Seconds since the epoch; events at or before it are in the table.
        after: Events at or before it are not, where the table was made of a part.
        start: The first day that queries may be of; `EARLIEST` for a table of all days.
        late: Events given to the last `updated` that were not later than the table.
        unknown: Events given to it of items that are not among `ids`.

    Raises:
        ValueError: The arrays do not fit each other.
    """

    keys: np.ndarray
    sums: np.ndarray
    first_day: np.ndarray
    ids: np.ndarray
    half_lives: tuple[float | None, ...]
    period: int
    until: int
    after: int | None = None
    start: int = EARLIEST
    late: int = 0
    unknown: int = 0

    def __post_init__(self) -> None:
        rows, items = len(self.keys), len(self.ids)
        if self.sums.shape != (rows, len(self.half_lives)):
            raise ValueError(
                f"sums is of shape {self.sums.shape}: give [{rows}, "
                f"{len(self.half_lives)}], a row for each key, a column a half-life."
            )
        if self.first_day.shape != (items,):
            raise ValueError(
                f"first_day is of shape {self.first_day.shape}: give one for each of "
                f"{items:,} items."
            )
        if (np.diff(self.keys) <= 0).any():
            raise ValueError("keys must rise: give rows by item and then by day.")
        if rows and not 0 <= self.item[0] <= self.item[-1] < items:
            raise ValueError(
                f"keys name items {self.item[0]} to {self.item[-1]}, and there are "
                f"{items:,}."
            )
        if not (np.isfinite(self.sums) & (self.sums >= 0)).all():
            raise ValueError("sums must be finite, 0 or more.")

    @classmethod
    def of(
        cls,
        events: Events,
        *,
        until: int | None = None,
        after: int | None = None,
        half_lives: Sequence[Duration | None] = HALF_LIVES,
        period: Duration = "1d",
    ) -> PopularityTable:
        """Counts a log.

        Args:
            events: Clean events, in any order; each counts 1.
            until: The cut, seconds since the epoch; an event at the cut counts, and
                those after it are not looked at. The last event when left out.
            after: Events at or before it are not looked at either.
            half_lives: Rising, each a duration; None at the end counts without decay.
            period: What is taken for a day: whole seconds.

        Raises:
            ValueError: No event is left; half-lives are none, not positive, not rising;
                or the period is no whole number of seconds.
            TypeError: `until` or `after` is no integer.
        """
        half_lives = checked_half_lives(half_lives)
        period = checked_period(period)
        times = _checked_times(events.time, "events.time")
        for name, cut in (("until", until), ("after", after)):
            if cut is not None:
                _check_moment(cut, name)
        kept = np.ones(len(times), bool)
        if until is not None:
            kept &= times <= until
        if after is not None:
            kept &= times > after
        if not kept.any():
            raise ValueError(
                f"until={until}, after={after}: none of {len(events):,} events is "
                "between them; give other cuts, in seconds since the epoch."
            )
        if until is None:
            until = int(times.max())
        n_items = len(events.items)
        item, day = events.item[kept], times[kept] // period
        keys, count = np.unique(key_of(item, day), return_counts=True)
        added = np.repeat(count[:, None].astype(np.float64), len(half_lives), axis=1)
        return cls(
            keys=keys,
            sums=_running(keys, added, _halvings(half_lives, period)),
            first_day=_earliest(np.full(n_items, NEVER, np.int64), item, day),
            ids=events.items.ids,
            half_lives=half_lives,
            period=period,
            until=int(until),
            after=None if after is None else int(after),
        )

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.keys)

    @property
    def n_items(self) -> int:
        """How many items there are."""
        return len(self.ids)

    @property
    def item(self) -> np.ndarray:
        """[r] int64, each row's item."""
        return item_of_key(self.keys)

    @property
    def day(self) -> np.ndarray:
        """[r] int64, each row's day."""
        return day_of_key(self.keys)

    @property
    def last_day(self) -> np.ndarray:
        """[n_items] int64, the day of each item's last event; `NEVER` without."""
        last = np.full(self.n_items, NEVER, np.int64)
        last[self.item] = self.day  # the last of an item's rows stays
        return last

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What `features` gives, column by column."""
        return feature_names(self.half_lives)

    def counts(
        self, query_time: np.ndarray, items: np.ndarray | None = None
    ) -> np.ndarray:
        """Decayed counts as of the start of each query's day.

        Args:
            query_time: [q] integer seconds since the epoch.
            items: [q, c] places of items, negative for none; all items when left out.

        Returns:
            [q, c, h] float64; 0 for no item, and one without events before that day.

        Raises:
            ValueError: A query is of a day before `start`, an item is not in the table,
                or an array is not of integers or of another rank.
        """
        return self._read(query_time, items).counts

    def features(
        self, query_time: np.ndarray, items: np.ndarray | None = None
    ) -> np.ndarray:
        """What a ranking head may be told of the items' popularity.

        Args:
            query_time: As in `counts`.
            items: As in `counts`.

        Returns:
            [q, c, f] float64, a column for each of `feature_names`, which says what
            they are.

        Raises:
            ValueError: As in `counts`.
        """
        return feature_columns(
            NUMPY, self._read(query_time, items), self.half_lives, self.period
        )

    def _read(self, query_time: np.ndarray, items: np.ndarray | None) -> Reading:
        times = _checked_times(query_time, "query_time")
        day = times[:, None] // self.period
        if len(day) and day.min() < self.start:
            raise ValueError(
                f"query_time holds {moment_of(times.min())}, and this table answers "
                f"from {moment_of(self.start * self.period)} on: give one with the "
                "days before it."
            )
        if items is None:
            items = np.arange(self.n_items)[None]
        else:
            items = _checked_items(items, len(day), self.n_items)
        shape = np.broadcast_shapes(day.shape, items.shape)
        if not len(self):
            zero = np.zeros(shape)
            return Reading(np.zeros([*shape, len(self.half_lives)]), zero, zero)
        place = np.maximum(items, 0)
        row = np.searchsorted(self.keys, key_of(place, day)) - 1
        key = self.keys[row]
        seen = (row >= 0) & (item_of_key(key) == items)
        return reading(
            NUMPY,
            sums=self.sums[row],
            seen=seen,
            age=np.where(seen, day - self.first_day[place], 0).astype(np.float64),
            idle=np.where(seen, day - day_of_key(key), 0).astype(np.float64),
            rates=decay_rates(self.half_lives, self.period),
        )

    def most_popular(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """The items with the highest counts at each half-life, by day.

        Between two days with events all counts of a half-life fade alike, so that what
        is most popular changes on the day after one with events, and on no other.

        Args:
            most: How many of them; all where there are fewer items.

        Returns:
            days: [d] int64, rising: from each of them on its lists hold. The first is
                before all days.
            places: [d, h, most] int32, best first; of equal counts the lower place.

        Raises:
            ValueError: `most` is below 1.
        """
        if most < 1:
            raise ValueError(f"most={most} must be 1 or more.")
        return most_popular(
            self.keys,
            self.sums,
            halvings=_halvings(self.half_lives, self.period),
            start=self.start,
            n_items=self.n_items,
            most=most,
        )

    def latest(self) -> PopularityTable:
        """The last row of each item: what serving needs, and no more.

        It answers from the day after `until` on, exactly as this table does, and can be
        `updated` as well.
        """
        return self._from_day(self.until // self.period + 1)

    def since(self, moment: int) -> PopularityTable:
        """The rows that queries at a moment or later need; it answers from its day on.

        Args:
            moment: Seconds since the epoch.

        Raises:
            TypeError: The moment is no integer.
            ValueError: It is in milliseconds.
        """
        _check_moment(moment, "moment")
        return self._from_day(int(moment) // self.period)

    def _from_day(self, start: int) -> PopularityTable:
        start = max(self.start, start)
        # Another row of the same item before `start` replaces a row before it.
        replaced = np.zeros(len(self), bool)
        replaced[:-1] = (self.item[1:] == self.item[:-1]) & (self.day[1:] < start)
        return dataclasses.replace(
            self, keys=self.keys[~replaced], sums=self.sums[~replaced], start=start
        )

    def updated(
        self, events: Events, *, until: int | None = None, late: str = "ignore"
    ) -> PopularityTable:
        """The table rolled on with the events since: as if it were made anew.

        Events at or before this table's `until` may be in it already, as they are where
        a whole log is given again. They are counted in `late`, and left out unless it
        is known that they are new. Items are matched by their ids; events of others are
        counted in `unknown` and left out (`for_items` makes room for them).

        Args:
            events: Clean events, in any order.
            until: The new cut; those after it are not looked at. The last event when
                left out.
            late: "ignore", or "add" for events that had not arrived before. Those up to
                `after` stay out.

        Returns:
            A table of the same half-lives, period and `start`; this one stays as it is.

        Raises:
            ValueError: `until` is before this table's, or `late` is neither.
            TypeError: `until` is no integer.
        """
        if late not in ("ignore", "add"):
            raise ValueError(f"late={late!r} is neither 'ignore' nor 'add'.")
        times = _checked_times(events.time, "events.time")
        if until is None:
            until = max(self.until, int(times.max(initial=self.until)))
        _check_moment(until, "until")
        if until < self.until:
            raise ValueError(
                f"until={until} is before that of this table, {self.until}: a table "
                "rolls forward only; make it anew."
            )
        places = Items(self.ids.tolist()).codes(events.items.ids.tolist())
        place = places[events.item]
        given = times <= until
        if self.after is not None:
            given &= times > self.after
        are_late = given & (times <= self.until)
        if late == "ignore":
            given &= ~are_late
        unknown = given & (place < 0)
        kept = given & ~unknown
        day = times[kept] // self.period
        keys, sums = self._with(place[kept], day)
        rolled = dataclasses.replace(
            self,
            keys=keys,
            sums=sums,
            first_day=_earliest(self.first_day, place[kept], day),
            until=int(until),
            late=int(are_late.sum()),
            unknown=int(unknown.sum()),
        )
        # Late events may have rows before `start`, of which only the last is needed.
        return rolled._from_day(self.start)

    def _with(self, item: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys and sums with more events: [n] items and [n] days."""
        halvings = _halvings(self.half_lives, self.period)
        keys, place = np.unique(
            np.concatenate([self.keys, key_of(item, day)]), return_inverse=True
        )
        old = _single(self.keys, self.sums, halvings)
        added = np.concatenate([old, np.ones([len(day), len(halvings)])])
        added = np.stack(
            [np.bincount(place, column, minlength=len(keys)) for column in added.T],
            axis=1,
        )
        return keys, _running(keys, added, halvings)

    def for_items(self, items: Items) -> PopularityTable:
        """The table for another catalogue, such as one with new items.

        Items are matched by their ids. Those that are new have no events, and those
        that are gone take theirs with them.
        """
        place = items.codes(self.ids.tolist())
        row_place = place[self.item]
        kept = np.flatnonzero(row_place >= 0)
        keys = key_of(row_place[kept], self.day[kept])
        order = np.argsort(keys)
        first_day = np.full(len(items), NEVER, np.int64)
        first_day[place[place >= 0]] = self.first_day[place >= 0]
        return dataclasses.replace(
            self,
            keys=keys[order],
            sums=self.sums[kept[order]],
            first_day=first_day,
            ids=items.ids,
        )

    def save(self, path: PathLike) -> None:
        """Writes the table, whole or not at all.

        Args:
            path: The file, ending in .npz; replaced if it is there.

        Raises:
            ValueError: It ends in something else.
        """
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise ValueError(f"{path} ends in {path.suffix!r}; expected .npz.")
        columns: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        columns |= {name: np.int64(getattr(self, name)) for name in _NUMBERS}
        columns |= packed("ids", self.ids)
        # NaN stands for no decay, and no number for no cut.
        columns["half_lives"] = np.array(self.half_lives, np.float64)
        columns["after"] = np.array([] if self.after is None else [self.after], "int64")
        columns["version"] = np.int64(VERSION)
        write_arrays(columns, path, compressed=False)

    @classmethod
    def load(cls, path: PathLike) -> PopularityTable:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is cut short, damaged, of another version, or something else.
        """
        path = checked_file(path, (".npz",), _EXPECTED)
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                if stored["version"] != VERSION:
                    raise ValueError(f"version {stored['version']}, not {VERSION}")
                after = stored["after"].tolist()
                half_lives = stored["half_lives"].tolist()
                columns: dict[str, Any] = {name: stored[name] for name in _ARRAYS}
                columns |= {name: int(stored[name]) for name in _NUMBERS}
                return cls(
                    **columns,
                    ids=np.array(unpacked("ids", stored), dtype=object),
                    half_lives=tuple(
                        None if math.isnan(one) else one for one in half_lives
                    ),
                    after=after[0] if after else None,
                )
        except (*UNREADABLE, TypeError) as error:
            raise ValueError(
                f"{os.fspath(path)} does not hold a table of popularity ({error}): "
                "make it anew."
            ) from error

    def __repr__(self) -> str:
        half_lives = ", ".join(_written(one) for one in self.half_lives)
        return (
            f"PopularityTable({len(self):,} rows of {self.n_items:,} items, half-lives "
            f"{half_lives}, until {moment_of(self.until)})"
        )


class Reading(NamedTuple):
    """What a table tells of items as of the start of a query's day.

    counts: [q, c, h] decayed counts, 0 without events.
    age: [q, c] days since the first event, 1 for one of yesterday; 0 without events.
    idle: [q, c] days since the last event, likewise.
    """

    counts: Any
    age: Any
    idle: Any


def reading(
    xp: Arithmetic, *, sums: Any, seen: Any, age: Any, idle: Any, rates: np.ndarray
) -> Reading:
    """Decays rows to the start of a query's day.

    Args:
        xp: Of arrays, or of tensors.
        sums: [q, c, h] floats, each item's last row before that day.
        seen: [q, c] bool, whether it has one.
        age: [q, c] floats of the same type, days.
        idle: [q, c] floats, days.
        rates: [h] as `decay_rates` gives them.
    """
    # From the middle of a day. What was not seen has no day, and must not overflow.
    elapsed = xp.maximum(idle, 1.0)[..., None] - 0.5
    counts = sums * xp.exp(elapsed * -rates)
    return Reading(xp.where(seen[..., None], counts, 0.0), age, idle)


def feature_columns(
    xp: Arithmetic,
    read: Reading,
    half_lives: tuple[float | None, ...],
    period: int,
) -> Any:
    """Makes features of counts and ages: [q, c, f], as `feature_names` says."""
    logs = xp.log(read.counts + SMOOTHING)
    parts = [logs]
    decaying = _decaying(half_lives)
    if len(decaying) > 1:
        *shorter, longest = decaying
        # What each would be, had the item always been as popular as of late.
        lasting = read.counts[..., : len(shorter)] * (longest / np.array(shorter))
        parts.append(xp.log(lasting + SMOOTHING) - logs[..., len(shorter), None])
    days = xp.concat([read.age[..., None], read.idle[..., None]], -1)
    parts.append(xp.log1p(days * (period / DAY)))
    return xp.concat(parts, -1)


def feature_names(half_lives: tuple[float | None, ...]) -> tuple[str, ...]:
    """Names of the columns of features, in their order.

    log_count_2d: The logarithm of the decayed count + 0.1; one for each half-life, and
        log_count_all without decay.
    trend_2d_45d: The logarithm of (the count at the shorter half-life, times the
        longest over it, + 0.1) over (the count at the longest + 0.1): about 0 for what
        is as popular as ever and for what has no events, above for what is rising; one
        for each half-life but the longest.
    log_age: log(1 + days since the first event in the table), 0 without one.
    log_idle: log(1 + days since the last event), 0 without one; yesterday is 1 day.

    >>> feature_names((172_800.0, 3_888_000.0, None))
    ('log_count_2d', 'log_count_45d', 'log_count_all', 'trend_2d_45d', 'log_age',
     'log_idle')
    """
    counts = [f"log_count_{_written(one)}" for one in half_lives]
    *shorter, longest = _decaying(half_lives) or [0.0]
    trends = [f"trend_{to_text(one)}_{to_text(longest)}" for one in shorter]
    return (*counts, *trends, "log_age", "log_idle")


def key_of(item: Any, day: Any) -> Any:
    """An item and a day as one int64; keys rise by item and then by day."""
    return item * KEYS_AN_ITEM + (day + EPOCH)


def item_of_key(keys: Any) -> Any:
    """The item in a key."""
    return keys // KEYS_AN_ITEM


def day_of_key(keys: Any) -> Any:
    """The day in a key."""
    return keys % KEYS_AN_ITEM - EPOCH


def decay_rates(half_lives: tuple[float | None, ...], period: int) -> np.ndarray:
    """[h] float64, what e^-rate takes off in a day."""
    return math.log(2) * _halvings(half_lives, period)


def checked_half_lives(
    half_lives: Sequence[Duration | None],
) -> tuple[float | None, ...]:
    """Half-lives in seconds, None for no decay.

    Raises:
        ValueError: There are none; one is not finite and positive; or they do not rise,
            with None at the end.
        TypeError: One is no duration.
    """
    if isinstance(half_lives, str):
        raise TypeError(
            f"half_lives={half_lives!r} is one string: give a list of them."
        )
    seconds = tuple(
        None if one is None else to_seconds(one, "a half-life in half_lives")
        for one in half_lives
    )
    if not seconds:
        raise ValueError("half_lives is empty: give one or more, such as '14d'.")
    order = [math.inf if one is None else one for one in seconds]
    if any(one >= other for one, other in itertools.pairwise(order)):
        raise ValueError(
            f"half_lives={list(half_lives)} must rise, each given once and None last."
        )
    return seconds


def checked_period(period: Duration) -> int:
    """A period in seconds.

    Raises:
        ValueError: It is not positive, or no whole number of seconds.
        TypeError: It is no duration.
    """
    seconds = to_seconds(period, "period")
    if seconds != int(seconds):
        raise ValueError(f"period={period!r} must be a whole number of seconds.")
    return int(seconds)


def _decaying(half_lives: tuple[float | None, ...]) -> list[float]:
    return [one for one in half_lives if one is not None]


def _written(half_life: float | None) -> str:
    return "all" if half_life is None else to_text(half_life)


def _halvings(half_lives: tuple[float | None, ...], period: int) -> np.ndarray:
    """[h] float64, how often a count is halved in a day."""
    return np.array([0.0 if one is None else period / one for one in half_lives])


def _running(keys: np.ndarray, added: np.ndarray, halvings: np.ndarray) -> np.ndarray:
    """Each row's sum: what the item's row before it has left, and what is added.

    Args:
        keys: [r] int64, rising.
        added: [r, h] float64.
        halvings: [h] a day.

    Returns:
        [r, h] float64.
    """
    sums = added.copy()
    first = np.flatnonzero(_begins(keys))
    length = np.diff(np.append(first, len(keys)))
    # All second rows, all third rows and so on: as many steps as an item has days.
    order = np.argsort(-length, kind="stable")
    first, length = first[order], length[order]
    for place in range(1, int(length.max(initial=0))):
        row = first[: np.searchsorted(-length, -place)] + place
        gap = keys[row] - keys[row - 1]
        sums[row] += np.exp2(-gap[:, None] * halvings) * sums[row - 1]
    return sums


def most_popular(
    keys: np.ndarray,
    sums: np.ndarray,
    *,
    halvings: np.ndarray,
    start: int,
    n_items: int,
    most: int,
) -> tuple[np.ndarray, np.ndarray]:
    """As `PopularityTable.most_popular`, of a table's parts.

    An item's count falls behind others only while it has no events. So a list is the
    one before it and the items with events since, the best of them: no day looks at
    the whole catalogue.

    Args:
        keys: [r] int64, rising.
        sums: [r, h] floats.
        halvings: [h] float64, how often a count is halved in a day.
        start: Lists that are replaced before this day's are left out.
        n_items: Items in the catalogue.
        most: How long lists are.
    """
    item, day = item_of_key(keys), day_of_key(keys)
    order = np.argsort(day, kind="stable")
    changes, begins = np.unique(day[order], return_index=True)
    rows = np.split(order, begins[1:]) if len(order) else []
    days = np.concatenate([[EARLIEST], changes + 1])
    first = int(np.searchsorted(days, max(start, EARLIEST), side="right")) - 1
    most = min(most, n_items)
    found = np.empty([len(days) - first, len(halvings), most], np.int32)
    with np.errstate(divide="ignore"):  # what has no count left is behind all others
        # In logarithms that all fade alike, the fading itself can be left out.
        scores = np.log2(sums) + day[:, None] * halvings
    changed = np.zeros(n_items, bool)
    for column, score in enumerate(scores.T):
        listed, of_listed = np.arange(most), np.full(most, -np.inf)
        for number in range(len(days)):
            if number:
                row = rows[number - 1]
                row = row[score[row] >= of_listed[-1]]
                changed[item[row]] = True
                stays = ~changed[listed]
                changed[item[row]] = False
                together = np.concatenate([listed[stays], item[row]])
                of_together = np.concatenate([of_listed[stays], score[row]])
                best = np.lexsort([together, -of_together])[:most]
                listed, of_listed = together[best], of_together[best]
            if number >= first:
                found[number - first, column] = listed
    return days[first:], found


def _single(keys: np.ndarray, sums: np.ndarray, halvings: np.ndarray) -> np.ndarray:
    """What `_running` made sums of: an item's first row, and whole counts after it."""
    added = sums.copy()
    row = np.flatnonzero(~_begins(keys))
    gap = keys[row] - keys[row - 1]
    added[row] -= np.exp2(-gap[:, None] * halvings) * sums[row - 1]
    added[row] = np.rint(added[row])
    return added


def _begins(keys: np.ndarray) -> np.ndarray:
    """[r] bool, where an item's rows begin."""
    begins = np.ones(len(keys), bool)
    begins[1:] = np.diff(item_of_key(keys)) > 0
    return begins


def _earliest(first_day: np.ndarray, item: np.ndarray, day: np.ndarray) -> np.ndarray:
    """[n_items] int64 first days, with more events: [n] items and [n] days."""
    first_day = first_day.copy()
    np.minimum.at(first_day, item, day)
    return first_day


def _check_moment(moment: Any, name: str) -> None:
    if not isinstance(moment, (int, np.integer)) or isinstance(moment, bool):
        raise TypeError(
            f"{name}={moment!r} is a {type(moment).__name__}: give integer seconds "
            "since the epoch."
        )
    if abs(int(moment)) >= LATEST_SECOND:
        raise ValueError(
            f"{name}={moment} looks like milliseconds: give seconds since the epoch."
        )


def _checked_times(times: Any, name: str) -> np.ndarray:
    """[n] int64 seconds."""
    times = np.asarray(times)
    refuse_dates(times, name)
    if times.dtype.kind not in "iu" or times.ndim != 1:
        raise ValueError(
            f"{name} is {times.dtype} of shape {times.shape}: give [n] integer seconds "
            "since the epoch."
        )
    far = times[(times >= LATEST_SECOND) | (times <= -LATEST_SECOND)]
    if len(far):
        raise ValueError(
            f"{name} holds {far[0]}, which looks like milliseconds: give seconds since "
            "the epoch."
        )
    return times.astype(np.int64)


def _checked_items(items: Any, queries: int, n_items: int) -> np.ndarray:
    """[q, c] int64 places."""
    items = np.asarray(items)
    if items.dtype.kind not in "iu" or items.ndim != 2 or len(items) != queries:
        raise ValueError(
            f"items is {items.dtype} of shape {items.shape}: give integer places, "
            f"[{queries}, c], negative for none."
        )
    if items.max(initial=-1) >= n_items:
        raise ValueError(
            f"items holds {items.max()}: places are below {n_items:,}, the number of "
            "items."
        )
    return items.astype(np.int64)
