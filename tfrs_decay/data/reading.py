"""Files of examples as batches: whole blocks of rows are read, then cut into batches.

What can be done once for thousands of rows is (decoding, shuffling, drawing of targets,
cutting of histories). A batch is then a slice of its block; names stay numbers, where
the file has them so, until the batch is cut.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_decay.data.dataset import check_numbers, fresh_seeds
from tfrs_decay.data.example_files import (
    LISTS,
    files_of,
    further_lists,
    kind_of_values,
    tables_of,
)
from tfrs_decay.data.tables import unreadable

_BLOCK = 65_536
"""Rows that are decoded, and shuffled, together."""


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

    Further lists of strings, floats or integers that the files have are features under
    their own names, which begin with history_ or target_: one for each event of the
    history, or for each target. Other columns are not read.

    Args:
        source: A folder that `write_examples` wrote; or files of one format, .parquet,
            .arrow or .feather (Arrow's file format, version 2 of Feather) with its
            columns, or .tfrecord.
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
        ValueError: They are of several formats, a file holds something else or other
            further lists than the first, or a number is out of its range.
        ImportError: pyarrow is missing, for Parquet and Arrow.

    A file that turns out to be damaged while it is read ends the reading with a
    `tf.errors.OpError` that names it.
    """
    check_numbers(
        batch_size=batch_size, max_history=max_history, max_targets=max_targets
    )
    files = files_of(source)
    lists = {**LISTS, **further_lists(files)}
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
    read = _tfrecord_blocks if files[0].suffix == ".tfrecord" else _arrow_blocks

    def prepared(block: _Block, seed: tf.Tensor) -> _Block:
        order, draw = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        if shuffle_seed is not None:
            block = block.shuffled(order)
        if max_history is not None:
            block = block.latest(max_history)
        return block if max_targets is None else block.drawn(max_targets, draw)

    def cut(block: _Block) -> tf.data.Dataset:
        count = tf.size(block.query_time, tf.int64)
        starts = tf.data.Dataset.range(0, count, batch_size)
        return starts.map(
            lambda start: block.features(
                start, tf.minimum(start + batch_size, count), ragged
            ),
            tf.data.AUTOTUNE,
        )

    rows = names.flat_map(lambda path: read(path, lists))
    blocks = tf.data.Dataset.zip((rows, fresh_seeds(shuffle_seed)))
    options = tf.data.Options()
    options.deterministic = deterministic
    dataset = blocks.map(prepared).prefetch(1).flat_map(cut).prefetch(4)
    return dataset.with_options(options)


class _Block(NamedTuple):
    """Rows that were read together; their lists stand end to end.

    Attributes:
        query_time: [rows] int64.
        splits: [rows + 1] int64 of "history" and of "target": where a row's list begins
            in each column of that name.
        columns: [values] int64 or float32 of each column; or int32, places in `names`.
        names: [names] strings of each column of strings; the first is "".
    """

    query_time: tf.Tensor
    splits: dict[str, tf.Tensor]
    columns: dict[str, tf.Tensor]
    names: dict[str, tf.Tensor]

    def shuffled(self, seed: tf.Tensor) -> _Block:
        """The rows in another order."""
        order = tf.range(tf.size(self.query_time))
        order = tf.random.experimental.stateless_shuffle(order, seed)
        lists = {name: tf.gather(self._list(name), order) for name in self.columns}
        return self._with(lists)._replace(query_time=tf.gather(self.query_time, order))

    def latest(self, most: int) -> _Block:
        """With no more than the last events of each history."""
        lists = {name: self._list(name) for name in self.columns}
        return self._with(
            {
                name: one[:, -most:] if _kind(name) == "history" else one
                for name, one in lists.items()
            }
        )

    def drawn(self, most: int, seed: tf.Tensor) -> _Block:
        """With no more than so many of each row's targets, drawn at random."""
        splits = self.splits["target"]
        target = tf.RaggedTensor.from_row_splits(
            tf.range(splits[-1]), splits, validate=False
        )
        row = target.value_rowids()
        chance = tf.random.stateless_uniform(tf.shape(row), seed, dtype=tf.float64)
        # Within each row by chance, and of these the first.
        place = tf.argsort(tf.cast(row, tf.float64) + chance)
        kept = place[target.values < most + tf.gather(target.row_starts(), row)]
        lengths = tf.minimum(target.row_lengths(), most)
        return self._replace(
            splits={**self.splits, "target": tf.concat([[0], tf.cumsum(lengths)], 0)},
            columns={
                name: tf.gather(one, kept) if _kind(name) == "target" else one
                for name, one in self.columns.items()
            },
        )

    def features(self, start: tf.Tensor, stop: tf.Tensor, ragged: bool) -> Any:
        """The rows from `start` up to `stop` as a model reads them."""
        features = {"query_time": self.query_time[start:stop]}
        splits, values = {}, {}
        for kind, all_splits in self.splits.items():
            mine = all_splits[start : stop + 1]
            values[kind] = slice(mine[0], mine[-1])
            splits[kind] = mine - mine[0]
            if not ragged:
                features[f"{kind}_length"] = mine[1:] - mine[:-1]
        for name, column in self.columns.items():
            kind = _kind(name)
            rows: Any = tf.RaggedTensor.from_row_splits(
                column[values[kind]], splits[kind], validate=False
            )
            if not ragged:
                rows = rows.to_tensor()
            if name in self.names:
                rows = tf.gather(self.names[name], rows)
            features[name] = rows
        return features

    def _list(self, name: str) -> tf.RaggedTensor:
        return tf.RaggedTensor.from_row_splits(
            self.columns[name], self.splits[_kind(name)], validate=False
        )

    def _with(self, lists: Mapping[str, tf.RaggedTensor]) -> _Block:
        return self._replace(
            splits={_kind(name): one.row_splits for name, one in lists.items()},
            columns={name: one.values for name, one in lists.items()},
        )


