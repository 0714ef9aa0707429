"""Users' states in a SQLite file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfrs_decay.durations import to_text
from tfrs_decay.serving.homes import (
    AT_ONCE,
    MARK,
    WAIT_SECONDS,
    Change,
    Kept,
    Record,
    closed,
)


class SQLiteHome:
    """Records in a SQLite file, for the threads and processes of one machine.

    The file has a write-ahead log, `PATH-wal`, and `PATH-shm` beside it, and only its
    owner may read them: the rights of others are taken away when it is opened. What was
    written is on disk when a call returns. What was deleted is overwritten with zeros
    and gone from the log too, unless another process was reading just then: it then
    goes with the next deletion.

    Args:
        path: The file; its folder has to be there. ":memory:" for one that ends with
            the object.
        create: Whether to make the file when it is not there.

    Raises:
        OSError: The file cannot be opened, or its file system has no write-ahead log,
            as shared ones have not; FileNotFoundError where it is not there and is not
            to be made; PermissionError where others may read it and it is not this
            process' to change.
        ValueError: It is something else, or damaged.
    """

    # "tdIS", and the layout of the table.
    _APPLICATION = 0x74644953
    _LAYOUT = 1

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True) -> None:
        self.path = os.fspath(path)
        self._lock = threading.RLock()
        self._process = os.getpid()
        if self.path != ":memory:":
            if not create and not Path(self.path).is_file():
                raise FileNotFoundError(
                    f"There is no file {self.path}, and none is to be made."
                )
            Path(self.path).touch(mode=0o600)
        with self._named_errors():
            self._connection: sqlite3.Connection | None = sqlite3.connect(
                self.path,
                timeout=WAIT_SECONDS,
                isolation_level=None,  # transactions are begun by name, below
                check_same_thread=False,  # the lock sees to it
            )
        try:
            with self._asking() as connection:
                self._prepare(connection)
            if self.path != ":memory:":
                self._make_private()
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """As a URL."""
        return f"sqlite:///{self.path}"

    def read(self, users: Sequence[str]) -> list[Record | None]:
        """See `Home.read`."""
        found = {}
        with self._asking() as connection:
            for start in range(0, len(users), AT_ONCE):
                some = users[start : start + AT_ONCE]
                places = ",".join("?" * len(some))
                for user, *fields in connection.execute(
                    "SELECT user, state, written, expires, marks FROM interest "
                    f"WHERE user IN ({places})",
                    some,
                ):
                    found[user] = Record(*fields)
        return [found.get(user) for user in users]

    def swap(self, changes: Sequence[Change]) -> list[bool]:
        """See `Home.swap`; all of them are one transaction."""
        made = []
        with self._asking() as connection, self._transaction(connection):
            for user, seen, record in changes:
                if seen:
                    done = connection.execute(
                        "UPDATE interest SET state = ?, written = ?, expires = ?, "
                        "marks = ? WHERE user = ? AND substr(marks, 1, ?) = ?",
                        (*_columns(record), user, MARK, seen),
                    )
                else:
                    done = connection.execute(
                        "INSERT INTO interest (user, state, written, expires, marks) "
                        "VALUES (?, ?, ?, ?, ?) ON CONFLICT (user) DO NOTHING",
                        (user, *_columns(record)),
                    )
                made.append(done.rowcount == 1)
        return made

    def delete(self, user: str) -> bool:
        """See `Home.delete`."""
        return self._removed("user = ?", user) == 1

    def sweep(self, now: int) -> int:
        """See `Home.sweep`."""
        return self._removed("expires <= ?", now)

    def count(self, now: int) -> Kept:
        """See `Home.count`."""
        with self._asking() as connection:
            (states,) = connection.execute("SELECT count(*) FROM interest").fetchone()
            (expired,) = connection.execute(
                "SELECT count(*) FROM interest WHERE expires <= ?", [now]
            ).fetchone()
        return Kept(states, expired)

    def close(self) -> None:
        """See `Home.close`."""
        self._check_process()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Makes the table, or sees that it is ours."""
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")
        with self._transaction(connection):
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (layout,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute(
                "SELECT count(*) FROM sqlite_master"
            ).fetchone()
            if tables and (application, layout) != (self._APPLICATION, self._LAYOUT):
                raise ValueError(
                    f"{self.name} is a database of something else, or of another "
                    f"version of tfrs_decay (application {application:#x}, layout "
                    f"{layout}; a store of users' interest has "
                    f"{self._APPLICATION:#x} and {self._LAYOUT}): give a file that is "
                    "not there yet."
                )
            if not tables:
                connection.execute(
                    "CREATE TABLE interest (user TEXT PRIMARY KEY, state BLOB NOT NULL,"
                    " written INTEGER NOT NULL, expires INTEGER, marks BLOB NOT NULL) "
                    "WITHOUT ROWID"
                )
                connection.execute("CREATE INDEX expiry ON interest (expires)")
                connection.execute(f"PRAGMA application_id = {self._APPLICATION}")
                connection.execute(f"PRAGMA user_version = {self._LAYOUT}")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode not in ("wal", "memory"):
            raise OSError(
                f"{self.name} cannot have a write-ahead log (its journal is {mode!r}): "
                "put it on a disk of this machine, or keep states in Redis."
            )

    def _make_private(self) -> None:
        """What people do is nobody else's to read: takes others the right to."""
        for end in ("", "-wal", "-shm"):
            path = Path(self.path + end)
            with contextlib.suppress(FileNotFoundError):  # A log comes and goes.
                mode = stat.S_IMODE(path.stat().st_mode)
                if not mode & 0o077:
                    continue
                try:
                    path.chmod(mode & 0o700)
                except PermissionError as error:
                    raise PermissionError(
                        f"{path} has the mode {mode:o}, by which others may use what "
                        "is kept of people, and belongs to another user: let its "
                        f"owner run chmod {mode & 0o700:o}, and open it as its owner."
                    ) from error

    def _removed(self, where: str, value: str | int) -> int:
        with self._asking() as connection:
            with self._transaction(connection):
                done = connection.execute(
                    f"DELETE FROM interest WHERE {where}", [value]
                )
            if done.rowcount:
                # The log still holds the pages as they were.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return done.rowcount

    @contextlib.contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Has the file to itself from the start: nothing that it read can change."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            # A COMMIT that failed for want of room has rolled back by itself.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ValueError(
                f"{self.name} was opened by process {self._process} and is used by "
                f"{os.getpid()}, its child, which would damage it: open the store in "
                "each process, after the fork."
            )

    @contextlib.contextmanager
    def _asking(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time."""
        self._check_process()
        with self._lock, self._named_errors():
            if self._connection is None:
                raise closed(self.name)
            yield self._connection

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        """SQLite's errors as Python's own, with the name of the file."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise TimeoutError(
                    f"{self.name} was locked for {to_text(WAIT_SECONDS)}: another "
                    "process has a transaction open. Try again."
                ) from error
            raise OSError(f"{self.name}: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"{self.name} is damaged, or no SQLite file ({error}): put a copy in "
                "its place, or replay the users' events into a new one."
            ) from error


def _columns(record: Record) -> tuple[bytes, int, int | None, bytes]:
    return record.state, record.written, record.expires, record.marks
