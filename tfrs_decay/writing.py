"""Files and folders that are written whole or not at all.

What is written has another name, beside its place, until it is done. So nobody reads
the half of it, an error leaves what was there before, and of two that write at once
the last one to be done is what stays.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

PathLike = str | os.PathLike[str]


@contextmanager
def partial_file(path: PathLike) -> Iterator[Path]:
    """A file beside another one, which is gone at the end if it was not renamed.

    Args:
        path: The other one, which need not be there. Its folder must be.

    Yields:
        An empty file under a name that is nobody else's and ends as `path` does. Its
        mode is that of `path`, or of any new file.

    Raises:
        OSError: It cannot be made, such as FileNotFoundError without the folder; the
            error names `path`.
    """
    path = Path(path)
    partial = _beside(path)
    try:
        partial.touch(exist_ok=False)
    except OSError as error:
        error.filename = os.fspath(path)
        raise
    try:
        with contextlib.suppress(FileNotFoundError):
            partial.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IWUSR)
        yield partial
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_file(path: PathLike) -> Iterator[Path]:
    """A file under another name, which gets its own once all is written.

    Args:
        path: The file, which is replaced if it is there. Its folder must be there.

    Yields:
        As `partial_file`; what is at `path` stays until the block has ended, and after
        an error, too.

    Raises:
        IsADirectoryError: `path` is a folder.
        OSError: As in `partial_file`.
    """
    with partial_file(path) as partial:
        yield partial
        partial.replace(path)


@contextmanager
def whole_folder(folder: PathLike) -> Iterator[Path]:
    """A folder under another name, which gets its own once all is written.

    Args:
        folder: Where it is to be; nothing may be there. The folders above are made.

    Yields:
        An empty folder under a name that is nobody else's. After an error nothing is
        left of it.

    Raises:
        FileExistsError: Something is at `folder` when all is written.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(folder)
    try:
        partial.mkdir()
    except OSError as error:
        error.filename = os.fspath(folder)
        raise
    try:
        yield partial
        # A folder that is empty would be replaced without a word.
        if os.path.lexists(folder):
            raise _written_meanwhile(folder)
        try:
            partial.rename(folder)
        except OSError as error:
            if not os.path.lexists(folder):
                raise
            raise _written_meanwhile(folder) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_text(text: str, path: PathLike) -> Path:
    """Writes a text in UTF-8, whole or not at all, and returns its path.

    Args:
        text: All of it.
        path: The file, which is replaced if it is there; its folder is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def write_arrays(
    arrays: Mapping[str, np.ndarray], path: PathLike, *, compressed: bool = True
) -> None:
    """Writes arrays by name as NPZ, whole or not at all.

    Args:
        arrays: Of any shapes and types but objects.
        path: The file, which is replaced if it is there. Its folder must be there.
        compressed: Whether to make it small, which takes longer.
    """
    save = np.savez_compressed if compressed else np.savez
    # A file, for to a name that does not end in .npz NumPy adds it.
    with whole_file(path) as partial, partial.open("wb") as file:
        save(file, **arrays)  # type: ignore[arg-type]


def _written_meanwhile(folder: Path) -> FileExistsError:
    return FileExistsError(
        f"{folder} is there already: somebody else wrote it meanwhile."
    )


def _beside(path: Path) -> Path:
    """A hidden name in the same folder, drawn so that no two are the same."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")