def _kind(column: str) -> str:
    """What a column is of: "history" or "target"."""
    return column.split("_", 1)[0]


@tf.autograph.experimental.do_not_convert
def _arrow_blocks(path: tf.Tensor, lists: dict[str, tf.DType]) -> tf.data.Dataset:
    """The blocks of a Parquet or an Arrow file."""

    def blocks(name: bytes) -> Iterator[Any]:
        file = Path(name.decode())
        for table in tables_of(file, [*lists, "query_time"], _BLOCK):
            splits, columns, names = {}, {}, {}
            for one in lists:
                if table[one].null_count or table[one].flatten().null_count:
                    raise ValueError(
                        f"{file}: {one} holds nulls; write '' or 0 for what is missing."
                    )
                splits[one], columns[one], named = _flat(table[one])
                if named is not None:
                    names[one] = named
            _check_lengths(splits, file)
            by_kind = {_kind(one): splits[one] for one in splits}
            yield table["query_time"].to_numpy(), by_kind, columns, names

    strings = [name for name, dtype in lists.items() if dtype == tf.string]
    rows = tf.TensorSpec([None], tf.int64)
    signature = (
        rows,
        {kind: rows for kind in ("history", "target")},
        {
            name: tf.TensorSpec([None], tf.int32 if name in strings else dtype)
            for name, dtype in lists.items()
        },
        {name: tf.TensorSpec([None], tf.string) for name in strings},
    )
    return tf.data.Dataset.from_generator(
        blocks, args=(path,), output_signature=signature
    ).map(_Block)


def _check_lengths(splits: Mapping[str, np.ndarray], path: Path) -> None:
    """Refuses columns of events, or of targets, that differ in a row's length."""
    first: dict[str, str] = {}
    for name, one in splits.items():
        other = first.setdefault(_kind(name), name)
        if not np.array_equal(one, splits[other]):
            raise ValueError(
                f"{path}: {other} and {name} {_OTHER_LENGTHS}; expected one of each "
                "for every event."
            )


_OTHER_LENGTHS = "have lists of other lengths in a row"


def _flat(lists: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Where each list of an Arrow array begins, the values end to end, and their names.

    Strings are given as places in the names, of which the first is "".
    """
    import pyarrow as pa

    splits = lists.offsets.to_numpy().astype(np.int64)
    splits, values = splits - splits[0], lists.flatten()
    kind = kind_of_values(values.type)
    if kind is not None and kind != tf.string:
        numbers = values.to_numpy(zero_copy_only=False)
        return splits, numbers.astype(kind.as_numpy_dtype, copy=False), None
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    place = values.indices.to_numpy(zero_copy_only=False).astype(np.int32) + 1
    names = values.dictionary.to_numpy(zero_copy_only=False)
    return splits, place, np.concatenate([[""], names])


@tf.autograph.experimental.do_not_convert
def _tfrecord_blocks(path: tf.Tensor, lists: dict[str, tf.DType]) -> tf.data.Dataset:
    """The blocks of a TFRecord file."""

    def blocks(name: bytes) -> Iterator[tf.Tensor]:
        file = Path(name.decode())
        try:
            yield from tf.data.TFRecordDataset(str(file), buffer_size=1 << 20).batch(
                _BLOCK
            )
        except tf.errors.OpError as error:
            raise unreadable(file, error) from error

    features: dict[str, Any] = {
        name: tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
        for name, dtype in lists.items()
    }
    features["query_time"] = tf.io.FixedLenFeature([], tf.int64)

    def block(written: tf.Tensor) -> _Block:
        # The file's name goes into what is said of a record that holds something else.
        file = tf.fill(tf.shape(written), path)
        rows = tf.io.parse_example(written, features, example_names=file)
        time = rows.pop("query_time")
        splits = {name: one.row_splits for name, one in rows.items()}
        kinds = {_kind(name): name for name in reversed(LISTS)}
        for name, one in splits.items():
            other = kinds[_kind(name)]
            same = tf.reduce_all(one == splits[other])
            said = f"{other} and {name} {_OTHER_LENGTHS}"
            tf.debugging.Assert(same, [tf.strings.join([path, ": ", said])])
        columns = {name: one.values for name, one in rows.items()}
        names = {}
        for name, dtype in lists.items():
            if dtype == tf.string:
                names[name], place = tf.unique(tf.concat([[""], columns[name]], 0))
                columns[name] = place[1:]
        return _Block(
            time, {kind: splits[name] for kind, name in kinds.items()}, columns, names
        )

    return tf.data.Dataset.from_generator(
        blocks, args=(path,), output_signature=tf.TensorSpec([None], tf.string)
    ).map(block)
