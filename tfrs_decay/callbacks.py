"""Keras callbacks: what a model has learned of time, in TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow.core.framework import summary_pb2

from tfrs_decay.decay import Decay, LogBucketed, Mixture, Product, Sum
from tfrs_decay.decay.base import OTHERS
from tfrs_decay.decay.family import Family
from tfrs_decay.durations import to_text
from tfrs_decay.layers import Repeats, TimeDecayPooling

__all__ = ["DecayTensorBoard", "half_life", "learned_values"]

DAY = 86_400

LONGEST = {"age": 10 * 365.25 * DAY, "rank": 100_000.0}
"""Half-lives beyond are told as this: ten years in seconds, or later events."""

MOST_NAMED = 20
"""Actions, categories or parts that have a number each under their own names."""

_UNITS = {"age": ("days", DAY), "rank": ("events", 1)}
_HALF = np.log(0.5)


# What tf.summary.scalar and tf.summary.histogram say of their values. Both are the
# tensorboard package's, which is needed to look at the folder, and not to write it.
_SCALAR, _HISTOGRAM = (
    summary_pb2.SummaryMetadata(
        plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name=plugin),
        data_class=kind,
    )
    for plugin, kind in (
        ("scalars", summary_pb2.DATA_CLASS_SCALAR),
        ("histograms", summary_pb2.DATA_CLASS_TENSOR),
    )
)
_BUCKETS = 30


class DecayTensorBoard(tf_keras.callbacks.Callback):
    """Writes what a model has learned of time for TensorBoard, before and each epoch.

    Beside `tf_keras.callbacks.TensorBoard`, into the same folder: the numbers of
    `learned_values`, a scalar each; those that there is one of for every feature as a
    histogram, and their median as a scalar. Step 0 is where training starts, and step n
    what is there after epoch n; a `fit` that goes on, by `BackupAndRestore` or
    `initial_epoch`, goes on with the steps.

    Args:
        log_dir: The folder that TensorBoard is shown; what is written goes to its
            subfolder `learned`.

    Raises:
        ValueError: At the start of training: the model has no layer that is looked at.

    Example:
        board = td.callbacks.DecayTensorBoard("logs")
        model.fit(batches, epochs=5, callbacks=[board])
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self.log_dir = os.fspath(log_dir)
        self._writer: Any = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Opens the file, and refuses a model that learns nothing of time."""
        if not learned_layers(self.model):
            raise ValueError(
                f"the model {self.model.name!r} has no TimeDecayPooling and no "
                "Repeats: there is nothing for DecayTensorBoard to write."
            )
        self._writer = tf.summary.create_file_writer(
            os.path.join(self.log_dir, "learned")
        )
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes where training starts, once."""
        if not self._begun:
            self._write(epoch)
            self._begun = True

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes what was learned by now."""
        self._write(epoch + 1)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the file."""
        self._writer.close()

    def _write(self, step: int) -> None:
        with self._writer.as_default(step), tf.summary.record_if(True):
            for tag, value in learned_values(self.model).items():
                if value.ndim:
                    tf.summary.write(tag, _histogram(value), metadata=_HISTOGRAM)
                    tag, value = f"{tag}/median", np.median(value)
                tf.summary.write(tag, np.float32(value), metadata=_SCALAR)
        self._writer.flush()


def _histogram(value: np.ndarray) -> np.ndarray:
    """[buckets, 3] float64: where a bucket begins, where it ends, and how many."""
    counts, edges = np.histogram(value, _BUCKETS)
    return np.stack([edges[:-1], edges[1:], counts], axis=1)


def learned_layers(model: tf.Module) -> list[TimeDecayPooling | Repeats]:
    """The layers of a model, at any depth, that learn of time.

    Args:
        model: Any Keras model or layer.
    """
    return [
        one for one in model.submodules if isinstance(one, (TimeDecayPooling, Repeats))
    ]


