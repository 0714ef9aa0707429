"""Interest kept up to date on a stream of events, as Apache Beam transforms.

What is kept of a user is an `InterestState`, and what is written down are its bytes, so
a stream job, a store and a server agree. TensorFlow is not loaded.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfrs_decay.data.beam import KEYED, CleanEvent, by_user
from tfrs_decay.interest.arrays import InterestState
from tfrs_decay.interest.state import State

try:
    import apache_beam as beam
    from apache_beam.coders import BytesCoder
    from apache_beam.metrics import Metrics
    from apache_beam.pvalue import TaggedOutput
    from apache_beam.transforms.userstate import ReadModifyWriteStateSpec
except ImportError:
    raise ImportError(
        "tfrs_decay.interest.beam needs apache-beam: pip install 'tfrs-decay[beam]'"
    ) from None

_EVENTS = 256
"""Events that are added to a state at a time, where there are many."""

_MARK = 16
"""Bytes that an event is remembered by."""


class UserInterest(NamedTuple):
    """A user's interest after an event.

    time: Of the latest event so far, which the interest is read at; seconds since the
        epoch.
    interest: [dim] float32, or [heads, dim], as `InterestState.read` gives it.
    events: How many were counted so far. A collection has no order: of several
        interests of a user, the one with the most events is the newest.
    """

    user: str
    time: int
    interest: np.ndarray
    events: int


class UpdatedInterest(NamedTuple):
    """What `UpdateInterest` gives.

    interest: `UserInterest`s, one after each event that was counted.
    unknown: Events of items without a vector; hand them in again once there is one.
    late: Events before all that are remembered of their user.
    """

    interest: Any
    unknown: Any
    late: Any


Lookup = Mapping[str, Any] | Callable[[str], Any]


class UpdateInterest(beam.PTransform):
    """Keeps every user's `InterestState`, and gives the interest after each event.

    For streams, and for logs: `CleanEvent`s in any order. A late event counts as if it
    had come in time.

    An event counts once, however often it comes: again is what `clean` calls again,
    the same user, item, time and action. For this the newest `remember` events of a
    user are remembered, by time, in 16 bytes each. Of an event before all of these
    nobody can tell whether it was counted: it is not, and comes out as `late`. So a
    replay changes nothing, however old; a user with no more events than `remember`
    loses none; and of others only what is later than `remember` newer events is lost.

    A user's state is kept in the event's window; in the global one, for good. It says
    which rates it was written under: after another decay it is refused, and the events
    have to be replayed into a new pipeline.

    Counted by Beam's metrics, in the namespace "tfrs_decay": `events_counted`,
    `events_repeated`, `events_late`, `events_of_unknown_items`.

    Args:
        interest: How interest is kept and read.
        items: From an item's id to its vector, [dim]: a mapping that fits a worker, or
            a function, None standing for an item that has none.
        categories: Likewise from an item's id to its category, where rates depend on
            it.
        remember: Events of a user that are remembered.

    Raises:
        ValueError: `remember` is below 1; in a worker, what `InterestState` raises,
            after the user's name.
        TypeError: `items` or `categories` is neither a mapping nor a function.
    """

    def __init__(
        self,
        interest: InterestState,
        items: Lookup,
        *,
        categories: Lookup | None = None,
        remember: int = 1_000,
    ) -> None:
        super().__init__()
        if remember < 1:
            raise ValueError(f"remember={remember} must be 1 or more.")
        self.adding = _Adding(interest, items, categories)
        self.remember = remember

    def expand(self, events: Any) -> UpdatedInterest:
        """Deals the events out by user, each of whom has a state."""
        updated = (
            events
            | "Key" >> beam.Map(by_user).with_output_types(KEYED)
            | "Update"
            >> beam.ParDo(_Update(self.adding, self.remember)).with_outputs(
                "unknown", "late", main="interest"
            )
        )
        return UpdatedInterest(updated.interest, updated.unknown, updated.late)


class CombineInterest(beam.CombineFn):
    """Clean events of a user to the bytes of the user's state, as a `CombineFn`.

    For logs that end, such as those that a store of states is first filled from; each
    event must come once, as from `CleanEvents`. Items without a vector are left out,
    and counted as `UpdateInterest` counts them.

    Args:
        interest: How interest is kept.
        items: As in `UpdateInterest`.
        categories: As in `UpdateInterest`.
    """

    def __init__(
        self,
        interest: InterestState,
        items: Lookup,
        *,
        categories: Lookup | None = None,
    ) -> None:
        super().__init__()
        self._adding = _Adding(interest, items, categories)

    def create_accumulator(self) -> tuple[bytes, list[CleanEvent]]:
        """A state without events, and events that are still to be added."""
        interest = self._adding.interest
        return interest.to_bytes(interest.empty()), []

    def add_input(self, accumulator: Any, event: CleanEvent) -> Any:
        """Adds an event, once there are enough for it to be worth its while."""
        data, waiting = accumulator
        waiting.append(event)
        return (data, waiting) if len(waiting) < _EVENTS else self._added(data, waiting)

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        """Puts together what came of parts of a user's events."""
        interest = self._adding.interest
        merged, waiting = interest.empty(), []
        for data, more in accumulators:
            merged = interest.merge(merged, interest.from_bytes(data))
            waiting.extend(more)
        return self._added(interest.to_bytes(merged), waiting)

    def extract_output(self, accumulator: Any) -> bytes:
        """What `InterestState.from_bytes` reads."""
        data, _ = self._added(*accumulator)
        return data

    def _added(
        self, data: bytes, waiting: list[CleanEvent]
    ) -> tuple[bytes, list[CleanEvent]]:
        known = [event for event in waiting if self._adding.knows(event.item)]
        unknown = len(waiting) - len(known)
        if unknown:
            _counter("events_of_unknown_items").inc(unknown)
        interest = self._adding.interest
        state = self._adding.to(interest.from_bytes(data), known)
        return interest.to_bytes(state), []


