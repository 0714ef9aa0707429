"""Files that are read: there and whole, or refused in one line that says which."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import ParseError

PathLike = str | os.PathLike[str]

# What pandas, pyarrow, openpyxl and NumPy raise over a broken file, between them.
UNREADABLE = (
    ValueError,
    OSError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    ParseError,
    # Of a format's rarer parts, which are mostly a broken byte: encryption, 128 bits.
    RuntimeError,
    # A broken length, which would be as many bytes.
    MemoryError,
)


class Misread(ValueError):
    """What a file's reader did not notice."""


def checked_file(path: PathLike, suffixes: Iterable[str], expected: str) -> Path:
    """A file that is there, is not empty, and whose name ends as it must.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is a folder, of another format, or empty.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected {expected}.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected {expected}.")
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path} ends in {path.suffix!r}; expected {expected}.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes): fetch or write it again.")
    return path


def unreadable(path: Path, error: Exception) -> ValueError:
    """What to raise over a file that its reader gave up on, with the reader's words."""
    found = " ".join(str(error).split())[:200] or type(error).__name__
    return ValueError(
        f"{path} cannot be read as {path.suffix.lower()} ({found}): is it cut short, "
        "or of another format than its name says? Fetch or write it again."
    )
