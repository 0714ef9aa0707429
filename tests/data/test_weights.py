"""Weights of targets: by action, by age, 1 on average."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tfrs_decay.data import RawLog, basket_queries, clean, target_weights
from tfrs_decay.decay import Constant, Exponential, Window

DAY = 86_400


@pytest.fixture(scope="module")
def events():
    rows = [
        ("u", "a", 0, "buy"),
        ("u", "b", DAY, "buy"),
        ("u", "c", DAY, "cart"),
        ("u", "d", 2 * DAY, "buy"),
        ("v", "a", 0, "see"),
        ("v", "b", 3 * DAY, "cart"),
    ]
    table = pd.DataFrame(rows, columns=["user", "item", "time", "action"])
    return clean(RawLog(table.assign(time=table["time"] + 10**9), None, {})).events


@pytest.fixture(scope="module")
def queries(events):
    found = basket_queries(events, actions=["buy", "cart"])
    assert events.items.ids[events.item[found.target]].tolist() == [*"bcdb"]
    return found


def test_a_target_weighs_what_its_action_does(events, queries):
    weights = target_weights(queries, events, by_action={"buy": 2, "cart": 0.5})
    np.testing.assert_allclose(weights, np.array([2, 0.5, 2, 0.5]) / 1.25)
    np.testing.assert_array_equal(target_weights(queries, events), np.ones(4))


def test_the_training_set_fades_and_weighs_as_much(events, queries):
    until = 10**9 + 4 * DAY
    weights = target_weights(queries, events, decay=Exponential("1d"), until=until)
    left = np.array([1 / 8, 1 / 8, 1 / 4, 1 / 2])
    np.testing.assert_allclose(weights, left / left.mean(), rtol=1e-6)
    assert weights.dtype == np.float32
    # Of a window the age counts from the cut, and not from the latest query.
    window = Window("3d")
    late = target_weights(queries, events, decay=window, until=until)
    assert (late > 0).tolist() == [False, False, True, True]
    soon = target_weights(queries, events, decay=window)
    assert (soon > 0).tolist() == [True] * 4


def test_both_multiply(events, queries):
    weights = target_weights(
        queries, events, by_action={"buy": 2, "cart": 1}, decay=Exponential("1d")
    )
    product = np.array([2 / 4, 1 / 4, 2 / 2, 1])
    np.testing.assert_allclose(weights, product / product.mean(), rtol=1e-6)


def test_no_target_has_no_weight(events, queries):
    none = queries.where(np.zeros(len(queries), bool))
    found = target_weights(none, events, by_action={"buy": 1}, decay=Constant())
    assert found.shape == (0,)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"by_action": {"buy": 1}}, ValueError, r"names \['buy'\], .*with \['cart'\]"),
        ({"by_action": {}}, ValueError, r"by_action={} is empty: name the actions"),
        ({"by_action": {"buy": 0}}, ValueError, r"by_action\['buy'\]=0 must be finite"),
        ({"decay": "120d"}, TypeError, r"decay is a str: give a decay, such as"),
        (
            {"decay": Exponential(3, by="rank")},
            ValueError,
            r"decay=Exponential\(.*must be over the age alone, at one rate",
        ),
        (
            {"decay": Exponential("1d"), "until": 10**9},
            ValueError,
            rf"until=1000000000 is before the latest query, .* at {10**9 + 3 * DAY}",
        ),
        (
            {"decay": Window("1h"), "until": 2 * 10**9},
            ValueError,
            r"decay=Window.* leaves nothing of any query",
        ),
    ],
)
def test_what_cannot_weigh_is_named(events, queries, options, kind, message):
    with pytest.raises(kind, match=message):
        target_weights(queries, events, **options)
