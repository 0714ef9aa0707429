"""Queries as files of training examples: Parquet or TFRecord, in shards.

One row is one query, with its history and its targets as lists, under the names that
the model reads; `read_examples` turns the files into batches. Writing needs pyarrow,
and TensorFlow for TFRecord alone.

=================  ============  ====================================
`user`             string
`query_time`       int64         seconds since the epoch
`history_item`     strings       ids, oldest first
`history_time`     int64s        seconds since the epoch
`history_action`   strings
`target_item`      strings       ids
=================  ============  ====================================

Of a log with values and further columns (`Events.value`, `Events.context`) there are
these as well, the latter for each column NAME:

=================  ============  ====================================
`history_value`    float32s      of the events of `history_item`
`target_value`     float32s      of those of `target_item`
`history_NAME`     strings       likewise; "" where a row had none
`target_NAME`      strings       likewise
=================  ============  ====================================

What goes with a target is known only once it has happened: how many were bought, or on
which device. It can weigh an example or a loss; the query tower must never see it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries
from tfrs_decay.data.tables import need
from tfrs_decay.writing import whole_folder

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("parquet", "tfrecord")

_BLOCK = 65_536
"""Queries that are written at a time, so that memory does not grow with the log."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def example_table(
    queries: Queries, events: Events, *, max_history: int = 100
) -> pa.Table:
    """Queries with their histories and targets, a row each.

    Args:
        queries: Made from these events.
        events: Clean events.
        max_history: Latest events of a history that are written.

    Returns:
        A table with the columns above; ids and actions as dictionaries of those that
        occur in it.

    Raises:
        ImportError: pyarrow is missing.
        ValueError: `max_history` is below 1, or a value is too large for float32.
    """
    need("pyarrow", "a table of examples", "data")
    import pyarrow as pa

    queries = queries.latest(max_history)
    length = queries.history_stop - queries.history_start
    event = _ranges(queries.history_start, length)
    offsets = np.concatenate([[0], np.cumsum(length)])

    def lists(ends: np.ndarray, values: Any) -> pa.Array:
        return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), values)

    def named(code: np.ndarray, names: np.ndarray) -> pa.Array:
        # Only names that occur, so that a table costs what it holds and no more.
        encoded = pa.array(code, pa.int64()).dictionary_encode()
        occurring = names[encoded.dictionary.to_numpy()]
        return pa.DictionaryArray.from_arrays(
            encoded.indices, pa.array(occurring, pa.string())
        )

    def texts(column: np.ndarray, places: np.ndarray) -> pa.Array:
        # Each event once, however many histories it is in.
        occurs = np.zeros(len(column), bool)
        occurs[places] = True
        encoded = pa.array(column[occurs], pa.string()).dictionary_encode()
        indices = encoded.indices.to_numpy()[(np.cumsum(occurs) - 1)[places]]
        return pa.DictionaryArray.from_arrays(indices, encoded.dictionary)

    ids = events.items.ids
    actions = np.array(events.actions, dtype=object)
    sides = {
        "history": (offsets, event),
        "target": (queries.target_offset, queries.target),
    }
    further: dict[str, pa.Array] = {}
    if events.value is not None:
        for side, (ends, places) in sides.items():
            value = value_of_examples(events.value[places])
            further[f"{side}_value"] = lists(ends, pa.array(value))
    for name, column in events.context.items():
        for side, (ends, places) in sides.items():
            further[f"{side}_{name}"] = lists(ends, texts(column, places))
    return pa.table(
        {
            "user": named(queries.user, events.users),
            "query_time": pa.array(queries.time, pa.int64()),
            "history_item": lists(offsets, named(events.item[event], ids)),
            "history_time": lists(offsets, pa.array(events.time[event], pa.int64())),
            "history_action": lists(offsets, named(events.action[event], actions)),
            "target_item": lists(
                queries.target_offset, named(events.item[queries.target], ids)
            ),
            **further,
        }
    )


def value_of_examples(value: np.ndarray) -> np.ndarray:
    """Values as examples hold them, float32.

    Raises:
        ValueError: One is too large for that.
    """
    beyond = value[np.abs(value) > np.finfo(np.float32).max]
    if len(beyond):
        raise ValueError(
            f"value holds {beyond[0]:g}, and examples hold float32, up to 3.4e+38: "
            "leave such rows out, or divide the values."
        )
    return value.astype(np.float32)


