"""How what is known of an item becomes one vector: a sum, a projection, or gates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from tfrs_decay.layers.tensors import dense

FUSIONS = ("sum", "concat", "gated")


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class Fusion(tf_keras.layers.Layer):
    """Vectors of several parts in, one vector out.

    "sum": their sum. "concat": one after the other, and a projection without bias.
    "gated": the sum over parts p of g_p * part_p, where g_p = sigmoid(W_p [all parts] +
    b_p) has a gate for each feature; all start at a half, so that the result starts in
    the sum's direction. A part that is missing is zeros, and where all are, so is the
    result.

    Args:
        kind: "sum", "concat" or "gated".
        widths: The parts' names and widths, a mapping or pairs, in their order; all
            `dim` but for "concat".
        dim: Width of the result.
        **kwargs: Keras' own, such as `name`.

    Raises:
        ValueError: The kind is none of these.

    References:
        J. Arevalo et al. Gated multimodal units for information fusion. ICLR workshop
        2017.
    """

    def __init__(
        self,
        kind: str,
        widths: Mapping[str, int] | Iterable[tuple[str, int]],
        dim: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kind not in FUSIONS:
            raise ValueError(f"kind={kind!r} is not one of {FUSIONS}.")
        self.kind = kind
        self.widths = dict(widths)
        self.dim = dim
        self._projection: Any = None
        self._gates: Any = None
        if kind == "concat":
            self._projection = tf_keras.layers.Dense(
                dim, use_bias=False, name="projection", dtype=self.dtype_policy
            )
        elif kind == "gated":
            self._gates = tf_keras.layers.Dense(
                len(self.widths) * dim,
                activation="sigmoid",
                kernel_initializer="zeros",
                name="gates",
                dtype=self.dtype_policy,
            )

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights, of which a sum has none; the input's shape is known."""
        for layer in (self._projection, self._gates):
            if layer is not None:
                layer.build([None, sum(self.widths.values())])
        super().build(input_shape)

    def call(self, parts: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Fuses parts.

        Args:
            parts: By name, [..., width] each; one or more of those in `widths`.

        Returns:
            [..., dim].

        Raises:
            ValueError: There is no part, or one has another name.
        """
        strange = sorted(set(parts) - set(self.widths))
        if strange or not parts:
            raise ValueError(
                f"parts has the names {sorted(parts)}: give one or more of "
                f"{list(self.widths)}."
            )
        if self.kind == "sum":
            return tf.add_n([parts[name] for name in self.widths if name in parts])
        given = [self._part(name, parts) for name in self.widths]
        together = tf.concat(given, axis=-1)
        if self.kind == "concat":
            return dense(self._projection, together)
        gates = tf.split(dense(self._gates, together), len(given), axis=-1)
        return tf.add_n([gate * part for gate, part in zip(gates, given, strict=True)])

    def _part(self, name: str, parts: Mapping[str, tf.Tensor]) -> tf.Tensor:
        if name in parts:
            return parts[name]
        one = next(iter(parts.values()))
        zeros = tf.zeros(
            tf.concat([tf.shape(one)[:-1], [self.widths[name]]], axis=0), one.dtype
        )
        zeros.set_shape([*one.shape[:-1], self.widths[name]])
        return zeros

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "kind": self.kind,
            # In pairs, whose order every JSON keeps.
            "widths": [list(pair) for pair in self.widths.items()],
            "dim": self.dim,
        }
