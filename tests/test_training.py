"""Training: what it chooses by, what it looks at, and where decay has to win."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from event_files import numbers_of

import tfrs_decay as td
from tfrs_decay import training
from tfrs_decay.data import basket_queries, batches
from tfrs_decay.decay import Exponential
from tfrs_decay.evaluation import OwnCounts, Popularity, evaluate
from tfrs_decay.evaluation.two_tower import TwoTowerScores
from tfrs_decay.runs import encode_texts, settings_for
from tfrs_decay.training import (
    Settings,
    Validated,
    ValidationRecall,
    _batches,
    _optimizer,
    fit_through,
    make_model,
    passes_backed_up,
    queries_by_period,
    train,
    train_and_validate,
)


def shop_of(users):
    """A shop whose users' interest halves in a week, and its cuts."""
    shop = td.data.simulated_shop(users=users, days=120, seed=4)
    events = td.data.clean(shop.log).events
    return events, td.data.split_by_time(events, test="20d", validation="20d")


@pytest.fixture(scope="module")
def drifting():
    """A shop as small as tells anything."""
    return shop_of(100)


SETTINGS = Settings(
    dim=32,
    epochs=4,
    learning_rate=0.01,
    action_weights={"browse": 0.2, "purchase": 1.0},
    target_actions=["purchase"],
)


@pytest.mark.integration  # slow
def test_where_interest_drifts_decay_wins():
    events, split = shop_of(500)
    scorers = {
        "own": OwnCounts(events),
        "popular": Popularity(events, until=split.test),
    }
    for name, decay in (
        ("decay", td.decay.Exponential("14d", trainable=True)),
        ("mean", td.decay.Constant()),
    ):
        model = make_model(events, SETTINGS, decay)
        trained = train(model, events, split, SETTINGS, verbose=0)
        scorers[name] = TwoTowerScores(trained.model, events)
    queries = basket_queries(events, after=split.test, actions=["purchase"])
    recall = {
        name: one.recall().mean()
        for name, one in evaluate(scorers, queries, events).items()
    }
    assert recall["decay"] > 1.1 * recall["mean"]
    assert recall["decay"] > recall["own"]
    assert recall["decay"] > recall["popular"]


def test_the_refit_runs_for_the_passes_that_were_best(drifting, tmp_path):
    events, split = drifting
    settings = Settings(dim=4, epochs=3, target_actions=["purchase"])
    model = make_model(events, settings, td.decay.Constant())
    trained = train(model, events, split, settings, directory=tmp_path, verbose=0)
    assert trained.epochs == int(np.argmax(trained.recall)) + 1
    # The optimizer that fitted the model last has seen that many passes of all days.
    queries = basket_queries(events, until=split.test, actions=["purchase"])
    steps = trained.epochs * -(-len(queries) // settings.batch_size)
    assert int(trained.model.optimizer.iterations) == steps
    assert (tmp_path / "best.weights.h5").is_file()
    header = (tmp_path / "losses.csv").read_text().splitlines()[0]
    assert "val_loss" in header and "val_recall_at_20" in header


def test_a_model_of_ones_own_making_trains_before_and_after_loading(
    drifting, tiny_encoder, tmp_path
):
    events, split = drifting
    settings = Settings(dim=4, epochs=1, target_actions=["purchase"])
    text = td.layers.TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=4)
    model = td.models.DecayRetrieval(
        td.layers.ItemTower(events.items, text=text, dim=4),
        td.layers.TimeDecayPooling(td.decay.Constant()),
    )
    model.save(tmp_path / "fresh.keras")
    again = tf_keras.models.load_model(tmp_path / "fresh.keras")
    assert len(again.get_weights()) == len(model.get_weights())
    again.set_weights(model.get_weights())
    again.item_tower.bake()
    again.save(tmp_path / "baked.keras")
    baked = tf_keras.models.load_model(tmp_path / "baked.keras")
    trained = train(baked, events, split, settings, verbose=0)
    assert np.isfinite(trained.recall).all()


