"""Candidates: who is named, what is said of them, and nothing of the future."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrs_decay.data import basket_queries
from tfrs_decay.decay import Constant, Exponential
from tfrs_decay.layers import ItemNeighbours, RecencyPopularity, Repeats, slots
from tfrs_decay.layers.candidates import USER, CandidateFeatures, Reading
from tfrs_decay.neighbours import Neighbours, fit_cosine, fit_ease
from tfrs_decay.popularity import PopularityTable

DAY = 86_400
DECAYS = [Constant(), Exponential("7d"), Exponential(2, by="rank")]


@pytest.fixture(scope="module")
def layer(shop_events):
    until = int(np.quantile(shop_events.time, 0.7))
    ease = fit_ease(shop_events, until=until, m=8)
    cosine = fit_cosine(shop_events, until=until, m=5)
    return CandidateFeatures(
        Repeats(len(shop_events.items), DECAYS),
        RecencyPopularity.of(PopularityTable.of(shop_events, half_lives=("2d", None))),
        {"ease": ItemNeighbours(ease), "cosine": ItemNeighbours(cosine)},
        {
            "ease": Reading("ease", None, 4),
            "cosine": Reading("cosine", 2, 3),
            "ease of late": Reading("ease", 1, 0),
        },
        own=6,
        popular=2,
    )


@pytest.fixture(scope="module")
def asked(shop_events):
    """Twenty histories of the last weeks, padded."""
    queries = basket_queries(
        shop_events, after=int(np.quantile(shop_events.time, 0.8))
    ).between(0, 20)
    width = int((queries.history_stop - queries.history_start).max())
    place = queries.history_start[:, None] + np.arange(width)
    there = place < queries.history_stop[:, None]
    place = np.where(there, place, 0)
    return (
        np.where(there, shop_events.item[place], -1),
        np.where(there, shop_events.time[place], 0),
        queries.time,
    )


def rows_of(found, layer):
    """Of each row: {item: {feature: value}}."""
    names = layer.feature_names
    assert found.features.shape == (*found.item.shape, len(names))
    rows = []
    for item, features in zip(found.item.numpy(), found.features.numpy(), strict=True):
        assert not features[item < 0].any()
        kept = item[item >= 0]
        assert len(set(kept)) == len(kept)
        rows.append(
            {
                int(one): dict(zip(names, row, strict=True))
                for one, row in zip(kept, features[item >= 0], strict=True)
            }
        )
    return rows


def best(score, most):
    return set(np.lexsort([np.arange(len(score)), -score])[:most])


@pytest.mark.parametrize("exclude_own", [False, True])
def test_candidates_are_the_best_of_each_source(layer, asked, exclude_own):
    item, time, now = asked
    found = layer(item, time, now, exclude_own=exclude_own)
    assert found.item.shape[1] == layer.width == 6 + 4 + 3 + 2 * 2
    n = layer.repeats.n_items
    popularity = layer.popularity(now).numpy()
    for row, candidates in enumerate(rows_of(found, layer)):
        events = item[row][item[row] >= 0]
        own = np.unique(events)
        count = np.zeros(n)
        moments = np.unique(time[row][item[row] >= 0])
        for one, when in zip(events, time[row], strict=False):
            count[one] += 2.0 ** -((moments > when).sum() / 2)
        expected, allowed = set(), set()
        for name, weight in (("ease", (count > 0).astype(float)), ("cosine", count)):
            table = layer.tables[name].neighbours
            score = np.zeros(n)
            for one in own:
                for other, value in zip(
                    table.item[one], table.weight[one], strict=True
                ):
                    if other >= 0:
                        score[other] += weight[one] * value
            score[own] = -np.inf
            for place, features in candidates.items():
                if place not in own:
                    assert features[name] == pytest.approx(score[place], abs=1e-4)
            chosen = sorted(best(score, layer.readings[name].most))
            least = max(min(score[one] for one in chosen), 0)
            # Of equal scores any may be named; of those that say nothing, none.
            expected |= {one for one in chosen if score[one] > least + 1e-6}
            allowed |= set(np.flatnonzero((score > 0) & (score > least - 1e-6)))
        for column in popularity[row].T:
            score = column.copy()
            score[own] = -np.inf
            expected |= best(score, 2)
        if exclude_own:
            assert not set(own) & set(candidates)
        else:
            expected |= {
                one for one in best(np.where(count > 0, count, -1), 6) if count[one] > 0
            }
        assert expected <= set(candidates) <= expected | allowed


@pytest.mark.parametrize("exclude_own", [False, True])
def test_a_large_catalogue_s_candidates_are_the_same(
    layer, asked, exclude_own, monkeypatch
):
    expected = layer(*asked, exclude_own=exclude_own)
    monkeypatch.setattr(slots, "MOST_DENSE", 0)
    found = layer(*asked, exclude_own=exclude_own)
    np.testing.assert_array_equal(found.item, expected.item)
    np.testing.assert_allclose(found.features, expected.features, rtol=1e-5, atol=1e-6)
    alone = layer(*(one[3:4] for one in asked), exclude_own=exclude_own)
    np.testing.assert_array_equal(alone.item[0], found.item[3])
    assert layer(*(one[:0] for one in asked)).item.shape == [0, layer.width]


def test_only_the_strongest_of_a_long_history_are_read(layer, asked):
    item, time, now = asked
    one = CandidateFeatures.from_config({**layer.get_config(), "most_history": 1})
    one(*asked)
    one.set_weights(layer.get_weights())
    count = layer.repeats.own_items(item, time, now)
    score = count.sums[..., layer.own_column].numpy()
    strongest = count.item.numpy()[np.arange(len(item)), score.argmax(axis=1)]
    for row, candidates in enumerate(rows_of(one(item, time, now), one)):
        table = layer.tables["ease"].neighbours
        told = dict(
            zip(table.item[strongest[row]], table.weight[strongest[row]], strict=True)
        )
        for place, features in candidates.items():
            assert features["ease"] == pytest.approx(told.get(place, 0), abs=1e-6)


def test_popularity_that_is_refreshed_names_others(shop_events):
    table = PopularityTable.of(shop_events)
    middle = PopularityTable.of(shop_events, until=int(np.median(shop_events.time)))
    layer = CandidateFeatures(
        Repeats(len(shop_events.items), DECAYS),
        RecencyPopularity.of(middle, early="nearest"),
        {},
        {},
        own=1,
        popular=3,
        most_history=5,
    )
    nobody = np.zeros([1, 0], np.int64)
    now = np.array([table.until + DAY])
    for one in (middle, table.latest()):
        layer.popularity.refresh(one)
        counts = one.counts(now)[0]
        expected = set().union(*(best(column, 3) for column in counts.T))
        found = layer(nobody, nobody, now).item.numpy()
        assert set(found[found >= 0]) == expected


def test_features_are_those_of_the_parts(layer, asked):
    item, time, now = asked
    found = layer(item, time, now)
    of_repeats = layer.repeats.features(item, time, now, found.item).numpy()
    of_popularity = layer.popularity.features(now, found.item).numpy()
    features = found.features.numpy()
    there = found.item.numpy() >= 0
    width = of_repeats.shape[-1]
    np.testing.assert_array_equal(
        features[..., :width], np.where(there[..., None], of_repeats, 0)
    )
    width += 1
    np.testing.assert_array_equal(
        features[..., width : width + of_popularity.shape[-1]],
        np.where(there[..., None], of_popularity, 0),
    )


def test_scores_are_standardised_among_the_candidates(layer, asked):
    for candidates in rows_of(layer(*asked), layer):
        for name in ("ease", "cosine", "ease of late"):
            scores = np.array([one[name] for one in candidates.values()])
            found = [one[f"{name}, standardised"] for one in candidates.values()]
            expected = (scores - scores.mean()) / max(scores.std(), 1e-6)
            np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_share_of_baskets_that_had_a_candidate(layer, asked):
    item, time, now = asked
    shares = set()
    for row, candidates in enumerate(rows_of(layer(item, time, now), layer)):
        counts = item[row] >= 0
        baskets = len(np.unique(time[row][counts]))
        for one, features in candidates.items():
            expected = (item[row][counts] == one).sum() / baskets
            assert features["share of baskets"] == pytest.approx(expected, rel=1e-5)
            shares.add(expected)
    assert len(shares) > 3


def test_what_is_known_of_the_user(layer, asked):
    item, time, now = asked
    for row, candidates in enumerate(rows_of(layer(item, time, now), layer)):
        counts = item[row] >= 0
        age = (now[row] - time[row][counts]) / DAY
        baskets = len(np.unique(age))
        expected = [
            np.log1p(counts.sum()),
            np.log1p(baskets),
            np.log1p(age.min()),
            np.log1p(counts.sum() / baskets),
            np.log1p(age.max()),
            np.log1p(age.max() / baskets),
            1 - len(np.unique(item[row][counts])) / counts.sum(),
        ]
        moments = np.unique(age)
        late = [
            (one, days)
            for one, days in zip(item[row][counts], age, strict=True)
            if days <= moments[:3][-1]
        ]
        fresh = [days == age[item[row][counts] == one].max() for one, days in late]
        expected.append(np.mean(fresh))
        for features in candidates.values():
            found = [features[name] for name in USER]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_padding_and_the_future_change_nothing(layer, asked):
    item, time, now = asked
    expected = layer(item, time, now)
    more = [[0, 0], [0, 3]]
    later = np.pad(time, more)
    later[:, -3:] = now[:, None] + DAY
    found = layer(np.pad(item, more, constant_values=1), later, now)
    np.testing.assert_array_equal(found.item, expected.item)
    np.testing.assert_allclose(found.features, expected.features, rtol=1e-5, atol=1e-6)
    masked = layer(
        np.pad(item, more, constant_values=1),
        np.pad(time, more),
        now,
        mask=np.pad(item >= 0, more),
    )
    np.testing.assert_array_equal(masked.item, expected.item)


def test_without_a_history_there_is_what_is_popular(layer, asked):
    now = asked[2][:2]
    empty = np.full([2, 3], -1)
    rows = rows_of(layer(empty, np.zeros([2, 3], np.int64), now), layer)
    popularity = layer.popularity(now).numpy()
    for row, candidates in enumerate(rows):
        for column in popularity[row].T:
            assert best(column, 2) <= set(candidates)
        for features in candidates.values():
            assert not any(features[name] for name in USER)
    none = layer(empty[:, :0], empty[:, :0], now)
    assert rows_of(none, layer) == rows


def test_it_is_written_down_and_served(layer, asked, tmp_path):
    expected = layer(*asked)
    again = CandidateFeatures.from_config(layer.get_config())
    again(*asked)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(*asked).item, expected.item)
    np.testing.assert_array_equal(again(*asked).features, expected.features)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int64, "item"),
            tf.TensorSpec([None, None], tf.int64, "time"),
            tf.TensorSpec([None], tf.int64, "now"),
        ]
    )
    def serve(item, time, now):
        return layer(item, time, now)._asdict()

    holder = tf.Module()
    holder.layer = layer
    tf.saved_model.save(holder, str(tmp_path / "out"), signatures=serve)
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    item, time, now = map(tf.constant, asked)
    found = loaded.signatures["serving_default"](item=item, time=time, now=now)
    np.testing.assert_array_equal(found["item"], expected.item)
    np.testing.assert_allclose(found["features"], expected.features, rtol=1e-6)


def parts(n=3, **options):
    table = Neighbours(np.full([n, 1], -1), np.zeros([n, 1]))
    return {
        "repeats": Repeats(3, DECAYS),
        "popularity": RecencyPopularity(3),
        "tables": {"one": ItemNeighbours(table)},
        "readings": {"one": Reading("one", 0, 2)},
        **options,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (parts(n=4), r"the table 'one' is of 4 items, and repeats are of 3"),
        (parts(popularity=RecencyPopularity(5)), "popularity is of 5 items, and rep"),
        (parts(own_column=3), "own_column: column=3 is none of the 3 decays"),
        (parts(most_history=0), "most_history=0 must be 1 or more"),
        (parts(own=-1), "own: -1 candidates must be 0 or more"),
        (parts(readings={}, own=0, popular=0), "there are no candidates"),
        (
            parts(readings={"one": Reading("two", 0, 2)}),
            r"the reading .one. is of a table .two., and there are .one.",
        ),
    ],
)
def test_what_makes_no_layer(options, message):
    with pytest.raises(ValueError, match=message):
        CandidateFeatures(**options)
