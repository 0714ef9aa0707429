"""From a raw log to examples as Apache Beam transforms, at any size.

Beam deals out the users; what is done with them is what one machine does: `clean`,
`basket_queries` and `example_table`. So is the outcome, row for row.
`tfrs_decay.interest.beam` goes on from clean events to interest.

Two sizes bound a worker's memory: a batch of rows, and `most_per_user` for the user who
has more events than that. TensorFlow is not loaded.

On Beam's in-process runner, a log whose third row repeats the second:

>>> import apache_beam as beam
>>> from apache_beam.runners.portability.fn_api_runner import FnApiRunner
>>> rows = [
...     {"user": "ann", "item": "mug", "time": 10},
...     {"user": "ann", "item": "lantern", "time": 20},
...     {"user": "ann", "item": "lantern", "time": "20"},
... ]
>>> with beam.Pipeline(FnApiRunner()) as pipeline:
...     log = pipeline | beam.Create(rows) | CleanEvents()
...     _ = log.events | MakeExamples() | beam.Map(print)
{'user': 'ann', 'query_time': 20, 'history_item': ['mug'], 'history_time': [10],
 'history_action': ['purchase'], 'target_item': ['lantern']}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfrs_decay.data.cleaning import Cleaned, RawLog, Rules, beyond_latest, clean
from tfrs_decay.data.events import refuse_context
from tfrs_decay.data.examples import example_table
from tfrs_decay.data.histories import basket_queries
from tfrs_decay.data.times import CompactDates

try:
    import apache_beam as beam
    from apache_beam.coders import RowCoder, registry
    from apache_beam.pvalue import AsSideInput, TaggedOutput
    from apache_beam.utils.windowed_value import WindowedValue
except ImportError:
    raise ImportError(
        "tfrs_decay.data.beam needs apache-beam: pip install 'tfrs-decay[beam]'"
    ) from None

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 20_000
"""Rows that are worked on together: enough for NumPy, little for a worker."""

_QUERIES = 1_000
"""Queries that are written as dicts at a time."""

KEYED = tuple[str, tuple[Any, ...]]
"""An event's user, and its other fields: for Beam, which wants to know keys."""

_NEEDED = ("user", "item", "time")
_OPTIONAL = ("action", "value")
_FIELDS = (*_NEEDED, *_OPTIONAL)


class CleanEvent(NamedTuple):
    """An event by its names: what `Events` holds in codes.

    time: Seconds since the epoch.
    value: None in a log without values.
    context: Further columns by name, "" in a gap; None in a log without.
    """

    user: str
    item: str
    time: int
    action: str
    value: float | None = None
    context: Mapping[str, str] | None = None


registry.register_coder(CleanEvent, RowCoder)


class Rejected(NamedTuple):
    """A row that was left out.

    reason: As `clean` words it.
    row: As it came; of what only the whole user shows, by its clean names, and with its
        `row` if it had one. Only the `user`, where rows are counted and not kept.
    rows: How many this stands for.
    """

    reason: str
    row: dict[str, Any]
    rows: int = 1


class CleanedLog(NamedTuple):
    """What `CleanEvents` gives.

    events: `CleanEvent`s.
    rejected: `Rejected` rows.
    filled: Pairs of a rule, as `Cleaned.filled` words it, and how often it filled a gap
        in; a rule comes several times.
    """

    events: Any
    rejected: Any
    filled: Any


