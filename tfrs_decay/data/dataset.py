"""Queries to tf.data: padded histories and their lengths, under the model's names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_decay.data.events import Events
from tfrs_decay.data.examples import FORMATS, value_of_examples
from tfrs_decay.data.histories import Queries
from tfrs_decay.data.tables import need, unreadable


def batches(
    queries: Queries,
    events: Events,
    *,
    batch_size: int = 128,
    max_history: int = 100,
    max_targets: int | None = None,
    shuffle_seed: int | None = None,
) -> tf.data.Dataset:
    """Batches queries as the features that `DecayRetrieval` reads.

    A batch is a dict; `time` below is the longest history of the batch and `targets`
    its largest basket, and what lies beyond a row's length is padding ("" and 0).

    ==================  ======  ================  =====================================
    `history_item`      string  [batch, time]     ids, oldest first
    `history_time`      int64   [batch, time]     seconds since the epoch
    `history_action`    string  [batch, time]
    `history_length`    int64   [batch]           events that are not padding
    `query_time`        int64   [batch]           seconds since the epoch
    `target_item`       string  [batch, targets]
    `target_length`     int64   [batch]
    ==================  ======  ================  =====================================

    Of a log with values and further columns also these, the latter for each column
    NAME; padding is 0 and "":

    ==================  =======  ================  ====================================
    `history_value`     float32  [batch, time]     of the events of `history_item`
    `target_value`      float32  [batch, targets]  of those of `target_item`
    `history_NAME`      string   [batch, time]     likewise; "" where a row had none
    `target_NAME`       string   [batch, targets]  likewise
    ==================  =======  ================  ====================================

    What goes with a target is known only once it has happened: it can weigh an example
    or a loss, but a query tower that sees it has seen the answer. `DecayRetrieval`
    reads none of these but `history_category`, as categories.

    Args:
        queries: From `basket_queries`.
        events: The events that the queries were made from.
        batch_size: Queries a batch; the last batch may be smaller.
        max_history: Only the latest so many events of a history are kept.
        max_targets: At most so many targets of a basket, drawn anew in each epoch.
        shuffle_seed: Shuffle, in another order each epoch, repeatably from this seed
            and TensorFlow's global one (`tf.random.set_seed`); in the queries' own
            order when left out.

    Raises:
        ValueError: A number is below 1, there are no queries, or a value is too large
            for float32.
    """
    _check_numbers(
        batch_size=batch_size, max_history=max_history, max_targets=max_targets
    )
    if not len(queries):
        raise ValueError("there are no queries to batch: no user acts twice in time.")
    columns = EventColumns(events)
    query_time = tf.constant(queries.time, tf.int64)
    start = tf.constant(queries.history_start, tf.int64)
    stop = tf.constant(queries.history_stop, tf.int64)
    target = tf.constant(queries.target, tf.int64)
    target_offset = tf.constant(queries.target_offset, tf.int64)

    def features(query: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        target_first = tf.gather(target_offset, query)
        target_length = tf.gather(target_offset, query + 1) - target_first
        basket, in_basket = _ranges(target_first, target_length)
        if max_targets is not None:
            basket, in_basket = _sample(basket, in_basket, max_targets, seed)
            target_length = tf.minimum(target_length, max_targets)
        event = tf.gather(target, basket)
        return {
            **columns.histories(
                tf.gather(start, query), tf.gather(stop, query), max_history
            ),
            "query_time": tf.gather(query_time, query),
            "target_item": tf.where(in_basket, columns.ids_of(event), ""),
            "target_length": target_length,
            **columns.further("target", event, in_basket),
        }

    dataset = tf.data.Dataset.range(len(queries))
    if shuffle_seed is not None:
        dataset = dataset.shuffle(len(queries), shuffle_seed)
    dataset = dataset.batch(batch_size)
    dataset = tf.data.Dataset.zip((dataset, _seeds(shuffle_seed)))
    return dataset.map(features, tf.data.AUTOTUNE).prefetch(2)


def read_examples(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    batch_size: int = 128,
    max_history: int | None = None,
    max_targets: int | None = None,
    shuffle_seed: int | None = None,
    ragged: bool = False,
    shard: tuple[int, int] = (0, 1),
    deterministic: bool = True,
) -> tf.data.Dataset:
    """Reads files of examples as batches, with the features that `batches` gives.

    Rows are read in blocks; a batch is of one block, and a block's last batch may be
    smaller. Shuffled, the files and the rows within a block come in another order in
    each epoch: `write_examples` deals rows out so that every file is like the others.

    Args:
        source: A folder that `write_examples` wrote, or files of one format.
        batch_size: Queries a batch.
        max_history: Only the latest so many events of a history are kept; all that
            were written when left out.
        max_targets: At most so many targets of a basket, drawn anew in each epoch.
        shuffle_seed: Shuffle, repeatably from this seed and TensorFlow's global one
            (`tf.random.set_seed`); in the files' own order when left out.
        ragged: Histories and targets as `tf.RaggedTensor`, in the place of padding and
            lengths.
        shard: Which part of the files to read, of how many: (worker, workers).
        deterministic: Whether batches come in the same order in every run; faster
            where they need not.

    Raises:
        FileNotFoundError: There are no such files, or shards of a set are missing.
        ValueError: They are of several formats, a file holds something else, or a
            number is out of its range.
        ImportError: pyarrow is missing, for Parquet.
    """
    _check_numbers(
        batch_size=batch_size, max_history=max_history, max_targets=max_targets
    )
    files = _files_of(source)
    worker, workers = shard
    if not 0 <= worker < workers <= len(files):
        raise ValueError(
            f"shard={shard} must be (worker, workers), with 0 <= worker < workers, and "
            f"no more workers than the {len(files)} files."
        )
    names = tf.data.Dataset.from_tensor_slices([str(one) for one in files])
    names = names.shard(workers, worker)
    if shuffle_seed is not None:
        names = names.shuffle(len(files), shuffle_seed)
    read = _parquet_blocks if files[0].suffix == ".parquet" else _tfrecord_blocks
    blocks = names.flat_map(read).prefetch(1)

    def of_block(block: dict[str, tf.Tensor], seed: tf.Tensor) -> tf.data.Dataset:
        order = tf.range(tf.shape(block["query_time"])[0])
        if shuffle_seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, seed)
        rows = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        seeds = tf.data.Dataset.random(seed[0]).batch(2)
        return tf.data.Dataset.zip((rows, seeds)).map(
            lambda some, draw: _features(
                {name: tf.gather(one, some) for name, one in block.items()},
                draw,
                max_history,
                max_targets,
                ragged,
            ),
            tf.data.AUTOTUNE,
        )

    blocks = tf.data.Dataset.zip((blocks, _seeds(shuffle_seed)))
    options = tf.data.Options()
    options.deterministic = deterministic
    return blocks.flat_map(of_block).prefetch(4).with_options(options)


def _seeds(shuffle_seed: int | None) -> tf.data.Dataset:
    """A fresh pair of seeds for each element of each epoch, the same in every run."""
    return tf.data.Dataset.random(
        shuffle_seed or 0, rerandomize_each_iteration=True
    ).batch(2)


def _check_numbers(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{name}={number} must be 1 or more.")


def _features(
    rows: dict[str, Any],
    seed: tf.Tensor,
    max_history: int | None,
    max_targets: int | None,
    ragged: bool,
) -> dict[str, Any]:
    """A batch of rows, whose lists are ragged, as a model reads them."""
    lists = {name: rows[name] for name in _LISTS}
    if max_history is not None:
        for name in _HISTORY:
            lists[name] = lists[name][:, -max_history:]
    if max_targets is not None:
        targets = lists["target_item"]
        length = targets.row_lengths()
        basket, _ = _sample(*_ranges(tf.zeros_like(length), length), max_targets, seed)
        drawn = tf.gather(targets.to_tensor(), basket, batch_dims=1)
        lists["target_item"] = tf.RaggedTensor.from_tensor(
            drawn, tf.minimum(length, max_targets)
        )
    query_time = {"query_time": rows["query_time"]}
    if ragged:
        return {**lists, **query_time}
    return {
        **{name: one.to_tensor() for name, one in lists.items()},
        "history_length": lists["history_item"].row_lengths(),
        "target_length": lists["target_item"].row_lengths(),
        **query_time,
    }


_HISTORY = ("history_item", "history_time", "history_action")

_LISTS = {
    "history_item": tf.string,
    "history_time": tf.int64,
    "history_action": tf.string,
    "target_item": tf.string,
}

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.\w+$")


def _files_of(source: Any) -> list[Path]:
    """The files, all there and of one format."""
    if isinstance(source, (str, os.PathLike)):
        folder = Path(source)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such folder; expected one of `write_examples`, or a "
                "list of files."
            )
        files = sorted(
            one for one in folder.iterdir() if one.suffix.lstrip(".") in FORMATS
        )
    else:
        files = [Path(one) for one in source]
    missing = [one for one in files if not one.is_file()]
    if not files or missing:
        what = missing[0] if missing else f"{source} holds no .parquet or .tfrecord"
        raise FileNotFoundError(f"{what}: there are no examples to read.")
    if len({one.suffix for one in files}) > 1 or (
        files[0].suffix.lstrip(".") not in FORMATS
    ):
        raise ValueError(
            f"the files end in {sorted({one.suffix for one in files})}: give files of "
            "one format, .parquet or .tfrecord."
        )
    shards = [found for one in files if (found := _SHARD.search(one.name))]
    if isinstance(source, (str, os.PathLike)) and shards:
        there = {int(one[1]) for one in shards}
        absent = sorted(set(range(int(shards[0][2]))) - there)
        if absent:
            raise FileNotFoundError(
                f"{source} lacks {len(absent)} of {int(shards[0][2])} shards, such as "
                f"number {absent[0]}."
            )
    for one in files:
        if one.suffix == ".parquet":
            _check_columns(one)
    return files


def _check_columns(path: Path) -> None:
    need("pyarrow", "a .parquet file", "data")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.ParquetFile(path).schema_arrow.names
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    absent = [one for one in (*_LISTS, "query_time") if one not in columns]
    if absent:
        raise ValueError(
            f"{path} has no column {', '.join(absent)}; its columns are {columns}: it "
            "does not hold examples."
        )


@tf.autograph.experimental.do_not_convert
def _parquet_blocks(path: tf.Tensor) -> tf.data.Dataset:
    """A file's rows, as many at a time as were written together."""

    def blocks(name: bytes) -> Iterator[tuple[Any, ...]]:
        import pyarrow.parquet as pq

        file = pq.ParquetFile(name.decode())
        for number in range(file.num_row_groups):
            try:
                table = file.read_row_group(number, [*_LISTS, "query_time"])
            except OSError as error:
                raise unreadable(Path(name.decode()), error) from error
            yield (
                table["query_time"].to_numpy(),
                *(
                    part
                    for name in _LISTS
                    for part in _flat(table[name].combine_chunks())
                ),
            )

    specs = [tf.TensorSpec([None], tf.int64)]
    for dtype in _LISTS.values():
        specs += [tf.TensorSpec([None], dtype), tf.TensorSpec([None], tf.int64)]

    def named(time: tf.Tensor, *parts: tf.Tensor) -> dict[str, Any]:
        lists = {
            name: tf.RaggedTensor.from_row_splits(
                parts[2 * number], parts[2 * number + 1], validate=False
            )
            for number, name in enumerate(_LISTS)
        }
        return {"query_time": time, **lists}

    return tf.data.Dataset.from_generator(
        blocks, args=(path,), output_signature=tuple(specs)
    ).map(named)


