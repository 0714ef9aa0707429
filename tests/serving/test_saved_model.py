"""The export: in memory = loaded by TensorFlow = TensorFlow's C loader."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_decay import serving
from tfrs_decay.data import Items, basket_queries, batches
from tfrs_decay.decay import Exponential
from tfrs_decay.evaluation import Diversified, top_items
from tfrs_decay.evaluation.two_tower import TwoTowerScores
from tfrs_decay.layers import (
    ItemTower,
    MaximalMarginalRelevance,
    PrecomputedTower,
    TextTower,
    TimeDecayPooling,
)
from tfrs_decay.layers.top_k import LOWEST_SCORE
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.serving import NativeModel, Recommender, native
from tfrs_decay.serving import text_op_libraries as op_libraries

DAY = 86_400
NOW = 1_706_000_000
HISTORY = ("history_item", "history_time", "history_action", "history_length")
INTEGERS = ("history_time", "history_length", "query_time", "exclude_length")
LOWEST = float(LOWEST_SCORE)


def export(*arguments, **options):
    """What answers a history: the other signatures have a file of their own."""
    return serving.export(*arguments, **{"parts": "recommend", **options})


@pytest.fixture(scope="module")
def model(shop_events, tiny_encoder):
    """A model that has been fitted, its metrics attached and its text baked."""
    tf_keras.utils.set_random_seed(1)
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=8)
    made = DecayRetrieval(
        ItemTower(shop_events.items, text=text, dim=8).bake(),
        TimeDecayPooling(
            Exponential("3d", trainable=True),
            action_weights={"browse": 0.2, "purchase": 1.0},
        ),
        query_tower=tf_keras.layers.Dense(8, kernel_initializer="identity"),
    )
    made.compile(tf_keras.optimizers.Adam(0.01))
    made.fit(batches(basket_queries(shop_events), shop_events), verbose=0)
    return made


@pytest.fixture(scope="module")
def popularity(shop_events):
    return np.bincount(shop_events.item, minlength=len(shop_events.items)) / 100


@pytest.fixture(scope="module")
def exported(model, popularity, tmp_path_factory):
    base = tmp_path_factory.mktemp("export")
    return export(model, base, k=5, popularity=popularity, version=3)


@pytest.fixture(scope="module")
def served(exported):
    with NativeModel(exported.parent) as loaded:
        yield loaded


def inputs(*histories, query_time=NOW, **others):
    """A request of histories [(id, time, action), ...], padded to the longest."""
    width = max(1, *(len(history) for history in histories))
    padded = [list(one) + [("", 0, "")] * (width - len(one)) for one in histories]
    columns = zip(*[zip(*one, strict=True) for one in padded], strict=True)
    return {
        **dict(zip(HISTORY, map(list, columns), strict=False)),
        "history_length": [len(one) for one in histories],
        "query_time": [query_time] * len(histories),
        **others,
    }


def chosen(answer, row=0):
    return [one.decode() for one in answer["item_id"][row]]


def in_memory(model, request):
    """The model's own scores, by the public parts that training and evaluation use."""
    features = {name: tf.constant(value) for name, value in request.items()}
    for name in ("history_time", "history_length", "query_time"):
        features[name] = tf.cast(features[name], tf.int64)
    interest = model(features).numpy()
    return interest @ model.item_tower.catalogue_vectors().T


def test_signatures_are_named_and_typed(served):
    assert set(served.signatures) == {"serving_default", "recommend", "recommend_now"}
    for name, signature in served.signatures.items():
        assert signature.method_name == "tensorflow/serving/predict"
        assert set(signature.outputs) == {"item_id", "score"}
        extra = {
            "serving_default": {"query_time"},
            "recommend": {"query_time", "k", "exclude_item", "exclude_length"},
            "recommend_now": set(),
        }[name]
        assert set(signature.inputs) == {*HISTORY, *extra}
        for spec in signature.inputs.values():
            assert spec.shape[0] is None  # a server joins requests on axis 0
    assert served.signatures["recommend"].inputs["history_time"].dtype == "int64"


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_parity_over_random_requests(model, served, shop_events, popularity, data):
    ids = shop_events.items.ids.tolist()
    event = st.tuples(
        st.sampled_from(ids[:50]),
        st.integers(NOW - 400 * DAY, NOW),
        st.sampled_from(["browse", "purchase"]),
    )
    histories = data.draw(st.lists(st.lists(event, max_size=9), min_size=1, max_size=7))
    request = inputs(*histories)
    answer = served("serving_default", request)
    scores = in_memory(model, request)
    for row, history in enumerate(histories):
        expected = scores[row] if history else popularity
        order = np.argsort(-expected, kind="stable")[:5]
        np.testing.assert_allclose(answer["score"][row], expected[order], atol=1e-5)
        # The same order, but where scores are equal to rounding.
        gaps = -np.diff(expected[order]) > 1e-5
        if gaps.all():
            assert chosen(answer, row) == [ids[place] for place in order]