@pytest.mark.integration  # slow
def test_an_encoder_warms_up_to_a_rate_of_its_own(drifting, tiny_encoder):
    events, split = drifting
    settings = Settings(
        preprocessor=str(tiny_encoder.preprocessor),
        encoder=str(tiny_encoder.encoder),
        dim=4,
        epochs=2,
        target_actions=["purchase"],
        fine_tune="last:1",
        encoder_learning_rate=0.004,
        warm_up=0.5,
    )
    queries = queries_by_period(events, split, settings)
    model = make_model(events, settings, td.decay.Constant())
    assert not model.item_tower.baked
    few = queries._replace(
        training=queries.training.where(np.arange(len(queries.training)) < 512),
        validation=queries.validation.where(np.arange(len(queries.validation)) < 64),
    )
    train_and_validate(model, events, few, settings, verbose=0)
    optimizer = model.optimizer
    # 8 steps in all, 4 of them rising.
    rates = [float(optimizer.encoder_learning_rate(step)) for step in range(6)]
    np.testing.assert_allclose(rates, [0, 0.001, 0.002, 0.003, 0.004, 0.004], rtol=1e-6)
    assert float(optimizer.learning_rate) == pytest.approx(settings.learning_rate)
    assert int(optimizer.iterations) == 8


@pytest.mark.parametrize(
    ("fine_tune", "rate"), [("all", 2e-5), ("last:1", 2e-5), ("low-rank:2", 2e-4)]
)
def test_usual_rates_of_an_encoder(fine_tune, rate):
    settings = Settings("p", "e", fine_tune=fine_tune, warm_up=0.0)
    found = _optimizer(settings, 100).encoder_learning_rate
    assert float(found) == pytest.approx(rate)


class Lengths(tf.Module):
    """Strings to vectors, as the Universal Sentence Encoder gives them."""

    def __init__(self):
        super().__init__()
        self._scale = tf.Variable([0.1, 0.2, -0.1])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        return tf.cast(tf.strings.length(texts), tf.float32)[:, None] * self._scale


def test_an_encoder_that_reads_strings(drifting, tmp_path):
    events, split = drifting
    events = events.where(events.user < 40)
    split = td.data.split_by_time(events, test="20d", validation="20d")
    tf.saved_model.save(Lengths(), str(tmp_path / "encoder"))
    settings = settings_for(
        events.actions, tmp_path, dim=4, epochs=1, target_actions=["purchase"]
    )
    assert settings.preprocessor is None
    assert settings.encoder == str(tmp_path / "encoder")
    encoded = encode_texts(events, settings, say=lambda _: None)
    lengths = [len(text) for text in events.items.texts]
    np.testing.assert_allclose(encoded[:, 0], 0.1 * np.array(lengths), rtol=1e-5)
    model = make_model(events, settings, td.decay.Constant(), encoded=encoded)
    assert model.item_tower.baked
    trained = train(model, events, split, settings, verbose=0)
    assert np.isfinite(trained.recall).all()
    # Where neither is there, it is the preprocessor that is missed first.
    nowhere = settings_for(events.actions, tmp_path / "nowhere")
    assert nowhere.preprocessor == str(tmp_path / "nowhere" / "preprocessor")


def test_the_second_fit_starts_over_from_all_weights(drifting, monkeypatch):
    events, split = drifting
    settings = Settings(dim=4, epochs=1, target_actions=["purchase"])
    model = td.models.DecayRetrieval(
        td.layers.ItemTower(events.items, dim=4),
        td.layers.TimeDecayPooling(td.decay.Constant()),
        sampling_probability=td.layers.StreamingProbability(),
    )
    start = [one.numpy() for one in model.variables]
    assert len(model.trainable_variables) < len(start)

    def first_fit(*_, **__):
        for one in model.variables:
            one.assign(tf.ones_like(one))
        return Validated([0.5], None)

    def second_fit(*_, **__):
        for one, was in zip(model.variables, start, strict=True):
            np.testing.assert_array_equal(one, was, one.name)

    monkeypatch.setattr(training, "train_and_validate", first_fit)
    monkeypatch.setattr(training, "_fit", second_fit)
    assert train(model, events, split, settings, verbose=0).epochs == 1


