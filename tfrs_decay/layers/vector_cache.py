"""Vectors of texts on disk: what an encoder has read once is not read again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

_AT_ONCE = 500
_WAIT_SECONDS = 60.0


class VectorCache:
    """The vectors of texts under one encoder, in a SQLite file of the encoder's own.

    A batch is kept as a whole or not at all, so that what was interrupted goes on where
    it was; several processes may use one file. Texts are kept as hashes (BLAKE2b, 16
    bytes), vectors as little-endian float32.

    Args:
        folder: Made when it is not there. It may hold the files of many encoders.
        fingerprint: Of the encoder and what its vectors are made with.
        width: Numbers a vector.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is damaged, or another's.
    """

    def __init__(
        self, folder: str | os.PathLike[str], fingerprint: str, width: int
    ) -> None:
        self.path = Path(folder) / f"{fingerprint}.sqlite"
        self._width = width
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS vectors "
                "(text BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
            )
            described = connection.execute("PRAGMA table_info(vectors)").fetchall()
        columns = [name for _, name, *_ in described]
        if columns != ["text", "vector"]:
            raise self._damaged(f"a table of the columns {columns}")

    def read(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Those of the texts that are there, each with its vector, [width] float32.

        Raises:
            ValueError: The file is damaged.
        """
        of_key = {_key(text): text for text in texts}
        keys = list(of_key)
        found = {}
        with self._open() as connection:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT text, vector FROM vectors WHERE text IN ({marks})", some
                )
                for key, written in rows:
                    if len(written) != 4 * self._width:
                        raise self._damaged(
                            f"a vector of {len(written)} bytes, not {4 * self._width}"
                        )
                    vector = np.frombuffer(written, "<f4").astype(np.float32)
                    if not np.isfinite(vector).all():
                        raise self._damaged("a vector that is not finite")
                    found[of_key[key]] = vector
        return found

    def write(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Keeps the vectors of texts.

        Args:
            texts: n of them.
            vectors: [n, width] float32.

        Raises:
            ValueError: The file is damaged.
        """
        rows = [
            (_key(text), vector.astype("<f4").tobytes())
            for text, vector in zip(texts, vectors, strict=True)
        ]
        with self._open() as connection:
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction."""
        connection = None
        try:
            connection = sqlite3.connect(self.path, timeout=_WAIT_SECONDS)
            with connection:
                yield connection
        except sqlite3.OperationalError as error:
            raise OSError(f"the cache of vectors {self.path}: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error
        finally:
            if connection is not None:
                connection.close()

    def _damaged(self, why: str) -> ValueError:
        return ValueError(
            f"{self.path} is damaged, or no cache of vectors ({why}): delete it, and "
            "what it held is computed again."
        )


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
