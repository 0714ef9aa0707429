"""Files of examples: the rows of the queries, and back as the batches of memory."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tfrs_decay.data import (
    Items,
    RawLog,
    basket_queries,
    batches,
    clean,
    example_table,
    examples,
    read_examples,
    write_examples,
)


@pytest.fixture(scope="module")
def queries(shop_events):
    return basket_queries(shop_events, actions=["purchase"])


def test_a_row_is_a_query(shop_events, queries):
    rows = example_table(queries, shop_events, max_history=5).to_pylist()
    assert len(rows) == len(queries)
    ids = shop_events.items.ids
    for q in (0, 7, len(queries) - 1):
        history = slice(
            max(queries.history_start[q], queries.history_stop[q] - 5),
            queries.history_stop[q],
        )
        targets = queries.target[
            queries.target_offset[q] : queries.target_offset[q + 1]
        ]
        assert rows[q] == {
            "user": shop_events.users[queries.user[q]],
            "query_time": queries.time[q],
            "history_item": ids[shop_events.item[history]].tolist(),
            "history_time": shop_events.time[history].tolist(),
            "history_action": [
                shop_events.actions[one] for one in shop_events.action[history]
            ],
            "target_item": ids[shop_events.item[targets]].tolist(),
        }


@pytest.fixture(scope="module")
def further_events(shop_events):
    """The shop's events with values and two further columns, one with gaps."""
    rng = np.random.default_rng(4)
    n = len(shop_events)
    return dataclasses.replace(
        shop_events,
        value=rng.normal(size=n),
        context={
            "device": rng.choice(np.array(["phone", "", "öl"], dtype=object), n),
            "a.b": np.array([f"visit {at}" for at in range(n)], dtype=object),
        },
    )


def test_what_goes_with_an_event_goes_with_its_row(further_events, queries):
    rows = example_table(queries, further_events, max_history=5).to_pylist()
    plain = example_table(
        queries,
        dataclasses.replace(further_events, value=None, context={}),
        max_history=5,
    ).to_pylist()
    assert {name: rows[3][name] for name in plain[3]} == plain[3]
    columns = {
        "value": further_events.value.astype(np.float32),
        **further_events.context,
    }
    for q in (0, 7, len(queries) - 1):
        history = np.arange(queries.history_start[q], queries.history_stop[q])[-5:]
        target = queries.target[queries.target_offset[q] : queries.target_offset[q + 1]]
        for name, column in columns.items():
            assert rows[q].pop(f"history_{name}") == column[history].tolist()
            assert rows[q].pop(f"target_{name}") == column[target].tolist()
        assert rows[q] == plain[q]


def test_a_value_that_is_too_large_is_named(further_events, queries):
    large = np.where(further_events.value > 2, -1e39, 1.0)
    with pytest.raises(
        ValueError, match=r"value holds -1e\+39, and examples hold floa"
    ):
        example_table(queries, dataclasses.replace(further_events, value=large))


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


@pytest.fixture(scope="module", params=["parquet", "tfrecord"])
def folder(request, tmp_path_factory, shop_events, queries):
    path = tmp_path_factory.mktemp("examples") / request.param
    files = write_examples(
        queries,
        shop_events,
        path,
        max_history=20,
        shards=3,
        file_format=request.param,
        shuffle_seed=None,
    )
    assert [one.name for one in files] == [
        f"examples-0000{n}-of-00003.{request.param}" for n in range(3)
    ]
    assert sorted(path.iterdir()) == files
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
    drawn = set()
    for _ in range(20):
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


