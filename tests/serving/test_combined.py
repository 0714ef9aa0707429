"""The served combined list: in memory = TensorFlow's C loader, without our code."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tiny_combined import make_combined

from tfrs_decay.data import Items
from tfrs_decay.layers import RankingHead
from tfrs_decay.layers.top_k import LOWEST_SCORE
from tfrs_decay.ranking import RankedScores
from tfrs_decay.serving import (
    CombinedRecommender,
    NativeModel,
    export_combined,
    native,
)
from tfrs_decay.serving.asking import metadata_of

DAY = 86_400
K = 5
LOWEST = float(LOWEST_SCORE)


@pytest.fixture(scope="module")
def combined(shop_events):
    return make_combined(shop_events)


@pytest.fixture(scope="module")
def candidates(combined):
    return combined.candidates


@pytest.fixture(scope="module")
def queries(combined):
    return combined.queries


@pytest.fixture(scope="module")
def head(combined):
    return combined.head


@pytest.fixture(scope="module")
def exported(candidates, head, shop_events, tmp_path_factory):
    base = tmp_path_factory.mktemp("combined")
    return export_combined(
        candidates,
        head,
        shop_events.items,
        base,
        k=K,
        recall=0.75,
        chosen="network",
        validated={"network": (0.5, 0.25)},
        version=7,
    )


@pytest.fixture(scope="module")
def served(exported):
    with NativeModel(exported.parent) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def histories(shop_events, queries):
    """[(id, time), ...] of each query, of different lengths."""
    rows = [
        slice(*row)
        for row in zip(queries.history_start, queries.history_stop, strict=True)
    ]
    found = [
        list(
            zip(
                shop_events.items.ids[shop_events.item[row]].tolist(),
                shop_events.time[row].tolist(),
                strict=True,
            )
        )
        for row in rows
    ]
    assert len({len(one) for one in found}) > 3
    return found


def request_of(histories, times, **others):
    width = max(1, *(len(one) for one in histories))
    padded = [[*one, *[("", 0)] * (width - len(one))] for one in histories]
    return {
        "history_item": [[name for name, _ in one] for one in padded],
        "history_time": [[time for _, time in one] for one in padded],
        "history_action": [["any"] * width] * len(padded),
        "history_length": [len(one) for one in histories],
        "query_time": [int(one) for one in times],
        **others,
    }


def in_memory(recommender, request):
    types = {"history_item": tf.string, "history_action": tf.string}
    given = {
        name: tf.constant(value, types.get(name, tf.int64))
        for name, value in request.items()
    }
    return {name: one.numpy() for name, one in recommender.recommend(**given).items()}


def ids_of(answer, row=0):
    return [one.decode() for one in answer["item_id"][row]]


def check_row(answer, row, scores, items, k=K):
    """An answer is the best of scores, of which those of no candidates are -inf."""
    order = np.argsort(-scores, kind="stable")[:k]
    order = order[np.isfinite(scores[order])]
    np.testing.assert_allclose(
        answer["score"][row][: len(order)], scores[order], rtol=1e-4, atol=1e-4
    )
    answered = items.codes(ids_of(answer, row)[: len(order)])
    assert len(set(answered)) == len(order)
    np.testing.assert_allclose(scores[answered], scores[order], rtol=1e-4, atol=1e-4)
    assert ids_of(answer, row)[len(order) :] == [""] * (k - len(order))


def test_signatures_are_those_of_every_export(served):
    history = {"history_item", "history_time", "history_action", "history_length"}
    assert set(served.signatures) == {"serving_default", "recommend", "recommend_now"}
    for name, signature in served.signatures.items():
        assert set(signature.outputs) == {"item_id", "score"}
        extra = {
            "serving_default": {"query_time"},
            "recommend": {"query_time", "k", "exclude_item", "exclude_length"},
            "recommend_now": set(),
        }[name]
        assert set(signature.inputs) == {*history, *extra}


def test_the_list_is_that_of_evaluation(
    served, candidates, head, shop_events, queries, histories
):
    scores = RankedScores(candidates, head, shop_events)(queries)
    together = served("serving_default", request_of(histories, queries.time))
    for row, history in enumerate(histories):
        check_row(together, row, scores[row], shop_events.items)
        alone = served(
            "serving_default", request_of([history], queries.time[row : row + 1])
        )
        assert ids_of(alone) == ids_of(together, row)
        np.testing.assert_allclose(
            alone["score"][0], together["score"][row], rtol=1e-5, atol=1e-5
        )


def test_a_process_without_our_code_answers_the_same(
    exported, candidates, head, shop_events, queries, histories
):
    request = request_of(histories, queries.time)
    done = subprocess.run(
        [sys.executable, "-I", native.__file__, str(exported)],
        input=json.dumps({"inputs": request}),
        capture_output=True,
        text=True,
        check=True,
    )
    given = json.loads(done.stdout)
    assert not any(given["modules"].values())
    here = CombinedRecommender(candidates, head, shop_events.items, k=K)
    answer = in_memory(here, request)
    np.testing.assert_allclose(
        given["outputs"]["score"], answer["score"], rtol=1e-5, atol=1e-5
    )
    found = [ids_of(answer, row) for row in range(len(histories))]
    assert given["outputs"]["item_id"] == found


def test_nobody_s_list_is_what_is_popular(served, candidates, queries, shop_events):
    now = queries.time[:1]
    answer = served("serving_default", request_of([[]], now))
    counts = candidates.popularity(now).numpy()[0]
    popular = {
        shop_events.items.ids[one]
        for column in counts.T
        for one in np.argsort(-column, kind="stable")[:3]
    }
    found = [one for one in ids_of(answer) if one]
    assert len(found) == min(K, len(popular))
    assert set(found) <= popular


def test_what_does_not_count_changes_nothing(served, queries, histories):
    history, now = histories[0], int(queries.time[0])
    plain = served("serving_default", request_of([history], [now]))
    others = [("no such item", now - DAY), (histories[1][0][0], now + DAY)]
    more = served("serving_default", request_of([[*others, *history]], [now]))
    np.testing.assert_array_equal(more["score"], plain["score"])
    assert ids_of(more) == ids_of(plain)
    # As TensorFlow Serving pads: with copies of the first element.
    padded = request_of([[*history, *[histories[1][0]] * 3]], [now])
    padded["history_length"] = [len(history)]
    again = served("serving_default", padded)
    np.testing.assert_array_equal(again["score"], plain["score"])


def test_k_and_exclusions(served, candidates, queries, histories):
    request = request_of(histories[:2], queries.time[:2])
    n = candidates.repeats.n_items
    none = {"exclude_item": [[""], [""]], "exclude_length": [0, 0]}
    every = served("recommend", {**request, **none, "k": [n, 2]})
    with pytest.raises(RuntimeError, match=r"INVALID_ARGUMENT.*k is above the number"):
        served("recommend", {**request, **none, "k": [n + 1, 2]})
    assert every["score"].shape == (2, n)
    assert 0 < sum(map(bool, ids_of(every, 0))) <= candidates.width
    assert ids_of(every, 1)[2:] == [""] * (n - 2)
    assert (every["score"][1][2:] == LOWEST).all()
    first = [one for one in ids_of(every, 0) if one]
    these = [[first[0], "?"], ["", first[2]]]
    chosen = {"exclude_item": these, "exclude_length": [2, 2], "k": [4, 4]}
    some = served("recommend", {**request, **chosen})
    assert ids_of(some, 0) == first[1:5]
    assert first[2] not in ids_of(some, 1)


@pytest.mark.integration  # slow
def test_what_the_user_had_is_left_out(
    candidates, head, shop_events, queries, histories, tmp_path
):
    base = export_combined(
        candidates, head, shop_events.items, tmp_path, k=K, exclude_seen=True
    ).parent
    scores = RankedScores(candidates, head, shop_events, exclude_own=True)(queries)
    with NativeModel(base) as loaded:
        answer = loaded("serving_default", request_of(histories, queries.time))
        for row, history in enumerate(histories):
            check_row(answer, row, scores[row], shop_events.items)
            assert not {one for one, _ in history} & set(ids_of(answer, row))
        # What is seen is seen, whenever it was.
        now, best = int(queries.time[0]), ids_of(answer, 0)[0]
        later = [*histories[0], (best, now + DAY)]
        assert best not in ids_of(loaded("serving_default", request_of([later], [now])))


def test_a_long_history_is_cut_as_in_training(
    candidates, head, shop_events, queries, histories
):
    row = int(np.argmax([len(one) for one in histories]))
    now = queries.time[row : row + 1]
    here = CombinedRecommender(candidates, head, shop_events.items, k=K, max_history=4)
    mixed = np.random.default_rng(0).permutation(len(histories[row]))
    request = request_of([[histories[row][one] for one in mixed]], now)
    answer = in_memory(here, request)
    scores = RankedScores(candidates, head, shop_events, max_history=4)(
        queries.between(row, row + 1)
    )
    check_row(answer, 0, scores[0], shop_events.items)


def test_the_export_says_what_it_is(exported, candidates, head):
    assert exported.name == "7"
    told = metadata_of(exported)
    assert told["k"] == K
    assert not told["exclude_seen"]
    assert told["combined"] == {
        "recall": 0.75,
        "most_candidates": candidates.width,
        "head": {
            "name": "network",
            "hidden": [8],
            "members": 2,
            "features": candidates.feature_names,
        },
        "validated": {"network": {"recall": 0.5, "ndcg": 0.25}},
    }


def test_what_cannot_be_exported(candidates, head, shop_events, exported):
    items = shop_events.items
    with pytest.raises(ValueError, match="k=0 must be 1 or more"):
        CombinedRecommender(candidates, head, items, k=0)
    with pytest.raises(ValueError, match="items are 1, and candidates are of"):
        CombinedRecommender(candidates, head, Items(["a"]))
    with pytest.raises(ValueError, match="the head has no weights: train it first"):
        CombinedRecommender(candidates, RankingHead(), items)
    other = RankingHead.of_column(0, 3)
    with pytest.raises(ValueError, match="the head reads 3 features, and candidates"):
        CombinedRecommender(candidates, other, items)
    with pytest.raises(FileExistsError, match="is there already"):
        export_combined(candidates, head, items, exported.parent, version=7)
