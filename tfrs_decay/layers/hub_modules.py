"""TF-Hub modules: loaded, or refused with what would help; and told apart."""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the ops that preprocessors consist of
import tf_keras

with warnings.catch_warnings():
    # tensorflow-hub 0.16 imports pkg_resources: setup.py bounds setuptools for it.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import tensorflow_hub as hub

from tfrs_decay.layers import fine_tuning
from tfrs_decay.layers.encoder_graph import EncoderGraph
from tfrs_decay.layers.fine_tuning import (
    CannotFineTune,
    FineTune,
    LastLayers,
    LowRank,
    of_last_layers,
)

_BLOCK = 1 << 20


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class FrozenHubLayer(hub.KerasLayer):
    """A module that is what its handle says: its weights are not saved once more."""

    def save_own_variables(self, store: Any) -> None:
        """Nothing: the handle stays in the config, and an encoder is large."""

    def load_own_variables(self, store: Any) -> None:
        """Nothing: the weights came with the handle."""


@dataclass
class _Parts:
    """What an encoder consists of.

    Keras follows the lists that a layer holds, and changes them when it loads one, but
    not this.

    trained, frozen: Its variables.
    own: Of the frozen ones, those that the module itself does not train, such as
        running averages.
    graphs: Where it is written out, for inference, and for training where that differs.
    adapters: A matrix, and the two whose product is added to it.
    """

    trained: list[tf.Variable]
    frozen: list[tf.Variable]
    own: list[tf.Variable]
    graphs: tuple[EncoderGraph, ...] = ()
    adapters: list[tuple[tf.Variable, tf.Variable, tf.Variable]] = field(
        default_factory=list
    )


