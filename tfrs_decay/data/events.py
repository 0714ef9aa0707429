"""A behaviour log as columns, and how it is cleaned.

A raw log is a table with one row an event; `clean` turns it into `Events`: every
column an integer code, sorted by user and time, with a count of each row that was left
out and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfrs_decay.data.times import days_of, seconds_since_epoch

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_ACTION = "purchase"
"""The action of every row of a log that names none."""


def _table_of_texts(texts: Sequence[Any]) -> np.ndarray:
    """[n] or [n, fields] objects."""
    rows = [isinstance(one, (list, tuple, np.ndarray)) for one in texts]
    if not any(rows):
        table = np.empty(len(texts), dtype=object)
        table[:] = list(texts)
        return table
    counts = [len(one) if row else 1 for one, row in zip(texts, rows, strict=True)]
    other = next(
        (at for at, row in enumerate(rows) if not row or counts[at] != counts[0]), None
    )
    if other is not None or not counts[0]:
        at = other or 0
        raise ValueError(
            f"texts holds {texts[at]!r} at {at} and {texts[0]!r} at 0: give each item "
            "as many texts, '' where it lacks one."
        )
    table = np.empty((len(texts), counts[0]), dtype=object)
    for at, row in enumerate(texts):
        table[at] = list(row)
    return table


class Items:
    """The catalogue: the items that can be recommended, each with its text.

    Args:
        ids: [n] strings, unique and not empty.
        texts: [n] strings; "" where an item has none. Or [n, fields] of them, such as
            title and description, as lists or tuples.

    Raises:
        ValueError: The two differ in length, an id is empty or stands twice, or items
            have other numbers of texts.
        TypeError: An id or a text is not a string.

    >>> items = Items(["a", "b"], ["red lantern", "blue mug"])
    >>> items.codes(["b", "unheard of"]).tolist()
    [1, -1]
    """

    def __init__(
        self,
        ids: Sequence[str],
        texts: Sequence[str] | Sequence[Sequence[str]] | None = None,
    ) -> None:
        if texts is None:
            texts = [""] * len(ids)
        if len(ids) != len(texts):
            raise ValueError(
                f"{len(ids)} ids and {len(texts)} texts: give one text for each id, "
                "'' where an item has none."
            )
        table = _table_of_texts(texts)
        for name, column in (("ids", ids), ("texts", table.flat)):
            strange = [one for one in column if not isinstance(one, str)]
            if strange:
                raise TypeError(
                    f"{name} holds {strange[0]!r}, a {type(strange[0]).__name__}: "
                    "items are named and described by strings."
                )
        self.ids = np.asarray(list(ids), dtype=object)
        self.texts = table
        self._code = {one: code for code, one in enumerate(self.ids)}
        if "" in self._code:
            raise ValueError("ids holds '': the empty id stands for no item.")
        if len(self._code) != len(self.ids):
            twice = Counter(self.ids).most_common(1)[0]
            raise ValueError(
                f"ids holds {twice[0]!r} {twice[1]} times: ids are unique."
            )

    def __len__(self) -> int:
        return len(self.ids)

    def codes(self, ids: Sequence[str]) -> np.ndarray:
        """Positions in the catalogue, int64; -1 for an id that is not in it."""
        return np.fromiter((self._code.get(one, -1) for one in ids), np.int64, len(ids))

    @property
    def fields(self) -> int:
        """How many texts each item has."""
        return 1 if self.texts.ndim == 1 else self.texts.shape[1]

    @property
    def titles(self) -> np.ndarray:
        """[n] strings for people: the texts, several of an item in one line."""
        if self.texts.ndim == 1:
            return self.texts
        lines = [" | ".join(filter(None, row)) for row in self.texts]
        return np.asarray(lines, dtype=object)

    def get_config(self) -> dict[str, list[Any]]:
        """Ids and texts as lists."""
        return {"ids": self.ids.tolist(), "texts": self.texts.tolist()}

    @classmethod
    def from_config(cls, config: Mapping[str, list[Any]]) -> Items:
        """Makes the catalogue again from `get_config`."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"Items({len(self)} items)"


@dataclass(frozen=True, eq=False)
class Events:
    """Clean events, sorted by user, time, action and item.

    Attributes:
        user: [n] int64, positions in `users`.
        time: [n] int64, seconds since the epoch.
        action: [n] int64, positions in `actions`.
        item: [n] int64, positions in `items`.
        users: The users' ids.
        actions: The actions' names.
        items: The catalogue.
    """

    user: np.ndarray
    time: np.ndarray
    action: np.ndarray
    item: np.ndarray
    users: np.ndarray
    actions: tuple[str, ...]
    items: Items

    def __len__(self) -> int:
        return len(self.time)

    def where(self, kept: np.ndarray) -> Events:
        """The events that `kept`, [n] bool, is true for; the same vocabularies."""
        return Events(
            user=self.user[kept],
            time=self.time[kept],
            action=self.action[kept],
            item=self.item[kept],
            users=self.users,
            actions=self.actions,
            items=self.items,
        )


