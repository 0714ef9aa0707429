"""BERT's forward pass as a functional Keras model in TF-Hub's form.

Devlin et al. (2019), https://arxiv.org/abs/1810.04805, section 3; the layer itself is
that of Vaswani et al. (2017), https://arxiv.org/abs/1706.03762, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.encoders._checkpoint import Array, Tensors


def _gelu_tanh(values: tf.Tensor) -> tf.Tensor:
    return tf.nn.gelu(values, approximate=True)


# By the checkpoints' names for them (`hidden_act`).
_ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "gelu": tf.nn.gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": tf.nn.relu,
}


def _layer_norm(
    values: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float
) -> tf.Tensor:
    centred = values - tf.reduce_mean(values, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    return centred * tf.math.rsqrt(variance + epsilon) * scale + offset


def _linear(rows: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    return tf.nn.bias_add(tf.matmul(rows, kernel), bias)


class _Float32Layer(tf_keras.layers.Layer):
    """A layer in float32 whatever the global policy: so are the weights it is given."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def _weight(self, name: str, *shape: int) -> tf.Variable:
        return self.add_weight(name=name, shape=shape, initializer="zeros")


@tf_keras.utils.register_keras_serializable("tfrs_decay")
class _Embeddings(_Float32Layer):
    """Word, position and type vectors, added and normalised.

    Args:
        sizes: Number of words, of positions and of types.
        hidden_size: Length of a vector.
        epsilon: Added to the variance in layer normalisation.
        **kwargs: Passed on to the Keras layer.
    """

    def __init__(
        self, sizes: list[int], hidden_size: int, epsilon: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.sizes = list(sizes)
        self.hidden_size = hidden_size
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        words, positions, types = self.sizes
        self.words = self._weight("words", words, self.hidden_size)
        self.positions = self._weight("positions", positions, self.hidden_size)
        self.types = self._weight("types", types, self.hidden_size)
        self.scale = self._weight("scale", self.hidden_size)
        self.offset = self._weight("offset", self.hidden_size)
        super().build(input_shape)

    def call(self, word_ids: tf.Tensor, type_ids: tf.Tensor) -> tf.Tensor:
        """Two int32 `[batch, length]` to float32 `[batch, length, hidden]`."""
        length = tf.shape(word_ids)[1]
        limit = self.sizes[1]
        too_long = f"input_word_ids: expected a length up to {limit}, BERT's positions"
        with tf.control_dependencies(
            [tf.debugging.assert_less_equal(length, limit, message=too_long)]
        ):
            # Not a slice: its static shape would fail first, and say less.
            positions = tf.gather(self.positions, tf.range(length))
        values = tf.gather(self.words, word_ids) + positions
        values += tf.gather(self.types, type_ids)
        return _layer_norm(values, self.scale, self.offset, self.epsilon)

    def get_config(self) -> dict[str, Any]:
        own = {"sizes": self.sizes, "hidden_size": self.hidden_size}
        return {**super().get_config(), **own, "epsilon": self.epsilon}


@tf_keras.utils.register_keras_serializable("tfrs_decay")
class _Block(_Float32Layer):
    """Self-attention, then two dense layers, each added to its input and normalised.

    Args:
        heads: Number of attention heads; divides the hidden size.
        intermediate_size: Units of the first dense layer.
        activation: Its activation, as a checkpoint's `hidden_act` names it.
        epsilon: Added to the variance in layer normalisation.
        **kwargs: Passed on to the Keras layer.
    """

    def __init__(
        self,
        heads: int,
        intermediate_size: int,
        activation: str,
        epsilon: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.heads = heads
        self.intermediate_size = intermediate_size
        self.activation = activation
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        size, wide = input_shape[-1], self.intermediate_size
        self.qkv = self._weight("qkv", size, 3 * size)
        self.qkv_bias = self._weight("qkv_bias", 3 * size)
        self.attended = self._weight("attended", size, size)
        self.attended_bias = self._weight("attended_bias", size)
        self.attended_scale = self._weight("attended_scale", size)
        self.attended_offset = self._weight("attended_offset", size)
        self.widen = self._weight("widen", size, wide)
        self.widen_bias = self._weight("widen_bias", wide)
        self.narrow = self._weight("narrow", wide, size)
        self.narrow_bias = self._weight("narrow_bias", size)
        self.scale = self._weight("scale", size)
        self.offset = self._weight("offset", size)
        super().build(input_shape)

    def call(self, hidden: tf.Tensor, input_mask: tf.Tensor) -> tf.Tensor:
        """Float32 `[batch, length, hidden]`, int32 `[batch, length]` to the former."""
        size = hidden.shape[-1]
        # Rank 2 throughout: one matrix product for all tokens of all rows.
        rows = tf.reshape(hidden, [-1, size])
        context = self._attend(rows, input_mask)
        attended = _linear(context, self.attended, self.attended_bias)
        rows = _layer_norm(
            rows + attended, self.attended_scale, self.attended_offset, self.epsilon
        )
        wide = _linear(rows, self.widen, self.widen_bias)
        wide = _ACTIVATIONS[self.activation](wide)
        rows += _linear(wide, self.narrow, self.narrow_bias)
        rows = _layer_norm(rows, self.scale, self.offset, self.epsilon)
        return tf.reshape(rows, tf.shape(hidden))

    def _attend(self, rows: tf.Tensor, input_mask: tf.Tensor) -> tf.Tensor:
        size = rows.shape[-1]
        batch, length = tf.unstack(tf.shape(input_mask))
        head = size // self.heads
        qkv = _linear(rows, self.qkv, self.qkv_bias)
        qkv = tf.reshape(qkv, [batch, length, 3, self.heads, head])
        query, key, value = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]))
        scores = tf.matmul(query, key, transpose_b=True) * head**-0.5
        # Finite, so that a row without tokens is a plain mean and not NaN.
        scores += (1.0 - tf.cast(input_mask, tf.float32))[:, None, None, :] * -1e9
        context = tf.matmul(tf.nn.softmax(scores), value)
        return tf.reshape(tf.transpose(context, [0, 2, 1, 3]), [-1, size])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "heads": self.heads,
            "intermediate_size": self.intermediate_size,
            "activation": self.activation,
            "epsilon": self.epsilon,
        }


