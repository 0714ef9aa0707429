"""Users' states in a Redis server."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tfrs_decay.serving.homes import (
    AT_ONCE,
    MARK,
    TRAIL,
    WAIT_SECONDS,
    Change,
    Kept,
    Record,
    closed,
)

PREFIX = "tfrs_decay:interest:"
"""Of a state's key in Redis, before the user, where none is chosen."""


class RedisHome:
    """Records in a Redis server, for as many machines as ask it.

    A record is a string under `prefix` and the user, which the server lets go of by
    itself once it has expired. For updates that outlive the server's end it needs
    `appendonly yes` and `appendfsync always`, and `maxmemory-policy noeviction` lest it
    drop users for want of memory.

    Args:
        client: A `redis.Redis`, which stays open when the home is closed. It has to
            give bytes: `decode_responses=False`, as it does by default.
        prefix: Of its keys; a database may hold the states of several models.

    Raises:
        ImportError: redis is not installed.
        ValueError: The client gives strings.
    """

    def __init__(self, client: Any, prefix: str = PREFIX) -> None:
        self._redis = _import_redis()
        options = client.connection_pool.connection_kwargs
        if options.get("decode_responses"):
            raise ValueError(
                "client decodes what it reads, and states are no text: make it with "
                "decode_responses=False."
            )
        self._client: Any = client
        self._prefix = prefix
        self._owned = False
        place = options.get("path") or (
            f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        )
        self._name = f"redis://{place}/{options.get('db', 0)}"

    @classmethod
    def at(cls, url: str, prefix: str = PREFIX) -> RedisHome:
        """Makes a client for a URL, and closes it with the home.

        Args:
            url: "redis://[[user]:password@]host[:port][/database]", "rediss://" for
                TLS, or "unix://path"; options of the client after a "?", such as
                "?socket_timeout=1", which is 5 seconds unless it is told.
            prefix: Of its keys.

        Raises:
            ImportError: redis is not installed.
            ValueError: The URL cannot be read.
        """
        redis = _import_redis()
        never = importlib.import_module("redis.backoff").NoBackoff()
        home = cls(
            redis.Redis.from_url(
                url,
                socket_timeout=WAIT_SECONDS,
                socket_connect_timeout=WAIT_SECONDS,
                # A store tries again by itself, and knows what it has written already.
                retry=importlib.import_module("redis.retry").Retry(never, 0),
            ),
            prefix,
        )
        home._owned = True
        return home

    @property
    def name(self) -> str:
        """As a URL, without a password."""
        return self._name

    def read(self, users: Sequence[str]) -> list[Record | None]:
        """See `Home.read`."""
        return self._records([self._key(user) for user in users])

    def swap(self, changes: Sequence[Change]) -> list[bool]:
        """See `Home.swap`; each of them by itself."""
        commands = []
        for user, seen, record in changes:
            ends = record.expires
            life = "" if ends is None else 1_000 * (ends - record.written)
            commands.append(
                ("EVAL", _SWAP, 1, self._key(user), seen, _packed(record), life)
            )
        return [answer == 1 for answer in self._each(commands)]

    def delete(self, user: str) -> bool:
        """See `Home.delete`."""
        return self._each([("DEL", self._key(user))]) == [1]

    def sweep(self, now: int) -> int:
        """See `Home.sweep`; what the server let go of by itself is not counted."""
        removed = 0
        for batch in self._all():
            commands = [
                ("EVAL", _REMOVE, 1, key, record.marks[:MARK])
                for key, record in batch.items()
                if record.has_expired(now)
            ]
            removed += sum(self._each(commands))
        return removed

    def count(self, now: int) -> Kept:
        """See `Home.count`; what the server let go of by itself is not counted.

        All records are read, and one that the server moves meanwhile may count twice.
        """
        states = expired = 0
        for batch in self._all():
            states += len(batch)
            expired += sum(record.has_expired(now) for record in batch.values())
        return Kept(states, expired)

    def close(self) -> None:
        """See `Home.close`."""
        if self._owned and self._client is not None:
            self._client.close()
        self._client = None

    def _all(self) -> Iterator[dict[bytes, Record]]:
        """All records by key, some at a time."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix) + "*"
        with self._named_errors():
            for keys in _batches(self._client.scan_iter(match=pattern, count=AT_ONCE)):
                records = zip(keys, self._records(keys), strict=True)
                yield {key: record for key, record in records if record is not None}

    def _key(self, user: str) -> bytes:
        return (self._prefix + user).encode()

    def _each(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers to commands, which travel together."""
        answers: list[Any] = []
        for start in range(0, len(commands), AT_ONCE):
            with self._named_errors():
                pipeline = self._client.pipeline(transaction=False)
                for command in commands[start : start + AT_ONCE]:
                    pipeline.execute_command(*command)
                answers += pipeline.execute()
        return answers

    def _records(self, keys: Sequence[bytes]) -> list[Record | None]:
        answers = self._each([("GET", key) for key in keys])
        return [None if answer is None else _unpacked(answer) for answer in answers]

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Redis' errors as Python's own, with the name of the server."""
        if self._client is None:
            raise closed(self.name)
        redis = self._redis
        try:
            yield
        except redis.AuthenticationError as error:
            raise PermissionError(
                f"{self.name} refuses this user or password, or lack of them: {error}."
            ) from error
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise ConnectionError(
                f"{self.name} does not answer ({error}): see that it runs, and that "
                "this machine reaches it."
            ) from error
        except redis.RedisError as error:
            raise OSError(f"{self.name} refuses: {error}.") from error


# A record in Redis: what it is, its marks, when it was written, when it expires.
_RECORD = struct.Struct(f"<5s{MARK * TRAIL}sqq")
_MAGIC = b"tdIR\1"
_NEVER = -1

# KEYS: the record. ARGV: the newest mark that was seen, the new record, its life in
# milliseconds. Lua counts from 1.
_SWAP = f"""
local there = redis.call('GET', KEYS[1])
if (there and string.sub(there, {len(_MAGIC) + 1}, {len(_MAGIC) + MARK}) or '')
    ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""

# KEYS: the record. ARGV: the newest mark that was seen.
_REMOVE = f"""
local mark = redis.call('GETRANGE', KEYS[1], {len(_MAGIC)}, {len(_MAGIC) + MARK - 1})
return mark == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
"""


def _packed(record: Record) -> bytes:
    ends = _NEVER if record.expires is None else record.expires
    return _RECORD.pack(_MAGIC, record.marks, record.written, ends) + record.state


def _unpacked(data: bytes) -> Record:
    if data[: len(_MAGIC)] != _MAGIC or len(data) < _RECORD.size:
        return Record(
            state=data,
            written=0,
            expires=None,
            marks=bytes(MARK * TRAIL),
            unreadable=(
                f"It has {len(data)} bytes and begins with {data[: len(_MAGIC)]!r}, "
                f"and a record with {_MAGIC!r}: it was cut off, or written by "
                "something else."
            ),
        )
    _, marks, written, expires = _RECORD.unpack_from(data)
    return Record(
        state=data[_RECORD.size :],
        written=written,
        expires=None if expires == _NEVER else expires,
        marks=marks,
    )


def _batches(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(keys)
    while batch := list(itertools.islice(rest, AT_ONCE)):
        yield batch


def _import_redis() -> Any:
    try:
        return importlib.import_module("redis")
    except ImportError:
        raise ImportError(
            "states in Redis need redis: pip install 'tfrs-decay[redis]'"
        ) from None
