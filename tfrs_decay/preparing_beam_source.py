"""Where the rows of `prepare` come from by an Apache Beam runner.

A Parquet table of events, or several (`logs/*.parquet`), is read by the workers; any
other log by this process, which hands its rows on.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import apache_beam as beam
import numpy as np

from tfrs_decay.data.cleaning import RawLog
from tfrs_decay.data.files import UNREADABLE, Misread, checked_file, unreadable
from tfrs_decay.data.names import are_written_as_floats, as_text
from tfrs_decay.data.parquet import bad_text_as_bytes, parquet_parts, refuse_other_rows
from tfrs_decay.data.sources import open_log
from tfrs_decay.data.tables import require, without_words
from tfrs_decay.preparing import Preparation

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_COLUMNS = ("user", "item", "time", "action", "value")
"""What `open_log` reads of an event table."""

_READ = 10_000
"""Rows that are read at a time."""


class Source(NamedTuple):
    """Where the rows come from, and what is known without them.

    rows: A transform that reads them.
    log: The log of it, with some of the rows or all.
    """

    rows: Any
    log: RawLog


def source_of(preparation: Preparation, folder: Path) -> Source:
    """Where a log's rows come from; refuses what is none, before the workers begin.

    Args:
        preparation: Of which log.
        folder: Where the first row is kept while it is looked at.

    Raises:
        FileNotFoundError: There is no such log.
        ValueError: A file cannot be read, or several are not one log.
    """
    paths = sorted(glob.glob(preparation.data)) or [preparation.data]
    own = {
        name: preparation.columns.get(name, name)
        for name in (*_COLUMNS, *preparation.context)
    }
    always = {*_COLUMNS[:3], *preparation.columns, *preparation.context}
    needed = [its for name, its in own.items() if name in always]
    if len(paths) > 1:
        _require_one_log(paths, own, needed, preparation)
    elif preparation.sample is not None or not _is_event_table(paths[0], own, needed):
        return _read_here(replace(preparation, data=paths[0]))
    # What describes the items goes with any rows of the log, such as the first.
    head = _head(paths, folder)
    log = open_log(
        str(head),
        items=preparation.items,
        texts=preparation.texts,
        columns=preparation.columns,
        context=preparation.context,
    )
    own = {name: own[name] for name in log.events.columns}
    floats = tuple(
        name for name in ("user", "item") if _are_written_as_floats(paths, own[name])
    )
    return Source(_ReadTables(paths, own, floats), log)


def _are_written_as_floats(paths: Sequence[str], column: str) -> bool:
    """Whether each id of the log is text such as 17850.0, which `open_log` shortens.

    This process reads the column for it, up to the first id that is none.
    """
    found = False
    for path in paths:
        for batch in _batches(path, [column]):
            text = as_text(batch.column(0).to_pandas()).dropna()
            if not are_written_as_floats(text):
                return False
            found = found or len(text) > 0
    return found


def _read_here(preparation: Preparation) -> Source:
    """The rows of a log that this process reads."""
    log = preparation.log()
    rows = log.events.astype(object).where(log.events.notna(), None)
    rows["row"] = np.arange(len(rows))
    return Source(beam.Create(rows.to_dict("records")), log)


def _is_event_table(path: str, own: Mapping[str, str], needed: Sequence[str]) -> bool:
    """Whether workers can read it; if not, `open_log` does, or says what is wrong."""
    if Path(path).suffix.lower() != ".parquet" or not Path(path).is_file():
        return False
    found = _schema_of(path).names
    once = all(found.count(its) <= 1 for its in own.values())
    return once and set(needed) <= set(found)


def _require_one_log(
    paths: Sequence[str],
    own: Mapping[str, str],
    needed: Sequence[str],
    preparation: Preparation,
) -> None:
    """Refuses files that are not one log, before any is read."""
    if preparation.sample is not None:
        raise ValueError(
            f"sample={preparation.sample} draws from a log in one file; "
            f"{preparation.data!r} is {len(paths)} files: leave sample out."
        )
    schemas = {path: _schema_of(path) for path in paths}
    # What one file has is read of all.
    found = {name for schema in schemas.values() for name in schema.names}
    wanted = [its for its in own.values() if its in needed or its in found]
    for path, schema in schemas.items():
        require(
            schema.empty_table().to_pandas(),
            wanted,
            path,
            hint=f"The files of {preparation.data!r} are one log: each needs the same "
            "columns. Columns with other names are mapped as in --column user=who.",
        )


def _schema_of(path: str) -> pa.Schema:
    import pyarrow.parquet as pq

    file = checked_file(path, (".parquet",), "a .parquet file, as each of several is")
    try:
        # What pandas noted of a table would hide the columns that were its index.
        return pq.read_schema(file).remove_metadata()
    except UNREADABLE as error:
        raise unreadable(file, error) from error


def _batches(
    path: str, columns: Sequence[str] | None = None, group: int | None = None
) -> Iterator[pa.Table]:
    """Some columns, or all, of a row group, or all; or the file's name."""
    try:
        for part in parquet_parts(path, columns, group=group, rows=_READ):
            yield bad_text_as_bytes(part)
    except Misread:
        raise
    except UNREADABLE as error:
        raise unreadable(Path(path), error) from error