def test_a_process_without_our_code_answers_the_same(model, exported, shop_events):
    request = inputs([(shop_events.items.ids[3], NOW - DAY, "purchase")])
    done = subprocess.run(
        [sys.executable, "-I", native.__file__, str(exported)],
        input=json.dumps({"inputs": request}),
        capture_output=True,
        text=True,
        check=True,
    )
    given = json.loads(done.stdout)
    assert not any(given["modules"].values())
    scores = in_memory(model, request)[0]
    order = np.argsort(-scores, kind="stable")[:5]
    assert given["outputs"]["item_id"][0] == shop_events.items.ids[order].tolist()
    np.testing.assert_allclose(given["outputs"]["score"][0], scores[order], atol=1e-5)


def test_the_recommender_in_python_answers_the_same(model, served, shop_events):
    request = inputs([(shop_events.items.ids[3], NOW - DAY, "browse")], [])
    tensors = {name: tf.constant(value) for name, value in request.items()}
    for name in {*INTEGERS} & {*tensors}:
        tensors[name] = tf.cast(tensors[name], tf.int64)
    here = Recommender(model, k=5).recommend(**tensors)
    there = served("serving_default", request)
    np.testing.assert_allclose(here["score"][0], there["score"][0], atol=1e-5)
    # This one was made without popularity: nothing is known of an empty history.
    assert here["item_id"][1].numpy().tolist() == [b""] * 5
    np.testing.assert_array_equal(here["score"][1], [LOWEST] * 5)


def test_one_more_event_changes_the_answer(served, shop_events):
    ids = shop_events.items.ids
    before = [(ids[3], NOW - 9 * DAY, "purchase")]
    after = [*before, (ids[200], NOW - 60, "purchase")]
    answer = served("serving_default", inputs(before, after))
    assert chosen(answer, 0) != chosen(answer, 1)


def test_padding_of_any_content_changes_no_bit(served, shop_events):
    ids = shop_events.items.ids
    history = [(ids[3], NOW - DAY, "purchase"), (ids[9], NOW - 5, "browse")]
    plain = served("serving_default", inputs(history))
    # As TensorFlow Serving pads: with copies of the first element.
    padded = inputs([*history, *[history[0]] * 3])
    padded["history_length"] = [2]
    again = served("serving_default", padded)
    np.testing.assert_array_equal(again["score"], plain["score"])
    assert chosen(again) == chosen(plain)


@pytest.mark.parametrize("length", [0, 1])
def test_padding_excludes_nothing(model, popularity, tmp_path, shop_events, length):
    ids = shop_events.items.ids
    options = {"k": len(ids), "exclude_seen": True, "popularity": popularity}
    base = export(model, tmp_path, **options).parent
    padded = inputs([(ids[3], NOW - DAY, "purchase"), (ids[9], NOW - 5, "browse")])
    padded["history_length"] = [length]
    with NativeModel(base) as loaded:
        answer = chosen(loaded("serving_default", padded))
    assert (ids[9] in answer) and ((ids[3] in answer) == (length == 0))


def test_a_long_history_is_cut_as_in_training(tmp_path, shop_events):
    tower = ItemTower(shop_events.items, dim=8)
    model = DecayRetrieval(tower, TimeDecayPooling(Exponential("3d")))
    rng = np.random.default_rng(3)
    ids = shop_events.items.ids
    events = [
        (ids[rng.integers(len(ids))], NOW - int(age), "purchase")
        for age in rng.permutation(150) * 60 + 60
    ]
    by_time = sorted(events, key=lambda event: event[1])
    base = export(model, tmp_path, k=5, max_history=100).parent
    with NativeModel(base) as loaded:
        # In any order, with events that do not count among them, a short one beside.
        strange = [("unknown", NOW - 1, "purchase"), (ids[0], NOW + 9, "purchase")]
        asked = [*events, *strange]
        answer = loaded("serving_default", inputs(asked, by_time[:3], []))
    scores = in_memory(model, inputs(by_time[-100:]))[0]
    expected = np.sort(scores)[::-1][:5]
    np.testing.assert_allclose(answer["score"][0], expected, atol=1e-5)
    short = np.sort(in_memory(model, inputs(by_time[:3]))[0])[::-1][:5]
    np.testing.assert_allclose(answer["score"][1], short, atol=1e-5)
    everything = np.sort(in_memory(model, inputs(by_time))[0])[::-1][:5]
    assert np.abs(everything - expected).max() > 1e-2  # it does make a difference


def test_batching_changes_nothing(served, shop_events):
    rows = [[(one, NOW - DAY, "purchase")] for one in shop_events.items.ids[:7]]
    together = served("serving_default", inputs(*rows))
    for row, history in enumerate(rows):
        alone = served("serving_default", inputs(history))
        assert chosen(alone) == chosen(together, row)
        np.testing.assert_allclose(alone["score"][0], together["score"][row], atol=1e-6)


