"""A raw log cleaned: from a table with one row an event to `Events`.

Every row that is left out is counted under the first reason that applies to it, and can
be listed with its reason. Nothing depends on the order of the rows, and a clean log
stays as it is when it is cleaned again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfrs_decay.data.events import Events, Items, refuse_context
from tfrs_decay.data.names import as_text, coded, occurring, recoded
from tfrs_decay.data.rules import Rules, idle_rules, reasons_of
from tfrs_decay.data.tables import as_numbers
from tfrs_decay.data.times import days_of, seconds_since_epoch

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_ACTION = "purchase"
"""The action of every row of a log that names none."""

_MINUTE = 60

_AGAIN = "same user, item, time and action as another row"


class RawLog(NamedTuple):
    """A log as a source reads it, before `clean`.

    events: a table with the columns `user`, `item`, `time` and, optionally, `action`
        and `value`.
    items: a table with the columns `item` and `text`, or None.
    rejected: rows that the source's own rules left out, by reason.
    texts: the columns of `items` to read instead of `text`, where items have several
        texts.
    context: further columns of `events` to keep.
    source: where the events were read, for errors.
    """

    events: pd.DataFrame
    items: pd.DataFrame | None
    rejected: dict[str, int]
    texts: tuple[str, ...] = ("text",)
    context: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, eq=False)
class Cleaned:
    """What cleaning gives, and what it left out.

    Attributes:
        events: The clean events.
        rejected: How many rows were left out, by reason; the source's own reasons, too.
        filled: How many values were filled in, by rule.
        items_without_event: Items that are described and never occur; they are not in
            the catalogue.
        items_described_twice: Items with several different descriptions, of which the
            first by alphabet is kept.
        reason: [rows] int8, 0 for each row of the raw log that is among the events,
            else 1 + the place of its reason in `reasons`.
        reasons: Why rows of the raw log were left out.
        row: [events] int64, the row of the raw log that each event was.
        notes: Rules that found nothing to do, such as an action that is misspelt.
    """

    events: Events
    rejected: dict[str, int]
    filled: dict[str, int]
    items_without_event: int
    items_described_twice: int
    reason: np.ndarray
    reasons: tuple[str, ...]
    row: np.ndarray
    notes: tuple[str, ...] = ()

    def report(self) -> str:
        """One line of kept rows, then one line for each thing that was done."""
        return in_words(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The report for machines."""
        events = self.events
        return {
            "events": len(events),
            "users": len(events.users),
            "items": len(events.items),
            "first_time": int(events.time.min()) if len(events) else None,
            "last_time": int(events.time.max()) if len(events) else None,
            "rejected": dict(self.rejected),
            "filled": dict(self.filled),
            "items_without_text": int((events.items.titles == "").sum()),
            "items_described_twice": self.items_described_twice,
            "items_without_event": self.items_without_event,
            "notes": list(self.notes),
        }

    def rejected_rows(self) -> pd.DataFrame:
        """The rows that were left out: `row`, from 0 on in the raw log, and `reason`.

        Rows that the source's own rules left out are only counted.
        """
        import pandas as pd

        rows = np.flatnonzero(self.reason)
        why = np.array(["", *self.reasons], dtype=object)[self.reason[rows]]
        return pd.DataFrame({"row": rows, "reason": why})


def in_words(report: Mapping[str, Any]) -> str:
    """What `Cleaned.to_dict` gives, for people, a line for each thing that was done."""
    days = [report["first_time"], report["last_time"]]
    span = f", {days_of(np.array(days))}" if report["events"] else ""
    lines = [
        f"{counted(report['events'], 'event')} kept "
        f"({counted(report['users'], 'user')}, "
        f"{counted(report['items'], 'item')}{span})"
    ]
    for name, done in (("rejected", "left out"), ("filled", "filled in")):
        lines += [
            f"{counted(count, 'row')} {done}: {why}"
            for why, count in report[name].items()
        ]
    for name, one, many in (
        ("items_without_text", "item has no text", "items have no text"),
        (
            "items_described_twice",
            "item is described more than once: the first by alphabet is kept",
            "items are described more than once: the first by alphabet is kept",
        ),
        (
            "items_without_event",
            "described item has no event: it is not in the catalogue",
            "described items have no event: they are not in the catalogue",
        ),
    ):
        if report[name]:
            lines.append(counted(report[name], one, many))
    return "\n".join([*lines, *report["notes"]])