def test_training_repeats_from_its_seed(drifting):
    events, split = drifting
    settings = Settings(dim=4, epochs=1, target_actions=["purchase"])
    vectors = []
    for _ in range(2):
        model = make_model(events, settings, td.decay.Constant())
        trained = train(model, events, split, settings, verbose=0)
        vectors.append(trained.model.item_tower.catalogue_vectors())
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-4)


def test_validation_recall_is_that_of_the_evaluation(drifting):
    events, split = drifting
    model = make_model(events, SETTINGS, td.decay.Constant())
    queries = basket_queries(events, after=split.validation, until=split.test)
    queries = queries.where(np.arange(len(queries)) < 50)
    callback = ValidationRecall(queries, events, SETTINGS)
    callback.set_model(model)
    logs = {"loss": 1.0}
    callback.on_epoch_end(0, logs)
    figures = evaluate({"m": TwoTowerScores(model, events)}, queries, events)
    assert logs == {"loss": 1.0, "val_recall_at_20": figures["m"].recall().mean()}
    # A pass later, though nothing is traced anew; and in a fit of another model.
    (ids,) = model.item_tower.trainable_variables
    ids.assign(tf.random.stateless_normal(ids.shape, [1, 2]))
    callback.on_epoch_end(1, logs)
    trained = evaluate({"m": TwoTowerScores(model, events)}, queries, events)
    assert logs["val_recall_at_20"] == trained["m"].recall().mean()
    assert logs["val_recall_at_20"] != figures["m"].recall().mean()
    callback.set_model(make_model(events, SETTINGS, td.decay.Constant()))
    callback.on_epoch_end(0, logs)
    assert logs["val_recall_at_20"] == figures["m"].recall().mean()


@pytest.mark.parametrize("watched", [False, True])
def test_bars_are_for_a_terminal(drifting, monkeypatch, watched):
    told = []
    monkeypatch.setattr(td.training, "on_terminal", lambda: watched)

    def fit(*_, verbose, **__):
        told.append(verbose)
        raise RuntimeError("that is all")

    monkeypatch.setattr(td.training, "_fit", fit)
    events, split = drifting
    for arguments in ({}, {"verbose": 0}):
        model = make_model(events, SETTINGS, td.decay.Constant())
        with pytest.raises(RuntimeError, match="that is all"):
            train(model, events, split, SETTINGS, **arguments)
    assert told == [1 if watched else 2, 0]


def test_a_period_without_baskets_is_named(drifting):
    events, _ = drifting
    last = int(events.time.max())
    split = td.data.TimeSplit(validation=last - 1, test=last - 1)
    model = make_model(events, SETTINGS, td.decay.Constant())
    days = r"the log goes from 2024-\d\d-\d\d to 2024-\d\d-\d\d\."
    with pytest.raises(
        ValueError, match=f"the validation period holds no basket .*; {days}"
    ):
        train(model, events, split, SETTINGS, verbose=0)


def test_an_action_of_the_log_without_a_weight_is_named(drifting):
    events, split = drifting
    settings = Settings(dim=4, epochs=1, action_weights={"buy": 1.0, "browse": 0.5})
    model = make_model(events, settings, td.decay.Constant())
    with pytest.raises(
        ValueError, match=r"names \['browse', 'buy'\], .* has \['purchase'\]: name ev"
    ):
        train(model, events, split, settings, verbose=0)


def test_a_loss_that_is_no_number_is_named(drifting):
    events, split = drifting
    model = make_model(events, SETTINGS, td.decay.Constant())
    table = model.item_tower.trainable_weights[0]
    table.assign(tf_keras.backend.ones_like(table) * np.nan)
    with pytest.raises(RuntimeError, match="the loss became nan in pass 1: lower"):
        train(model, events, split, SETTINGS, verbose=0)


