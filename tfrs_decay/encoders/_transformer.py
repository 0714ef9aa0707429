"""The encoder's forward pass as a functional Keras model in TF-Hub's form.

Devlin et al. (2019), https://arxiv.org/abs/1810.04805, section 3; the layer itself is
that of Vaswani et al. (2017), https://arxiv.org/abs/1706.03762, section 3. What the
other families change: RoBERTa (Liu et al. 2019, https://arxiv.org/abs/1907.11692) the
count of positions, DistilBERT (Sanh et al. 2019, https://arxiv.org/abs/1910.01108)
leaves types out, ALBERT (Lan et al. 2020, https://arxiv.org/abs/1909.11942) factorises
the embeddings and shares the layers, MPNet (Song et al. 2020,
https://arxiv.org/abs/2004.09297) adds a bias for distances to the attention.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from tfrs_decay.encoders._activations import ACTIVATIONS
from tfrs_decay.encoders._architecture import Architecture


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


# Registered by the names that encoders are saved under: not to be changed.
@tf_keras.utils.register_keras_serializable("tfrs_decay", "_Embeddings")
class Embeddings(_Float32Layer):
    """Word, position and type vectors, added and normalised.

    Args:
        sizes: Number of words, of positions and of types; no types where that is 0.
        hidden_size: Length of what comes out.
        epsilon: Added to the variance in layer normalisation.
        embedding_size: Length of a vector, brought to `hidden_size` by a dense layer;
            that of `hidden_size`, and no dense layer, where left out.
        padding_id: Count positions from the next number on, and only over tokens with
            another id; from 0 on and over all where left out.
        **kwargs: Passed on to the Keras layer.
    """

    def __init__(
        self,
        sizes: list[int],
        hidden_size: int,
        epsilon: float,
        embedding_size: int | None = None,
        padding_id: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sizes = list(sizes)
        self.hidden_size = hidden_size
        self.epsilon = epsilon
        self.embedding_size = embedding_size
        self.padding_id = padding_id

    def build(self, input_shape: Any) -> None:
        words, positions, types = self.sizes
        size = self.embedding_size or self.hidden_size
        self.words = self._weight("words", words, size)
        self.positions = self._weight("positions", positions, size)
        if types:
            self.types = self._weight("types", types, size)
        self.scale = self._weight("scale", size)
        self.offset = self._weight("offset", size)
        if self.embedding_size is not None:
            self.kernel = self._weight("kernel", size, self.hidden_size)
            self.bias = self._weight("bias", self.hidden_size)
        super().build(input_shape)

    def call(self, word_ids: tf.Tensor, type_ids: tf.Tensor) -> tf.Tensor:
        """Two int32 `[batch, length]` to float32 `[batch, length, hidden]`."""
        length = tf.shape(word_ids)[1]
        first = 0 if self.padding_id is None else self.padding_id + 1
        limit = self.sizes[1] - first
        too_long = (
            f"input_word_ids: expected a length up to {limit}, the encoder's positions"
        )
        with tf.control_dependencies(
            [tf.debugging.assert_less_equal(length, limit, message=too_long)]
        ):
            # Not a slice: its static shape would fail first, and say less.
            positions = tf.gather(self.positions, self._numbers(word_ids, length))
        values = tf.gather(self.words, word_ids) + positions
        if self.sizes[2]:
            values += tf.gather(self.types, type_ids)
        values = _layer_norm(values, self.scale, self.offset, self.epsilon)
        if self.embedding_size is None:
            return values
        rows = tf.reshape(values, [-1, self.embedding_size])
        shape = tf.concat([tf.shape(word_ids), [self.hidden_size]], 0)
        return tf.reshape(_linear(rows, self.kernel, self.bias), shape)

    def _numbers(self, word_ids: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """Each token's position."""
        if self.padding_id is None:
            return tf.range(length)
        counted = tf.cast(word_ids != self.padding_id, tf.int32)
        return tf.cumsum(counted, axis=1) * counted + self.padding_id

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sizes": self.sizes,
            "hidden_size": self.hidden_size,
            "epsilon": self.epsilon,
            "embedding_size": self.embedding_size,
            "padding_id": self.padding_id,
        }


def distance_buckets(buckets: int = 32, farthest: int = 128) -> list[int]:
    """The bucket of each distance from -farthest to farthest.

    Half of the buckets for each side; of those, half for the least distances, one each,
    and half on a logarithmic scale up to the farthest (Raffel et al. 2020,
    https://arxiv.org/abs/1910.10683, section 2.1).
    """
    side = buckets // 2
    exact = side // 2
    steps = side - exact

    def bucket(distance: int) -> int:
        if distance < exact:
            return distance
        # log(distance / exact) / log(farthest / exact) * steps, rounded down, in whole
        # numbers: a float may fall on the wrong side of one.
        step = 0
        while step < steps - 1 and (
            distance**steps * exact ** (step + 1)
            >= exact**steps * farthest ** (step + 1)
        ):
            step += 1
        return exact + step

    return [
        bucket(abs(distance)) + (side if distance > 0 else 0)
        for distance in range(-farthest, farthest + 1)
    ]