def _flat(lists: Any) -> tuple[np.ndarray, np.ndarray]:
    """An Arrow array of lists as values end to end, and where each list begins."""
    values = lists.flatten()
    if hasattr(values, "dictionary_decode"):
        values = values.dictionary_decode()
    splits = lists.offsets.to_numpy().astype(np.int64)
    return values.to_numpy(zero_copy_only=False), splits - splits[0]


def _tfrecord_blocks(path: tf.Tensor) -> tf.data.Dataset:
    """A file's rows, a block at a time."""
    features: dict[str, Any] = {
        name: tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
        for name, dtype in _LISTS.items()
    }
    features["query_time"] = tf.io.FixedLenFeature([], tf.int64)
    return (
        tf.data.TFRecordDataset(path, buffer_size=1 << 20)
        .batch(_BLOCK)
        .map(lambda written: tf.io.parse_example(written, features))
    )


_BLOCK = 16_384
"""Records that are parsed, and shuffled, together."""


class EventColumns:
    """A log's events as tensors, from which padded histories are gathered.

    Args:
        events: Clean events.
    """

    def __init__(self, events: Events) -> None:
        self._ids = tf.constant(events.items.ids.tolist(), tf.string)
        self._actions = tf.constant(list(events.actions), tf.string)
        self._item, self._action, self._time = (
            tf.constant(column, tf.int64)
            for column in (events.item, events.action, events.time)
        )
        self._further: dict[str, tf.Tensor] = {}
        if events.value is not None:
            self._further["value"] = tf.constant(value_of_examples(events.value))
        for name, column in events.context.items():
            self._further[name] = tf.constant(column.tolist(), tf.string)

    def ids_of(self, event: tf.Tensor) -> tf.Tensor:
        """The item's id of each event: [...] int64 places -> [...] strings."""
        return tf.gather(self._ids, tf.gather(self._item, event))

    def histories(
        self, start: tf.Tensor, stop: tf.Tensor, max_history: int
    ) -> dict[str, tf.Tensor]:
        """The `history_` features of `batches`.

        Args:
            start: [batch] int64, the place of a history's first event.
            stop: [batch] int64, one beyond its last.
            max_history: Only the latest so many events are kept.
        """
        first = tf.maximum(start, stop - max_history)
        event, valid = _ranges(first, stop - first)
        action = tf.gather(self._actions, tf.gather(self._action, event))
        return {
            "history_item": tf.where(valid, self.ids_of(event), ""),
            "history_time": tf.where(valid, tf.gather(self._time, event), 0),
            "history_action": tf.where(valid, action, ""),
            "history_length": stop - first,
            **self.further("history", event, valid),
        }

    def further(
        self, side: str, event: tf.Tensor, valid: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The features of values and further columns.

        Args:
            side: "history" or "target".
            event: [...] int64, places of events.
            valid: [...] bool, false for padding.
        """
        return {
            f"{side}_{name}": tf.where(
                valid, tf.gather(column, event), tf.zeros([], column.dtype)
            )
            for name, column in self._further.items()
        }


def _ranges(first: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """[batch, longest] positions from `first` on, and which lie within `length`.

    Positions beyond the length are 0, which can always be gathered.
    """
    steps = tf.range(tf.reduce_max(length))
    valid = steps[None, :] < length[:, None]
    return tf.where(valid, first[:, None] + steps[None, :], 0), valid


def _sample(
    positions: tf.Tensor, valid: tf.Tensor, most: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """At most `most` of each row's valid positions, drawn without replacement."""
    chance = tf.random.stateless_uniform(tf.shape(positions), seed)
    chance = tf.where(valid, chance, -1.0)
    kept = tf.math.top_k(chance, tf.minimum(most, tf.shape(positions)[1])).indices
    return (
        tf.gather(positions, kept, batch_dims=1),
        tf.gather(valid, kept, batch_dims=1),
    )