def test_a_year_later_everything_is_the_same(served, shop_events):
    history = [
        (one, NOW - age * DAY, "purchase")
        for age, one in enumerate(shop_events.items.ids[:4])
    ]
    later = [(one, time + 365 * DAY, action) for one, time, action in history]
    here = served("serving_default", inputs(history))
    there = served("serving_default", inputs(later, query_time=NOW + 365 * DAY))
    np.testing.assert_array_equal(here["score"], there["score"])


@pytest.mark.parametrize(
    "event",
    [
        ("never heard of", NOW - DAY, "purchase"),
        ("known", NOW + 1_000_000, "purchase"),
        ("known", NOW - DAY, "an unknown action"),
    ],
    ids=["item", "future", "action"],
)
def test_an_event_that_cannot_count_is_left_out(served, shop_events, event):
    ids = shop_events.items.ids
    strange = (ids[5] if event[0] == "known" else event[0], *event[1:])
    good = [(ids[3], NOW - DAY, "purchase")]
    answer = served("serving_default", inputs(good, [*good, strange], [strange], []))
    np.testing.assert_array_equal(answer["score"][1], answer["score"][0])
    # Alone it leaves an empty history, which popularity answers.
    np.testing.assert_array_equal(answer["score"][2], answer["score"][3])
    assert chosen(answer, 2) == chosen(answer, 3)


@pytest.mark.parametrize("choice", ["error", "ignore"])
def test_unknown_actions_take_a_place_only_where_training_knows_them(
    tmp_path, shop_events, choice
):
    own = DecayRetrieval(
        ItemTower(shop_events.items, dim=4),
        TimeDecayPooling(
            Exponential("1d"), action_weights={"buy": 1.0}, unknown_action=choice
        ),
    )
    ids = shop_events.items.ids
    bought, seen = (ids[0], NOW - DAY, "buy"), (ids[1], NOW - 5, "gaze")
    with NativeModel(export(own, tmp_path, k=3, max_history=1)) as loaded:
        answer = loaded("serving_default", inputs([bought], [bought, seen]))
    if choice == "error":
        np.testing.assert_array_equal(answer["score"][1], answer["score"][0])
    else:
        # The latest event is all that is read, and it weighs nothing.
        assert chosen(answer, 1) == [""] * 3


@pytest.mark.parametrize("age", [0, 50 * 365 * DAY])
def test_an_event_of_any_age_has_a_direction(served, shop_events, age):
    one = shop_events.items.ids[3]
    answer = served("serving_default", inputs([(one, NOW - age, "purchase")]))
    new = served("serving_default", inputs([(one, NOW - 60, "purchase")]))
    assert chosen(answer) == chosen(new)
    np.testing.assert_allclose(answer["score"], new["score"], atol=1e-5)


def test_k_and_exclusions_are_asked_for(served, shop_events):
    ids = shop_events.items.ids
    request = inputs([(ids[3], NOW - DAY, "purchase")] * 2, [])
    items = len(ids)
    request["exclude_length"] = [1, 1]
    large = {**request, "k": [items, 3], "exclude_item": [[""], [""]]}
    full = served("recommend", large)
    assert sorted(chosen(full)) == sorted(ids)
    assert chosen(full, 1)[3:] == [""] * (items - 3)
    best = chosen(full)[:4]
    request["exclude_length"] = [2, 0]
    some = served(
        "recommend", {**request, "k": [3, 3], "exclude_item": [best[:2], [""] * 2]}
    )
    assert chosen(some) == chosen(full)[2:5]
    request["exclude_length"] = [items - 1] * 2
    everything = [[*ids[1:]], [""] * (items - 1)]
    one = served("recommend", {**request, "k": [5, 5], "exclude_item": everything})
    assert chosen(one) == [ids[0], "", "", "", ""]
    np.testing.assert_array_equal(one["score"][0, 1:], [LOWEST] * 4)


def test_seen_items_can_be_left_out(model, tmp_path, shop_events):
    ids = shop_events.items.ids
    base = export(model, tmp_path, k=len(ids), exclude_seen=True).parent
    history = [(one, NOW - DAY, "purchase") for one in ids[:3]]
    with NativeModel(base) as loaded:
        got = chosen(loaded("serving_default", inputs(history)))
    assert sorted(one for one in got if one) == sorted(ids[3:])
    assert got[-3:] == ["", "", ""]