def learned_values(model: tf.Module) -> dict[str, np.ndarray]:
    """What the layers of a model have learned of time, as people read it.

    Only what is learned is told, not what was given. Before each name stands "pooling"
    or "repeats" ("pooling_0" and so on, where a model has several) and, of several
    heads, "head_0" and so on:

    =========================  ======================================================
    `half_life_days`           the age at which a weight is half; `half_life_events` of
                               a decay by rank. Ten years, or 100,000 events, stand for
                               what lasts longer
    `scale_days`, `exponent`   and so on: the other numbers of a decay's formula, those
                               that are durations in days, or events
    `share/1d`                 of a mixture, the share of a half-life; of a sum,
                               `share/0`, that of its first part
    `bucket_weights`           of a decay in buckets
    `action_weight/purchase`   what an action weighs
    `head_share`               what a head's features have in the average of heads
    `prior_length`             how far the learned prior is from nothing
    `weight/had`               of `Repeats`, what one of its features adds to a score
    `temperature`              of a model that has one, and without a layer's name: what
                               divides the scores in the loss, learned or not
    =========================  ======================================================

    The parts of a sum or a product are `part_0` and so on. Where there is one number
    for each action or category, its name follows, `*` for all others; of more than 20
    they stand together.

    Args:
        model: Built; any Keras model or layer that holds `TimeDecayPooling` or
            `Repeats`.

    Returns:
        float64 arrays by name: [] for one number, [dim] where each feature has its own,
        [n] for others that stand together.
    """
    found: dict[str, np.ndarray] = {}
    layers = learned_layers(model)
    for kind, word, told in (
        (TimeDecayPooling, "pooling", _of_pooling),
        (Repeats, "repeats", _of_repeats),
    ):
        # Not by the layer's name, which Keras numbers anew in every run.
        alike = [one for one in layers if isinstance(one, kind)]
        for number, layer in enumerate(alike):
            prefix = f"{word}_{number}" if len(alike) > 1 else word
            for name, value in told(layer):
                found[f"{prefix}/{name}"] = np.asarray(value, np.float64)
    temperature = getattr(model, "temperature", None)
    if temperature is not None:
        found["temperature"] = np.asarray(temperature, np.float64)
    return found


def half_life(decay: Decay, **labels: str) -> np.ndarray:
    """The elapsed time at which a decay's weight falls to a half.

    Args:
        decay: Over the clock or the rank alone.
        **labels: `action` and `category`, where rates depend on them.

    Returns:
        [] or [dim] float64, seconds, or later events for a decay by rank, to a half
        percent; at most `LONGEST`.

    Raises:
        ValueError: It runs over both, or a label is missing or not wanted.

    >>> from tfrs_decay.decay import PowerLaw
    >>> print(round(half_life(PowerLaw("1h", 0.25)) / 3_600, 2))
    15.0
    """
    if len(decay.clocks) > 1:
        raise ValueError(
            f"{decay!r} runs over both age and rank: its half-life in one depends on "
            "the other."
        )
    (clock,) = decay.clocks
    elapsed = np.append(0.0, np.geomspace(1.0, LONGEST[clock], 4_000))
    names = {name: np.full(len(elapsed), one) for name, one in labels.items()}
    log_weight = np.asarray(decay.log_weight(elapsed, **names))
    columns = log_weight.reshape(len(elapsed), -1).T
    found = np.array([_falls_to_half(elapsed, one) for one in columns])
    return found if len(found) > 1 else found[0]


def _falls_to_half(elapsed: np.ndarray, log_weight: np.ndarray) -> float:
    """Where log weights [n] cross a half, between points along the chord."""
    below = log_weight <= _HALF
    if not below.any():
        return float(elapsed[-1])
    after = int(np.argmax(below))
    (left, right), (high, low) = (
        one[after - 1 : after + 1] for one in (elapsed, log_weight)
    )
    # A step has no chord: it falls where it is first found below.
    share = (high - _HALF) / (high - low) if np.isfinite(low) else 1.0
    return float(left + share * (right - left))


