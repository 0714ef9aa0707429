"""Parquet files, at once or in parts, in no more memory than their rows need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_decay.data.files import Misread, PathLike

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 65_536
"""Rows of a Parquet file that are read at a time."""


def read_parquet(path: PathLike) -> pd.DataFrame:
    """A Parquet file as a table.

    Raises:
        Misread: It holds more or fewer rows than it says.
        Exception: Others of `UNREADABLE`.
    """
    import pandas as pd

    # What pandas noted of a table would hide the columns that were its index.
    read = bad_text_as_bytes(parquet_table(path).replace_schema_metadata())
    table = read.to_pandas()
    for at, column in enumerate(read.columns):
        # Integers with a gap are floats to pandas, and long ids are not exact there.
        if pa.types.is_integer(column.type) and column.null_count:
            kind = "Int64" if pa.types.is_signed_integer(column.type) else "UInt64"
            table.isetitem(at, pd.array(column.to_pylist(), dtype=kind))
    return table


def parquet_table(path: PathLike, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file, or some columns of it, in no more memory than it needs.

    Raises:
        Misread: It holds more or fewer rows than it says.
        Exception: Others of `UNREADABLE`.
    """
    # Not all at once: room would be made for as many rows as a broken file declares.
    tables = list(parquet_parts(path, columns))
    return pa.concat_tables(tables) if tables else pq.read_schema(path).empty_table()


def parquet_parts(
    path: PathLike,
    columns: Sequence[str] | None = None,
    *,
    group: int | None = None,
    rows: int = _ROWS,
) -> Iterator[pa.Table]:
    """A Parquet file, or one of its row groups, a number of rows at a time.

    Raises:
        Misread: After the last: it holds more or fewer rows than it says.
        Exception: Others of `UNREADABLE`.
    """
    found = 0
    with pq.ParquetFile(path) as file:
        about = file.metadata if group is None else file.metadata.row_group(group)
        groups = None if group is None else [group]
        for batch in file.iter_batches(rows, row_groups=groups, columns=columns):
            found += batch.num_rows
            yield pa.Table.from_batches([batch])
        refuse_other_rows(path, about.num_rows, found)


def refuse_other_rows(path: PathLike, declared: int, found: int) -> None:
    """Refuses a Parquet file that holds more or fewer rows than it says.

    Raises:
        Misread: It does.
    """
    if found != declared:
        raise Misread(
            f"{path} says that it has {declared} rows and holds {found}: fetch or "
            "write it again."
        )


def bad_text_as_bytes(table: pa.Table) -> pa.Table:
    """A table whose text can be read cell by cell: only what is no UTF-8 is lost."""
    for at, column in enumerate(table.columns):
        if _is_bad_text(column):
            table = table.set_column(at, table.field(at).name, column.cast(pa.binary()))
    return table


def _is_bad_text(column: Any) -> bool:
    """Whether a column of text holds what is none."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return True
    return False