def test_an_answer_is_diversified_as_it_is_evaluated(popularity, tmp_path, shop_events):
    tf_keras.utils.set_random_seed(5)
    # Vectors of ids alone point everywhere.
    tower = ItemTower(shop_events.items, dim=8)
    model = DecayRetrieval(tower, TimeDecayPooling(Exponential("3d")))
    vectors = model.item_tower.catalogue_vectors()
    options = {"k": 8, "exclude_seen": True, "popularity": popularity}
    diversity = MaximalMarginalRelevance(0.6, pool=30)
    version = export(model, tmp_path, diversity=diversity, **options)
    ids = shop_events.items.ids
    histories = [[(one, NOW - DAY, "purchase")] for one in ids[:6]]
    request = inputs(*histories, [])
    with NativeModel(version) as loaded:
        answer = loaded("serving_default", request)
        some = {**request, "k": [40, 3, *[1] * 5], "exclude_item": [[""]] * 7}
        some["exclude_length"] = [0] * 7
        of_each = loaded("recommend", some)
    scores = np.concatenate([in_memory(model, request)[:6], popularity[None]])
    seen = np.eye(len(ids), dtype=bool)[:7] & (np.arange(7) < 6)[:, None]
    top = top_items(scores, 40, excluded=seen)
    of_top = np.take_along_axis(scores, top, axis=1)
    expected = Diversified(None, vectors, trade_off=0.6, pool=30).reordered(top, of_top)
    # Items from beyond the first eight come in.
    assert not np.isin(expected[0, :8], top[0, :8]).all()
    own = np.take_along_axis(scores, expected, axis=1)
    for row in range(7):
        assert chosen(answer, row) == ids[expected[row, :8]].tolist()
        np.testing.assert_allclose(answer["score"][row], own[row, :8], atol=1e-5)
    # Another k begins alike; what is beyond the pool follows in its own order.
    assert chosen(of_each) == ids[expected[0]].tolist()
    assert chosen(of_each)[30:] == ids[top[0, 30:]].tolist()
    assert chosen(of_each, 1) == [*ids[expected[1, :3]], *[""] * 37]
    about = json.loads((version / "assets.extra" / "tfrs_decay.json").read_text())
    assert about["diversity"] == {"trade_off": 0.6, "pool": 30}


def test_all_for_relevance_is_the_answer_as_it_was(
    model, served, popularity, tmp_path, shop_events
):
    request = inputs([(shop_events.items.ids[3], NOW - DAY, "purchase")], [])
    diversity = MaximalMarginalRelevance(1)
    options = {"k": 5, "popularity": popularity, "diversity": diversity}
    with NativeModel(export(model, tmp_path, **options)) as loaded:
        answer = loaded("serving_default", request)
    plain = served("serving_default", request)
    for name in ("item_id", "score"):
        np.testing.assert_array_equal(answer[name], plain[name])


def test_what_is_no_diversity_is_refused(model, tmp_path):
    with pytest.raises(TypeError, match=r"diversity=0\.6: give a layers\.Maximal"):
        export(model, tmp_path, diversity=0.6)


def repeating(shop_events, repeats):
    tf_keras.utils.set_random_seed(4)
    made = DecayRetrieval(
        ItemTower(shop_events.items, dim=8),
        TimeDecayPooling(Exponential("3d")),
        repeats=repeats,
    )
    made.compile(tf_keras.optimizers.Adam(0.02))
    made.fit(batches(basket_queries(shop_events), shop_events), verbose=0)
    return made


@pytest.mark.parametrize("repeats", ["on", "learned"])
def test_what_is_had_again_is_served_as_it_is_evaluated(tmp_path, shop_events, repeats):
    model = repeating(shop_events, repeats)
    queries = basket_queries(shop_events).between(40, 60)
    scores = TwoTowerScores(model, shop_events, max_history=6)(queries)
    histories = [
        [
            (shop_events.items.ids[shop_events.item[one]], shop_events.time[one], "buy")
            for one in range(start, stop)
        ]
        for start, stop in zip(queries.history_start, queries.history_stop, strict=True)
    ]
    request = {**inputs(*histories), "query_time": queries.time.tolist()}
    version = export(model, tmp_path, k=9, max_history=6)
    with NativeModel(version) as loaded:
        answer = loaded("serving_default", request)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :9]
    expected = np.take_along_axis(scores, order, axis=1)
    np.testing.assert_allclose(answer["score"], expected, atol=1e-5)
    model.repeats = None
    without = TwoTowerScores(model, shop_events, max_history=6)(queries)
    assert np.abs(scores - without).max() > 0.05
    about = json.loads((version / "assets.extra" / "tfrs_decay.json").read_text())
    assert about["repeats"] == repeats


def test_what_was_had_comes_back_though_its_actions_weigh_nothing(
    tmp_path, shop_events
):
    nothing = dict.fromkeys(shop_events.actions, 0.0)
    model = DecayRetrieval(
        ItemTower(shop_events.items, dim=4),
        TimeDecayPooling(Exponential("3d"), action_weights=nothing),
        repeats="on",
    )
    popularity = np.linspace(0, 1, len(shop_events.items))
    version = export(model, tmp_path, k=1, popularity=popularity)
    ids = shop_events.items.ids
    row = [(ids[3], NOW - DAY, "purchase"), (ids[3], NOW - 2 * DAY, "purchase")]
    with NativeModel(version) as loaded:
        answer = loaded("serving_default", inputs(row, []))
    assert answer["item_id"].tolist() == [[ids[3].encode()], [ids[-1].encode()]]
    assert answer["score"][0, 0] > 0


