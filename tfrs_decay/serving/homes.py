"""One record a user, and how many writers at once replace it without losing a write.

A home is a place for records, and knows nothing of what is in them. It takes a new one
only in the place of the one that the writer has seen: all that `exchange` needs for
writers in many threads, processes and machines. Nothing here loads Keras or TensorFlow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

MARK = 8
"""Bytes of chance that tell one write of a record from every other."""

TRAIL = 4
"""A record's latest writes whose marks it keeps."""

AT_ONCE = 500
"""Users that one command asks for."""

WAIT_SECONDS = 5.0
"""How long a home may take before it counts as not answering."""


class Record(NamedTuple):
    """What is kept of a user.

    state: The interest, as `InterestState.to_bytes` writes it.
    written: When it was last written, seconds since the epoch.
    expires: From when on it counts for absent, seconds since the epoch; None for never.
    marks: `MARK` bytes for each of its latest `TRAIL` writes, the newest first; zeros
        where there were not so many.
    unreadable: Why it is no record, where something else has been put in its place or
        it was cut off: `state` is then all that is there, and the rest says nothing.
    """

    state: bytes
    written: int
    expires: int | None
    marks: bytes
    unreadable: str | None = None

    def has_expired(self, now: int) -> bool:
        """Whether it counts for absent at a time, seconds since the epoch."""
        return self.expires is not None and self.expires <= now

    def has(self, mark: bytes) -> bool:
        """Whether a mark is among them."""
        places = range(0, len(self.marks), MARK)
        return mark in [self.marks[place : place + MARK] for place in places]


class Kept(NamedTuple):
    """How much there is.

    states: Records, with those that have expired and are still there.
    expired: How many of them have expired.
    """

    states: int
    expired: int


class Change(NamedTuple):
    """A record in the place of another.

    user: Whose.
    seen: The newest mark of the record that it replaces; b"" for none.
    record: The new one.
    """

    user: str
    seen: bytes
    record: Record


class Home(Protocol):
    """A place for one record a user.

    Its methods may be called by many threads at once. They raise ConnectionError where
    the home did not answer, and what was asked for may have been done or not;
    TimeoutError where it is locked; ValueError where it holds something else, or is
    closed; OSError for whatever else it refuses.
    """

    @property
    def name(self) -> str:
        """What it is called in errors, without a password."""

    def read(self, users: Sequence[str]) -> list[Record | None]:
        """The record of each, None where there is none."""

    def swap(self, changes: Sequence[Change]) -> list[bool]:
        """Makes each change whose `seen` is what is there; says which were made."""

    def delete(self, user: str) -> bool:
        """Removes a record; whether there was one."""

    def sweep(self, now: int) -> int:
        """Removes the records that have expired; how many. What is unreadable stays."""

    def count(self, now: int) -> Kept:
        """How many records there are; it may take long where there are many."""

    def close(self) -> None:
        """Lets go of it. Closing it again does nothing."""


def without_password(url: str) -> str:
    """A URL for an error: whatever stands before an "@" in it is left out."""
    return re.sub(r"^(\w+:/*)?.*@", r"\1...@", url, flags=re.DOTALL)


def closed(name: str) -> ValueError:
    """The error of a home that was closed."""
    return ValueError(f"{name} is closed: open it again.")


def exchange(
    home: Home,
    users: Sequence[str],
    make: Callable[[Sequence[Record | None]], Sequence[Record]],
    attempts: Iterable[int],
) -> list[Record]:
    """Replaces the records of users by what is made of them.

    Args:
        home: Where they are.
        users: n different ones.
        make: Takes their n records, None where there is none, and gives n new ones,
            whose marks are written over. Where another writer was faster it is called
            again, with all of them as they then are; what it gives for those that were
            replaced already is left.
        attempts: One for each time that this may try; what gives them may pause.

    Returns:
        The n new records.

    Raises:
        TimeoutError: Another writer was faster, at every attempt.
        ConnectionError: The home did not answer at the last attempt.
        RuntimeError: It did not answer once, and others have written so often since
            that nobody can tell whether this write was made.
    """
    mark = os.urandom(MARK)
    made: dict[int, Record] = {}
    unsure: dict[int, bytes] = {}
    trouble: ConnectionError | None = None
    for _ in attempts:
        try:
            records = home.read(users)
        except ConnectionError as error:
            trouble = error
            continue
        for row, record in enumerate(records):
            if row in made:
                continue
            if record is not None and record.has(mark):
                # An attempt whose answer did not arrive.
                made[row] = record
            elif row in unsure:
                _check_trail(record, unsure[row], f"{users[row]!r} in {home.name}")
                if _newest(record) != unsure[row]:
                    # Too late for that attempt to be made still.
                    del unsure[row]
        changes = {}
        for row, new in enumerate(make(records) if len(made) < len(users) else ()):
            if row not in made:
                before = records[row]
                trail = bytes(MARK * TRAIL) if before is None else before.marks
                changes[row] = Change(
                    users[row],
                    _newest(before),
                    new._replace(marks=(mark + trail)[: MARK * TRAIL]),
                )
        try:
            swapped = home.swap(list(changes.values()))
        except ConnectionError as error:
            trouble = error
            unsure |= {row: change.seen for row, change in changes.items()}
            continue
        trouble = None
        for (row, change), done in zip(changes.items(), swapped, strict=True):
            if done:
                made[row] = change.record
        if len(made) == len(users):
            return [made[row] for row in range(len(users))]
    whose = next(repr(user) for row, user in enumerate(users) if row not in made)
    if trouble is None:
        raise TimeoutError(
            f"another writer was faster with user {whose} in {home.name}, at every "
            "attempt: try again, or send each user's events through one writer."
        )
    perhaps = " It may have been made, or not." if unsure else ""
    raise ConnectionError(
        f"the change of user {whose} was given up: {trouble}{perhaps}"
    ) from trouble


def _newest(record: Record | None) -> bytes:
    return b"" if record is None else record.marks[:MARK]


def _check_trail(record: Record | None, seen: bytes, whose: str) -> None:
    """Refuses to go on where a write may be hidden under those that followed."""
    if record is None or record.has(bytes(MARK)) or record.has(seen):
        return
    raise RuntimeError(
        f"the home did not answer when user {whose} was written, and others have "
        f"written {TRAIL} times or more since: this change may have been made, or not. "
        "Replay the user's events if that matters."
    )