@tf_keras.utils.register_keras_serializable("tfrs_decay")
class _Pool(_Float32Layer):
    """Token vectors to one vector a text (Reimers and Gurevych 2019, section 3).

    Args:
        pooling: "mean" over the tokens, "cls" for the first, or "pooler" for BERT's own
            dense layer with tanh over the first.
        normalize: Whether to scale to length 1.
        **kwargs: Passed on to the Keras layer.
    """

    def __init__(self, pooling: str, normalize: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pooling = pooling
        self.normalize = normalize

    def build(self, input_shape: Any) -> None:
        if self.pooling == "pooler":
            size = input_shape[-1]
            self.kernel = self._weight("kernel", size, size)
            self.bias = self._weight("bias", size)
        super().build(input_shape)

    def call(self, hidden: tf.Tensor, input_mask: tf.Tensor) -> tf.Tensor:
        """`[batch, length, hidden]`, int32 `[batch, length]` to `[batch, hidden]`."""
        if self.pooling == "mean":
            mask = tf.cast(input_mask, tf.float32)[:, :, None]
            pooled = tf.math.divide_no_nan(
                tf.reduce_sum(hidden * mask, axis=1), tf.reduce_sum(mask, axis=1)
            )
        else:
            pooled = hidden[:, 0]
        if self.pooling == "pooler":
            pooled = tf.tanh(_linear(pooled, self.kernel, self.bias))
        return tf.math.l2_normalize(pooled, axis=-1) if self.normalize else pooled

    def get_config(self) -> dict[str, Any]:
        own = {"pooling": self.pooling, "normalize": self.normalize}
        return {**super().get_config(), **own}


def build_encoder(
    config: Mapping[str, Any], pooling: str, normalize: bool
) -> tf_keras.Model:
    """A functional model in TF-Hub's form, its weights still zero.

    Args:
        config: A checkpoint's `config.json`.
        pooling: "mean", "cls" or "pooler", as in `_Pool`.
        normalize: Whether `pooled_output` has length 1.

    Returns:
        A model from int32 `[batch, length]` by name to float32 outputs by name.
    """
    inputs = {
        name: tf_keras.Input([None], dtype=tf.int32, name=name)
        for name in ("input_word_ids", "input_mask", "input_type_ids")
    }
    mask = inputs["input_mask"]
    epsilon = config["layer_norm_eps"]
    sizes = ("vocab_size", "max_position_embeddings", "type_vocab_size")
    hidden = _Embeddings(
        [config[size] for size in sizes],
        config["hidden_size"],
        epsilon,
        name="embeddings",
    )(inputs["input_word_ids"], inputs["input_type_ids"])
    outputs = []
    for number in range(config["num_hidden_layers"]):
        hidden = _Block(
            config["num_attention_heads"],
            config["intermediate_size"],
            config["hidden_act"],
            epsilon,
            name=f"block_{number}",
        )(hidden, mask)
        outputs.append(hidden)
    pooled = _Pool(pooling, normalize, name="pool")(hidden, mask)
    return tf_keras.Model(
        inputs,
        {
            "pooled_output": pooled,
            "sequence_output": hidden,
            "encoder_outputs": outputs,
        },
        name="bert",
    )


def set_weights(encoder: tf_keras.Model, tensors: Tensors) -> None:
    """Gives an encoder of `build_encoder` a checkpoint's weights.

    Args:
        encoder: The model to fill.
        tensors: The checkpoint's, by name.

    Raises:
        ValueError: A tensor is missing, has another shape, or is not finite.
    """
    blocks = 0
    for layer in encoder.layers:
        if isinstance(layer, _Embeddings):
            layer.set_weights(_embedding_weights(layer, tensors))
        elif isinstance(layer, _Block):
            layer.set_weights(_block_weights(layer, f"encoder.layer.{blocks}", tensors))
            blocks += 1
        elif isinstance(layer, _Pool) and layer.pooling == "pooler":
            size = layer.bias.shape[0]
            layer.set_weights(tensors.linear("pooler.dense", size, size))


def _embedding_weights(layer: _Embeddings, tensors: Tensors) -> list[Array]:
    size = layer.hidden_size
    words, positions, types = layer.sizes
    return [
        tensors.take("embeddings.word_embeddings.weight", words, size),
        tensors.take("embeddings.position_embeddings.weight", positions, size),
        tensors.take("embeddings.token_type_embeddings.weight", types, size),
        *tensors.norm("embeddings.LayerNorm", size),
    ]


def _block_weights(layer: _Block, prefix: str, tensors: Tensors) -> list[Array]:
    size, wide = layer.widen.shape
    parts = [
        tensors.linear(f"{prefix}.attention.self.{part}", size, size)
        for part in ("query", "key", "value")
    ]
    return [
        np.concatenate([kernel for kernel, _ in parts], axis=1),
        np.concatenate([bias for _, bias in parts]),
        *tensors.linear(f"{prefix}.attention.output.dense", size, size),
        *tensors.norm(f"{prefix}.attention.output.LayerNorm", size),
        *tensors.linear(f"{prefix}.intermediate.dense", size, wide),
        *tensors.linear(f"{prefix}.output.dense", wide, size),
        *tensors.norm(f"{prefix}.output.LayerNorm", size),
    ]