def test_what_never_comes_back_is_left_out(tmp_path, shop_events):
    model = repeating(shop_events, "never")
    ids = shop_events.items.ids
    history = [(one, NOW - number * DAY, "buy") for number, one in enumerate(ids[:4])]
    never = export(model, tmp_path / "never", k=len(ids), max_history=2)
    model.repeats = None
    excluded = export(
        model, tmp_path / "excluded", k=len(ids), max_history=2, exclude_seen=True
    )
    answers = []
    for version in (never, excluded):
        with NativeModel(version) as loaded:
            answers.append(loaded("serving_default", inputs(history, history[:1])))
    for name in ("item_id", "score"):
        np.testing.assert_array_equal(answers[0][name], answers[1][name])
    # Those beyond the latest two as well.
    assert set(ids) - set(chosen(answers[0])) == set(ids[:4])


@pytest.fixture(scope="module")
def with_texts(model, tmp_path_factory):
    """An export of every signature."""
    base = tmp_path_factory.mktemp("texts")
    return serving.export(model, base, k=5, texts=True, warmup=False)


def test_texts_stand_in_for_items_outside_the_catalogue(model, with_texts, shop_events):
    ids, texts = shop_events.items.ids, shop_events.items.texts
    request = {
        **inputs([("new", NOW - DAY, "purchase"), (ids[8], NOW - 9, "browse")]),
        "history_text": [[texts[3], "not read, for the id is known"]],
        "k": [5],
        "exclude_item": [[""]],
        "exclude_length": [0],
    }
    # A process of its own: an op library that is loaded once stays loaded.
    ask = [sys.executable, "-I", native.__file__, str(with_texts)]
    ask += ["--signature", "recommend_by_text"]
    libraries = [word for one in op_libraries() for word in ("--op-library", one)]
    question = json.dumps({"inputs": request})
    done = subprocess.run(
        [*ask, *libraries], input=question, capture_output=True, text=True, check=True
    )
    given = json.loads(done.stdout)["outputs"]
    new = model.item_tower.embed_texts(tf.constant([texts[3]])).numpy()[0]
    known = model.item_tower(tf.constant([ids[8]])).numpy()[0]
    interest = model.interest_from_vectors(
        tf.constant([[new, known]]),
        timestamps=tf.constant([[NOW - DAY, NOW - 9]], tf.int64),
        query_time=tf.constant([NOW], tf.int64),
        actions=tf.constant([["purchase", "browse"]]),
    ).numpy()[0]
    scores = model.item_tower.catalogue_vectors() @ interest
    order = np.argsort(-scores, kind="stable")[:5]
    assert given["item_id"][0] == ids[order].tolist()
    np.testing.assert_allclose(given["score"][0], scores[order], atol=1e-5)
    # The negative control: without TF Text's libraries the same process must fail.
    without = subprocess.run(
        ask, input=question, capture_output=True, text=True, check=False
    )
    assert without.returncode == 2
    assert "Op type not registered" in without.stderr


def test_texts_are_embedded_as_by_the_model(model, with_texts, shop_events):
    titles = shop_events.items.titles[:3].tolist()
    words = [*titles, "", "a red lantern", "caf\u00e9", titles[0]]
    with NativeModel(with_texts, op_libraries=op_libraries()) as loaded:
        vector = loaded("embed_item", {"text": words})["vector"]
        expected = model.item_tower.embed_texts(tf.constant(words)).numpy()
        np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-5)
        # What is embedded depends on the text, and on nothing beside it.
        assert len({tuple(one) for one in vector.round(3).tolist()}) == 6
        for row, word in list(enumerate(words))[3:6]:
            alone = loaded("embed_item", {"text": [word]})["vector"]
            np.testing.assert_allclose(alone[0], vector[row], rtol=0, atol=1e-5)
        assert loaded("embed_item", {"text": []})["vector"].shape == (0, 8)
        for text, message in [
            (
                ["tea", b"caf\xe9"],
                "INVALID_ARGUMENT.*text has a string that is not UTF-8",
            ),
            ([["tea"]], "Input 'text' of signature 'embed_item' has shape"),
            ([3], "Input 'text' of signature 'embed_item'"),
        ]:
            with pytest.raises((RuntimeError, ValueError), match=message):
                loaded("embed_item", {"text": text})
        assert loaded("embed_item", {"text": ["tea"]})["vector"].shape == (1, 8)