Told = Iterator[tuple[str, Any]]


def _of_pooling(layer: TimeDecayPooling) -> Told:
    several = isinstance(layer.decay, list)
    learned, shares = layer.learned(), layer.combination()
    for number, decay in enumerate(layer.learned_decays()):
        prefix = f"head_{number}" if several else ""
        own = _under(f"{prefix}_" if several else "", learned)
        for name, value in _of_decay(decay, own):
            yield _joined(prefix, name), value
        if shares is not None:
            yield _joined(prefix, "head_share"), shares[number]
    if layer.learn_action_weights:
        weights = layer.action_weights or {}
        yield from _each("action_weight", list(weights), list(weights.values()))
    prior = layer.prior_vector()
    if prior is not None and layer.get_config()["prior"] == "learned":
        yield "prior_length", np.linalg.norm(prior)


def _of_repeats(layer: Repeats) -> Told:
    learned = layer.learned()
    if not learned:
        return
    for feature in layer.feature_names:
        yield f"weight/{feature}", learned[feature]
    for number, decay in enumerate(layer.decays):
        own = _under(f"decay_{number}_", learned)
        for name, value in _of_decay(decay.with_parameters(own), own):
            yield f"decay_{number}/{name}", value


def _of_decay(decay: Decay, learned: Mapping[str, Any]) -> Told:
    """The half-life of a decay as it was learned, and what it is made of."""
    if not learned:
        return
    if len(decay.clocks) == 1:
        (clock,) = decay.clocks
        word, unit = _UNITS[clock]
        groups = decay.groups
        every = list(product(*((*own, OTHERS) for own in groups.values())))
        values = [
            half_life(decay, **dict(zip(groups, names, strict=True))) / unit
            for names in every
        ]
        tag = f"half_life_{word}"
        if groups:
            yield from _each(tag, ["/".join(names) for names in every], values)
        else:
            yield tag, values[0]
    yield from _numbers(decay, learned)


def _numbers(decay: Decay, learned: Mapping[str, Any]) -> Told:
    """What a decay's formula is made of, but for a half-life, where it is learned."""
    if isinstance(decay, (Sum, Product)):
        for number, part in enumerate(decay.parts):
            own = decay.parameters_of(number, learned)
            for name, value in _of_decay(part, own):
                yield f"part_{number}/{name}", value
    if isinstance(decay, (Mixture, Sum)):
        if "share_logits" in learned:
            shares = np.moveaxis(np.asarray(decay.get_config()["shares"]), -1, 0)
            yield from _each("share", _names_of_shares(decay), shares)
    elif isinstance(decay, LogBucketed):
        yield "bucket_weights", decay.weights
    elif isinstance(decay, Family) and learned:
        word, unit = _UNITS[decay.by]
        names = [(*own, OTHERS) for own in decay.groups.values()]
        for name, value in decay.values().items():
            if name == "half_life":
                continue
            extent = name in decay.extents
            tag, value = (f"{name}_{word}", value / unit) if extent else (name, value)
            yield from _each(tag, names[0], value) if names else [(tag, value)]
    elif not isinstance(decay, Product):
        yield from learned.items()  # a decay of somebody's own


def _names_of_shares(decay: Mixture | Sum) -> list[str]:
    if isinstance(decay, Sum):
        return [str(number) for number in range(len(decay.parts))]
    if decay.by == "rank":
        return [f"{one:g}" for one in decay.half_lives]
    return [to_text(one) for one in decay.half_lives]


def _each(tag: str, names: Sequence[str], values: Any) -> Told:
    """A number each, by its name; of very many, all under the tag."""
    if len(names) > MOST_NAMED:
        yield tag, np.ravel(values)
        return
    for name, value in zip(names, values, strict=True):
        yield f"{tag}/{name}", value


def _under(prefix: str, learned: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in learned.items()
        if name.startswith(prefix)
    }


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if prefix else name
