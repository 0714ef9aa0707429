"""Neighbours by their vectors, and by products of two vectors of each item."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_decay.neighbours import counts, fit_products, fit_vectors


def test_the_nearest_by_cosine_are_kept(monkeypatch):
    monkeypatch.setattr(counts, "BLOCK", 100)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=[30, 4])
    vectors[3] = 0
    vectors[7] *= 1000
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    cosine = np.maximum(unit @ unit.T, 0)
    np.fill_diagonal(cosine, 0)
    found = fit_vectors(vectors, m=5)
    for item in range(30):
        expected = np.argsort(-cosine[item], kind="stable")[:5]
        expected = [one for one in expected if cosine[item, one] > 0]
        assert found.item[item][: len(expected)].tolist() == expected
        np.testing.assert_allclose(
            found.weight[item][: len(expected)], cosine[item, expected], atol=1e-6
        )
    assert (found.item[3] == -1).all()
    assert found.cost.kept_share < fit_vectors(vectors, m=None).cost.kept_share == 1


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros([3]), r"vectors are float64 of the shape \(3,\): give \[n, dim\]"),
        (np.zeros([0, 3]), r"of the shape \(0, 3\)"),
        (np.array([["a"]]), r"vectors are <U1"),
        (np.array([[1.0], [np.nan]]), r"vectors\[1\] holds numbers that are not"),
    ],
)
def test_what_has_no_neighbours(vectors, message):
    with pytest.raises(ValueError, match=message):
        fit_vectors(vectors)
    with pytest.raises(ValueError, match=r"m=0 must be an integer"):
        fit_vectors(np.eye(3), m=0)


def test_products_are_kept_with_their_signs_and_of_an_item_with_itself(monkeypatch):
    monkeypatch.setattr(counts, "BLOCK", 100)
    rng = np.random.default_rng(0)
    queries, vectors = rng.normal(size=[2, 30, 4])
    found = fit_products(queries, vectors, m=None)
    table = np.zeros([30, 30])
    np.put_along_axis(table, found.item, found.weight, axis=1)
    np.testing.assert_allclose(table, queries @ vectors.T, atol=1e-5)
    # 1 . 3 for the item itself, 1 . -2 and 1 . 1 for the others: two are kept.
    few = fit_products([[1], [0], [0]], [[3], [-2], [1]], m=2)
    assert few.item.tolist() == [[0, 1], [-1, -1], [-1, -1]]
    assert few.weight.tolist() == [[3, -2], [0, 0], [0, 0]]


def test_what_has_no_products():
    with pytest.raises(ValueError, match=r"queries are float64 of the shape \(3,\)"):
        fit_products(np.zeros([3]), np.eye(3))
    with pytest.raises(ValueError, match=r"vectors\[1\] holds numbers that are not"):
        fit_products(np.ones([2, 1]), [[1.0], [np.inf]])
    with pytest.raises(ValueError, match=r"shape \(3, 3\) and vectors \(2, 2\)"):
        fit_products(np.eye(3), np.eye(2))
    with pytest.raises(ValueError, match=r"m=0 must be an integer"):
        fit_products(np.eye(3), np.eye(3), m=0)