def test_the_default_export_needs_no_op_library_and_holds_no_encoder(
    exported, served, shop_events
):
    # `served` was loaded without any. 8 floats an item, and little else.
    size = sum(one.stat().st_size for one in (exported / "variables").iterdir())
    assert size < 4 * 8 * len(shop_events.items) + 8192


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("mixed_float16", marks=pytest.mark.integration),  # slow
        "mixed_bfloat16",
    ],
)
def test_a_model_of_half_precision_exports(tmp_path, shop_events, tiny_encoder, policy):
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=8)
        half = DecayRetrieval(
            ItemTower(shop_events.items, text=text, dim=8).bake(),
            TimeDecayPooling(Exponential("3d")),
        )
        version = export(half, tmp_path, k=5, texts=True)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    ids, texts = shop_events.items.ids, shop_events.items.texts
    request = inputs([(ids[3], NOW - DAY, "buy"), ("new", NOW - 60, "buy")], [])
    request |= {"k": [5, 5], "exclude_item": [[""]] * 2, "exclude_length": [0, 0]}
    request |= {"history_text": [["", texts[9]], ["", ""]]}
    tensors = {name: tf.constant(value) for name, value in request.items()}
    for name in {*INTEGERS} & {*tensors}:
        tensors[name] = tf.cast(tensors[name], tf.int64)
    loaded = tf.saved_model.load(str(version))
    answer = loaded.signatures["recommend_by_text"](**tensors)
    vectors = half.item_tower.catalogue_vectors()
    known, new = vectors[3], half.item_tower.embed_texts(tf.constant(texts[9]))
    weight = 2 ** -((DAY - 60) / (3 * DAY))
    interest = weight * known + tf.cast(new, tf.float32).numpy()
    expected = np.sort(vectors @ interest / np.linalg.norm(interest))[::-1][:5]
    np.testing.assert_allclose(answer["score"][0], expected, atol=2e-2)
    np.testing.assert_array_equal(answer["score"][1], [LOWEST] * 5)


def test_items_of_several_texts_are_served_by_all_of_them(
    tmp_path, shop_events, tiny_encoder
):
    ids, titles = shop_events.items.ids.tolist(), shop_events.items.texts.tolist()
    items = Items(ids, [[one, title] for one, title in zip(ids, titles, strict=True)])
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=8, fields=2)
    two = DecayRetrieval(
        ItemTower(items, text=text, dim=8).bake(), TimeDecayPooling(Exponential("3d"))
    )
    version = export(two, tmp_path, k=5, texts=True)
    request = inputs([(ids[3], NOW - DAY, "buy"), ("new", NOW - 60, "buy")], [])
    request |= {"k": [5, 5], "exclude_item": [[""]] * 2, "exclude_length": [0, 0]}
    # Of the new one the second text alone is known.
    request |= {"history_text": [[["", ""], ["", titles[9]]], [["", ""]] * 2]}
    tensors = {name: tf.constant(value) for name, value in request.items()}
    for name in {*INTEGERS} & {*tensors}:
        tensors[name] = tf.cast(tensors[name], tf.int64)
    loaded = tf.saved_model.load(str(version))
    answer = loaded.signatures["recommend_by_text"](**tensors)
    vectors = two.item_tower.catalogue_vectors()
    new = two.item_tower.embed_texts(tf.constant([["", titles[9]]])).numpy()[0]
    weight = 2 ** -((DAY - 60) / (3 * DAY))
    interest = weight * vectors[3] + new
    expected = np.sort(vectors @ interest / np.linalg.norm(interest))[::-1][:5]
    np.testing.assert_allclose(answer["score"][0], expected, atol=1e-5)
    np.testing.assert_array_equal(answer["score"][1], [LOWEST] * 5)
    described = json.loads((version / "assets.extra" / "tfrs_decay.json").read_text())[
        "texts"
    ]
    assert described[ids[3]] == f"{ids[3]} | {titles[3]}"


class OfMyOwn(tf_keras.Model):
    """A model of a user's own: what `InterestModel` asks for, and a variable."""

    def __init__(self, items):
        super().__init__()
        self.item_tower = ItemTower(items, dim=4)
        self.pool = TimeDecayPooling(Exponential("1d"), normalize="sum")
        self.tilt = tf.Variable([1.0, 2.0, 3.0, 4.0])

    def interest_from_vectors(
        self, vectors, *, timestamps, query_time, actions=None, mask=None
    ):
        pooled = self.pool(
            vectors, timestamps=timestamps, query_time=query_time, mask=mask
        )
        return pooled * self.tilt


def test_a_model_of_ones_own_exports(tmp_path, shop_events):
    own = OfMyOwn(shop_events.items)
    own.item_tower.build()
    ids = shop_events.items.ids
    version = export(own, tmp_path, k=3)
    with NativeModel(version) as loaded:
        answer = loaded("serving_default", inputs([(ids[0], NOW - DAY, "anything")]))
    vectors = own.item_tower.catalogue_vectors()
    expected = np.sort(vectors @ (0.5 * vectors[0] * [1, 2, 3, 4]))[::-1][:3]
    np.testing.assert_allclose(answer["score"][0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"history_length": [3]}, "history_length is above the width"),
        ({"history_length": [-1]}, "history_length is below 0"),
        ({"history_time": [[NOW, NOW]]}, "history_time and history_item must have"),
        ({"history_action": [["a", "b"]]}, "history_action and history_item must"),
        ({"query_time": [NOW * 1000]}, "query_time looks like milliseconds"),
        ({"history_time": [[NOW * 1000]]}, "history_time looks like milliseconds"),
        ({"query_time": [NOW, NOW]}, "query_time and history_item must agree in batch"),
    ],
)
def test_a_bad_request_is_refused_and_the_next_is_answered(
    served, shop_events, change, message
):
    good = inputs([(shop_events.items.ids[3], NOW - DAY, "purchase")])
    with pytest.raises(RuntimeError, match=f"INVALID_ARGUMENT.*({message})"):
        served("serving_default", {**good, **change})
    assert served("serving_default", good)["score"].shape == (1, 5)