def read_by_hand(events, queries, max_history):
    read = set()
    for row in range(len(queries)):
        stop = queries.history_stop[row]
        start = max(queries.history_start[row], stop - max_history)
        read |= {*events.item[start:stop].tolist()}
        first, last = queries.target_offset[row : row + 2]
        read |= {*events.item[queries.target[first:last]].tolist()}
    return [item in read for item in range(len(events.items))]


def test_what_is_not_trained_on_is_not_seen(drifting):
    events, _ = drifting
    # Few users and short histories, so that there are items of each kind.
    events = events.where(events.user < 12)
    split = td.data.split_by_time(events, test="20d", validation="20d")
    settings = Settings(
        dim=4, epochs=1, max_history=2, target_actions=["purchase"], learning_rate=0.1
    )
    model = make_model(events, settings, td.decay.Constant())
    assert model.item_tower.seen.all()
    queries = queries_by_period(events, split, settings)
    start = model.item_tower.trainable_weights[0].numpy()
    train_and_validate(model, events, queries, settings, verbose=0)
    seen = model.item_tower.seen
    assert seen.tolist() == read_by_hand(events, queries.training, 2)
    assert 0 < seen.sum() < len(seen)
    # What is not seen has never moved, and now says nothing.
    learned = model.item_tower.trainable_weights[0].numpy()
    np.testing.assert_array_equal(learned[~seen], start[~seen])
    assert not model.item_tower.catalogue_vectors()[~seen].any()
    train(model, events, split, settings, verbose=0)
    assert model.item_tower.seen.tolist() == read_by_hand(events, queries.both, 2)


@pytest.mark.integration  # slow
def test_vectors_made_elsewhere_and_id_dropout_are_settings(drifting, tmp_path):
    events, split = drifting
    rng = np.random.default_rng(0)
    path = tmp_path / "vectors.npz"
    ids = events.items.ids.tolist()
    np.savez(path, ids=ids, vectors=rng.normal(size=[len(ids), 5]))
    settings = Settings(
        dim=4,
        epochs=1,
        target_actions=["purchase"],
        vectors=str(path),
        fusion="gated",
        id_dropout=0.5,
    )
    model = make_model(events, settings, td.decay.Constant())
    tower = model.item_tower
    assert (tower.fusion, tower.id_dropout) == ("gated", 0.5)
    assert tower.vectors["vectors"].width == 5
    trained = train(model, events, split, settings, verbose=0)
    assert np.isfinite(trained.recall).all()


def test_without_ids_an_item_is_what_else_is_known_of_it(drifting, tmp_path):
    events, split = drifting
    ids = events.items.ids.tolist()
    path = tmp_path / "vectors.npz"
    # The first two items are alike in all but their ids.
    vectors = np.random.default_rng(0).normal(size=[len(ids), 5])
    vectors[1] = vectors[0]
    np.savez(path, ids=ids, vectors=vectors)
    told = {"dim": 4, "target_actions": ["purchase"], "vectors": str(path)}
    model = make_model(events, Settings(**told), td.decay.Constant())
    one, other, *_ = model.item_tower.catalogue_vectors()
    assert not np.allclose(one, other)
    settings = Settings(**told, id_embedding=False)
    model = make_model(events, settings, td.decay.Constant())
    before = model.item_tower.catalogue_vectors()
    fitted = training.fit_through(
        model, events, [split.validation], settings, first_passes=1
    )
    assert [*fitted] == [split.validation]
    one, other, *_ = vectors = model.item_tower.catalogue_vectors()
    np.testing.assert_array_equal(one, other)
    assert not np.allclose(vectors, before)


def test_a_small_catalogue_is_a_softmax_over_all_of_it(drifting, monkeypatch):
    events, _ = drifting
    n = len(events.items)
    assert Settings(loss="auto").loss_of(5_000) == "full"
    assert Settings(loss="auto").loss_of(5_001) == "sampled"
    assert Settings(loss="auto", encoder="e", fine_tune="all").loss_of(n) == "sampled"
    assert Settings().loss_of(n) == Settings(loss="sampled").loss_of(n) == "sampled"
    assert Settings(loss="full").loss_of(10**6) == "full"
    auto = dataclasses.replace(SETTINGS, loss="auto")
    model = make_model(events, auto, td.decay.Constant())
    assert model.retrieval_loss == "full"
    monkeypatch.setattr(training, "FULL_SOFTMAX_ITEMS", n - 1)
    model = make_model(events, auto, td.decay.Constant())
    assert model.retrieval_loss == "sampled"