def clean(
    log: RawLog,
    *,
    actions: Sequence[str] | None = None,
    now: int | None = None,
    rules: Rules | None = None,
) -> Cleaned:
    """Turns a raw log into events, counting every row that it leaves out.

    Left out, in this order: rows without user, item or time; times that cannot be read;
    rows without an action, in a log that has the column; actions that are not among
    `actions`; values that are no numbers, or missing; times after `now`; all but one of
    the rows with the same user, item, time and action (that with the largest value);
    bots; and what was taken back.

    Times may be integers or floats (seconds since the epoch, but for
    `rules.time_unit`), datetimes, or text that pandas reads as a date
    (`seconds_since_epoch`). Fractions of a second are cut off. Ids are written as text,
    a whole float (17850.0) as its integer. An item that is described twice keeps the
    text, or the row of texts, that comes first in the alphabet, and is counted.

    Args:
        log: The raw log. It is not written to.
        actions: The actions that are known, each of which appears in the events'
            `actions` in this order; all that occur, sorted, when left out.
        now: Seconds since the epoch after which no event can have happened.
        rules: What else is done.

    Returns:
        The events and, by reason, the number of rows left out.

    Raises:
        ValueError: A column is missing, `log.context` names one that means something
            else already, `actions` is not a list of distinct names, times are in
            milliseconds or written as YYYYMMDD, or some dates have the day first and
            some the month, or `rules.part` cannot tell.
        TypeError: `log` is a bare table.
    """
    if not isinstance(log, RawLog):
        raise TypeError(
            f"log is a {type(log).__name__}: wrap tables of your own as "
            "RawLog(events, items, {}), items being a table or None."
        )
    if isinstance(actions, str) or len(set(actions or ())) != len(actions or ()):
        raise ValueError(f"actions={actions!r} must be a list of distinct names.")
    _require_columns(log)
    rules = rules or Rules()
    raw = _Raw(log, actions, rules)
    raw.leave_out_unreadable(now)
    row = raw.sorted_rows()
    for left_out in (_repeated, _bots, _taken_back):
        row = left_out(raw, row, rules)
    users, user = occurring(raw.users, raw.user[row])
    ids, item = occurring(raw.items, raw.item[row])
    names, action = raw.actions, raw.action[row]
    if actions is None:
        names, action = occurring(names, action)
    catalogue, without_event, twice = _catalogue(ids, log.items, log.texts)
    events = Events(
        user=user,
        time=raw.time[row],
        action=action,
        item=item,
        users=np.array(users, dtype=object),
        actions=tuple(names),
        items=catalogue,
        value=None if raw.value is None else raw.value[row],
        context={name: column[row] for name, column in raw.context.items()},
    )
    rejected = dict(log.rejected)
    for why, count in zip(raw.reasons, raw.counts(), strict=True):
        rejected[why] = rejected.get(why, 0) + count
    return Cleaned(
        events,
        rejected,
        raw.filled,
        without_event,
        twice,
        raw.reason,
        tuple(raw.reasons),
        row,
        idle_rules(rules, raw.reasons),
    )


