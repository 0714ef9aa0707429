"""SavedModels of a few bytes for what is about serving, and not about models."""

from __future__ import annotations

import tfrs_decay  # noqa: F401  # Settles legacy Keras before TensorFlow.
from tfrs_decay.serving.signatures import CHOICES, HISTORY

import tensorflow as tf  # isort: skip


class Tiny(tf.Module):
    """Signatures of the shapes that a recommender's have; `added` tells versions."""

    def __init__(self, added):
        super().__init__()
        self.added = tf.constant(float(added))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="x"),
            tf.TensorSpec([None], tf.int64, name="time"),
            tf.TensorSpec([None], tf.string, name="item"),
        ]
    )
    def mixed(self, x, time, item):
        return {
            "total": tf.reduce_sum(x, axis=1) + self.added,
            "next": time + 1,
            "item": tf.strings.join([item, "!"]),
            "raw_bytes": item,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def plus(self, x):
        return {"y": x + self.added}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="raw_bytes")])
    def raw(self, raw_bytes):
        return {"length": tf.strings.length(raw_bytes), "text": raw_bytes}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="count")])
    def positive(self, count):
        check = tf.debugging.assert_positive(count, message="count is below 1.")
        with tf.control_dependencies([check]):
            return {"count": tf.identity(count)}

    @tf.function(input_signature=[*HISTORY.values(), *CHOICES.values()])
    def recommend(
        self,
        history_item,
        history_time,
        history_action,
        history_length,
        query_time,
        exclude_item,
        exclude_length,
        k,
    ):
        """The first item, the first that is excluded, and a place no item takes."""
        first, excluded = history_item[:, :1], exclude_item[:, :1]
        score = tf.stack([tf.cast(k, tf.float32), tf.cast(query_time, tf.float32)], 1)
        return {
            "item_id": tf.concat([first, excluded, tf.fill(tf.shape(first), "")], 1),
            "score": tf.concat([score, score[:, :1] - 1.0], 1),
        }


def write_tiny(base, version, *, added=0.0):
    """Writes a version; beside its place, as a watched folder wants it."""
    model = Tiny(added)
    target = base / str(version)
    partial = base / f".{version}"
    tf.saved_model.save(
        model,
        str(partial),
        signatures={
            "serving_default": model.mixed,
            "plus": model.plus,
            "raw": model.raw,
            "positive": model.positive,
            "recommend": model.recommend,
        },
    )
    partial.rename(target)
    return target
