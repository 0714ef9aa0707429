"""Keras callbacks beside a model of ours: what was learned, checkpoints, restarts."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from event_files import numbers_of

from tfrs_decay.callbacks import DecayTensorBoard, half_life, learned_values
from tfrs_decay.data import Items
from tfrs_decay.decay import (
    Constant,
    Exponential,
    LogBucketed,
    Mixture,
    PowerLaw,
    Product,
    Sum,
    Window,
)
from tfrs_decay.layers import ItemTower, Repeats, TimeDecayPooling
from tfrs_decay.models import DecayRetrieval

DAY = 86_400
NOW = 1_700_000_000
IDS = [f"item {number}" for number in range(12)]
EPOCHS = 4


def make(pooling=None, **options):
    tf_keras.utils.set_random_seed(7)
    model = DecayRetrieval(
        ItemTower(Items(IDS), dim=4),
        pooling or TimeDecayPooling(Exponential("7d", trainable=True)),
        query_tower=tf_keras.layers.Dense(4),
        **options,
    )
    model.compile(tf_keras.optimizers.Adam(0.05))
    return model


def histories():
    """Thirty-two users who go round the catalogue; three batches, in fixed order."""
    random = np.random.default_rng(3)
    first = random.integers(0, len(IDS), 32)
    places = (first[:, None] + np.arange(4)) % len(IDS)
    ids = np.array(IDS)
    age = np.sort(random.integers(0, 60 * DAY, [32, 3]))[:, ::-1]
    return tf.data.Dataset.from_tensor_slices(
        {
            "history_item": ids[places[:, :3]],
            "history_time": NOW - age,
            "history_length": np.full(32, 3),
            "query_time": np.full(32, NOW),
            "target_item": ids[places[:, 3]],
        }
    ).batch(12)


def test_each_epoch_is_written(tmp_path):
    model = make(TimeDecayPooling(Exponential("7d", trainable=True, per_feature=True)))
    seen = []
    model.fit(
        histories(),
        epochs=2,
        verbose=0,
        callbacks=[
            DecayTensorBoard(tmp_path),
            tf_keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: seen.append(
                    np.exp(model.pooling.learned()["log_half_life"]) / DAY
                )
            ),
        ],
    )
    found = numbers_of(tmp_path / "learned")
    tag = "pooling/half_life_days"
    # One half-life a feature: a histogram, and their median.
    assert sorted(found[tag]) == sorted(found[f"{tag}/median"]) == [0, 1, 2]
    assert found[f"{tag}/median"][0] == pytest.approx(7.0, rel=1e-5)
    for step, learned in enumerate(seen, start=1):
        assert found[f"{tag}/median"][step] == pytest.approx(np.median(learned), 1e-5)
        low, high, count = found[tag][step].T
        assert count.sum() == 4
        assert low[0] == pytest.approx(learned.min(), rel=1e-5)
        assert high[-1] == pytest.approx(learned.max(), rel=1e-5)
    assert found[f"{tag}/median"][2] != found[f"{tag}/median"][0]
    assert found["temperature"][2] == pytest.approx(0.05)


def test_it_goes_beside_what_keras_writes(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = make(TimeDecayPooling(Exponential("7d", trainable=True, per_feature=True)))
    boards = [tf_keras.callbacks.TensorBoard(tmp_path), DecayTensorBoard(tmp_path)]
    model.fit(histories(), epochs=2, verbose=0, callbacks=boards)
    assert "epoch_loss" in numbers_of(tmp_path / "train")
    # As TensorBoard itself reads it.
    read = EventAccumulator(str(tmp_path / "learned")).Reload()
    plugins = {
        tag: read.SummaryMetadata(tag).plugin_data.plugin_name
        for tag in read.Tags()["tensors"]
    }
    tag = "pooling/half_life_days"
    assert plugins[tag] == "histograms"
    assert plugins[f"{tag}/median"] == "scalars"
    assert [one.step for one in read.Tensors(tag)] == [0, 1, 2]


def test_a_model_without_time_is_refused(tmp_path):
    model = tf_keras.Sequential([tf_keras.layers.Dense(1)])
    model.compile(loss="mse")
    with pytest.raises(ValueError, match=r"no TimeDecayPooling and no Repeats"):
        model.fit(np.zeros([2, 1]), np.zeros(2), callbacks=[DecayTensorBoard(tmp_path)])


def of_layer(decay, **options):
    layer = TimeDecayPooling(decay, **options)
    layer.build([None, None, 2])
    return {
        name.removeprefix("pooling/"): pytest.approx(value, rel=1e-3)
        for name, value in learned_values(tf_keras.Sequential([layer])).items()
    }


def test_names_and_units_of_what_is_learned():
    assert of_layer(Exponential("36h", trainable=True)) == {"half_life_days": 1.5}
    assert of_layer(Exponential(20, trainable=True, by="rank")) == {
        "half_life_events": 20
    }
    assert of_layer(Exponential({"buy": "2d", "*": "1d"}, trainable=True)) == {
        "half_life_days/buy": 2,
        "half_life_days/*": 1,
    }
    # (1 + age / scale)^-exponent is a half at scale (2^(1 / exponent) - 1).
    assert of_layer(PowerLaw("2h", 0.5, trainable=True)) == {
        "half_life_days": 0.25,
        "scale_days": 2 / 24,
        "exponent": 0.5,
    }
    # 0.75 2^-age + 0.25 2^(-age / 1000): a half at 1.57 days, nearly that of 2^-x = 1/3
    found = of_layer(Mixture(["1d", "1000d"], [0.75, 0.25], trainable=True))
    assert {name: found[name] for name in ("share/1d", "share/2.74y")} == {
        "share/1d": 0.75,
        "share/2.74y": 0.25,
    }
    assert 1.58 < found["half_life_days"].expected < 1.6
    assert set(of_layer(LogBucketed([1, 0.75, 0.25], trainable=True))) == {
        "half_life_days",
        "bucket_weights",
    }
    parts = [Exponential("1d", trainable=True), Exponential("4d")]
    assert of_layer(Sum([*parts], [0.2, 0.8], trainable=True))["share/1"] == 0.8
    assert of_layer(Product(parts)) == {
        "half_life_days": 0.8,
        "part_0/half_life_days": 1,
    }
    # In two clocks the whole has no half-life, and its part has.
    two = Product([Exponential("1d", trainable=True), Window(3, by="rank")])
    assert of_layer(two) == {"part_0/half_life_days": 1}
    # What is given is not learned.
    assert of_layer(Exponential("1d"), action_weights={"buy": 1.0}) == {}


def test_heads_actions_prior_and_repeats_are_told():
    heads = [Exponential("1d", trainable=True), Constant()]
    found = of_layer(
        heads,
        action_weights={"browse": 0.2, "buy": 1.0},
        learn_action_weights=True,
        prior_mass=1.0,
        prior="learned",
    )
    np.testing.assert_allclose(found.pop("head_0/head_share").expected, 0.5)
    np.testing.assert_allclose(found.pop("head_1/head_share").expected, 0.5)
    assert found == {
        "head_0/half_life_days": 1,
        "action_weight/browse": 0.2,
        "action_weight/buy": 1,
        "prior_length": 0,
    }
    decays = [Exponential("2d", trainable=True), Exponential("9d")]
    repeats = Repeats(len(IDS), decays, repeats="learned")
    told = learned_values(make(repeats=repeats))
    assert told["repeats/weight/had"] == 0
    assert told["repeats/decay_0/half_life_days"] == pytest.approx(2, rel=1e-3)
    assert "repeats/decay_1/half_life_days" not in told


def test_many_groups_stand_together():
    names = {f"kind {number}": f"{number}d" for number in range(1, 31)}
    found = of_layer(
        Exponential({**names, "*": "31d"}, group="category", trainable=True)
    )
    assert list(found) == ["half_life_days"]
    np.testing.assert_allclose(
        found["half_life_days"].expected, np.arange(1, 32), rtol=1e-3
    )


def test_the_half_life_of_steps_and_of_what_never_fades():
    assert half_life(Window("3d")) / DAY == pytest.approx(3, rel=6e-3)
    assert half_life(Constant()) / DAY == pytest.approx(3_652.5)
    np.testing.assert_allclose(
        half_life(Exponential(["1d", "5d"])) / DAY, [1, 5], rtol=1e-4
    )
    with pytest.raises(ValueError, match=r"runs over both age and rank"):
        half_life(Product([Exponential("1d"), Window(3, by="rank")]))


def test_the_best_epoch_is_kept_restored_and_loaded(tmp_path):
    model = make()
    whole, weights = tmp_path / "best.keras", tmp_path / "best.weights.h5"
    watched = {"monitor": "val_loss", "mode": "min", "save_best_only": True}
    values = []
    history = model.fit(
        histories(),
        # Worse from the first epoch on, but for what rounding does.
        validation_data=histories().map(
            lambda one: {**one, "target_item": one["history_item"][:, 0]}
        ),
        epochs=10,
        verbose=0,
        callbacks=[
            tf_keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: values.append(model.get_weights())
            ),
            tf_keras.callbacks.ModelCheckpoint(str(whole), **watched),
            tf_keras.callbacks.ModelCheckpoint(
                str(weights), save_weights_only=True, **watched
            ),
            tf_keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True),
        ],
    ).history["val_loss"]
    best = int(np.argmin(history))
    assert len(history) == best + 3 < 10  # stopped after two that were no better
    loaded, other = tf_keras.models.load_model(whole), make()
    other.load_weights(weights)
    for one in (model, loaded, other):
        for got, expected in zip(one.get_weights(), values[best], strict=True):
            np.testing.assert_array_equal(got, expected)
    assert not all(
        np.array_equal(one, last)
        for one, last in zip(values[best], values[-1], strict=True)
    )
    (batch,) = histories().take(1)
    np.testing.assert_allclose(loaded(batch), model(batch), rtol=1e-6)


class Stops(tf_keras.callbacks.Callback):
    """Breaks off in the midst of an epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 8:
            raise KeyboardInterrupt


def test_what_was_broken_off_goes_on_to_the_same_weights(tmp_path):
    def trained(callbacks):
        model = make()
        model.fit(histories(), epochs=EPOCHS, verbose=0, callbacks=callbacks)
        return model

    def board(run):
        return DecayTensorBoard(tmp_path / run)

    expected = trained([board("whole")])
    backup = tmp_path / "backup"
    with pytest.raises(KeyboardInterrupt):
        trained([tf_keras.callbacks.BackupAndRestore(backup), board("parts"), Stops()])
    # Another process would have another start: what was kept takes its place.
    resumed = trained([tf_keras.callbacks.BackupAndRestore(backup), board("parts")])
    assert int(resumed.optimizer.iterations) == 3 * EPOCHS
    for got, wanted in zip(resumed.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)
    whole, parts = numbers_of(tmp_path / "whole"), numbers_of(tmp_path / "parts")
    tag = "pooling/half_life_days"
    assert sorted(parts[tag]) == sorted(whole[tag]) == list(range(EPOCHS + 1))
    for step, value in whole[tag].items():
        assert parts[tag][step] == pytest.approx(value, rel=1e-6)