class _Cleaned(NamedTuple):
    events: Events
    rejected: dict[str, int]
    items_without_event: int = 0


class Cleaned(_Cleaned):
    """What cleaning gives, and what it left out.

    It unpacks into the first three.

    events: the clean events.
    rejected: how many rows were left out, by reason.
    items_without_event: how many items are described and never occur; they are not in
        the catalogue.
    items_described_twice: how many items of the catalogue are described by several
        texts, of which the first by alphabet is kept.
    """

    items_described_twice: int

    def __new__(
        cls,
        events: Events,
        rejected: dict[str, int],
        items_without_event: int = 0,
        *,
        items_described_twice: int = 0,
    ) -> Cleaned:
        """The fields by position, the last one by name."""
        made = super().__new__(cls, events, rejected, items_without_event)
        made.items_described_twice = items_described_twice
        return made

    def report(self) -> str:
        """One line of kept rows, then one line a reason."""
        events = self.events
        span = f", {days_of(events.time)}" if len(events) else ""
        lines = [
            f"{counted(len(events), 'event')} kept "
            f"({counted(len(events.users), 'user')}, "
            f"{counted(len(events.items), 'item')}{span})"
        ]
        lines += [
            f"{counted(count, 'row')} left out: {why}"
            for why, count in self.rejected.items()
        ]
        for count, one, many in (
            (
                int((events.items.titles == "").sum()),
                "item has no text",
                "items have no text",
            ),
            (
                self.items_described_twice,
                "item is described more than once: the first by alphabet is kept",
                "items are described more than once: the first by alphabet is kept",
            ),
            (
                self.items_without_event,
                "described item has no event: it is not in the catalogue",
                "described items have no event: they are not in the catalogue",
            ),
        ):
            if count:
                lines.append(counted(count, one, many))
        return "\n".join(lines)


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number and its word, one or many of which there are.

    Args:
        count: How many.
        one: The word for 1.
        many: For all other numbers; with an s when left out.

    >>> counted(1, "row"), counted(1_500, "row"), counted(2, "is", "are")
    ('1 row', '1,500 rows', '2 are')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


class RawLog(NamedTuple):
    """A log as a source reads it, before `clean`.

    events: a table with the columns `user`, `item`, `time` and, optionally, `action`.
    items: a table with the columns `item` and `text`, or None.
    rejected: rows that the source's own rules left out, by reason.
    texts: the columns of `items` to read instead of `text`, where items have several
        texts.
    """

    events: pd.DataFrame
    items: pd.DataFrame | None
    rejected: dict[str, int]
    texts: tuple[str, ...] = ("text",)