class EncoderLayer(hub.KerasLayer):
    """An encoder, of which some or all is trained, and that alone is saved.

    It is made by the layer that holds it, and not from a config: an adapter needs an
    example of what the encoder reads.

    Args:
        handle: As in `hub.KerasLayer`.
        fine_tune: What is trained.
        products: Floating dtype of its matrix products.
        **kwargs: Passed on to `hub.KerasLayer`.

    Raises:
        CannotFineTune: The encoder has no such layers, or nothing to train.
    """

    def __init__(
        self,
        handle: str,
        *,
        fine_tune: FineTune = False,
        products: tf.DType = tf.float32,
        **kwargs: Any,
    ) -> None:
        # In float32 whatever the global policy, as the module is.
        super().__init__(
            handle, trainable=fine_tune is not False, dtype="float32", **kwargs
        )
        self.fine_tune = fine_tune
        self.products = products
        trained, own = super().trainable_weights, super().non_trainable_weights
        every = [*trained, *own]
        if not trained and (fine_tune is True or isinstance(fine_tune, LastLayers)):
            raise CannotFineTune(
                f"fine_tune={fine_tune}: the encoder {handle!r} says of no variable "
                "that it can be trained. Train an adapter (LowRank), or leave it "
                "frozen."
            )
        if isinstance(fine_tune, LastLayers):
            trained = of_last_layers(trained, fine_tune.layers)
        elif isinstance(fine_tune, LowRank):
            trained = []
        kept = {id(one) for one in trained}
        frozen = [one for one in every if id(one) not in kept]
        self._parts = _Parts(list(trained), frozen, list(own))
        fine_tuning.mark(trained)

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        """What is fine-tuned."""
        return list(self._parts.trained) if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        """All else."""
        trained = [] if self.trainable else self._parts.trained
        return [*trained, *self._parts.frozen]

    @property
    def is_written_out(self) -> bool:
        """Whether it has to be told what it will read, by `write_out`."""
        return isinstance(self.fine_tune, LowRank) or self.products != tf.float32

    def write_out(self, inputs: Any) -> None:
        """Writes the encoder's graph out, and makes what adapts it.

        Args:
            inputs: An example of what it reads.

        Raises:
            CannotFineTune: There is nothing to adapt, or it is out of reach.
        """
        variables = [*self._parts.trained, *self._parts.frozen]
        self._parts.graphs = tuple(
            EncoderGraph(
                functools.partial(self._callable, **told),
                inputs,
                self.products,
                variables,
            )
            for told in self._ways_to_call()
        )
        if isinstance(self.fine_tune, LowRank):
            graph = self._parts.graphs[0]
            for matrix in fine_tuning.adapted(
                graph.multiplied, graph.multiplied_within
            ):
                pair = self._adapter(matrix, self.fine_tune.rank)
                self._parts.adapters.append((matrix, *pair))
                self._parts.trained.extend(pair)
            fine_tuning.mark(self._parts.trained)

    def _ways_to_call(self) -> list[dict[str, bool]]:
        if not self._has_training_argument:
            return [{}]
        flags = [False, True] if self.trainable else [False]
        return [{"training": training} for training in flags]

    def _adapter(
        self, matrix: tf.Variable, rank: int
    ) -> tuple[tf.Variable, tf.Variable]:
        rows, columns = fine_tuning.sides(matrix.shape)
        name = matrix.name.partition(":")[0]
        random = tf_keras.initializers.RandomNormal(stddev=rows**-0.5)
        return (
            self.add_weight(
                name=f"{name}/down", shape=(rows, rank), initializer=random
            ),
            self.add_weight(
                name=f"{name}/up", shape=(rank, columns), initializer="zeros"
            ),
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The encoder's outputs; `training` matters where it is fine-tuned."""
        if not self._parts.graphs:
            return super().call(inputs, training=training)
        graph = self._parts.graphs[-1 if training and self.trainable else 0]
        changed = []
        if isinstance(self.fine_tune, LowRank):
            scale = self.fine_tune.alpha / self.fine_tune.rank
            for matrix, down, up in self._parts.adapters:
                change = tf.reshape(tf.matmul(down, up), matrix.shape)
                changed.append((matrix, matrix + scale * change))
        return graph(inputs, changed)

    def _saved(self) -> list[tf.Variable]:
        """What training changes: running averages move as well."""
        return [*self._parts.trained, *self._parts.own]

    def save_own_variables(self, store: Any) -> None:
        """What training changes; the rest is in the handle."""
        for number, one in enumerate(self._saved()):
            store[str(number)] = one.numpy()

    def load_own_variables(self, store: Any) -> None:
        """The way back.

        Raises:
            ValueError: The file's weights are not this encoder's.
        """
        expected = [list(one.shape) for one in self._saved()]
        found = [list(store[str(n)].shape) for n in range(len(store.keys()))]
        if found != expected:
            raise ValueError(
                f"the file holds {len(found)} weights of {self.name!r}, and "
                f"fine_tune={self.fine_tune} changes {len(expected)}, or their shapes "
                "differ: it was saved by another tower."
            )
        for number, one in enumerate(self._saved()):
            one.assign(store[str(number)])


def absolute(handle: str | os.PathLike[str]) -> str:
    """A local handle that can be found again from another working directory."""
    handle = os.fspath(handle)
    return handle if "://" in handle else os.path.abspath(handle)


def load(
    handle: str,
    argument: str,
    *,
    fine_tune: FineTune = False,
    products: tf.DType = tf.float32,
) -> hub.KerasLayer:
    """Loads a TF-Hub handle.

    Args:
        handle: A folder that holds a SavedModel, or an https handle.
        argument: The argument that it was given as, for errors.
        fine_tune: What of it is trained, and saved with the layer.
        products: Floating dtype of its matrix products.

    Raises:
        FileNotFoundError: The handle is a path where no SavedModel is.
        RuntimeError: It cannot be loaded; the error says where to get another.
        ValueError: It does not have what is to be fine-tuned.
    """
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
        if fine_tune is False and products == tf.float32:
            return FrozenHubLayer(handle, name=argument)
        return EncoderLayer(
            handle, fine_tune=fine_tune, products=products, name=argument
        )
    except CannotFineTune:
        raise
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        raise RuntimeError(
            f"{argument}={handle!r} could not be loaded "
            f"({type(error).__name__}: {first_line}). {remedy}"
        ) from error


def content_hash(handle: str) -> str:
    """32 hexadecimal digits of a module's files: what it computes, wherever it lies.

    Args:
        handle: As in `load`; an https handle is fetched, as it is for loading. Or a
            single file.

    Raises:
        FileNotFoundError: There is nothing at this path.
    """
    there = Path(hub.resolve(handle) if "://" in handle else handle)
    if not there.exists():
        raise FileNotFoundError(f"{there}: no such file or folder.")
    paths = sorted(there.rglob("*")) if there.is_dir() else [there]
    files = tuple(
        (path, path.stat().st_size, path.stat().st_mtime_ns)
        for path in paths
        if path.is_file()
    )
    return _hash_of(there, files)


@functools.lru_cache(maxsize=32)
def _hash_of(root: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    """Of the files' names and contents; sizes and times say when to look again."""
    digest = hashlib.sha256()
    for path, size, _ in files:
        digest.update(f"{path.relative_to(root).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()[:32]