class _Adding:
    """An `InterestState`, and what it has to know of an event's item."""

    def __init__(
        self, interest: InterestState, items: Lookup, categories: Lookup | None
    ) -> None:
        for name, lookup in (("items", items), ("categories", categories)):
            if not ((lookup is None and name == "categories") or _is_lookup(lookup)):
                raise TypeError(
                    f"{name} is a {type(lookup).__name__}: give a mapping, or a "
                    "function of an item's id."
                )
        self.interest = interest
        self._items = items
        self._categories = categories

    def knows(self, item: str) -> bool:
        return _looked_up(self._items, item) is not None

    def to(self, state: State, events: Sequence[CleanEvent]) -> State:
        """The state with events added."""
        if not events:
            return state
        categories = None
        if self._categories is not None:
            categories = [_looked_up(self._categories, one.item) for one in events]
        return self.interest.update(
            state,
            np.stack([_looked_up(self._items, one.item) for one in events]),
            times=np.array([one.time for one in events]),
            actions=[one.action for one in events],
            categories=categories,
        )


class _Update(beam.DoFn):
    """A user's state, brought up to date by one event at a time."""

    INTEREST = ReadModifyWriteStateSpec("interest", BytesCoder())
    COUNTED = ReadModifyWriteStateSpec("counted", BytesCoder())

    def __init__(self, adding: _Adding, remember: int) -> None:
        self._adding = adding
        self._remember = remember

    def process(
        self,
        element: tuple[str, tuple[Any, ...]],
        interest: Any = beam.DoFn.StateParam(INTEREST),
        counted: Any = beam.DoFn.StateParam(COUNTED),
    ) -> Any:
        user, others = element
        event = CleanEvent(user, *others)
        if not self._adding.knows(event.item):
            _counter("events_of_unknown_items").inc()
            yield TaggedOutput("unknown", event)
            return
        known = _Counted.read(counted.read())
        found = known.find(event)
        if found != "new":
            _counter(f"events_{found}").inc()
            if found == "late":
                yield TaggedOutput("late", event)
            return
        data = interest.read()
        keeping = self._adding.interest
        try:
            state = keeping.from_bytes(data) if data else keeping.empty()
            state = self._adding.to(state, [event])
            interest.write(keeping.to_bytes(state))
            read = keeping.read(state, time=state.time)
        except ValueError as error:
            raise ValueError(f"user {user!r}, item {event.item!r}: {error}") from error
        known = known.added(event, self._remember)
        counted.write(known.written())
        _counter("events_counted").inc()
        yield UserInterest(user, int(state.time), read, known.events)


class _Counted(NamedTuple):
    """Which of a user's events have been counted.

    events: How many.
    forgotten: The mark of the newest that is no longer remembered; zeros for none.
    marks: Those of the others, in order, end to end.
    """

    events: int
    forgotten: bytes
    marks: bytes

    @classmethod
    def read(cls, data: bytes | None) -> _Counted:
        if not data:
            return cls(0, bytes(_MARK), b"")
        return cls(
            int.from_bytes(data[:8], "big"), data[8 : 8 + _MARK], data[8 + _MARK :]
        )

    def written(self) -> bytes:
        return self.events.to_bytes(8, "big") + self.forgotten + self.marks

    def find(self, event: CleanEvent) -> str:
        """Whether an event is "new", "repeated" or "late"."""
        mark = _mark(event)
        if mark <= self.forgotten:
            return "late"
        place = self._place(mark)
        return "repeated" if self.marks[place : place + _MARK] == mark else "new"

    def added(self, event: CleanEvent, most: int) -> _Counted:
        mark = _mark(event)
        place = self._place(mark)
        marks = self.marks[:place] + mark + self.marks[place:]
        # More than one has to go where `most` was larger before.
        beyond = max(len(marks) - most * _MARK, 0)
        forgotten = marks[beyond - _MARK : beyond] if beyond else self.forgotten
        return _Counted(self.events + 1, forgotten, marks[beyond:])

    def _place(self, mark: bytes) -> int:
        places = range(0, len(self.marks), _MARK)
        return _MARK * bisect_left(
            places, mark, key=lambda place: self.marks[place : place + _MARK]
        )


def _mark(event: CleanEvent) -> bytes:
    """What an event is known by: 8 bytes of its time, which sort, and 8 of the rest."""
    rest = json.dumps([event.item, event.action]).encode()
    time = int(event.time) + (1 << 63)
    return time.to_bytes(8, "big") + hashlib.blake2b(rest, digest_size=8).digest()


def _is_lookup(given: Any) -> bool:
    return callable(given) or isinstance(given, Mapping)


def _looked_up(lookup: Lookup, item: str) -> Any:
    return lookup.get(item) if isinstance(lookup, Mapping) else lookup(item)


def _counter(name: str) -> Any:
    return Metrics.counter("tfrs_decay", name)
