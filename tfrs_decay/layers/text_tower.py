"""The text tower: strings in, vectors out, around any TF-Hub text encoder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the ops that preprocessors consist of
import tf_keras

with warnings.catch_warnings():
    # tensorflow-hub 0.16 imports pkg_resources: setup.py bounds setuptools for it.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import tensorflow_hub as hub

_POOLINGS = ("pooled_output", "cls", "mean")


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class TextTower(tf_keras.layers.Layer):
    """Reads texts: preprocess, encode, pool, project.

    A text that stands several times in a batch is encoded once, and sequences are cut
    to the longest of the batch: a batch of titles costs what its different words cost.

    Args:
        preprocessor: TF-Hub handle: strings [batch] to the encoder's inputs. A folder
            that holds a SavedModel, or an https handle where there is a network.
        encoder: TF-Hub handle: those inputs to `pooled_output` [batch, hidden] and
            `sequence_output` [batch, tokens, hidden].
        dim: Width of the projection on top, without bias; no projection when left out.
        pooling: "pooled_output" takes the encoder's own; "cls" the first token's
            vector; "mean" the mean over tokens that are not padding.
        fine_tune: Train the encoder too. Frozen otherwise, and then a .keras or weights
            file holds the handles and not the encoder's weights.
        hidden: Width of the encoder's vectors. Found by running it when left out; where
            it is given, a baked item tower needs no encoder until it reads a new text.
        **kwargs: Keras' own, such as `name`.

    Raises:
        FileNotFoundError: A handle is a path where no SavedModel is.
        RuntimeError: A handle cannot be loaded; the error says how to get a local one.
        ValueError: An option is not one of those above.

    References:
        J. Devlin et al. BERT. NAACL 2019. N. Reimers, I. Gurevych. Sentence-BERT.
        EMNLP 2019. TF-Hub's common SavedModel APIs for text.
    """

    def __init__(
        self,
        preprocessor: str | os.PathLike[str],
        encoder: str | os.PathLike[str],
        *,
        dim: int | None = None,
        pooling: str = "pooled_output",
        fine_tune: bool = False,
        hidden: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if pooling not in _POOLINGS:
            raise ValueError(f"pooling={pooling!r} is not one of {_POOLINGS}.")
        if dim is not None and dim < 1:
            raise ValueError(f"dim={dim} must be 1 or more, or None for no projection.")
        self.preprocessor = _absolute(preprocessor)
        self.encoder = _absolute(encoder)
        self.dim = dim
        self.pooling = pooling
        self.fine_tune = fine_tune
        self._given_hidden = hidden
        self._loads_when_read = False
        self._preprocess: Any = None
        self._encode: Any = None
        if hidden is None or fine_tune:
            self._load_modules()
        self._project = (
            None
            if dim is None
            else tf_keras.layers.Dense(dim, use_bias=False, name="projection")
        )

    def load_when_read(self) -> None:
        """Leaves a frozen encoder alone until a text is read, `hidden` being known."""
        self._loads_when_read = True

    def _load_modules(self) -> None:
        self._preprocess = _load(self.preprocessor, "preprocessor", trainable=False)
        self._encode = _load(self.encoder, "encoder", trainable=self.fine_tune)

    def build(self, input_shape: Any = None) -> None:
        """Learns the encoder's width from one text, and makes the projection."""
        if self._given_hidden is None:
            one = self.encode(tf.constant([""]), training=False)
            self.hidden = int(one.shape[-1])
        else:
            self.hidden = self._given_hidden
            if self._encode is None and not self._loads_when_read:
                self._load_modules()
        if self._project is not None:
            self._project.build([None, self.hidden])
        super().build(input_shape)

    def call(self, texts: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Encodes and projects.

        Args:
            texts: [...] strings, UTF-8; "" is a text as well.
            training: Keras' own; matters to an encoder that is fine-tuned.

        Returns:
            [..., dim], or [..., hidden] without a projection.
        """
        return self._of_each(texts, self.project, training)

    def encode(self, texts: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """The encoder's vectors, before the projection: [...] strings -> [..., hidden].

        Raises:
            ValueError: The texts are not strings, or the encoder lacks the output that
                `pooling` reads.
        """
        return self._of_each(texts, lambda one: one, training)

    def _of_each(
        self,
        texts: tf.Tensor,
        finish: Callable[[tf.Tensor], tf.Tensor],
        training: bool | None,
    ) -> tf.Tensor:
        """Encodes and finishes each distinct text once: [...] -> [..., width]."""
        texts = tf.convert_to_tensor(texts)
        if texts.dtype != tf.string:
            raise ValueError(f"texts are {texts.dtype.name}: give strings.")
        if self._encode is None:
            # Outside of the graph that may be being traced: what is loaded stays.
            with tf.init_scope():
                self._load_modules()
        distinct, where = tf.unique(tf.reshape(texts, [-1]))
        inputs = self._preprocess(distinct)
        tokens = tf.reduce_max(tf.reduce_sum(inputs["input_mask"], axis=1))
        inputs = {
            name: value[:, : tf.maximum(tokens, 1)] for name, value in inputs.items()
        }
        outputs = self._encode(inputs, training=training)
        vectors = tf.cast(self._pool(outputs, inputs["input_mask"]), self.compute_dtype)
        vectors = tf.gather(finish(vectors), where)
        shape = tf.concat([tf.shape(texts), tf.shape(vectors)[-1:]], axis=0)
        vectors = tf.reshape(vectors, shape)
        vectors.set_shape([*texts.shape, vectors.shape[-1]])
        return vectors

    def project(self, vectors: tf.Tensor) -> tf.Tensor:
        """The trained projection: [..., hidden] -> [..., dim]."""
        return vectors if self._project is None else self._project(vectors)

    def encode_all(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 128,
        progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    ) -> np.ndarray:
        """Encodes many texts outside of a graph, each distinct one once.

        Texts of like length are batched together, so that little is spent on padding.

        Args:
            texts: n strings.
            batch_size: Texts a batch.
            progress: Wraps the iterable of batches, as `tqdm.tqdm` does.

        Returns:
            [n, hidden] float32.
        """
        place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        distinct = list(place)
        order = np.argsort([len(one) for one in distinct], kind="stable")
        encode = tf.function(
            lambda batch: self.encode(batch, training=False),
            input_signature=[tf.TensorSpec([None], tf.string)],
        )
        starts = range(0, len(order), batch_size)
        ordered = [distinct[one] for one in order]
        parts = [
            encode(tf.constant(ordered[start : start + batch_size])).numpy()
            for start in progress(starts)
        ]
        if not parts:
            return encode(tf.constant([], tf.string)).numpy()
        vectors = np.empty((len(order), parts[0].shape[1]), np.float32)
        vectors[order] = np.concatenate(parts)
        return vectors[[place[text] for text in texts]]

    def _pool(self, outputs: dict[str, tf.Tensor], mask: tf.Tensor) -> tf.Tensor:
        name = "pooled_output" if self.pooling == "pooled_output" else "sequence_output"
        if not isinstance(outputs, dict) or name not in outputs:
            given = sorted(outputs) if isinstance(outputs, dict) else type(outputs)
            raise ValueError(
                f"encoder={self.encoder!r} gives {given}, and pooling={self.pooling!r} "
                f"reads {name!r}: choose another pooling or encoder."
            )
        if self.pooling == "pooled_output":
            return outputs[name]
        if self.pooling == "cls":
            return outputs[name][:, 0]
        kept = tf.cast(mask, outputs[name].dtype)[:, :, None]
        return tf.math.divide_no_nan(
            tf.reduce_sum(outputs[name] * kept, axis=1), tf.reduce_sum(kept, axis=1)
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`; handles, not weights."""
        return {
            **super().get_config(),
            "preprocessor": self.preprocessor,
            "encoder": self.encoder,
            "dim": self.dim,
            "pooling": self.pooling,
            "fine_tune": self.fine_tune,
            "hidden": self.hidden if self.built else self._given_hidden,
        }


def _absolute(handle: str | os.PathLike[str]) -> str:
    """A local handle that can be found again from another working directory."""
    handle = os.fspath(handle)
    return handle if "://" in handle else os.path.abspath(handle)


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class _FrozenHubLayer(hub.KerasLayer):
    """A module that is what its handle says: its weights are not saved once more."""

    def save_own_variables(self, store: Any) -> None:
        """Nothing: the handle stays in the config, and an encoder is large."""

    def load_own_variables(self, store: Any) -> None:
        """Nothing: the weights came with the handle."""


def _load(handle: str, argument: str, *, trainable: bool) -> hub.KerasLayer:
    """Loads a TF-Hub handle, or says which one failed and where to get another."""
    remedy = (
        "Where there is no network, make a local one from a checkpoint of BERT or its "
        "family (DistilBERT, ALBERT, RoBERTa, XLM-RoBERTa, MPNet) with "
        f"`tfrs-decay encoder --from DIR --out OUT` and pass OUT/{argument}."
    )
    local = "://" not in handle
    if local and not (Path(handle) / "saved_model.pb").is_file():
        raise FileNotFoundError(
            f"{argument}={handle!r} is not a folder with a SavedModel. {remedy}"
        )
    try:
        layer = hub.KerasLayer if trainable else _FrozenHubLayer
        return layer(handle, trainable=trainable, name=argument)
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        raise RuntimeError(
            f"{argument}={handle!r} could not be loaded "
            f"({type(error).__name__}: {first_line}). {remedy}"
        ) from error
