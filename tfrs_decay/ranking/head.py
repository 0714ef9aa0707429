"""Training of a head, by a listwise loss under Keras' `fit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.layers.ranking_head import RankingHead, listwise_loss
from tfrs_decay.ranking.examples import Examples

_TRUTH = ("wanted", "there")


class _Ranker(tf_keras.Model):
    """The head under Keras' `fit`: a batch is padded candidates and what was wanted."""

    def __init__(self, head: RankingHead) -> None:
        super().__init__()
        self.head = head
        self._mean_loss = tf_keras.metrics.Mean(name="loss")

    @property
    def metrics(self) -> list[tf_keras.metrics.Metric]:
        return [self._mean_loss]

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> Any:
        return self.head.of_members(batch["features"], training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
    ) -> tf.Tensor:
        wanted, there = (tf.tile(x[one], [self.head.members, 1]) for one in _TRUTH)
        scores = tf.reshape(y_pred, tf.shape(wanted))
        losses = listwise_loss(scores, wanted, there)
        self._mean_loss.update_state(losses)
        return tf.reduce_mean(losses)


def fit_head(
    head: RankingHead,
    examples: Examples,
    *,
    columns: Sequence[int] | None = None,
    epochs: int = 14,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-4,
    seed: int = 0,
    verbose: int = 0,
) -> list[float]:
    """Trains a head by the listwise loss.

    Queries without a wanted candidate teach nothing, and are left out. The learning
    rate rises for a tenth of the steps, and falls to nothing along a cosine.

    Args:
        head: Its means and deviations are taken from the examples.
        examples: From `make_examples`.
        columns: Features that it looks at; all when left out.
        epochs: Passes.
        batch_size: Queries a batch.
        learning_rate: The highest, AdamW's.
        weight_decay: AdamW's.
        seed: Of the weights, the order and the dropout.
        verbose: Keras' own.

    Returns:
        The mean loss of each pass.

    Raises:
        ValueError: No candidate was wanted.
    """
    teaches = np.add.reduceat(np.append(examples.wanted, False), examples.splits[:-1])
    teaches = np.where(np.diff(examples.splits) > 0, teaches, 0) > 0
    rows = np.flatnonzero(teaches)
    if not len(rows):
        raise ValueError("no query has a wanted candidate: there is nothing to learn.")
    tf_keras.utils.set_random_seed(seed)
    head.adapt(examples.features, columns)
    table = {
        "features": tf.constant(examples.features),
        "wanted": tf.constant(examples.wanted),
    }
    splits = tf.constant(examples.splits, tf.int64)

    def batch(row: tf.Tensor) -> dict[str, tf.Tensor]:
        first = tf.gather(splits, row)
        length = tf.gather(splits, row + 1) - first
        steps = tf.range(tf.reduce_max(length))
        there = steps[None] < length[:, None]
        place = tf.where(there, first[:, None] + steps[None], 0)
        return {
            **{name: tf.gather(one, place) for name, one in table.items()},
            "there": there,
        }

    data = tf.data.Dataset.from_tensor_slices(rows)
    data = data.shuffle(len(rows), seed).batch(batch_size)
    data = data.map(batch, tf.data.AUTOTUNE).prefetch(2)
    ranker = _Ranker(head)
    steps = epochs * -(-len(rows) // batch_size)
    rate = tf_keras.optimizers.schedules.CosineDecay(
        0.0,
        steps - steps // 10,
        warmup_target=learning_rate,
        warmup_steps=steps // 10,
    )
    ranker.compile(tf_keras.optimizers.AdamW(rate, weight_decay=weight_decay))
    history = ranker.fit(data, epochs=epochs, verbose=verbose)
    return [float(one) for one in history.history["loss"]]


def head_scores(
    head: RankingHead, examples: Examples, block: int = 100_000
) -> np.ndarray:
    """What a head says of each candidate: [n] float32."""
    answer = tf.function(head, reduce_retracing=True)
    parts = [
        answer(tf.constant(examples.features[None, one : one + block])).numpy()[0]
        for one in range(0, len(examples.features), block)
    ]
    return np.concatenate(parts)