class _Raw:
    """A log's columns as codes, by row, and what becomes of each row."""

    def __init__(
        self, log: RawLog, actions: Sequence[str] | None, rules: Rules
    ) -> None:
        table = log.events
        self.reason = np.zeros(len(table), np.int8)
        self.reasons: list[str] = []
        self.filled: dict[str, int] = {}
        self.users, self.user = coded(table["user"])
        self.items, self.item = coded(table["item"])
        self._no_time = table["time"].isna().to_numpy()
        try:
            self.time, self._readable = seconds_since_epoch(
                table["time"],
                unit=rules.time_unit,
                zone=rules.time_zone,
                day_first=rules.day_first,
                part=rules.part,
            )
        except ValueError as error:
            raise ValueError(f"{column_of_times(log.source)}, {error}") from error
        self._known_actions = actions
        self.actions, self.action = [DEFAULT_ACTION], np.zeros(len(table), np.int32)
        if "action" in table.columns:
            self.actions, self.action = coded(table["action"])
            self._fill_action(rules.missing_action)
        self._no_action = self.action < 0
        if actions is not None:
            self.action = recoded(self.action, self.actions, actions)
            self.actions = list(actions)
        self.value: np.ndarray | None = None
        self._no_value = self._bad_value = np.zeros(len(table), bool)
        if "value" in table.columns:
            self._read_value(table["value"], rules.missing_value)
        self.context = {}
        self._context_codes = []
        for name in log.context:
            names, code = coded(table[name])
            self.context[name] = np.array([*names, ""], dtype=object)[code]
            self._context_codes.append(code)

    def _fill_action(self, name: str | None) -> None:
        missing = self.action < 0
        if name is None or not missing.any():
            return
        names = sorted({*self.actions, name})
        self.action = recoded(self.action, self.actions, names)
        self.action[missing] = names.index(name)
        self.actions = names
        self.filled[f"no action, read as {name!r}"] = int(missing.sum())

    def _read_value(self, column: pd.Series[Any], filling: float | None) -> None:
        numbers = as_numbers(column)
        self.value = numbers.to_numpy("float64", na_value=np.nan).copy()
        self._no_value = column.isna().to_numpy()
        self._bad_value = ~np.isfinite(self.value) & ~self._no_value
        if filling is not None and self._no_value.any():
            self.value[self._no_value] = filling
            self.filled[f"no value, read as {filling:g}"] = int(self._no_value.sum())
            self._no_value = np.zeros(len(column), bool)

    def leave_out(self, why: str, rows: np.ndarray) -> None:
        """Gives rows, their places or a mask, a reason, unless they have one."""
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        rows = rows[self.reason[rows] == 0]
        if len(rows):
            self.reasons.append(why)
            self.reason[rows] = len(self.reasons)

    def leave_out_unreadable(self, now: int | None) -> None:
        """What can be told of a row by itself."""
        self.leave_out("no user", self.user < 0)
        self.leave_out("no item", self.item < 0)
        self.leave_out("no time", self._no_time)
        self.leave_out("time cannot be read", ~self._readable)
        self.leave_out("no action", self._no_action)
        if self._known_actions is not None:
            why = f"action not one of {list(self._known_actions)}"
            self.leave_out(why, self.action < 0)
        self.leave_out("no value", self._no_value)
        self.leave_out("value is no number", self._bad_value)
        if now is not None:
            self.leave_out("time after now", self.time > now)

    def sorted_rows(self) -> np.ndarray:
        """The rows that are left, by user, time, action and item.

        Among rows that are alike in these, the largest value and then the first context
        by alphabet is the first, whatever the order that they came in.
        """
        rows = np.flatnonzero(self.reason == 0)
        last = [code[rows] for code in reversed(self._context_codes)]
        if self.value is not None:
            last.append(-self.value[rows])
        keys = _packed(
            [column[rows] for column in (self.user, self.time, self.action, self.item)]
        )
        if len(keys) == 1 and not last:
            return rows[np.argsort(keys[0], kind="stable")]
        return rows[np.lexsort([*last, *reversed(keys)])]

    def counts(self) -> list[int]:
        """Rows left out, by reason."""
        found = np.bincount(self.reason, minlength=len(self.reasons) + 1)
        return [int(one) for one in found[1:]]


def _repeated(raw: _Raw, row: np.ndarray, rules: Rules) -> np.ndarray:
    """Sorted rows, each but once."""
    again = np.ones(max(len(row) - 1, 0), bool)
    for column in (raw.user, raw.time, raw.action, raw.item):
        again &= np.diff(column[row]) == 0
    again = np.concatenate([[False], again])[: len(row)]
    raw.leave_out(_AGAIN, row[again])
    return row[~again]


def _bots(raw: _Raw, row: np.ndarray, rules: Rules) -> np.ndarray:
    """Sorted rows, without users who do more within a minute than a person does."""
    most = rules.most_per_minute
    if most is None or len(row) <= most:
        return row
    user, time = raw.user[row], raw.time[row]
    # One more than the cap, all of one user, and all within sixty seconds.
    fast = (user[most:] == user[:-most]) & (time[most:] - time[:-most] < _MINUTE)
    bots = np.zeros(len(raw.users), bool)
    bots[user[most:][fast]] = True
    raw.leave_out(f"user with more than {most} events in a minute", row[bots[user]])
    return row[~bots[user]]


def _taken_back(raw: _Raw, row: np.ndarray, rules: Rules) -> np.ndarray:
    """Sorted rows, without what was taken back and what took it back."""
    for back, done in sorted(rules.taken_back.items()):
        if back not in raw.actions:
            continue
        step = np.zeros(len(raw.actions), np.int64)
        step[raw.actions.index(back)] = -1
        if done in raw.actions:
            step[raw.actions.index(done)] = 1
        concerned = row[step[raw.action[row]] != 0]
        steps = step[raw.action[concerned]]
        # By user, item and time; at one second what is done comes first.
        order = np.lexsort(
            [-steps, raw.time[concerned], raw.item[concerned], raw.user[concerned]]
        )
        concerned, steps = concerned[order], steps[order]
        matched = _matched(steps, raw.user[concerned], raw.item[concerned])
        both, only = reasons_of(back)
        raw.leave_out(both, concerned[matched])
        raw.leave_out(only, concerned[~matched & (steps < 0)])
        row = row[raw.reason[row] == 0]
    return row


