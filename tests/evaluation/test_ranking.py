"""The first k against a stable sort of everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrs_decay.evaluation import top_items

# Few values, so that ties are everywhere, with both zeros and both infinities.
VALUES = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1e-300, 0.5, 1.0, np.inf])
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)


@st.composite
def scored(draw):
    shape = draw(SHAPES)
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    scores = draw(hnp.arrays(np.float64, shape, elements=VALUES)).astype(dtype)
    excluded = draw(hnp.arrays(np.bool_, shape))
    return scores, excluded, draw(st.integers(1, 15))


@st.composite
def wide(draw):
    """Many more items than places, of few different scores or of many."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, n = draw(st.integers(1, 5)), draw(st.integers(16, 300))
    values = np.append(rng.normal(size=draw(st.sampled_from([2, 30, 10_000]))), -np.inf)
    scores = rng.choice(values, (rows, n)).astype(np.float32)
    excluded = rng.random((rows, n)) < draw(st.sampled_from([0.0, 0.3, 0.99]))
    return scores, excluded, draw(st.integers(1, 6))


CASES = scored() | wide()


def test_ranked_by_hand():
    scores = np.array([[0.1, 0.9, 0.4, 0.9, 0.2, 0.4], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]])
    assert top_items(scores, 4).tolist() == [[1, 3, 2, 5], [0, 1, 2, 3]]
    assert top_items(scores, 4).dtype == np.int64


def test_among_equals_the_lower_code_comes_first_at_the_end_of_the_list_too():
    scores = np.array([[0.0, 7.0, 0.0, 0.0, 0.0, 8.0]])
    assert top_items(scores, 3).tolist() == [[5, 1, 0]]
    assert top_items(np.zeros((2, 6)), 3).tolist() == [[0, 1, 2], [0, 1, 2]]


def test_fewer_candidates_than_places():
    scores = np.array([[0.5, 0.9, 0.7]])
    assert top_items(scores, 5).tolist() == [[1, 2, 0, -1, -1]]
    seen = np.array([[False, True, False]])
    assert top_items(scores, 2, seen).tolist() == [[2, 0]]
    assert top_items(scores, 4, seen).tolist() == [[2, 0, -1, -1]]
    assert top_items(scores, 2, np.ones((1, 3), bool)).tolist() == [[-1, -1]]


def test_an_item_at_minus_infinity_is_last_but_not_excluded():
    scores = np.array([[-np.inf, 0.5, -np.inf, np.inf]])
    assert top_items(scores, 4).tolist() == [[3, 1, 0, 2]]
    seen = np.array([[True, False, False, True]])
    assert top_items(scores, 4, seen).tolist() == [[1, 2, -1, -1]]


def test_no_queries_and_no_items():
    assert top_items(np.zeros((0, 5)), 3).shape == (0, 3)
    assert top_items(np.zeros((2, 0)), 2).tolist() == [[-1, -1], [-1, -1]]


@given(CASES)
def test_the_same_as_a_stable_sort_of_the_whole_row(case):
    scores, _, k = case
    n = scores.shape[1]
    whole = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    top = top_items(scores, k)
    assert top[:, :n].tolist() == whole.tolist()
    assert (top[:, n:] == -1).all()


@given(CASES)
def test_the_same_as_a_stable_sort_of_what_is_not_excluded(case):
    scores, excluded, k = case
    lists = top_items(scores, k, excluded)
    for row, out, top in zip(scores, excluded, lists, strict=True):
        left = [item for item in range(len(row)) if not out[item]]
        ranked = sorted(left, key=lambda item: -row[item])[:k]
        assert top.tolist() == ranked + [-1] * (k - len(ranked))


@given(CASES)
def test_what_is_excluded_never_appears(case):
    scores, excluded, k = case
    for out, top in zip(excluded, top_items(scores, k, excluded), strict=True):
        assert not set(top) & set(np.flatnonzero(out))
        found = top[top != -1]
        assert len(set(found)) == len(found) == min(k, (~out).sum())


@given(CASES)
def test_a_shorter_list_is_the_start_of_a_longer_one(case):
    scores, excluded, k = case
    longer = top_items(scores, k + 1, excluded)
    assert np.array_equal(top_items(scores, k, excluded), longer[:, :k])


@settings(max_examples=20)
@given(CASES)
def test_nothing_that_is_given_is_written_to(case):
    scores, excluded, k = case
    scores.flags.writeable = excluded.flags.writeable = False
    top_items(scores, k, excluded)


def test_many_distinct_scores():
    scores = np.random.default_rng(0).normal(size=(40, 500))
    whole = np.argsort(-scores, axis=1, kind="stable")
    assert np.array_equal(top_items(scores, 20), whole[:, :20])


@pytest.mark.parametrize("n", range(60, 75))
def test_the_best_is_found_wherever_it_stands(n):
    scores = np.random.default_rng(n).random((n, n)) + 2 * np.eye(n)
    assert top_items(scores, 1).tolist() == [[item] for item in range(n)]


@pytest.mark.parametrize(
    ("scores", "k", "excluded", "message"),
    [
        (np.zeros(3), 1, None, r"float64 of shape \(3,\): give floats of shape"),
        (np.zeros((1, 3), int), 1, None, r"int64 of shape \(1, 3\): give floats"),
        (
            np.array([[0.0, 1.0], [np.nan, np.nan]]),
            1,
            None,
            r"scores\[1, 0\] is nan \(2 of 4 are\).*give -inf",
        ),
        (np.zeros((1, 3)), 0, None, r"k=0 must be an integer, 1 or more"),
        (np.zeros((1, 3)), 2.0, None, r"k=2\.0 must be an integer"),
        (
            np.zeros((1, 3)),
            1,
            np.array([[1, 0, 0]]),
            r"excluded is int64 of shape \(1, 3\): give booleans of shape \(1, 3\)",
        ),
        (
            np.zeros((2, 3)),
            1,
            np.zeros((1, 3), bool),
            r"excluded is bool of shape \(1, 3\): give booleans of shape \(2, 3\)",
        ),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, k, excluded, message):
    with pytest.raises(ValueError, match=message):
        top_items(scores, k, excluded)
