"""The precomputed tower: item vectors that another model made, looked up by id."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.data.events import Items
from tfrs_decay.data.vectors import read_vectors
from tfrs_decay.layers.distinct import of_each
from tfrs_decay.layers.tensors import checked_ids, dense, id_table, table_rows

_UNKNOWN = ("zeros", "mean", "learned")


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class PrecomputedTower(tf_keras.layers.Layer):
    """Item ids in, vectors made elsewhere out: an LLM's embeddings, an image model's.

    The vectors are a weight that is not trained: they are saved with the layer's other
    weights, in a .keras file, a weights file or a SavedModel, and not in the config,
    which holds the ids and the width. So a layer that is made from a config alone has
    zeros until its weights are loaded.

    It knows the ids that it was given, whether they are in a catalogue or not, so that
    items can be added later whose vectors are here already.

    Args:
        ids: [n] strings, unique and not empty.
        vectors: [n, width] finite numbers, kept as float32 whatever the layer's dtype;
            left out where the weights
            will be loaded, and then `width` says how wide they are.
        dim: Width of a trained projection on top, without bias; none when left out.
        unknown: What an id is that is not among `ids`: "zeros"; "mean", the mean of
            the vectors; or "learned", a vector that starts there and is trained. The
            projection, where there is one, comes after. The empty id "" is padding, and
            always zeros.
        width: Width of the vectors where they are left out.
        **kwargs: Keras' own, such as `name`.

    Raises:
        TypeError: An id is not a string.
        ValueError: An id is empty or stands twice; there is none; the vectors are not
            finite numbers [n, width]; or an option is not one of those above.

    >>> tower = PrecomputedTower(["a", "b"], [[1.0, 2.0], [3.0, 4.0]], unknown="mean")
    >>> tower(tf.constant([["b", "new", ""]])).numpy().tolist()
    [[[3.0, 4.0], [2.0, 3.0], [0.0, 0.0]]]
    """

    def __init__(
        self,
        ids: Sequence[str],
        vectors: Any = None,
        *,
        dim: int | None = None,
        unknown: str = "zeros",
        width: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(ids, str):
            raise TypeError(f"ids={ids!r} is one string: give a list of them.")
        if unknown not in _UNKNOWN:
            raise ValueError(f"unknown={unknown!r} is not one of {_UNKNOWN}.")
        if dim is not None and dim < 1:
            raise ValueError(f"dim={dim} must be 1 or more, or None for no projection.")
        self.items = Items(list(ids))
        if not len(self.items):
            raise ValueError("ids is empty: give an id for each vector.")
        if vectors is None:
            if width is None or width < 1:
                raise ValueError(
                    f"width={width} must be 1 or more where vectors are left out."
                )
            matrix = np.zeros([len(self.items), width], np.float32)
        else:
            matrix = _matrix(vectors, self.items.ids)
            if width not in (None, matrix.shape[1]):
                raise ValueError(
                    f"width={width}, and vectors are {matrix.shape[1]} wide: leave "
                    "width out."
                )
        self.width = matrix.shape[1]
        self.dim = dim
        self.unknown = unknown
        self._places = id_table(self.items.ids)
        self._project = (
            None
            if dim is None
            else tf_keras.layers.Dense(
                dim, use_bias=False, name="projection", dtype=self.dtype_policy
            )
        )
        # Made here, not in `build`, so that the caller's array is not held on to.
        if self._project is not None:
            self._project.build([None, self.width])
        self._table = self.add_weight(
            name="vectors",
            shape=matrix.shape,
            dtype="float32",
            initializer=_given(matrix),
            trainable=False,
        )
        if unknown != "zeros":
            self._unknown_vector = self.add_weight(
                name="unknown_vector",
                shape=[self.width],
                dtype="float32",
                initializer=_given(matrix.mean(axis=0, dtype=np.float64)),
                trainable=unknown == "learned",
            )

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        id_column: str = "item",
        vector_column: str | Sequence[str] | None = "vector",
        dim: int | None = None,
        unknown: str = "zeros",
        **kwargs: Any,
    ) -> PrecomputedTower:
        """Reads the vectors from a .parquet or .npz file.

        Args:
            path: A .parquet, a row an item; or an .npz with the arrays `ids` and
                `vectors`.
            id_column: Of a .parquet, the column of ids. Numbers are ids as well, as in
                a log: 17850.0 is "17850".
            vector_column: Of a .parquet, the column of lists of numbers; or a list of
                columns of numbers, one a feature; or None for all but the ids'.
            dim: As in the class.
            unknown: As in the class.
            **kwargs: Keras' own, such as `name`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is cut short, of another format, or lacks a column or array;
                or its ids or vectors are not what the class takes.
            ImportError: A .parquet needs pyarrow and pandas.
        """
        ids, vectors = read_vectors(
            path, id_column=id_column, vector_column=vector_column
        )
        try:
            return cls(ids, vectors, dim=dim, unknown=unknown, **kwargs)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error

    @property
    def vectors(self) -> np.ndarray:
        """The vectors as they were given, [n, width] float32, in the order of ids."""
        return self._table.numpy()

    @property
    def output_width(self) -> int:
        """Width of what the layer gives: `dim`, or the vectors' own."""
        return self.width if self.dim is None else self.dim

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """Looks vectors up, and projects each distinct one once.

        Args:
            ids: [...] strings.

        Returns:
            [..., dim], or [..., width] without a projection.

        Raises:
            ValueError: The ids are not strings, or ragged.
        """
        ids = checked_ids(ids)
        place = self._places.lookup(ids)
        # Padding has a place of its own, below that of the unknown.
        place = tf.where(tf.equal(ids, ""), tf.constant(-2, tf.int64), place)
        return of_each(place, self._of_places)

    def _of_places(self, place: tf.Tensor) -> tf.Tensor:
        """[n] int64 places, -1 for an unknown id and -2 for padding -> [n, dim]."""
        vectors = self.embed_places(place)
        return vectors * tf.cast(place > -2, vectors.dtype)[:, None]

    def compute_mask(self, inputs: tf.Tensor, mask: Any = None) -> tf.Tensor:
        """Which ids have a vector, [...] bool: pooling leaves the others out.

        Those known; and with unknown="mean" or "learned" any but the empty one.
        """
        if self.unknown == "zeros":
            return self.known(inputs)
        return tf.not_equal(inputs, "")

    def known(self, ids: tf.Tensor) -> tf.Tensor:
        """Which ids are among those given: [...] strings -> [...] bool."""
        return self.places(ids) >= 0

    def places(self, ids: tf.Tensor) -> tf.Tensor:
        """Places among the ids given: [...] strings -> [...] int64; -1 if unknown.

        Raises:
            ValueError: The ids are not strings, or ragged.
        """
        return self._places.lookup(checked_ids(ids))

    def embed_places(self, place: tf.Tensor) -> tf.Tensor:
        """The layer's vectors of places: [n] int64 -> [n, dim]; below 0 is unknown."""
        known = (place >= 0)[:, None]
        # From the variable itself, or in half precision the whole table were cast.
        vectors = table_rows(self._table, tf.maximum(place, 0))
        instead: tf.Tensor = tf.zeros_like(vectors)
        if self.unknown != "zeros":
            instead = tf.cast(self._unknown_vector, vectors.dtype)[None, :]
        return self.project(tf.where(known, vectors, instead))

    def project(self, vectors: tf.Tensor) -> tf.Tensor:
        """The trained projection: [..., width] -> [..., dim].

        Raises:
            ValueError: The vectors are of another width.
        """
        vectors = tf.cast(vectors, self.compute_dtype)
        if vectors.shape.rank is not None and vectors.shape[-1] != self.width:
            raise ValueError(
                f"vectors of the shape {vectors.shape}: give [..., {self.width}]."
            )
        return vectors if self._project is None else dense(self._project, vectors)

    def add_items(self, ids: Sequence[str], vectors: Any) -> PrecomputedTower:
        """A tower that knows more ids, with this one's weights.

        The vectors and the projection are copied, so that what was known stays as it
        is bit for bit, and neither tower changes with the other. The vector of unknown
        ids stays as well.

        Args:
            ids: [m] strings that are not known yet; none of them makes a copy.
            vectors: [m, width] finite numbers.

        Raises:
            TypeError: An id is not a string.
            ValueError: An id is known, empty or stands twice, or the vectors do not
                fit.
        """
        ids = list(ids)
        known = [one for one in ids if self.items.codes([one])[0] >= 0]
        if known:
            raise ValueError(
                f"{len(known)} of the ids have a vector already, such as {known[0]!r}: "
                "give vectors for new ids only."
            )
        made = type(self).from_config(
            {**self.get_config(), "ids": [*self.items.ids.tolist(), *ids]}
        )
        table = self.vectors
        if ids:
            more = _matrix(vectors, np.asarray(ids, object))
            if more.shape[1] != self.width:
                raise ValueError(
                    f"vectors are {more.shape[1]} wide, and this tower's {self.width}."
                )
            table = np.concatenate([table, more])
        made._table.assign(table)
        if self._project is not None:
            made._project.set_weights(self._project.get_weights())
        if self.unknown != "zeros":
            made._unknown_vector.assign(self._unknown_vector)
        return made

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """The ids' shape and the width."""
        return tf.TensorShape(input_shape).concatenate([self.output_width])

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`; the vectors' width, and not the vectors."""
        return {
            **super().get_config(),
            "ids": self.items.ids.tolist(),
            "dim": self.dim,
            "unknown": self.unknown,
            "width": self.width,
        }


def _given(values: np.ndarray) -> Any:
    """An initializer that gives these values."""
    return lambda shape, dtype=None, **_: tf.convert_to_tensor(values, dtype)


def _matrix(vectors: Any, ids: np.ndarray) -> np.ndarray:
    """[n, width] float32, copied; or what about the vectors does not fit."""
    array = np.asarray(vectors) if hasattr(vectors, "__array__") else None
    if array is None or (array.dtype == object and array.ndim == 1):
        array = _stacked(list(vectors), ids)
    if array.ndim != 2 or array.shape[1] < 1:
        raise ValueError(
            f"vectors has the shape {array.shape}: give [n, width], a row for each id."
        )
    _check_count(array, ids)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"vectors are {array.dtype}: give numbers.")
    with np.errstate(over="ignore"):
        matrix = np.array(array, np.float32)
    broken = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(ids)} vectors are not finite in float32, such as "
            f"that of {ids[broken[0]]!r}: leave these ids out, or mend them."
        )
    return matrix


def _stacked(rows: list[Any], ids: np.ndarray) -> np.ndarray:
    """Rows as one array; or which of them has another shape than the first."""
    _check_count(rows, ids)
    for row, one in zip(rows, ids, strict=True):
        if row is None:
            raise ValueError(f"vectors holds None for {one!r}: leave this id out.")
        try:
            shape = np.shape(row)
        except ValueError as error:
            raise ValueError(
                f"the vector of {one!r} is not a list of numbers ({error})."
            ) from error
        if shape != np.shape(rows[0]):
            raise ValueError(
                f"vectors are of unequal width: that of {ids[0]!r} has the shape "
                f"{np.shape(rows[0])}, that of {one!r} {shape}."
            )
    return np.stack([np.asarray(row) for row in rows])


def _check_count(rows: Any, ids: np.ndarray) -> None:
    if len(rows) != len(ids):
        raise ValueError(
            f"{len(ids)} ids and {len(rows)} vectors: give a vector for each id."
        )