class CleanEvents(beam.PTransform):
    """`clean` for rows in any number: dicts with user, item, time, action and value.

    The rows are those of a table: each has the same keys, with None in a gap. `action`
    and `value` may lack altogether; a key `row`, such as a number, is handed on with
    what is rejected, and others are not read, but for those of `context`.

    Windows are cleaned each by itself; a collection without end needs them. Only what a
    table shows as a whole is not seen: dates such as 01/12/2010 are refused without
    `Rules(day_first=...)`. That numbers are dates written as 20231201 is found out at
    the end of the collection.

    Args:
        actions: As in `clean`.
        now: As in `clean`.
        rules: As in `clean`.
        most_per_user: Events of a user that are kept, the latest; at most twice as many
            are ever held. Those before are counted among the rejected, as are their
            repetitions; bots and what was taken back are told by what is kept.
        context: Further keys to keep, as `RawLog.context`.

    Raises:
        ValueError: `most_per_user` is below 1, `actions` is no list of distinct names,
            or `context` is what `Events` refuses; in a worker, what `clean` raises.
        TypeError: In a worker: a row is no dict.
    """

    def __init__(
        self,
        actions: Sequence[str] | None = None,
        now: int | None = None,
        rules: Rules | None = None,
        most_per_user: int = 100_000,
        context: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if most_per_user < 1:
            raise ValueError(f"most_per_user={most_per_user} must be 1 or more.")
        # Refused here, and not in a worker.
        refuse_context(context)
        clean(_log(dict.fromkeys((*_NEEDED, *context), ()), context), actions=actions)
        self.actions = actions
        self.now = now
        self.rules = rules or Rules()
        self.most_per_user = most_per_user
        self.context = tuple(context)

    def expand(self, rows: Any) -> CleanedLog:
        """Reads rows in batches, then looks at each user as a whole."""
        read = rows | "Read" >> beam.ParDo(
            _ReadRows(self.actions, self.now, self.rules, self.context)
        ).with_outputs("rejected", "filled", "compact", main="rows")
        _ = (
            read.compact
            | "CountDates"
            >> beam.CombineGlobally(CompactDates.together).without_defaults()
            | "RefuseDates" >> beam.Map(CompactDates.refuse)
        )
        whole = (
            read.rows
            | "Key" >> beam.Map(_same).with_output_types(KEYED)
            | "Latest" >> beam.CombinePerKey(_Latest(self.most_per_user, self.actions))
            | "CleanUsers"
            >> beam.ParDo(_CleanUsers(self.actions, self.rules)).with_outputs(
                "rejected", main="events"
            )
        )
        return CleanedLog(
            whole.events
            | "Events" >> beam.Map(_as_event).with_output_types(CleanEvent),
            (read.rejected, whole.rejected) | "Rejected" >> beam.Flatten(),
            read.filled,
        )


class MakeExamples(beam.PTransform):
    """Clean events to training examples: the rows of `example_table`, as dicts.

    Rows have the keys of values and of further columns where the events have these. A
    user's events are in one worker's memory together: `CleanEvents` bounds them.

    Args:
        after: Only baskets strictly after this second.
        until: Only baskets at or before this second.
        actions: Only events with these actions are targets; all when left out. Or a
            side input of them, `AsSingleton`, where they are found in the log.
        max_history: Latest events of a history that are written.
        known_actions: Those that `clean` was given: events at one time are then in the
            order of these; else in that of the alphabet.

    Raises:
        ValueError: `max_history` is below 1, or `actions` are not among the known.
    """

    def __init__(
        self,
        after: int | None = None,
        until: int | None = None,
        actions: Sequence[str] | AsSideInput | None = None,
        max_history: int = 100,
        known_actions: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if max_history < 1:
            raise ValueError(f"max_history={max_history} must be 1 or more.")
        if actions is not None and not isinstance(actions, AsSideInput):
            unknown = sorted(set(actions) - set(known_actions or actions))
            if unknown:
                raise ValueError(
                    f"actions={list(actions)}: {unknown} not among known_actions="
                    f"{list(known_actions or ())}."
                )
        self.period = (after, until)
        self.actions = actions
        self.max_history = max_history
        self.known_actions = known_actions

    def expand(self, events: Any) -> Any:
        """Gathers each user's events, and looks back from every basket."""
        return (
            events
            | "Key" >> beam.Map(by_user).with_output_types(KEYED)
            | "Users" >> beam.GroupByKey()
            | "Examples"
            >> beam.ParDo(
                _Examples(self.period, self.max_history, self.known_actions),
                actions=self.actions,
            ).with_output_types(dict[str, Any])
        )


class _InBatches(beam.DoFn):
    """Works on many elements at once, those of a window together."""

    def start_bundle(self) -> None:
        self._held: dict[Any, list[Any]] = {}
        self._weight: dict[Any, int] = {}

    def process(self, element: Any, window: Any = beam.DoFn.WindowParam) -> Any:
        element, weight = self.taken(element)
        self._held.setdefault(window, []).append(element)
        self._weight[window] = self._weight.get(window, 0) + weight
        if self._weight[window] >= _ROWS:
            del self._weight[window]
            yield from self.work(self._held.pop(window))

    def finish_bundle(self) -> Any:
        for window, batch in self._held.items():
            time = window.max_timestamp()
            for one in self.work(batch):
                tag = isinstance(one, TaggedOutput)
                value = WindowedValue(one.value if tag else one, time, (window,))
                yield TaggedOutput(one.tag, value) if tag else value

    def taken(self, element: Any) -> tuple[Any, int]:
        """What is held of an element, and how many rows it stands for."""
        return element, 1

    def work(self, batch: list[Any]) -> Iterator[Any]:
        raise NotImplementedError


class _ReadRows(_InBatches):
    """All that `clean` does with a row by itself."""

    def __init__(
        self,
        actions: Sequence[str] | None,
        now: int | None,
        rules: Rules,
        context: tuple[str, ...],
    ) -> None:
        self._actions = actions
        self._now = now
        self._context = context
        self._rules = dataclasses.replace(
            rules, most_per_minute=None, taken_back={}, part=True
        )

    def work(self, batch: list[Any]) -> Iterator[Any]:
        log = _log(_columns(batch, self._context), self._context)
        cleaned = clean(log, actions=self._actions, now=self._now, rules=self._rules)
        if self._rules.time_unit == "s":
            yield TaggedOutput("compact", CompactDates.of(log.events["time"]))
        for why, row in _rejected(cleaned):
            yield TaggedOutput("rejected", Rejected(why, batch[row]))
        for pair in cleaned.filled.items():
            yield TaggedOutput("filled", pair)
        for row, (user, *event) in zip(cleaned.row, _events(cleaned), strict=True):
            yield user, (*event, batch[row].get("row"))


class _Latest(beam.CombineFn):
    """The latest events of a user, and what was left out for them, by reason."""

    def __init__(self, most: int, actions: Sequence[str] | None) -> None:
        self._most = most
        self._actions = actions

    def create_accumulator(self) -> tuple[list[Any], dict[str, int]]:
        return [], {}

    def add_input(self, accumulator: Any, event: Any) -> Any:
        accumulator[0].append(event)
        return self._bounded(accumulator, 2 * self._most)

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        merged = self.create_accumulator()
        for events, left_out in accumulators:
            merged[0].extend(events)
            _count(merged[1], left_out)
            merged = self._bounded(merged, 2 * self._most)
        return merged

    def extract_output(self, accumulator: Any) -> Any:
        return self._bounded(accumulator, self._most)

    def _bounded(self, accumulator: Any, most: int) -> Any:
        events, left_out = accumulator
        if len(events) <= most:
            return accumulator
        # So that repetitions take nobody's place.
        cleaned = clean(
            _log_of_events([("one", *event) for event in events]),
            actions=self._actions,
        )
        _count(left_out, cleaned.rejected)
        beyond = len(cleaned.row) - self._most
        if beyond > 0:
            _count(left_out, {beyond_latest(self._most): beyond})
        return [events[row] for row in cleaned.row[-self._most :]], left_out


class _CleanUsers(_InBatches):
    """All that `clean` tells by the whole of a user."""

    def __init__(self, actions: Sequence[str] | None, rules: Rules) -> None:
        self._actions = actions
        self._rules = Rules(
            most_per_minute=rules.most_per_minute, taken_back=rules.taken_back
        )

    def taken(self, element: Any) -> tuple[Any, int]:
        _, (events, _) = element
        return element, len(events)

    def work(self, batch: list[Any]) -> Iterator[Any]:
        rows = [(user, *event) for user, (events, _) in batch for event in events]
        log = _log_of_events(rows)
        cleaned = clean(log, actions=self._actions, rules=self._rules)
        yield from _events(cleaned)
        for why, row in _rejected(cleaned):
            *event, context, number = rows[row]
            named = dict(zip(_FIELDS, event, strict=True)) | (context or {})
            if number is not None:
                named["row"] = number
            yield TaggedOutput("rejected", Rejected(why, named))
        for user, (_, left_out) in batch:
            for why, count in left_out.items():
                yield TaggedOutput("rejected", Rejected(why, {"user": user}, count))


class _Examples(_InBatches):
    """Whole users to examples."""

    def __init__(
        self,
        period: tuple[int | None, int | None],
        max_history: int,
        known_actions: Sequence[str] | None,
    ) -> None:
        self._after, self._until = period
        self._max_history = max_history
        self._known = known_actions

    def process(
        self,
        element: Any,
        window: Any = beam.DoFn.WindowParam,
        actions: Sequence[str] | None = None,
    ) -> Any:
        self._actions = actions
        yield from super().process(element, window)

    def taken(self, element: Any) -> tuple[Any, int]:
        user, events = element
        rows = [(user, *event) for event in events]
        return rows, len(rows)

    def work(self, batch: list[Any]) -> Iterator[Any]:
        rows = [row for rows in batch for row in rows]
        known = self._known
        if known is None and self._actions is not None:
            known = sorted({*self._actions, *(row[3] for row in rows)})
        events = clean(_log_of_events(rows), actions=known).events
        queries = basket_queries(
            events, after=self._after, until=self._until, actions=self._actions
        )
        for start in range(0, len(queries), _QUERIES):
            some = queries.between(start, min(start + _QUERIES, len(queries)))
            table = example_table(some, events, max_history=self._max_history)
            yield from table.to_pylist()


def _log(columns: Mapping[str, Any], context: Sequence[str]) -> RawLog:
    import pandas as pd

    return RawLog(pd.DataFrame(dict(columns)), None, {}, context=tuple(context))


def _columns(rows: Sequence[Any], context: Sequence[str]) -> dict[str, pd.Series[Any]]:
    """The columns of rows as they come."""
    import pandas as pd

    strange = next((row for row in rows if not isinstance(row, dict)), None)
    if strange is not None:
        raise TypeError(
            f"a row is a {type(strange).__name__}: give dicts with user, item, time "
            "and, optionally, action and value."
        )
    columns = {}
    for name in (*_NEEDED, *_OPTIONAL, *context):
        having = sum(name in row for row in rows)
        if not having:
            continue
        if name not in _NEEDED and having < len(rows):
            raise ValueError(
                f"{having} of {len(rows)} rows have the key {name!r}: give it to each "
                "row, with None in a gap, or to none."
            )
        values = [row.get(name) for row in rows]
        # Times of one kind are read together; ids keep their kind beside a gap.
        columns[name] = pd.Series(values, dtype=None if name == "time" else object)
    return columns


def _log_of_events(rows: Sequence[tuple[Any, ...]]) -> RawLog:
    """A log of clean rows, each with the fields of a `CleanEvent` first."""
    import pandas as pd

    fields = zip(*(row[: len(_FIELDS) + 1] for row in rows), strict=True)
    user, item, time, action, value, context = fields
    columns = {
        "user": pd.Series(user, dtype=object),
        "item": pd.Series(item, dtype=object),
        # As dates, which are not taken for another unit.
        "time": pd.Series(np.array(time, np.int64).astype("datetime64[s]")),
        "action": pd.Series(action, dtype=object),
    }
    without = sum(one is None for one in value)
    if 0 < without < len(rows):
        raise ValueError(
            f"{without} of {len(rows)} events have no value: give each row the key "
            "'value', or none."
        )
    if not without:
        columns["value"] = pd.Series(value, dtype="float64")
    names = tuple(context[0] or ())
    others = [one for one in context if set(one or ()) != set(names)]
    if others:
        raise ValueError(
            f"one event has the context {context[0]}, and another {others[0]}: give "
            "each the same further columns."
        )
    for name in names:
        columns[name] = pd.Series([one[name] for one in context], dtype=object)
    return _log(columns, names)


def _rejected(cleaned: Cleaned) -> Iterator[tuple[str, int]]:
    for row in np.flatnonzero(cleaned.reason).tolist():
        yield cleaned.reasons[cleaned.reason[row] - 1], row


def _events(cleaned: Cleaned) -> Iterator[tuple[Any, ...]]:
    """The fields of each event, as `CleanEvent` has them."""
    events = cleaned.events
    names = events.items.ids
    value = [None] * len(events) if events.value is None else events.value.tolist()
    further = [column.tolist() for column in events.context.values()]
    context: Iterable[dict[str, str] | None] = [None] * len(events)
    if further:
        rows = zip(*further, strict=True)
        context = (dict(zip(events.context, row, strict=True)) for row in rows)
    return zip(
        events.users[events.user].tolist(),
        names[events.item].tolist(),
        events.time.tolist(),
        np.array(events.actions, dtype=object)[events.action].tolist(),
        value,
        context,
        strict=True,
    )


def _same(keyed: Any) -> Any:
    return keyed


def _as_event(event: tuple[Any, ...]) -> CleanEvent:
    return CleanEvent(*event)


def by_user(event: CleanEvent) -> tuple[str, tuple[Any, ...]]:
    """An event's user, and the other fields."""
    user, *others = event
    return user, tuple(others)


def _count(counted: dict[str, int], more: Mapping[str, int]) -> None:
    for why, count in more.items():
        counted[why] = counted.get(why, 0) + count