def batch_of(model, queries, events, settings, **options):
    few = queries.where(np.arange(len(queries)) < 40)
    settings = dataclasses.replace(settings, batch_size=40)
    (batch,) = _batches(model, few, events, settings, **options)
    return few, batch


def test_a_large_basket_is_whole_and_weighs_as_much_as_is_drawn(drifting):
    events, _ = drifting
    settings = Settings(dim=4, max_targets=2, loss="full")
    model = make_model(events, settings, td.decay.Constant())
    day = events.time // 86_400 * 86_400
    daily = dataclasses.replace(events, time=day)
    queries, batch = batch_of(model, basket_queries(daily), daily, settings)
    count = queries.target_count
    assert sorted(batch["target_length"].numpy()) == sorted(count)
    weight = batch["target_weight"].numpy().sum(axis=1)
    share = np.minimum(batch["target_length"], 2)
    assert set(share) == {1, 2} and count.max() > 4
    np.testing.assert_allclose(weight / count.sum(), share / share.sum(), rtol=1e-5)
    # Where no basket is larger, all is as it was; and where targets are drawn.
    small = dataclasses.replace(settings, max_targets=int(count.max()))
    _, batch = batch_of(model, queries, daily, small)
    assert "target_weight" not in batch
    sampled = make_model(
        events, dataclasses.replace(settings, loss="sampled"), td.decay.Constant()
    )
    _, batch = batch_of(sampled, queries, daily, settings)
    assert batch["target_length"].numpy().max() == 2
    assert "target_weight" not in batch


def test_each_fit_weighs_its_own_targets(drifting, monkeypatch):
    events, _ = drifting
    events = events.where(events.user < 40)
    split = td.data.split_by_time(events, test="20d", validation="20d")
    settings = Settings(
        dim=4,
        epochs=1,
        target_weights={"browse": 0.5, "purchase": 2.0},
        example_decay=td.decay.Exponential("10d"),
        weight_decay=0.01,
    )
    asked, weights = [], training.target_weights

    def watched(queries, events, **options):
        assert options["by_action"] == settings.target_weights
        assert options["by_event"] is of_event
        asked.append((len(queries), options["decay"], options["until"]))
        return weights(queries, events, **options)

    monkeypatch.setattr(training, "target_weights", watched)
    model = make_model(events, settings, td.decay.Constant())
    of_event = np.where(events.item % 2, 3.0, 1.0)
    trained = train(model, events, split, settings, event_weights=of_event, verbose=0)
    assert isinstance(trained.model.optimizer, td.optimizers.IdDecayAdam)
    periods = queries_by_period(events, split, settings)
    assert asked == [
        (len(periods.validation), None, None),
        (len(periods.training), settings.example_decay, split.validation),
        (len(periods.both), settings.example_decay, split.test),
    ]
    asked.clear()
    fitted = fit_through(model, events, [split.test], settings, event_weights=of_event)
    assert list(fitted) == [split.test] and len(asked) == 1
    monkeypatch.undo()
    # Of one basket the actions and the events, of two baskets the ages differ.
    queries, batch = batch_of(
        model,
        periods.training,
        events,
        settings,
        until=split.validation,
        event_weights=of_event,
    )
    weight = batch["target_weight"].numpy()
    code = events.action[queries.target]
    of_action = np.array([settings.target_weights[one] for one in events.actions])[code]
    age = (split.validation - queries.time)[queries.query_of_target] / 86_400
    expected = of_action * of_event[queries.target] * 0.5 ** (age / 10)
    np.testing.assert_allclose(
        np.sort(weight[weight > 0]), np.sort(expected / expected.mean()), rtol=1e-4
    )
    # The validation period comes after the cut: its loss is by action alone.
    _, batch = batch_of(model, periods.validation, events, settings)
    weight = batch["target_weight"].numpy()
    assert len(np.unique(weight[weight > 0])) == 2


