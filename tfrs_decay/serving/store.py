"""Users' interest kept between requests, updated by many writers at once.

Nothing here loads Keras or TensorFlow.
"""

from __future__ import annotations

import base64
import collections
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from tfrs_decay.data.times import moment_of
from tfrs_decay.durations import Duration, to_seconds
from tfrs_decay.interest import InterestState, State, stored
from tfrs_decay.interest.state import need_state
from tfrs_decay.serving.homes import Home, Kept, Record, exchange, without_password
from tfrs_decay.serving.redis_home import PREFIX, RedisHome
from tfrs_decay.serving.sqlite_home import SQLiteHome

LONGEST_USER = 1_024
"""Bytes of a user's id in UTF-8."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1e-3, 1.0

# Users that an error names; it has all of them.
_MOST_NAMED = 20


class UnreadableStates(ValueError):
    """Some of the states that were asked for cannot be read.

    Attributes:
        users: Why, by user; all of those that were asked for.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        (_, first), *others = users.items()
        message = first
        if others:
            named = [repr(user) for user, _ in others[:_MOST_NAMED]]
            if len(others) > _MOST_NAMED:
                named.append(f"and {len(others) - _MOST_NAMED:,} more")
            message += f" Nor can those of {len(others):,} others: {', '.join(named)}."
        super().__init__(message)
        self.users = dict(users)


class Counts(NamedTuple):
    """What a store met since it was opened.

    expired: States that were read, or written over, as absent because their time was
        up.
    replaced: States of other decays that were read, or written over, as absent.
    damaged: States that could not be read, and were read as absent as `on_damaged`
        allowed.
    retried: Times that users were read again since another writer was faster, or the
        home did not answer.
    """

    expired: int
    replaced: int
    damaged: int
    retried: int