@tf_keras.utils.register_keras_serializable("tfrs_decay", "_DistanceBias")
class DistanceBias(_Float32Layer):
    """A bias for each head and each distance between two tokens (MPNet)."""

    def __init__(self, buckets: int, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.buckets = buckets
        self.heads = heads

    def build(self, input_shape: Any) -> None:
        self.biases = self._weight("biases", self.buckets, self.heads)
        super().build(input_shape)

    def call(self, input_mask: tf.Tensor) -> tf.Tensor:
        """Int32 `[batch, length]` to float32 `[heads, length, length]`."""
        table = distance_buckets(self.buckets)
        farthest = len(table) // 2
        place = tf.range(tf.shape(input_mask)[1])
        distance = tf.clip_by_value(place - place[:, None], -farthest, farthest)
        bucket = tf.gather(table, distance + farthest)
        return tf.transpose(tf.gather(self.biases, bucket), [2, 0, 1])

    def get_config(self) -> dict[str, Any]:
        own = {"buckets": self.buckets, "heads": self.heads}
        return {**super().get_config(), **own}


@tf_keras.utils.register_keras_serializable("tfrs_decay", "_Block")
class Block(_Float32Layer):
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

    def call(
        self,
        hidden: tf.Tensor,
        input_mask: tf.Tensor,
        bias: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The next hidden vectors.

        Args:
            hidden: Float32 `[batch, length, hidden]`.
            input_mask: Int32 `[batch, length]`, 0 for tokens that are not looked at.
            bias: Float32 `[heads, length, length]`, added to the attention's scores.

        Returns:
            Float32 `[batch, length, hidden]`.
        """
        size = hidden.shape[-1]
        # Rank 2 throughout: one matrix product for all tokens of all rows.
        rows = tf.reshape(hidden, [-1, size])
        context = self._attend(rows, input_mask, bias)
        attended = _linear(context, self.attended, self.attended_bias)
        rows = _layer_norm(
            rows + attended, self.attended_scale, self.attended_offset, self.epsilon
        )
        wide = _linear(rows, self.widen, self.widen_bias)
        wide = ACTIVATIONS[self.activation](wide)
        rows += _linear(wide, self.narrow, self.narrow_bias)
        rows = _layer_norm(rows, self.scale, self.offset, self.epsilon)
        return tf.reshape(rows, tf.shape(hidden))

    def _attend(
        self, rows: tf.Tensor, input_mask: tf.Tensor, bias: tf.Tensor | None
    ) -> tf.Tensor:
        size = rows.shape[-1]
        batch, length = tf.unstack(tf.shape(input_mask))
        head = size // self.heads
        qkv = _linear(rows, self.qkv, self.qkv_bias)
        qkv = tf.reshape(qkv, [batch, length, 3, self.heads, head])
        query, key, value = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]))
        scores = tf.matmul(query, key, transpose_b=True) * head**-0.5
        if bias is not None:
            scores += bias
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


@tf_keras.utils.register_keras_serializable("tfrs_decay", "_Pool")
class Pool(_Float32Layer):
    """Token vectors to one vector a text (Reimers and Gurevych 2019, section 3).

    Args:
        pooling: "mean" or "max" over the tokens, "cls" for the first, or "pooler" for
            BERT's own dense layer with tanh over the first.
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
        mask = tf.cast(input_mask, tf.float32)[:, :, None]
        if self.pooling == "mean":
            pooled = tf.math.divide_no_nan(
                tf.reduce_sum(hidden * mask, axis=1), tf.reduce_sum(mask, axis=1)
            )
        elif self.pooling == "max":
            least = tf.where(mask > 0, hidden, hidden.dtype.min)
            some = tf.reduce_any(mask > 0, axis=1)
            pooled = tf.where(some, tf.reduce_max(least, axis=1), 0.0)
        else:
            pooled = hidden[:, 0]
        if self.pooling == "pooler":
            pooled = tf.tanh(_linear(pooled, self.kernel, self.bias))
        return tf.math.l2_normalize(pooled, axis=-1) if self.normalize else pooled

    def get_config(self) -> dict[str, Any]:
        own = {"pooling": self.pooling, "normalize": self.normalize}
        return {**super().get_config(), **own}


def build_encoder(
    architecture: Architecture, pooling: str, normalize: bool
) -> tf_keras.Model:
    """A functional model in TF-Hub's form, its weights still zero.

    Its layers are `embeddings`, `distance_bias` in MPNet, `block_0` and so on, of which
    ALBERT has one and runs it again and again, and `pool`.

    Args:
        architecture: Sizes and family.
        pooling: "mean", "max", "cls" or "pooler", as in `Pool`.
        normalize: Whether `pooled_output` has length 1.

    Returns:
        A model from int32 `[batch, length]` by name to float32 outputs by name.
    """
    inputs = {
        name: tf_keras.Input([None], dtype=tf.int32, name=name)
        for name in ("input_word_ids", "input_mask", "input_type_ids")
    }
    mask = inputs["input_mask"]
    hidden = Embeddings(
        [architecture.vocab_size, architecture.positions, architecture.types],
        architecture.hidden_size,
        architecture.epsilon,
        architecture.embedding_size if architecture.factorised else None,
        architecture.padding_id,
        name="embeddings",
    )(inputs["input_word_ids"], inputs["input_type_ids"])
    bias = None
    if architecture.buckets:
        bias = DistanceBias(
            architecture.buckets, architecture.heads, name="distance_bias"
        )(mask)
    blocks = [
        Block(
            architecture.heads,
            architecture.intermediate_size,
            architecture.activation,
            architecture.epsilon,
            name=f"block_{number}",
        )
        for number in range(architecture.groups)
    ]
    outputs = []
    for number in range(architecture.layers):
        hidden = blocks[architecture.group(number)](hidden, mask, bias)
        outputs.append(hidden)
    pooled = Pool(pooling, normalize, name="pool")(hidden, mask)
    return tf_keras.Model(
        inputs,
        {
            "default": pooled,
            "pooled_output": pooled,
            "sequence_output": hidden,
            "encoder_outputs": outputs,
        },
        name=architecture.model_type.replace("-", "_"),
    )
