"""Optimizers: a rate for a text encoder that is trained, weight decay for ids."""

from __future__ import annotations

import contextlib
import numbers
import re
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from tfrs_decay.layers.fine_tuning import is_marked
from tfrs_decay.layers.item_tower import ID_EMBEDDING

_Schedule = tf_keras.optimizers.schedules.LearningRateSchedule


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class FineTuningAdam(tf_keras.optimizers.Adam):
    """Adam, with a learning rate of its own for the encoders that are fine-tuned.

    A pretrained encoder is unlearned by the steps that a new embedding table needs. A
    warm-up is a Keras schedule: from 0 in 1,000 steps to 2e-5, and level from there, is
    `PolynomialDecay(0.0, 1_000, 2e-5)`.

    A model that goes on after loading goes on with its rates, from a .keras or weights
    file. A SavedModel folder keeps no step count of any Keras optimizer: a warm-up
    begins anew.

    Args:
        learning_rate: Of all weights but the encoders'; a number or a Keras schedule.
        encoder_learning_rate: Of the weights that a `TextTower` with `fine_tune`
            trains; likewise. A number can be set anew between steps, as the other's.
        **kwargs: Those of Keras' Adam.

    Raises:
        TypeError: `encoder_learning_rate` is neither a number nor a schedule.
        ValueError: It is not above 0; or, when the optimizer is built, none of the
            variables belongs to an encoder.

    References:
        J. Devlin et al. BERT. NAACL 2019, appendix A.3, for 2e-5 to 5e-5 and warm-up.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        encoder_learning_rate: Any = 2e-5,
        name: str = "FineTuningAdam",
        **kwargs: Any,
    ) -> None:
        self._of_encoder = False
        _check_rate(encoder_learning_rate)
        super().__init__(learning_rate, name=name, **kwargs)
        self._encoder_rate = (
            encoder_learning_rate
            if isinstance(encoder_learning_rate, _Schedule)
            else self._build_learning_rate(float(encoder_learning_rate))
        )
        self._encoder_keys: frozenset[str] = frozenset()

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Makes Adam's variables, and finds those of encoders, the first time."""
        super().build(var_list)
        if self._encoder_keys:
            return
        self._encoder_keys = frozenset(
            self._var_key(one) for one in var_list if is_marked(one)
        )
        if not self._encoder_keys:
            raise ValueError(
                f"none of the {len(var_list)} variables is of an encoder that is "
                "fine-tuned: give a TextTower fine_tune=..., or use Keras' Adam."
            )

    @property
    def learning_rate(self) -> Any:
        """That of the variable which is being updated."""
        if not self._of_encoder:
            return super().learning_rate
        if isinstance(self._encoder_rate, _Schedule):
            return self._encoder_rate(self.iterations)
        return self._encoder_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        tf_keras.optimizers.Adam.learning_rate.fset(self, value)

    @property
    def encoder_learning_rate(self) -> Any:
        """The encoders' rate, a variable; or their schedule.

        Raises:
            TypeError: What it is set to is no number, or it is a schedule.
            ValueError: What it is set to is not above 0.
        """
        return self._encoder_rate

    @encoder_learning_rate.setter
    def encoder_learning_rate(self, value: Any) -> None:
        _check_rate(value)
        if isinstance(value, _Schedule) or isinstance(self._encoder_rate, _Schedule):
            raise TypeError(
                f"encoder_learning_rate={value!r}: only a number can be set, in place "
                "of a number. Make another optimizer for a schedule."
            )
        self._encoder_rate.assign(float(value))

    def update_step(self, gradient: Any, variable: tf.Variable) -> None:
        """Adam's, at the rate of the variable."""
        with self._rate_of(variable):
            super().update_step(gradient, variable)

    def _apply_weight_decay(self, variables: Sequence[tf.Variable]) -> None:
        for one in variables:
            with self._rate_of(one):
                super()._apply_weight_decay([one])

    @contextlib.contextmanager
    def _rate_of(self, variable: tf.Variable) -> Iterator[None]:
        self._of_encoder = self._var_key(variable) in self._encoder_keys
        try:
            yield
        finally:
            self._of_encoder = False

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        rate = self._encoder_rate
        return {
            **super().get_config(),
            "encoder_learning_rate": (
                tf_keras.optimizers.schedules.serialize(rate)
                if isinstance(rate, _Schedule)
                else float(rate.numpy())
            ),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> FineTuningAdam:
        """Makes it again from `get_config`."""
        rate = config["encoder_learning_rate"]
        if isinstance(rate, dict):
            rate = tf_keras.optimizers.schedules.deserialize(rate, custom_objects)
        return super().from_config(
            {**config, "encoder_learning_rate": rate}, custom_objects
        )


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class IdDecayAdam(tf_keras.optimizers.Adam):
    """Adam, with weight decay of the id embeddings and of nothing else.

    At each step an id's vector loses learning_rate * weight_decay of itself: what few
    events say of an item stays small beside its text. It is decoupled from the
    gradients, as in AdamW, and saved with a model.

    Args:
        learning_rate: A number or a Keras schedule.
        weight_decay: 0 or more.
        **kwargs: Those of Keras' Adam.

    Raises:
        ValueError: `weight_decay` is not finite and 0 or more; or, when the optimizer
            is built, none of the variables is an `ItemTower`'s id embedding.

    References:
        I. Loshchilov, F. Hutter. Decoupled weight decay regularization. ICLR 2019.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.0,
        name: str = "IdDecayAdam",
        **kwargs: Any,
    ) -> None:
        if not 0 <= weight_decay < float("inf"):
            raise ValueError(
                f"weight_decay={weight_decay} must be finite and 0 or more."
            )
        super().__init__(
            learning_rate, weight_decay=float(weight_decay), name=name, **kwargs
        )

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Makes Adam's variables, and looks for an id embedding among the others."""
        super().build(var_list)
        if not any(map(self._use_weight_decay, var_list)):
            raise ValueError(
                f"weight_decay={self.weight_decay}: none of the {len(var_list)} "
                "variables is an id embedding; use Keras' Adam."
            )

    def _use_weight_decay(self, variable: tf.Variable) -> bool:
        # By its name, which it has again after loading; of a table that is split over
        # parameter servers, each part has the table's, and its own behind.
        name = re.sub(r"(/part_\d+)?:\d+$", "", variable.name)
        return name.split("/")[-1] == ID_EMBEDDING


def _check_rate(rate: Any) -> None:
    """Refuses what is no learning rate."""
    if not isinstance(rate, (numbers.Real, _Schedule)):
        raise TypeError(
            f"encoder_learning_rate={rate!r} is a {type(rate).__name__}: give a "
            "number, or a schedule of tf_keras.optimizers.schedules."
        )
    if not isinstance(rate, _Schedule) and not 0 < float(rate) < float("inf"):
        raise ValueError(f"encoder_learning_rate={rate} must be finite and above 0.")