def test_no_rows_and_no_columns_are_answered(served):
    no_columns = {name: [[]] for name in HISTORY[:3]}
    no_columns |= {"history_length": [0], "query_time": [NOW]}
    popular = served("serving_default", inputs([]))
    assert chosen(served("serving_default", no_columns)) == chosen(popular)
    no_rows = {
        name: np.zeros([0, 3], object) for name in ("history_item", "history_action")
    }
    no_rows |= {"history_time": np.zeros([0, 3], np.int64)}
    no_rows |= {
        name: np.zeros([0], np.int64) for name in ("history_length", "query_time")
    }
    assert served("serving_default", no_rows)["item_id"].shape == (0, 5)
    no_rows |= {"k": np.zeros([0], np.int32), "exclude_item": np.zeros([0, 1], object)}
    no_rows |= {"exclude_length": np.zeros([0], np.int64)}
    assert len(served("recommend", no_rows)["item_id"]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": [0]}, "k is below 1"),
        ({"k": [-3]}, "k is below 1"),
        ({"k": [343]}, "k is above the number of items"),
        ({"k": [1, 1]}, "k and history_item must agree in batch"),
        ({"exclude_item": [["a"]] * 2}, "exclude_item and history_item must agree"),
        ({"exclude_length": [2]}, "exclude_length is above the width of exclude_item"),
        ({"exclude_length": [-1]}, "exclude_length is below 0"),
        ({"exclude_length": [1, 1]}, "exclude_length and exclude_item must agree"),
        ({"exclude_item": [[b"a\xff"]]}, "exclude_item has a string that is not UTF-8"),
        ({"history_item": [[b"\xc3"]]}, "history_item has a string that is not UTF-8"),
    ],
)
def test_a_bad_choice_is_refused(served, shop_events, change, message):
    good = inputs([(shop_events.items.ids[3], NOW - DAY, "purchase")])
    good |= {"k": [342], "exclude_item": [["a"]], "exclude_length": [1]}
    with pytest.raises(RuntimeError, match=f"INVALID_ARGUMENT.*{message}"):
        served("recommend", {**good, **change})
    assert served("recommend", good)["score"].shape == (1, 342)


def test_padding_of_exclusions_excludes_nothing(served, shop_events):
    ids = shop_events.items.ids
    rows = [[(ids[3], NOW - DAY, "purchase")], [(ids[9], NOW - DAY, "purchase")]]
    good = {**inputs(*rows), "k": [5, 5], "exclude_length": [1, 1]}
    plain = served("recommend", {**good, "exclude_item": [[ids[3]], [ids[9]]]})
    # As TensorFlow Serving pads, to the exclusions of whom it is joined with: with the
    # first element, which is the first row's.
    padded = [[ids[3]] * 3, [ids[9], ids[3], ids[3]]]
    again = served("recommend", {**good, "exclude_item": padded})
    np.testing.assert_array_equal(again["score"], plain["score"])
    assert (again["item_id"] == plain["item_id"]).all()
    # As a whole they would exclude.
    every = {**good, "k": [342] * 2, "exclude_item": padded}
    assert ids[3] in chosen(served("recommend", every), 1)
    every["exclude_length"] = [3, 3]
    assert ids[3] not in chosen(served("recommend", every), 1)


def test_versions_follow_each_other_whole_or_not_at_all(model, tmp_path, monkeypatch):
    first = export(model, tmp_path, version=4)
    second = export(model, tmp_path)
    assert int(second.name) > 4
    third = export(model, tmp_path)
    assert int(third.name) > int(second.name)
    with pytest.raises(FileExistsError, match=rf"{first}.*choose a version above"):
        export(model, tmp_path, version=4)
    monkeypatch.setattr(json, "dumps", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(model, tmp_path, version=10**10)
    names = {one.name for one in tmp_path.iterdir()}
    configs = {"models.config", "batching.config"}
    assert names == {first.name, second.name, third.name, *configs}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k=0 must be 1 or more"),
        ({"popularity": np.ones(3)}, r"popularity has the shape \(3,\)"),
        ({"version": -1}, "version=-1 must be 0 or more"),
    ],
)
def test_a_bad_choice_is_named(model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export(model, tmp_path, **options)


class FirstAndLast(OfMyOwn):
    """A model to which order matters: the first event's vector less the last one's."""

    def interest_from_vectors(
        self, vectors, *, timestamps, query_time, actions=None, mask=None
    ):
        last = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1) - 1
        return vectors[:, 0] - tf.gather(vectors, tf.maximum(last, 0), batch_dims=1)


