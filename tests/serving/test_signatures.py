"""The signatures beside the recommended list, and what a server is given with them."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from served_requests import history, new_users, no_choice

from tfrs_decay.decay import Exponential
from tfrs_decay.layers import ItemTower, TimeDecayPooling
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.serving import (
    NativeModel,
    Recommender,
    export,
    report,
    warmup,
    write_server_files,
)
from tfrs_decay.serving.asking import metadata_of
from tfrs_decay.serving.native import numbered_directories, version_directories
from tfrs_decay.serving.ops import Ops, check_ops
from tfrs_decay.serving.signatures import SAYS
from tfrs_decay.serving.versions import next_version

DAY = 86_400
NOW = 1_706_000_000
WEIGHTS = {"browse": 0.25, "purchase": 1.0}


@pytest.fixture(scope="module")
def model(shop_events):
    tf_keras.utils.set_random_seed(4)
    return DecayRetrieval(
        ItemTower(shop_events.items, dim=8),
        TimeDecayPooling(Exponential("1d"), action_weights=WEIGHTS),
        query_tower=tf_keras.layers.Dense(8, bias_initializer="ones"),
    )


@pytest.fixture(scope="module")
def popularity(shop_events):
    return np.bincount(shop_events.item, minlength=len(shop_events.items)) / 100


@pytest.fixture(scope="module")
def exported(model, popularity, tmp_path_factory):
    base = tmp_path_factory.mktemp("signatures") / "shop"
    return export(model, base, k=5, popularity=popularity, version=3)


@pytest.fixture(scope="module")
def served(exported):
    with NativeModel(exported.parent) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def ids(shop_events):
    return shop_events.items.ids


def test_each_signature_is_described_as_it_is_loaded(exported, served):
    described = metadata_of(exported)["signatures"]
    assert set(described) == set(served.signatures)
    assert set(described) == {
        *("serving_default", "recommend", "recommend_now", "embed_user", "explain"),
        *("update_interest", "recommend_from_interest"),
    }
    for name, signature in served.signatures.items():
        assert described[name]["says"]
        for side in ("inputs", "outputs"):
            loaded, said = getattr(signature, side), described[name][side]
            assert set(loaded) == set(said)
            for tensor, spec in loaded.items():
                assert said[tensor]["dtype"] == spec.dtype
                assert said[tensor]["says"]
                # A server joins requests on axis 0.
                assert spec.shape[0] is None
                if side == "inputs":
                    assert said[tensor]["shape"] == list(spec.shape)


def test_the_query_side_alone_ranks_as_the_list_does(served, model, ids):
    rows = [[(ids[3], NOW - DAY, "purchase"), (ids[9], NOW - 5, "browse")], []]
    asked = {**history(*rows, width=4), "query_time": [NOW, NOW]}
    user = served("embed_user", asked)
    assert user["known"].tolist() == [True, False]
    assert not user["vector"][1].any()
    scores = model.item_tower.catalogue_vectors() @ user["vector"][0]
    answer = served("serving_default", asked)
    np.testing.assert_allclose(answer["score"][0], np.sort(scores)[::-1][:5], atol=1e-6)


def test_an_explanation_says_what_each_event_weighs(served, ids):
    row = [
        (ids[3], NOW, "purchase"),
        ("unknown", NOW, "purchase"),
        (ids[9], NOW - DAY, "browse"),
        (ids[9], NOW + 1, "purchase"),
        (ids[4], NOW - 3 * DAY, "purchase"),
        (ids[4], NOW, "gaze"),
    ]
    asked = {**history(row, width=8), "query_time": [NOW]}
    told = served("explain", asked)
    # 1, half a quarter and an eighth, which add up to 5/4.
    expected = np.array([1, 0, 1 / 8, 0, 1 / 8, 0, 0, 0]) / 1.25
    np.testing.assert_allclose(told["weight"], expected[None], rtol=1e-6)
    assert told["counted"].tolist() == [(expected > 0).tolist()]


def test_only_the_latest_events_are_explained(model, ids):
    row = [(ids[3], NOW, "purchase"), (ids[9], NOW - 9, "purchase")]
    asked = {**history(row, row[1:]), "query_time": [NOW, NOW]}
    told = Recommender(model, max_history=1).explain(**tensors(asked))
    np.testing.assert_array_equal(told["weight"], [[1, 0], [1, 0]])
    np.testing.assert_array_equal(told["counted"], [[True, False], [True, False]])


def tensors(asked):
    return {
        name: tf.constant(
            value, tf.string if "item" in name or "action" in name else tf.int64
        )
        for name, value in asked.items()
    }


def test_a_kept_state_answers_as_the_whole_history(served, exported, ids):
    events = [
        (ids[3], NOW - 5 * DAY, "purchase"),
        ("unknown", NOW - DAY, "purchase"),
        (ids[9], NOW - DAY, "browse"),
        (ids[8], NOW - 2 * DAY, "gaze"),
        (ids[4], NOW - 2 * DAY, "purchase"),
        (ids[3], NOW - 9, "browse"),
    ]
    # Another user beside, whose events come later and are fewer.
    others = [(ids[20], NOW - DAY, "purchase")]
    expected = served(
        "serving_default",
        {**history(events, others), "query_time": [NOW, NOW]},
    )
    for arrival in itertools.islice(itertools.permutations(events), 0, 720, 250):
        state = new_users(exported, 2)
        for part, other in (
            (arrival[:2], []),
            (arrival[2:3], others),
            (arrival[3:], []),
        ):
            state = served("update_interest", {**state, **history(part, other)})
        asked = {**state, "query_time": [NOW, NOW], **no_choice(count=2)}
        answer = served("recommend_from_interest", asked)
        assert (answer["item_id"] == expected["item_id"]).all()
        np.testing.assert_allclose(answer["score"], expected["score"], atol=1e-5)
    asked["exclude_item"] = [[answer["item_id"][0, 0], ids[0]], [ids[0], ids[0]]]
    asked["exclude_length"] = [1, 0]
    without = served("recommend_from_interest", asked)
    assert (without["item_id"][0, :4] == answer["item_id"][0, 1:]).all()
    assert (without["item_id"][1] == answer["item_id"][1]).all()


def test_nothing_known_is_answered_with_popularity(served, exported, popularity, ids):
    order = np.argsort(-popularity, kind="stable")[:5]
    empty = {**history([]), "query_time": [NOW]}
    state = {**new_users(exported), "query_time": [NOW], **no_choice()}
    # No event that counts is none.
    strange = served(
        "update_interest",
        {**new_users(exported), **history([("unknown", NOW, "purchase")])},
    )
    for answer in (
        served("serving_default", empty),
        served("recommend", {**empty, **no_choice()}),
        served("recommend_now", history([])),
        served("recommend_from_interest", state),
        served("recommend_from_interest", {**state, **strange}),
    ):
        assert [one.decode() for one in answer["item_id"][0]] == ids[order].tolist()
        np.testing.assert_allclose(answer["score"][0], popularity[order])


def test_the_server_may_say_what_now_is(served, ids):
    # The answer is that of any later time: under a mean all weights fade alike.
    now = int(time.time())
    past = [(ids[3], now - DAY, "purchase"), (ids[9], now - 2 * DAY, "purchase")]
    ahead = [*past, (ids[20], now + 20, "purchase")]
    tomorrow = [*past, (ids[20], now + DAY, "purchase")]
    answer = served("recommend_now", history(past, ahead, tomorrow))
    dated = {**history(past, ahead), "query_time": [now, now + 20]}
    expected = served("serving_default", dated)
    # The clock of whoever sent it may be ahead of the server's, a day is too much.
    np.testing.assert_allclose(answer["score"][:2], expected["score"], atol=1e-3)
    assert (answer["item_id"][0] == expected["item_id"][0]).all()
    assert answer["item_id"][1, 0] == expected["item_id"][1, 0]
    np.testing.assert_array_equal(answer["score"][2], answer["score"][0])
    assert abs(answer["score"][1, 0] - answer["score"][0, 0]) > 1e-2


def test_padding_changes_nothing_of_any_signature(served, exported, ids):
    row = [(ids[3], NOW - DAY, "purchase"), (ids[9], NOW - 5, "browse")]
    others = {
        "query_time": [NOW],
        **no_choice(),
        **new_users(exported),
    }
    for name, signature in served.signatures.items():
        answers = [
            served(
                name,
                {
                    key: value
                    for key, value in {**history(row, width=width), **others}.items()
                    if key in signature.inputs
                },
            )
            for width in (2, 7)
        ]
        for key, value in answers[0].items():
            other = answers[1][key]
            if name == "explain":
                assert not other[:, 2:].any()
                other = other[:, :2]
            assert np.array_equal(value, other), (name, key)


@pytest.mark.parametrize(
    ("signature", "change", "message"),
    [
        ("recommend_from_interest", "nan", "state_mean has a number that is not"),
        ("update_interest", "nan", "state_mean has a number that is not finite"),
        (
            "recommend_from_interest",
            {"state_log_weight": [[np.inf]]},
            "state_log_weight has a number that is not finite",
        ),
        (
            "recommend_from_interest",
            {"state_time": [NOW * 1000]},
            "state_time looks like milliseconds",
        ),
        (
            "recommend_from_interest",
            {"state_time": [NOW + 1]},
            "query_time is earlier than state_time",
        ),
        (
            "recommend_from_interest",
            {"query_time": [NOW * 1000]},
            "query_time looks like milliseconds",
        ),
        ("recommend_from_interest", {"k": [-1]}, "k is below 1"),
        ("recommend_from_interest", {"k": [1000]}, "k is above the number of items"),
        (
            "recommend_from_interest",
            {"state_time": [NOW, NOW]},
            "must agree in batch",
        ),
        (
            "update_interest",
            {"history_time": [[NOW * 1000]]},
            "history_time looks like milliseconds",
        ),
        (
            "update_interest",
            {"history_length": [2]},
            "history_length is above the width",
        ),
        ("explain", {"history_time": [[NOW, NOW]]}, "history_time and history_item"),
        ("embed_user", {"query_time": [NOW] * 2}, "query_time and history_item must"),
        ("recommend_now", {"history_action": [["a"] * 2]}, "history_action and hist"),
    ],
)
def test_a_bad_request_is_refused_by_name(
    served, exported, ids, signature, change, message
):
    good = {
        **history([(ids[3], NOW - DAY, "purchase")]),
        **new_users(exported),
        **no_choice(),
        "query_time": [NOW],
    }
    good = {name: good[name] for name in served.signatures[signature].inputs}
    if change == "nan":
        change = {"state_mean": np.full([1, 1, 8], np.nan, np.float32)}
    with pytest.raises(RuntimeError, match=f"INVALID_ARGUMENT.*{message}"):
        served(signature, {**good, **change})
    assert served(signature, good)


class Turned(DecayRetrieval):
    """What its pooling gives is not all that it makes its interest of."""

    def interest_from_vectors(self, vectors, **when):
        return -super().interest_from_vectors(vectors, **when)


class TurnedLast(Turned):
    """The same where it is known how."""

    def interest_from_vectors(self, vectors, **when):
        return DecayRetrieval.interest_from_vectors(self, vectors, **when)

    def interest_from_pooled(self, pooled, *, training=None):
        return -super().interest_from_pooled(pooled, training=training)


def test_a_model_that_does_not_just_pool_has_no_state(shop_events):
    parts = (
        ItemTower(shop_events.items, dim=4),
        TimeDecayPooling(Exponential("1d")),
    )
    turned = Recommender(Turned(*parts))
    assert set(turned.left_out) == {
        *("explain", "update_interest", "recommend_from_interest"),
    }
    with pytest.raises(TypeError, match="no explain: a Turned has no TimeDecayPooling"):
        turned.explain(**tensors({**history([]), "query_time": [NOW]}))
    assert not Recommender(TurnedLast(*parts)).left_out


@pytest.mark.parametrize(("repeats", "left_out"), [("learned", 1), ("never", 0)])
def test_a_score_of_what_was_had_is_not_in_a_state(shop_events, repeats, left_out):
    parts = (ItemTower(shop_events.items, dim=4), TimeDecayPooling(Exponential("1d")))
    made = DecayRetrieval(*parts, repeats=repeats)
    found = Recommender(made).left_out
    assert len(found) == left_out
    if left_out:
        assert "repeats='learned'" in found["recommend_from_interest"]


def test_the_query_side_goes_to_an_index_outside(model, tmp_path, ids):
    version = export(model, tmp_path, parts="query")
    asked = {
        **history([(ids[3], NOW - DAY, "purchase"), (ids[9], NOW, "browse")]),
        "query_time": [NOW],
    }
    with NativeModel(version) as loaded:
        assert set(loaded.signatures) == {
            *("serving_default", "embed_user", "explain", "update_interest"),
        }
        vector = loaded("serving_default", asked)["vector"][0]
    with np.load(version / "assets.extra" / "item_vectors.npz") as index:
        best = index["ids"][np.argsort(-index["vectors"] @ vector)[:5]]
    answer = Recommender(model, k=5).recommend(**tensors(asked))
    assert [one.decode() for one in answer["item_id"].numpy()[0]] == best.tolist()
    with pytest.raises(ValueError, match=r"parts='query' has no list .* exclude_seen"):
        export(model, tmp_path, parts="query", exclude_seen=True)
    with pytest.raises(ValueError, match=r"no list to make, and k of one is given"):
        export(model, tmp_path, parts="query", k=5)
    assert metadata_of(version)["k"] is None
    with pytest.raises(ValueError, match="parts='index' is not one of"):
        export(model, tmp_path, parts="index")


def test_a_score_of_what_was_had_is_not_in_an_index(shop_events, tmp_path):
    parts = (ItemTower(shop_events.items, dim=4), TimeDecayPooling(Exponential("1d")))
    made = DecayRetrieval(*parts, repeats="on")
    with pytest.raises(ValueError, match=r"parts='query' and repeats='on'"):
        export(made, tmp_path, parts="query")


class InPython(DecayRetrieval):
    """A part of it is no TensorFlow."""

    def interest_from_vectors(self, vectors, **when):
        found = super().interest_from_vectors(vectors, **when)
        made = tf.numpy_function(lambda one: one, [found], tf.float32)
        return tf.ensure_shape(made, found.shape)


def test_an_export_with_an_op_that_no_server_has_fails(shop_events, tmp_path):
    parts = (ItemTower(shop_events.items, dim=4), TimeDecayPooling(Exponential("1d")))
    with pytest.raises(
        ValueError, match=r"runs (Eager)?PyFunc.*Serving 2\.19 does not"
    ):
        export(InPython(*parts), tmp_path, parts="recommend")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("op", "server", "message"),
    [
        ("FastBertNormalize", "2.16", None),
        ("TFText>RoundRobinTrim", "2.19", r"TFText>RoundRobinTrim.*server='2\.20'"),
        ("TFText>RoundRobinTrim", "2.19.1", r"Serving 2\.19\.1 does not have"),
        ("TFText>RoundRobinTrim", "2.20", None),
        ("Scann>ScannSearch", "2.20", r"Scann>ScannSearch.*ScaNN's .* no stock image"),
        ("Addons>GatherTree", "2.19", r"Addons>GatherTree.*server=None"),
        ("FastBertNormalize", "2.4", r"server='2\.4' is no version .* from 2\.16"),
        ("FastBertNormalize", "latest", "server='latest' is no version"),
    ],
)
def test_a_stock_server_has_some_ops(op, server, message):
    text = not op.startswith(("Scann>", "Addons>"))
    ops = Ops(["MatMul"], [op] if text else [], [] if text else [op])
    if message is None:
        check_ops(ops, server)
    else:
        with pytest.raises(ValueError, match=message):
            check_ops(ops, server)


def test_a_server_is_warmed_up_with_each_signature(exported, served):
    log = importlib.import_module("tensorflow_serving.apis.prediction_log_pb2")
    file = exported / "assets.extra" / "tf_serving_warmup_requests"
    asked = {}
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        request = log.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "shop"
        signature = request.model_spec.signature_name
        given = {name: tf.make_ndarray(one) for name, one in request.inputs.items()}
        answer = served(signature, given)
        asked.setdefault(signature, []).append(answer)
    assert set(asked) == set(served.signatures)
    # With a history, and without.
    known = [one["known"].tolist() for one in asked["embed_user"]]
    assert known == [[True], [False]]


def test_a_server_is_warmed_up_with_an_item_that_is_known_by_its_text_alone():
    ids = np.array([f"item {number}" for number in range(20)])
    for some in (ids, ids[:1]):
        given = warmup.example(some, None, {"text": np.array(["a red lantern"])})
        items = given["history_item"][0].tolist()
        assert items == [*some[: warmup.EVENTS - 1], ""]
        assert given["history_text"].shape == (1, len(items))
        assert given["history_length"] == [len(items)]
    assert "" not in warmup.example(ids, None, {})["history_item"]


def test_without_the_stubs_the_report_says_so(tmp_path, monkeypatch):
    for one in ("tensorflow_serving", "tensorflow_serving.apis"):
        monkeypatch.setitem(sys.modules, one, None)
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis.predict_pb2", None)
    file = tmp_path / "requests"
    left_out = warmup.write(file, "shop", {}, needed=None)
    assert left_out["requests"] == 0
    assert "pip install 'tfrs-decay[serving]'" in left_out["why"]
    with pytest.raises(ImportError, match=r"warmup=True.*tfrs-decay\[serving\]"):
        warmup.write(file, "shop", {}, needed=True)
    assert warmup.write(file, "shop", {}, needed=False)["why"] == "not asked for"
    assert not file.exists()


def test_the_server_is_told_what_to_serve(exported):
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2 as config

    text = (exported.parent / "models.config").read_text()
    parsed = text_format.Parse(text, config.ModelServerConfig())
    one = parsed.model_config_list.config[0]
    assert (one.name, one.base_path) == ("shop", "/models/shop")
    assert one.model_platform == "tensorflow"
    batching = (exported.parent / "batching.config").read_text()
    sizes = [int(one) for one in re.findall(r"allowed_batch_sizes: (\d+)", batching)]
    # What the server requires of them.
    assert sizes == sorted({*sizes})
    assert f"max_batch_size {{ value: {sizes[-1]} }}" in batching
    assert "pad_variable_length_inputs: true" in batching


def test_files_that_were_edited_stay(tmp_path):
    written = write_server_files(tmp_path, name="shop")
    assert [one.name for one in written] == ["models.config", "batching.config"]
    (tmp_path / "batching.config").write_text("mine")
    (tmp_path / "models.config").unlink()
    assert [one.name for one in write_server_files(tmp_path)] == ["models.config"]
    assert (tmp_path / "batching.config").read_text() == "mine"
    assert len(write_server_files(tmp_path, overwrite=True)) == 2
    assert {one.name for one in tmp_path.iterdir()} == {
        *("models.config", "batching.config")
    }
    with pytest.raises(ValueError, match="name='a/b': give a model's name"):
        write_server_files(tmp_path, name="a/b")


def test_server_files_that_cannot_be_put_in_place_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_server_files(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_whose_name_no_server_takes_is_refused_before_any_version(tmp_path):
    with pytest.raises(ValueError, match=r"name='a\\\\b': give a model's name"):
        next_version(tmp_path / "a\\b", None)


def test_a_version_is_a_folder_whose_name_is_plain_digits(tmp_path):
    # Not three, one thousand and six, whatever int() makes of them.
    for name in ("7", "\u0663", "1_000", "+6", "x"):
        (tmp_path / name).mkdir()
    assert list(numbered_directories(tmp_path)) == [7]
    assert version_directories(tmp_path) == {}  # no model is in it
    assert next_version(tmp_path, 3) == 3
    with pytest.raises(FileExistsError, match=r"7 is there already: .* above 7"):
        next_version(tmp_path, 7)


def test_a_report_says_what_an_export_holds(exported, model, ids):
    found = report(exported.parent)
    assert found.version == exported
    size = sum(one.stat().st_size for one in Path(exported).rglob("*") if one.is_file())
    assert found.total == size
    assert found.variables["item_vectors"] == len(ids) * 8 * 4
    assert found.items == len(ids)
    assert found.server == "2.19" and not found.other_ops and found.core_ops > 10
    text = str(found)
    for part in ("342 items", "stock image of 2.19", "recommend_from_interest"):
        assert part in text
    assert f"warm-up:     {found.warmup} requests" in text


def test_the_page_names_every_signature_and_tensor(exported):
    page = (Path(__file__).parents[2] / "docs" / "signatures.md").read_text()
    described = metadata_of(exported)["signatures"]
    names = {name for one in described.values() for name in one["inputs"]}
    names |= {name for one in described.values() for name in one["outputs"]}
    names = {name for name in names if not name.startswith("state_")}
    for name in {*described, *names, *SAYS}:
        assert f"`{name}`" in page, name
