"""Files of examples on disk: which there are, what lists they have, their tables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from tfrs_decay.data.files import unreadable
from tfrs_decay.data.tables import need

LISTS = {
    "history_item": tf.string,
    "history_time": tf.int64,
    "history_action": tf.string,
    "target_item": tf.string,
}
"""What all files have; others `further_lists` finds."""

_LENGTHS = ("history_length", "target_length")

_ARROW = (".arrow", ".feather")
SUFFIXES = (".parquet", *_ARROW, ".tfrecord")


def files_of(source: Any) -> list[Path]:
    """The files, all there and of one format."""
    if isinstance(source, (str, os.PathLike)):
        folder = Path(source)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such folder; expected one of `write_examples`, or a "
                "list of files."
            )
        files = sorted(
            one
            for one in folder.iterdir()
            # Hidden are those that are still written, or that a killed command left.
            if one.suffix in SUFFIXES and not one.name.startswith(".")
        )
    else:
        files = [Path(one) for one in source]
    missing = [one for one in files if not one.is_file()]
    if not files or missing:
        what = missing[0] if missing else f"{source} holds no {_OR}"
        raise FileNotFoundError(f"{what}: there are no examples to read.")
    suffixes = sorted({one.suffix for one in files})
    if len(suffixes) > 1 or suffixes[0] not in SUFFIXES:
        raise ValueError(
            f"the files end in {suffixes}: give files of one format, {_OR}."
        )
    shards = [found for one in files if (found := _SHARD.search(one.name))]
    if isinstance(source, (str, os.PathLike)) and shards:
        totals = sorted({int(one[2]) for one in shards})
        if len(totals) > 1:
            raise ValueError(
                f"{source} holds files of {totals[0]} shards and files of {totals[1]}: "
                "leave those of one set in a folder."
            )
        there = {int(one[1]) for one in shards}
        absent = sorted(set(range(totals[0])) - there)
        if absent:
            raise FileNotFoundError(
                f"{source} lacks {len(absent)} of {totals[0]} shards, such as "
                f"number {absent[0]}."
            )
    if suffixes[0] != ".tfrecord":
        need("pyarrow", f"a {suffixes[0]} file", "data")
    return files


_OR = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.\w+$")


def further_lists(files: Sequence[Path]) -> dict[str, tf.DType]:
    """What lists the files have beyond those that all have."""
    found: list[tuple[Path, dict[str, tf.DType]]] = []
    for path in files:
        kinds = _kinds_in_record if path.suffix == ".tfrecord" else _kinds_in_schema
        columns = kinds(path)
        if columns is None:
            continue
        further = {
            name: columns[name]
            for name in sorted(set(columns) - {*LISTS, *_LENGTHS})
            if name.startswith(("history_", "target_"))
        }
        for name, kind in further.items():
            if kind is None:
                raise ValueError(
                    f"{path}: {name} is a list of neither strings, floats nor "
                    "integers: leave the column out, or write it as one of these."
                )
        found.append((path, further))
        first, expected = found[0]
        if further != expected:
            raise ValueError(
                f"{path} has {_said(further)}, and {first} has {_said(expected)}: "
                "give files with the same columns."
            )
    return found[0][1] if found else {}


def _said(columns: Mapping[str, tf.DType]) -> str:
    listed = ", ".join(f"{name} ({kind.name})" for name, kind in columns.items())
    return listed or "no further lists"


def _kinds_in_schema(path: Path) -> dict[str, tf.DType | None]:
    """The lists of a Parquet or an Arrow file; None for what cannot be read."""
    import pyarrow as pa

    with _opened(path) as file:
        schema = file.schema if path.suffix in _ARROW else file.schema_arrow
    absent = [one for one in (*LISTS, "query_time") if one not in schema.names]
    if absent:
        raise ValueError(
            f"{path} has no column {', '.join(absent)}; its columns are "
            f"{schema.names}: it does not hold examples."
        )
    kinds: dict[str, tf.DType | None] = {}
    for field in schema:
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            kinds[field.name] = kind_of_values(field.type.value_type)
    return kinds


def kind_of_values(arrow: Any) -> tf.DType | None:
    """What values of an Arrow type are read as; None for what cannot be read."""
    import pyarrow as pa

    if pa.types.is_dictionary(arrow):
        arrow = arrow.value_type
    for kind, holds in (
        (tf.string, (pa.types.is_string, pa.types.is_large_string)),
        (tf.float32, (pa.types.is_floating,)),
        (tf.int64, (pa.types.is_integer,)),
    ):
        if any(one(arrow) for one in holds):
            return kind
    return None


def _kinds_in_record(path: Path) -> dict[str, tf.DType | None] | None:
    """The features of a TFRecord file's first record; None where there is none."""
    kinds = {"bytes_list": tf.string, "float_list": tf.float32, "int64_list": tf.int64}
    try:
        for record in tf.data.TFRecordDataset(str(path)).take(1):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            return {
                name: kinds.get(one.WhichOneof("kind"))
                for name, one in features.items()
            }
    except (tf.errors.OpError, DecodeError) as error:
        raise unreadable(path, error) from error
    return None


def _opened(path: Path) -> Any:
    """A Parquet or an Arrow file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix in _ARROW:
            return pa.ipc.open_file(pa.memory_map(str(path)))
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def tables_of(path: Path, columns: Sequence[str], rows: int) -> Iterator[Any]:
    """A file's columns, so many rows at a time."""
    import pyarrow as pa

    with _opened(path) as file:
        try:
            if path.suffix in _ARROW:
                parts = range(file.num_record_batches)
                groups = (file.get_batch(one).select(columns) for one in parts)
            else:
                parts = range(file.num_row_groups)
                groups = (
                    file.read_row_group(one, columns).combine_chunks().to_batches()[0]
                    for one in parts
                    if file.metadata.row_group(one).num_rows
                )
            for group in groups:
                for start in range(0, len(group), rows):
                    yield group.slice(start, rows)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from error
