"""Every metric of relevance against ir-measures, which asks TREC's own evaluation.

What it ranks by are scores, so each list is given falling ones; its documents and
topics are our items and queries by name.
"""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_decay.evaluation import (
    hit_rate_at_k,
    mrr_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
)

pytestmark = pytest.mark.integration

QUERIES, ITEMS, LONGEST = 400, 60, 20
KS = (1, 5, 10, 20)


@pytest.fixture(scope="module")
def lists() -> np.ndarray:
    """[q, 20] items; a tenth of the lists ends early, some are empty."""
    rng = np.random.default_rng(11)
    top = np.argsort(rng.random((QUERIES, ITEMS)), axis=1)[:, :LONGEST]
    length = np.where(
        rng.random(QUERIES) < 0.1, rng.integers(0, LONGEST, QUERIES), LONGEST
    )
    return np.where(np.arange(LONGEST) < length[:, None], top, -1)


@pytest.fixture(scope="module")
def baskets() -> list[list[int]]:
    """One to 30 items each: smaller and larger than the lists."""
    rng = np.random.default_rng(12)
    size = np.where(rng.random(QUERIES) < 0.5, 1, rng.integers(1, 31, QUERIES))
    return [rng.choice(ITEMS, one, replace=False).tolist() for one in size]


@pytest.fixture(scope="module")
def told(lists, baskets) -> dict[tuple[str, int], np.ndarray]:
    """{(measure, k): [q]}, by ir-measures."""
    ir_measures = pytest.importorskip(
        "ir_measures", reason="it is what this is compared with"
    )
    names = ("R", "P", "nDCG", "RR", "Success")
    measures = {
        ir_measures.parse_measure(f"{name}@{k}"): (name, k)
        for name in names
        for k in KS
    }
    wanted = {
        f"q{query}": {f"i{item}": 1 for item in basket}
        for query, basket in enumerate(baskets)
    }
    run = {
        f"q{query}": {
            f"i{item}": -float(rank) for rank, item in enumerate(top) if item >= 0
        }
        for query, top in enumerate(lists.tolist())
    }
    found = {key: np.zeros(QUERIES) for key in measures.values()}
    for one in ir_measures.iter_calc(list(measures), wanted, run):
        found[measures[one.measure]][int(one.query_id[1:])] = one.value
    return found


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (recall_at_k, "R"),
        (precision_at_k, "P"),
        (ndcg_at_k, "nDCG"),
        (mrr_at_k, "RR"),
        (hit_rate_at_k, "Success"),
    ],
)
def test_the_same_for_every_query(lists, baskets, told, metric, name, k):
    size = np.array([len(basket) for basket in baskets])
    target = np.concatenate(baskets)
    offset = np.concatenate([[0], np.cumsum(size)])
    expected = told[name, k]
    assert expected.std() > 0
    if name == "R":
        # TREC divides by the whole basket, however short the list is.
        expected = expected * size / np.minimum(k, size)
    assert metric(lists[:, :k], target, offset) == pytest.approx(expected, abs=1e-6)
