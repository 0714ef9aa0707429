"""Item vectors made elsewhere, from a file: a Parquet table or NumPy's .npz."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_decay.data.cleaning import as_text
from tfrs_decay.data.tables import (
    UNREADABLE,
    Misread,
    PathLike,
    checked_file,
    need,
    parquet_table,
    unreadable,
)

EXPECTED = "a .parquet or .npz file of item vectors"

NPZ_ARRAYS = ("ids", "vectors")
"""What the two arrays of an .npz are called."""

# The index of a pandas table, when it has no name of its own, becomes such a column.
_INDEX = re.compile(r"__index_level_\d+__")


class ItemVectors(NamedTuple):
    """What a file of vectors holds, as it stands there.

    ids: [n], text as `clean` writes ids: 17850.0 is "17850".
    vectors: [n, width] numbers.
    """

    ids: list[str]
    vectors: np.ndarray


def read_vectors(
    path: PathLike,
    *,
    id_column: str = "item",
    vector_column: str | Sequence[str] | None = "vector",
) -> ItemVectors:
    """Reads item vectors from a .parquet or .npz file.

    An .npz holds the arrays `ids`, [n] text or integers, and `vectors`, [n, width]. A
    .parquet holds a row an item; the other two arguments say how.

    Args:
        path: The file.
        id_column: The column of the ids.
        vector_column: A column of lists of numbers, of fixed size or not; or the names
            of columns of numbers, one a feature; or None for all columns but the ids'.

    Returns:
        Ids and vectors. That ids are unique and vectors finite is not looked at here:
        `layers.PrecomputedTower` does.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty, of another format, cut short, or lacks what was
            asked for; or an id or a vector is missing, or vectors are no numbers or of
            unequal width.
        ImportError: A .parquet needs pyarrow and pandas.
    """
    path = checked_file(path, (".parquet", ".npz"), EXPECTED)
    if path.suffix.lower() == ".npz":
        if id_column != "item" or vector_column != "vector":
            raise ValueError(
                f"id_column={id_column!r} and vector_column={vector_column!r} name "
                f"columns of a .parquet; {path} holds arrays, which are named "
                f"{' and '.join(NPZ_ARRAYS)}."
            )
        return _read_npz(path)
    need("pyarrow", "a .parquet file of vectors", "data")
    need("pandas", "a .parquet file of vectors", "data")
    return _read_parquet(path, id_column, vector_column)


def _read_npz(path: Path) -> ItemVectors:
    try:
        with open(path, "rb") as file:
            stored = np.load(file, allow_pickle=False)
            # A .npy under this name is one array, which has no name.
            names = sorted(getattr(stored, "files", []))
            if not set(NPZ_ARRAYS) <= set(names):
                raise _Lacking(
                    f"{path} has no arrays {' and '.join(NPZ_ARRAYS)}; it holds "
                    f"{_listed(names)}."
                )
            ids, vectors = (stored[name] for name in NPZ_ARRAYS)
    except _Lacking:
        raise
    except UNREADABLE as error:
        if "Object arrays" in str(error):
            raise ValueError(
                f"{path} holds Python objects, which run code when they are read: "
                "save ids as np.array(ids, dtype=str) and vectors as numbers."
            ) from error
        raise unreadable(path, error) from error
    if ids.ndim != 1 or ids.dtype.kind not in "Uiu":
        raise ValueError(
            f"{path}: ids is {ids.dtype} of the shape {ids.shape}; give text or "
            "integers, [n]."
        )
    return ItemVectors([str(one).strip() for one in ids.tolist()], vectors)


class _Lacking(ValueError):
    """A file that can be read, without what is asked for."""


def _read_parquet(
    path: Path, id_column: str, vector_column: str | Sequence[str] | None
) -> ItemVectors:
    import pandas as pd
    import pyarrow.parquet as pq

    try:
        there = pq.read_schema(path).names
        if isinstance(vector_column, str):
            columns = [vector_column]
        elif vector_column is None:
            columns = [
                one for one in there if one != id_column and not _INDEX.fullmatch(one)
            ]
        else:
            columns = list(vector_column)
        missing = [one for one in (id_column, *columns) if one not in there]
        if missing:
            raise _Lacking(
                f"{path} has no column {_listed(missing)}; its columns are "
                f"{_listed(there)}. Name the ids with id_column, and the vectors with "
                "vector_column: a column of lists, a list of columns, or None for all "
                "others."
            )
        if not columns:
            raise _Lacking(f"{path} has no columns of numbers beside {id_column!r}.")
        table = parquet_table(path, [id_column, *columns])
        table.validate(full=True)
    except (_Lacking, Misread):
        raise
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if not table.num_rows:
        raise ValueError(f"{path} has no rows below its columns, {_listed(there)}.")
    written = as_text(pd.Series(table.column(id_column).to_pylist(), dtype=object))
    gone = np.flatnonzero(written.isna())
    if len(gone):
        raise ValueError(
            f"{path}: {len(gone)} rows have no id in {id_column!r}, the first of them "
            f"row {gone[0]}: leave them out."
        )
    ids: list[str] = written.tolist()
    if isinstance(vector_column, str):
        return ItemVectors(ids, _lists(table.column(vector_column), ids, path))
    features = [_numbers(table.column(one), one, path) for one in columns]
    return ItemVectors(ids, np.stack(features, axis=1))


def _lists(column: Any, ids: list[str], path: Path) -> np.ndarray:
    """A column of lists as one matrix: [n, width] float32."""
    import pyarrow.types as kinds

    name = "the vector column"
    if not (
        kinds.is_list(column.type)
        or kinds.is_large_list(column.type)
        or kinds.is_fixed_size_list(column.type)
    ):
        raise ValueError(
            f"{path}: {name} holds {column.type}, not lists of numbers. Where each "
            "feature is a column of its own, name them: vector_column=[...], or None "
            "for all columns but the ids'."
        )
    # A missing list has no width, which NumPy writes as NaN.
    widths = np.concatenate(
        [_list_widths(chunk).to_numpy(zero_copy_only=False) for chunk in column.chunks]
    ).astype(np.float64)
    if np.isnan(widths).any():
        gone = np.flatnonzero(np.isnan(widths))
        raise ValueError(
            f"{path}: {len(gone)} items have no vector, such as {ids[gone[0]]!r}: "
            "leave their rows out."
        )
    other = np.flatnonzero(widths != widths[0])
    if len(other):
        raise ValueError(
            f"{path}: vectors are of unequal width: that of {ids[0]!r} has "
            f"{int(widths[0])} numbers, that of {ids[other[0]]!r} "
            f"{int(widths[other[0]])}."
        )
    flat = np.concatenate(
        [_numbers(chunk.flatten(), name, path) for chunk in column.chunks]
    )
    return flat.reshape(len(widths), int(widths[0]))


def _list_widths(chunk: Any) -> Any:
    import pyarrow.compute as pc

    return pc.list_value_length(chunk)


def _numbers(column: Any, name: str, path: Path) -> np.ndarray:
    """A column of numbers as float32; a gap, and what is too large, is not finite."""
    import pyarrow.types as kinds

    if not (kinds.is_floating(column.type) or kinds.is_integer(column.type)):
        raise ValueError(
            f"{path}: {name} holds {column.type}: a vector is made of numbers."
        )
    with np.errstate(over="ignore"):
        if hasattr(column, "chunks"):
            return column.to_numpy().astype(np.float32)
        return column.to_numpy(zero_copy_only=False).astype(np.float32)


def _listed(names: Iterable[str]) -> str:
    """Names in one line; of a wide table they are many."""
    shown = [repr(str(one)) for one in names]
    more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
    return (", ".join(shown[:12]) + more) or "nothing"