@pytest.mark.integration  # slow
def test_weights_of_targets_change_what_is_learned(drifting):
    events, split = drifting
    vectors = []
    for options in (
        {},
        {"target_weights": {"purchase": 7.0}},
        {"example_decay": td.decay.Exponential("5d")},
        {"weight_decay": 5.0},
        {"loss": "full"},
    ):
        settings = Settings(
            dim=4, epochs=1, target_actions=["purchase"], batch_size=100, **options
        )
        model = make_model(events, settings, td.decay.Constant())
        periods = queries_by_period(events, split, settings)
        train_and_validate(model, events, periods, settings, verbose=0)
        vectors.append(model.item_tower.trainable_weights[0].numpy())
    # All targets weigh the same: that is no weight.
    np.testing.assert_allclose(vectors[1], vectors[0], atol=1e-4)
    for other in vectors[2:]:
        assert np.abs(other - vectors[0]).max() > 1e-3
    assert np.linalg.norm(vectors[3]) < 0.95 * np.linalg.norm(vectors[0])


def test_settings_are_written_and_read():
    settings = Settings(
        loss="full",
        target_weights={"purchase": 1.0, "cart": 0.3},
        example_decay=td.decay.Exponential("120d"),
        weight_decay=0.01,
    )
    written = json.loads(json.dumps(settings.to_dict()))
    assert Settings(**written) == settings
    assert Settings(**json.loads(json.dumps(Settings().to_dict()))) == Settings()


def test_a_weight_for_each_action_of_the_log_is_asked_for(drifting):
    events, split = drifting
    settings = Settings(target_weights={"purchase": 1.0})
    with pytest.raises(
        ValueError,
        match=r"names \['purchase'\], .* predict are \['browse', 'purchase'\]: give",
    ):
        queries_by_period(events, split, settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "half"}, r"loss='half' is not one of \('auto', 'sampled', 'full'\)"),
        (
            {"loss": "full", "encoder": "e", "fine_tune": "all"},
            r"encode every text at each step, with fine_tune='all'",
        ),
        ({"target_weights": {"buy": -1}}, r"target_weights\['buy'\]=-1 must be finite"),
        (
            {"target_weights": {"buy": 1, "cart": 1}, "target_actions": ["buy"]},
            r"target_weights names \['buy', 'cart'\], and .* are \['buy'\]",
        ),
        (
            {"example_decay": td.decay.Exponential(3, by="rank")},
            r"example_decay=Exponential\(.* must be over the age alone",
        ),
        ({"example_decay": {"class": "str"}}, r"{'class': 'str'} is no decay"),
        ({"weight_decay": -1}, r"weight_decay=-1 must be finite and 0 or more"),
        (
            {"weight_decay": 0.1, "encoder": "e", "fine_tune": "all"},
            r"weight_decay=0.1 is for .* or fine_tune='all' out",
        ),
        ({"fusion": "mean"}, "fusion='mean' is not one of"),
        ({"id_dropout": -0.1}, "id_dropout=-0.1 must lie in 0 to below 1"),
        ({"id_dropout": 0.1}, "id_dropout=0.1 .* needs an encoder or vectors"),
        ({"id_embedding": False}, "id_embedding=False leaves nothing of an item"),
        (
            {"id_embedding": False, "vectors": "v", "weight_decay": 0.1},
            "weight_decay=0.1 is for ids: leave it or id_embedding=False out",
        ),
        (
            {"id_embedding": False, "encoder": "e", "id_dropout": 0.1},
            "id_dropout=0.1 is for ids",
        ),
        ({"preprocessor": "p"}, "preprocessor='p' prepares texts for an encoder"),
        ({"encoder": "e", "warm_up": 0.5}, "warm_up=0.5 is for an encoder that is fin"),
    ],
)
def test_settings_that_cannot_be_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(**options)


