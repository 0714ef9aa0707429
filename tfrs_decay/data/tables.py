"""Files that hold a table: read, or refused in one line that says what was found."""

from __future__ import annotations

import codecs
import gzip
import importlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.data.files import (
    UNREADABLE,
    Misread,
    PathLike,
    checked_file,
    unreadable,
)

if TYPE_CHECKING:
    import pandas as pd

WORDS_FOR_NOTHING = (
    *("nan", "NaN", "-nan", "-NaN", "NaT", "NA", "<NA>", "N/A", "n/a", "#N/A", "#NA"),
    *("null", "NULL", "none", "None"),
)
"""What programs write for a number or a time that is missing."""

_ONLY_EMPTY_IS_MISSING: Any = {"keep_default_na": False, "na_values": [""]}

EXPECTED = "a .csv, .parquet, .jsonl or .xlsx file"


def read_table(path: PathLike) -> pd.DataFrame:
    """Reads a table by the suffix of its name.

    A .csv comes back as text throughout, a .jsonl (one object a line) and an .xlsx as
    their cells are; all sheets of an .xlsx are one table.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is a folder, of another format, unreadable or empty.
        ImportError: The format needs a package that is not installed.
    """
    path = checked_file(path, (*_READERS, ".jsonl"), EXPECTED)
    need("pandas", "a log", "data")
    if path.suffix.lower() == ".jsonl":
        return read_json_lines(path).rename(columns=str)
    try:
        table = _READERS[path.suffix.lower()](path)
    except Misread:
        raise
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    table = table.rename(columns=str)
    if not len(table):
        raise ValueError(f"{path} has no rows below its columns, {found_in(table)}.")
    return table


def require(
    table: pd.DataFrame, columns: Iterable[str], path: PathLike, *, hint: str = ""
) -> None:
    """Refuses a table that lacks a column, or has it twice.

    Args:
        table: As it was read.
        columns: What it needs.
        path: Where it was read.
        hint: What to do about it.

    Raises:
        ValueError: Naming the file, what is missing and what was found.
    """
    columns = list(columns)
    missing = [one for one in columns if one not in table.columns]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; its columns are "
            f"{found_in(table)}. {_separator(table) or hint}".rstrip()
        )
    twice = [one for one in columns if list(table.columns).count(one) > 1]
    if twice:
        raise ValueError(
            f"{path} has more than one column named {twice[0]!r}: rename or remove the "
            "others."
        )


def renamed(
    table: pd.DataFrame, columns: Mapping[str, str], path: PathLike
) -> pd.DataFrame:
    """The table with our names for its columns.

    Args:
        table: As it was read.
        columns: The table's own names where they differ, by ours.
        path: The file, for errors.

    Raises:
        ValueError: The table lacks one of them, or has it twice.
    """
    names = {theirs: ours for ours, theirs in columns.items()}
    require(table, names, path)
    # What is called so and is meant by nobody would stand there twice.
    nobodys = [one for one in names.values() if one in table and one not in names]
    return table.drop(columns=nobodys).rename(columns=names)


def _separator(table: pd.DataFrame) -> str:
    """What to do about a table whose columns were not told apart; "" if they were."""
    if len(table.columns) != 1:
        return ""
    for mark, said in ((";", "';'"), ("\t", "tabs")):
        if mark in table.columns[0]:
            return f"They seem to be separated by {said}: write the file with commas."
    return ""


