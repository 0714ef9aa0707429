"""The text tower: strings in, vectors out, around any TF-Hub text encoder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.layers import fine_tuning, hub_modules
from tfrs_decay.layers.distinct import of_each
from tfrs_decay.layers.encoder_graph import in_a_replica
from tfrs_decay.layers.fine_tuning import FineTune, LastLayers
from tfrs_decay.layers.tensors import as_strings, check_string
from tfrs_decay.layers.vector_cache import VectorCache

_POOLINGS = ("pooled_output", "cls", "mean")

_OWN_OUTPUTS = ("pooled_output", "default", "outputs")
"""Names under which modules give one vector a text, the first that is there."""

_NO_SUCH_CALL = "Could not find matching concrete function"
"""How TensorFlow begins to say that a module does not read such inputs."""

_ARGUMENTS = "Call arguments received by layer"
"""How Keras begins to list what a layer was called with, below what went wrong."""

_WHERE = re.compile(r"\s*(\[\[\{\{node |Detected at node |<stack traces |File \")")
"""How lines begin in which TensorFlow says where something went wrong."""

_SHORTEST = 3
"""Tokens: a first, one of the text, and a last."""


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class TextTower(tf_keras.layers.Layer):
    """Reads texts: preprocess, encode, pool, project.

    A text that stands several times in a batch is encoded once, and sequences are cut
    to the longest of the batch: a batch of titles costs what its different words cost.
    Both sizes are dynamic, so that `tf.function` traces once.

    Bytes that are not UTF-8 are read as U+FFFD, as a server cannot refuse one text of
    a batch; "" is a text as well.

    Args:
        preprocessor: TF-Hub handle: strings [batch] to the encoder's inputs. A folder
            that holds a SavedModel, or an https handle where there is a network. None
            for an encoder that reads strings itself, as the Universal Sentence Encoder
            does.
        encoder: TF-Hub handle: those inputs to `pooled_output` [batch, hidden] and
            `sequence_output` [batch, tokens, hidden]; or strings to vectors [batch,
            hidden].
        dim: Width of the projection on top, without bias; no projection when left out.
        pooling: "pooled_output" takes the encoder's own; "cls" the first token's
            vector; "mean" the mean over tokens that are not padding.
        layer: The layer whose tokens "cls" and "mean" read, of `encoder_outputs`: 0 is
            the first, -2 the last but one; `sequence_output` when left out.
        max_length: Tokens a text is cut to, with the first and the last that the
            preprocessor adds; the preprocessor's own length when left out (128 in
            TF-Hub's).
        fields: How many texts an item has, such as 2 for title and description. They
            are the last dimension of what is read, and their vectors stand one after
            the other before the projection.
        fine_tune: What of the encoder is trained: nothing; all of it (True); its last
            layers (`LastLayers(2)`); or an adapter (`LowRank(8)`). A .keras or weights
            file holds what is trained, and the handle for the rest. Give the encoder a
            learning rate of its own by `optimizers.FineTuningAdam`.
        hidden: Width of `encode`'s vectors. Found by running it when left out; where
            it is given, a baked item tower needs no encoder until it reads a new text.
        **kwargs: Keras' own, such as `name` and `dtype`. Under a mixed policy, such as
            "mixed_bfloat16", the encoder's matrix products are computed in its dtype
            too, but for those within loops and branches, and the rest in float32.

    Raises:
        FileNotFoundError: A handle is a path where no SavedModel is.
        RuntimeError: A handle cannot be loaded; the error says how to get a local one.
        TypeError: `fine_tune` is none of its kinds.
        ValueError: An option is not one of those above, or does not go with another or
            with the encoder.

    References:
        J. Devlin et al. BERT. NAACL 2019. N. Reimers, I. Gurevych. Sentence-BERT.
        EMNLP 2019. D. Cer et al. Universal Sentence Encoder. arXiv:1803.11175. TF-Hub's
        common SavedModel APIs for text.
    """

    def __init__(
        self,
        preprocessor: str | os.PathLike[str] | None,
        encoder: str | os.PathLike[str],
        *,
        dim: int | None = None,
        pooling: str = "pooled_output",
        layer: int | None = None,
        max_length: int | None = None,
        fields: int = 1,
        fine_tune: FineTune = False,
        hidden: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        fine_tuning.check(fine_tune)
        if pooling not in _POOLINGS:
            raise ValueError(f"pooling={pooling!r} is not one of {_POOLINGS}.")
        if dim is not None and dim < 1:
            raise ValueError(f"dim={dim} must be 1 or more, or None for no projection.")
        if layer is not None and pooling == "pooled_output":
            raise ValueError(
                f"layer={layer} says whose tokens are pooled, and "
                "pooling='pooled_output' pools none: choose 'cls' or 'mean'."
            )
        if max_length is not None and max_length < _SHORTEST:
            raise ValueError(
                f"max_length={max_length} must be {_SHORTEST} or more: the first and "
                "the last token count."
            )
        if fields < 1:
            raise ValueError(f"fields={fields} must be 1 or more.")
        if preprocessor is None and (pooling, max_length) != ("pooled_output", None):
            raise ValueError(
                f"pooling={pooling!r}, max_length={max_length}: an encoder without a "
                "preprocessor gives one vector for each text, and no tokens."
            )
        self.preprocessor = (
            None if preprocessor is None else hub_modules.absolute(preprocessor)
        )
        self.encoder = hub_modules.absolute(encoder)
        self.dim = dim
        self.pooling = pooling
        self.layer = layer
        self.max_length = max_length
        self.fields = fields
        self.fine_tune = fine_tune
        self._given_hidden = hidden
        self._loads_when_read = False
        self._preprocess: Any = None
        self._encode: Any = None
        if hidden is None or fine_tune is not False:
            self._load_modules()
        self._project = (
            None
            if dim is None
            else tf_keras.layers.Dense(
                dim, use_bias=False, dtype=self.dtype_policy, name="projection"
            )
        )

    def load_when_read(self) -> None:
        """Leaves a frozen encoder alone until a text is read, `hidden` being known."""
        self._loads_when_read = True

    def load(self) -> None:
        """Loads the encoder where it was left alone until a text is read."""
        if self._encode is None:
            # Outside of the graph that may be being traced: what is loaded stays.
            with tf.init_scope():
                self._load_modules()

    def _load_modules(self) -> None:
        if self.preprocessor is not None:
            self._preprocess = hub_modules.load(self.preprocessor, "preprocessor")
            if self.max_length is not None:
                self._check_max_length()
        products = tf.as_dtype(self.compute_dtype)
        self._encode = hub_modules.load(
            self.encoder,
            "encoder",
            fine_tune=self.fine_tune,
            products=products if products.size < tf.float32.size else tf.float32,
        )
        if getattr(self._encode, "is_written_out", False):
            inputs = in_a_replica(self._inputs_of_one_text)
            with self._named_misfit():
                self._encode.write_out(inputs)
        if isinstance(self.fine_tune, LastLayers):
            self._check_last_layers(self.fine_tune)

    def _check_last_layers(self, last: LastLayers) -> None:
        """Refuses those of which nothing that is read depends."""
        with self._named_misfit():
            outputs = in_a_replica(self._outputs_of_one_text)
        if not isinstance(outputs, Mapping) or "encoder_outputs" not in outputs:
            return
        numbers = fine_tuning.layer_numbers(self._encode.weights)
        fine_tuning.check_outputs(
            last, len(numbers), len(outputs["encoder_outputs"]), self.layer
        )

    def _check_max_length(self) -> None:
        module = self._preprocess.resolved_object
        if not (hasattr(module, "tokenize") and hasattr(module, "bert_pack_inputs")):
            raise ValueError(
                f"max_length={self.max_length}: preprocessor={self.preprocessor!r} "
                "lacks tokenize or bert_pack_inputs, with which a length is chosen: "
                "leave max_length out."
            )

    def build(self, input_shape: Any = None) -> None:
        """Learns the encoder's width from one text, and makes the projection."""
        if self._given_hidden is None:
            self.hidden = self.fields * self._width_of_one_text()
        else:
            self.hidden = self._given_hidden
            if self._encode is None and not self._loads_when_read:
                self._load_modules()
        if self._project is not None:
            self._project.build([None, self.hidden])
        super().build(input_shape)

    def _width_of_one_text(self) -> int:
        with self._named_misfit():
            return int(in_a_replica(self._vector_of_one_text).shape[-1])

    def _vector_of_one_text(self) -> tf.Tensor:
        inputs = self._inputs_of_one_text()
        return self._pool(self._encode(inputs, training=False), inputs)

    def _outputs_of_one_text(self) -> Any:
        return self._encode(self._inputs_of_one_text(), training=False)

    def _inputs_of_one_text(self) -> Any:
        return self._inputs(tf.constant([""]), cut=False)

    @contextlib.contextmanager
    def _named_misfit(self) -> Iterator[None]:
        """Says which two modules do not go together, where they do not."""
        try:
            yield
        except (tf.errors.InvalidArgumentError, TypeError, ValueError) as error:
            if isinstance(error, ValueError) and _NO_SUCH_CALL not in str(error):
                raise
            given = (
                "strings, which it is given without a preprocessor"
                if self.preprocessor is None
                else f"what preprocessor={self.preprocessor!r} gives with max_length="
                f"{self.max_length}"
            )
            raise ValueError(
                f"encoder={self.encoder!r} cannot read {given}: {_why(str(error))}"
            ) from error

    def __call__(self, texts: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        """Calls the layer; texts that are in an array are looked at before Keras."""
        if isinstance(texts, np.ndarray):
            texts = self._strings(texts)
        return super().__call__(texts, *args, **kwargs)

    def call(self, texts: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Encodes and projects.

        Args:
            texts: [...] strings, UTF-8; [..., fields] with several fields.
            training: Keras' own; matters to an encoder that is fine-tuned.

        Returns:
            [..., dim], or [..., hidden] without a projection.

        Raises:
            ValueError: The texts are not strings, or not as many as fields; or the
                encoder lacks the output that `pooling` reads.
        """
        return self._of_each(texts, self.project, training)

    def encode(self, texts: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """The encoder's vectors, before the projection: [...] strings -> [..., hidden].

        Args:
            texts: [...] strings, UTF-8; [..., fields] with several fields.
            training: Keras' own.

        Raises:
            ValueError: As in `call`.
        """
        return self._of_each(texts, lambda one: one, training)

    def _of_each(
        self,
        texts: tf.Tensor,
        finish: Callable[[tf.Tensor], tf.Tensor],
        training: bool | None,
    ) -> tf.Tensor:
        """Encodes each distinct text once: [...] -> [..., width]."""
        texts = self._strings(texts)
        self.load()

        def encoded(distinct: tf.Tensor) -> tf.Tensor:
            inputs = self._inputs(distinct)
            outputs = self._encode(inputs, training=training)
            return tf.cast(self._pool(outputs, inputs), self.compute_dtype)

        if self.fields == 1:
            return of_each(texts, lambda distinct: finish(encoded(distinct)))
        # [..., fields, width], and then the fields one after the other.
        vectors = of_each(texts, encoded)
        width = self.fields * vectors.shape[-1]
        shape = tf.concat([tf.shape(texts)[:-1], [width]], axis=0)
        beside = tf.ensure_shape(tf.reshape(vectors, shape), [*texts.shape[:-1], width])
        return finish(beside)

    def _strings(self, texts: Any) -> tf.Tensor:
        """Texts as a tensor."""
        if isinstance(texts, tf.RaggedTensor):
            raise ValueError(
                "texts are ragged: give them padded, texts.to_tensor(''), or flat, "
                "texts.flat_values."
            )
        texts = as_strings(texts, "texts")
        if texts.dtype != tf.string:
            raise ValueError(f"texts are {texts.dtype.name}: give strings.")
        return texts if self.fields == 1 else self._of_fields(texts)

    def _of_fields(self, texts: tf.Tensor) -> tf.Tensor:
        """[..., fields], checked now or, where that is not known yet, at run time."""
        rank = texts.shape.rank
        if not rank or texts.shape[-1] not in (None, self.fields):
            raise ValueError(
                f"texts have the shape {texts.shape}, and this tower reads "
                f"{self.fields} fields: give [..., {self.fields}]."
            )
        if texts.shape[-1] is None:
            message = f"texts: this tower reads {self.fields} fields"
            check = tf.debugging.assert_equal(
                tf.shape(texts)[-1], self.fields, message=message
            )
            with tf.control_dependencies([check]):
                texts = tf.ensure_shape(texts, [*texts.shape[:-1], self.fields])
        return texts

    def _inputs(self, texts: tf.Tensor, *, cut: bool = True) -> Any:
        """What the encoder reads: of [n] texts, cut to the longest of them."""
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        if self._preprocess is None:
            return texts
        if self.max_length is None:
            inputs = self._preprocess(texts)
        else:
            module = self._preprocess.resolved_object
            tokens = module.tokenize(texts)
            inputs = module.bert_pack_inputs([tokens], seq_length=self.max_length)
        if not isinstance(inputs, Mapping) or "input_mask" not in inputs:
            raise ValueError(
                f"preprocessor={self.preprocessor!r} gives {_names(inputs)}: one of "
                "TF-Hub's text API gives a dict with 'input_mask' in it."
            )
        if not cut:
            return inputs
        longest = tf.reduce_max(tf.reduce_sum(inputs["input_mask"], axis=1))
        longest = tf.maximum(longest, 1)
        return {name: value[:, :longest] for name, value in inputs.items()}

    def project(self, vectors: tf.Tensor) -> tf.Tensor:
        """The trained projection: [..., hidden] -> [..., dim]."""
        return vectors if self._project is None else self._project(vectors)

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits of what `encode` depends on, for one text.

        The contents of the modules, wherever they lie, and how their outputs are read.

        Raises:
            ValueError: The encoder is fine-tuned, so that its vectors change.
        """
        if self.fine_tune is not False:
            raise ValueError(
                "the encoder is fine-tuned: its vectors change with every step, and "
                "are not those of its handle."
            )
        content = {
            "modules": [
                handle and hub_modules.content_hash(handle)
                for handle in (self.preprocessor, self.encoder)
            ],
            "pooling": self.pooling,
            "layer": self.layer,
            "max_length": self.max_length,
        }
        if self.compute_dtype != "float32":
            content["dtype"] = self.compute_dtype
        written = json.dumps(content, sort_keys=True)
        return hashlib.sha256(written.encode("utf-8")).hexdigest()[:32]

    def encode_all(
        self,
        texts: Sequence[str] | np.ndarray,
        *,
        batch_size: int = 128,
        cache: str | os.PathLike[str] | None = None,
        progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    ) -> np.ndarray:
        """Encodes many texts outside of a graph, each distinct one once.

        Texts of like length are batched together, so that little is spent on padding.

        Args:
            texts: n strings, or [n, fields] of them.
            batch_size: Texts a batch.
            cache: Folder in which vectors are kept for the next time, each batch as
                soon as it is encoded: what was interrupted goes on where it was. They
                are kept by text and by the encoder's `fingerprint`.
            progress: Wraps the iterable of batches that are still to be encoded, as
                `tqdm.tqdm` does.

        Returns:
            [n, hidden] float32.

        Raises:
            ValueError: A text is no string, the fields are others, a vector is not
                finite, the cache is damaged, or the encoder is fine-tuned and a cache
                is given.
        """
        if not self.built:
            self.build()
        table = np.asarray(texts, dtype=object)
        expected = (len(table),) if self.fields == 1 else (len(table), self.fields)
        if table.shape != expected and len(table):
            raise ValueError(
                f"texts have the shape {table.shape}: give "
                f"{'[n]' if self.fields == 1 else f'[n, {self.fields}]'}."
            )
        flat = table.ravel().tolist()
        for one in flat:
            check_string(one, "texts", (str,))
        place = {text: number for number, text in enumerate(dict.fromkeys(flat))}
        width = self.hidden // self.fields
        vectors = np.zeros((len(place), width), np.float32)
        kept = None if cache is None else VectorCache(cache, self.fingerprint, width)
        found = {} if kept is None else kept.read(list(place))
        for text, vector in found.items():
            vectors[place[text]] = vector
        missing = sorted((one for one in place if one not in found), key=len)
        if missing:
            self.load()
        encode = tf.function(
            lambda batch: self._encode_alone(batch),
            input_signature=[tf.TensorSpec([None], tf.string)],
        )
        for start in progress(range(0, len(missing), batch_size)):
            some = missing[start : start + batch_size]
            encoded = encode(tf.constant(some)).numpy()
            broken = np.flatnonzero(~np.isfinite(encoded).all(axis=1))
            if len(broken):
                raise ValueError(
                    f"encoder={self.encoder!r} makes a vector that is not finite of "
                    f"{some[broken[0]]!r}, and of {len(broken) - 1} more in its batch "
                    f"of {len(some)}."
                )
            vectors[[place[text] for text in some]] = encoded
            if kept is not None:
                kept.write(some, encoded)
        return vectors[[place[text] for text in flat]].reshape(len(table), self.hidden)

    def _encode_alone(self, texts: tf.Tensor) -> tf.Tensor:
        """[n] texts -> [n, width] float32, each a field of its own."""
        inputs = self._inputs(texts)
        outputs = self._encode(inputs, training=False)
        return tf.cast(self._pool(outputs, inputs), tf.float32)

    def _pool(self, outputs: Any, inputs: Any) -> tf.Tensor:
        """[n, width] of what the encoder gives for n texts."""
        if self.pooling == "pooled_output":
            return self._checked(self._own_vectors(outputs), outputs, self.pooling, 2)
        name = "sequence_output" if self.layer is None else "encoder_outputs"
        found = outputs.get(name) if isinstance(outputs, Mapping) else None
        if found is not None and self.layer is not None:
            if not -len(found) <= self.layer < len(found):
                raise ValueError(
                    f"layer={self.layer}: encoder={self.encoder!r} has {len(found)} "
                    f"layers, 0 to {len(found) - 1}, or -{len(found)} to -1."
                )
            found = found[self.layer]
        tokens = self._checked(found, outputs, name, 3)
        if self.pooling == "cls":
            return tokens[:, 0]
        kept = tf.cast(inputs["input_mask"], tokens.dtype)[:, :, None]
        return tf.math.divide_no_nan(
            tf.reduce_sum(tokens * kept, axis=1), tf.reduce_sum(kept, axis=1)
        )

    def _own_vectors(self, outputs: Any) -> Any:
        """The vectors that an encoder pools itself; None where there are none."""
        if not isinstance(outputs, Mapping):
            return outputs if tf.is_tensor(outputs) else None
        for name in _OWN_OUTPUTS:
            if name in outputs:
                return outputs[name]
        only = self.preprocessor is None and len(outputs) == 1
        return next(iter(outputs.values())) if only else None

    def _checked(self, found: Any, outputs: Any, name: str, rank: int) -> tf.Tensor:
        """An output of the encoder, or why it is none."""
        if found is None:
            raise ValueError(
                f"encoder={self.encoder!r} gives {_names(outputs)}, and pooling="
                f"{self.pooling!r} reads {name!r}: choose another pooling or encoder."
            )
        if found.shape.rank != rank or not found.dtype.is_floating:
            raise ValueError(
                f"encoder={self.encoder!r} gives {name!r} as {found.dtype.name} of "
                f"shape {found.shape}: {rank} dimensions of floating numbers are read."
            )
        return found

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`; handles, not weights."""
        return {
            **super().get_config(),
            "preprocessor": self.preprocessor,
            "encoder": self.encoder,
            "dim": self.dim,
            "pooling": self.pooling,
            "layer": self.layer,
            "max_length": self.max_length,
            "fields": self.fields,
            "fine_tune": fine_tuning.to_config(self.fine_tune),
            "hidden": self.hidden if self.built else self._given_hidden,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TextTower:
        """Makes the layer again from `get_config`."""
        # Not in files from before there was a choice.
        fine_tune = fine_tuning.from_config(config.get("fine_tune", False))
        return cls(**{**config, "fine_tune": fine_tune})


def _why(error: str) -> str:
    """The line of an error in which a module says what is wrong, and not where."""
    if _NO_SUCH_CALL in error:
        return f"{_NO_SUCH_CALL}."
    said = error.partition(_ARGUMENTS)[0].splitlines()
    lines = [line.strip() for line in said if not _WHERE.match(line)]
    return next((line for line in reversed(lines) if line), error)


def _names(outputs: Any) -> Any:
    """What a module gives, for errors."""
    if isinstance(outputs, Mapping):
        return sorted(outputs)
    return f"a {type(outputs).__name__}"