def write_examples(
    queries: Queries,
    events: Events,
    directory: str | os.PathLike[str],
    *,
    max_history: int = 100,
    shards: int = 1,
    file_format: str = "parquet",
    shuffle_seed: int | None = 0,
    progress: Progress = iter,
) -> list[Path]:
    """Writes queries as files in a folder, which appears whole or not at all.

    Queries are shuffled, then dealt out to the shards one after the other: each shard,
    and each block of rows within it, is like the others. A reader that shuffles no more
    than a block, as `read_examples` does, then still mixes users.

    Args:
        queries: Made from these events.
        events: Clean events.
        directory: The folder to write; it must not be there.
        max_history: Latest events of a history that are written.
        shards: Files.
        file_format: "parquet" or "tfrecord".
        shuffle_seed: Of the shuffling, which is the same in every run; None: the
            queries keep their order, and the files are smaller, as a user's rows, which
            are alike, stand together.
        progress: Wraps the iterable of shards.

    Returns:
        The files, such as `examples-00000-of-00004.parquet`.

    Raises:
        FileExistsError: The folder is there.
        ImportError: pyarrow is missing.
        ValueError: A number is below 1, there are fewer queries than shards, the
            format is another, or a value is too large for float32.
    """
    directory = Path(directory)
    if directory.exists():
        raise FileExistsError(f"{directory} is there already: choose another folder.")
    if file_format not in FORMATS:
        raise ValueError(f"file_format={file_format!r} is not one of {FORMATS}.")
    if not 1 <= shards <= len(queries):
        raise ValueError(
            f"shards={shards} must be 1 or more, and no more than the "
            f"{len(queries)} queries."
        )
    names = [shard_name(number, shards, file_format) for number in range(shards)]
    order = np.arange(len(queries))
    if shuffle_seed is not None:
        np.random.default_rng(shuffle_seed).shuffle(order)
    with whole_folder(directory) as partial:
        for number in progress(range(shards)):
            mine = _taken(queries, order[number::shards])
            write_tables(_blocks(mine, events, max_history), partial / names[number])
    return [directory / name for name in names]


def shard_name(number: int, shards: int, file_format: str) -> str:
    """What a file of examples is called."""
    return f"examples-{number:05d}-of-{shards:05d}.{file_format}"


def write_tables(tables: Iterable[pa.Table], path: Path) -> None:
    """Writes tables of the same columns as one file.

    Args:
        tables: Tables; as .tfrecord those of `example_table` alone.
        path: The file, .parquet or .tfrecord.
    """
    if path.suffix == ".tfrecord":
        _write_tfrecord(tables, path)
    else:
        _write_parquet(tables, path)


def _taken(queries: Queries, places: np.ndarray) -> Queries:
    """The queries at some places, in the order of these."""
    count = queries.target_count[places]
    target = _ranges(queries.target_offset[places], count)
    return Queries(
        user=queries.user[places],
        time=queries.time[places],
        history_start=queries.history_start[places],
        history_stop=queries.history_stop[places],
        target=queries.target[target],
        target_offset=np.concatenate([[0], np.cumsum(count)]),
    )


def _blocks(queries: Queries, events: Events, max_history: int) -> Iterable[pa.Table]:
    for start in range(0, len(queries), _BLOCK):
        some = queries.between(start, min(start + _BLOCK, len(queries)))
        yield example_table(some, events, max_history=max_history)


def _write_parquet(tables: Iterable[pa.Table], path: Path) -> None:
    import pyarrow.parquet as pq

    writer = None
    for table in tables:
        if writer is None:
            writer = pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _write_tfrecord(tables: Iterable[pa.Table], path: Path) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for table in tables:
            made = {field.name: _feature_of(field.type) for field in table.schema}
            for row in table.to_pylist():
                features = {name: made[name](value) for name, value in row.items()}
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())


def _feature_of(kind: pa.DataType) -> Callable[[Any], Any]:
    """What makes the feature of a column, of single values or lists."""
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    one = kind.value_type if is_list else kind
    if pa.types.is_integer(one):
        return _integers
    return _floats if pa.types.is_floating(one) else _strings


def _strings(value: Any) -> Any:
    import tensorflow as tf

    values = [value] if isinstance(value, str) else value
    encoded = tf.train.BytesList(value=[one.encode("utf-8") for one in values])
    return tf.train.Feature(bytes_list=encoded)


def _integers(value: Any) -> Any:
    import tensorflow as tf

    values = [value] if isinstance(value, int) else value
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(value: Any) -> Any:
    import tensorflow as tf

    return tf.train.Feature(float_list=tf.train.FloatList(value=value))


def _ranges(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The places from each start on, so many of each, one after the other."""
    ends = np.cumsum(length)
    first = np.repeat(start - (ends - length), length)
    return first + np.arange(ends[-1] if len(ends) else 0)