class InterestStore:
    """Keeps each user's interest, and nothing else of the user, in SQLite or Redis.

    A user who is not there has the state without events, and so has one whose state has
    expired: there is no None to look out for, and `user in store` tells them apart.
    Reading and writing are safe from several threads and, but for ":memory:", from
    several processes, each with a store of its own. An update reads a state and puts
    the new one in its place only if it is still there, and starts again if it is not:
    no update is lost, and one that is under way does not bring back what is deleted
    meanwhile, but starts the user anew with its own events. An update whose answer was
    lost with the connection is looked for, and not made twice.

    Kept are the state's bytes, when they were written and when they expire: no items,
    no list of events. `InterestState.describe` says which decays are sums of
    exponentials; for others a state holds its newest events as they are, which is a
    history, and has to be allowed by name.

    Args:
        interest: Under which states are read and written; `layers.InterestState` has it
            as `arrays`. None for a store that reads and writes none, and only says who
            is there, exports, deletes, counts and sweeps.
        home: Where they are; `InterestStore.open` makes one for a URL.
        time_to_live: How long after its last update a state counts for absent, such as
            "90d"; rounded up to whole seconds. None keeps states for ever.
        foreign: What a state is that was written under other decays, dimensions or
            weights of actions: "refuse" raises ValueError with both fingerprints;
            for "replace" it counts for absent, and the next update takes its place.
        recent_events: Whether states may hold events as they are.
        attempts: How often an update is tried, and a read where the home does not
            answer, with pauses by chance of up to 1 ms at first and up to 1 s at last.
        clock: Gives seconds since the epoch.

    Raises:
        TypeError: `interest` is no `tfrs_decay.interest.InterestState`.
        ValueError: An argument is out of its range, or states would hold events and
            `recent_events` is False.

    >>> from tfrs_decay.decay import Exponential
    >>> from tfrs_decay.interest import InterestState
    >>> interest = InterestState(Exponential("1d"), dim=1)
    >>> with InterestStore.open("sqlite:///:memory:", interest) as store:
    ...     for day, x in [(0, 4.0), (2, 1.0)]:
    ...         state = store.update("ann", [[x]], times=[day * 86_400])
    ...     print(interest.read(store.get("ann"), time=172_800))  # 2 / 1.25
    ...     print(store.delete("ann"), "ann" in store)
    [1.6]
    1 False
    """

    def __init__(
        self,
        interest: InterestState | None,
        home: Home,
        *,
        time_to_live: Duration | None = None,
        foreign: str = "refuse",
        recent_events: bool = False,
        attempts: int = 20,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(interest, (InterestState, type(None))):
            raise TypeError(
                f"interest is a {type(interest).__module__}.{type(interest).__name__}: "
                "give a tfrs_decay.interest.InterestState; a layer has it as `arrays`."
            )
        if foreign not in ("refuse", "replace"):
            raise ValueError(f"foreign={foreign!r} must be 'refuse' or 'replace'.")
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            raise ValueError(f"attempts={attempts!r} must be a whole number from 1 on.")
        kept = 0 if interest is None else interest.formulas.capacity
        if interest is not None and kept and not recent_events:
            raise ValueError(
                f"a state under these decays holds its newest {kept} events as they "
                f"are ({interest.describe()}): choose decays that are sums of "
                "exponentials, or allow it with recent_events=True."
            )
        self._interest = interest
        self.home = home
        self.foreign = foreign
        self.attempts = attempts
        self._life = None
        if time_to_live is not None:
            self._life = math.ceil(to_seconds(time_to_live, "time_to_live"))
        self._clock = clock
        self._counting = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()

    @property
    def interest(self) -> InterestState:
        """Under which states are read and written; ValueError where there is none."""
        if self._interest is None:
            raise ValueError(
                f"the store at {self.home.name} was opened without an interest, and so "
                "states are neither read nor written: open it with the InterestState "
                "that they were written under."
            )
        return self._interest

    @classmethod
    def open(
        cls,
        url: str,
        interest: InterestState | None,
        *,
        create: bool = True,
        prefix: str | None = None,
        **options: Any,
    ) -> InterestStore:
        """Opens a store by the URL of its home.

        Args:
            url: "sqlite:///states.db", with a fourth slash for an absolute path, is a
                file that is made when it is not there; "redis://host:6379/0",
                "rediss://" and "unix://" are Redis (`RedisHome.at`), which needs the
                extra `redis`.
            interest: As in `InterestStore`.
            create: Whether to make a file that is not there; Redis has no such thing.
            prefix: Of keys in Redis, as in `RedisHome`; a file has none.
            **options: The other arguments of `InterestStore`.

        Raises:
            ImportError: redis is not installed.
            OSError: The file cannot be opened; FileNotFoundError where it is not there
                and is not to be made.
            ValueError: The URL is none of these, the file is something else, or an
                option is out of its range, or does not go with the home.
        """
        scheme, separator, path = url.partition("://")
        home: Home
        if separator and scheme in ("redis", "rediss", "unix"):
            home = RedisHome.at(url, PREFIX if prefix is None else prefix)
        elif separator and scheme == "sqlite" and path[:1] == "/" and path[1:]:
            if prefix is not None:
                raise ValueError(
                    f"prefix={prefix!r} is of keys in Redis, and url={url!r} is a "
                    "file: leave it out."
                )
            home = SQLiteHome(path[1:], create=create)
        else:
            raise ValueError(
                f"url={without_password(url)!r} must be 'sqlite:///PATH' or "
                "'redis://HOST:PORT/DATABASE'."
            )
        try:
            return cls(interest, home, **options)
        except BaseException:
            home.close()
            raise

    def get(self, user: str) -> State:
        """A user's state; the one without events where there is none.

        Raises:
            TypeError: `user` is no string.
            UnreadableStates: What is kept is damaged, or of other decays.
            ValueError: It is empty or too long, or the store is closed or has no
                interest.
            ConnectionError: The home does not answer, after all attempts.
            OSError: The home refuses; TimeoutError where it is locked.
        """
        return _one(self.get_many([user]), 0)

    def get_many(
        self,
        users: Sequence[str],
        *,
        on_damaged: Callable[[str, str], object] | None = None,
    ) -> State:
        """The states of n users as one, which a layer or a signature takes as it is.

        Args:
            users: n of them.
            on_damaged: Called with each user whose bytes cannot be read, and why: the
                state is then the one without events, which a recommender answers with
                what is popular, and the others are as ever. Nothing is deleted, and
                updates go on refusing such a user until `delete`. It is not about
                states of other decays.

        Returns:
            A state of [n] users, in the order in which they were given.

        Raises:
            UnreadableStates: Some are damaged, and `on_damaged` is left out; or are of
                other decays. All such users are named.
            TypeError: As in `get`, as are the other errors.
        """
        _check_users(users)
        return self._states(users, self._read(users), on_damaged)

    def __contains__(self, user: str) -> bool:
        """Whether a user has a state, of any decays, that has not expired."""
        _check_users([user])
        (record,) = self._read([user])
        return record is not None and not record.has_expired(self._now())

    def update(
        self,
        user: str,
        vectors: Any,
        times: Any,
        actions: Any = None,
        categories: Any = None,
        event_weights: Any = None,
    ) -> State:
        """Adds events of a user, in any order, and keeps the new state.

        Args:
            user: Whose.
            vectors: [n, dim] numbers.
            times: [n] integer seconds since the epoch.
            actions: [n] strings; needed with weights or rates for each action.
            categories: [n] strings; needed with rates for each category.
            event_weights: [n] numbers, 0 or more.

        Returns:
            The new state.

        Raises:
            ValueError: `InterestState.update` refuses the events; or as in `change`, as
                are the other errors.
        """
        return self.change(
            user,
            lambda state: self.interest.update(
                state, vectors, times, actions, categories, None, event_weights
            ),
        )

    def update_many(
        self,
        users: Sequence[str],
        vectors: Any,
        times: Any,
        actions: Any = None,
        categories: Any = None,
        mask: Any = None,
        event_weights: Any = None,
    ) -> State:
        """Adds events of n users and keeps their new states; see `change_many`.

        Args:
            users: n different ones.
            vectors: [n, m, dim] numbers.
            times: [n, m] integer seconds since the epoch.
            actions: [n, m] strings; needed with weights or rates for each action.
            categories: [n, m] strings; needed with rates for each category.
            mask: [n, m] bool, False for padding. Every event counts when left out.
            event_weights: [n, m] numbers, 0 or more.

        Returns:
            The new state, of [n] users.

        Raises:
            ValueError: As in `update`, as are the other errors.
        """
        return self.change_many(
            users,
            lambda states: self.interest.update(
                states, vectors, times, actions, categories, mask, event_weights
            ),
        )

    def change(self, user: str, function: Callable[[State], State]) -> State:
        """Puts what a function makes of a user's state in its place.

        Args:
            user: Whose.
            function: Takes a state and gives one, of arrays or tensors. It is called
                again where another writer was faster, and so should do nothing else;
                what it raises is raised, and nothing is kept.

        Returns:
            The new state.

        Raises:
            TypeError: `user` is no string, or the function gives no state.
            UnreadableStates: What is kept is no state under `interest`.
            ValueError: What the function gives is none; or as in `get`.
            TimeoutError: Another writer was faster, at every attempt; or the home is
                locked.
            ConnectionError: The home does not answer, after all attempts.
            RuntimeError: It did not answer once, and other writers have been there so
                often since that nobody can tell whether this change was made.
            OSError: The home refuses.
        """

        def of_one(states: State) -> State:
            changed = function(_one(states, 0))
            need_state(changed, _GIVEN)
            return State(*(np.asarray(field)[None] for field in changed))

        return _one(self.change_many([user], of_one), 0)

    def change_many(
        self, users: Sequence[str], function: Callable[[State], State]
    ) -> State:
        """Puts what a function makes of the states of n users in their places.

        Each user's changes by itself: where this raises, those of some may have
        changed. In SQLite all of them are one write to the disk.

        Args:
            users: n different ones.
            function: As in `change`, of a state of [n] users. Where another writer was
                faster for some of them it is called again with all, and what it gives
                for the others is left.

        Returns:
            The new state, of [n] users.

        Raises:
            TypeError: As in `change`, as are the other errors.
        """
        _check_users(users)
        twice = [user for user, n in collections.Counter(users).items() if n > 1]
        if twice:
            raise ValueError(
                f"users hold {twice[0]!r} twice: put a user's events in one row."
            )

        def make(records: Sequence[Record | None]) -> list[Record]:
            changed = function(self._states(users, records))
            return self._records(users, changed)

        return self._states(users, exchange(self.home, users, make, self._attempts()))

    def export(self, user: str) -> dict[str, Any] | None:
        """All that is kept of a user, as JSON takes it, for whoever asks for it.

        Returns:
            None where nothing is. Otherwise "user" and "store"; "written" and
            "expires", dates in UTC, and "expired", for what has and was not swept yet;
            "bytes", the state as it is, in base 64; "version" and "fingerprint" of the
            state; and "state", its fields as nested lists (`interest.State`). What
            cannot be read has None in their places, and "unreadable" that says why;
            "written" is None, too, where that is not known. A store without an
            interest cannot tell one field of the bytes from another, for their lengths
            are of the decays: "state" is None, and "unreadable" says only what is
            wrong with the header.

        Raises:
            TypeError: As in `get`, as are the other errors, but for a state that is
                damaged or of other decays.
        """
        _check_users([user])
        (record,) = self._read([user])
        if record is None:
            return None
        version = fingerprint = state = unreadable = None
        try:
            version, fingerprint, _ = _header(record)
            if self._interest is not None:
                fields = self._interest.from_bytes(record.state)._asdict()
                state = {name: np.asarray(one).tolist() for name, one in fields.items()}
        except ValueError as error:
            unreadable = str(error)
        return {
            "user": user,
            "store": self.home.name,
            "written": moment_of(record.written) if record.unreadable is None else None,
            "expires": None if record.expires is None else moment_of(record.expires),
            "expired": record.has_expired(self._now()),
            "version": version,
            "fingerprint": fingerprint,
            "state": state,
            "unreadable": unreadable,
            "bytes": base64.b64encode(record.state).decode(),
        }

    def delete(self, user: str) -> int:
        """Deletes all that is kept of a user, readable or not; how many states, 0 or 1.

        An update that is under way does not bring it back: like a later one it starts
        the user anew, with its own events.

        Raises:
            TypeError: `user` is no string.
            ValueError: It is empty or too long, or the store is closed.
            ConnectionError: The home did not answer: delete again.
            OSError: The home refuses; TimeoutError where it is locked.
        """
        _check_users([user])
        return int(self.home.delete(user))

    def sweep(self) -> int:
        """Deletes the states that have expired, and says how many.

        SQLite keeps them until then. Redis lets go of them by itself, and those are not
        counted. What cannot be read stays until it is deleted.

        Raises:
            ConnectionError: The home did not answer: sweep again.
            OSError: The home refuses; TimeoutError where it is locked.
            ValueError: The store is closed.
        """
        return self.home.sweep(self._now())

    def count(self) -> Kept:
        """How many states there are, readable or not, and how many have expired.

        SQLite keeps those until `sweep`. Redis reads all that there is for it.

        Raises:
            ConnectionError: The home did not answer: count again.
            OSError: The home refuses; TimeoutError where it is locked.
            ValueError: The store is closed.
        """
        return self.home.count(self._now())

    @property
    def counts(self) -> Counts:
        """What this store, not its home, has met since it was opened."""
        with self._counting:
            return Counts(**{name: self._counts[name] for name in Counts._fields})

    def close(self) -> None:
        """Lets go of the home."""
        self.home.close()

    def __enter__(self) -> InterestStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _now(self) -> int:
        return math.floor(self._clock())

    def _count(self, name: str) -> None:
        with self._counting:
            self._counts[name] += 1

    def _attempts(self) -> Iterator[int]:
        """Numbers of attempts, with pauses between them that grow, by chance."""
        for attempt in range(self.attempts):
            if attempt:
                self._count("retried")
                most = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (attempt - 1))
                time.sleep(random.uniform(0, most))
            yield attempt

    def _read(self, users: Sequence[str]) -> list[Record | None]:
        trouble = None
        for _ in self._attempts():
            try:
                return self.home.read(users)
            except ConnectionError as error:
                trouble = error
        raise ConnectionError(
            f"given up after {self.attempts} attempts: {trouble}"
        ) from trouble

    def _states(
        self,
        users: Sequence[str],
        records: Sequence[Record | None],
        on_damaged: Callable[[str, str], object] | None = None,
    ) -> State:
        states = self.interest.empty([len(users)])
        damaged, refused = {}, {}
        for row, (user, record) in enumerate(zip(users, records, strict=True)):
            try:
                state = self._state(user, record)
            except _Damaged as error:
                damaged[user] = str(error)
            except _Foreign as error:
                refused[user] = str(error)
            else:
                if state is not None:
                    for whole, part in zip(states, state, strict=True):
                        whole[row] = part
        if on_damaged is None:
            refused = damaged | refused
        if refused:
            raise UnreadableStates(refused)
        if on_damaged is not None:
            for user, why in damaged.items():
                self._count("damaged")
                on_damaged(user, why)
        return states

    def _state(self, user: str, record: Record | None) -> State | None:
        """What a record holds, if it counts."""
        if record is None:
            return None
        if record.has_expired(self._now()):
            self._count("expired")
            return None
        where = f"the state of user {user!r} in {self.home.name}"
        fingerprint = self.interest.fingerprint
        try:
            written_under = _header(record).fingerprint
            if written_under == fingerprint:
                return self.interest.from_bytes(record.state)
        except ValueError as error:
            raise _Damaged(
                f"{where} cannot be read; delete(user) removes it. {error}"
            ) from error
        if self.foreign == "refuse":
            raise _Foreign(
                f"{where} was written under the fingerprint {written_under}, and this "
                f"store reads {fingerprint}: open it with the decays, dim and "
                'weights of actions that wrote it, or with foreign="replace" to start '
                "such users anew."
            )
        self._count("replaced")
        return None

    def _records(self, users: Sequence[str], states: State) -> list[Record]:
        """What to write of a state of users, which a caller has made."""
        need_state(states, _GIVEN)
        fields = [np.asarray(field) for field in states]
        shapes = [field.shape for field in fields]
        if any(shape[:1] != (len(users),) for shape in shapes):
            raise ValueError(
                f"{_GIVEN} has fields of the shapes {shapes}: the first dimension of "
                f"each must be of users, {len(users)} as in the state that it took."
            )
        now = self._now()
        expires = None if self._life is None else now + self._life
        records = []
        for row, user in enumerate(users):
            try:
                data = self.interest.to_bytes(State(*(one[row] for one in fields)))
            except ValueError as error:
                raise ValueError(
                    f"{_GIVEN} for user {user!r} cannot be kept: {error}"
                ) from error
            records.append(Record(data, now, expires, b""))
        return records


