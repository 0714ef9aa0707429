"""A category of items, such as the brand: a learned vector for each of its values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.layers.tensors import checked_ids, table_rows

MISSING = -1
"""The row of a value that is missing, which is zeros."""


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class CategoryEmbedding(tf_keras.layers.Layer):
    """Values of a category in, vectors out.

    Row 0 of the table is for values that are out of the vocabulary. It starts at zeros,
    so that it says nothing until items with such values are trained on. A missing
    value, "", is zeros and is never trained.

    Args:
        vocabulary: The values that have a row of their own, unique, without "".
        dim: Width of the vectors.
        stddev: Of the normal distribution from which the rows start.
        **kwargs: Keras' own, such as `name`.
    """

    def __init__(
        self, vocabulary: Sequence[str], dim: int, *, stddev: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary = tuple(vocabulary)
        self.dim = dim
        self.stddev = stddev
        self._row = {one: row for row, one in enumerate(self.vocabulary, 1)}
        keys = ["", *self.vocabulary]
        self._rows = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(keys, tf.string),
                tf.constant([MISSING, *range(1, len(keys))], tf.int64),
            ),
            default_value=0,
        )

    def build(self, input_shape: Any = None) -> None:
        """Makes the table; the shape of the input does not matter."""
        own_rows = tf_keras.initializers.RandomNormal(stddev=self.stddev)
        self._table = self.add_weight(
            name="rows",
            shape=(1 + len(self.vocabulary), self.dim),
            initializer=lambda shape, dtype=None, **_: tf.concat(
                [
                    tf.zeros([1, self.dim], dtype),
                    own_rows([shape[0] - 1, self.dim], dtype),
                ],
                axis=0,
            ),
        )
        super().build(input_shape)

    def rows_of(self, values: Iterable[str]) -> np.ndarray:
        """The rows of values: int64; 0 out of the vocabulary, -1 for a missing one."""
        return np.array(
            [self._row.get(one, 0) if one else MISSING for one in values], np.int64
        )

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """[...] strings -> [..., dim]."""
        return self.embed_rows(self._rows.lookup(checked_ids(values, "values")))

    def embed_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """[...] int64, as `rows_of` gives them -> [..., dim]."""
        vectors = table_rows(self._table, tf.maximum(rows, 0))
        return vectors * tf.cast(rows >= 0, vectors.dtype)[..., None]

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "vocabulary": list(self.vocabulary),
            "dim": self.dim,
            "stddev": self.stddev,
        }