def clean(
    log: RawLog, *, actions: Sequence[str] | None = None, now: int | None = None
) -> Cleaned:
    """Turns a raw log into events, counting every row that it leaves out.

    Left out, in this order: rows without user, item or time; times that cannot be read;
    rows without an action, in a log that has the column; actions that are not among
    `actions`; times after `now`; and all but one of the rows with the same user, item,
    time and action. Nothing depends on the order of the rows.

    Times may be integers or floats (seconds since the epoch), datetimes, or text that
    pandas reads as a date (`seconds_since_epoch`); without a time zone they are UTC.
    Fractions of a second are cut off. Ids are written as text, a whole float (17850.0)
    as its integer. An item that is described twice keeps the text, or the row of texts,
    that comes first in the alphabet, and is counted.

    Args:
        log: The raw log. It is not written to.
        actions: The actions that are known, each of which appears in the events'
            `actions` in this order; all that occur, sorted, when left out.
        now: Seconds since the epoch after which no event can have happened.

    Returns:
        The events and, by reason, the number of rows left out.

    Raises:
        ValueError: A column is missing, `actions` is not a list of distinct names,
            times are in milliseconds or written as YYYYMMDD, or some dates have the day
            first and some the month.
        TypeError: `log` is a bare table.
    """
    import pandas as pd

    if not isinstance(log, RawLog):
        raise TypeError(
            f"log is a {type(log).__name__}: wrap tables of your own as "
            "RawLog(events, items, {}), items being a table or None."
        )
    table = log.events
    if isinstance(actions, str) or len(set(actions or ())) != len(actions or ()):
        raise ValueError(f"actions={actions!r} must be a list of distinct names.")
    missing = {"user", "item", "time"} - set(table.columns)
    if missing:
        raise ValueError(
            f"the events have no column {', '.join(sorted(missing))}; they have "
            f"{', '.join(map(str, table.columns))}. Needed: user, item, time and, "
            "optionally, action."
        )
    rejected = dict(log.rejected)
    kept = np.ones(len(table), bool)

    def reject(why: str, wrong: np.ndarray) -> None:
        nonlocal kept
        count = int((kept & wrong).sum())
        if count:
            rejected[why] = rejected.get(why, 0) + count
        kept = kept & ~wrong

    user, item = as_text(table["user"]), as_text(table["item"])
    for name, column in (("user", user), ("item", item)):
        reject(f"no {name}", column.isna().to_numpy())
    reject("no time", table["time"].isna().to_numpy())
    time = seconds_since_epoch(table["time"])
    reject("time cannot be read", time.isna().to_numpy())
    if "action" in table.columns:
        action = as_text(table["action"])
        reject("no action", action.isna().to_numpy())
    else:
        action = pd.Series(DEFAULT_ACTION, index=table.index, dtype=object)
    if actions is not None:
        reject(f"action not one of {list(actions)}", ~action.isin(actions).to_numpy())
    if now is not None:
        reject("time after now", (time > now).fillna(False).to_numpy(bool))

    item_id = item[kept].tolist()
    catalogue, without_event, twice = _catalogue(item_id, log.items, log.texts)
    user_code, users = _codes(user[kept].tolist())
    action_name = action[kept].tolist()
    names = tuple(sorted(set(action_name)) if actions is None else actions)
    order_of = {name: code for code, name in enumerate(names)}
    columns = np.stack(
        [
            user_code,
            time[kept].to_numpy(np.int64),
            np.array([order_of[one] for one in action_name], np.int64),
            catalogue.codes(item_id),
        ]
    )
    columns = columns[:, np.lexsort(columns[::-1])]
    again = np.zeros(columns.shape[1], bool)
    again[1:] = (columns[:, 1:] == columns[:, :-1]).all(axis=0)
    if again.any():
        why = "same user, item, time and action as another row"
        rejected[why] = rejected.get(why, 0) + int(again.sum())
    user_code, second, action_code, item_code = columns[:, ~again]
    events = Events(
        user=user_code,
        time=second,
        action=action_code,
        item=item_code,
        users=users,
        actions=names,
        items=catalogue,
    )
    return Cleaned(events, rejected, without_event, items_described_twice=twice)


def as_text(column: pd.Series[Any]) -> pd.Series[Any]:
    """Ids as stripped text: 17850, 17850.0 and " 17850" are "17850"; a gap is None."""
    values = column.astype(object)
    there = values.notna()
    distinct = {one: _written(one) for one in values[there].unique()}
    text = values.map(distinct).astype(object)
    return text.where(text.notna(), None)


def _written(value: object) -> str | None:
    # A gap among integers makes a column float in pandas: the ids are still integers.
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return str(value).strip() or None


def _codes(values: list[str]) -> tuple[np.ndarray, np.ndarray]:
    names = sorted(set(values))
    code = {name: code for code, name in enumerate(names)}
    return np.array([code[one] for one in values], np.int64), np.array(names, object)


def _catalogue(
    item: list[str], table: pd.DataFrame | None, texts: tuple[str, ...]
) -> tuple[Items, int, int]:
    """The items that occur, by id, with their texts.

    Also how many others are described, and how many of these by several texts.
    """
    ids = sorted(set(item))
    if table is None:
        return Items(ids), 0, 0
    needed = ("item", *texts)
    missing = sorted(set(needed) - set(table.columns))
    if missing:
        raise ValueError(
            f"the items have no column {', '.join(missing)}; they have "
            f"{', '.join(map(str, table.columns))}. Needed: {', '.join(needed)}."
        )
    columns = [as_text(table[name]) for name in needed]
    rows = {
        (one, *(text or "" for text in its)) for one, *its in zip(*columns, strict=True)
    }
    described = sorted(row for row in rows if row[0] is not None and any(row[1:]))
    # Of several rows of an item, the first by alphabet.
    texts_of = {row[0]: row[1:] for row in reversed(described)}
    without_event = len(texts_of.keys() - set(ids))
    times = Counter(row[0] for row in described)
    twice = sum(times[one] > 1 for one in ids)
    chosen: list[Any] = [texts_of.get(one, ("",) * len(texts)) for one in ids]
    if len(texts) == 1:
        chosen = [row[0] for row in chosen]
    return Items(ids, chosen), without_event, twice