def test_blocks_do_not_change_what_is_written(
    shop_events, queries, tmp_path, monkeypatch
):
    monkeypatch.setattr(examples, "_BLOCK", 7)
    write_examples(queries, shop_events, tmp_path / "small", shuffle_seed=None)
    (file,) = (tmp_path / "small").iterdir()
    assert pq.ParquetFile(file).num_row_groups == -(-len(queries) // 7)
    assert (
        pq.read_table(file).to_pylist()
        == example_table(queries, shop_events).to_pylist()
    )
    assert sum(len(one["query_time"]) for one in read_examples(tmp_path / "small")) == (
        len(queries)
    )


def test_queries_are_shuffled_before_they_are_dealt_out(shop_events, queries, tmp_path):
    def written(name, **options):
        files = write_examples(queries, shop_events, tmp_path / name, **options)
        return [row for one in files for row in pq.read_table(one).to_pylist()]

    rows = example_table(queries, shop_events).to_pylist()
    shuffled = written("one")
    assert shuffled == written("again", shuffle_seed=0)
    assert shuffled != written("other", shuffle_seed=1)
    # In the queries' order a user's rows follow each other, but for 59 changes.
    users = [row["user"] for row in shuffled]
    changes = sum(one != other for one, other in itertools.pairwise(users))
    assert changes > 0.9 * len(queries)

    def in_order(rows):
        return sorted(rows, key=lambda row: (row["user"], row["query_time"]))

    assert in_order(shuffled) == in_order(written("three", shards=3)) == rows


def test_who_does_not_occur_costs_nothing(shop_events, queries, tmp_path):
    def size(events):
        (file,) = write_examples(
            queries.between(0, 50), events, tmp_path / str(len(events.users))
        )
        return file.stat().st_size

    others = [f"somebody else, number {n}" for n in range(50_000)]
    crowded = dataclasses.replace(
        shop_events,
        users=np.array([*shop_events.users, *others], dtype=object),
        items=Items([*shop_events.items.ids, *others]),
    )
    assert size(crowded) == size(shop_events)
    table = example_table(queries.between(0, 50), crowded)
    assert len(table["user"].chunk(0).dictionary) == len(np.unique(queries.user[:50]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shards": 0}, ValueError, "shards=0 must be 1 or more"),
        ({"shards": 10**6}, ValueError, "shards=1000000 must be 1 or more, and no mo"),
        ({"file_format": "csv"}, ValueError, "file_format='csv' is not one of"),
        ({"max_history": 0}, ValueError, "events=0 must be 1 or more"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    shop_events, queries, tmp_path, options, error, message
):
    with pytest.raises(error, match=message):
        write_examples(queries, shop_events, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(shop_events, queries, tmp_path):
    with pytest.raises(FileExistsError, match="is there already"):
        write_examples(queries, shop_events, tmp_path)


def test_an_interrupted_writing_leaves_nothing(shop_events, queries, tmp_path):
    def interrupted(shards):
        yield next(iter(shards))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_examples(
            queries, shop_events, tmp_path / "out", shards=2, progress=interrupted
        )
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_examples_are_named(shop_events, queries, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder; expected one of"):
        read_examples(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no \.parquet or \.tfrecord"):
        read_examples(tmp_path)
    write_examples(queries, shop_events, tmp_path / "three", shards=3)
    files = sorted((tmp_path / "three").iterdir())
    assert len(rows_of(read_examples(files[:2]))) < len(queries)
    files[1].unlink()
    with pytest.raises(FileNotFoundError, match="lacks 1 of 3 shards, such as"):
        read_examples(tmp_path / "three")
    files[0].write_bytes(files[0].read_bytes()[:500])
    with pytest.raises(ValueError, match=r"examples-00000.* cannot be read as \.parqu"):
        read_examples([files[0]])
    pq.write_table(pa.table({"user": ["u"]}), files[0])
    with pytest.raises(ValueError, match=r"has no column history_item, .* does not"):
        read_examples([files[0]])
    with pytest.raises(ValueError, match=r"give files of one format, \.parquet or"):
        read_examples([files[2], __file__])
    with pytest.raises(ValueError, match="batch_size=0 must be 1 or more"):
        read_examples([files[2]], batch_size=0)