def column_of_times(source: str) -> str:
    """What errors over times call the column of a log that was read somewhere."""
    return f"{source}, the column of times" if source else "time"


def _matched(step: np.ndarray, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """[n] bool: the brackets that close, of 1 and -1, each pair of user and item apart.

    A bracket opens at a height above the lowest that was reached before, and is closed
    by the next step down from there.
    """
    if not len(step):
        return np.zeros(0, bool)
    begins = np.concatenate([[True], (np.diff(user) != 0) | (np.diff(item) != 0)])
    group = np.cumsum(begins) - 1
    total = np.cumsum(step)
    height = total - (total - step)[begins][group]
    # Running lowest of each group: a later group is shifted below all earlier ones.
    shift = group * (2 * len(step) + 2)
    lowest = np.minimum.accumulate(np.minimum(height, 0) - shift) + shift
    level = np.where(step > 0, height - lowest, height + 1 - lowest)
    # A step down at the lowest height itself closes nothing.
    before = np.where(begins, 0, np.concatenate([[0], lowest[:-1]]))
    closes = (step < 0) & (height >= before)
    order = np.lexsort([np.arange(len(step)), level, group])
    matched = np.zeros(len(step), bool)
    here, there = order[1:], order[:-1]
    pairs = (
        closes[here]
        & (step[there] > 0)
        & (group[here] == group[there])
        & (level[here] == level[there])
    )
    matched[here[pairs]] = matched[there[pairs]] = True
    return matched


def _packed(columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Columns as few int64 keys that sort as they do, the first the most important."""
    keys: list[np.ndarray] = []
    free = 0
    for column in columns:
        least = int(column.min()) if len(column) else 0
        bits = (int(column.max(initial=least)) - least).bit_length()
        if not keys or bits > free:
            keys.append(np.zeros(len(column), np.int64))
            free = 63
        keys[-1] = (keys[-1] << bits) | (column.astype(np.int64) - least)
        free -= bits
    return keys


def _require_columns(log: RawLog) -> None:
    refuse_context(log.context)
    table = log.events
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise ValueError(f"the events have two columns named {twice[0]!r}: keep one.")
    missing = sorted({"user", "item", "time", *log.context} - set(table.columns))
    if missing:
        raise ValueError(
            f"the events have no column {', '.join(missing)}; they have "
            f"{', '.join(map(str, table.columns))}. Needed: user, item, time and, "
            "optionally, action."
        )


def _catalogue(
    ids: list[str], table: pd.DataFrame | None, texts: tuple[str, ...]
) -> tuple[Items, int, int]:
    """Items with their texts; how many others are described, and how many twice."""
    if table is None:
        return Items(ids), 0, 0
    texts_of, count = _described(table, texts)
    known = set(ids)
    without_event = len(texts_of.keys() - known)
    twice = sum(count[one] > 1 for one in known)
    chosen = [texts_of.get(one, ("",) * len(texts)) for one in ids]
    if len(texts) == 1:
        return Items(ids, [row[0] for row in chosen]), without_event, twice
    return Items(ids, chosen), without_event, twice


def described_items(log: RawLog) -> Items | None:
    """All items that a log describes, those too that nobody had.

    Args:
        log: The raw log.

    Returns:
        Their ids, sorted, and their texts as `clean` has them; None where the log
        describes none.

    Raises:
        ValueError: A column of texts is missing.
    """
    if log.items is None:
        return None
    texts_of, _ = _described(log.items, log.texts)
    if not texts_of:
        return None
    ids = sorted(texts_of)
    if len(log.texts) == 1:
        return Items(ids, [texts_of[one][0] for one in ids])
    return Items(ids, [texts_of[one] for one in ids])


def _described(
    table: pd.DataFrame, texts: tuple[str, ...]
) -> tuple[dict[str, tuple[str, ...]], Counter[str]]:
    """The texts of each item that has any, and how many it has."""
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
    return texts_of, Counter(row[0] for row in described)


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
