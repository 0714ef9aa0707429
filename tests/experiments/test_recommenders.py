"""Exported models and functions, asked what a log's users had done before."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tfrs_decay.data import RawLog, Rules, clean
from tfrs_decay.experiments import (
    ExportedRecommender,
    Request,
    compare_recommenders,
    replay,
)
from tfrs_decay.experiments.recommenders import requests_of
from tfrs_decay.experiments.traffic import Traffic
from tfrs_decay.layers import ItemTower, TimeDecayPooling
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.serving import export
from tfrs_decay.serving.asking import ask

DAY, MINUTE = pd.Timedelta("1D"), pd.Timedelta("1min")


@pytest.fixture(scope="module")
def model(shop_events):
    return DecayRetrieval(ItemTower(shop_events.items, dim=4), TimeDecayPooling())


@pytest.fixture(scope="module")
def exports(model, shop_events, tmp_path_factory):
    """Two exports of one model, popular otherwise: new users tell them apart."""
    base = tmp_path_factory.mktemp("exports")
    count = np.bincount(shop_events.item, minlength=len(shop_events.items))
    export(model, base / "one", popularity=count.astype(float), max_history=500)
    export(model, base / "other", popularity=-count.astype(float), max_history=500)
    return {"one": base / "one", "other": base / "other"}


@pytest.fixture(scope="module")
def traffic(shop_events):
    """Items by chance alone, for users of the shop and for others."""
    rng = np.random.default_rng(0)
    ids = shop_events.items.ids
    users = [*shop_events.users[:20], *(f"new {one}" for one in range(20))]
    middle = int(np.median(shop_events.time))
    return pd.DataFrame(
        {
            "user": np.repeat(users, 60),
            # Twenty at a time, none twice.
            "item": np.concatenate(
                [rng.permutation(ids)[:20] for _ in range(3 * len(users))]
            ),
            "time": middle + np.tile(np.arange(60) // 20 * 86_400, len(users)),
            "propensity": 1 / len(ids),
            "click": rng.random(60 * len(users)) < 0.3,
        }
    )


@pytest.mark.integration  # slow
def test_an_export_answers_as_it_does_when_asked_one_by_one(exports, shop_events):
    moments = np.quantile(shop_events.time, [0.1, 0.5, 0.9]).astype(int)
    users = [*shop_events.users[:3], "nobody"]
    logged = Traffic({"user": np.repeat(users, 3), "time": np.tile(moments, 4)})
    requests, row_of = requests_of(logged, shop_events)
    assert row_of == [*range(12)]
    with ExportedRecommender(exports["one"], k=7) as exported:
        answers = exported(requests)
    for request, answer in zip(requests, answers, strict=True):
        alone = ask(exports["one"], request.history, request.time, k=7)
        assert answer == alone.item_ids and len(answer) == 7


def test_a_request_has_what_came_strictly_before(make_events):
    events = make_events(("u", 10, "a"), ("u", 20, "b"), ("u", 30, "c"), ("v", 5, "d"))
    seen = []

    def remember(requests):
        seen.extend(requests)
        return [["a"]] * len(requests)

    n = 12
    traffic = {
        "user": ["u", "u", "w"] * n,
        "time": [20, 31, 40] * n,
        "item": ["a"] * 3 * n,
        "position": np.repeat(np.arange(n) + 1, 3),
        "propensity": [0.5] * 3 * n,
        "click": [0, 1, 1] * n,
    }
    with pytest.raises(ValueError, match=r"arm 'A' has impressions of 2 users among 3"):
        compare_recommenders(traffic, {"A": remember, "B": remember}, events)
    # Each is asked once for a user and a moment.
    assert len(seen) == 2 * 3 and seen[:3] == seen[3:]
    assert [(one.user, one.time) for one in seen[:3]] == [
        ("u", 20),
        ("u", 31),
        ("w", 40),
    ]
    assert [[event.item for event in one.history] for one in seen[:3]] == [
        *(["a"], ["a", "b", "c"], [])
    ]
    assert isinstance(seen[0], Request) and seen[0].history[0].time == 10


def test_no_request_knows_what_was_clicked_on_its_own_list(make_events):
    shown = pd.Timestamp("2024-07-01 12:00", tz="Europe/London")
    first, clicked = (int((shown + ago).timestamp()) for ago in (-DAY, MINUTE))
    events = make_events(("u", first, "a"), ("u", clicked, "b"))
    traffic = {"user": ["u"], "time": ["2024-07-01 12:00"]}
    for zone, history in (("Europe/London", ["a"]), ("UTC", ["a", "b"])):
        (request,), _ = requests_of(Traffic(traffic, Rules(time_zone=zone)), events)
        assert [event.item for event in request.history] == history


def test_two_exports_are_replayed(exports, traffic, shop_events):
    found = compare_recommenders(traffic, exports, shop_events, k=10, resamples=500)
    assert found.kind == "replay" and found.arms == ("one", "other")
    assert found.weights["one"].mean == pytest.approx(1, abs=0.2)
    # The same by hand, through functions and without exports.
    lists = {}

    def kept(name):
        def recommend(requests):
            with ExportedRecommender(exports[name], k=10) as exported:
                lists[name] = exported(requests)
            return lists[name]

        return recommend

    functions = {name: kept(name) for name in exports}
    again = compare_recommenders(traffic, functions, shop_events, resamples=500)
    assert again == found
    assert lists["one"] != lists["other"]
    place = np.unique(
        traffic["user"].astype(str) + " " + traffic["time"].astype(str),
        return_index=True,
        return_inverse=True,
    )
    row_of = np.argsort(np.argsort(place[1]))[place[2]]
    by_hand = replay(
        traffic,
        {name: [one[row] for row in row_of] for name, one in lists.items()},
        resamples=500,
    )
    assert by_hand == found


def test_an_export_and_a_function_side_by_side(exports, traffic, shop_events):
    ids = shop_events.items.ids.tolist()
    both = {"export": exports["one"], "all": lambda requests: [ids] * len(requests)}
    found = compare_recommenders(traffic, both, shop_events, resamples=500)
    # What shows everything alike is worth what the log was.
    rate = found.overall.rates["click-through"]["all"]
    assert rate.value == pytest.approx(traffic["click"].mean())


def test_what_cannot_be_asked_is_refused(exports, traffic, shop_events, tmp_path):
    one = exports["one"]
    with pytest.raises(
        ValueError, match=r"recommenders\['few'\] gave 0 lists for 120 re"
    ):
        compare_recommenders(
            traffic, {"one": one, "few": lambda requests: []}, shop_events
        )
    with pytest.raises(FileNotFoundError, match=r"There is no directory .*nowhere"):
        compare_recommenders(
            traffic, {"one": one, "gone": tmp_path / "nowhere"}, shop_events
        )
    with pytest.raises(ValueError, match=r"traffic has no column 'time'"):
        compare_recommenders(traffic.drop(columns="time"), exports, shop_events)
    with pytest.raises(ValueError, match=r"k=0 must be 1 or more"):
        ExportedRecommender(one, k=0)


def test_an_action_that_a_model_does_not_weigh_is_refused(shop_events, tmp_path):
    weighing = DecayRetrieval(
        ItemTower(shop_events.items, dim=4),
        TimeDecayPooling(action_weights={"purchase": 1.0}),
    )
    export(weighing, tmp_path)
    table = pd.DataFrame(
        {"user": ["u"], "time": [5], "item": ["a"], "action": ["wink"]}
    )
    events = clean(RawLog(table, None, {})).events
    requests = [Request("u", 9, [])]
    with ExportedRecommender(tmp_path) as exported:
        # Without popularity it has no answer to an empty history.
        assert exported(requests) == [[]]
        from tfrs_decay.serving.asking import events_of

        history = events_of(events, [0])
        with pytest.raises(
            ValueError, match=r"weighs the actions \['purchase'\].*wink"
        ):
            exported([Request("u", 9, history)])
