"""Weights of logarithmic buckets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfrs_decay.decay import (
    Elapsed,
    Exponential,
    LogBucketed,
    PowerLaw,
    Product,
    Window,
)
from tfrs_decay.decay.log_bucketed import starts
from tfrs_decay.layers.tensors import TENSORS

YEAR = 365 * 86_400
HALVING = LogBucketed([0.5**bucket for bucket in range(64)])
"""Bucket k weighs 2^-k, so that a weight tells its bucket."""


def bucket_of(age: Any) -> np.ndarray:
    return np.rint(-np.log2(HALVING.weight(age))).astype(int)


def test_buckets_grow_by_the_root_of_two() -> None:
    # [0, 1), [1, 1.41), [1.41, 2), [2, 2.83), [2.83, 4), [4, ...
    age = [0, 0.99, 1, 1.41, 1.42, 1.99, 2, 2.82, 2.83, 3.99, 4, 5.6, 5.7, 8]
    expected = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7]
    assert bucket_of(age).tolist() == expected


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_powers_of_two_begin_a_bucket_in_every_arithmetic(dtype: tf.DType) -> None:
    powers = 2.0 ** np.arange(31)
    assert bucket_of(powers).tolist() == list(range(1, 63, 2))
    found = HALVING.formula(Elapsed(tf.constant(powers, dtype)), None, TENSORS)
    np.testing.assert_allclose(found, np.log(HALVING.weight(powers)), rtol=1e-6)


def test_starts_are_where_buckets_begin() -> None:
    assert bucket_of(starts(64)).tolist() == list(range(64))
    assert starts(64)[-1] / YEAR == pytest.approx(68, abs=0.2)


@given(st.floats(1, 1e10))
def test_a_bucket_is_the_logarithm_of_the_age(age: float) -> None:
    exact = 1 + 2 * math.log2(age)
    # Ends come a ten thousandth of a bucket early.
    assert min(math.floor(exact), 63) <= bucket_of(age) <= min(exact + 2e-4, 63)


def test_the_last_bucket_has_no_end() -> None:
    assert LogBucketed([1, 0.5]).weight([0.5, 1, 1e18]).tolist() == [1, 0.5, 0.5]


def test_over_the_rank() -> None:
    decay = LogBucketed([1, 0.5, 0.25], by="rank")
    assert decay.weight([0, 1, 2, 9]).tolist() == [1, 0.5, 0.25, 0.25]


def test_it_starts_from_a_heavy_tail() -> None:
    age = starts(64)
    usual = LogBucketed().weight(age)
    np.testing.assert_allclose(usual, PowerLaw("1h", 0.25).weight(age), rtol=1e-9)
    by_rank = LogBucketed(by="rank").weight([0, 1, 15])
    # (1 + 1)^-1/4; and of bucket 8, which begins at 2^3.5.
    expected = [1, 2**-0.25, (1 + 2**3.5) ** -0.25]
    np.testing.assert_allclose(by_rank, expected, rtol=1e-9)


def test_it_starts_from_any_decay() -> None:
    like = LogBucketed.like(Exponential("7d"), buckets=50)
    # Fixed where nothing is said, as what is made by its weights.
    assert not like.trainable and len(like.weights) == 50
    assert LogBucketed.like(PowerLaw("1h", 0.25), trainable=True).trainable
    # 2^(38/2) s = 524,288 s begins bucket 39: it holds ages up to 741,455 s.
    week = 7 * 86_400
    assert like.weight(week) == pytest.approx(2 ** -(524_288 / week))
    assert LogBucketed.like(PowerLaw(5, 0.5, by="rank")).by == "rank"


def test_a_bucket_that_nothing_told_apart_can_still_learn() -> None:
    flat = LogBucketed([1.0] * 8, trainable=True)
    steps = tf.Variable(flat.initial_parameters(1)["steps"])
    with tf.GradientTape() as tape:
        age = tf.constant([0.0, 100.0])
        log_weight = flat.formula(Elapsed(age), {"steps": steps}, TENSORS)
    assert np.all(np.abs(tape.gradient(log_weight, steps)) > 5e-5)
    assert -log_weight[1] < 8e-4


def test_weights_learned_away_are_still_a_decay() -> None:
    far = {"steps": np.full(3, 1_000.0)}
    fixed = LogBucketed([1, 0.5, 0.25, 0.1], trainable=True).with_parameters(far)
    assert fixed.weight([0.0, 1.0, 9.0])[1:] == pytest.approx([0, 0], abs=1e-299)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], r"shape \(1,\): give \[buckets\]"),
        ([[1.0, 0.5]], r"shape \(1, 2\): give \[buckets\]"),
        ([0.9, 0.5], r"weights\[0\]=0.9 must be 1"),
        ([1.0, 0.5, 0.0], r"weights\[2\]=0.0 must lie in \(0, 1\]"),
        ([1.0, math.nan], r"weights\[1\]=nan must lie"),
        ([1.0, 0.5, 0.6], r"weights\[2\]=0.6 is above the one before it"),
    ],
)
def test_weights_fall_from_one(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogBucketed(weights)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"by='time' is not one of"):
        LogBucketed(by="time")
    both = Product([Exponential("7d"), Window(5, by="rank")])
    with pytest.raises(ValueError, match="is not one weight for all events of an age"):
        LogBucketed.like(both)
    with pytest.raises(ValueError, match=r"weights\[40\]=0.0 must lie in"):
        LogBucketed.like(Window("7d"))
    with pytest.raises(ValueError, match=r"LogBucketed.* is no sum of positive"):
        LogBucketed().as_mixture()


def test_it_shows_and_tells_a_few_weights() -> None:
    assert repr(LogBucketed([1, 0.5])) == "LogBucketed([1, 0.5])"
    shown = "LogBucketed(<64 from 0.0359826 to 1>, trainable=True)"
    assert repr(LogBucketed(trainable=True)) == shown
    told = LogBucketed().describe()
    assert told == "log buckets: 0.863 at 1h, 0.478 at 1d, 0.203 at 30d, 0.111 at 1y"
    by_rank = LogBucketed([1, 0.5], by="rank").describe({"steps": np.array([1.0])})
    # softplus(1) = ln(1 + e), so 1 / (1 + e) = 0.269.
    assert by_rank == (
        "learned log buckets: 0.269 at 1 event, 0.269 at 10 events, 0.269 at 100 events"
    )
