"""Neighbours by their vectors."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_decay.neighbours import counts, fit_vectors


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
