"""Files of examples: the rows of the queries, in shards, whole or not at all."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pyarrow.parquet as pq
import pytest

from tfrs_decay.data import (
    Items,
    basket_queries,
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
