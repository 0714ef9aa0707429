"""Slots of the items that a row touches, by hand."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tfrs_decay.layers import slots
from tfrs_decay.layers.slots import numbered

N = 10
PARTS = [
    tf.constant([[7, 2, 7], [N, N, N], [9, N, 0]]),
    tf.constant([[3], [N], [9]]),
]


def test_a_small_catalogue_is_its_own_slots():
    found, parts = numbered(N, PARTS)
    assert found.size == N
    assert [one.numpy().tolist() for one in parts] == [
        one.numpy().tolist() for one in PARTS
    ]
    assert found.items_of(tf.constant([[4, 1]])).numpy().tolist() == [[4, 1]]


def test_a_large_one_has_slots_for_what_is_touched(monkeypatch):
    monkeypatch.setattr(slots, "MOST_DENSE", N - 1)
    found, (first, second) = numbered(N, PARTS)
    assert int(found.size) == 3  # the first row's 2, 3 and 7; 3 stands for none
    assert first.numpy().tolist() == [[2, 0, 2], [3, 3, 3], [1, 3, 0]]
    assert second.numpy().tolist() == [[1], [3], [1]]
    there = tf.constant([[0, 1, 2], [0, 0, 0], [0, 1, 1]])
    items = found.items_of(there).numpy()
    assert items[0].tolist() == [2, 3, 7]
    assert items[2].tolist() == [0, 9, 9]


@pytest.mark.parametrize("most_dense", [0, N])
def test_a_batch_without_rows(most_dense, monkeypatch):
    monkeypatch.setattr(slots, "MOST_DENSE", most_dense)
    found, (first, second) = numbered(N, [one[:0] for one in PARTS])
    assert (first.shape, second.shape) == ([0, 3], [0, 1])
    assert found.items_of(tf.zeros([0, 2], tf.int32)).shape == [0, 2]


def test_rows_without_anything(monkeypatch):
    monkeypatch.setattr(slots, "MOST_DENSE", 0)
    found, (first,) = numbered(N, [tf.zeros([2, 0], tf.int32)])
    assert first.shape == [2, 0]
    assert found.items_of(tf.zeros([2, 1], tf.int32)).shape == [2, 1]