def _head(paths: Sequence[str], folder: Path) -> Path:
    """A file of the first rows."""
    import pyarrow.parquet as pq

    filled = (batch for path in paths for batch in _batches(path) if len(batch))
    first = next(filled, None)
    if first is None:
        raise ValueError(f"{', '.join(paths[:3])}: no rows below the columns.")
    head = folder / "head" / "events.parquet"
    head.parent.mkdir()
    pq.write_table(first.slice(0, 1), head)
    return head


class _ReadTables(beam.PTransform):
    """Rows of Parquet files, by row groups, each row with its number.

    Args:
        paths: The files.
        own: The files' names of columns, by ours.
        floats: Columns of ids that are all written as floats are, which are shortened.
    """

    def __init__(
        self, paths: Sequence[str], own: Mapping[str, str], floats: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.paths = paths
        self.own = own
        self.floats = floats

    def expand(self, pipeline: Any) -> Any:
        return (
            pipeline
            | "Groups" >> beam.Create(list(self.groups()))
            | "Deal" >> beam.Reshuffle()
            | "Rows" >> beam.FlatMap(_rows_of_group, dict(self.own), self.floats)
        )

    def groups(self) -> Iterator[tuple[str, int, int]]:
        import pyarrow.parquet as pq

        row = 0
        for path in self.paths:
            about = pq.read_metadata(path)
            first = row
            for group in range(about.num_row_groups):
                yield path, group, row
                row += about.row_group(group).num_rows
            refuse_other_rows(path, about.num_rows, row - first)


def _rows_of_group(
    group: tuple[str, int, int], own: Mapping[str, str], floats: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    path, number, row = group
    for batch in _batches(path, list(dict.fromkeys(own.values())), number):
        table = batch.to_pydict()
        columns = {name: table[its] for name, its in own.items()}
        for name in ("time", "value"):
            if name in columns:
                columns[name] = _without_words(columns[name])
        for name in floats:
            columns[name] = [
                one if one is None else one.removesuffix(".0")
                for one in as_text(_cells(columns[name]))
            ]
        for values in zip(*columns.values(), strict=True):
            yield {**dict(zip(columns, values, strict=True)), "row": row}
            row += 1


def _without_words(values: list[Any]) -> list[Any]:
    """As `without_words` of a table's column."""
    gaps = without_words(_cells(values)).isna()
    return [None if gap else one for one, gap in zip(values, gaps, strict=True)]


def _cells(values: list[Any]) -> pd.Series[Any]:
    import pandas as pd

    return pd.Series(values, dtype=object)