_GIVEN = "what function gives"


class _Damaged(Exception):
    """A state whose bytes cannot be read."""


class _Foreign(Exception):
    """A state of other decays."""


def _header(record: Record) -> stored.Header:
    """What a record's state says of itself; ValueError where it cannot be read."""
    if record.unreadable is not None:
        raise ValueError(record.unreadable)
    return stored.header(record.state)


def _one(states: State, row: int) -> State:
    """A single user's state, of arrays of its own."""
    return State(*(np.array(field[row]) for field in states))


def _check_users(users: Sequence[str]) -> None:
    if isinstance(users, (str, bytes)):
        raise TypeError(f"users={users!r} must be a list of strings.")
    for user in users:
        if not isinstance(user, str):
            raise TypeError(
                f"user={user!r} is a {type(user).__name__}: give a string, the same "
                "one every time."
            )
        try:
            length = len(user.encode())
        except UnicodeEncodeError:
            raise ValueError(
                f"user={user!r} holds half a character, which UTF-8 cannot write."
            ) from None
        if not 1 <= length <= LONGEST_USER:
            raise ValueError(
                f"user={user[:40]!r} has {length:,} bytes in UTF-8, and must have 1 to "
                f"{LONGEST_USER:,}: leave out who is not known, lest they all share a "
                "state."
            )