@pytest.mark.parametrize("max_history", [None, 2])
def test_events_reach_a_model_in_the_order_of_time(tmp_path, shop_events, max_history):
    own = FirstAndLast(shop_events.items)
    own.item_tower.build()
    ids = shop_events.items.ids
    # Oldest to latest b, a, d; c is in the future.
    days = {0: 3, 1: 5, 2: -1, 3: 2}
    events = [(ids[item], NOW - age * DAY, "buy") for item, age in days.items()]
    version = export(own, tmp_path, k=1, max_history=max_history)
    with NativeModel(version) as loaded:
        answer = loaded("serving_default", inputs(events, events[::-1], events[:1]))
    vectors = own.item_tower.catalogue_vectors()
    first = vectors[1] if max_history is None else vectors[0]
    best = (vectors @ (first - vectors[3])).max()
    np.testing.assert_allclose(answer["score"][:2, 0], [best, best], rtol=1e-5)


def test_a_model_that_lacks_what_is_exported_is_named(tmp_path):
    with pytest.raises(TypeError, match="a Sequential has no item_tower: what is exp"):
        export(tf_keras.Sequential(), tmp_path)


def test_a_model_without_numbers_is_not_exported(tmp_path, shop_events):
    own = OfMyOwn(shop_events.items)
    own.item_tower.build()
    table = own.item_tower.trainable_weights[0]
    table.assign(tf.tensor_scatter_nd_update(table, [[7]], [[np.nan] * 4]))
    with pytest.raises(ValueError, match="1 of 342 item vectors are not finite"):
        export(own, tmp_path)
    assert not list(tmp_path.iterdir())


def test_texts_need_a_text_tower(tmp_path, shop_events):
    own = OfMyOwn(shop_events.items)
    own.item_tower.build()
    with pytest.raises(ValueError, match="the item tower has no text tower"):
        export(own, tmp_path, texts=True)


@pytest.mark.parametrize(
    "fusion",
    [
        # Slow, and what is exported of them differs by the fusion alone.
        *(
            pytest.param(one, marks=pytest.mark.integration)
            for one in ("sum", "concat")
        ),
        "gated",
    ],
)
def test_a_fused_tower_exports_with_items_that_came_later(
    tmp_path, shop_events, tiny_encoder, fusion
):
    tf_keras.utils.set_random_seed(6)
    items = shop_events.items
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=8)
    images = np.random.default_rng(2).normal(size=[100, 5])
    tower = ItemTower(
        items,
        text=text,
        dim=8,
        vectors=PrecomputedTower(items.ids[:100].tolist(), images, dim=8),
        categories={"kind": ["lamps", ""] * (len(items) // 2)},
        fusion=fusion,
        id_dropout=0.2,
    ).bake()
    made = DecayRetrieval(tower, TimeDecayPooling(Exponential("3d")))
    made.compile(tf_keras.optimizers.Adam(0.01))
    made.fit(batches(basket_queries(shop_events), shop_events), verbose=0)
    made.item_tower.set_seen(np.arange(len(items)) % 5)
    made = made.with_items(
        ["new"], ["a red lantern"], vectors=images[:1], categories={"kind": ["mugs"]}
    )
    version = export(made, tmp_path, k=5, texts=True)
    ids = made.item_tower.items.ids
    histories = [
        [("new", NOW - DAY, "buy"), (ids[5], NOW - 60, "buy")],
        [(ids[8], NOW - 9, "buy")],
    ]
    request = inputs(*histories)
    with NativeModel(version.parent) as loaded:
        answer = loaded("serving_default", request)
    scores = in_memory(made, request)
    for row, one in enumerate(scores):
        order = np.argsort(-one, kind="stable")[:5]
        np.testing.assert_allclose(answer["score"][row], one[order], atol=1e-5)
    best = inputs([("new", NOW, "buy")])
    with NativeModel(version.parent) as loaded:
        assert chosen(loaded("serving_default", best))[0] == "new"
    # An item that nobody added, by its text alone: its other parts are missing.
    asked = {**inputs([("unheard of", NOW - DAY, "buy")]), "k": [5]}
    asked |= {"exclude_item": [[""]], "exclude_length": [0]}
    asked |= {"history_text": [["blue mug"]]}
    tensors = {name: tf.constant(value) for name, value in asked.items()}
    for name in {*INTEGERS} & {*tensors}:
        tensors[name] = tf.cast(tensors[name], tf.int64)
    by_text = tf.saved_model.load(str(version)).signatures["recommend_by_text"]
    interest = made.item_tower.embed_texts(tf.constant("blue mug")).numpy()
    expected = np.sort(made.item_tower.catalogue_vectors() @ interest)[::-1][:5]
    np.testing.assert_allclose(by_text(**tensors)["score"][0], expected, atol=1e-5)