def without_words(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of numbers, times or the like: words such as NA stand for a gap.

    An id may be such a word, as the country code of Namibia is.
    """
    import pandas as pd

    types = pd.api.types
    if types.is_numeric_dtype(column) or types.is_datetime64_any_dtype(column):
        return column
    return column.where(~plain(column).astype(object).isin(WORDS_FOR_NOTHING))


def as_numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column as numbers; NaN for what is none, as a date is."""
    import pandas as pd

    types = pd.api.types
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        return pd.Series(np.nan, index=column.index)
    return pd.to_numeric(plain(column), errors="coerce")


def plain(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of cells that pandas and NumPy do not stumble over.

    Bytes are text, what is no character is "?", and an integer beyond any float is
    infinite.
    """
    import pandas as pd

    if column.dtype != object:
        return column
    if pd.api.types.infer_dtype(column, skipna=True) == "integer":
        there = column.dropna()
        if -(2**63) <= there.min() and there.max() < 2**63:
            return column
    cells = [_plain(one) for one in column]
    return pd.Series(cells, index=column.index, dtype=object)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", errors="replace").decode("utf-8")
    if isinstance(value, int) and value.bit_length() > 63:
        if value.bit_length() > 1023:
            return np.inf if value > 0 else -np.inf
        return float(value)
    return value


def found_in(table: pd.DataFrame) -> str:
    """The table's columns in one line; of a wrong file they can be long and many."""
    shown = [one if len(one) <= 40 else f"{one[:40]}..." for one in map(str, table)]
    more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
    return ", ".join(map(repr, shown[:12])) + more


def need(package: str, what: str, extra: str) -> None:
    """Refuses to go on without an optional package.

    Raises:
        ImportError: With the line that installs it.
    """
    try:
        importlib.import_module(package)
    except ImportError:
        raise ImportError(
            f"{what} needs {package}: pip install 'tfrs-decay[{extra}]'"
        ) from None


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    options = _all_text(path)
    table = pd.read_csv(path, **options)
    if not isinstance(table.index, pd.RangeIndex):
        raise Misread(
            f"{path}, line 2 has more fields than the {len(table.columns)} columns of "
            "the first line: is a name missing there, or a comma too many?"
        )
    return _as_named(table, pd.read_csv(path, header=None, nrows=1, **options))


def _all_text(path: Path) -> dict[str, Any]:
    """As pandas is to read text: the id 00123 keeps its zeros, and the id NA is one."""
    return {"dtype": str, "encoding": encoding_of(path), **_ONLY_EMPTY_IS_MISSING}


def read_delimited(path: Path, **options: Any) -> pd.DataFrame:
    """Reads a text file of columns, all as text.

    Args:
        path: The file, of any suffix.
        options: How columns are told apart and named, as `pandas.read_csv` takes it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read.
        ImportError: pandas is missing.
    """
    need("pandas", "a log", "data")
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        return pd.read_csv(path, **_all_text(path), **options)
    except Misread:
        raise
    except (ValueError, OSError) as error:
        raise unreadable(path, error) from error


def _as_named(table: pd.DataFrame, first: pd.DataFrame) -> pd.DataFrame:
    """The table by its own names: pandas calls the second of two `user` `user.1`."""
    if first.empty:  # A sheet that begins with blank rows.
        return table
    # A note beside an Excel table makes it wider than its first row.
    names = first.iloc[0].reindex(range(len(table.columns)))
    return table.set_axis(names.where(names.notna(), table.columns), axis="columns")


def encoding_of(path: Path) -> str:
    """UTF-8; or latin-1, as of older Excel, where no line beyond ASCII is UTF-8.

    Raises:
        Misread: Some such lines are UTF-8, and others are not; or it is UTF-16.
    """
    good = bad = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                _refuse_wide(line, path)
            if line.isascii():
                continue
            try:
                line.decode("utf-8")
                good = good or number
            except UnicodeDecodeError:
                bad = bad or number
            if good and bad:
                raise Misread(
                    f"{path}, line {bad} holds bytes that are not UTF-8, and line "
                    f"{good} is UTF-8: write the file in one encoding."
                )
    return "latin-1" if bad else "utf-8"


def _refuse_wide(line: bytes, path: Path) -> None:
    """Refuses a first line of characters of two bytes or four."""
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in line:
        raise Misread(
            f"{path} begins as UTF-16 does, or is no text ({line[:12]!r}): write it as "
            "UTF-8."
        )


def read_json_lines(
    path: PathLike, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Reads a file of JSON objects, one a line, gzipped or not.

    Args:
        path: Ends in .jsonl or .jsonl.gz.
        columns: What to keep; all when left out.

    Returns:
        A table with the columns that were found.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is a folder, of another format or empty, or a line is no
            JSON object; the error has its number.
    """
    zipped = str(path).endswith(".jsonl.gz")
    path = checked_file(path, (".gz",) if zipped else (".jsonl",), "a .jsonl file")
    need("pandas", "a log", "data")
    import pandas as pd

    rows: list[dict[str, Any]] = []
    opened: Any = gzip.open if zipped else open
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    _refuse_wide(line, path)
                    line = line.removeprefix(codecs.BOM_UTF8)
                if line.strip():
                    row = _json_object(line, f"{path}, line {number}")
                    rows.append(
                        row
                        if columns is None
                        else {name: row[name] for name in columns if name in row}
                    )
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error
    if not rows:
        raise ValueError(f"{path} has no line with a JSON object.")
    try:
        return pd.DataFrame(rows, dtype=object)
    except UnicodeEncodeError as error:  # JSON can spell half a character: "\\ud800"
        raise ValueError(f"{path}: {error.object!r} is no name of a column.") from error


def _json_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} holds bytes that are not UTF-8: write the file as UTF-8."
        ) from error
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{where}: {text.strip()[:60]!r} is no JSON object.")
    if _HALF.search(text):
        return {name: _whole(value) for name, value in found.items()}
    return found


_HALF = re.compile(r"\\u[dD]")
"""How JSON spells half a character, or one that it writes in two halves."""


def _whole(value: Any) -> Any:
    """A value of JSON; what has half a character is no text, and a gap."""
    if isinstance(value, list):
        return [one for one in map(_whole, value) if one is not None]
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return None
    return value


def _read_parquet(path: Path) -> pd.DataFrame:
    need("pyarrow", "a .parquet file", "data")
    from tfrs_decay.data.parquet import read_parquet

    return read_parquet(path)


def _read_excel(path: Path) -> pd.DataFrame:
    import pandas as pd

    need("openpyxl", "an .xlsx file", "excel")
    with pd.ExcelFile(path, engine="openpyxl") as book:
        return _all_sheets(book)


def _all_sheets(book: pd.ExcelFile) -> pd.DataFrame:
    import pandas as pd

    options = {"dtype": object, **_ONLY_EMPTY_IS_MISSING}
    sheets = pd.read_excel(book, sheet_name=None, **options)
    filled = {name: sheet for name, sheet in sheets.items() if len(sheet.columns)}
    if not filled:
        raise ValueError("no sheet has any cells")
    first, *others = filled
    for other in others:
        if list(filled[other].columns) != list(filled[first].columns):
            raise ValueError(f"sheets {first!r} and {other!r} have different columns")
    return _as_named(
        pd.concat(list(filled.values()), ignore_index=True),
        pd.read_excel(book, sheet_name=first, header=None, nrows=1, **options),
    )


_READERS: dict[str, Callable[[Path], Any]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".xlsx": _read_excel,
}
