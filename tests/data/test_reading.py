"""Files of examples read again: the batches of memory, whatever the format."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tf_keras

from tfrs_decay.data import (
    RawLog,
    basket_queries,
    batches,
    clean,
    example_table,
    read_examples,
    reading,
    write_examples,
)
from tfrs_decay.data.examples import write_tables
from tfrs_decay.decay import Exponential
from tfrs_decay.layers import ItemTower, TimeDecayPooling
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.writing import whole_file


@pytest.fixture(scope="module")
def queries(shop_events):
    return basket_queries(shop_events, actions=["purchase"])


def rows_of(dataset):
    """Every row of the batches, without its padding."""
    rows = []
    for batch in dataset:
        batch = {name: one.numpy() for name, one in batch.items()}
        for n in range(len(batch["query_time"])):
            events = slice(batch["history_length"][n])
            rows.append(
                (
                    int(batch["query_time"][n]),
                    *(
                        tuple(batch[name][n][events].tolist())
                        for name in ("history_item", "history_time", "history_action")
                    ),
                    tuple(batch["target_item"][n][: batch["target_length"][n]]),
                )
            )
    return rows


def as_arrow(file, plain, chunk=100):
    """The rows of a Parquet file as Arrow's own."""
    table = pq.read_table(file)
    if plain:
        rows = table.to_pylist()
        table = pa.table({name: [row[name] for row in rows] for name in rows[0]})
    with pa.OSFile(str(file.with_suffix(".arrow")), "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=chunk)
    file.unlink()


@pytest.fixture(scope="module", params=["parquet", "tfrecord", "arrow", "plain arrow"])
def folder(request, tmp_path_factory, shop_events, queries):
    arrow = request.param.endswith("arrow")
    file_format = "parquet" if arrow else request.param
    path = tmp_path_factory.mktemp("examples") / file_format
    files = write_examples(
        queries,
        shop_events,
        path,
        max_history=20,
        shards=3,
        file_format=file_format,
        shuffle_seed=None,
    )
    assert [one.name for one in files] == [
        f"examples-0000{n}-of-00003.{file_format}" for n in range(3)
    ]
    assert sorted(path.iterdir()) == files
    if arrow:
        for one in files:
            as_arrow(one, plain=request.param != "arrow")
    return path


def test_what_is_read_is_what_memory_gives(folder, shop_events, queries):
    expected = rows_of(batches(queries, shop_events, max_history=20))
    dataset = read_examples(folder, batch_size=50)
    got = rows_of(dataset)
    # Dealt out to three files, which are read one after the other.
    assert got == [row for n in range(3) for row in expected[n::3]]
    (from_memory,) = batches(queries, shop_events, batch_size=9_999).take(1)
    from_files = next(iter(dataset))
    assert set(from_files) == set(from_memory)
    for name, one in from_memory.items():
        assert from_files[name].dtype == one.dtype
        assert from_files[name].shape.rank == one.shape.rank
    sizes = [len(one["query_time"]) for one in dataset]
    assert max(sizes) == 50 and sum(sizes) == len(queries)


def test_shuffled_anew_each_epoch_and_alike_in_each_run(folder):
    runs = [read_examples(folder, batch_size=64, shuffle_seed=3) for _ in range(2)]
    first, second = [[rows_of(one) for _ in range(2)] for one in runs]
    assert first == second
    assert first[0] != first[1]
    plain = rows_of(read_examples(folder))
    assert first[0] != plain
    assert sorted(first[0]) == sorted(first[1]) == sorted(plain)
    other = rows_of(read_examples(folder, shuffle_seed=4))
    assert other != first[0]


@pytest.mark.parametrize("file_format", ["parquet", "tfrecord"])
def test_targets_are_drawn_anew_and_histories_cut(tmp_path, file_format):
    table = pd.DataFrame(
        [("u", item, time) for time in range(4) for item in "abcdefg"],
        columns=["user", "item", "time"],
    )
    events = clean(RawLog(table, None, {})).events
    write_examples(
        basket_queries(events),
        events,
        tmp_path / "out",
        file_format=file_format,
        shuffle_seed=None,
    )
    dataset = read_examples(tmp_path / "out", max_targets=2, max_history=3)
    drawn, passes = set(), 0
    while len(drawn) < 7 and (passes := passes + 1) <= 20:
        rows = rows_of(dataset)
        assert [row[0] for row in rows] == [1, 2, 3]
        assert all(row[1] == (b"e", b"f", b"g") for row in rows)
        assert all(len(set(row[4])) == 2 for row in rows)
        drawn |= {item for row in rows for item in row[4]}
    assert drawn == set(b"abcdefg"[n : n + 1] for n in range(7))


def test_ragged_is_the_same_without_padding(folder):
    ragged = read_examples(folder, batch_size=64, ragged=True)
    padded = read_examples(folder, batch_size=64)
    for one, other in zip(ragged, padded, strict=True):
        assert set(one) == set(other) - {"history_length", "target_length"}
        for name in ("history_item", "history_time", "history_action", "target_item"):
            assert isinstance(one[name], tf.RaggedTensor)
            np.testing.assert_array_equal(one[name].to_tensor(), other[name])
        np.testing.assert_array_equal(
            one["history_item"].row_lengths(), other["history_length"]
        )


def test_workers_share_the_files(folder):
    parts = [rows_of(read_examples(folder, shard=(n, 2))) for n in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(rows_of(read_examples(folder)))
    with pytest.raises(ValueError, match=r"shard=\(0, 4\) must be .* the 3 files"):
        read_examples(folder, shard=(0, 4))


def test_files_that_are_no_examples_are_named(shop_events, queries, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder; expected one of"):
        read_examples(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no \.parquet, .* or \.tfr"):
        read_examples(tmp_path)
    write_examples(queries, shop_events, tmp_path / "three", shards=3)
    files = sorted((tmp_path / "three").iterdir())
    assert len(rows_of(read_examples(files[:2]))) < len(queries)
    other = tmp_path / "three" / "examples-00000-of-00002.parquet"
    other.write_bytes(files[0].read_bytes())
    with pytest.raises(ValueError, match=r"three holds files of 2 shards and files of"):
        read_examples(tmp_path / "three")
    other.unlink()
    files[1].unlink()
    with pytest.raises(FileNotFoundError, match="lacks 1 of 3 shards, such as"):
        read_examples(tmp_path / "three")
    files[0].write_bytes(files[0].read_bytes()[:500])
    with pytest.raises(ValueError, match=r"examples-00000.* cannot be read as \.parqu"):
        read_examples([files[0]])
    pq.write_table(pa.table({"user": ["u"]}), files[0])
    with pytest.raises(ValueError, match=r"has no column history_item, .* does not"):
        read_examples([files[0]])
    with pytest.raises(ValueError, match=r"give files of one format, \.parquet, "):
        read_examples([files[2], __file__])
    with pytest.raises(ValueError, match="batch_size=0 must be 1 or more"):
        read_examples([files[2]], batch_size=0)


def test_files_that_are_still_written_are_not_read(shop_events, queries, tmp_path):
    (file,) = write_examples(queries, shop_events, tmp_path / "one")
    whole = rows_of(read_examples(tmp_path / "one"))
    with whole_file(file) as partial:
        partial.write_bytes(file.read_bytes())
        assert rows_of(read_examples(tmp_path / "one")) == whole


def test_a_block_does_not_change_what_is_read(folder, monkeypatch):
    expected = rows_of(read_examples(folder))
    monkeypatch.setattr(reading, "_BLOCK", 7)
    assert rows_of(read_examples(folder)) == expected
    sizes = [len(one["query_time"]) for one in read_examples(folder)]
    assert max(sizes) == 7


def test_a_damaged_record_names_its_file(shop_events, queries, tmp_path):
    (file,) = write_examples(
        queries, shop_events, tmp_path / "out", file_format="tfrecord"
    )
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    with pytest.raises(tf.errors.OpError, match=f"{file.name} cannot be read as .tfr"):
        rows_of(read_examples(tmp_path / "out"))
    other = tf.train.Example()
    other.features.feature["history_item"].int64_list.value.append(1)
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(other.SerializeToString())
    with pytest.raises(tf.errors.OpError, match=f"{file.name}"):
        rows_of(read_examples(tmp_path / "out"))


@pytest.mark.parametrize("suffix", [".parquet", ".tfrecord"])
def test_lists_of_other_lengths_name_their_file(tmp_path, suffix):
    row = {
        "user": "u",
        "query_time": 9,
        "history_item": ["a", "b"],
        "history_time": [1],
        "history_action": ["see", "see"],
        "target_item": ["c"],
    }
    file = tmp_path / f"rows{suffix}"
    columns = {name: [one] for name, one in row.items()}
    write_tables([pa.table(columns)], file)
    message = f"{file.name}: history_item and history_time have lists of other lengths"
    with pytest.raises(tf.errors.OpError, match=message):
        rows_of(read_examples([file]))


# --- values and further columns ------------------------------------------------------


def further(events):
    """The events with values and further columns, one with gaps."""
    rng = np.random.default_rng(4)
    n = len(events)
    return dataclasses.replace(
        events,
        value=rng.normal(size=n),
        context={
            "device": rng.choice(np.array(["phone", "", "öl"], dtype=object), n),
            "a": np.array([f"a{at}" for at in range(n)], dtype=object),
            "a.b": np.array([f"b{at}" for at in range(n)], dtype=object),
        },
    )


def columns_of(batch):
    return {name: one.numpy().tolist() for name, one in batch.items()}


@pytest.fixture(scope="module", params=["parquet", "tfrecord", "arrow", "plain arrow"])
def further_folder(request, tmp_path_factory, shop_events, queries):
    path = tmp_path_factory.mktemp("further") / "examples"
    arrow = request.param.endswith("arrow")
    files = write_examples(
        queries,
        further(shop_events),
        path,
        max_history=9,
        shards=2,
        file_format="parquet" if arrow else request.param,
        shuffle_seed=None,
    )
    for one in files:
        if arrow:
            as_arrow(one, plain=request.param != "arrow", chunk=9_999)
    return path


def test_values_and_context_are_read_as_memory_gives_them(
    further_folder, shop_events, queries
):
    odd = queries.where(np.arange(len(queries)) % 2 == 1)
    memory = batches(odd, further(shop_events), batch_size=9_999, max_history=7)
    (expected,) = memory
    last = sorted(further_folder.iterdir())[1]
    told = {"batch_size": 9_999, "max_history": 7}
    (got,) = read_examples([last], **told)
    assert {name: one.dtype for name, one in got.items()} == {
        name: one.dtype for name, one in expected.items()
    }
    assert columns_of(got) == columns_of(expected)
    (ragged,) = read_examples([last], ragged=True, **told)
    for name, column in ragged.items():
        dense = column.to_tensor() if name != "query_time" else column
        assert dense.numpy().tolist() == expected[name].numpy().tolist()
    assert set(ragged) == set(expected) - {"history_length", "target_length"}


@pytest.mark.parametrize("file_format", ["parquet", "tfrecord"])
def test_what_goes_with_a_target_or_an_event_stays_with_it(tmp_path, file_format):
    # The value and the context say which event they are of.
    table = pd.DataFrame(
        [
            (f"u{user}", item, time, 100.0 * time + ord(item), f"{item} at {time}")
            for user in range(9)
            for time in range(4)
            for item in "abcdefg"[user % 3 :]
        ],
        columns=["user", "item", "time", "value", "which"],
    )
    events = clean(RawLog(table, None, {}, context=("which",))).events
    queries = basket_queries(events)
    write_examples(queries, events, tmp_path / "out", file_format=file_format)
    told = {"max_history": 4, "max_targets": 2, "shuffle_seed": 5}
    dataset = read_examples(tmp_path / "out", batch_size=8, **told)
    drawn = set()
    for _ in range(9):
        for batch in dataset:
            one = {name: column.numpy() for name, column in batch.items()}
            target_time = np.repeat(one["query_time"][:, None], 2, axis=1)
            for side, time in (
                ("history", one["history_time"]),
                ("target", target_time),
            ):
                item, value, which = (
                    one[f"{side}_{name}"] for name in ("item", "value", "which")
                )
                assert item.shape[1] == {"history": 4, "target": 2}[side]
                for at in np.ndindex(*item.shape):
                    assert value[at] == 100 * time[at] + ord(item[at])
                    assert which[at].decode() == f"{item[at].decode()} at {time[at]}"
            drawn |= set(one["target_which"].ravel())
    assert len(drawn) == 3 * 7


@pytest.mark.parametrize("file_format", ["parquet", "tfrecord"])
def test_files_with_other_further_columns_are_named(
    shop_events, queries, tmp_path, file_format
):
    some = further(shop_events)
    others = [
        shop_events,
        dataclasses.replace(some, value=None),
        dataclasses.replace(some, context={}),
    ]
    files = [
        write_examples(queries, one, tmp_path / str(n), file_format=file_format)[0]
        for n, one in enumerate([some, *others])
    ]
    for other in files[1:]:
        with pytest.raises(
            ValueError, match=rf"{other} has .*, and {files[0]} has history_a \(string"
        ):
            read_examples([files[0], other])
    with pytest.raises(ValueError, match=rf"{files[0]} has .* has no further lists"):
        read_examples([files[1], files[0]])
    # A file without rows, as Beam may write one, does not disagree.
    empty = tmp_path / f"empty.{file_format}"
    write_tables([example_table(queries.between(0, 0), some)], empty)
    (batch,) = read_examples([empty, files[0]], batch_size=9_999)
    assert len(batch["history_value"]) == len(queries)


ROW = {
    "user": "u",
    "query_time": 9,
    "history_item": ["a", "b"],
    "history_time": [1, 2],
    "history_action": ["see", "see"],
    "target_item": ["c"],
}


def one_row(path, **more):
    columns = {name: pa.array([one]) for name, one in ROW.items()}
    more = {name: pa.array([one], kind) for name, (one, kind) in more.items()}
    write_tables([pa.table({**columns, **more})], path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".tfrecord"])
def test_lists_of_ones_own_are_features(tmp_path, suffix):
    more = {
        "history_price": ([1.5, 2.5], pa.list_(pa.float64())),
        "history_stars": ([5, 4], pa.list_(pa.int8())),
        "target_brand": (["x"], pa.list_(pa.string())),
        "brand": (["not of an event"], pa.list_(pa.string())),
    }
    (batch,) = read_examples([one_row(tmp_path / f"rows{suffix}", **more)])
    assert batch["history_price"].numpy().tolist() == [[1.5, 2.5]]
    assert batch["history_price"].dtype == tf.float32
    assert batch["history_stars"].numpy().tolist() == [[5, 4]]
    assert batch["history_stars"].dtype == tf.int64
    assert batch["target_brand"].numpy().tolist() == [[b"x"]]
    assert "brand" not in batch and "user" not in batch


def test_lists_that_are_no_features_are_named(tmp_path):
    file = one_row(
        tmp_path / "rows.parquet", target_gift=([True], pa.list_(pa.bool_()))
    )
    with pytest.raises(
        ValueError, match=r"rows\.parquet: target_gift is a list of nei"
    ):
        read_examples([file])
    one_row(file, target_brand=([None], pa.list_(pa.string())))
    with pytest.raises(
        tf.errors.OpError, match=r"rows\.parquet: target_brand holds nu"
    ):
        list(read_examples([file]))
    one_row(file, history_value=([1.0], pa.list_(pa.float32())))
    with pytest.raises(
        tf.errors.OpError, match="history_item and history_value have lists of other"
    ):
        list(read_examples([file]))
    record = tmp_path / "rows.tfrecord"
    with tf.io.TFRecordWriter(str(record)) as writer:
        writer.write(b"no example")
    with pytest.raises(ValueError, match=r"rows\.tfrecord cannot be read as \.tfrecor"):
        read_examples([record])


def test_a_model_is_trained_on_files_with_further_columns(further_folder, shop_events):
    tf_keras.utils.set_random_seed(7)
    model = DecayRetrieval(
        ItemTower(shop_events.items, dim=3), TimeDecayPooling(Exponential("3d"))
    )
    model.compile(tf_keras.optimizers.Adam(0.02))
    data = read_examples(further_folder, batch_size=64, shuffle_seed=0)
    losses = model.fit(data, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
