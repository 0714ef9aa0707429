"""The activations that a checkpoint may name, and what they are."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def _gelu_tanh(values: tf.Tensor) -> tf.Tensor:
    return tf.nn.gelu(values, approximate=True)


# By the checkpoints' names for them (`hidden_act`).
ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "gelu": tf.nn.gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": tf.nn.relu,
}
