"""Which head is taken, and what it was shown when it was chosen."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_decay.data import RawLog, clean
from tfrs_decay.evaluation import evaluate
from tfrs_decay.layers import RankingHead
from tfrs_decay.ranking import Examples, choose_head, head_scores, spans

DAY = 86_400
NAMES = ["one", "two", "of late"]


def window(worth, seed, queries=150, candidates=12, features=3):
    """Examples whose two best by `worth` of their features were wanted."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=[queries, candidates, features]).astype(np.float32)
    order = np.argsort(-worth(rows), axis=1)
    wanted = np.zeros([queries, candidates], bool)
    np.put_along_axis(wanted, order[:, :2], True, axis=1)
    return Examples(
        rows.reshape(-1, features),
        wanted.reshape(-1),
        np.tile(np.arange(candidates, dtype=np.int32), queries),
        np.arange(queries + 1) * candidates,
        np.full(queries, 2),
    )


def both(rows):
    return rows[..., 0] * rows[..., 1]


def summed(rows):
    return rows[..., 0] + rows[..., 1]


def options(**more):
    return {"k": 2, "members": 1, "hidden": (16, 16), "learning_rate": 1e-2, **more}


def test_a_network_is_taken_where_it_is_best():
    windows = [window(both, seed) for seed in range(4)]
    told = []
    found = choose_head(
        windows, NAMES, alone=["one"], progress=told.append, **options(epochs=20)
    )
    assert found.name == "network"
    assert found.validated["network"][1] > 1.5 * found.validated["weighted sum"][1]
    assert len(found.loss) == 20
    assert [one.split(":")[0] for one in told] == list(found.validated)
    assert str(found).startswith("network: Recall 0.")
    recall, _ = windows[0].figures(head_scores(found.head, windows[0]), k=2)
    assert recall > 0.5
    again = found.again(Examples.together(windows), seed=1)
    assert (again.members, again.hidden) == (1, (16, 16))
    assert np.abs(head_scores(again, windows[0])).sum() > 0


def test_the_newest_window_is_not_trained_on_before_the_choice():
    """What holds in the newest alone can be chosen by, and not learned."""
    older = [window(both, seed) for seed in range(1, 4)]
    newest = window(lambda rows: rows[..., 2], 0)
    found = choose_head([newest, *older], NAMES, alone=NAMES, **options(epochs=4))
    assert found.name == "of late"
    assert found.validated["of late"] == (1.0, 1.0)
    assert found.validated["network"][0] < 0.6
    np.testing.assert_allclose(head_scores(found.head, newest), newest.features[:, 2])
    assert not found.loss
    assert found.again(newest, seed=3) is found.head


@pytest.mark.integration  # slow
def test_what_decays_is_left_out_where_it_misleads():
    def turned(rows):
        return both(rows) + 3 * rows[..., 2]

    def back(rows):
        return both(rows) - 3 * rows[..., 2]

    windows = [window(back, 0), *(window(turned, seed) for seed in range(1, 4))]
    found = choose_head(windows, NAMES, lasting=["one", "two"], **options(epochs=12))
    assert found.name == "without decay"
    assert list(found.columns) == [0, 1]
    moved = windows[0].features.copy()
    moved[:, 2] += 5
    np.testing.assert_array_equal(
        head_scores(found.head, windows[0]._replace(features=moved)),
        head_scores(found.head, windows[0]),
    )


def test_figures_are_those_of_evaluation(shop_events):
    from tfrs_decay.data import basket_queries
    from tfrs_decay.data.ranges import flat_ranges

    queries = basket_queries(
        shop_events, after=int(np.quantile(shop_events.time, 0.95))
    )
    n = len(shop_events.items)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=[len(queries), n])
    there = rng.random([len(queries), n]) < 0.3
    there[5] = False
    row, event = flat_ranges(queries.target_offset[:-1], queries.target_offset[1:])
    wanted = np.zeros([len(queries), n], bool)
    wanted[row, shop_events.item[queries.target[event]]] = True
    examples = Examples(
        np.zeros([there.sum(), 1], np.float32),
        wanted[there],
        np.nonzero(there)[1].astype(np.int32),
        np.r_[0, np.cumsum(there.sum(axis=1))],
        queries.target_count,
    )
    place = {
        key: row for row, key in enumerate(zip(queries.user, queries.time, strict=True))
    }

    def scorer(some):
        rows = [place[key] for key in zip(some.user, some.time, strict=True)]
        return np.where(there[rows], scores[rows], -np.inf)

    # A list that is short of candidates is filled up, where `figures` ends it.
    enough = there.sum(axis=1) >= 20
    expected = evaluate({"one": scorer}, queries.where(enough), shop_events, k=20)
    recall, ndcg = examples.figures(scores[there], 20)
    assert recall * len(queries) == pytest.approx(
        expected["one"].recall().sum(), rel=1e-6
    )
    assert ndcg * len(queries) == pytest.approx(expected["one"].ndcg().sum(), rel=1e-6)


def log_of(days):
    import pandas as pd

    table = pd.DataFrame(
        {
            "user": [str(n % 5) for n in range(len(days))],
            "item": [str(n % 7) for n in range(len(days))],
            "time": [int(10**9 + day * DAY + n) for n, day in enumerate(days)],
        }
    )
    return clean(RawLog(table, None, {})).events


def test_windows_go_back_from_the_cut():
    events = log_of(np.linspace(0, 100, 200))
    until = 10**9 + 90 * DAY
    found = spans(events, until=until, length="10d", most=3)
    assert found == [
        (until - (n + 1) * 10 * DAY, until - n * 10 * DAY) for n in range(3)
    ]
    # A fifth of the log lies before the oldest.
    assert len(spans(events, until=until, length="10d", most=99)) == 7
    with pytest.raises(ValueError, match="fewer than two windows of that length"):
        spans(events, until=until, length="60d")
    with pytest.raises(ValueError, match="1 windows: give two or more"):
        spans(events, until=until, length="10d", most=1)


def test_what_cannot_be_chosen_from():
    one = window(summed, 0)
    with pytest.raises(ValueError, match="windows are 1: give two or more"):
        choose_head([one], NAMES)
    with pytest.raises(ValueError, match="'three' is none of the features"):
        choose_head([one, one], NAMES, alone=["three"])
    with pytest.raises(ValueError, match="column 3 is none of the 3 features"):
        RankingHead.of_column(3, 3)