def test_tensorboard_is_shown_both_fits(drifting, tmp_path):
    events, split = drifting
    settings = Settings(dim=4, epochs=2, target_actions=["purchase"])
    model = make_model(events, settings, td.decay.Exponential("14d", trainable=True))
    trained = train(model, events, split, settings, tensorboard=tmp_path, verbose=0)
    for fit, passes in (("first", len(trained.recall)), ("again", trained.epochs)):
        read = numbers_of(tmp_path / fit / "learned")
        assert sorted(read["pooling/half_life_days"]) == list(range(passes + 1))
    losses = numbers_of(tmp_path / "first" / "validation")
    assert losses["epoch_recall_at_20"][0] == pytest.approx(trained.recall[0])


def test_tensorboard_that_is_not_there_is_told_before_training(drifting, monkeypatch):
    events, split = drifting
    settings = Settings(dim=4, epochs=1, target_actions=["purchase"])
    model = make_model(events, settings, td.decay.Constant())
    before = model.get_weights()
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"pip install 'tfrs-decay\[tensorboard\]'"):
        train(model, events, split, settings, tensorboard="anywhere", verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_fit_that_was_cut_off_ends_as_it_would_have(drifting, tmp_path):
    events, _ = drifting
    queries = basket_queries(events)

    def fit(folder, cut_off_after=None):
        model = make_model(events, Settings(dim=4, loss="full"), Exponential("7d"))
        model.compile(tf_keras.optimizers.Adam(0.01))
        data = batches(
            queries,
            events,
            batch_size=512,
            shuffle_seed=1,
            passes_made=passes_backed_up(folder),
        )

        def stop(epoch, logs):
            if epoch + 1 == cut_off_after:
                raise KeyboardInterrupt

        callbacks = [
            tf_keras.callbacks.BackupAndRestore(str(folder)),
            tf_keras.callbacks.LambdaCallback(on_epoch_end=stop),
        ]
        model.fit(data, epochs=3, verbose=0, callbacks=callbacks)
        return model.get_weights()

    through = fit(tmp_path / "through")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", cut_off_after=2)
    assert passes_backed_up(tmp_path / "cut") == 2
    for again, expected in zip(fit(tmp_path / "cut"), through, strict=True):
        np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-6)
    # A fit that has ended leaves nothing to go on from.
    assert passes_backed_up(tmp_path / "cut") == 0


def test_what_is_no_backup_is_named(tmp_path):
    tf.train.Checkpoint(one=tf.Variable(1.0)).save(tmp_path / "chief" / "other")
    with pytest.raises(ValueError, match=r"other-1 is no backup of tf_keras' Backup"):
        passes_backed_up(tmp_path)


@pytest.mark.parametrize("loss", ["sampled", "full"])
def test_both_fits_go_by_what_was_skipped_and_validation_does_not(
    drifting, monkeypatch, loss
):
    events, split = drifting
    skipped = td.data.Skipped(
        offset=np.arange(len(events) + 1),
        item=np.zeros(len(events), np.int64),
        items=events.items.ids[:1],
        from_list=np.ones(len(events), bool),
    )
    batches, told = td.training.batches, []

    def watch(queries, events, *, skipped=None, **options):
        told.append((queries.time.max(), skipped))
        return batches(queries, events, skipped=skipped, **options)

    monkeypatch.setattr(td.training, "batches", watch)
    settings = dataclasses.replace(SETTINGS, epochs=1, dim=4, loss=loss)
    model = make_model(events, settings, td.decay.Constant())
    trained = train(model, events, split, settings, skipped=skipped, verbose=0)
    assert np.isfinite(trained.model.get_weights()[0]).all()
    given = [(time <= split.validation, one is skipped) for time, one in told]
    assert sorted(given) == [(False, False), (False, True), (True, True)]
    # What is skipped is trained on, so that its id counts.
    assert trained.model.item_tower.seen[0]
